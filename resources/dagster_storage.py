"""Dagster's SQLite storages on pooled connections, so that an event record costs about 1 ms instead of 10.

What belongs here: subclasses of Dagster's own storages, named in `dagster.yaml`, that change how a connection
is obtained, how many transactions an event takes, and that no event holds a secret.
What does not: another schema, another query, any opinion on what an event means.
"""

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from dagster import DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.event_log.polling_event_watcher import SqlPollingEventWatcher
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.consolidated_sqlite_event_log import SQLITE_EVENT_LOG_FILENAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._record import copy
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, bindparam, create_engine, event
from sqlalchemy.dialects import sqlite

from ml_assets.domain.errors import ToolError
from resources.dagster_partitions import end_calendars_where_they_end
from resources.redaction import without_secrets

# Every process that opens a home's instance imports this module, the web server too, and no other of ours for certain.
end_calendars_where_they_end()

WatchCallback = Callable[[EventLogEntry, str], None]

_INSERT_EVENT = SqlEventLogStorageTable.insert()
_INSERT_EVALUATION = AssetCheckExecutionsTable.insert()
_UPDATE_EVALUATION = (
    AssetCheckExecutionsTable.update()
    .where(
        *(
            AssetCheckExecutionsTable.c[name].is_not_distinct_from(bindparam(f"of_{name}"))
            for name in ("asset_key", "check_name", "run_id", "partition")
        )
    )
    .values(
        {
            name: bindparam(name)
            for name in (
                "execution_status",
                "evaluation_event",
                "evaluation_event_timestamp",
                "evaluation_event_storage_id",
                "materialization_event_storage_id",
            )
        }
    )
)


@cache
def _upsert_asset(columns: tuple[str, ...]) -> Any:
    # One upsert where Dagster inserts, fails and updates.
    row = sqlite.insert(AssetKeyTable)
    newest = {name: row.excluded[name] for name in columns}
    return row.on_conflict_do_update(index_elements=[AssetKeyTable.c.asset_key], set_=newest)


class PooledSqliteEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """All event records in `<base_dir>/event_log.db`: Dagster's schema and queries, pooled connections.

    An event is written in one transaction, with its tags, its asset row and its check row, and so is a
    batch of events; after an error nothing of it is there. Losing power can lose the newest transactions but
    not damage the file (WAL, `synchronous=NORMAL`); a killed process loses nothing it had committed.
    `DAGSTER_EVENT_BATCH_SIZE` above 0 makes Dagster hand over planned events and materialisations in batches.

    Storage objects may be shared by threads and, over one `base_dir`, by processes. A second writer waits up
    to 30 s for the first before SQLite says "database is locked".
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = _EnginePerProcess(create_db_conn_string(base_dir, SQLITE_EVENT_LOG_FILENAME))
        self._enclosing = threading.local()
        self._tables_seen: set[str] = set()
        self._asset_key_index_cols_seen = False
        self._event_watcher: SqlPollingEventWatcher | None = None
        super().__init__(base_dir, inst_data)

    def _init_db(self) -> None:
        # Dagster takes a file that exists for a finished one, so a second process, or the start after a kill,
        # would find no tables: the file appears under its name only when it is whole.
        Path(self._base_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._base_dir) as building:
            built = ConsolidatedSqliteEventLogStorage(building).get_db_path()
            with suppress(FileExistsError):
                os.link(built, self.get_db_path())

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        enclosing = getattr(self._enclosing, "connection", None)
        if enclosing is not None:
            yield enclosing
            return
        with self._engines.get().begin() as connection:
            yield connection

    @contextmanager
    def _one_transaction(self) -> Iterator[None]:
        """Every `_connect` of this thread inside the block joins one transaction."""
        with self._connect() as connection:
            outer = getattr(self._enclosing, "connection", None)
            self._enclosing.connection = connection
            try:
                yield
            finally:
                self._enclosing.connection = outer

    def _event_to_row(self, event: EventLogEntry) -> dict[str, Any]:
        row = super()._event_to_row(event)
        return {**row, "event": without_secrets(row["event"])}

    def _get_asset_entry_values(
        self, event: EventLogEntry, event_id: int, has_asset_key_index_cols: bool
    ) -> dict[str, Any]:
        values = super()._get_asset_entry_values(event, event_id, has_asset_key_index_cols)
        return {name: without_secrets(said) if isinstance(said, str) else said for name, said in values.items()}

    def store_event(self, event: EventLogEntry) -> None:
        """The event, its tags, its asset row and its check row, all or nothing."""
        # Dagster's method of this name, with statements that are built once: building them cost more than SQLite does.
        of_asset = event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS
        with self._one_transaction(), self._connect() as connection:
            row = self._event_to_row(event)
            (event_id,) = connection.execute(_INSERT_EVENT, row).inserted_primary_key
            if of_asset and event.get_dagster_event().asset_key:
                self._store_asset_event_tags(connection, [event], [event_id])
                self._store_asset_event(connection, event, event_id)
            if event.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION and event.run_id:
                self._store_evaluation(connection, event, event_id, row["event"])
            elif event.is_dagster_event and event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, event_id)

    def _store_evaluation(self, connection: Connection, event: EventLogEntry, event_id: int, said: str) -> None:
        """The check's row, where Dagster would put it: in the place of a planned one, or a new one."""
        judged = event.get_dagster_event().event_specific_data
        if not isinstance(judged, AssetCheckEvaluation):
            raise ToolError(f"an evaluation of a check holds {type(judged).__name__}, wanted AssetCheckEvaluation.")
        status = AssetCheckExecutionRecordStatus
        target = judged.target_materialization_data
        found = {
            "asset_key": judged.asset_key.to_string(),
            "check_name": judged.check_name,
            "run_id": event.run_id,
            "partition": judged.partition,
        }
        values = {
            "execution_status": (status.SUCCEEDED if judged.passed else status.FAILED).value,
            "evaluation_event": said,
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
            "materialization_event_storage_id": target.storage_id if target else None,
        }
        where = {f"of_{name}": value for name, value in found.items()}
        updated = connection.execute(_UPDATE_EVALUATION, {**values, **where}).rowcount
        if updated == 0:
            connection.execute(_INSERT_EVALUATION, {**values, **found})
        elif updated > 1:
            raise ToolError(f"{updated} rows were planned for one evaluation of {judged.asset_check_key}, wanted one.")

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """All events or none: Dagster answers a failed batch by storing each of its events again."""
        with self._one_transaction():
            super().store_event_batch(events)

    def _store_asset_event(self, connection: Connection, event: EventLogEntry, event_id: int) -> None:
        if event.dagster_event is None or event.dagster_event.asset_key is None:
            return
        has_index_cols = self._has_asset_key_index_cols_on_connection(connection)
        values = self._get_asset_entry_values(event, event_id, has_index_cols)
        if values:
            asset_key = event.dagster_event.asset_key.to_string()
            connection.execute(_upsert_asset(tuple(values)), {"asset_key": asset_key, **values})

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        if not self._asset_key_index_cols_seen:
            self._asset_key_index_cols_seen = super()._has_asset_key_index_cols_on_connection(conn)
        return self._asset_key_index_cols_seen

    def has_table(self, table_name: str) -> bool:
        """Whether the table exists; a table once seen is not looked for again."""
        if table_name in self._tables_seen:
            return True
        with self._connect() as connection:
            found = connection.dialect.has_table(connection, table_name)
        if found:
            self._tables_seen.add(table_name)
        return found

    # Dagster watches the database file, which in WAL mode changes only when the last connection closes.
    # Pooled connections stay open, so new events are polled for, as Dagster's PostgreSQL storage does.

    def watch(self, run_id: str, cursor: str | None, callback: WatchCallback) -> None:
        """Call back for each event of the run after the cursor, from a thread that polls."""
        if self._event_watcher is None:
            self._event_watcher = SqlPollingEventWatcher(self)
        self._event_watcher.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: WatchCallback) -> None:
        """Stop calling back."""
        if self._event_watcher is not None:
            self._event_watcher.unwatch_run(run_id, handler)

    def dispose(self) -> None:
        """Stop watching and close this process's connections; a later use opens new ones."""
        if self._event_watcher is not None:
            self._event_watcher.close()
            self._event_watcher = None
        super().dispose()
        self._engines.dispose()


