"""Instants and local days as Polars expressions.

What belongs here: the translation between UTC instants and a workload's local days.
What does not: which days an asset reads (`partitions/`).
"""

from datetime import date

import polars as pl

DAY = "partition_date"


def local_day(instant: pl.Expr, timezone: str) -> pl.Expr:
    """The local date of a UTC instant in `timezone`."""
    return instant.dt.convert_time_zone(timezone).dt.date()


def local_midnight(day: pl.Expr, timezone: str) -> pl.Expr:
    """The UTC instant at which a local day begins in `timezone`: midnight, or right after it where that is left out."""
    midnight, just_before = day.cast(pl.Datetime("us")), pl.duration(microseconds=1)
    shown = midnight.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    left_out = (midnight - just_before).dt.replace_time_zone(timezone, ambiguous="latest", non_existent="null")
    return pl.coalesce(shown, left_out + just_before).dt.convert_time_zone("UTC")


def within(start: date, end: date) -> pl.Expr:
    """Whether a row's day lies in the half-open range `[start, end)`."""
    return (pl.col(DAY) >= start) & (pl.col(DAY) < end)
