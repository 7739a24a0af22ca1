"""The pooled storages hold what Dagster's own hold, under threads, processes, forks, kills and failed writes.

What belongs here: comparisons with the stock classes on recorded runs, and what pooling could break.
What does not: speed (`benchmarks/event_records.py`).
"""

import gc
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSpec,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    AssetsDefinition,
    BackfillPolicy,
    DagsterEventType,
    DagsterInstance,
    DailyPartitionsDefinition,
    DataVersion,
    InMemoryIOManager,
    MaterializeResult,
    Output,
    RunsFilter,
    asset,
    materialize,
)
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.events import DagsterEvent, EngineEventData, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.event_log.base import EventLogStorage, EventRecordsFilter
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from resources.dagster_storage import PooledSqliteEventLogStorage, PooledSqliteRunStorage

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning"),
]

SPAWN = multiprocessing.get_context("spawn")
DAYS = DailyPartitionsDefinition("2013-01-01", end_date="2013-02-01")
FLIGHTS, PLANES, BROKEN = AssetKey(["events", "flights"]), AssetKey("planes"), AssetKey("broken")
ROWS, WINGS = AssetCheckKey(FLIGHTS, "rows"), AssetCheckKey(PLANES, "wings")
PATIENCE_S = 60.0  # a hang ends the test; nothing is asserted about time


# --- real runs -------------------------------------------------------------------------------------------


def flights_asset(bad_days: frozenset[str] = frozenset()) -> AssetsDefinition:
    @asset(
        key=FLIGHTS,
        partitions_def=DAYS,
        backfill_policy=BackfillPolicy.single_run(),
        check_specs=[AssetCheckSpec(ROWS.name, asset=FLIGHTS, partitions_def=DAYS)],
        code_version="3",
    )
    def flights(context):
        for day in context.partition_keys:
            context.add_asset_metadata({"rows": int(day[-2:])}, partition_key=day)
        yield Output(None, output_name="result", data_version=DataVersion(f"v{len(bad_days)}"))
        for day in context.partition_keys:
            yield AssetCheckEvaluation(
                asset_key=FLIGHTS,
                check_name=ROWS.name,
                passed=day not in bad_days,
                metadata={"nulls": 0},
                partition=day,
                blocking=False,
            )
        yield Output(None, output_name="events__flights_rows")

    return flights


@asset(key=PLANES, check_specs=[AssetCheckSpec(WINGS.name, asset=PLANES)])
def planes(context):
    context.log.info("counting wings")
    context.log_event(AssetObservation(PLANES, metadata={"wings": 2}, tags={"seen": "yes"}))
    return MaterializeResult(
        metadata={"rows": 7}, check_results=[AssetCheckResult(passed=False, check_name=WINGS.name)]
    )


@asset(key=BROKEN, partitions_def=DAYS)
def broken():
    raise ValueError("the extract is truncated")


