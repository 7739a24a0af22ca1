"""How a table by day is laid out and how it may grow, columns by name.

What belongs here: the refusals of layouts and schema changes.
What does not: rows and days (`delta_store.py`), which types there are (`ml_assets/domain/stored_types.py`).
"""

from collections.abc import Iterable

import polars as pl
from deltalake import DeltaTable, Schema

from ml_assets.domain.errors import SchemaChangeRefusedError
from resources.day_files import DAY


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