class PooledSqliteRunStorage(SqliteRunStorage):
    """Runs, tags and snapshots in `<base_dir>/runs.db`: Dagster's run storage on pooled connections."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = _EnginePerProcess(conn_string)
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledSqliteRunStorage":
        """The storage that `dagster.yaml` describes (Dagster's own method names its own class)."""
        return cls.from_local(inst_data=inst_data, **config_value)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A pooled connection in a transaction of its own."""
        with self._engines.get().begin() as connection:
            yield connection

    def add_run(self, dagster_run: DagsterRun) -> DagsterRun:
        """Stores a run; one that is created where `runs_of` says whose it is belongs to that code location."""
        of = _LOCATION.get()
        if of is not None and dagster_run.remote_job_origin is None:
            return super().add_run(copy(dagster_run, remote_job_origin=of.get_job_origin(dagster_run.job_name)))
        return super().add_run(dagster_run)

    def dispose(self) -> None:
        """Close this process's connections; a later use opens new ones."""
        super().dispose()
        self._engines.dispose()


_LOCATION: ContextVar[RemoteRepositoryOrigin | None] = ContextVar("code location of runs begun here", default=None)


@contextmanager
def runs_of(workspace: Path) -> Iterator[None]:
    """Inside, runs that this process begins belong to the code location of a workspace, if there is such a file.

    Without one Dagster leaves a run out of its timeline, and lets nobody launch it again.
    """
    if not workspace.is_file():
        yield
        return
    (location, *_) = WorkspaceFileTarget([str(workspace)]).create_origins()
    token = _LOCATION.set(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME))
    try:
        yield
    finally:
        _LOCATION.reset(token)


class _EnginePerProcess:
    """The pooled engine of one SQLite file, one for each process that asks.

    SQLite forbids a forked child to use or close its parent's connections. The parent's engine therefore
    stays in the dictionary, untouched, and the child gets its own.
    """

    def __init__(self, conn_string: str) -> None:
        self._conn_string = conn_string
        self._engines: dict[int, Engine] = {}

    def get(self) -> Engine:
        process = os.getpid()
        engine = self._engines.get(process)
        if engine is None:
            # No lock: a fork could copy it locked. The loser of a race has opened nothing yet.
            engine = self._engines.setdefault(process, _pooled_engine(self._conn_string))
        return engine

    def dispose(self) -> None:
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()


def _pooled_engine(conn_string: str) -> Engine:
    # No upper bound: a call may ask for a second connection while it holds its first.
    engine = create_engine(conn_string, max_overflow=-1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
    event.listen(engine, "connect", _write_ahead)
    return engine


def _write_ahead(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
