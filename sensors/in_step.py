"""Keeps the lake in step: what rests on a day that changed is computed anew, by runs that everybody can see and stop.

What belongs here: when to plan, which runs to ask for, the status asset. What does not: the plan itself
(`ml_assets/domain/planning.py`).
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
from ml_assets.domain.planning import Plan, Run, plan
from ml_assets.domain.status import SENSOR
from ml_assets.domain.status_picture import status_markdown
from ml_assets.domain.watch import beyond, due_signs, runs_over, sign_of
from resources.delta_io_manager import DEFER_EVENTS
from resources.handles import LakeHandle
from resources.home import Home
from resources.lake import Lake
from resources.overview import RECORDED, Work, broken_off, statuses_of, untold_of, work_of
from resources.run_owner import close_abandoned_runs
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

    A tick first asks every table whether it has a new version and whether a run has ended, and does nothing when
    neither has. What is out of step on the first evaluation is history and starts nothing. A run that was launched and
    did not mend its days is launched again, up to three times. Days that a broken-off run left on record, and Dagster
    does not show as what they are, are told again. Code that changed makes nothing out of step.
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
        lake, instance = handle.lake(), context.instance
        close_abandoned_runs(instance, Home(Path(handle.home)))
        cursor: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        began = time.time()
        work = work_of(instance)
        broken, ended = broken_off(instance, cursor.get("ended", began)) if cursor else (set(), began)
        at_work = sorted(each.run_id for each in work)
        seen = cursor.get("versions", {})
        if cursor and not (
            cursor["open"] or broken or broken is None or at_work != cursor["work"] or lake.moved(seen, graph.assets)
        ):
            return SkipReason("nothing has changed since the last tick")
        versions = lake.versions(graph.assets)
        records = lake.records(graph.assets)
        found = plan(graph, records)
        history = cursor["history"] if cursor else due_signs(graph, records)
        asked = _Asked(instance, work)
        for run in found.runs():
            due = due_signs(graph, records, run)
            if beyond(due, history):
                asked.for_(run, sign_of(run, due))
        if asked.requests and broken != set():
            # What is computed anew is told with it; what is left to tell is looked for afterwards.
            asked.waits = True
        elif broken != set():
            for run in runs_over(untold_of(lake, graph, instance, broken), RECORDED):
                asked.for_(run, sign_of(run, {table: {"at": versions[table]} for table in run.tables}))
        if not cursor and found.steps:
            asked.said.append(
                f"{len(found.steps)} stretches of days are out of step and are history; watching from here on"
            )
        fresh = {
            "versions": versions,
            "history": history,
            "open": asked.waits or bool(asked.requests),
            "work": at_work,
            # What has to wait is looked for again.
            "ended": cursor.get("ended", ended) if asked.waits else ended,
        }
        return SensorResult(
            run_requests=asked.requests,
            skip_reason=None if asked.requests else SkipReason("; ".join(asked.said) or "everything is in step"),
            cursor=json.dumps(fresh),
            asset_events=status_events(lake, graph, work, found),
        )

    return keep_in_step


@dataclass
class _Asked:
    """What a tick asks for, what it says of the rest, and whether any of that waits for a later tick."""

    instance: DagsterInstance
    work: Sequence[Work]
    requests: list[RunRequest] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    waits: bool = False

    def for_(self, run: Run, sign: str) -> None:
        """Asks for a run, unless a run at work touches its tables or it was launched in vain often enough."""
        if busy := [each.run_id for each in self.work if each.touches(run.tables)]:
            self.said.append(f"{run.days} waits for run {busy[0][:8]}, which computes some of its tables")
            self.waits = True
            return
        tries = self.instance.get_runs_count(RunsFilter(tags={PLAN: sign}))
        if tries >= MOST_TRIES:
            self.said.append(f"{run.days} was launched {tries} times and is still out of step; see those runs")
            return
        if len(self.requests) == MOST_RUNS_A_TICK:
            self.said.append("more at the next tick")
            self.waits = True
            return
        self.requests.append(
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
