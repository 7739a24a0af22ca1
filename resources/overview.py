"""How the lake stands: the plan of what is out of step, and every day's state as the status shows it.

What belongs here: gathering what the planner and the status need from the lake and from Dagster's runs.
What does not: their judgement (`ml_assets/domain/planning.py`, `ml_assets/domain/status.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl
from dagster import (
    AssetCheckKey,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
)
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from ml_assets.domain.day_records import GOOD
from ml_assets.domain.declared import Graph
from ml_assets.domain.local_days import DAY
from ml_assets.domain.planning import Plan, plan
from ml_assets.domain.status import FACTS, DayState, StatusReport, shown_days, status_report
from ml_assets.domain.verdict import DAY_CHECK
from partitions import DayRange, day_of_key, key_of_day
from resources.deliveries import changed_extracts
from resources.extracts import Extracts
from resources.lake import Lake
from resources.run_tags import RANGE_END, RANGE_START

PARTITION = "dagster/partition"
RECORDED = "on record in the lake, not yet in Dagster"
AT_WORK = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
BROKEN_OFF = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]


@dataclass(frozen=True, slots=True)
class Work:
    """A run that is queued or under way: its tables (None: all of its job) and its days."""

    run_id: str
    tables: frozenset[str] | None
    days: DayRange | None

    def touches(self, tables: Iterable[str]) -> bool:
        """Whether the run computes any of the tables."""
        return self.tables is None or bool(self.tables & set(tables))


def work_of(instance: DagsterInstance) -> list[Work]:
    """The runs that are queued or under way."""
    return [_work(run) for run in instance.get_runs(RunsFilter(statuses=AT_WORK))]


def plan_of(lake: Lake, graph: Graph, due: Mapping[str, tuple[date, date]] | None = None) -> Plan:
    """What is out of step in the lake, by what its commits record; with `due`, what is missing too."""
    return plan(graph, lake.records(graph.assets), due=due)


def untold_of(
    lake: Lake, graph: Graph, instance: DagsterInstance, tables: Iterable[str] | None = None
) -> dict[str, list[date]]:
    """Days on record by table of which Dagster shows something else, of some tables or of all.

    A run was killed or cancelled between the lake's record and Dagster's, or before it came to a day that was in order.
    """
    at_work = {work.run_id for work in work_of(instance)}
    untold = {}
    for table in graph.assets if tables is None else tables:
        held = lake.record(table).select(DAY, "state", "content")
        shown = _shown(instance, AssetKey(table.split("/")), at_work)
        lacking = [day for day, state, content in held.iter_rows() if not shown.tells(key_of_day(day), state, content)]
        if lacking:
            untold[table] = lacking
    return untold


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """The tables of runs that failed or were cancelled (None: of all tables, maybe), and up to when they were."""

    tables: frozenset[str] | None
    until: float

    def __bool__(self) -> bool:
        return self.tables is None or bool(self.tables)


def broken_off(instance: DagsterInstance, since: float) -> BrokenOff:
    """What runs that failed or were cancelled after an instant were to compute."""
    wanted = RunsFilter(statuses=BROKEN_OFF, updated_after=datetime.fromtimestamp(since, UTC))
    records = instance.get_run_records(wanted)
    works = [_work(record.dagster_run) for record in records]
    tables = frozenset(table for work in works for table in work.tables or ())
    until = max((record.update_timestamp.timestamp() for record in records), default=since)
    return BrokenOff(None if any(work.tables is None for work in works) else tables, until)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What Dagster shows of an asset's days: contents, newest verdicts, days attempted in vain, days in work."""

    contents: Mapping[str, str | None]
    verdicts: Mapping[str, AssetCheckExecutionRecordStatus]
    in_vain: frozenset[str]
    in_work: frozenset[str]

    def tells(self, day: str, state: str, content: str) -> bool:
        """Whether a day on record is shown as what it is, or about to be."""
        if day in self.in_work:
            return True
        if state != GOOD:
            return self.verdicts.get(day) is AssetCheckExecutionRecordStatus.FAILED
        passed = self.verdicts.get(day) is AssetCheckExecutionRecordStatus.SUCCEEDED
        return passed and day not in self.in_vain and self.contents.get(day) == content


