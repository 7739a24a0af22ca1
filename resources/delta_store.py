"""Daily-partitioned Delta tables: how they are opened, read and written, one atomic commit at a time.

What belongs here: the only door to the lake, free of Dagster: absence told from damage, schema and day
guards, the replacing write and its retries, pruned reads, upkeep.
What does not: files and rows (`day_files.py`, `table_snapshot.py`), types (`ml_assets/domain/stored_types.py`), days in
words (`named_days.py`), what was lost (`table_marks.py`), which days of which asset are read or written and what a run
records about it (`delta_io_manager.py`), and any judgement about the values.
"""

import json
import random
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from os import scandir
from os.path import lexists
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from ml_assets.domain.errors import (
    CommitConflictError,
    LogLostError,
    MlAssetsError,
    StorageError,
    TableUnreadableError,
)
from ml_assets.domain.stored_types import in_stored_types
from resources.day_files import DAY, DayFile, DayFiles, counted
from resources.named_days import check_days, day_counts, days_text, named_days, predicate_of
from resources.stored_schema import delta_schema, layout_fault, schema_after
from resources.table_folder import TableFolder
from resources.table_marks import STATED, Contents, Mark, Marks, cut_off, files_of, log_file, what_is_lost
from resources.table_snapshot import TableSnapshot, said

__all__ = ["DAY", "Commit", "CommitRecord", "DeltaStore", "Maintained", "TableSnapshot"]

_ONE_DAY = timedelta(days=1)
_TABLE_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
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
# What deltalake or Delta itself puts into a commit's information, beside what we give it.
_DELTAS_OWN = frozenset(
    {"timestamp", "operation", "operationParameters", "operationMetrics", "engineInfo", "clientVersion"}
)


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


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One commit of a table's log: what it says of itself, with the metadata its writer gave it."""

    version: int
    timestamp: datetime
    operation: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Maintained:
    """What upkeep deleted of a table, and how many old files it kept because a version to be kept needs them."""

    table: str
    files: int
    bytes: int
    kept: int


@dataclass(frozen=True, slots=True)
class _DayWrite:
    """What `replace_days` was asked for; `kept` are the days that are stored even without rows."""

    table: str
    rows: pl.DataFrame | pl.LazyFrame
    days: Sequence[date]
    kept: Sequence[date]
    may_be_empty: bool
    commit_metadata: Mapping[str, str]
    add_columns: frozenset[str]


