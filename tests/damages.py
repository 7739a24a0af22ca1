"""What can be done to a day's extract: chosen damages, and damages drawn at random as values that tell what.

What belongs here: from rows as they came to rows as they should not have come. What does not: what becomes of them.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta

import polars as pl
from hypothesis import strategies as st
from polars.exceptions import PanicException, PolarsError

Damage = Callable[[pl.DataFrame], pl.DataFrame]


def setting(column: str, value: object, share: float = 1.0, kind: pl.DataType | None = None) -> Damage:
    """Sets a share of a column to one value."""

    def damage(rows: pl.DataFrame) -> pl.DataFrame:
        chosen = pl.int_range(pl.len()) < round(rows.height * share)
        return rows.with_columns(
            pl.when(chosen)
            .then(pl.lit(value, dtype=kind or rows.schema[column]))
            .otherwise(pl.col(column))
            .alias(column)
        )

    return damage


def doubled(share: float = 1.0) -> Damage:
    return lambda rows: pl.concat([rows, rows.head(round(rows.height * share))])


VALUES = [None, "", " ", "NA", "JFK", 0, -1, 7, 2400, 2401, 2**31, 2**53 + 1, 2**62, -(2**63), 0.5, float("nan")]
VALUES += [
    float("inf"),
    True,
    date(2013, 6, 12),
    datetime(2013, 6, 12, 4),  # noqa: DTZ001  a column without a zone
    timedelta(hours=3),
    time(3),
    b"\xff\x00",
    [1],
    {"a": b"\xff"},
]
TYPES = [pl.String, pl.Int8, pl.Int64, pl.UInt64, pl.Int128, pl.Float32, pl.Float64, pl.Boolean, pl.Binary, pl.Date]
TYPES += [pl.Datetime("ns"), pl.Datetime("ms", "UTC"), pl.Duration, pl.Time, pl.Categorical, pl.Decimal(38, 2), pl.Null]


@st.composite
def damages(draw: st.DrawFn) -> list[tuple]:
    """A few things done to an extract, one after the other, as values that tell what."""
    kinds = ["drop", "rename", "retype", "set", "set some", "add", "double", "head", "shuffle", "swap", "redate"]
    return [
        (
            draw(st.sampled_from(kinds)),
            draw(st.integers(0, 11)),
            draw(st.sampled_from(VALUES)),
            draw(st.sampled_from(TYPES)),
            draw(st.floats(0, 1)),
            draw(st.integers(0, 9)),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]


def damaged_by(chosen: Sequence[tuple], rows: pl.DataFrame, yesterdays: pl.DataFrame, day: date) -> pl.DataFrame:
    """The rows after one damage upon the other; what cannot be done to them is left out."""
    for damage in chosen:
        try:
            rows = _done(damage, rows, yesterdays, day)
        except (PolarsError, PanicException, TypeError, OverflowError):
            continue
    return rows


def _done(damage: tuple, rows: pl.DataFrame, yesterdays: pl.DataFrame, day: date) -> pl.DataFrame:
    kind, number, value, dtype, share, seed = damage
    if not rows.width:
        return rows
    column = rows.columns[number % rows.width]
    if kind == "drop":
        return rows.drop(column)
    if kind == "rename":
        return rows.rename({column: f"{column} "})
    if kind == "retype":
        return rows.with_columns(pl.col(column).cast(dtype, strict=False))
    if kind == "set":
        return rows.with_columns(pl.Series(column, [value]).new_from_index(0, rows.height))
    if kind == "set some":
        return setting(column, value, share)(rows)
    if kind == "add":
        return rows.with_columns(pl.Series(f"more {number}", [value]).new_from_index(0, rows.height))
    if kind == "double":
        return doubled(share)(rows)
    if kind == "head":
        return rows.head(int(rows.height * share))
    if kind == "shuffle":
        return rows.sample(fraction=1, shuffle=True, seed=seed)
    if kind == "swap":
        return pl.concat([rows.head(int(rows.height * share)), yesterdays], how="diagonal")
    return rows.with_columns(partition_date=pl.lit(day + timedelta(days=seed - 5)))