def run_history(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges, reruns, single days, failures, runless events, batches and a deleted run, really executed."""

    def run(assets: list[AssetsDefinition], day: str | None = None, last: str | None = None) -> str:
        tags = {ASSET_PARTITION_RANGE_START_TAG: day, ASSET_PARTITION_RANGE_END_TAG: last} if last else None
        return materialize(
            assets,
            instance=instance,
            partition_key=None if last else day,
            tags=tags,
            resources={"io_manager": InMemoryIOManager()},
            raise_on_error=False,
        ).run_id

    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    run([flights_asset(frozenset({"2013-01-03"}))], "2013-01-01", "2013-01-06")
    run([planes])
    run([broken], "2013-01-05")
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "3")
    run([flights_asset(frozenset({"2013-01-04"}))], "2013-01-03", "2013-01-09")
    run([flights_asset()], "2013-01-03")
    forgotten = run([flights_asset()], "2013-01-20", "2013-01-21")
    instance.report_runless_asset_event(AssetMaterialization(FLIGHTS, partition="2013-01-25"))
    instance.report_runless_asset_event(
        AssetCheckEvaluation(asset_key=PLANES, check_name=WINGS.name, passed=True, metadata={})
    )
    instance.delete_run(forgotten)


@contextmanager
def instance_at(home: Path, event_log: type, **storages: type) -> Iterator[DagsterInstance]:
    home.mkdir(parents=True)
    config: dict[str, Any] = {"telemetry": {"enabled": False}}
    for name, storage in {"event_log_storage": event_log, **storages}.items():
        config[name] = {
            "module": storage.__module__,
            "class": storage.__name__,
            "config": {"base_dir": str(home / name)},
        }
    if storages:
        config["schedule_storage"] = {
            "module": "dagster._core.storage.schedules",
            "class": "SqliteScheduleStorage",
            "config": {"base_dir": str(home / "schedules")},
        }
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    with DagsterInstance.from_config(str(home)) as instance:
        yield instance


# --- everything readable ---------------------------------------------------------------------------------


def readable(storage: EventLogStorage) -> dict[str, Any]:
    """What the storage answers to every question the platform, its sensors and the UI ask of it."""
    assets = (FLIGHTS, PLANES, BROKEN)
    runs = sorted({entry.run_id for entry in _all_entries(storage)})
    answers: dict[str, Any] = {
        "asset keys": sorted(key.to_string() for key in storage.all_asset_keys()),
        "asset records": {
            record.asset_entry.asset_key: (
                record.asset_entry.last_materialization_record,
                record.asset_entry.last_run_id,
                record.asset_entry.last_observation_record,
                record.asset_entry.last_planned_materialization_storage_id,
            )
            for record in storage.get_asset_records()
        },
        "check histories": {
            key: list(map(_without_create_time, storage.get_asset_check_execution_history(key, 999)))
            for key in (ROWS, WINGS)
        },
        "latest checks": {
            (key, day): _without_create_time(record)
            for day in (None, *DAYS.get_partition_keys())
            for key, record in storage.get_latest_asset_check_execution_by_key(
                [ROWS, WINGS], partition_filter=None if day is None else PartitionKeyFilter(key=day)
            ).items()
        },
        "check partitions": sorted(map(repr, storage.get_asset_check_partition_info([ROWS, WINGS]))),
    }
    for event_type in DagsterEventType:
        answers[f"records {event_type}"] = storage.get_event_records(EventRecordsFilter(event_type))
    for key in assets:
        answers[f"{key} partitions"] = storage.get_materialized_partitions(key)
        answers[f"{key} newest ids"] = storage.get_latest_storage_id_by_partition(
            key, DagsterEventType.ASSET_MATERIALIZATION
        )
        answers[f"{key} tags"] = sorted(map(repr, storage.get_event_tags_for_asset(key)))
        answers[f"{key} newest tags"] = storage.get_latest_tags_by_partition(
            key, DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
        )
        unfinished = storage.get_latest_asset_partition_materialization_attempts_without_materializations
        answers[f"{key} planned but unfinished"] = unfinished(key)
        answers[f"{key} planned"] = storage.get_latest_planned_materialization_info(key)
        answers[f"{key} materializations"] = storage.fetch_materializations(AssetRecordsFilter(key), 999)
        answers[f"{key} observations"] = storage.fetch_observations(AssetRecordsFilter(key), 999)
    for run_id in runs:
        answers[f"stats of {run_id}"] = storage.get_stats_for_run(run_id)
        answers[f"steps of {run_id}"] = storage.get_step_stats_for_run(run_id)
        answers[f"log of {run_id}"] = storage.get_records_for_run(run_id).records
    return answers


def _all_entries(storage: EventLogStorage) -> list[EventLogEntry]:
    return [
        record.event_log_entry
        for event_type in DagsterEventType
        for record in storage.get_event_records(EventRecordsFilter(event_type))
    ]


def _without_create_time(record: Any) -> tuple[Any, ...]:
    return (record.id, record.key, record.run_id, record.status, record.event, record.partition)


def tables(base_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, less the times that SQLite itself stamps on rows."""
    stamped = {"create_timestamp", "update_timestamp", "migration_completed"}
    with closing(sqlite3.connect(base_dir / "event_log.db")) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: [
                {column: value for column, value in dict(row).items() if column not in stamped}
                for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1")
            ]
            for (name,) in names
        }


