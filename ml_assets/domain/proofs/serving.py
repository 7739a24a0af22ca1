"""A row of a training set is the row that was, or would have been, scored for the same event.

What belongs here: that comparison. What does not: the join, which both sides make (`point_in_time.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from ml_assets.domain.proofs.comparison import difference
from ml_assets.domain.proofs.proof import SERVING, Finding, Proof, found, shown
from ml_assets.domain.rehearsal import KNOWN_AT, Rehearsal
from ml_assets.domain.specs import ModelSpec
from ml_assets.domain.training_rows import EVENT_DAY
from partitions import DayRange
from partitions.days import midnight

ONE_DAY = timedelta(days=1)


def training_equals_serving(rehearsal: Rehearsal, model: ModelSpec, day: date, most_days: int) -> Proof:
    """Each row of the day's training set equals the row that a run for its event's day alone scores.

    Looked at are `most_days` event days of the set, its first and its last ones among them: what a window reads short
    of is lacking at its beginning. Days are left out, and told, of which nothing could have been scored.
    """
    table = f"training_sets/{model.name}"
    looked_at: list[date] = []
    unserved: list[date] = []
    rows = 0

    def look() -> Iterator[Finding]:
        nonlocal rows
        run = DayRange(day, day + ONE_DAY)
        trained = rehearsal.training_set(model, day, run).rows
        known = rehearsal.labels(model, run).filter(pl.col(KNOWN_AT) < midnight(day, model.calendar.timezone))
        event_days = sorted(set(trained[EVENT_DAY]))
        unserved.extend(each for each in event_days if not rehearsal.can_compute(f"predictions/{model.name}", each))
        for event_day in _chosen([each for each in event_days if each not in unserved], most_days):
            of_day = trained.filter(pl.col(EVENT_DAY) == event_day)
            scored = rehearsal.scoring_rows(model, DayRange(event_day, event_day + ONE_DAY))
            columns = ["row_key", "prediction_time", *model.feature_columns]
            served = scored.join(known, on="row_key", how="semi").select(columns)
            differs = difference(
                of_day.select(columns),
                served,
                ("row_key",),
                came_from=f"in the training set of {day}",
                wanted_from="when it is scored",
            )
            if differs:
                yield Finding(
                    f"{table}, {differs.key}",
                    f"{differs.came} ({differs.rows} of {of_day.height} rows of {event_day})",
                    "the same",
                    "Declare of the group how early and how late its values become known (known_before, known_after) "
                    "and how old they may be (max_age): from these follow the days that both read.",
                )
            looked_at.append(event_day)
            rows += of_day.height

    findings = found(table, look)
    none = f"no label of the days before {day} was known when it began"
    proof = shown(SERVING, table, looked_at, rows, findings=findings, without_rows=none)
    told = f"the training set of {day} holds rows of {', '.join(map(str, unserved))}, of which nothing could be scored"
    return replace(proof, notes=(told,)) if unserved else proof


def _chosen(days: Sequence[date], number: int) -> list[date]:
    """So many of the days: the first two, the last, others evenly between."""
    if len(days) <= number:
        return list(days)
    last = len(days) - 1
    return [days[place] for place in sorted({0, 1, *(place * last // (number - 1) for place in range(1, number))})]
