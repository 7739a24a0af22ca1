"""Labels, dated by the local day on which they became known.

What belongs here: from an outcome's function to rows of `outcomes/<label>`, and the labels that come too late for it.
What does not: what a label is (`ml_assets/catalog/outcomes`), which labels a training set takes (`training_rows.py`).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import polars as pl

from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import OutcomeSpec

LABEL_COLUMNS = {
    "row_key": "what the label is of",
    "event_time": "when that event was (UTC)",
    "known_at": "when the label became known (UTC)",
    "label": "1 for a positive, 0 for a negative",
}


@dataclass(frozen=True, slots=True)
class DatedLabels:
    """Labels by the day on which they became known, and those that become known when none may.

    `refused` ones are dated by the last day on which a label of their event may come, those from before their event by
    its day; `reasons` and `payload` say why and what.
    """

    rows: pl.DataFrame
    refused: pl.DataFrame


def labels_by_known_day(outcome: OutcomeSpec, events: pl.LazyFrame) -> DatedLabels:
    """Every label of the events, dated by the local day on which it became known.

    The partition of a label that becomes known before its event's day, or more than the calendar's label lag after it,
    would never read that event: such labels are set aside with the reason, the others are as if there were none.
    """
    calendar = outcome.calendar
    dated = (
        outcome.compute(events)
        .with_columns(
            local_day(pl.col("known_at"), calendar.timezone).alias(DAY),
            local_day(pl.col("event_time"), calendar.timezone).alias("event_day"),
        )
        .collect()
    )
    lag = (pl.col(DAY) - pl.col("event_day")).dt.total_days()
    late, early = lag > calendar.label_lag_days, lag < 0
    too_late = (
        f"the label becomes known more than label_lag_days = {calendar.label_lag_days} days after its event; if that "
        f"is how it is, raise label_lag_days of the calendar {calendar.name!r}"
    )
    too_early = "the label becomes known before the day of its event; see its known_at and event_time"
    refused = dated.filter(late | early).select(
        pl.when(late)
        .then(pl.col("event_day") + pl.duration(days=calendar.label_lag_days))
        .otherwise(pl.col("event_day"))
        .alias(DAY),
        pl.concat_list(pl.when(late).then(pl.lit(too_late)).otherwise(pl.lit(too_early))).alias("reasons"),
        pl.struct(*LABEL_COLUMNS).struct.json_encode().alias("payload"),
    )
    kept = dated.filter(~(late | early).fill_null(value=False)).select(DAY, *LABEL_COLUMNS)
    return DatedLabels(kept, refused)


def refused_by_day(labels: DatedLabels, days: Collection[date]) -> dict[date, int]:
    """How many labels each of the days sets aside."""
    counted = labels.refused.filter(pl.col(DAY).is_in(list(days))).group_by(DAY).len()
    return dict(counted.iter_rows())
