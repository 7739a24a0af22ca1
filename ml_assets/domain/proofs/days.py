"""On which days a catalogue is looked at, and which days of events that takes.

What belongs here: the days that are most likely to show a defect, and the reach of what is computed for them.
What does not: reading them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import TypeVar

import numpy as np
import polars as pl

from ml_assets.domain.content import seed_of
from ml_assets.domain.declared import Graph
from ml_assets.domain.local_days import DAY
from ml_assets.domain.proofs.ranges import around, long_before
from ml_assets.domain.rehearsal import clamped, event_days
from ml_assets.domain.specs import Calendar, Catalog, FeatureGroupSpec, ModelSpec, OutcomeSpec, SourceSpec
from partitions import DayRange
from partitions.days import midnight

Spec = TypeVar("Spec", SourceSpec, FeatureGroupSpec, OutcomeSpec, ModelSpec)
ONE_DAY = timedelta(days=1)
OUTLIERS = 2
TRAIN_DAYS = 14


@dataclass(frozen=True, slots=True)
class LookedAt:
    """The days at which facts are looked at, by calendar, and the training day of each model that has one."""

    days: Mapping[str, tuple[date, ...]]
    training: Mapping[str, date]


def closed(catalog: Catalog, ends: Mapping[str, date]) -> Catalog:
    """The catalogue with calendars that end, at the latest where `ends` says by the calendar's name."""

    def ended(spec: Spec) -> Spec:
        calendar = spec.calendar
        return replace(spec, calendar=replace(calendar, end_day=calendar.event_end(ends[calendar.name])))

    return Catalog(
        sources={name: ended(spec) for name, spec in catalog.sources.items()},
        features={name: ended(spec) for name, spec in catalog.features.items()},
        outcomes={name: ended(spec) for name, spec in catalog.outcomes.items()},
        models={name: ended(spec) for name, spec in catalog.models.items()},
    )


def shortened(catalog: Catalog) -> Catalog:
    """The catalogue with training windows as long as a look at them needs, and no longer."""
    return replace(catalog, models={name: _shortened(model) for name, model in catalog.models.items()})


def _shortened(model: ModelSpec) -> ModelSpec:
    enough = TRAIN_DAYS + model.calendar.label_lag_days
    return replace(model, train_days=enough if model.train_days is None else min(model.train_days, enough))


def chosen_days(calendar: Calendar, profiles: Sequence[pl.DataFrame], number: int) -> tuple[date, ...]:
    """So many event days of a calendar, the most telling ones first: storms, changes of the clocks, the ends.

    A profile is of one source, and has a row for each day that was delivered with figures of it. Days that lie far from
    the others in one of them are storms; those that a source with a profile lacks are not looked at. The rest are
    spread by chance, the same whenever they are asked for; without a profile they are of late, which every source has.
    """
    of_sources = [profile for profile in profiles if profile.height]
    days = list(event_days(calendar))
    for profile in of_sources:
        delivered = set(profile[DAY])
        days = [day for day in days if day in delivered]
    if not days:
        return ()
    changes = [day for day in reversed(days) if _hours(calendar, day) != timedelta(hours=24)]
    storms = [_outliers(profile, days) for profile in of_sources]
    first, second = ([found[place] for found in storms if place < len(found)] for place in range(OUTLIERS))
    if not of_sources:
        order = [*changes[:1], *days[::-3], *reversed(days)]
    else:
        drawn = np.random.default_rng(seed_of(calendar.name)).permutation(len(days))
        order = [*first, *changes[:2], days[-1], days[0], *second, *(days[at] for at in drawn)]
    return tuple(sorted(list(dict.fromkeys(order))[:number]))


def _hours(calendar: Calendar, day: date) -> timedelta:
    return midnight(day + ONE_DAY, calendar.timezone) - midnight(day, calendar.timezone)


