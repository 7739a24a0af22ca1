"""What a stage is, declared in one value, and the one frame in which every stage runs.

What belongs here: `Stage`, the asset made of it, which days of a run are computed, kept, empty or blocked, the order in
which things are recorded.
What does not: what any particular stage computes (the modules beside this one).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    Config,
    DagsterEvent,
    DagsterEventType,
    DailyPartitionsDefinition,
    Output,
    asset,
)
from dagster._core.definitions.data_version import DATA_VERSION_IS_USER_PROVIDED_TAG, DATA_VERSION_TAG
from dagster._core.events import AssetMaterializationPlannedData
from pydantic import Field

from ml_assets.checks import (
    ALARM_CHECK,
    CHECK_NAME,
    alarm_check_spec,
    alarm_events,
    day_check_events,
    day_check_spec,
    refusal_notes,
)
from ml_assets.domain.code import code_fingerprint
from ml_assets.domain.content import content_hashes, fingerprint
from ml_assets.domain.day_frame import DayBatch, DayFrame
from ml_assets.domain.day_records import DayRecords, Hashes, Mask, content_keys, window_fingerprints
from ml_assets.domain.declared import Declared, Graph, Nature, Read
from ml_assets.domain.errors import ArtefactError, DaysRefusedError, MissingPartitionError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.planning import plan, stale_days
from ml_assets.domain.specs import Calendar, Catalog
from ml_assets.domain.verdict import BLOCKED, LATE, TOLD_AGAIN, Verdict, said
from partitions import DayRange, day_of_key, days_between, key_of_day, workload_days
from resources.delta_io_manager import DEFER_EVENTS, Computed, DeltaDaysIOManager
from resources.lake import Read as WhatWasRead
from resources.records import WasRead
from resources.run_failures import noted
from resources.run_tags import ONLY_STALE

ALL_SHOWN = 5
PLUMBING = frozenset({__name__, "ml_assets.checks", "resources"})
_NAMES_A_DAY = re.compile(r"\w+/\w+ of \d{4}-\d{2}-\d{2} is ")


@dataclass(frozen=True, slots=True)
class Ready:
    """What a body gets: the run's days, those it is to compute, what was read, and doors to what versions name.

    `blocked` are the run's days that cannot be computed for want of something they need, with the reason; of the others
    `hollow` are those of which something they need is there and holds no rows, with what: they need none either.
    """

    run: DayRange
    days: tuple[date, ...]
    inputs: Mapping[str, DayFrame]
    context: AssetExecutionContext
    door: DeltaDaysIOManager = field(repr=False)
    reads: Mapping[str, Read] = field(repr=False)
    stored: Mapping[str, pl.DataType] = field(repr=False)
    used: dict[str, WasRead] = field(repr=False, default_factory=dict)
    blocked: Mapping[date, str] = field(default_factory=dict)
    hollow: Mapping[date, str] = field(default_factory=dict)

    def named(self, read: str, version: str, column: str) -> dict[str, object]:
        """The stored row of a version that begins with its day, of a read declared `by_version`.

        Raises MissingPartitionError when the day is gone, ArtefactError when it does not hold the version.
        """
        table = self.reads[read].table
        day = day_of_key(version[:10])
        frame = self._held(read, day)
        held = frame.rows.collect()
        if held.is_empty():
            raise MissingPartitionError(
                f"{table} of {day} is not there, but {version} serves. Restore the table, or decide "
                f"{table} of {day} and the champions from there on anew."
            )
        rows = held.filter(pl.col(column) == version)
        if rows.height != 1:
            raise ArtefactError(
                f"{table} of {day} does not hold {version}: it was decided anew since. Decide the champions from "
                f"{day} on anew, then what they serve follows."
            )
        before = self.used[read].named if read in self.used else ()
        self.used[read] = WasRead(table, frame.version, named={*before, version})
        return rows.row(0, named=True)

    def held(self, read: str, day: date) -> pl.DataFrame:
        """The rows on record of one day, of a read declared `by_version`."""
        return self._held(read, day).rows.collect()

    def _held(self, read: str, day: date) -> DayFrame:
        return self.door.read(self.reads[read].table, DayRange(day, date.fromordinal(day.toordinal() + 1)))

    def once(self, key: object, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """What `make` gives, made once for the steps of this run that ask for the same."""
        versions = tuple((name, frame.version, frame.days) for name, frame in self.inputs.items())
        made = self.door.once((key, self.run, self.days, versions), make)
        assert isinstance(made, pl.DataFrame)  # noqa: S101  what `make` gives
        return made


Body = Callable[[Ready], DayBatch]


class Wish(Config):
    """A person's explicit wish: without one a decision on record is kept."""

    anew: bool = Field(
        default=False, description="Decide the days of this run anew, although a decision is on record for them."
    )

    @property
    def asks(self) -> bool:
        """Whether decisions on record are decided anew."""
        return self.anew


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A kind of asset, declared once: everything else about it is derived from this value.

    `of` is the part of the catalogue (sources, features, outcomes, models) of which each declaration has one asset.
    `reads` are all that the body reads. `past_end` stages run on after the last event day, until the last label.
    `code_version` is the fingerprint of what a declaration gives the body, its functions and limits; the body's own is
    looked after. `empty` is the schema of a day without rows where the body cannot know it. `wish` is the typed
    configuration of a decision, `before` what is done about it before anything is read. `alarms` says of stored rows
    what looks wrong with each of the days, for a check that warns; a stage without it has no such check. `box` is that
    of the lineage where another stage has an asset of each of the same declarations.
    """

    name: str
    of: str
    nature: Nature
    holds: str
    describe: Callable[[Any], str]
    reads: Callable[[Any, Catalog], Mapping[str, Read]]
    body: Callable[[Any, Catalog], Body]
    kinds: frozenset[str]
    code_version: Callable[[Any, Catalog], str] = lambda _spec, _catalog: ""
    columns: Callable[[Any, Catalog], Mapping[str, str]] = lambda _spec, _catalog: {}
    empty: Mapping[str, Any] = field(default_factory=dict)
    past_end: bool = False
    box: str = ""
    resources: frozenset[str] = frozenset()
    wish: type[Wish] = Wish
    before: Callable[["Step", Any], Iterator[Any]] = lambda _step, _config: iter(())
    alarms: Callable[[pl.DataFrame, Iterable[date]], Mapping[date, Verdict]] | None = None
    check: str = "Rows, nulls and keys of the day are within their limits, and nothing it needs was refused."

    def group_of(self, spec: Any, catalog: Catalog) -> str:
        """The box of the lineage that holds the asset of a declaration.

        Dagster labels an asset by the last part of its key. Many stages have an asset called after the same model, so
        each of them has a box of its own within the model's. What models share lies in a box of its workload's when
        there are several workloads.
        """
        if self.of == "models":
            return f"{spec.name}/{self.name}"
        alone = all(source.calendar == spec.calendar for source in catalog.sources.values())
        box = self.box or self.of
        return box if alone else f"{spec.calendar.name}/{box}"

    def declared(self, spec: Any, catalog: Catalog) -> Declared:
        """What the asset of a declaration declares of itself."""
        return Declared(self.name, spec.name, self.nature, spec.calendar, self.reads(spec, catalog))


def graph_of(stages: Iterable[Stage], catalog: Catalog) -> Graph:
    """Every asset of a catalogue with its reads, parents first."""
    return Graph.of(stage.declared(spec, catalog) for stage in stages for spec in getattr(catalog, stage.of).values())


def code_version_of(stage: Stage, spec: Any, catalog: Catalog) -> str:
    """The fingerprint of all that computes an asset: its body's code with what it imports, and what the catalogue adds.

    How Dagster runs it and how the lake is written are no part of it.
    """
    return fingerprint(code_fingerprint(stage.body, without=PLUMBING), stage.code_version(spec, catalog))


def days_of(calendar: Calendar) -> DailyPartitionsDefinition:
    """Dagster's days of a workload: one definition for all its assets."""
    return workload_days(calendar.timezone, calendar.first_day, calendar.outcome_end_day)


