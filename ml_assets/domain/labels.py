"""Labels, dated by the local day on which they became known.

What belongs here: from an outcome's function to rows of `outcomes/<label>`.
What does not: what a label is (`ml_assets/catalog/outcomes`), which labels a training set takes (`training_rows.py`).
"""

import polars as pl

from ml_assets.domain.errors import CalendarError
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import OutcomeSpec

LABEL_COLUMNS = {
    "row_key": "what the label is of",
    "event_time": "when that event was (UTC)",
    "known_at": "when the label became known (UTC)",
    "label": "1 for a positive, 0 for a negative",
}


def labels_by_known_day(outcome: OutcomeSpec, events: pl.LazyFrame) -> pl.DataFrame:
    """Every label of the events, dated by the local day on which it became known.

    Raises CalendarError for a label that becomes known later than the calendar's label lag: its day's
    partition would never read its event, and the label would be lost in silence.
    """
    calendar = outcome.calendar
    labels = (
        outcome.compute(events)
        .with_columns(local_day(pl.col("known_at"), calendar.timezone).alias(DAY))
        .select(DAY, *LABEL_COLUMNS)
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