@dataclass
class Recording:
    """The calls that changed a storage, in order."""

    calls: list[tuple[str, tuple[Any, ...]]]

    def replay(self, storage: EventLogStorage) -> None:
        for method, arguments in self.calls:
            getattr(storage, method)(*arguments)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    calls: list[tuple[str, tuple[Any, ...]]] = []
    depth = threading.local()

    def recorded(method: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if not getattr(depth, "inside", False):
                calls.append((method, tuple(list(a) if isinstance(a, list) else a for a in arguments)))
            outer, depth.inside = getattr(depth, "inside", False), True
            try:
                return original(*arguments)
            finally:
                depth.inside = outer

        return call

    home = tmp_path_factory.mktemp("recorded") / "home"
    with (
        pytest.MonkeyPatch.context() as patched,
        instance_at(home, ConsolidatedSqliteEventLogStorage) as instance,
    ):
        storage = instance.event_log_storage
        for method in ("store_event", "store_event_batch", "delete_events"):
            patched.setattr(storage, method, recorded(method, getattr(storage, method)))
        run_history(instance, patched)
    return Recording(calls)


def test_the_recording_is_worth_comparing(recording: Recording) -> None:
    methods = [method for method, _ in recording.calls]
    assert {"store_event", "store_event_batch", "delete_events"} == set(methods)
    types = {a[0].dagster_event_type for m, a in recording.calls if m == "store_event"}
    assert {
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        DagsterEventType.ASSET_OBSERVATION,
        DagsterEventType.ASSET_CHECK_EVALUATION,
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
        DagsterEventType.RUN_FAILURE,
        DagsterEventType.RUN_SUCCESS,
    } <= types


def test_the_same_events_leave_the_same_tables_and_the_same_answers(recording: Recording, tmp_path: Path) -> None:
    stock = ConsolidatedSqliteEventLogStorage(str(tmp_path / "stock"))
    pooled = PooledSqliteEventLogStorage(str(tmp_path / "pooled"))
    recording.replay(stock)
    recording.replay(pooled)

    expected, found = readable(stock), readable(pooled)
    assert set(found) == set(expected)
    for question, answer in expected.items():
        assert found[question] == answer, question
    assert tables(tmp_path / "pooled") == tables(tmp_path / "stock")

    # ... and each class reads the other's file.
    stock_on_pooled = ConsolidatedSqliteEventLogStorage(str(tmp_path / "pooled"))
    assert readable(stock_on_pooled) == expected
    pooled.dispose()


def test_live_runs_and_wipes_end_in_the_same_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for storage in (ConsolidatedSqliteEventLogStorage, PooledSqliteEventLogStorage):
        with instance_at(tmp_path / storage.__name__, storage) as instance:
            run_history(instance, monkeypatch)
            before_wipe = live_state(instance)
            instance.wipe_assets([FLIGHTS, BROKEN])
            wiped = live_state(instance)
            materialize(
                [flights_asset()],
                instance=instance,
                partition_key="2013-01-02",
                resources={"io_manager": InMemoryIOManager()},
            )
            states.append((before_wipe, wiped, live_state(instance)))
    assert states[1] == states[0]
    before_wipe, wiped, healed = states[1]
    assert len(before_wipe["partitions"][FLIGHTS]) == 10
    assert FLIGHTS not in wiped["keys"]
    assert wiped["partitions"][FLIGHTS] == set()
    assert healed["partitions"][FLIGHTS] == {"2013-01-02"}


def live_state(instance: DagsterInstance) -> dict[str, Any]:
    """A live instance's state in which nothing depends on run ids or times."""
    storage = instance.event_log_storage
    return {
        "keys": sorted(instance.all_asset_keys()),
        "runs": [run.status for run in instance.get_runs()],
        "partitions": {key: instance.get_materialized_partitions(key) for key in (FLIGHTS, PLANES, BROKEN)},
        "newest tags": instance.event_log_storage.get_latest_tags_by_partition(
            FLIGHTS, DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
        ),
        "checks": [
            (record.id, record.status, record.partition)
            for key in (ROWS, WINGS)
            for record in storage.get_asset_check_execution_history(key, 999)
        ],
        "events": [
            (record.storage_id, record.partition_key, record.asset_key)
            for event_type in DagsterEventType
            for record in storage.get_event_records(EventRecordsFilter(event_type))
        ],
    }


# --- the door --------------------------------------------------------------------------------------------


def test_dagster_yaml_names_the_classes_and_a_second_process_would_find_them(tmp_path: Path) -> None:
    with instance_at(tmp_path / "home", PooledSqliteEventLogStorage, run_storage=PooledSqliteRunStorage) as instance:
        result = materialize([planes], instance=instance, resources={"io_manager": InMemoryIOManager()})
        with DagsterInstance.from_ref(instance.get_ref()) as again:
            for each in (instance, again):
                assert type(each.event_log_storage) is PooledSqliteEventLogStorage
                assert type(each.run_storage) is PooledSqliteRunStorage
            assert again.get_run_by_id(result.run_id).is_success
            assert again.get_latest_materialization_event(PLANES).run_id == result.run_id
            assert [run.run_id for run in again.get_runs(RunsFilter(tags={"absent": "tag"}))] == []
    # A disposed storage opens again when somebody still holds it.
    assert instance.run_storage.has_run(result.run_id)
    instance.dispose()


# --- pooling ---------------------------------------------------------------------------------------------


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[PooledSqliteEventLogStorage]:
    storage = PooledSqliteEventLogStorage(str(tmp_path / "log"))
    yield storage
    storage.dispose()


def message(text: str, run_id: str = "run") -> EventLogEntry:
    return EventLogEntry(
        error_info=None,
        level=20,
        user_message=text,
        run_id=run_id,
        timestamp=1_357_000_000.0,
        dagster_event=DagsterEvent(DagsterEventType.ENGINE_EVENT.value, "job", event_specific_data=EngineEventData({})),
    )


def materialized(day: str, tag: str = "v1", run_id: str = "run") -> EventLogEntry:
    what = AssetMaterialization(FLIGHTS, partition=day, tags={"dagster/data_version": tag})
    return EventLogEntry(
        error_info=None,
        level=10,
        user_message="",
        run_id=run_id,
        timestamp=1_357_000_000.0,
        dagster_event=DagsterEvent(
            DagsterEventType.ASSET_MATERIALIZATION.value,
            "job",
            event_specific_data=StepMaterializationData(what),
        ),
    )


def messages(storage: EventLogStorage, run_id: str = "run") -> list[str]:
    return [entry.user_message for entry in storage.get_logs_for_run(run_id)]


def integrity(storage: PooledSqliteEventLogStorage) -> str:
    with closing(sqlite3.connect(storage.get_db_path())) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]