def stage_asset(stage: Stage, spec: Any, catalog: Catalog) -> AssetsDefinition:
    """The Dagster asset of a stage and a declaration.

    A run computes the days that can be computed, writes the good ones, records each. A decision on record is kept
    unless it is wished anew. Refused days never stop the others: what reads the asset leaves them out, and the last
    step of the run fails, so that Dagster shows exactly those days as failed.
    """
    declared = stage.declared(spec, catalog)
    key = AssetKey([stage.name, spec.name])
    days = days_of(spec.calendar)
    body = stage.body(spec, catalog)
    columns = {DAY: "the partition: a local day of the workload", **stage.columns(spec, catalog)}

    def compute(context: AssetExecutionContext, wish: Wish) -> Iterator[Any]:
        run = days_between(context.partition_keys)
        step = Step(stage, declared, context, run, anew=wish.asks)
        with noted():
            yield from stage.before(step, wish)
            computed = step.computed(body, columns)
            yield from recorded(step, computed)

    def run_fact(context: AssetExecutionContext) -> Iterator[Any]:
        yield from compute(context, Wish())

    def run_decision(context: AssetExecutionContext, config: Wish) -> Iterator[Any]:
        yield from compute(context, config)

    run_decision.__annotations__["config"] = stage.wish

    edges = dict.fromkeys(read.table for read in declared.reads.values() if read.edge)
    return asset(
        key=key,
        deps=[AssetDep(AssetKey(table.split("/"))) for table in edges],
        partitions_def=days,
        backfill_policy=BackfillPolicy.single_run(),
        check_specs=[
            day_check_spec(key, days, stage.check),
            *([alarm_check_spec(key, days)] if stage.alarms else []),
        ],
        group_name=stage.group_of(spec, catalog),
        kinds=set(stage.kinds),
        owners=list(spec.calendar.owners),
        tags={"stage": stage.name, "nature": str(stage.nature), "workload": spec.calendar.name},
        description=stage.describe(spec),
        code_version=code_version_of(stage, spec, catalog),
        required_resource_keys={"io_manager", *stage.resources},
        metadata={"partition_expr": DAY, "partition D holds": stage.holds},
        pool="_".join(("lake", *key.path)),
    )(run_fact if stage.nature is Nature.FACT else run_decision)


