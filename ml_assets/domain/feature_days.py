"""A group's days: its rows cut to them, and whether each keeps what the group declares.

What belongs here: what `features/<group>` stores of a day, and its verdict.
What does not: the feature functions (`ml_assets/catalog/features`), the join (`point_in_time.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from types import MappingProxyType

import polars as pl

from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import FeatureGroupSpec
from ml_assets.domain.verdict import Verdict, combine


def cut_to_days(group: FeatureGroupSpec, rows: pl.LazyFrame, days: Sequence[date]) -> pl.DataFrame:
    """The rows of the given days, with their `partition_date`, sorted by day, entity and time."""
    return (
        rows.with_columns(local_day(pl.col("event_time"), group.calendar.timezone).alias(DAY))
        .filter(pl.col(DAY).is_in(list(days)))
        .select(DAY, *group.entity, "event_time", "known_at", *group.values)
        .sort(DAY, *group.entity, "known_at", "event_time")
        .collect()
    )


def judge_feature_days(
    group: FeatureGroupSpec, rows: pl.DataFrame, days: Sequence[date], hollow: Mapping[date, str] = MappingProxyType({})
) -> dict[date, Verdict]:
    """One verdict a day: rows, nulls and keys within limits, and no row known outside what the group declares.

    Days that are `hollow` need no rows, with the reason: what they are computed from holds none.
    """
    limits = DayLimits(
        min_rows=group.min_rows,
        key=(*group.entity, "event_time", "known_at"),
        required=(*group.entity, "event_time", "known_at"),
        max_null_share=group.max_null_share,
    )
    outside = _known_outside(group, rows)
    return {
        day: combine([verdict, outside[day]]) if day in outside else verdict
        for day, verdict in judge_days(rows, days, limits, hollow=hollow).items()
    }


def _known_outside(group: FeatureGroupSpec, rows: pl.DataFrame) -> dict[date, Verdict]:
    """A verdict that failed for each day with rows that became known earlier or later than declared."""
    after = pl.col("known_at") - pl.col("event_time")
    found = (
        rows.lazy()
        .group_by(DAY)
        .agg(
            pl.len().alias("rows"),
            (after > group.known_after).sum().alias("late"),
            (-after > group.known_before).sum().alias("early"),
            after.max().alias("latest"),
            (-after).max().alias("earliest"),
        )
        .filter((pl.col("late") > 0) | (pl.col("early") > 0))
        .collect()
    )
    return {
        row[DAY]: Verdict(
            passed=False,
            reasons=tuple(
                _outside(group, number, row["rows"], most, field)
                for number, most, field in (
                    (row["early"], row["earliest"], "known_before"),
                    (row["late"], row["latest"], "known_after"),
                )
                if number
            ),
        )
        for row in found.iter_rows(named=True)
    }


def _outside(group: FeatureGroupSpec, number: int, rows: int, most: timedelta, field: str) -> str:
    return (
        f"{number} of {rows} rows become known up to {most} {field.removeprefix('known_')} their event_time, but "
        f"{group.name!r} declares {field}={getattr(group, field)}: declare what is true, or mend known_at"
    )