def _shown(instance: DagsterInstance, key: AssetKey, at_work: set[str]) -> _Shown:
    storage = instance.event_log_storage
    tags = storage.get_latest_tags_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG])
    attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(key)
    checks = storage.get_asset_check_partition_info([AssetCheckKey(key, DAY_CHECK)])
    planned = AssetCheckExecutionRecordStatus.PLANNED
    waiting = {
        info.partition_key
        for info in checks
        if info.latest_execution_status is planned and info.latest_planned_run_id in at_work
    }
    return _Shown(
        contents={day: found.get(DATA_VERSION_TAG) for day, found in tags.items()},
        verdicts={info.partition_key: info.latest_execution_status for info in checks if info.is_current},
        in_vain=frozenset(attempts),
        in_work=frozenset({*waiting, *(day for day, (run_id, _) in attempts.items() if run_id in at_work)}),
    )


def statuses_of(
    lake: Lake, graph: Graph, work: Iterable[Work], found: Plan | None = None, extracts: Extracts | None = None
) -> list[StatusReport]:
    """The status of every calendar that has a day on record: its last five weeks, and all that needs attention.

    With the extracts, days of which they hold another file than events were made from are among them.
    """
    found = found or plan_of(lake, graph)
    by_table = {table: lake.record(table) for table in graph.assets}
    under_way = list(work)
    reports = []
    for calendar in dict.fromkeys(asset.calendar for asset in graph):
        tables = {asset.table: asset.stage for asset in graph if asset.calendar == calendar}
        frames = [_facts_on_record(table, by_table[table]) for table in tables]
        frames += [_facts_of_plan(found, tables), _facts_of_work(under_way, tables, calendar.first_day)]
        if extracts:
            frames.append(_facts_of_extracts(lake, extracts, tables))
        facts = pl.concat(frame.cast(FACTS) for frame in frames if frame.height or frame.width)
        on_record = [last for table in tables if (last := by_table[table][DAY].max()) is not None]
        if not on_record:
            continue
        last = max(day for day in on_record if isinstance(day, date))
        reports.append(
            status_report(
                calendar.name,
                [(stage, table) for table, stage in tables.items()],
                shown_days(last, calendar.first_day),
                facts,
                as_of=f"days on record up to {last}",
            )
        )
    return reports


def _facts_on_record(table: str, record: pl.DataFrame) -> pl.DataFrame:
    good = pl.when("empty").then(pl.lit(str(DayState.EMPTY))).otherwise(pl.lit(str(DayState.GOOD)))
    return record.select(
        pl.lit(table).alias("table"),
        pl.col(DAY).alias("day"),
        pl.when(pl.col("state") == "good").then(good).otherwise(pl.col("state")).alias("state"),
        pl.col("why").alias("reason"),
    )


def _facts_of_plan(found: Plan, tables: Mapping[str, str]) -> pl.DataFrame:
    stale = [
        (step.table, day, str(DayState.STALE), step.reason)
        for step in found.steps
        if step.table in tables
        for day in step.days
    ]
    warned = [
        (warning.table, warning.day, str(DayState.WARNED), str(warning))
        for warning in found.warnings
        if warning.table in tables
    ]
    return pl.DataFrame([*stale, *warned], schema=FACTS, orient="row")


def _facts_of_extracts(lake: Lake, extracts: Extracts, tables: Mapping[str, str]) -> pl.DataFrame:
    rows = [
        (table, changed.day, str(DayState.STALE), changed.why)
        for table, stage in tables.items()
        if stage == "events"
        for changed in changed_extracts(extracts, lake, table.split("/", 1)[1])
    ]
    return pl.DataFrame(rows, schema=FACTS, orient="row")


def _facts_of_work(work: list[Work], tables: Mapping[str, str], first_day: date) -> pl.DataFrame:
    rows = [
        (table, day, str(DayState.IN_WORK), f"run {run.run_id[:8]} computes it")
        for run in work
        if run.days
        for table in tables
        if run.touches([table])
        for day in run.days
        if day >= first_day
    ]
    return pl.DataFrame(rows, schema=FACTS, orient="row")


def _work(run: DagsterRun) -> Work:
    selected = run.asset_selection
    return Work(run.run_id, frozenset(map(_table, selected)) if selected else None, _days(run.tags))


def _days(tags: Mapping[str, str]) -> DayRange | None:
    first = tags.get(RANGE_START) or tags.get(PARTITION)
    last = tags.get(RANGE_END) or tags.get(PARTITION)
    if not first or not last:
        return None
    return DayRange(day_of_key(first), date.fromordinal(day_of_key(last).toordinal() + 1))


def _table(key: AssetKey) -> str:
    return "/".join(key.path)