@dataclass
class Step:
    """One step of a run: which of its days are computed, and from what."""

    stage: Stage
    declared: Declared
    context: AssetExecutionContext
    run: DayRange
    anew: bool

    @property
    def door(self) -> DeltaDaysIOManager:
        """The run's door to the lake."""
        door: DeltaDaysIOManager = self.context.resources.io_manager
        return door

    def computed(self, body: Body, columns: Mapping[str, str]) -> Computed:
        """What the step hands over to be written."""
        calendar = self.declared.calendar
        self.door.begin(
            self.context.op_execution_context.get_step_execution_context().step.key, _newest_record(self.context)
        )
        # Records before rows: a parent that changes in between leaves this day out of step, never falsely in step.
        windowed = {name: read for name, read in self.declared.reads.items() if not read.by_version}
        records = self.door.lake.records({self.declared.table, *(read.table for read in windowed.values())})
        mine = records[self.declared.table]
        run_days = tuple(self.run)
        fingerprints = {name: self._fingerprints(records[read.table], read) for name, read in windowed.items()}
        left = self._left(mine, records, run_days)
        standing = {
            day: refusal
            for day, refusal in self.door.lake.refusals(self.declared.table, self.run.start, self.run.end).items()
            if day in left
        }
        wanted = [day for day in run_days if day not in left]
        past = {
            day: f"the last event day of {calendar.name} is {calendar.event_end(day) - timedelta(days=1)}"
            for day in wanted
            if calendar.is_past(day) and not self.stage.past_end
        }
        hull = DayRange(min(wanted), date.fromordinal(max(wanted).toordinal() + 1)) if wanted else self.run
        contents = {
            name: self.door.lake.contents(read.table, read.window.of(hull)) for name, read in windowed.items() if wanted
        }
        inputs = {name: self._frame(read, hull) for name, read in windowed.items()} if wanted else {}
        blocked, late = self._waiting([day for day in wanted if day not in past], inputs)
        waiting = {**late, **blocked}
        days = tuple(day for day in wanted if day not in past and day not in waiting)
        hollow = self._hollow(days, inputs)
        stored = self.door.lake.schema(self.declared.table)
        batch = DayBatch(rows=pl.DataFrame(), verdicts={})
        used: dict[str, WasRead] = {}
        if days:
            with self.door.lake.reading({read.table for read in self.declared.reads.values()}):
                reads = self.declared.reads
                doors = (self.context, self.door)
                batch = body(Ready(self.run, days, inputs, *doors, reads, stored, used, waiting, hollow))
        rows = batch.rows
        if not rows.columns or DAY not in rows.columns:
            rows = pl.DataFrame(schema=stored or self.stage.empty)
        empty = {**past, **batch.empty}
        if empty and not rows.columns:
            # Nobody knows the columns yet: the days stay unasked for, rather than guessed.
            empty = {}
        verdicts = {**{day: _nothing(why) for day, why in empty.items()}, **batch.verdicts}
        batch = replace(
            batch,
            rows=rows,
            verdicts=verdicts,
            blocked={**blocked, **batch.blocked},
            late={**late, **batch.late},
            empty=empty,
        )
        own = [name for name, read in windowed.items() if read.table == self.declared.table]
        if own:
            # What the run itself writes of its own past is what its later days rest on.
            after = mine.with_content(*_contents(batch))
            fingerprints |= {name: self._fingerprints(after, windowed[name]) for name in own}
            contents |= {name: self._with_own(contents[name], batch) for name in own if name in contents}
        was_read = {
            name: WasRead(frame.table, frame.version, windowed[name].window, contents[name])
            for name, frame in inputs.items()
        }
        read = WhatWasRead(fingerprints, {**was_read, **used})
        kept = {day: why for day, why in left.items() if day not in standing}
        return Computed(
            batch=batch,
            read=read,
            kept=kept,
            standing=standing,
            kept_notes=self._changed_since(records, windowed, kept),
            columns=columns,
        )

    def _fingerprints(self, parent: DayRecords, read: Read) -> dict[date, int]:
        days = tuple(self.run)
        found = window_fingerprints(parent, days, read.window, presence=read.needed)
        return dict(zip(days, found.tolist(), strict=True))

    def _with_own(self, contents: Mapping[date, str], batch: DayBatch) -> dict[date, str]:
        """What a read of the table itself found: what was there, and what the run itself made of it."""
        written = content_hashes(batch.rows, leave_out=batch.leave_out, days=batch.accepted)
        return {
            **{day: text for day, text in contents.items() if day not in batch.refused},
            **{day: written[day] for day in batch.accepted},
        }

    def write_aside(self, table: str, batch: DayBatch) -> None:
        """Writes days of another table on behalf of a person: a decision that this step then acts on."""
        self.door.lake.write(table, batch, WhatWasRead(), {"run_id": self.context.run.run_id})

    def content_tags(self, content: str) -> dict[str, str]:
        """The tags by which Dagster tells one content from another."""
        return {DATA_VERSION_TAG: content, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}

    def _left(self, mine: Any, records: Mapping[str, Any], days: tuple[date, ...]) -> dict[date, str]:
        """The days of the run that stay as they are on record, with the reason."""
        only_stale = self.context.run.tags.get(ONLY_STALE) == "true"
        if self.declared.nature is Nature.FACT and not only_stale:
            return {}
        if self.anew:
            return {}
        state = mine.state_of(days)
        due = stale_days(self.declared, mine, records, days)
        decision = self.declared.nature is Nature.DECISION
        kept = (
            "a decision on record is kept; decide anew to change it"
            if decision
            else "in step with what it rests on; not computed"
        )
        return {day: kept for day, held, stale in zip(days, state, due, strict=True) if held and not stale}

    def _changed_since(
        self, records: Mapping[str, DayRecords], windowed: Mapping[str, Read], kept: Mapping[date, str]
    ) -> dict[date, dict[str, object]]:
        """For each decision that is kept although what it rests on has changed, what has."""
        if self.declared.nature is Nature.FACT or not kept:
            return {}
        parents = [
            Declared(*table.split("/", 1), Nature.FACT, self.declared.calendar)
            for table in records
            if table != self.declared.table
        ]
        alone = Graph.of([replace(self.declared, reads=windowed), *parents])
        told: dict[date, list[str]] = {}
        for warning in plan(alone, records, only=[self.declared.table]).warnings:
            if warning.day in kept:
                told.setdefault(warning.day, []).append(str(warning))
        return {day: {"changed since": "; ".join(warnings)} for day, warnings in told.items()}

    def _frame(self, read: Read, run: DayRange) -> DayFrame:
        calendar = self.declared.calendar
        days = read.window.of(run)
        start, end = max(days.start, calendar.first_day), calendar.outcome_end(days.end)
        return self.door.read(read.table, DayRange(start, max(start, end)))

    def _hollow(self, days: Iterable[date], inputs: Mapping[str, DayFrame]) -> dict[date, str]:
        """The days of which something they need holds no rows, with what."""
        needed = [inputs[name] for name, read in self.declared.reads.items() if read.needed and name in inputs]
        return {
            day: f"{frame.table} of {day} holds no rows"
            for day in days
            for frame in needed
            if day in frame.days and day not in frame.filled
        }

    def _waiting(self, days: list[date], inputs: Mapping[str, DayFrame]) -> tuple[dict[date, str], dict[date, str]]:
        """The days whose needed parents are not there or refused, with what blocks them, and those that are late."""
        blocked: dict[date, str] = {}
        late: dict[date, str] = {}
        for name, read in self.declared.reads.items():
            if not read.needed:
                continue
            frame = inputs.get(name)
            for day in days:
                if frame is None or day in frame.days or day in blocked:
                    continue
                why = frame.refused.get(day)
                root = why is not None and _NAMES_A_DAY.match(why)
                # What blocks the parent is what blocks this day: the reason names the root, not the way to it.
                waits = day in frame.late
                state = f"late: {why}" if waits else _refused(why)
                (late if waits else blocked)[day] = why if why and root else f"{read.table} of {day} is {state}"
        # What is blocked is so whatever else it waits for.
        return blocked, {day: why for day, why in late.items() if day not in blocked}


