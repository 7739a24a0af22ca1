"""The frame every asset of days is built in: what it reads, which of its days can be computed, what it records.

What belongs here: the one decorator call, the rule of ready days, the order in which things are recorded.
What does not: what any particular asset computes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetObservation,
    AssetsDefinition,
    BackfillPolicy,
    DailyPartitionsDefinition,
    Output,
    PartitionMapping,
    asset,
)

from ml_assets.checks import CHECK_NAME, day_check_events, day_check_spec
from ml_assets.domain.day_frame import DayBatch, DayFrame
from ml_assets.domain.errors import MissingPartitionError, NothingToDoError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Calendar
from partitions import DayRange, days_between, event_days, key_of_day, outcome_days
from resources.lake import Lake

MAX_OBSERVED_SKIPS = 31


@dataclass(frozen=True, slots=True)
class Parent:
    """An upstream asset: its key, the days of it that are read, whether the same day must be there."""

    key: AssetKey
    mapping: PartitionMapping
    same_day: bool
    end_day: date


@dataclass(frozen=True, slots=True)
class Ready:
    """What a body gets: the run's days, those it can compute, what was read, the lake, the Dagster context."""

    run: DayRange
    days: tuple[date, ...]
    inputs: Mapping[str, DayFrame]
    lake: Lake
    context: AssetExecutionContext
    config: Any = None


Body = Callable[[Ready], DayBatch]


@dataclass(frozen=True, slots=True)
class Frame:
    """What is common to a kind of asset."""

    key: AssetKey
    calendar: Calendar
    group: str
    kinds: frozenset[str]
    description: str
    code_version: str
    parents: Mapping[str, Parent]
    outcome_calendar: bool = False
    dense: bool = True
    check_description: str = "Rows, nulls and keys of the day are within their limits."


def days_of(calendar: Calendar, *, outcome_calendar: bool = False) -> DailyPartitionsDefinition:
    """Dagster's days of a workload; with `outcome_calendar` the label lag at the end too."""
    if outcome_calendar:
        return outcome_days(calendar.timezone, calendar.first_day, calendar.outcome_end_day)
    return event_days(calendar.timezone, calendar.first_day, calendar.end_day)


def parent(
    key: AssetKey,
    mapping: PartitionMapping,
    calendar: Calendar,
    *,
    same_day: bool,
    outcome_calendar: bool = False,
) -> Parent:
    """An upstream asset of the same workload."""
    end = calendar.outcome_end_day if outcome_calendar else calendar.end_day
    return Parent(key=key, mapping=mapping, same_day=same_day, end_day=end)


def partitioned_asset(
    frame: Frame, body: Body, *, required_resources: frozenset[str] = frozenset(), config: type | None = None
) -> AssetsDefinition:
    """The asset of `frame`: computes the days that are ready with `body`, writes the good ones, records each.

    In a one-day run a red or blocked day fails the run; in a range run the other days go on, and it fails
    only when no day at all could be accepted and some were refused.
    """
    days = days_of(frame.calendar, outcome_calendar=frame.outcome_calendar)

    def compute(context: AssetExecutionContext, config: Any, **inputs: DayFrame) -> Iterator[Any]:
        run = days_between(context.partition_keys)
        days_ready, blocked = ready_days(run, frame.parents, inputs)
        lake = context.resources.lake.lake()
        if days_ready:
            batch = body(Ready(run, days_ready, inputs, lake, context, config))
        else:
            batch = DayBatch(rows=pl.DataFrame(), verdicts={})
        versions = {table.table: table.version for table in inputs.values()}
        batch = replace(batch, blocked={**blocked, **batch.blocked}, inputs={**versions, **batch.inputs})
        yield from recorded(context, frame.key, run, batch, lake)

    return asset(
        key=frame.key,
        ins={
            name: AssetIn(key=upstream.key, partition_mapping=upstream.mapping)
            for name, upstream in frame.parents.items()
        },
        partitions_def=days,
        backfill_policy=BackfillPolicy.single_run() if frame.dense else BackfillPolicy.multi_run(1),
        check_specs=[day_check_spec(frame.key, days, frame.check_description)],
        output_required=False,
        group_name=frame.group,
        kinds=set(frame.kinds),
        description=frame.description,
        code_version=frame.code_version,
        required_resource_keys={"lake", *required_resources},
        metadata={"partition_expr": "partition_date"},
        pool="_".join(("lake", *frame.key.path)),
    )(_with_config(compute, config) if config else _without_config(compute))


