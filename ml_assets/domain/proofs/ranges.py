"""A run over a range of days gives what a run for each of its days gives, row for row.

What belongs here: events, features, labels, scoring rows, training sets, computed both ways.
What does not: how the lake stores them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial

import polars as pl

from ml_assets.domain.ingestion import ingest
from ml_assets.domain.local_days import DAY
from ml_assets.domain.proofs.comparison import Difference, difference
from ml_assets.domain.proofs.proof import RANGE, Finding, Proof, first_found, shown
from ml_assets.domain.rehearsal import KNOWN_AT, Rehearsal, event_days
from ml_assets.domain.specs import Calendar, ModelSpec, SourceSpec
from partitions import DayRange

ONE_DAY = timedelta(days=1)
Compute = Callable[[DayRange], pl.DataFrame]


def around(calendar: Calendar, day: date, back: int = 1, ahead: int = 1) -> DayRange:
    """The days around a day, as far as they are event days."""
    there = event_days(calendar)
    start = max(there.start, day - timedelta(days=back))
    return DayRange(start, max(start, min(there.end, day + timedelta(days=ahead + 1))))


def long_before(calendar: Calendar, day: date, look_back: int) -> DayRange:
    """The day after so many days that a run over them reads twice the look-back of the day alone."""
    return around(calendar, day, back=max(6, look_back + 1), ahead=0)


def events_of_a_range(source: SourceSpec, extracts: Mapping[date, pl.DataFrame], days: Sequence[date]) -> Proof:
    """Events, refused rows and verdicts of days ingested together are those of each day alone."""
    table = f"events/{source.name}"
    looked_at: set[date] = set()
    rows = 0

    def look(day: date) -> Iterator[Finding]:
        nonlocal rows
        delivered = {near: extracts[near] for near in around(source.calendar, day) if near in extracts}
        together = ingest(source, delivered, {})
        for near, extract in delivered.items():
            alone = ingest(source, {near: extract}, {})
            of_range = together.rows.filter(pl.col(DAY) == near)
            rows += of_range.height
            looked_at.add(near)
            if differs := _differs(of_range, alone.rows, source.keys):
                yield _finding(table, near, differs)
            elif alone.verdicts[near] != together.verdicts[near]:
                yield _of_verdicts(table, near, alone.verdicts[near].reasons, together.verdicts[near].reasons)

    findings = first_found(table, [partial(look, day) for day in days])
    return shown(
        RANGE,
        table,
        looked_at,
        rows,
        findings=findings,
        without_rows="nothing good was delivered for the days looked at",
    )


def features_of_a_range(rehearsal: Rehearsal, group: str, days: Sequence[date]) -> Proof:
    """Rows of a group computed over a range are those of each day computed alone."""
    spec = rehearsal.catalog.features[group]
    return _of_days(
        f"features/{group}",
        [ranged for day in days for ranged in _ranges(spec.calendar, day, spec.look_back_days)],
        (*spec.entity, "event_time", KNOWN_AT),
        lambda run: rehearsal.features(group, run),
    )


def labels_of_a_range(rehearsal: Rehearsal, outcome: str, days: Sequence[date]) -> Proof:
    """Labels that became known on the days of a range are those of each day computed alone."""
    calendar = rehearsal.catalog.outcomes[outcome].calendar
    return _of_days(
        f"outcomes/{outcome}",
        [ranged for day in days for ranged in _ranges(calendar, day, calendar.label_lag_days)],
        ("row_key", KNOWN_AT),
        lambda run: rehearsal.outcomes(outcome, run),
    )


def scoring_of_a_range(rehearsal: Rehearsal, model: ModelSpec, days: Sequence[date]) -> Proof:
    """Rows that are scored in a run over a range are those of a run for each day."""
    return _of_days(
        f"predictions/{model.name}",
        [ranged for day in days for ranged in _ranges(model.calendar, day, 0)],
        ("row_key",),
        lambda run: rehearsal.scoring_rows(model, run),
    )


def training_of_a_range(rehearsal: Rehearsal, model: ModelSpec, day: date) -> Proof:
    """A training set made in a run over several training days is the one made in a run for its day."""
    run = around(model.calendar, day, back=2, ahead=1)
    return _of_days(
        f"training_sets/{model.name}",
        [(run, DayRange(day, day + ONE_DAY))],
        ("row_key",),
        lambda asked: rehearsal.training_set(model, day, asked).rows,
    )


def _ranges(calendar: Calendar, day: date, look_back: int) -> Iterator[tuple[DayRange, DayRange]]:
    """A short range with all its days, and a long one with its last day, each as (the run, the days to compare)."""
    short = around(calendar, day)
    yield short, short
    yield long_before(calendar, day, look_back), DayRange(day, day + ONE_DAY)


def _of_days(table: str, ranges: Sequence[tuple[DayRange, DayRange]], key: Sequence[str], compute: Compute) -> Proof:
    looked_at: set[date] = set()
    rows = 0

    def look(run: DayRange, compared: DayRange) -> Iterator[Finding]:
        nonlocal rows
        together = compute(run)
        for day in compared:
            alone = compute(DayRange(day, day + ONE_DAY))
            of_range = together.filter(pl.col(DAY) == day)
            rows += of_range.height
            looked_at.update([day] if alone.height else [])
            if differs := _differs(of_range, alone, key, run):
                yield _finding(table, day, differs)

    findings = first_found(table, [partial(look, *ranged) for ranged in ranges])
    return shown(RANGE, table, looked_at, rows, findings=findings, without_rows="none of the days looked at has a row")


def _differs(
    of_range: pl.DataFrame, alone: pl.DataFrame, key: Sequence[str], run: DayRange | None = None
) -> Difference | None:
    over = f"in a run over {run}" if run else "together with its neighbours"
    return difference(of_range, alone, key, came_from=over, wanted_from="in a run for its day alone")


def _finding(table: str, day: date, differs: Difference) -> Finding:
    remedy = (
        "Only last digits differ: a sum of floats depends on their order. Add up integers, or round the result."
        if differs.rounding
        else "Declare a look_back_days that holds all a row needs, and let a row depend on nothing beyond it: no "
        "count, rank or first row of all that is loaded."
    )
    return Finding(
        f"{table} of {day}, {differs.key}",
        f"{differs.came} ({differs.rows} such rows)",
        "the same, whatever else a run computes",
        remedy,
    )


def _of_verdicts(table: str, day: date, alone: Sequence[str], together: Sequence[str]) -> Finding:
    told = " and ".join(
        f"{'; '.join(reasons) or 'accepted'} {by}"
        for reasons, by in ((together, "together with its neighbours"), (alone, "alone"))
    )
    return Finding(f"{table} of {day}", told, "one verdict", "Let parse and contract judge a row from that row alone.")
