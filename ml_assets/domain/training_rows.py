"""Which rows a model is trained, calibrated and judged on.

What belongs here: the slices before a training day, labelled rows as they were known at its beginning.
What does not: fitting (`training.py`), the join (`point_in_time.py`).
"""

from collections.abc import Mapping
from datetime import date

import polars as pl

from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.specs import FeatureGroupSpec, ModelSpec
from partitions import DayRange, training_slices
from partitions.windows import TrainingSlices


def slices_of(model: ModelSpec, day: date) -> TrainingSlices:
    """The model's slices before a training day."""
    return training_slices(
        day,
        first_day=model.calendar.first_day,
        train_days=model.train_days,
        calibration_days=model.calibration_days,
        gate_days=model.gate_days,
    )


def labelled_rows(
    model: ModelSpec,
    groups: Mapping[str, FeatureGroupSpec],
    frames: Mapping[str, pl.DataFrame],
    labels: pl.DataFrame,
    day: date,
) -> pl.DataFrame:
    """The training set of one day: events of its slices whose label was known before the day began."""
    window = slices_of(model, day).window
    began, _ = DayRange(day, day).instants(model.calendar.timezone)
    known = labels.filter(pl.col("known_at") < began).select("row_key", "label")
    rows = feature_rows(model, groups, frames, (window.start, window.end))
    return (
        rows.join(known, on="row_key", how="inner", maintain_order="left")
        .with_columns(pl.lit(day).alias(DAY))
        .select(DAY, "row_key", "prediction_time", *model.feature_columns, "label")
    )


def with_event_day(model: ModelSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Training rows with their event's local day as `event_day`."""
    event_time = pl.col("prediction_time") + pl.lit(model.prediction_lead)
    return rows.with_columns(local_day(event_time, model.calendar.timezone).alias("event_day"))


def rows_of_slice(rows: pl.DataFrame, days: DayRange) -> pl.DataFrame:
    """The rows whose `event_day` lies in a slice."""
    return rows.filter(pl.col("event_day") >= days.start, pl.col("event_day") < days.end)