def _outliers(profile: pl.DataFrame, days: Sequence[date]) -> list[date]:
    """The days furthest from the middle in any figure, in units of that figure's usual distance; not two in a row."""
    figures = [name for name in profile.columns if name != DAY]
    if not figures or profile.is_empty():
        return []
    inside = profile.filter(pl.col(DAY).is_in(list(days))).sort(DAY)
    away = [(pl.col(name).cast(pl.Float64) - pl.col(name).median()).abs() for name in figures]
    far = inside.select(
        DAY,
        far=pl.max_horizontal(
            distance / (distance.median() + 0.05 * pl.col(name).median() + 0.01)
            for distance, name in zip(away, figures, strict=True)
        ),
    ).sort("far", DAY, descending=[True, False])
    found: list[date] = []
    for day in far[DAY]:
        if all(abs((day - other).days) > 2 for other in found):
            found.append(day)
        if len(found) == OUTLIERS:
            break
    return found


def looked_at(catalog: Catalog, graph: Graph, profiles: Mapping[str, Sequence[pl.DataFrame]], number: int) -> LookedAt:
    """The days to look at, by calendar, and for each model a training day whose window holds many of them."""
    calendars = {spec.calendar.name: spec.calendar for spec in catalog.sources.values()}
    days = {name: chosen_days(calendar, profiles.get(name, ()), number) for name, calendar in calendars.items()}
    return LookedAt(
        days=days,
        training={
            name: training_day(graph, model, days[model.calendar.name]) for name, model in catalog.models.items()
        },
    )


def training_day(graph: Graph, model: ModelSpec, days: Sequence[date]) -> date:
    """The first day whose training window holds the most of the days, and whose reads the calendar does not cut."""
    reads = graph[f"training_sets/{model.name}"].reads
    window = reads["labels"].window.first
    reach = max(read.window.first for name, read in reads.items() if name != "decisions")
    there = event_days(model.calendar)
    first = min(there.start + timedelta(days=reach), there.last)
    return max(
        DayRange(first, there.end),
        key=lambda day: (sum(day - timedelta(days=window) <= each < day for each in days), -day.toordinal()),
    )


def days_read(catalog: Catalog, graph: Graph, at: LookedAt) -> dict[str, list[DayRange]]:
    """The days of every table of facts that are read to compute all that is looked at, in ranges without holes."""
    asked = {
        f"events/{name}": [around(spec.calendar, day) for day in at.days[spec.calendar.name]]
        for name, spec in catalog.sources.items()
    }
    for name, group in catalog.features.items():
        asked[f"features/{name}"] = _ranges(group.calendar, at, group.look_back_days)
    for name, outcome in catalog.outcomes.items():
        asked[f"outcomes/{name}"] = _ranges(outcome.calendar, at, outcome.calendar.label_lag_days)
    for name, model in catalog.models.items():
        asked[f"predictions/{name}"] = _ranges(model.calendar, at, 0)
        asked[f"training_sets/{name}"] = [around(model.calendar, at.training[name], back=2)]
    read: dict[str, set[date]] = {}
    # A group that reads its own days before is taken for stored from there on: those days are not followed further.
    open_ranges = [(table, days, True) for table, ranges in asked.items() for days in ranges]
    seen: set[tuple[str, DayRange, bool]] = set()
    while open_ranges:
        table, days, own_past = asking = open_ranges.pop()
        if asking in seen:
            continue
        seen.add(asking)
        read.setdefault(table, set()).update(days)
        calendar = graph[table].calendar
        open_ranges += [
            (each.table, clamped(each, days, calendar), each.table != table)
            for each in graph[table].reads.values()
            if each.table.split("/", 1)[0] in {"events", "features", "outcomes"} and (own_past or each.table != table)
        ]
    return {table: in_one_go(days) for table, days in read.items()}


def _ranges(calendar: Calendar, at: LookedAt, look_back: int) -> list[DayRange]:
    return [
        run for day in at.days[calendar.name] for run in (around(calendar, day), long_before(calendar, day, look_back))
    ]


def in_one_go(days: Iterable[date]) -> list[DayRange]:
    """The ranges without holes that days make up."""
    ordered = sorted(days)
    ends = [one for one, other in pairwise(ordered) if other - one > ONE_DAY]
    starts = [other for one, other in pairwise(ordered) if other - one > ONE_DAY]
    return [
        DayRange(start, end + ONE_DAY)
        for start, end in zip([*ordered[:1], *starts], [*ends, *ordered[-1:]], strict=True)
    ]
