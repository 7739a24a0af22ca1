"""Runs assets over ranges of days in this process, on the instance of a home.

What belongs here: opening the instance, one range run, what became of each of its days, one clear error.
What does not: which runs make a year (`replay.py`).
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dagster import AssetKey, DagsterInstance, Definitions
from dagster._utils.error import SerializableErrorInfo

from ml_assets.assets import declared_graph
from ml_assets.definitions import build_defs, resources_of
from ml_assets.domain import errors
from ml_assets.domain.declared import Graph
from ml_assets.domain.errors import CalendarError, CatalogError, DaysRefusedError, MlAssetsError, RunFailedError
from ml_assets.domain.specs import Catalog
from ml_assets.domain.verdict import BLOCKED, DAY_CHECK, LATE, TOLD_AGAIN, why_not
from partitions import DayRange, day_of_key, key_of_day, today_in
from resources.dagster_storage import runs_of
from resources.delta_io_manager import DEFER_EVENTS, table_of
from resources.handles import lake_of
from resources.home import Home
from resources.lake import Lake
from resources.project import WORKSPACE, this_project
from resources.run_failures import gathered
from resources.run_owner import RunOwner, close_abandoned_runs
from resources.run_tags import CAUSE, DAYS, LAUNCHED_BY, range_tags, spoken
from resources.settings import prepare_process

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
COMMAND_LINE = "ml-assets"
DONE, UNCHANGED, EMPTY, KEPT, REFUSED = "done", "unchanged", "empty", "kept", "refused"
OUTCOMES = (DONE, UNCHANGED, EMPTY, KEPT, REFUSED, BLOCKED, LATE)
SHORT = {DONE, UNCHANGED}
# Ctrl-C as Python and as Dagster say it; a run that does not raise hands on their names only.
INTERRUPTIONS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")


@dataclass(frozen=True)
class RunReport:
    """What became of every day of every asset of a run: `outcomes` by table and day, with the reason where due.

    A day that is done has a remark in its place when something of what came was left out.
    """

    run_id: str
    outcomes: Mapping[tuple[str, date], tuple[str, str]] = field(default_factory=dict)

    def of(self, outcome: str) -> list[tuple[str, date, str]]:
        """The days with an outcome, in order: table, day, reason."""
        return sorted((table, day, reason) for (table, day), (what, reason) in self.outcomes.items() if what == outcome)

    @property
    def short(self) -> bool:
        """Whether any day was refused, blocked or late."""
        return any(what in (REFUSED, BLOCKED, LATE) for what, _ in self.outcomes.values())

    def lines(self) -> list[str]:
        """How many days of which outcome, and the first reason of each that needs one."""
        said = []
        for outcome in OUTCOMES:
            found = self.of(outcome)
            if not found:
                continue
            count = f"{len(found)} {'day' if len(found) == 1 else 'days'} {outcome}"
            if outcome in SHORT:
                remarks = [each for each in found if each[2]]
                if remarks:
                    table, day, remark = remarks[0]
                    count += f", {len(remarks)} of them with a remark, first {table} {day}: {remark}"
                said.append(count)
                continue
            table, day, reason = found[0]
            said.append(f"{count}, first {table} {day}: {reason}")
        return said or ["nothing was out of step"]


@dataclass(frozen=True)
class Launcher:
    """The platform over a home, ready to run."""

    home: Home
    catalog: Catalog
    instance: DagsterInstance
    defs: Definitions = field(repr=False)
    owner: RunOwner = field(repr=False)
    graph: Graph = field(repr=False)

    @classmethod
    def of(cls, home: Home, catalog: Catalog) -> "Launcher":
        """A launcher on the home's own Dagster instance."""
        prepare_process(home.path)
        instance = DagsterInstance.from_config(str(home.dagster), home.in_process)
        close_abandoned_runs(instance, home)
        defs = build_defs(catalog, resources_of(home))
        return cls(home, catalog, instance, defs, RunOwner.of(home), declared_graph(catalog))

    @property
    def lake(self) -> Lake:
        """The lake of the home."""
        return lake_of(self.home.path)

    def run(
        self,
        assets: Sequence[str],
        days: DayRange,
        *,
        cause: str = "asked for",
        by: str = COMMAND_LINE,
        only_stale: bool = False,
        anew: bool = False,
    ) -> RunReport:
        """Computes the assets over a range in one run; the report says what became of each day.

        `only_stale` leaves days that are in step; `anew` decides decisions on record anew. Days that are refused are in
        the report, whatever else fails raises the platform's own error.
        """
        keys = [self.known_asset(name) for name in assets]
        for asset_key in keys:
            self.check_calendar(asset_key, days)
        tags = {
            **self.owner.tags,
            **range_tags(days, cause=cause, by=by, only_stale=only_stale),
            # Set from the start, no planned record is written: two records a day and asset instead of three.
            DEFER_EVENTS: "true",
        }
        decisions = [name for name in assets if anew and self.graph[name].nature == "decision"]
        config = {
            **QUIET,
            **(
                {"ops": {"__".join(name.split("/")): {"config": {"anew": True}} for name in decisions}}
                if decisions
                else {}
            ),
        }
        job = self.defs.resolve_implicit_global_asset_job_def()
        return _in_process(job, self.instance, asset_selection=keys, tags=tags, run_config=config)

    def retrain(self, model: str, day: date, reason: str) -> RunReport:
        """Runs the retrain job of a model for one day, as a person would, with a reason."""
        job = self.defs.resolve_job_def(f"retrain_{model}")
        config = {**QUIET, "ops": {f"training_sets__{model}": {"config": {"reason": reason}}}}
        tags = {
            **self.owner.tags,
            DAYS: spoken(DayRange(day, date.fromordinal(day.toordinal() + 1))),
            CAUSE: reason,
            LAUNCHED_BY: COMMAND_LINE,
        }
        return _in_process(job, self.instance, partition_key=key_of_day(day), tags=tags, run_config=config)

    def intervene(self, model: str, day: date, request: Mapping[str, object]) -> RunReport:
        """Records what a person decides about who serves from a day on; what follows of it is the planner's."""
        table = f"interventions/{self.catalog.model_named(model).name}"
        days = DayRange(day, date.fromordinal(day.toordinal() + 1))
        self.check_calendar(self.known_asset(table), days)
        config = {**QUIET, "ops": {"__".join(table.split("/")): {"config": dict(request)}}}
        tags = {**self.owner.tags, **range_tags(days, cause=f"{request['action']} by {request['by']}", by=COMMAND_LINE)}
        job = self.defs.resolve_implicit_global_asset_job_def()
        return _in_process(job, self.instance, asset_selection=[self.known_asset(table)], tags=tags, run_config=config)

    def known_asset(self, name: str) -> AssetKey:
        """The key of an asset named `<stage>/<name>`; CatalogError names the stage's, or the stages."""
        if name not in self.graph.assets:
            stage = name.split("/", maxsplit=1)[0]
            of_stage = sorted(asset.table for asset in self.graph if asset.stage == stage)
            stages = dict.fromkeys(asset.stage for asset in self.graph)
            known = (
                f"known are {', '.join(of_stage)}"
                if of_stage
                else f"wanted <stage>/<name>, a stage of {', '.join(stages)}"
            )
            near = difflib.get_close_matches(name, sorted(self.graph.assets), n=1)
            raise CatalogError(f"unknown asset {name!r}; {known}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return AssetKey(name.split("/"))

    def check_calendar(self, asset_key: AssetKey, days: DayRange) -> None:
        """Raises CalendarError unless every day of the range is a partition of the asset."""
        calendar = self.graph[table_of(asset_key)].calendar
        over = today_in(calendar.timezone)
        known = DayRange(calendar.first_day, calendar.outcome_end(over))
        for day in (days.start, days.last):
            if day not in known:
                open_end = calendar.outcome_end_day is None or calendar.outcome_end_day > over
                reach = f"the last day that is over, {known.last}" if open_end else str(known.last)
                raise CalendarError(
                    f"{asset_key.to_user_string()} has no partition {day}; its calendar runs from {known.start} to "
                    f"{reach}. Nothing was run."
                )


def parse_days(first: str, last: str | None) -> DayRange:
    """The range from `first` to `last`, both included; CalendarError for what is no day."""
    try:
        start = day_of_key(first)
        end = day_of_key(last) if last else start
    except ValueError as error:
        raise CalendarError(str(error)) from error
    if end < start:
        raise CalendarError(f"the last day {end} lies before the first day {start}.")
    return DayRange(start, date.fromordinal(end.toordinal() + 1))


def _in_process(job: Any, instance: DagsterInstance, **arguments: Any) -> RunReport:
    # Dagster ends a run at the first step that raises when asked to raise: then other branches would not be computed.
    with gathered() as raised, runs_of(this_project().root / WORKSPACE):
        result = job.execute_in_process(instance=instance, raise_on_error=False, **arguments)
    steps = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    # The run's own failure says why it ended when no step does.
    own = [event.job_failure_data.error for event in result.all_events if event.is_job_failure]
    if any(error.cls_name in INTERRUPTIONS for failure in (*steps, *own) for error in _chain(failure)):
        raise KeyboardInterrupt
    for error in raised:
        if not isinstance(error, DaysRefusedError):
            raise error
    for failure in steps or own:
        _raise_unless_refused(failure, result.run_id)
    return _report(result)


def _report(result: Any) -> RunReport:
    outcomes: dict[tuple[str, date], tuple[str, str]] = {}
    for event in result.all_events:
        if event.is_step_materialization and event.partition:
            made = event.step_materialization_data.materialization
            outcomes[table_of(made.asset_key), day_of_key(event.partition)] = _outcome(made.metadata)
    for event in result.all_events:
        if event.event_type_value != "ASSET_CHECK_EVALUATION":
            continue
        judged = event.event_specific_data
        if judged.check_name != DAY_CHECK or TOLD_AGAIN in judged.metadata:
            continue
        said = judged.description or ""
        key = (table_of(judged.asset_key), day_of_key(judged.partition))
        if not judged.passed:
            waits, reason = why_not(said)
            outcomes[key] = (waits or REFUSED, reason)
        elif said and outcomes[key][0] in SHORT:
            outcomes[key] = (outcomes[key][0], said)
    return RunReport(result.run_id, outcomes)


def _outcome(metadata: Mapping[str, Any]) -> tuple[str, str]:
    for name in (KEPT, EMPTY):
        if name in metadata:
            return name, str(metadata[name].value)
    return UNCHANGED if UNCHANGED in metadata else DONE, ""


def _raise_unless_refused(failure: SerializableErrorInfo | None, run_id: str) -> None:
    """Raises a step's error as the platform's own, unless it only says that days were refused."""
    chain = list(_chain(failure))
    for error in chain:
        kind = getattr(errors, error.cls_name or "", None)
        if isinstance(kind, type) and issubclass(kind, MlAssetsError):
            if issubclass(kind, DaysRefusedError):
                return
            raise kind(_said(error))
    root = chain[-1] if chain else None
    said = f"{root.cls_name}: {_said(root)}" if root else "no reason is on record"
    raise RunFailedError(f"run {run_id} failed. {said}")


def _chain(error: SerializableErrorInfo | None) -> Iterable[SerializableErrorInfo]:
    while error is not None:
        yield error
        error = error.cause or error.context


def _said(error: SerializableErrorInfo) -> str:
    """The error's text, without the name of its class before it."""
    _, _, text = error.message.strip().partition(": ")
    return text or error.message.strip()
