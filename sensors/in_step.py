"""Keeps the lake in step: what rests on a day that changed is computed anew, by runs that everybody can see and stop.

What belongs here: when to plan, which runs to ask for, the status asset. What does not: the plan itself
(`ml_assets/domain/planning.py`).
"""

import json
import zlib
from collections.abc import Mapping
from datetime import date
from typing import Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetSelection,
    AssetSpec,
    DagsterInstance,
    DefaultSensorStatus,
    MetadataValue,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from ml_assets.domain.declared import Graph
from ml_assets.domain.planning import DayRecords, Plan, Run, stale_days
from ml_assets.domain.status import SENSOR
from ml_assets.domain.status_picture import status_markdown
from resources.delta_io_manager import DEFER_EVENTS
from resources.handles import LakeHandle
from resources.lake import Lake
from resources.overview import Work, plan_of, statuses_of, work_of
from resources.run_tags import PLAN, range_tags

MOST_RUNS_A_TICK = 4
MOST_TRIES = 3
STATUS = "status"


def status_assets(graph: Graph) -> list[AssetSpec]:
    """One asset a calendar that shows how its last five weeks stand; the sensor keeps it."""
    calendars = dict.fromkeys(asset.calendar for asset in graph)
    return [
        AssetSpec(
            AssetKey([STATUS, calendar.name]),
            description=f"How the last five weeks of {calendar.name} stand: every day of every table, what needs "
            "attention, and what to do. Kept by the sensor; `ml-assets status` shows the same in the terminal.",
            group_name=STATUS,
            owners=list(calendar.owners),
            kinds={"dashboard"},
        )
        for calendar in calendars
    ]


def in_step_sensor(graph: Graph) -> SensorDefinition:
    """Launches what rests on changed days, one run a stretch of days, and keeps the status.

    A tick first asks every table whether it has a new version, and does nothing when none has. What is out of step on
    the first evaluation is history and starts nothing. A run that was launched and did not mend its days is launched
    again, up to three times. Code that changed makes nothing out of step.
    """
    selection = AssetSelection.assets(*(AssetKey(table.split("/")) for table in graph.assets))

    @sensor(
        name=SENSOR,
        asset_selection=selection,
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake"},
        description="Computes anew what rests on a day that has changed, and keeps the status. Switch it off to repair "
        "by hand (`ml-assets plan`, `ml-assets repair`).",
    )
    def keep_in_step(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        handle: LakeHandle = context.resources.lake
        lake = handle.lake()
        cursor: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        seen: dict[str, int] = cursor.get("versions", {})
        work = work_of(context.instance)
        signs = sorted(run.run_id for run in work)
        if cursor and not cursor["open"] and signs == cursor["work"] and not lake.moved(seen, graph.assets):
            return SkipReason("nothing has changed since the last tick")
        versions = lake.versions(graph.assets)
        records = lake.records(graph.assets)
        found = plan_of(lake, graph)
        history = cursor["history"] if cursor else differences(graph, records)
        runs = [run for run in found.runs() if not within_history(graph, records, run, history)]
        requests, said = _requests(context.instance, runs, work, graph, records)
        fresh = {"versions": versions, "history": history, "open": bool(runs), "work": signs}
        if not cursor and found.steps:
            said.append(f"{len(found.steps)} stretches of days are out of step and are history; watching from here on")
        return SensorResult(
            run_requests=requests,
            skip_reason=None if requests else SkipReason("; ".join(said) or "everything is in step"),
            cursor=json.dumps(fresh),
            asset_events=status_events(lake, graph, work, found),
        )

    return keep_in_step


def differences(graph: Graph, records: Mapping[str, DayRecords]) -> dict[str, dict[str, int]]:
    """The days on record that rest on changed content, by table, each with a sign of what it would rest on now."""
    found: dict[str, dict[str, int]] = {}
    for asset in graph:
        own = records[asset.table]
        days = [date.fromordinal(int(day)) for day in own.days]
        stale = stale_days(asset, own, records, days) if days else []
        signs = {
            day.isoformat(): sign_of(graph, records, asset.table, day)
            for day, due in zip(days, stale, strict=True)
            if due
        }
        if signs:
            found[asset.table] = signs
    return found


def sign_of(graph: Graph, records: Mapping[str, DayRecords], table: str, day: date) -> int:
    """A number that changes when what a day rests on changes again."""
    from ml_assets.domain.planning import window_fingerprints

    reads = graph[table].reads
    parts = [
        int(window_fingerprints(records[read.table], [day], read.window)[0])
        for _, read in sorted(reads.items())
        if not read.by_version
    ]
    return zlib.crc32(repr(parts).encode())


def within_history(
    graph: Graph, records: Mapping[str, DayRecords], run: Run, history: Mapping[str, Mapping[str, int]]
) -> bool:
    """Whether nothing of a run is out of step beyond what was so when the watch began."""
    for table in run.tables:
        own = records[table]
        days = [day for day in (date.fromordinal(int(day)) for day in own.days) if day in run.days]
        if not days:
            continue
        stale = stale_days(graph[table], own, records, days)
        for day, due in zip(days, stale, strict=True):
            known = history.get(table, {}).get(day.isoformat())
            if due and known != sign_of(graph, records, table, day):
                return False
    return True


def _requests(
    instance: DagsterInstance, runs: list[Run], work: list[Work], graph: Graph, records: Mapping[str, DayRecords]
) -> tuple[list[RunRequest], list[str]]:
    requests: list[RunRequest] = []
    said: list[str] = []
    for run in runs:
        if busy := [each.run_id for each in work if each.touches(run.tables)]:
            said.append(f"{run.days} waits for run {busy[0][:8]}, which computes some of its tables")
            continue
        sign = f"{zlib.crc32(repr((run.tables, str(run.days), run_sign(graph, records, run))).encode()):08x}"
        tries = instance.get_runs_count(RunsFilter(tags={PLAN: sign}))
        if tries >= MOST_TRIES:
            said.append(f"{run.days} was launched {tries} times and is still out of step; see those runs")
            continue
        if len(requests) == MOST_RUNS_A_TICK:
            said.append("more at the next tick")
            break
        requests.append(
            RunRequest(
                run_key=f"in step|{run.days}|{sign}|{tries}",
                asset_selection=[AssetKey(table.split("/")) for table in run.tables],
                tags={
                    **range_tags(run.days, cause=run.reason, by=SENSOR, only_stale=True),
                    PLAN: sign,
                    # Days that turn out to be in step leave no planned record behind.
                    DEFER_EVENTS: "true",
                },
            )
        )
    return requests, said


def run_sign(graph: Graph, records: Mapping[str, DayRecords], run: Run) -> list[int]:
    """What the run's days would rest on now: a later change makes it another run."""
    return [
        sign_of(graph, records, table, day)
        for table in run.tables
        for day in run.days
        if records[table].state_of([day]) != [""]
    ]


def status_events(lake: Lake, graph: Graph, work: list[Work], found: Plan) -> list[AssetMaterialization]:
    """How every calendar stands, as a materialisation of its status asset."""
    return [
        AssetMaterialization(
            AssetKey([STATUS, report.calendar]),
            description=report.headline,
            metadata={
                "status": MetadataValue.md(status_markdown(report)),
                "headline": report.headline,
                "need attention": len(report.attention),
            },
        )
        for report in statuses_of(lake, graph, work, found)
    ]
