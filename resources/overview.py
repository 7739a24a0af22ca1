"""How the lake stands: the plan of what is out of step, and every day's state as the status shows it.

What belongs here: gathering what the planner and the status need from the lake and from Dagster's runs.
What does not: their judgement (`ml_assets/domain/planning.py`, `ml_assets/domain/status.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl
from dagster import AssetKey, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from ml_assets.domain.declared import Graph
from ml_assets.domain.local_days import DAY
from ml_assets.domain.planning import Plan, plan
from ml_assets.domain.status import FACTS, DayState, StatusReport, shown_days, status_report
from partitions import DayRange, day_of_key, key_of_day
from resources.lake import Lake
from resources.run_tags import RANGE_END, RANGE_START

PARTITION = "dagster/partition"
AT_WORK = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


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


def untold_of(lake: Lake, graph: Graph, instance: DagsterInstance) -> dict[str, list[date]]:
    """Good days by table whose content Dagster has not been told: a run was killed between commit and record."""
    untold = {}
    for table in graph.assets:
        held = lake.record(table).filter(pl.col("state") == "good").select(DAY, "content")
        tags = instance.event_log_storage.get_latest_tags_by_partition(
            AssetKey(table.split("/")), DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
        )
        told = {partition: found.get(DATA_VERSION_TAG) for partition, found in tags.items()}
        lacking = [day for day, content in held.iter_rows() if told.get(key_of_day(day)) != content]
        if lacking:
            untold[table] = lacking
    return untold


def statuses_of(lake: Lake, graph: Graph, work: Iterable[Work], found: Plan | None = None) -> list[StatusReport]:
    """The status of every calendar that has a day on record: its last five weeks, and all that needs attention."""
    found = found or plan_of(lake, graph)
    by_table = {table: lake.record(table) for table in graph.assets}
    under_way = list(work)
    reports = []
    for calendar in dict.fromkeys(asset.calendar for asset in graph):
        tables = {asset.table: asset.stage for asset in graph if asset.calendar == calendar}
        frames = [_facts_on_record(table, by_table[table]) for table in tables]
        frames += [_facts_of_plan(found, tables), _facts_of_work(under_way, tables, calendar.first_day)]
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
