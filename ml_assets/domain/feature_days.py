"""A feature group's rows, dated by the local day they describe.

What belongs here: cutting what a feature function gives to the days that were asked for.
What does not: which events it is given (`partitions`), feature functions (`ml_assets/catalog/features`).
"""

from datetime import date

import polars as pl

from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import FeatureGroupSpec


def cut_to_days(group: FeatureGroupSpec, rows: pl.LazyFrame, days: tuple[date, ...]) -> pl.DataFrame:
    """The rows of the given days, with their `partition_date`, sorted by day, entity and time."""
    return (
        rows.with_columns(local_day(pl.col("event_time"), group.calendar.timezone).alias(DAY))
        .filter(pl.col(DAY).is_in(list(days)))
        .select(DAY, *group.entity, "event_time", "known_at", *group.values)
        .sort(DAY, *group.entity, "known_at")
        .collect()
    )
