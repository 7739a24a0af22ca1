"""Keeps the lake in step: what rests on a day that changed is computed anew, by runs that everybody can see and stop.

What belongs here: when to plan, which runs to ask for, the status asset. What does not: the plan itself
(`ml_assets/domain/planning.py`).
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
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
from ml_assets.domain.watch import Signs, beyond, due_signs, news, runs_over, said_of_decisions, sign_of, told_after
from resources.delta_io_manager import DEFER_EVENTS
from resources.extracts import Extracts
from resources.handles import LakeHandle
from resources.home import Home
from resources.lake import Lake
from resources.overview import RECORDED, BrokenOff, Work, broken_off, statuses_of, untold_of, work_of
from resources.run_owner import close_abandoned_runs
from resources.run_tags import PLAN, range_tags

MOST_RUNS_A_TICK = 4
MOST_TRIES = 3
MOST_TOLD_A_TICK = 500
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
    does not show as what they are, are told again. A decision that is kept although what it rests on has changed says
    so on its day. Code that changed makes nothing out of step.
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
        mind = _Mind.of(context.cursor)
        work, ended = work_of(instance), broken_off(instance, mind.ended)
        if not mind.stirred(work, ended) and not lake.moved(mind.versions, graph.assets):
            return SkipReason("nothing has changed since the last tick")
        extracts = Extracts(Home(Path(handle.home)).extracts)
        return _Look(lake, graph, instance, extracts).after(mind, work, ended)

    return keep_in_step


@dataclass(frozen=True, slots=True)
class _Mind:
    """What the sensor keeps in mind between ticks: what it has seen, asked for and told.

    `history` is what was out of step at its first look, `told` what was said of decisions; `ended` is the instant up to
    which runs that broke off have been looked after.
    """

    ended: float
    versions: Mapping[str, int] = field(default_factory=dict)
    history: Signs = field(default_factory=dict)
    told: Signs = field(default_factory=dict)
    work: Sequence[str] = ()
    waits: bool = True
    first: bool = False

    @classmethod
    def of(cls, cursor: str | None) -> "_Mind":
        """What a cursor holds; without one, a mind that has seen nothing and waits to."""
        return cls(**json.loads(cursor)) if cursor else cls(ended=time.time(), first=True)

    def text(self) -> str:
        """The cursor."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "first"})

    def stirred(self, work: Sequence[Work], ended: BrokenOff) -> bool:
        """Whether there is anything to look at, the lake aside."""
        return self.waits or bool(ended) or _ids(work) != self.work


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at the lake, of a tick that has something to look at."""

    lake: Lake
    graph: Graph
    instance: DagsterInstance
    extracts: Extracts

    def after(self, mind: _Mind, work: Sequence[Work], ended: BrokenOff) -> SensorResult:
        """What the tick asks for, tells and keeps in mind."""
        # Versions before records: a commit in between is seen again, not overlooked.
        versions = self.lake.versions(self.graph.assets, mind.versions)
        records = self.lake.records(self.graph.assets)
        found = plan(self.graph, records)
        history = due_signs(self.graph, records) if mind.first else mind.history
        asked = _Asked(self.instance, work)
        for run in found.runs():
            due = due_signs(self.graph, records, run)
            if beyond(due, history):
                asked.for_(run, sign_of(run, due))
        if ended and not asked.requests:
            for run in runs_over(untold_of(self.lake, self.graph, self.instance, ended.tables), RECORDED):
                asked.for_(run, sign_of(run, {table: {"at": versions[table]} for table in run.tables}))
        if mind.first and found.steps:
            asked.said.append(f"{len(found.steps)} stretches of days are out of step: history; watching from now on")
        at_rest = not asked.requests and not asked.waits
        fresh = news(said_of_decisions(found.warnings), mind.told, MOST_TOLD_A_TICK) if at_rest else []
        kept = _Mind(
            # What has to wait is looked for again.
            ended=ended.until if at_rest else mind.ended,
            versions=versions,
            history=history,
            told=told_after(mind.told, fresh),
            work=_ids(work),
            waits=not at_rest or len(fresh) == MOST_TOLD_A_TICK,
        )
        return SensorResult(
            run_requests=asked.requests,
            skip_reason=None if asked.requests else SkipReason("; ".join(asked.said) or "everything is in step"),
            cursor=kept.text(),
            asset_events=[*status_events(self.lake, self.graph, work, found, self.extracts), *_told(fresh)],
        )


def _ids(work: Sequence[Work]) -> list[str]:
    return sorted(each.run_id for each in work)


def _told(fresh: Sequence[tuple[str, str, str]]) -> list[AssetObservation]:
    """What is news of decisions, each said on its day."""
    return [
        AssetObservation(AssetKey(table.split("/")), partition=day, description=text, metadata={"changed since": text})
        for table, day, text in fresh
    ]


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


def status_events(
    lake: Lake, graph: Graph, work: Sequence[Work], found: Plan, extracts: Extracts
) -> list[AssetMaterialization]:
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
        for report in statuses_of(lake, graph, work, found, extracts)
    ]