def recorded(step: Step, computed: Computed) -> Iterator[Any]:
    """The events of a step: its output, one check a day; fails at the end of a branch in which days were refused."""
    context, batch = step.context, computed.batch
    key = AssetKey([step.declared.stage, step.declared.name])
    standing = {day: said(state, why) for day, (state, why) in sorted(computed.standing.items())}
    # What stands refused on record and was not computed again is as refused as before.
    refused = dict(sorted({**batch.refused, **{day: why for day, (_, why) in computed.standing.items()}}.items()))
    # A late day is nobody's fault here: a run in which the others went through has not failed.
    late = {*batch.late, *(day for day, (state, _) in computed.standing.items() if state == LATE)}
    failed = {day: why for day, why in refused.items() if day not in late}
    step.door.refused[step.declared.table] = failed
    if failed and context.run.tags.get(DEFER_EVENTS) == "true":
        _plan_refused(context, key, failed)
    yield Output(computed, output_name="result")
    verdicts = {
        **batch.verdicts,
        **{day: Verdict(passed=False, reasons=(said(LATE, why),)) for day, why in batch.late.items()},
        **{day: Verdict(passed=False, reasons=(said(BLOCKED, why),)) for day, why in batch.blocked.items()},
        **{day: Verdict(passed=False, reasons=(why,)) for day, why in standing.items()},
        **{day: Verdict(passed=True, measured={"kept": why}) for day, why in computed.kept.items()},
    }
    verdicts |= {} if refused else _refused_before(step)
    yield from refusal_notes(key, verdicts)
    yield from day_check_events(key, verdicts, context.instance, context.run.run_id, _record_time(context))
    yield Output(None, output_name=f"{'__'.join(key.path)}_{CHECK_NAME}")
    if step.stage.alarms:
        alarms = _alarms(step, computed)
        yield from alarm_events(key, alarms, context.instance, context.run.run_id, _record_time(context))
        yield Output(None, output_name=f"{'__'.join(key.path)}_{ALARM_CHECK}")
        _tell(context, step.declared.table, alarms)
    if refused:
        first = next(iter(refused.items()))
        context.log.warning(
            "%s: %d of %d days refused; %s: %s", step.declared.table, len(refused), len(step.run), first[0], first[1]
        )
    fail_at_the_leaf(step)


