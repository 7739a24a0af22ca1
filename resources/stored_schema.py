"""What a table by day may hold, and how it may grow: the lake's types, the layout, columns by name.

What belongs here: the refusals of types and schema changes, and the casts that lose nothing.
What does not: rows and days (`delta_store.py`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import polars as pl
from deltalake import DeltaTable, Schema

from ml_assets.domain.errors import RowsOutsideDaysError, SchemaChangeRefusedError, StorageError
from resources.day_files import DAY

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


def layout_fault(delta: DeltaTable) -> str | None:
    """Why this is not a table by day that plain Parquet readers can read; None when it is one."""
    partitioned = delta.metadata().partition_columns
    if partitioned != [DAY]:
        return f"the table is partitioned by {partitioned or 'nothing'}, wanted ['{DAY}']: move it away"
    stored = pl.Schema(delta.schema())[DAY]
    if stored != pl.Date:
        return f"its column {DAY} is stored as {stored}, wanted Date: move the table away and write it anew"
    if delta.protocol().min_reader_version > 1:
        return f"it needs Delta reader version {delta.protocol().min_reader_version}, wanted 1: write it anew"
    return None


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


def schema_after(uri: str, delta: DeltaTable, given: pl.Schema, add_columns: Iterable[str]) -> pl.Schema:
    """The stored columns, then the added ones; every other difference from the stored schema is refused."""
    if fault := layout_fault(delta):
        raise SchemaChangeRefusedError(f"{uri}: {fault}")
    stored = pl.Schema(delta.schema())
    for name, dtype in stored.items():
        if name not in given:
            raise SchemaChangeRefusedError(
                f"{uri}: the column {name}, stored as {dtype}, is missing from the frame; columns are never "
                f"dropped: give it, or nulls as pl.lit(None, {dtype})"
            )
        if given[name] != dtype:
            raise SchemaChangeRefusedError(
                f"{uri}: the column {name} is stored as {dtype}, the frame gives {given[name]}; columns are "
                "never retyped: cast it to the stored type, or give the new values a name of their own"
            )
    new = [name for name in given if name not in stored]
    for name in new:
        if name not in add_columns:
            raise SchemaChangeRefusedError(
                f"{uri}: the column {name} is not stored, the frame gives {given[name]}: leave it out, or "
                f"name it in add_columns; stored are {', '.join(stored)}"
            )
    if unknown := set(add_columns) - set(given):
        raise SchemaChangeRefusedError(f"{uri}: add_columns names {min(unknown)}, which the frame has not")
    return pl.Schema({**stored, **{name: given[name] for name in new}})


def delta_schema(delta: DeltaTable, schema: pl.Schema) -> Schema:
    """The table's own schema, which commits no metadata, with the columns that are new to it."""
    stored = delta.schema()
    known = {each.name for each in stored.fields}
    new = {name: dtype for name, dtype in schema.items() if name not in known}
    return Schema([*stored.fields, *Schema.from_arrow(pl.Schema(new)).fields]) if new else stored


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
