"""`outcomes/<label>`: the labels that became known on the day, whatever day their events were on.

What belongs here: the factory. What does not: what a label is (`ml_assets/catalog/outcomes`).
"""

import polars as pl
from dagster import AssetsDefinition

from ml_assets.assets.keys import key
from ml_assets.assets.partitioned import Frame, Ready, parent, partitioned_asset
from ml_assets.domain.content import code_fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.errors import CalendarError
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import OutcomeSpec
from partitions import trailing_days

COLUMNS = ("row_key", "event_time", "known_at", "label")


def outcomes_asset(outcome: OutcomeSpec) -> AssetsDefinition:
    """The labels of an outcome by the day on which they became known."""
    calendar = outcome.calendar
    limits = DayLimits(min_rows=outcome.min_rows, key=("row_key",), required=COLUMNS)

    def body(ready: Ready) -> DayBatch:
        labels = labels_by_known_day(outcome, ready.inputs[outcome.source].rows)
        rows = labels.filter(pl.col(DAY).is_in(list(ready.days))).sort(DAY, "row_key")
        empty = sorted(set(ready.days) - set(rows[DAY]))
        past_events = {day: "no label became known" for day in empty if day >= calendar.end_day}
        judged = [day for day in ready.days if day not in past_events]
        return DayBatch(rows=rows, verdicts=judge_days(rows, judged, limits), skipped=past_events)

    return partitioned_asset(
        Frame(
            key=key("outcomes", outcome.name),
            calendar=calendar,
            group="outcomes",
            kinds=frozenset({"polars", "deltalake"}),
            description=outcome.description,
            code_version=code_fingerprint(outcome.compute),
            parents={
                outcome.source: parent(
                    key("events", outcome.source),
                    trailing_days(calendar.label_lag_days),
                    calendar,
                    same_day=True,
                )
            },
            outcome_calendar=True,
        ),
        body,
    )


def labels_by_known_day(outcome: OutcomeSpec, events: pl.LazyFrame) -> pl.DataFrame:
    """Every label of the events, dated by the local day on which it became known.

    Raises CalendarError for a label that becomes known later than the calendar's label lag: its day's
    partition would never read its event, and the label would be lost in silence.
    """
    calendar = outcome.calendar
    labels = (
        outcome.compute(events)
        .with_columns(local_day(pl.col("known_at"), calendar.timezone).alias(DAY))
        .select(DAY, *COLUMNS)
        .collect()
    )
    lag = (pl.col(DAY) - local_day(pl.col("event_time"), calendar.timezone)).dt.total_days()
    late = labels.filter(lag > calendar.label_lag_days)
    if late.height:
        row_key, known_at = late.row(0, named=True)["row_key"], late.row(0, named=True)["known_at"]
        raise CalendarError(
            f"outcomes/{outcome.name}: the label of {row_key} becomes known at {known_at}, more than "
            f"{calendar.label_lag_days} days after its event ({late.height} such rows). Raise label_lag_days of "
            f"the calendar {calendar.name!r}."
        )
    return labels