@dataclass(frozen=True)
class DeltaStore:
    """A lake of Delta tables, each partitioned by the day in `partition_date`.

    Attributes:
        root: directory or object-store URI of the lake.
        storage_options: what the object store needs (endpoint, credentials), passed on untouched.
        marks: folder outside the lake in which each commit is recorded, so that a log that lost its newest
            commits, or a table that is gone, is noticed. Of an object store that several machines write, each
            keeps marks of its own commits: they protect what this machine has seen.
    """

    root: str
    storage_options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    marks: Path | None = None

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
            LogLostError: commits of the table are lost, or the table itself, which was recorded.
            TableUnreadableError: something is there and cannot be opened, or is not partitioned by day.
            StorageError: the version does not exist, or the timestamp is malformed or older than the table.
        """
        if version is not None and timestamp is not None:
            raise StorageError(f"{self.uri(table)}: give a version or a timestamp, not both")
        delta = self._open(table)
        if delta is None:
            return None
        if fault := layout_fault(delta):
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
        keep_empty_days: bool = False,
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
            keep_empty_days: whether a named day may have no rows, which stores it with none: it counts as held.

        Raises:
            RowsOutsideDaysError: rows of other days, or without a day.
            EmptyDayError: a named day has no rows.
            SchemaChangeRefusedError: a column is missing, retyped or new, or the table is not one by day.
            TableUnreadableError: something is there and cannot be opened.
            CommitConflictError: other writers kept winning; nothing was written.
            StorageError: no day or a malformed one is named, a type cannot be stored, or the store failed.
        """
        uri = self.uri(table)
        wanted = named_days(uri, days)
        if allow_empty_days and keep_empty_days:
            raise StorageError(f"{uri}: a day without rows is either deleted or kept empty; name one of the two")
        rows = in_stored_types(uri, frame)
        may_be_empty = allow_empty_days or keep_empty_days
        if isinstance(rows, pl.DataFrame):
            check_days(uri, day_counts(rows), wanted, may_be_empty=may_be_empty)
        kept = wanted if keep_empty_days else []
        asked = _DayWrite(table, rows, wanted, kept, may_be_empty, commit_metadata, add_columns)
        written = DayFiles(self._folder(table))
        try:
            return self._replace(asked, written)
        except MlAssetsError:
            written.take_back()
            raise

    def note(self, table: str, commit_metadata: Mapping[str, str]) -> int:
        """The version of a commit that changes nothing and only records metadata.

        Raises:
            StorageError: there is no such table, or the store failed.
            CommitConflictError: other writers kept winning; nothing was written.
        """
        return self._noted(table, commit_metadata, self._open)

    def declare_loss(self, table: str) -> TableSnapshot | None:
        """The table as it counts from now on, whatever it lost; None when it is absent and may begin anew.

        What is there is recorded in a commit of its own. A newest log file that cannot be read is set aside.

        Raises:
            TableUnreadableError: what is there is no table that can be opened, even without its newest commit.
            StorageError: the store failed.
        """
        if self.marks:
            Marks(self.marks).renew(table, None)
        if self._open_without_its_cut_end(table) is None:
            return None
        self._noted(table, {"loss_declared": "what is there counts"}, self._open_without_its_cut_end)
        return self.snapshot(table)

    def commits_after(self, table: str, version: int) -> list[CommitRecord]:
        """The commits newer than a version, oldest first; from -1 on all of them, none for an absent table.

        Reads one log file a commit, so that the cost is that of what is new.

        Raises:
            TableUnreadableError: the table cannot be opened, or a commit's log file is gone or damaged.
        """
        delta = self._open(table)
        if delta is None:
            return []
        folder = self._folder(table)
        return [_record(folder, new) for new in range(version + 1, delta.version() + 1)]

    def commit(self, table: str, version: int) -> CommitRecord:
        """What the commit of a version says of itself.

        Raises:
            TableUnreadableError: the commit's log file is gone or damaged.
        """
        return _record(self._folder(table), version)

    def moved_on(self, table: str, version: int) -> bool:
        """Whether the table is no longer at a version it was seen at (-1: absent); opening it tells the rest.

        On a local disk two existence tests of log files; an object store's table is opened.
        """
        folder = self._folder(table)
        if folder.local is None:
            delta = self._open(table)
            return (delta.version() if delta else -1) != version
        seen = version < 0 or (folder.local / log_file(version)).exists()
        return not seen or (folder.local / log_file(version + 1)).exists()

    def tables(self) -> list[str]:
        """Every table of the lake named `<stage>/<name>`, declared or not."""
        lake = TableFolder(self.root, self.storage_options)
        return [
            f"{stage}/{name}"
            for stage in lake.folders()
            for name in lake.folders(stage)
            if "_delta_log" in lake.folders(f"{stage}/{name}")
        ]

    def maintain(
        self, table: str, *, keep_hours: int = 168, keep_versions: Collection[int] = (), remove: bool = True
    ) -> Maintained:
        """Deletes the files that no version of the last `keep_hours` hours and none of `keep_versions` needs.

        Writes a checkpoint as well, and makes no commit. Other versions stay in the log, but their rows can no longer
        be read. A day is one file up to a gigabyte, so there is nothing to compact. Without `remove` nothing is
        changed, only told.

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
        folder = self._folder(table)
        try:
            old = delta.vacuum(retention_hours=keep_hours, dry_run=True, full=True, enforce_retention_duration=False)
            needed = _needed_by(folder, delta.version(), sorted(keep_versions)) if old else set()
            unneeded = sorted({unquote(path) for path in old} - needed)
            size = sum(folder.size(path) for path in unneeded)
            if remove:
                delta.create_checkpoint()
                for path in unneeded:
                    folder.delete(path)
        except Exception as error:
            raise StorageError(f"{uri}: upkeep failed: {said(error)}. No row is lost; run it again") from error
        return Maintained(table, len(unneeded), size, len(old) - len(unneeded))

    def _open(self, table: str) -> DeltaTable | None:
        """The table at its newest version, None for an absent one; one whose log lost something is refused."""
        mark = Marks(self.marks).read(table) if self.marks else None
        folder = self._folder(table)
        try:
            delta = self._open_as_it_is(table)
        except TableUnreadableError as error:
            if cut := _cut_log_file(folder):
                raise self._lost(table, f"its newest commit, {cut.name}, is cut off or garbage", mark) from error
            raise
        if delta is None and mark is not None:
            raise self._lost(table, f"the whole table is gone, recorded at version {mark.version}", mark)
        if delta is not None and (lost := what_is_lost(delta, folder, mark)):
            raise self._lost(table, lost, mark)
        return delta

    def _lost(self, table: str, lost: str, mark: Mark | None) -> LogLostError:
        held = f"; recorded were {mark.days} days" if mark else ""
        return LogLostError(
            f"{self.uri(table)}: the table's log has lost content: {lost}{held}. Nothing was changed. Restore the "
            f"table's folder, or declare the loss with `ml-assets accept-loss {table}`: what is there counts then"
        )

    def _folder(self, table: str) -> TableFolder:
        return TableFolder(self.uri(table), self.storage_options)

    def _open_as_it_is(self, table: str) -> DeltaTable | None:
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
                    f"{uri}: a table may be there but cannot be opened: {said(error)}. Nothing was changed; "
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
                commit_properties=_exactly_next(Contents.of(()).statement(lines=3)),
            )
        except (DeltaError, OSError) as error:
            created_by_another = self._open(table)
            if created_by_another is None:
                raise StorageError(f"{self.uri(table)}: cannot create the table: {said(error)}") from error
            return created_by_another

    def _replace(self, asked: _DayWrite, written: DayFiles) -> Commit:
        table, wanted, given = asked.table, asked.days, asked.rows.collect_schema()
        uri = self.uri(table)
        files: list[DayFile] | None = None
        read_version, refusal = -1, None
        for attempt in range(_TRIES):
            delta = self._open(table) or self._create(table, given)
            if delta.version() == read_version:
                raise StorageError(f"{uri}: refused, though nobody else wrote: {said(refusal)}") from refusal
            read_version = delta.version()
            schema = schema_after(uri, delta, given, asked.add_columns)
            if files is None:
                files = _filed(uri, written, asked, schema)
                check_days(uri, counted(files), wanted, may_be_empty=asked.may_be_empty)
            try:
                self._write(delta, schema, files, asked)
            except CommitFailedError as error:
                refusal = error
                time.sleep(_wait_s(attempt))
            except Exception as error:
                # Whether the commit landed is not known, so its files stay.
                written.begun.clear()
                raise StorageError(f"{uri}: writing {days_text(wanted)}: {said(error)}") from error
            else:
                return _commit_of(table, read_version + 1, files, wanted, schema)
        raise CommitConflictError(
            f"{uri}: {_TRIES} tries to write {days_text(wanted)} each met another writer's commit; nothing "
            f"was written. Let writers of the same days run one after another. The last: {said(refusal)}"
        ) from refusal

    def _write(
        self,
        delta: DeltaTable,
        schema: pl.Schema,
        files: Sequence[DayFile],
        asked: _DayWrite,
    ) -> None:
        """Commits the files as all there is of the days; a schema wider than the stored one goes with them.

        The commit is the version after the one that `delta` was opened at, or none: what it removes is what
        that version holds, so that nothing of another writer can stay beside it or go unseen.
        """
        told = {"operationParameters": {"mode": "Overwrite", "predicate": predicate_of(asked.days)}}
        days = set(asked.days)
        before = files_of(delta)
        kept = [each for each in before if each[1] not in days]
        after = Contents.of([*kept, *((each.path, each.day) for each in files)])
        grows = len(schema) > len(delta.schema().fields)
        lines = 1 + len(files) + len(before) - len(kept) + grows
        delta.create_write_transaction(
            [each.add_action() for each in files],
            "overwrite",
            delta_schema(delta, schema),
            [DAY],
            [(DAY, "in", [str(day) for day in asked.days])],
            commit_properties=_exactly_next({**asked.commit_metadata, **told, **after.statement(lines)}),
        )
        self._record(asked.table, delta, after)

    def _noted(self, table: str, commit_metadata: Mapping[str, str], opened: Callable[[str], DeltaTable | None]) -> int:
        uri, refusal = self.uri(table), None
        for attempt in range(_TRIES):
            delta = opened(table)
            if delta is None:
                raise StorageError(f"{uri}: no such table to note anything on")
            held = Contents.of(files_of(delta))
            told = _exactly_next({**commit_metadata, **held.statement(lines=1)})
            try:
                delta.create_write_transaction([], "append", delta.schema(), [DAY], commit_properties=told)
            except CommitFailedError as error:
                refusal = error
                time.sleep(_wait_s(attempt))
            except Exception as error:
                raise StorageError(f"{uri}: noting {dict(commit_metadata)}: {said(error)}") from error
            else:
                self._record(table, delta, held)
                return delta.version() + 1
        raise CommitConflictError(
            f"{uri}: {_TRIES} tries to note something each met another writer's commit; nothing was written. "
            f"The last: {said(refusal)}"
        ) from refusal

    def _open_without_its_cut_end(self, table: str) -> DeltaTable | None:
        try:
            return self._open_as_it_is(table)
        except TableUnreadableError:
            cut = _cut_log_file(self._folder(table))
            if cut is None:
                raise
            cut.rename(cut.with_name(f"lost_{cut.name}_{time.time_ns()}"))
            return self._open_as_it_is(table)

    def _record(self, table: str, delta: DeltaTable, after: Contents) -> None:
        """Marks the commit that has just been made on top of `delta`."""
        if self.marks is None:
            return
        try:
            mark = Mark.of(self._folder(table), str(delta.metadata().id), delta.version() + 1, after)
            Marks(self.marks).record(table, mark)
        except OSError as error:
            raise StorageError(
                f"{self.uri(table)}: version {delta.version() + 1} was committed, but its mark cannot be written in "
                f"{self.marks}: {error}. See to the folder and run it again"
            ) from error

    def _snapshot_of(self, delta: DeltaTable, table: str) -> TableSnapshot:
        return TableSnapshot(
            table, delta.version(), self.uri(table), str(delta.metadata().id), delta, self.storage_options
        )

    def _travel_to_version(self, delta: DeltaTable, table: str, version: int) -> None:
        newest = delta.version()
        if not 0 <= version <= newest:
            raise StorageError(f"{self.uri(table)}: there is no version {version}; the newest is {newest}")
        try:
            delta.load_as_version(version)
        except (DeltaError, OSError) as error:
            raise TableUnreadableError(f"{self.uri(table)}: version {version}: {said(error)}") from error

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
            raise TableUnreadableError(f"{self.uri(table)}: as of {timestamp}: {said(error)}") from error


def _cut_log_file(folder: TableFolder) -> Path | None:
    """The newest log file of a table on a local disk, when it is no whole one."""
    if folder.local is None:
        return None
    try:
        logs = sorted((folder.local / "_delta_log").glob(f"{'[0-9]' * 20}.json"))
        return logs[-1] if logs and cut_off(logs[-1].read_bytes()) else None
    except OSError:
        # Why the table cannot be opened is told by the error that led here.
        return None


def _left_behind(uri: str) -> str | None:
    """What stands where no table was found; None for nothing that matters, and for object stores."""
    path = TableFolder(uri, {}).local
    if path is None:
        return None
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


def _filed(uri: str, written: DayFiles, asked: _DayWrite, schema: pl.Schema) -> list[DayFile]:
    """The files of the asked rows, and one without rows for each kept day that has none."""
    rows, columns = asked.rows, [name for name in schema if name != DAY]
    failures = Exception if isinstance(rows, pl.DataFrame) else OSError
    try:
        if isinstance(rows, pl.DataFrame):
            files = written.write(rows, columns)
        else:
            files = written.stream(rows, columns, asked.days)
        return files + written.empty(sorted(set(asked.kept) - counted(files).keys()), schema)
    except failures as error:
        raise StorageError(
            f"{uri}: the files of {days_text(asked.days)} cannot be written: {said(error)}. Nothing was committed"
        ) from error


def _commit_of(table: str, version: int, files: Sequence[DayFile], days: Sequence[date], schema: pl.Schema) -> Commit:
    rows_by_day, bytes_by_day = dict.fromkeys(days, 0), dict.fromkeys(days, 0)
    for each in files:
        rows_by_day[each.day] += each.rows
        bytes_by_day[each.day] += each.bytes
    return Commit(
        table=table,
        version=version,
        rows=sum(rows_by_day.values()),
        bytes=sum(bytes_by_day.values()),
        rows_by_day=rows_by_day,
        bytes_by_day=bytes_by_day,
        schema={name: str(dtype) for name, dtype in schema.items()},
    )


def _exactly_next(commit_metadata: Mapping[str, Any]) -> CommitProperties:
    # Without a retry of its own deltalake commits the version after the one it read, or nothing.
    return CommitProperties(custom_metadata=dict(commit_metadata), max_commit_retries=0)


def _record(folder: TableFolder, version: int) -> CommitRecord:
    content = folder.content(log_file(version))
    entries = [json.loads(line) for line in content.splitlines()] if content else []
    told = next((entry["commitInfo"] for entry in entries if "commitInfo" in entry), None)
    if told is None:
        raise TableUnreadableError(f"{folder.uri}: {log_file(version)} is gone or damaged; restore it")
    return CommitRecord(
        version,
        datetime.fromtimestamp(told["timestamp"] / 1000, UTC),
        told["operation"],
        {name: value for name, value in told.items() if name not in _DELTAS_OWN and not name.startswith(STATED)},
    )


def _needed_by(folder: TableFolder, newest: int, versions: Sequence[int]) -> set[str]:
    """The files, of those that some commit removed, that one of the versions holds."""
    added: dict[str, int] = {}
    needed: set[str] = set()
    for version in range(newest + 1 if versions else 0):
        content = folder.content(log_file(version)) or b""
        for line in content.splitlines():
            if line.startswith(b'{"add"'):
                added[unquote(json.loads(line)["add"]["path"])] = version
            elif line.startswith(b'{"remove"'):
                path = unquote(json.loads(line)["remove"]["path"])
                # A file whose commit is not in the log any more counts as old as the table.
                first = bisect_left(versions, added.get(path, 0))
                if first < len(versions) and versions[first] < version:
                    needed.add(path)
    return needed


def _wait_s(attempt: int) -> float:
    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * _WAIT_GROWTH**attempt)
    return _JITTER.uniform(0.0, longest)