def _without_config(compute: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def run(context: AssetExecutionContext, **inputs: DayFrame) -> Iterator[Any]:
        yield from compute(context, None, **inputs)

    return run


def _with_config(compute: Callable[..., Iterator[Any]], config_type: type) -> Callable[..., Iterator[Any]]:
    def run(context: AssetExecutionContext, config: Any, **inputs: DayFrame) -> Iterator[Any]:
        yield from compute(context, config, **inputs)

    run.__annotations__["config"] = config_type
    return run


def ready_days(
    run: DayRange, parents: Mapping[str, Parent], inputs: Mapping[str, DayFrame]
) -> tuple[tuple[date, ...], dict[date, str]]:
    """The days of the run whose same-day parents are all there and accepted; for the others, why not."""
    blocked: dict[date, str] = {}
    for day in run:
        for name, upstream in parents.items():
            reason = inputs[name].rejected.get(day)
            absent_by_design = day >= upstream.end_day and not reason
            if not upstream.same_day or absent_by_design or day in inputs[name].days:
                continue
            table = "/".join(upstream.key.path)
            blocked[day] = f"{table} of {day} is " + (f"rejected: {reason}" if reason else "not there")
            break
    return tuple(day for day in run if day not in blocked), blocked


def recorded(
    context: AssetExecutionContext, key: AssetKey, run: DayRange, batch: DayBatch, lake: Lake
) -> Iterator[Any]:
    """The events of a computed batch: the output when there is something to write, then one check a day."""
    for day, reason in sorted({**batch.blocked, **batch.skipped}.items())[:MAX_OBSERVED_SKIPS]:
        context.log.warning("%s %s: not computed; %s", key.to_user_string(), day, reason)
        yield AssetObservation(key, partition=key_of_day(day), metadata={"not computed": reason})
    if batch.accepted:
        yield Output(batch, output_name="result")
    elif batch.rejected or batch.blocked:
        # Nothing is handed to the IO manager, but what was refused must be on record.
        lake.write("/".join(key.path), batch, {"run_id": context.run.run_id})
    yield from day_check_events(key, batch.verdicts, one_day=len(run) == 1)
    yield Output(None, output_name=f"{'__'.join(key.path)}_{CHECK_NAME}")
    refuse_nothing(key, batch)


def notes_of(rows: pl.DataFrame, columns: Mapping[str, str]) -> dict[date, dict[str, object]]:
    """For each day the values of the last row's columns, under the names given, to be shown beside the day."""
    last = rows.group_by(DAY, maintain_order=True).last().select(DAY, *columns)
    return {
        day: {name: value for name, value in zip(columns.values(), values, strict=True) if value is not None}
        for day, *values in last.iter_rows()
    }


def refuse_nothing(key: AssetKey, batch: DayBatch) -> None:
    """Raises when no day was accepted although some should have been: that run must not be green."""
    if batch.accepted or batch.skipped:
        return
    rejected = {day: "; ".join(batch.verdicts[day].reasons) for day in batch.rejected}
    refused = sorted({**batch.blocked, **rejected}.items())
    if not refused:
        raise NothingToDoError(f"{key.to_user_string()}: no day of the run was computed, blocked or skipped.")
    day, reason = refused[0]
    others = f" (and {len(refused) - 1} more days)" if len(refused) > 1 else ""
    raise MissingPartitionError(
        f"{key.to_user_string()}: no day was accepted. {day}: {reason}{others}. "
        "Repair what it names, then rerun these days."
    )
