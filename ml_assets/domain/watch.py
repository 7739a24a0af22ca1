"""What a watcher of the lake keeps in mind: what was out of step when it began, and what it has asked for already.

What belongs here: signs by which a day that is out of step is known again, what is news of decisions, days as runs.
What does not: the plan (`planning.py`), asking for runs (`sensors`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from zlib import crc32

import numpy as np

from ml_assets.domain.day_records import DayRecords, window_fingerprints
from ml_assets.domain.declared import Declared, Graph
from ml_assets.domain.planning import DecisionWarning, Run, stale_days
from partitions import DayRange

Signs = Mapping[str, Mapping[str, int]]
AS_IT_WAS = "what it rests on is again what it was decided on"


def due_signs(graph: Graph, records: Mapping[str, DayRecords], run: Run | None = None) -> dict[str, dict[str, int]]:
    """The days on record that rest on changed content, by table, each with its sign; those of a run alone when given.

    A sign changes when what the day rests on changes again, and when the day is recorded anew: a content that goes and
    comes back, back and forth, is another trouble each time.
    """
    found = {}
    for table in run.tables if run else graph.assets:
        own, asset = records[table], graph[table]
        days = own.days if run is None else own.days[_within(own, run.days)]
        due = days[stale_days(asset, own, records, days)]
        if len(due):
            found[table] = _signs(asset, own, records, [date.fromordinal(int(day)) for day in due])
    return found


def beyond(due: Signs, history: Signs) -> bool:
    """Whether anything is out of step that was not so, in the same way, when the watch began."""
    return any(sign != history.get(table, {}).get(day) for table, signs in due.items() for day, sign in signs.items())


def sign_of(run: Run, due: Signs) -> str:
    """A short text by which the same work for the same reason is known again."""
    return f"{crc32(repr((run.tables, str(run.days), sorted(map(repr, due.items())))).encode()):08x}"


def said_of_decisions(warnings: Iterable[DecisionWarning]) -> dict[str, dict[str, str]]:
    """What is to be said of each decision that rests on what has changed since, by table and day."""
    said: dict[str, dict[str, list[str]]] = {}
    for warning in warnings:
        said.setdefault(warning.table, {}).setdefault(warning.day.isoformat(), []).append(str(warning))
    return {table: {day: "; ".join(texts) for day, texts in days.items()} for table, days in said.items()}


def news(said: Mapping[str, Mapping[str, str]], told: Signs, most: int) -> list[tuple[str, str, str]]:
    """Table, day and text of what was not told of a decision yet, `most` of them; what was and holds no more too."""
    fresh = [
        (table, day, text)
        for table, days in said.items()
        for day, text in days.items()
        if told.get(table, {}).get(day) != crc32(text.encode())
    ]
    gone = [(table, day, AS_IT_WAS) for table, days in told.items() for day in days if day not in said.get(table, {})]
    return [*fresh, *gone][:most]


def told_after(told: Signs, fresh: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, int]]:
    """What has been told once what is news is told as well."""
    after = {table: dict(days) for table, days in told.items()}
    for table, day, text in fresh:
        if text == AS_IT_WAS:
            del after[table][day]
        else:
            after.setdefault(table, {})[day] = crc32(text.encode())
    return {table: days for table, days in after.items() if days}


def runs_over(days: Mapping[str, Sequence[date]], reason: str) -> tuple[Run, ...]:
    """Runs over just these days of each table, the earliest first; tables with the same stretch of days share one."""
    stretches: dict[tuple[date, date], list[str]] = {}
    for table, held in days.items():
        for stretch in _stretches(sorted(held)):
            stretches.setdefault(stretch, []).append(table)
    return tuple(
        Run(tuple(tables), DayRange(first, last + timedelta(days=1)), reason)
        for (first, last), tables in sorted(stretches.items())
    )


def _within(own: DayRecords, days: DayRange) -> slice:
    since, until = np.searchsorted(own.days, [days.start.toordinal(), days.end.toordinal()])
    return slice(int(since), int(until))


def _signs(asset: Declared, own: DayRecords, records: Mapping[str, DayRecords], due: Sequence[date]) -> dict[str, int]:
    rows, _ = own.rows_of(due)
    parts = [
        part
        for name, read in sorted(asset.reads.items())
        if not read.by_version
        for part in (
            window_fingerprints(records[read.table], due, read.window, presence=read.needed),
            *(held[name][rows] for held in (own.inputs, own.versions) if name in held),
        )
    ]
    return {
        day.isoformat(): crc32(repr([int(value) for value in of_day]).encode())
        for day, of_day in zip(due, zip(*parts, strict=True), strict=True)
    }


def _stretches(days: Sequence[date]) -> list[tuple[date, date]]:
    """The first and last day of each run of consecutive days."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and day - found[-1][1] == timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
