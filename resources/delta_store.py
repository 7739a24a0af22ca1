"""Daily-partitioned Delta tables: how they are opened, read and written, one atomic commit at a time.

What belongs here: the only door to the lake, free of Dagster: absence told from damage, schema and day
guards, the replacing write and its retries, pruned reads, upkeep.
What does not: which days of which asset are read or written and what a run records about it
(`resources/delta_io_manager.py`), and any judgement about the values.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from itertools import takewhile
from os import scandir
from os.path import lexists
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import polars as pl
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Schema,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from ml_assets.domain.errors import (
    CommitConflictError,
    EmptyDayError,
    RowsOutsideDaysError,
    SchemaChangeRefusedError,
    StorageError,
    TableUnreadableError,
)
from resources.redaction import without_secrets

DAY: Final = "partition_date"

_ONE_DAY = timedelta(days=1)
_TABLE_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
_COLOURS, _STACK_LINE = re.compile(r"\x1b\[\d*m"), re.compile(r"\s*\d+: ")
_UNFIT_IN_ROOT = frozenset("=%[]\\^|")
_TRIES = 50
_FIRST_WAIT_S, _LONGEST_WAIT_S, _WAIT_GROWTH = 0.005, 0.5, 1.3
_JITTER = random.SystemRandom()

# A file holds one day, so statistics of the other columns prune nothing; without them the log is a quarter
# of the size and a table opens several times faster, as it does with a checkpoint every 10 commits, not 100.
# Logs are kept, so that every version stays openable.
_TABLE_CONFIGURATION = {
    "delta.dataSkippingNumIndexedCols": "0",
    "delta.enableExpiredLogCleanup": "false",
    "delta.checkpointInterval": "10",
}
# Writer properties without a compression mean none.
_WRITER = WriterProperties(compression="SNAPPY", default_column_properties=ColumnProperties(statistics_enabled="CHUNK"))

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


@dataclass(frozen=True)
class TableSnapshot:
    """A table opened at one version: everything read from it is of that version.

    Attributes:
        table: its name in the store, such as `features/weather`.
        version: the Delta version.
        uri: where it lies.

    A lazy frame of it fails with `FileNotFoundError` when `DeltaStore.maintain` has meanwhile deleted the
    files of a version this old.
    """

    table: str
    version: int
    uri: str
    _delta: DeltaTable = field(repr=False, compare=False)
    _storage_options: Mapping[str, str] = field(repr=False, compare=False)

    def days(self) -> frozenset[date]:
        """The days that have a file, from the log alone."""
        return frozenset(self._files["day"].to_list())

    def rows_by_day(self) -> dict[date, int]:
        """Rows of each day, in day order, from the log; data is scanned only where the log has no count."""
        counted = {
            day: rows if uncounted == 0 else self._count(day)
            for day, rows, uncounted in self._files.group_by("day", maintain_order=True)
            .agg(pl.col("rows").sum(), pl.col("rows").null_count().alias("uncounted"))
            .iter_rows()
        }
        return dict(counted)

    def bytes_by_day(self) -> dict[date, int]:
        """Stored bytes of each day, in day order, from the log."""
        return dict(self._files.group_by("day", maintain_order=True).agg(pl.col("bytes").sum()).iter_rows())

    def schema(self) -> pl.Schema:
        """The stored columns and their types, in stored order."""
        return pl.Schema(self._delta.schema())

    def scan(self, start: date, end: date) -> pl.LazyFrame:
        """Rows of the days in `[start, end)`, in day order and within a day in the order written.

        Only files of those days are opened; a range without rows is a frame without rows. Columns that a day
        was written without are null.

        Raises:
            StorageError: the range ends before it starts.
        """
        if start > end:
            raise StorageError(f"{self.uri}: the range [{start}, {end}) ends before it starts")
        schema = self.schema()
        paths = self._files.filter(pl.col("day").is_between(start, end, closed="left"))["path"].to_list()
        if not paths:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(
            [path if "://" in path else f"{self.uri}/{unquote(path)}" for path in paths],
            schema=schema,
            hive_partitioning=True,
            hive_schema={DAY: pl.Date},
            missing_columns="insert",
            glob=False,
            storage_options=dict(self._storage_options) or None,
        ).select(schema.names())

    @cached_property
    def _files(self) -> pl.DataFrame:
        actions = pl.DataFrame(self._delta.get_add_actions(flatten=True))
        shape = {"path": pl.String, "day": pl.Date, "rows": pl.Int64, "bytes": pl.Int64}
        if actions.is_empty():
            return pl.DataFrame(schema=shape)
        counts = pl.col("num_records") if "num_records" in actions.columns else pl.lit(None, pl.Int64)
        return actions.select(
            "path",
            pl.col(f"partition.{DAY}").alias("day"),
            counts.alias("rows"),
            pl.col("size_bytes").alias("bytes"),
        ).sort("day", "path")

    def _count(self, day: date) -> int:
        return int(self.scan(day, day + _ONE_DAY).select(pl.len()).collect().item())


@dataclass(frozen=True)
class Commit:
    """What a write did.

    Attributes:
        version: the Delta version that holds the written days.
        rows: rows written, and `rows_by_day` of each day named, 0 for one that was emptied.
        bytes: compressed bytes of the files written, and `bytes_by_day`.
        schema: stored columns and the names of their polars types, in stored order.
    """

    table: str
    version: int
    rows: int
    bytes: int
    rows_by_day: Mapping[date, int]
    bytes_by_day: Mapping[date, int]
    schema: Mapping[str, str]


@dataclass(frozen=True)
class DeltaStore:
    """A lake of Delta tables, each partitioned by the day in `partition_date`.

    Attributes:
        root: directory or object-store URI of the lake.
        storage_options: what the object store needs (endpoint, credentials), passed on untouched.
    """

    root: str
    storage_options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __post_init__(self) -> None:
        unfit = sorted(set(self.root) & _UNFIT_IN_ROOT)
        if unfit:
            raise StorageError(
                f"the lake's root {self.root!r} holds {unfit[0]!r}: readers take a folder with '=' for a "
                "column, and deltalake fails on any of % [ ] \\ ^ |; choose another root"
            )

    def uri(self, table: str) -> str:
        """Where the table lies: `<root>/<table>`."""
        if not _TABLE_NAME.fullmatch(table):
            raise StorageError(f"{table!r} is no table name: wanted names of [A-Za-z0-9_.-] joined by '/'")
        return f"{self.root.rstrip('/')}/{table}"

    def snapshot(self, table: str, *, version: int | None = None, timestamp: str | None = None) -> TableSnapshot | None:
        """The table as it is now, at a version or as of a timestamp; None when there is no such table.

        `timestamp` is ISO 8601 with an offset; a commit counts from the time its log file was stored.

        Raises:
            TableUnreadableError: something is there and cannot be opened, or is not partitioned by day.
            StorageError: the version does not exist, or the timestamp is malformed or older than the table.
        """
        if version is not None and timestamp is not None:
            raise StorageError(f"{self.uri(table)}: give a version or a timestamp, not both")
        delta = self._open(table)
        if delta is None:
            return None
        if fault := _layout_fault(delta):
            raise TableUnreadableError(f"{self.uri(table)}: {fault}")
        if version is not None:
            self._travel_to_version(delta, table, version)
        if timestamp is not None:
            self._travel_to_time(delta, table, timestamp)
        return self._snapshot_of(delta, table)

    def replace_days(
        self,
        table: str,
        frame: pl.DataFrame | pl.LazyFrame,
        days: Sequence[date],
        *,
        commit_metadata: Mapping[str, str] = MappingProxyType({}),
        add_columns: frozenset[str] = frozenset(),
        allow_empty_days: bool = False,
    ) -> Commit:
        """Replaces exactly the named days by the frame's rows, in one atomic commit.

        Every other day keeps what it has. The table is created first when there is none. Rows keep the order
        given within their day. Categorical and Enum are stored as String, unsigned integers up to 32 bits as
        the next wider signed ones, arrays as lists. Of two writers of the same day the later commit wins.

        Args:
            table: its name, such as `features/weather`.
            frame: the rows of all named days, with the day in `partition_date` (Date).
            days: the days to replace; gaps between them stay untouched.
            commit_metadata: what the commit records about its origin.
            add_columns: columns that may be new to the table; older days read null there.
            allow_empty_days: whether a named day may have no rows, which deletes it.

        Raises:
            RowsOutsideDaysError: rows of other days, or without a day.
            EmptyDayError: a named day has no rows.
            SchemaChangeRefusedError: a column is missing, retyped or new, or the table is not one by day.
            TableUnreadableError: something is there and cannot be opened.
            CommitConflictError: other writers kept winning; nothing was written.
            StorageError: no day or a malformed one is named, a type cannot be stored, or the store failed.
        """
        uri = self.uri(table)
        wanted = _named_days(uri, days)
        rows = _in_stored_types(uri, frame.lazy().collect())
        rows_by_day = _rows_of_days(uri, rows, wanted, allow_empty_days=allow_empty_days)
        read_version, refusal = -1, None
        for attempt in range(_TRIES):
            delta = self._open(table) or self._create(table, rows.schema)
            if delta.version() == read_version:
                raise StorageError(f"{uri}: refused, though nobody else wrote: {_said(refusal)}") from refusal
            read_version = delta.version()
            grows = _check_schema(uri, delta, rows.schema, add_columns)
            try:
                self._write(delta, rows, wanted, commit_metadata, grows=grows)
            except CommitFailedError as error:
                refusal = error
                time.sleep(_wait_s(attempt))
            except Exception as error:
                raise StorageError(f"{uri}: writing {_days_text(wanted)}: {_said(error)}") from error
            else:
                return self._commit_of(self._snapshot_of(delta, table), rows_by_day)
        raise CommitConflictError(
            f"{uri}: {_TRIES} tries to write {_days_text(wanted)} each met another writer's commit; nothing "
            f"was written. Let writers of the same days run one after another. The last: {_said(refusal)}"
        ) from refusal

    def maintain(self, table: str, *, keep_hours: int = 168) -> int:
        """Number of files deleted: those that no version of the last `keep_hours` hours needs.

        Writes a checkpoint as well. Older versions stay in the log, but their rows can no longer be read.

        Raises:
            StorageError: there is no such table, or fewer than one hour is to be kept, which could delete
                files that a writer at work is about to commit.
        """
        uri = self.uri(table)
        if keep_hours < 1:
            raise StorageError(f"{uri}: keep_hours is {keep_hours}; keep at least 1 hour for writers at work")
        delta = self._open(table)
        if delta is None:
            raise StorageError(f"{uri}: no such table to maintain")
        vacuum = partial(delta.vacuum, retention_hours=keep_hours, full=True, enforce_retention_duration=False)
        try:
            delta.create_checkpoint()
            # A vacuum commits twice even when it deletes nothing, and a version ought to mean a change.
            return len(vacuum(dry_run=False)) if vacuum(dry_run=True) else 0
        except Exception as error:
            raise StorageError(f"{uri}: upkeep failed: {_said(error)}. No row is lost; run it again") from error

    def _open(self, table: str) -> DeltaTable | None:
        uri = self.uri(table)
        found = None
        for _ in range(2):
            try:
                return DeltaTable(uri, storage_options=dict(self.storage_options))
            except TableNotFoundError as error:
                # deltalake says "not found" for a folder it may not enter, a dangling link and lost logs too.
                cause: Exception = error
                found = _left_behind(uri)
                if found is None:
                    return None
                # A table created between the two looks opens at the second try.
            except Exception as error:
                raise TableUnreadableError(
                    f"{uri}: a table may be there but cannot be opened: {_said(error)}. Nothing was changed; "
                    "see to access and connection, else restore its _delta_log"
                ) from error
        raise TableUnreadableError(
            f"{uri}: no table can be opened, yet the place is not empty: {found}. Nothing was changed; "
            "restore it or move it away"
        ) from cause

    def _create(self, table: str, schema: pl.Schema) -> DeltaTable:
        try:
            return DeltaTable.create(
                self.uri(table),
                Schema.from_arrow(schema),
                partition_by=[DAY],
                configuration=_TABLE_CONFIGURATION,
                storage_options=dict(self.storage_options),
                # With retries, the loser of a race commits its schema over that of the winner's table.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except (DeltaError, OSError) as error:
            created_by_another = self._open(table)
            if created_by_another is None:
                raise StorageError(f"{self.uri(table)}: cannot create the table: {_said(error)}") from error
            return created_by_another

    def _write(
        self,
        delta: DeltaTable,
        rows: pl.DataFrame,
        days: Sequence[date],
        commit_metadata: Mapping[str, str],
        *,
        grows: bool,
    ) -> None:
        stored = [name for name in pl.Schema(delta.schema()).names() if name in rows.columns]
        new = [name for name in rows.columns if name not in stored]
        write_deltalake(
            delta,
            rows.select(stored + new),
            mode="overwrite",
            predicate=_predicate(days),
            schema_mode="merge" if grows else None,
            writer_properties=_WRITER,
            commit_properties=CommitProperties(custom_metadata=dict(commit_metadata)),
        )

    def _snapshot_of(self, delta: DeltaTable, table: str) -> TableSnapshot:
        return TableSnapshot(table, delta.version(), self.uri(table), delta, self.storage_options)

    @staticmethod
    def _commit_of(written: TableSnapshot, rows_by_day: Mapping[date, int]) -> Commit:
        stored = written.bytes_by_day()
        bytes_by_day = {day: stored.get(day, 0) for day in rows_by_day}
        return Commit(
            table=written.table,
            version=written.version,
            rows=sum(rows_by_day.values()),
            bytes=sum(bytes_by_day.values()),
            rows_by_day=rows_by_day,
            bytes_by_day=bytes_by_day,
            schema={name: str(dtype) for name, dtype in written.schema().items()},
        )

    def _travel_to_version(self, delta: DeltaTable, table: str, version: int) -> None:
        newest = delta.version()
        if not 0 <= version <= newest:
            raise StorageError(f"{self.uri(table)}: there is no version {version}; the newest is {newest}")
        try:
            delta.load_as_version(version)
        except (DeltaError, OSError) as error:
            raise TableUnreadableError(f"{self.uri(table)}: version {version}: {_said(error)}") from error

    def _travel_to_time(self, delta: DeltaTable, table: str, timestamp: str) -> None:
        try:
            wanted = datetime.fromisoformat(timestamp)
        except ValueError:
            wanted = None
        if wanted is None or wanted.tzinfo is None:
            raise StorageError(
                f"{self.uri(table)}: {timestamp!r} is no ISO 8601 timestamp with an offset, such as "
                "2013-02-08T00:00:00Z"
            )
        created = datetime.fromtimestamp(delta.metadata().created_time / 1000, UTC)
        # deltalake answers with version 0 instead.
        if wanted < created:
            raise StorageError(f"{self.uri(table)}: no table as of {timestamp}, it was created {created}")
        try:
            delta.load_as_version(wanted)
        except (DeltaError, OSError) as error:
            raise TableUnreadableError(f"{self.uri(table)}: as of {timestamp}: {_said(error)}") from error


def _said(error: BaseException | None) -> str:
    """The error's own words in one line, without secrets, terminal colours and the native stack."""
    lines = _COLOURS.sub("", without_secrets(str(error))).splitlines()
    return " ".join(line.strip() for line in takewhile(lambda line: not _STACK_LINE.match(line), lines))


