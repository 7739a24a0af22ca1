"""What the store keeps, replaces, refuses and reads, each held against the files and logs on disk."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import TableNotFoundError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.parquet import ParquetFile

from ml_assets.domain.errors import (
    CommitConflictError,
    EmptyDayError,
    MlAssetsError,
    RowsOutsideDaysError,
    SchemaChangeRefusedError,
    StorageError,
    TableUnreadableError,
)
from resources import day_files, delta_store
from resources.delta_store import DAY, DeltaStore

TABLE = "features/weather"
NAIVE = datetime(2013, 2, 1, tzinfo=UTC).replace(tzinfo=None)
FEB = [date(2013, 2, day) for day in range(1, 29)]
D1, D2, D3, D4, D5 = FEB[:5]


def of_days(*days: date, rows: int = 3, mark: int = 0) -> pl.DataFrame:
    """`rows` rows a day, each with its own number, a float and a mark that tells one write from another."""
    return pl.DataFrame(
        {
            DAY: [day for day in days for _ in range(rows)],
            "number": list(range(rows * len(days))),
            "celsius": [number / 4 for number in range(rows * len(days))],
            "mark": [mark] * (rows * len(days)),
        },
        schema={DAY: pl.Date, "number": pl.Int64, "celsius": pl.Float64, "mark": pl.Int64},
    )


def everything(store: DeltaStore, table: str = TABLE) -> pl.DataFrame:
    snapshot = store.snapshot(table)
    assert snapshot is not None
    return snapshot.scan(date.min, date.max).collect()


def marks(store: DeltaStore, table: str = TABLE) -> dict[date, set[int]]:
    return {day: set(part["mark"]) for (day,), part in everything(store, table).group_by(DAY)}


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def history(store: DeltaStore, table: str = TABLE) -> list[dict[str, object]]:
    return DeltaTable(store.uri(table)).history()


@pytest.fixture
def store(tmp_path: Path) -> DeltaStore:
    return DeltaStore(str(tmp_path / "lake"))


@pytest.fixture
def filled(store: DeltaStore) -> DeltaStore:
    store.replace_days(TABLE, of_days(D1, D2, D3, D4), [D1, D2, D3, D4])
    return store


# Writing


def test_first_write_creates_a_table_by_day_and_reports_what_lies_on_disk(store: DeltaStore) -> None:
    frame = of_days(D2, D1, rows=5)
    commit = store.replace_days(TABLE, frame, [D1, D2], commit_metadata={"run_id": "r-1"})

    delta = DeltaTable(f"{store.root}/{TABLE}")
    on_disk = {
        day: sum(path.stat().st_size for path in Path(store.uri(TABLE), f"{DAY}={day}").iterdir()) for day in (D1, D2)
    }
    assert delta.metadata().partition_columns == [DAY]
    assert (commit.table, commit.version) == (TABLE, delta.version())
    assert commit.rows == frame.height
    assert commit.rows_by_day == {D1: 5, D2: 5}
    assert commit.bytes_by_day == on_disk
    assert commit.bytes == sum(on_disk.values())
    assert commit.schema == {name: str(dtype) for name, dtype in frame.schema.items()}
    assert delta.history(1)[0]["run_id"] == "r-1"
    assert everything(store).equals(frame.sort(DAY, maintain_order=True))


def test_a_write_replaces_the_named_days_and_leaves_the_files_of_the_others(filled: DeltaStore) -> None:
    before = set(DeltaTable(filled.uri(TABLE)).file_uris())
    version = DeltaTable(filled.uri(TABLE)).version()

    commit = filled.replace_days(TABLE, of_days(D1, D2, D4, rows=2, mark=7), [D4, D1, D2, D1])

    after = set(DeltaTable(filled.uri(TABLE)).file_uris())
    assert commit.version == version + 1
    assert marks(filled) == {D1: {7}, D2: {7}, D3: {0}, D4: {7}}
    assert {Path(uri).parent.name for uri in before & after} == {f"{DAY}={D3}"}


def test_files_are_compressed_and_the_log_carries_counts_only(filled: DeltaStore) -> None:
    chunks = [
        ParquetFile(path).metadata.row_group(0).column(at)
        for path in Path(filled.uri(TABLE)).rglob("part-*.parquet")
        for at in range(3)
    ]
    assert {chunk.compression for chunk in chunks} == {"SNAPPY"}
    assert all(chunk.is_stats_set for chunk in chunks)
    newest = max(Path(filled.uri(TABLE), "_delta_log").glob("*.json")).read_text().splitlines()
    stats = [json.loads(entry["add"]["stats"]) for entry in map(json.loads, newest) if "add" in entry]
    assert [entry["numRecords"] for entry in stats] == [3] * 4
    assert not any(entry.get("minValues") for entry in stats)


def test_every_write_in_the_log_is_an_overwrite_with_a_predicate(filled: DeltaStore) -> None:
    filled.replace_days(TABLE, of_days(D1, D3, D4), [D1, D3, D4])
    filled.replace_days(TABLE, of_days(D2).with_columns(wind=1.5), [D2], add_columns=frozenset({"wind"}))
    writes = [entry["operationParameters"] for entry in history(filled) if entry["operation"] == "WRITE"]
    assert len(writes) == 3
    assert all(write["mode"] == "Overwrite" and DAY in write["predicate"] for write in writes)


def test_a_lazy_frame_is_written_like_its_rows(filled: DeltaStore) -> None:
    filled.replace_days(TABLE, of_days(D1, mark=3).lazy(), [D1])
    assert marks(filled)[D1] == {3}


def test_columns_in_another_order_land_where_they_belong(filled: DeltaStore) -> None:
    frame = of_days(D1, mark=5).select("mark", "celsius", DAY, "number")
    filled.replace_days(TABLE, frame, [D1])
    written = everything(filled).filter(pl.col(DAY) == D1)
    assert written.columns == of_days(D1).columns
    assert written.equals(of_days(D1, mark=5))


@pytest.mark.parametrize("pieces", [1, 60])
def test_rows_keep_the_given_order_within_their_day_in_one_file_a_day(store: DeltaStore, pieces: int) -> None:
    shuffled = of_days(*FEB[:20], rows=1500).sample(fraction=1, shuffle=True, seed=pieces)
    length = -(-shuffled.height // pieces)
    frame = pl.concat([shuffled[at * length : (at + 1) * length] for at in range(pieces)], rechunk=False)
    assert frame.n_chunks() == pieces

    store.replace_days(TABLE, frame, FEB[:20])

    assert len(DeltaTable(store.uri(TABLE)).file_uris()) == 20
    assert everything(store).equals(frame.sort(DAY, maintain_order=True))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_day_in_many_files_is_read_in_the_order_written(
    filled: DeltaStore, monkeypatch: pytest.MonkeyPatch, lazy: bool
) -> None:
    monkeypatch.setattr(day_files, "_BYTES_A_FILE", 500_000)
    frame = of_days(D4, D5, rows=200_000).with_columns(pl.col("number").hash(1).cast(pl.Float64).alias("celsius"))
    commit = filled.replace_days(TABLE, frame.lazy() if lazy else frame, [D4, D5])
    snapshot = filled.snapshot(TABLE)
    assert snapshot is not None
    assert len(list(Path(filled.uri(TABLE), f"{DAY}={D5}").iterdir())) > 1
    assert commit.rows_by_day == {D4: 200_000, D5: 200_000}
    assert snapshot.rows_by_day()[D5] == 200_000
    assert snapshot.scan(D4, FEB[5]).collect().equals(frame)


def test_an_emptied_day_is_gone_only_by_opt_in(filled: DeltaStore) -> None:
    commit = filled.replace_days(TABLE, of_days(D1, mark=2), [D1, D2], allow_empty_days=True)
    assert commit.rows_by_day == {D1: 3, D2: 0}
    assert commit.bytes_by_day[D2] == 0
    assert marks(filled) == {D1: {2}, D3: {0}, D4: {0}}


def test_a_table_of_no_rows_has_its_schema_and_no_days(store: DeltaStore) -> None:
    commit = store.replace_days(TABLE, of_days(), [D1], allow_empty_days=True)
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    assert (commit.rows, commit.bytes, commit.version) == (0, 0, snapshot.version)
    assert (snapshot.days(), snapshot.rows_by_day()) == (frozenset(), {})
    assert snapshot.schema() == of_days().schema
    assert snapshot.scan(D1, D5).collect().equals(of_days())


# Schema


def test_a_named_new_column_is_null_on_older_days_and_stays_known(filled: DeltaStore) -> None:
    wind = of_days(D2, mark=1).with_columns(wind=pl.lit(1.5))
    commit = filled.replace_days(TABLE, wind, [D2], add_columns=frozenset({"wind"}))
    assert commit.schema["wind"] == "Float64"
    rows = everything(filled)
    assert dict(rows.group_by(DAY).agg(pl.col("wind").unique().first()).iter_rows()) == {
        D1: None,
        D2: 1.5,
        D3: None,
        D4: None,
    }
    again = filled.replace_days(TABLE, wind, [D2], add_columns=frozenset({"wind"}))
    unnamed = filled.replace_days(TABLE, wind.with_columns(pl.col(DAY).cast(pl.Date)), [D2])
    assert (again.version, unnamed.version) == (commit.version + 1, commit.version + 2)
    assert unnamed.schema == commit.schema
    with pytest.raises(SchemaChangeRefusedError, match="wind"):
        filled.replace_days(TABLE, of_days(D1), [D1])


def test_every_kept_type_comes_back_as_it_went_in(store: DeltaStore) -> None:
    instant = datetime(2013, 2, 8, 23, 59, 59, 999_999, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            DAY: [D1, D1],
            "boolean": [True, None],
            "i8": pl.Series([-128, 127], dtype=pl.Int8),
            "i16": pl.Series([-(2**15), None], dtype=pl.Int16),
            "i32": pl.Series([2**31 - 1, 0], dtype=pl.Int32),
            "i64": pl.Series([-(2**63), 2**63 - 1]),
            "f32": pl.Series([1.5, None], dtype=pl.Float32),
            "f64": [float("inf"), 0.1 + 0.2],
            "text": ["", "Zürich ✈"],
            "raw": [b"\x00\xff", None],
            "day": [date(1970, 1, 1), None],
            "at": pl.Series([instant, None], dtype=pl.Datetime("us", "UTC")),
            "money": pl.Series([Decimal("12345.67"), None], dtype=pl.Decimal(12, 2)),
            "tags": [["a", None], []],
            "parts": [{"a": 1, "at": instant, "deep": [{"b": 0.5}]}, None],
            "nothing": pl.Series([None, None], dtype=pl.Float64),
        }
    )
    commit = store.replace_days(TABLE, frame, [D1])
    assert everything(store).equals(frame)
    assert everything(store).schema == frame.schema
    assert commit.schema == {name: str(dtype) for name, dtype in frame.schema.items()}


def test_types_that_the_lake_lacks_are_widened_without_loss(store: DeltaStore) -> None:
    frame = pl.DataFrame(
        {
            DAY: [D1],
            "category": pl.Series(["EWR"], dtype=pl.Categorical),
            "enum": pl.Series(["b"], dtype=pl.Enum(["a", "b"])),
            "u8": pl.Series([255], dtype=pl.UInt8),
            "u16": pl.Series([65_535], dtype=pl.UInt16),
            "u32": pl.Series([2**32 - 1], dtype=pl.UInt32),
            "array": pl.Series([[1.0, 2.0]], dtype=pl.Array(pl.Float64, 2)),
            "nested": pl.Series(
                [[{"c": "x", "n": 255}]], dtype=pl.List(pl.Struct({"c": pl.Categorical, "n": pl.UInt8}))
            ),
        }
    )
    for _ in range(2):
        store.replace_days(TABLE, frame, [D1])
    rows = everything(store)
    assert rows.rows() == frame.rows()
    assert dict(rows.schema) == {
        DAY: pl.Date,
        "category": pl.String,
        "enum": pl.String,
        "u8": pl.Int16,
        "u16": pl.Int32,
        "u32": pl.Int64,
        "array": pl.List(pl.Float64),
        "nested": pl.List(pl.Struct({"c": pl.String, "n": pl.Int16})),
    }


# Refusals: nothing changes, and the message says what and why.

Change = Callable[[pl.DataFrame], pl.DataFrame]
DAY_REFUSALS: dict[str, tuple[Change, list[date], type[MlAssetsError], str]] = {
    "a row of another day": (
        lambda frame: pl.concat([frame, of_days(D5, rows=2)]),
        [D1],
        RowsOutsideDaysError,
        "covers 2013-02-01, .*2013-02-05 .2 rows",
    ),
    "another day, in the gap": (
        lambda frame: of_days(D1, D2, D3),
        [D1, D3],
        RowsOutsideDaysError,
        "2013-02-02 .3 rows",
    ),
    "a row without a day": (
        lambda frame: frame.with_columns(pl.when(pl.col("number") > 0).then(DAY).alias(DAY)),
        [D1],
        RowsOutsideDaysError,
        "no day .1 rows",
    ),
    "no day column": (lambda frame: frame.drop(DAY), [D1], RowsOutsideDaysError, DAY),
    "a day as text": (
        lambda frame: frame.with_columns(pl.col(DAY).cast(pl.String)),
        [D1],
        SchemaChangeRefusedError,
        "String, wanted Date",
    ),
    "a day as an instant": (
        lambda frame: frame.with_columns(pl.col(DAY).cast(pl.Datetime("us", "UTC"))),
        [D1],
        SchemaChangeRefusedError,
        "Datetime.*wanted Date",
    ),
    "a day as a number": (
        lambda frame: frame.with_columns(pl.col(DAY).cast(pl.Int32)),
        [D1],
        SchemaChangeRefusedError,
        "Int32, wanted Date",
    ),
    "named days without rows": (
        lambda frame: frame,
        [D1, D2, D3],
        EmptyDayError,
        r"\[2013-02-02, 2013-02-04\)",
    ),
    "no rows": (lambda frame: frame[:0], [D1], EmptyDayError, "2013-02-01"),
    "no day named": (lambda frame: frame, [], StorageError, "no day is named"),
    "an instant for a day": (
        lambda frame: frame,
        [datetime(2013, 2, 1, tzinfo=UTC)],
        StorageError,
        "no datetime.date",
    ),
}
TYPE_REFUSALS: dict[str, tuple[pl.Series, str]] = {
    "untyped nulls": (pl.Series([None] * 3), "extra is Null.*cast it"),
    "untyped nulls within": (pl.Series([[None]] * 3), r"extra\[\] is Null"),
    "time of day": (pl.Series([time_of_day(7)] * 3), "extra is Time.*no time of day"),
    "duration": (pl.Series([timedelta(1)] * 3), "extra is Duration.*total_microseconds"),
    "naive instant": (pl.Series([NAIVE] * 3), "extra is Datetime.*UTC"),
    "local instant": (
        pl.Series([datetime(2013, 2, 1, tzinfo=UTC)] * 3).dt.convert_time_zone("America/New_York"),
        "New_York.*UTC",
    ),
    "milliseconds": (
        pl.Series([datetime(2013, 2, 1, tzinfo=UTC)] * 3).dt.cast_time_unit("ms"),
        "microseconds",
    ),
    "naive instant within": (pl.Series([{"at": NAIVE}] * 3), r"extra\.at is Datetime.*UTC"),
    "64 bits unsigned": (pl.Series([1, 2, 3], dtype=pl.UInt64), "extra is UInt64.*Int64"),
    "128 bits": (pl.Series([1, 2, 3], dtype=pl.Int128), "extra is Int128"),
    "a struct of nothing": (pl.Series([{}] * 3, dtype=pl.Struct([])), "without fields"),
    "an object": (pl.Series([object()] * 3, dtype=pl.Object), "extra is Object"),
}
SCHEMA_REFUSALS: dict[str, tuple[Change, frozenset[str], str]] = {
    "a column missing": (
        lambda frame: frame.drop("celsius"),
        frozenset(),
        "celsius, stored as Float64, is missing",
    ),
    "a float for an integer": (
        lambda frame: frame.with_columns(number=pl.lit(2.7)),
        frozenset(),
        "number is stored as Int64, the frame gives Float64",
    ),
    "an integer for a float": (
        lambda frame: frame.with_columns(celsius=pl.lit(2, pl.Int64)),
        frozenset(),
        "celsius is stored as Float64, the frame gives Int64",
    ),
    "a narrower integer": (
        lambda frame: frame.with_columns(pl.col("number").cast(pl.Int32)),
        frozenset(),
        "stored as Int64, the frame gives Int32",
    ),
    "a text for a number": (
        lambda frame: frame.with_columns(pl.col("number").cast(pl.String)),
        frozenset({"number"}),
        "stored as Int64, the frame gives String",
    ),
    "a new column": (
        lambda frame: frame.with_columns(wind=pl.lit(1.0)),
        frozenset(),
        "wind is not stored, the frame gives Float64.*add_columns",
    ),
    "a new column beside the named one": (
        lambda frame: frame.with_columns(wind=pl.lit(1.0), gust=pl.lit(1.0)),
        frozenset({"wind"}),
        "gust is not stored",
    ),
    "a name misspelt": (
        lambda frame: frame,
        frozenset({"wnd"}),
        "add_columns names wnd",
    ),
    "a name that differs only in case": (
        lambda frame: frame.with_columns(Celsius=pl.lit(1.0)),
        frozenset({"Celsius"}),
        "only in case",
    ),
    "no column but the day": (lambda frame: frame.select(DAY), frozenset(), "no column besides"),
}


def refused(store: DeltaStore, error: type[MlAssetsError], message: str, frame: pl.DataFrame, **how: object) -> None:
    """Asserts that the write raises and that every byte of the lake is what it was."""
    before = files_under(Path(store.root))
    with pytest.raises(error, match=message) as caught:
        store.replace_days(TABLE, frame, **how)
    assert type(caught.value) is error
    assert TABLE in str(caught.value)
    assert files_under(Path(store.root)) == before


@pytest.mark.parametrize(("change", "days", "error", "message"), DAY_REFUSALS.values(), ids=DAY_REFUSALS.keys())
def test_rows_and_days_that_do_not_match_are_refused(
    store: DeltaStore, change: Change, days: list[date], error: type[MlAssetsError], message: str
) -> None:
    refused(store, error, message, change(of_days(D1, mark=9)), days=days)
    store.replace_days(TABLE, of_days(D1, D2, D3), [D1, D2, D3])
    refused(store, error, message, change(of_days(D1, mark=9)), days=days)


@pytest.mark.parametrize(("extra", "message"), TYPE_REFUSALS.values(), ids=TYPE_REFUSALS.keys())
def test_types_that_cannot_be_kept_are_refused(store: DeltaStore, extra: pl.Series, message: str) -> None:
    refused(store, StorageError, message, of_days(D1).with_columns(extra.alias("extra")), days=[D1])


@pytest.mark.parametrize(("change", "add", "message"), SCHEMA_REFUSALS.values(), ids=SCHEMA_REFUSALS.keys())
def test_schema_changes_nobody_asked_for_are_refused(
    filled: DeltaStore, change: Change, add: frozenset[str], message: str
) -> None:
    error = StorageError if "case" in message or "besides" in message else SchemaChangeRefusedError
    refused(filled, error, message, change(of_days(D1, mark=9)), days=[D1], add_columns=add)


FOREIGN_DAYS: dict[str, tuple[pl.Expr, list[str] | None, str]] = {
    "not partitioned": (pl.col(DAY), None, "partitioned by nothing"),
    "by another column": (pl.col(DAY), ["mark"], "partitioned by .'mark'"),
    "by the day and more": (pl.col(DAY), [DAY, "mark"], "partitioned by .*mark"),
    "by text": (pl.col(DAY).cast(pl.String), [DAY], "stored as String, wanted Date"),
    "by an instant": (pl.col(DAY).cast(pl.Datetime("us", "UTC")), [DAY], "stored as Datetime.*wanted Date"),
    "by a naive instant": (pl.col(DAY).cast(pl.Datetime("us")), [DAY], "stored as Datetime.*wanted Date"),
    "by a number": (pl.col(DAY).cast(pl.Int32), [DAY], "stored as Int32, wanted Date"),
}


@pytest.mark.parametrize(("day", "by", "message"), FOREIGN_DAYS.values(), ids=FOREIGN_DAYS.keys())
def test_a_table_that_is_not_one_by_day_is_neither_read_nor_written(
    store: DeltaStore, day: pl.Expr, by: list[str] | None, message: str
) -> None:
    write_deltalake(store.uri(TABLE), of_days(D1, D2).with_columns(day), partition_by=by)
    refused(store, SchemaChangeRefusedError, message, of_days(D1, mark=9), days=[D1])
    with pytest.raises(TableUnreadableError, match=message):
        store.snapshot(TABLE)


def test_a_table_that_plain_parquet_readers_would_misread_is_neither_read_nor_written(store: DeltaStore) -> None:
    write_deltalake(store.uri(TABLE), of_days(D1).with_columns(at=pl.lit(NAIVE)), partition_by=[DAY])
    refused(store, SchemaChangeRefusedError, "reader version 3", of_days(D1, mark=9), days=[D1])
    with pytest.raises(TableUnreadableError, match="reader version 3"):
        store.snapshot(TABLE)


def test_a_refusal_that_is_no_conflict_is_not_retried_as_one(filled: DeltaStore) -> None:
    DeltaTable(filled.uri(TABLE)).alter.set_table_properties({"delta.appendOnly": "true"})
    with pytest.raises(StorageError, match=r"nobody else wrote: .*append-only") as caught:
        filled.replace_days(TABLE, of_days(D1, mark=9), [D1])
    assert not isinstance(caught.value, CommitConflictError)
    assert marks(filled)[D1] == {0}


class Interrupted(DeltaStore):
    """A store in which somebody else acts between each opening of the table and the commit."""

    def _write(self, *args: object, **kwargs: object) -> None:
        self.meanwhile()
        super()._write(*args, **kwargs)  # type: ignore[arg-type]

    def meanwhile(self) -> None:
        raise NotImplementedError


def test_a_writer_that_always_loses_gives_up_and_changes_nothing(
    filled: DeltaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loser(Interrupted):
        def meanwhile(self) -> None:
            filled.replace_days(TABLE, of_days(D1, mark=1), [D1])

    monkeypatch.setattr(delta_store, "_TRIES", 4)
    monkeypatch.setattr(delta_store, "_LONGEST_WAIT_S", 0.0)
    version = DeltaTable(filled.uri(TABLE)).version()
    with pytest.raises(CommitConflictError, match="4 tries to write 2013-02-01"):
        Loser(filled.root).replace_days(TABLE, of_days(D1, mark=2), [D1])
    assert DeltaTable(filled.uri(TABLE)).version() == version + 4
    assert marks(filled)[D1] == {1}


@pytest.mark.parametrize("theirs", [D1, D5], ids=["a day that was there", "a new day"])
@pytest.mark.parametrize("rows", [3, 0], ids=["rows", "no rows"])
def test_the_later_of_two_writers_of_one_day_replaces_the_earlier(filled: DeltaStore, theirs: date, rows: int) -> None:
    class Second(Interrupted):
        def meanwhile(self) -> None:
            if theirs not in marks(filled) or marks(filled)[theirs] == {0}:
                filled.replace_days(TABLE, of_days(theirs, rows=5, mark=1), [theirs])

    Second(filled.root).replace_days(TABLE, of_days(theirs, rows=rows, mark=2), [theirs], allow_empty_days=True)
    expected: dict[date, set[int]] = {D1: {0}, D2: {0}, D3: {0}, D4: {0}} | {theirs: {2}}
    assert marks(filled) == (expected if rows else {day: mark for day, mark in expected.items() if day != theirs})
    assert everything(filled).filter(pl.col(DAY) == theirs).height == rows


def test_a_column_that_somebody_adds_meanwhile_is_not_dropped_again(filled: DeltaStore) -> None:
    wider = of_days(D2, mark=1).with_columns(wind=pl.lit(1.5))

    class Second(Interrupted):
        def meanwhile(self) -> None:
            filled.replace_days(TABLE, wider, [D2], add_columns=frozenset({"wind"}))

    with pytest.raises(SchemaChangeRefusedError, match="wind"):
        Second(filled.root).replace_days(TABLE, of_days(D1, mark=2), [D1])
    assert marks(filled) == {D1: {0}, D2: {1}, D3: {0}, D4: {0}}


@pytest.mark.parametrize("name", ["", "/abs", "a//b", "../up", "a/../b", "a/", "a b", "a=b", "s3://b/x", ".hidden"])
def test_odd_table_names_are_refused(store: DeltaStore, name: str) -> None:
    with pytest.raises(StorageError, match="no table name"):
        store.snapshot(name)


@pytest.mark.parametrize("folder", ["env=prod", "lake[1]", "a|b", "a^b", r"a\b", "a%20b"])
def test_a_root_that_readers_or_deltalake_cannot_take_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(StorageError, match="choose another root"):
        DeltaStore(str(tmp_path / folder / "lake"))


@pytest.mark.parametrize("spelling", ["{}", "{}/", "file://{}", "{} (new)", "{}*", "{}?", "{}é"])
def test_a_root_may_be_spelt_in_many_ways(tmp_path: Path, spelling: str) -> None:
    store = DeltaStore(spelling.format(tmp_path / "lake"))
    store.replace_days(TABLE, of_days(D1), [D1])
    assert everything(store).equals(of_days(D1))
    assert (tmp_path / spelling.removeprefix("file://").format("lake") / TABLE / "_delta_log").is_dir()


# Reading


def test_an_absent_table_is_none_and_looking_leaves_nothing(store: DeltaStore) -> None:
    assert store.snapshot(TABLE) is None
    assert store.snapshot(TABLE, version=3) is None
    assert not Path(store.root).exists()


def test_a_range_is_half_open_and_in_day_order_whatever_the_order_of_writing(store: DeltaStore) -> None:
    for day in (D4, D1, D3, D2):
        store.replace_days(TABLE, of_days(day, mark=day.day), [day])
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.scan(D2, D4).collect()[DAY].to_list() == [D2] * 3 + [D3] * 3
    assert snapshot.scan(D1, FEB[-1]).collect()["mark"].to_list() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert snapshot.scan(D3, D3).collect().is_empty()
    assert snapshot.scan(D5, FEB[-1]).collect_schema() == snapshot.schema()
    with pytest.raises(StorageError, match="ends before it starts"):
        snapshot.scan(D3, D2)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no parquet")])
def test_a_range_opens_no_file_of_another_day(filled: DeltaStore, damage: Callable[[Path], object]) -> None:
    for path in Path(filled.uri(TABLE)).rglob("*.parquet"):
        if path.parent.name not in {f"{DAY}={D2}", f"{DAY}={D3}"}:
            damage(path)
    snapshot = filled.snapshot(TABLE)
    assert snapshot is not None
    expected = of_days(D1, D2, D3, D4).filter(pl.col(DAY).is_between(D2, D3))
    assert snapshot.scan(D2, D4).collect().equals(expected)
    within = snapshot.scan(D1, D5).filter(pl.col(DAY).is_in([D3, D2]))
    assert within.collect().equals(expected)
    with pytest.raises((pl.exceptions.PolarsError, OSError)):
        snapshot.scan(D1, D4).collect()


def test_days_and_counts_come_from_the_log_alone(filled: DeltaStore) -> None:
    filled.replace_days(TABLE, of_days(D5, rows=8), [D5])
    sizes = {
        date.fromisoformat(path.parent.name.removeprefix(f"{DAY}=")): path.stat().st_size
        for path in Path(filled.uri(TABLE)).rglob("*.parquet")
    }
    for path in Path(filled.uri(TABLE)).rglob("*.parquet"):
        path.unlink()
    snapshot = filled.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.days() == {D1, D2, D3, D4, D5}
    assert snapshot.rows_by_day() == {D1: 3, D2: 3, D3: 3, D4: 3, D5: 8}
    assert snapshot.bytes_by_day() == sizes


def test_rows_are_counted_where_another_writer_logged_no_count(filled: DeltaStore) -> None:
    filled.replace_days(TABLE, of_days(D5, rows=8), [D5])
    newest = max(Path(filled.uri(TABLE), "_delta_log").glob("*.json"))
    entries = [json.loads(line) for line in newest.read_text().splitlines()]
    for entry in entries:
        entry.get("add", {}).pop("stats", None)
    newest.write_text("\n".join(json.dumps(entry) for entry in entries))
    snapshot = filled.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.rows_by_day() == {D1: 3, D2: 3, D3: 3, D4: 3, D5: 8}


def test_a_snapshot_stays_at_its_version_while_others_write(filled: DeltaStore) -> None:
    old = filled.snapshot(TABLE)
    assert old is not None
    filled.replace_days(TABLE, of_days(D1, D5, rows=1, mark=4), [D1, D5])
    assert old.rows_by_day() == {D1: 3, D2: 3, D3: 3, D4: 3}
    assert old.scan(D1, FEB[-1]).collect().equals(of_days(D1, D2, D3, D4))
    pinned = filled.snapshot(TABLE, version=old.version)
    assert pinned is not None
    assert pinned == old
    assert pinned.scan(D1, FEB[-1]).collect().equals(of_days(D1, D2, D3, D4))


def test_versions_and_timestamps_travel_or_say_why_not(filled: DeltaStore) -> None:
    log = Path(filled.uri(TABLE), "_delta_log")
    filled.replace_days(TABLE, of_days(D1, mark=1), [D1])
    filled.replace_days(TABLE, of_days(D1, mark=2), [D1])
    now = time.time()
    for version, age in ((0, 0), (1, -1000), (2, -2000), (3, -3000)):
        os.utime(log / f"{version:020}.json", (now - age, now - age))

    def mark_at(seconds: float, offset_h: int = 0) -> set[int]:
        at = datetime.fromtimestamp(now + seconds, UTC) + timedelta(hours=offset_h)
        stamp = at.replace(tzinfo=None).isoformat() + f"{offset_h:+03}:00"
        snapshot = filled.snapshot(TABLE, timestamp=stamp)
        assert snapshot is not None
        return set(snapshot.scan(D1, D2).collect()["mark"])

    assert [mark_at(seconds) for seconds in (1500, 2500, 9000)] == [{0}, {1}, {2}]
    assert mark_at(2500, offset_h=-5) == {1}
    for wrong, message in (
        ({"version": 4}, "no version 4; the newest is 3"),
        ({"version": -1}, "no version -1"),
        ({"timestamp": "2001-01-01T00:00:00Z"}, "no table as of 2001"),
        ({"timestamp": "2030-01-01T00:00:00"}, "with an offset"),
        ({"timestamp": "soon"}, "with an offset"),
        ({"version": 1, "timestamp": "2030-01-01T00:00:00Z"}, "not both"),
    ):
        with pytest.raises(StorageError, match=message):
            filled.snapshot(TABLE, **wrong)


# Damage is never taken for absence.


def checkpointed(table: Path, content: bytes | None) -> None:
    """Leaves a log whose older entries are in a checkpoint only, and that checkpoint damaged or gone."""
    DeltaTable(table).create_checkpoint()
    for path in table.glob("_delta_log/*.json"):
        path.unlink()
    checkpoint = next(table.glob("_delta_log/*.checkpoint.parquet"))
    checkpoint.unlink() if content is None else checkpoint.write_bytes(content)


def log_entry(table: Path, at: int) -> Path:
    return sorted(table.glob("_delta_log/*.json"))[at]


def truncate(entry: Path) -> None:
    entry.write_text(entry.read_text()[:99])


def log_as_file(table: Path) -> None:
    (table / "_delta_log").rename(table / "log_moved_away")
    (table / "_delta_log").write_text("a file")


def replaced_by(table: Path, put: Callable[[Path], object]) -> None:
    table.rename(table.with_name("moved_away"))
    put(table)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "newest entry truncated": lambda table: truncate(log_entry(table, -1)),
    "newest entry garbage": lambda table: log_entry(table, -1).write_text("not json"),
    "first entry truncated": lambda table: truncate(log_entry(table, 0)),
    "first entry gone": lambda table: log_entry(table, 0).unlink(),
    "middle entry gone": lambda table: log_entry(table, 1).unlink(),
    "every entry emptied": lambda table: [path.write_text("") for path in table.glob("_delta_log/*.json")],
    "every entry gone": lambda table: [path.unlink() for path in table.glob("_delta_log/*.json")],
    "log folder gone": lambda table: (table / "_delta_log").rename(table.parent / "moved_away"),
    "log folder a file": log_as_file,
    "checkpoint garbage": lambda table: checkpointed(table, b"garbage garbage PAR1"),
    "checkpoint empty": lambda table: checkpointed(table, b""),
    "checkpoint gone": lambda table: checkpointed(table, None),
    "table a file": lambda table: replaced_by(table, lambda path: path.write_text("a file")),
    "table a dangling link": lambda table: replaced_by(table, lambda path: path.symlink_to("/nowhere")),
    "table a link to itself": lambda table: replaced_by(table, lambda path: path.symlink_to(path)),
    "parent a file": lambda table: replaced_by(table.parent, lambda path: path.write_text("a file")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_table_is_unreadable_not_absent(filled: DeltaStore, damage: Callable[[Path], object]) -> None:
    filled.replace_days(TABLE, of_days(D1, mark=1), [D1])
    damage(Path(filled.uri(TABLE)))
    with pytest.raises(TableUnreadableError, match=TABLE) as caught:
        filled.snapshot(TABLE)
    assert caught.value.__cause__ is not None
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    refused(filled, type(caught.value), TABLE, of_days(D1, mark=9), days=[D1])


@pytest.mark.parametrize("locked", ["", "features", TABLE, f"{TABLE}/_delta_log"])
def test_a_folder_one_may_not_enter_is_unreadable_not_absent(filled: DeltaStore, locked: str) -> None:
    script = f"""
        import os
        from datetime import date
        import polars as pl
        from ml_assets.domain.errors import TableUnreadableError
        from resources.delta_store import DeltaStore
        store = DeltaStore({filled.root!r})
        if os.getuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        day = date(2013, 2, 1)
        frame = pl.DataFrame({{"partition_date": [day], "x": [1]}})
        acts = [lambda: store.snapshot({TABLE!r}), lambda: store.replace_days({TABLE!r}, frame, [day])]
        for act in acts:
            try:
                print("went through:", act())
            except TableUnreadableError as error:
                print("refused", "ermission denied" in str(error))
    """
    for folder in Path(filled.root).parents:
        # The parents are pytest's own, closed to everybody but root.
        if os.getuid() == 0 and folder.stat().st_mode & 0o077 == 0:
            folder.chmod(0o711)
    folder = Path(filled.root) / locked
    folder.chmod(0)
    try:
        child = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    finally:
        folder.chmod(0o755)
    assert child.stdout.splitlines() == ["refused True"] * 2, child.stderr
    assert marks(filled) == {D1: {0}, D2: {0}, D3: {0}, D4: {0}}


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (404, "NoSuchBucket"), (500, "InternalError"), (503, "SlowDown")],
)
def test_an_object_store_that_answers_with_an_error_is_unreadable_not_absent(status: int, code: str) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    for method in ("GET", "HEAD", "PUT", "POST"):
        setattr(Refusing, f"do_{method}", Refusing.refuse)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        store = DeltaStore(
            "s3://lake/prod",
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": "eu-central-1",
                "AWS_ACCESS_KEY_ID": "nobody",
                "AWS_SECRET_ACCESS_KEY": "nothing",
                "max_retries": "0",
            },
        )
        try:
            with pytest.raises(TableUnreadableError, match=r"s3://lake/prod/features/weather"):
                store.snapshot(TABLE)
            with pytest.raises(TableUnreadableError, match=r"s3://lake/prod/features/weather"):
                store.replace_days(TABLE, of_days(D1), [D1])
        finally:
            server.shutdown()


def test_one_failure_while_opening_stops_the_write(filled: DeltaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*args: object, **kwargs: object) -> DeltaTable:
        monkeypatch.undo()
        raise OSError("connection reset by peer")

    monkeypatch.setattr(delta_store, "DeltaTable", cut)
    refused(filled, TableUnreadableError, "connection reset", of_days(D1, mark=9), days=[D1])
    filled.replace_days(TABLE, of_days(D1, mark=9), [D1])
    assert marks(filled) == {D1: {9}, D2: {0}, D3: {0}, D4: {0}}


def test_a_table_that_appears_between_two_looks_is_opened(filled: DeltaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_early(*args: object, **kwargs: object) -> DeltaTable:
        monkeypatch.undo()
        raise TableNotFoundError("No files in log segment")

    monkeypatch.setattr(delta_store, "DeltaTable", too_early)
    snapshot = filled.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.days() == {D1, D2, D3, D4}


@pytest.mark.parametrize("left", ["_delta_log", "_delta_log/00000000000000000000.json#1", ""])
def test_what_an_interrupted_creation_leaves_is_no_table_yet(store: DeltaStore, left: str) -> None:
    target = Path(store.uri(TABLE), left)
    if target.name.endswith("#1"):
        target.parent.mkdir(parents=True)
        target.write_text('{"protocol"')
    else:
        target.mkdir(parents=True)
    assert store.snapshot(TABLE) is None
    store.replace_days(TABLE, of_days(D1), [D1])
    assert everything(store).equals(of_days(D1))


def test_a_place_where_no_table_can_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    with pytest.raises(StorageError, match=r"lake/features/weather"):
        DeltaStore(str(tmp_path / "lake")).replace_days(TABLE, of_days(D1), [D1])


# Upkeep


def test_upkeep_deletes_old_leftovers_and_nothing_that_a_recent_version_needs(filled: DeltaStore) -> None:
    filled.replace_days(TABLE, of_days(D1, mark=1), [D1])
    partition = Path(filled.uri(TABLE), f"{DAY}={D1}")
    aged, fresh = partition / "part-00000-aged-c000.parquet", partition / "part-00000-fresh-c000.parquet"
    for path in (aged, fresh):
        path.write_bytes(b"left by a killed writer")
    long_ago = time.time() - 30 * 24 * 3600
    os.utime(aged, (long_ago, long_ago))
    version = DeltaTable(filled.uri(TABLE)).version()

    assert filled.maintain(TABLE).files == 1

    assert not aged.exists()
    assert fresh.exists()
    assert list(Path(filled.uri(TABLE), "_delta_log").glob("*.checkpoint.parquet"))
    old = filled.snapshot(TABLE, version=version - 1)
    assert old is not None
    assert old.scan(D1, D2).collect().equals(of_days(D1, D2, D3, D4).filter(pl.col(DAY) == D1))
    version = DeltaTable(filled.uri(TABLE)).version()
    assert filled.maintain(TABLE).files == 0
    assert DeltaTable(filled.uri(TABLE)).version() == version
    filled.replace_days(TABLE, of_days(D1, mark=2), [D1])
    assert marks(filled) == {D1: {2}, D2: {0}, D3: {0}, D4: {0}}


def test_upkeep_keeps_an_hour_at_least_and_wants_a_table(filled: DeltaStore) -> None:
    with pytest.raises(StorageError, match="keep at least 1 hour"):
        filled.maintain(TABLE, keep_hours=0)
    with pytest.raises(StorageError, match="no such table"):
        filled.maintain("features/none")


def test_a_long_log_is_checkpointed_on_the_way_and_every_version_stays_openable(store: DeltaStore) -> None:
    log = Path(store.uri(TABLE), "_delta_log")
    long_ago = time.time() - 400 * 24 * 3600
    for mark in range(12):
        store.replace_days(TABLE, of_days(D1, rows=1, mark=mark), [D1])
        for entry in log.iterdir():
            os.utime(entry, (long_ago, long_ago))
    assert list(log.glob("*.checkpoint.parquet"))
    for version in (1, 5, 12):
        snapshot = store.snapshot(TABLE, version=version)
        assert snapshot is not None
        assert snapshot.scan(D1, D2).collect()["mark"].to_list() == [version - 1]


# The obvious twin: a dictionary of days.

ONE_WRITE = st.tuples(st.sets(st.sampled_from(FEB[:9]), min_size=1), st.sets(st.sampled_from(FEB[:9])))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=st.lists(ONE_WRITE, min_size=1, max_size=6))
def test_any_sequence_of_writes_equals_a_dictionary_of_days(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[set[date], set[date]]]
) -> None:
    store = DeltaStore(str(tmp_path_factory.mktemp("lake")))
    model: dict[date, pl.DataFrame] = {}
    for mark, (days, without_rows) in enumerate(writes):
        parts = {day: of_days(day, rows=1 + day.day % 3, mark=mark) for day in days - without_rows}
        frame = pl.concat([of_days(), *parts.values()]).sample(fraction=1, shuffle=True, seed=mark)
        commit = store.replace_days(TABLE, frame, list(days), allow_empty_days=True)
        model = {day: rows for day, rows in model.items() if day not in days} | parts
        snapshot = store.snapshot(TABLE)
        assert snapshot is not None
        assert commit.version == snapshot.version == mark + 1
        assert snapshot.rows_by_day() == {day: model[day].height for day in sorted(model)}
        stored = {day: rows for (day,), rows in everything(store).group_by(DAY, maintain_order=True)}
        assert list(stored) == sorted(model)
        for day, rows in stored.items():
            assert rows.sort("number").equals(model[day])