def test_a_hundred_events_open_one_connection(pooled: PooledSqliteEventLogStorage) -> None:
    opened: list[object] = []
    pooled.dispose()
    sqlalchemy.event.listen(pooled._engines.get(), "connect", lambda connection, _: opened.append(connection))
    for number in range(100):
        pooled.store_event(materialized(f"day {number}"))
    assert len(opened) == 1
    assert len(pooled.get_materialized_partitions(FLIGHTS)) == 100


def test_connections_write_ahead_and_survive_a_file_that_did_not(tmp_path: Path) -> None:
    PooledSqliteEventLogStorage(str(tmp_path)).dispose()
    with closing(sqlite3.connect(tmp_path / "event_log.db")) as connection:
        assert connection.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    storage = PooledSqliteEventLogStorage(str(tmp_path))
    with storage.index_connection() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    storage.dispose()


def test_a_failed_event_and_a_failed_batch_leave_nothing(pooled: PooledSqliteEventLogStorage) -> None:
    pooled.store_event(materialized("2013-01-01"))
    with pooled.index_connection() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON asset_event_tags WHEN NEW.value = 'poison' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    before = tables(Path(pooled._base_dir))

    with pytest.raises(sqlalchemy.exc.IntegrityError, match="refused"):
        pooled.store_event(materialized("2013-01-02", tag="poison"))
    assert tables(Path(pooled._base_dir)) == before

    batch = [materialized("2013-01-03"), materialized("2013-01-04", tag="poison"), materialized("2013-01-05")]
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="refused"):
        pooled.store_event_batch(batch)
    assert tables(Path(pooled._base_dir)) == before

    pooled.store_event_batch([batch[0], batch[2]])
    assert pooled.get_materialized_partitions(FLIGHTS) == {"2013-01-01", "2013-01-03", "2013-01-05"}


