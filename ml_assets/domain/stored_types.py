"""Which types the lake keeps, and what to do about the others.

What belongs here: the rule, and the casts that lose nothing.
What does not: tables (`resources/stored_schema.py`), which types a model takes (`feature_types.py`).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import polars as pl

from ml_assets.domain.errors import RowsOutsideDaysError, SchemaChangeRefusedError, StorageError
from ml_assets.domain.local_days import DAY

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

_KEPT_TYPES = frozenset(
    {
        pl.Boolean,
        pl.Int8,
        pl.Int16,
        pl.Int32,
        pl.Int64,
        pl.Float32,
        pl.Float64,
        pl.Decimal,
        pl.String,
        pl.Binary,
        pl.Date,
    }
)
_LOSSLESS_CASTS: Mapping[Any, pl.DataType] = {
    pl.Categorical: pl.String(),
    pl.Enum: pl.String(),
    pl.UInt8: pl.Int16(),
    pl.UInt16: pl.Int32(),
    pl.UInt32: pl.Int64(),
}
_UTC_INSTANT = pl.Datetime("us", "UTC")
_REMEDIES: Mapping[Any, str] = {
    pl.Null: "every value is null and no type is declared: cast it to the type it stands for",
    pl.Time: "Delta has no time of day: store an instant in UTC, or microseconds as Int64",
    pl.Duration: "Delta has no duration: store .dt.total_microseconds()",
    pl.UInt64: "Delta has no unsigned integers: cast it to Int64, or a hash to String",
    pl.Struct: "a struct without fields cannot be stored: drop it",
}


def in_stored_types(uri: str, frame: Frame) -> Frame:
    """The frame with every column in a type that the lake keeps without loss."""
    given = frame.collect_schema()
    if DAY not in given:
        raise RowsOutsideDaysError(f"{uri}: the frame has no column {DAY}, so its rows have no day")
    if given[DAY] != pl.Date:
        raise SchemaChangeRefusedError(f"{uri}: {DAY} is given as {given[DAY]}, wanted Date: cast it")
    if len(given) == 1:
        raise StorageError(f"{uri}: the frame has no column besides {DAY}, wanted at least one")
    doubled = [name for name, count in Counter(map(str.casefold, given)).items() if count > 1]
    if doubled:
        raise StorageError(f"{uri}: columns named {doubled[0]!r} differ only in case, which Delta forbids")
    stored = {name: _stored_type(f"{uri}: the column {name}", dtype) for name, dtype in given.items()}
    casts = {name: dtype for name, dtype in stored.items() if dtype != given[name]}
    return frame.cast(pl.Schema(casts)) if casts else frame


def _stored_type(column: str, dtype: Any) -> pl.DataType:
    if isinstance(dtype, pl.List | pl.Array):
        return pl.List(_stored_type(f"{column}[]", dtype.inner))
    if isinstance(dtype, pl.Struct) and dtype.fields:
        parts = {part.name: _stored_type(f"{column}.{part.name}", part.dtype) for part in dtype.fields}
        return pl.Struct(parts)
    kind: type[pl.DataType] = dtype.base_type()
    if kind in _LOSSLESS_CASTS:
        return _LOSSLESS_CASTS[kind]
    if kind in _KEPT_TYPES or dtype == _UTC_INSTANT:
        return cast("pl.DataType", dtype)
    if isinstance(dtype, pl.Datetime):
        raise StorageError(
            f"{column} is {dtype}; all times are UTC instants in microseconds: use .dt.replace_time_zone or "
            ".dt.convert_time_zone('UTC'), and .dt.cast_time_unit('us')"
        )
    raise StorageError(f"{column} is {dtype}: {_REMEDIES.get(kind, 'the lake has no such type; cast it')}")