def _alarms(step: Step, computed: Computed) -> Mapping[date, Verdict]:
    """What looks wrong with the days that are there: in what was made of them now, or in what is stored."""
    alarms = step.stage.alarms
    if alarms is None:
        return {}
    batch, kept = computed.batch, sorted(computed.kept)
    found = dict(alarms(batch.rows, batch.accepted))
    if kept:
        stored = step.door.read(step.declared.table, DayRange(kept[0], kept[-1] + timedelta(days=1)))
        found |= alarms(stored.rows.filter(pl.col(DAY).is_in(kept)).collect(), kept)
    return found


def _tell(context: AssetExecutionContext, table: str, alarms: Mapping[date, Verdict]) -> None:
    for day, verdict in sorted(alarms.items()):
        if not verdict.passed:
            context.log.warning("%s of %s: %s", table, day, "; ".join(verdict.reasons))


def _refused_before(step: Step) -> dict[date, Verdict]:
    """The newest day that an earlier run refused, told again: else a newer good day would hide it."""
    held = step.door.lake.refusals(step.declared.table, date.min, date.max)
    others = [day for day in held if day not in step.run]
    if not others:
        return {}
    state, why = held[max(others)]
    return {max(others): Verdict(passed=False, reasons=(said(state, why),), measured={TOLD_AGAIN: True})}