def _left_behind(uri: str) -> str | None:
    """What stands where no table was found; None for nothing that matters, and for object stores."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        path = Path(url2pathname(parts.path))
    elif "://" in uri:
        return None
    else:
        path = Path(uri)
    try:
        with scandir(path) as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        return "a link that leads nowhere" if lexists(path) else None
    except OSError as error:
        return str(error)
    # An interrupted creation leaves an empty log folder, or a staged file in it, and that is no table yet.
    logs = [log.name for log in path.glob("_delta_log/*") if log.suffix in {".json", ".parquet"}]
    if logs or (names and "_delta_log" not in names):
        return ", ".join(sorted(logs or names)[:3])
    data = next(path.rglob("*.parquet"), None)
    return None if data is None else f"data files without a log, such as {data.relative_to(path)}"


def _layout_fault(delta: DeltaTable) -> str | None:
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


def _named_days(uri: str, days: Sequence[date]) -> list[date]:
    if not days:
        raise StorageError(f"{uri}: no day is named, so there is nothing to replace")
    if odd := [day for day in days if type(day) is not date]:
        raise StorageError(f"{uri}: {odd[0]!r} is no datetime.date")
    return sorted(set(days))


def _runs(days: Sequence[date]) -> list[tuple[date, date]]:
    """Half-open ranges that hold exactly the given days, which are sorted and distinct."""
    named = set(days)
    starts = [day for day in days if day - _ONE_DAY not in named]
    ends = [day + _ONE_DAY for day in days if day + _ONE_DAY not in named]
    return list(zip(starts, ends, strict=True))


def _predicate(days: Sequence[date]) -> str:
    ranges = (f"({DAY} >= '{start}' AND {DAY} < '{end}')" for start, end in _runs(days))
    return " OR ".join(ranges)


def _days_text(days: Sequence[date]) -> str:
    texts = [str(start) if end == start + _ONE_DAY else f"[{start}, {end})" for start, end in _runs(days)]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def _rows_of_days(uri: str, rows: pl.DataFrame, wanted: Sequence[date], *, allow_empty_days: bool) -> dict[date, int]:
    held = Counter(dict(rows.group_by(DAY).len().iter_rows()))
    outside = {day: held[day] for day in held.keys() - set(wanted)}
    if outside:
        texts = [f"no day ({outside.pop(None)} rows)"] if None in outside else []
        texts += [f"{day} ({count} rows)" for day, count in sorted(outside.items())[:5]]
        texts += [f"{len(outside) - 5} more days"] if len(outside) > 5 else []
        raise RowsOutsideDaysError(
            f"{uri}: the write covers {_days_text(wanted)}, the frame also holds {', '.join(texts)}; nothing "
            "was written. Cut the output to the days, or name them"
        )
    empty = [day for day in wanted if not held[day]]
    if empty and not allow_empty_days:
        raise EmptyDayError(
            f"{uri}: no rows for {_days_text(empty)}; nothing was written. Leave those days out, or say that "
            "they may be empty"
        )
    return {day: held[day] for day in wanted}


def _in_stored_types(uri: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every column in a type that the lake keeps without loss."""
    given = frame.schema
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


def _check_schema(uri: str, delta: DeltaTable, given: pl.Schema, add_columns: Iterable[str]) -> bool:
    """Whether the write adds columns; every other difference from the stored schema is refused."""
    if fault := _layout_fault(delta):
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
    return bool(new)


def _wait_s(attempt: int) -> float:
    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * _WAIT_GROWTH**attempt)
    return _JITTER.uniform(0.0, longest)