def test_no_cell_holds_a_secret_that_an_event_repeats(
    pooled: PooledSqliteEventLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_ASSETS_STORAGE_SECRET_ACCESS_KEY", "planted/Secret77")
    said = "the store answered: planted/Secret77 is not allowed"

    @asset(key=PLANES, check_specs=[AssetCheckSpec(WINGS.name, asset=PLANES)])
    def planes():
        check = AssetCheckResult(passed=False, check_name=WINGS.name, description=said)
        return MaterializeResult(metadata={"said": said}, check_results=[check])

    with instance_at(Path(pooled._base_dir) / "home", PooledSqliteEventLogStorage) as instance:
        assert materialize([planes], instance=instance).success
        cells = str(tables(Path(instance.event_log_storage._base_dir)))

    assert cells.count("the store answered: *** is not allowed") >= 4  # two events, the asset's newest, the check's
    assert "planted" not in cells


@pytest.mark.parametrize(
    "read",
    [
        lambda storage: storage.get_logs_for_run("run"),
        lambda storage: storage.get_records_for_run("run", limit=1),
        lambda storage: storage.fetch_materializations(FLIGHTS, limit=1),
        lambda storage: storage.get_asset_records([FLIGHTS]),
        lambda storage: storage.get_latest_asset_check_execution_by_key([ROWS]),
        lambda storage: storage.get_maximum_record_id(),
        lambda storage: storage.get_stats_for_run("run"),
        lambda storage: storage.has_table("event_logs"),
        lambda storage: storage.get_dynamic_partitions("days"),
    ],
)
def test_a_read_leaves_no_stale_snapshot_on_its_connection(
    pooled: PooledSqliteEventLogStorage, read: Callable[[EventLogStorage], Any]
) -> None:
    pooled.store_event(materialized("2013-01-01"))
    pooled.store_event(materialized("2013-01-02"))
    gc.disable()  # a snapshot kept by a reference cycle would only go with the next collection
    try:
        read(pooled)
        with closing(sqlite3.connect(pooled.get_db_path())) as other:
            other.execute("PRAGMA user_version = 1")
        pooled.store_event(message("after another's commit"))
    finally:
        gc.enable()
    assert "after another's commit" in messages(pooled)


def test_watchers_hear_what_another_connection_writes_and_stop_when_told(
    pooled: PooledSqliteEventLogStorage,
) -> None:
    writer = PooledSqliteEventLogStorage(pooled._base_dir)
    heard: list[str] = []
    first, last = threading.Event(), threading.Event()

    def hear(entry: EventLogEntry, _cursor: str) -> None:
        heard.append(entry.user_message)
        {"first": first, "last": last}.get(entry.user_message, threading.Event()).set()

    writer.store_event(message("before"))
    cursor = pooled.get_records_for_run("run").cursor
    pooled.watch("run", cursor, hear)
    writer.store_event(message("first"))
    assert first.wait(PATIENCE_S)
    writer.store_event(message("another run's", run_id="other"))
    writer.store_event(message("last"))
    assert last.wait(PATIENCE_S)
    pooled.end_watch("run", hear)
    writer.store_event(message("unheard"))
    pooled.watch("watched to the end", None, hear)
    pooled.dispose()
    assert heard == ["first", "last"]
    assert not [thread for thread in threading.enumerate() if "watched to the end" in thread.name]
    writer.dispose()


# --- threads, processes, forks, kills --------------------------------------------------------------------

THREADS, WRITERS, EVENTS_EACH = 2, 4, 100


def write_in_threads(base_dir: str, writer: int, barrier: Any, errors: Any) -> None:
    barrier.wait()
    storage = PooledSqliteEventLogStorage(base_dir)

    def write(thread: int) -> None:
        try:
            for number in range(EVENTS_EACH):
                day = f"{writer}-{thread}-{number}"
                storage.store_event(materialized(day, run_id=f"run {writer}"))
                storage.get_asset_records([FLIGHTS])
            storage.store_event_batch([message(f"{thread}-{n}", f"run {writer}") for n in range(20)])
        except Exception as error:  # noqa: BLE001 whatever it is, the test shows it
            errors.put(repr(error))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    storage.dispose()


def test_concurrent_writers_lose_nothing_even_on_a_fresh_home(tmp_path: Path) -> None:
    base_dir = str(tmp_path / "fresh")
    barrier, errors = SPAWN.Barrier(WRITERS), SPAWN.Queue()
    processes = [
        SPAWN.Process(target=write_in_threads, args=(base_dir, writer, barrier, errors)) for writer in range(WRITERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in processes] == [0] * WRITERS
    assert errors.empty(), errors.get()

    storage = PooledSqliteEventLogStorage(base_dir)
    days = {f"{w}-{t}-{n}" for w in range(WRITERS) for t in range(THREADS) for n in range(EVENTS_EACH)}
    assert storage.get_materialized_partitions(FLIGHTS) == days
    assert len(storage.get_event_tags_for_asset(FLIGHTS)) == len(days)
    for writer in range(WRITERS):
        assert len(storage.get_logs_for_run(f"run {writer}")) == THREADS * (EVENTS_EACH + 20)
    newest = max(storage.fetch_materializations(FLIGHTS, limit=1).records, key=lambda r: r.storage_id)
    (record,) = storage.get_asset_records([FLIGHTS])
    assert record.asset_entry.last_materialization_record == newest
    assert integrity(storage) == "ok"
    storage.dispose()


def write_until_killed(base_dir: str, written: Connection) -> None:
    storage = PooledSqliteEventLogStorage(base_dir)
    for number in range(1_000_000):
        storage.store_event_batch([materialized(f"{number} {part}") for part in "abc"])
        written.send(number)


def test_a_process_killed_while_writing_leaves_whole_batches_and_a_sound_file(tmp_path: Path) -> None:
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=write_until_killed, args=(str(tmp_path), sender))
    process.start()
    sender.close()
    acknowledged = -1
    while acknowledged < 40:
        assert receiver.poll(PATIENCE_S)
        acknowledged = receiver.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL
    with closing(receiver):
        try:
            while True:
                acknowledged = receiver.recv()
        except EOFError:
            pass

    storage = PooledSqliteEventLogStorage(str(tmp_path))
    assert integrity(storage) == "ok"
    days = storage.get_materialized_partitions(FLIGHTS)
    batches = {int(day.split()[0]) for day in days}
    assert days == {f"{number} {part}" for number in batches for part in "abc"}
    assert set(range(acknowledged + 1)) <= batches
    assert len(storage.get_event_tags_for_asset(FLIGHTS)) == len(days)
    storage.store_event(message("life goes on"))
    assert messages(storage)[-1] == "life goes on"
    storage.dispose()


def fork_and_write(base_dir: str) -> None:
    storage = PooledSqliteEventLogStorage(base_dir)
    runs = PooledSqliteRunStorage.from_local(base_dir)
    storage.store_event(message("parent before"))
    assert runs.get_runs() == []
    parents_engine = storage._engines.get()
    child = os.fork()
    if child == 0:
        assert storage._engines.get() is not parents_engine
        assert messages(storage) == ["parent before"]
        assert runs.get_runs() == []
        storage.store_event(message("child"))
        storage.dispose()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert storage._engines.get() is parents_engine
    storage.store_event(message("parent after"))
    assert messages(storage) == ["parent before", "child", "parent after"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to fork here")
def test_a_forked_child_opens_connections_of_its_own(tmp_path: Path) -> None:
    # In a process of its own: this one may hold libraries that do not survive a fork.
    process = SPAWN.Process(target=fork_and_write, args=(str(tmp_path),))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    storage = PooledSqliteEventLogStorage(str(tmp_path))
    assert messages(storage) == ["parent before", "child", "parent after"]
    assert integrity(storage) == "ok"
    storage.dispose()