def fail_at_the_leaf(step: Step) -> None:
    """Raises in a step that nothing of the run comes after, when days were refused: the run must not be green."""
    selected = step.context.run.asset_selection or frozenset()
    graph = step.context.job_def.asset_layer.asset_graph
    key = AssetKey([step.declared.stage, step.declared.name])
    children = graph.get(key).child_keys
    if children & (selected or set(graph.get_all_asset_keys())):
        return
    ancestors = {"/".join(parent.path) for parent in graph.get_ancestor_asset_keys(key)} | {step.declared.table}
    refused = {table: days for table, days in step.door.refused.items() if days and table in ancestors}
    if refused:
        raise DaysRefusedError(refusal_text(refused))


def refusal_text(refused: Mapping[str, Mapping[date, str]]) -> str:
    """How many days of which tables were refused, with the first reason of each."""
    parts = []
    for table, days in refused.items():
        day, why = next(iter(days.items()))
        more = f" (and {len(days) - 1} more days)" if len(days) > 1 else ""
        parts.append(f"{table} of {day}{more}: {why}")
    shown = "; ".join(parts[:ALL_SHOWN]) + (
        f"; and {len(parts) - ALL_SHOWN} more tables" if len(parts) > ALL_SHOWN else ""
    )
    return f"days were refused, the others are done. {shown}. Repair what it names, then rerun these days."


def notes_of(rows: pl.DataFrame, columns: Mapping[str, str]) -> dict[date, dict[str, object]]:
    """For each day the values of the last row's columns, under the names given, to be shown beside the day."""
    last = rows.group_by(DAY, maintain_order=True).last().select(DAY, *columns)
    return {
        day: {name: value for name, value in zip(columns.values(), values, strict=True) if value is not None}
        for day, *values in last.iter_rows()
    }


def _contents(batch: DayBatch) -> tuple[list[date], Hashes, Mask]:
    """The days of a batch, in order, the key of each one's content, 0 for refused days, and which hold no rows."""
    hashes = content_hashes(batch.rows, leave_out=batch.leave_out, days=batch.accepted) if batch.accepted else {}
    days = sorted({*batch.accepted, *batch.refused})
    keys = dict(zip(hashes, content_keys(list(hashes.values())).tolist(), strict=True))
    refused = batch.refused
    filled = set(batch.rows[DAY]) if batch.rows.height else set()
    return (
        days,
        np.array([0 if day in refused else keys[day] for day in days], np.uint64),
        np.array([day not in filled and day not in refused for day in days], np.bool_),
    )


def _refused(why: str | None) -> str:
    return "not there" if why is None else f"refused: {why}"


def _nothing(why: str) -> Verdict:
    return Verdict(passed=True, measured={"rows": 0, "empty": why})


def _plan_refused(context: AssetExecutionContext, key: AssetKey, days: Iterable[date]) -> None:
    # A run that defers its records has no planned ones; without them Dagster would not show these days as failed.
    for day in days:
        event = DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
            job_name=context.job_name,
            event_specific_data=AssetMaterializationPlannedData(key, partition=key_of_day(day)),
        )
        context.instance.report_dagster_event(event, context.run.run_id)


def _newest_record(context: AssetExecutionContext) -> int:
    return context.instance.event_log_storage.get_maximum_record_id() or 0


def _record_time(context: AssetExecutionContext) -> float:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.update_timestamp.timestamp() if record else 0.0


__all__ = [
    "Body",
    "Ready",
    "Stage",
    "Step",
    "Wish",
    "code_version_of",
    "days_of",
    "graph_of",
    "notes_of",
    "refusal_text",
    "stage_asset",
]
