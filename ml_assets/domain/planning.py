"""What is missing or rests on content that has changed since, from what is on record of every day: one planner.

What belongs here: which days are out of step, in which order and in which runs they are mended.
What does not: records and fingerprints (`day_records.py`), which tables there are (`declared.py`), launching a run.

Replay, daily catch-up, repair and the sensor that keeps the lake in step are this planner at different clocks. A plan
is an upper bound: what is computed anew may come out as it was, and then a step finds its own days in step
(`stale_days`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt

from ml_assets.domain.day_records import (
    UNKNOWN_VERSION,
    UNRECORDED,
    DayRecords,
    Days,
    Mask,
    Ordinals,
    content_key,
    content_keys,
    day_records,
    ordinals,
    window_fingerprints,
)
from ml_assets.domain.declared import Declared, Graph, Nature, Read
from ml_assets.domain.errors import CatalogError
from partitions import DayRange, Window

__all__ = [
    "UNKNOWN_VERSION",
    "UNRECORDED",
    "DayRecords",
    "DecisionWarning",
    "Plan",
    "Run",
    "Step",
    "content_key",
    "content_keys",
    "day_records",
    "ordinals",
    "plan",
    "stale_days",
    "window_fingerprints",
]

MISSING: Final = "missing"
CLAUSES_SHOWN: Final = 3

Due = Mapping[str, tuple[date, date]]
Masks = dict[str, Mask]


@dataclass(frozen=True, slots=True)
class Step:
    """A table's range of days to compute, and why."""

    table: str
    days: DayRange
    reason: str


@dataclass(frozen=True, slots=True)
class DecisionWarning:
    """A decision on record that rests on content which has changed since; it is kept.

    `changed` of the `of` days on record of the read's window were written anew since; None where records do not tell.
    """

    table: str
    day: date
    read: str
    parent: str
    changed: int | None
    of: int

    def __str__(self) -> str:
        if self.changed is None:
            return f"what it rests on of {self.parent} has changed since"
        verb = "has" if self.changed == 1 else "have"
        return f"{self.changed} of the {self.of} days of {self.parent} it rests on {verb} changed since"


@dataclass(frozen=True, slots=True)
class Run:
    """Tables and the days over which they are launched together; each step computes only what is out of step."""

    tables: tuple[str, ...]
    days: DayRange
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be computed, parents first, and the decisions that rest on changed content.

    `on_record` are the days on record of each table when the plan was made.
    """

    steps: tuple[Step, ...]
    warnings: tuple[DecisionWarning, ...]
    graph: Graph = field(repr=False, compare=False)
    on_record: Mapping[str, Ordinals] = field(repr=False, compare=False)

    def runs(self) -> tuple[Run, ...]:
        """The steps as rectangles of tables × days, to be launched one after the other.

        Steps that rest on one another or touch in time share a run. A run covers no day that was never asked for, no
        day whose turn comes later, and no two tables that a launched run would not compute in their order.
        """
        return tuple(_runs(self)) if self.steps else ()


@dataclass(frozen=True, slots=True)
class _Axis:
    """A dense axis of days, counted from the ordinal `origin`."""

    origin: int
    length: int

    @classmethod
    def over(cls, days: Iterable[Ordinals]) -> "_Axis":
        """The axis from the first to the last of the given days; of no length when there are none."""
        ends = [(int(each[0]), int(each[-1])) for each in days if len(each)]
        if not ends:
            return cls(1, 0)
        origin = min(first for first, _ in ends)
        return cls(origin, max(last for _, last in ends) + 1 - origin)

    def mask(self, days: Ordinals) -> Mask:
        """Which days of the axis are among the given."""
        mask = np.zeros(self.length, np.bool_)
        mask[days - self.origin] = True
        return mask

    def days(self, start: int, end: int) -> DayRange:
        """The days at `[start, end)`."""
        return DayRange(date.fromordinal(self.origin + start), date.fromordinal(self.origin + end))


@dataclass(frozen=True, slots=True)
class _Link:
    """A read along which a day that is computed anew carries over to the days of `child` in `where`."""

    child: str
    parent: str
    window: Window
    where: Mask


def stale_days(declared: Declared, own: DayRecords, parents: Mapping[str, DayRecords], days: Days) -> Mask:
    """For each day, in day order, whether it is out of step: not on record, or resting on content that has changed.

    `parents` are by table. A decision is out of step only by the reads it follows, unless it was refused. Where an
    asset reads its own past, days after one that is out of step are too, as far as they read it.
    """
    wanted = ordinals(days)
    if not len(wanted):
        return np.zeros(0, np.bool_)
    rows, held = own.rows_of(wanted)
    rows = rows[held]
    differing = _differing(declared, own, {**parents, declared.table: own}, rows)
    stale = ~held
    stale[held] = _stale(declared, own, differing, rows)
    axis = _Axis.over([wanted])
    links = [
        _Link(declared.table, read.table, read.window, axis.mask(own.days[rows[_heeded(declared, read, own, rows)]]))
        for read in _windowed(declared).values()
        if read.table == declared.table
    ]
    planned = {declared.table: axis.mask(wanted[stale])}
    _carry([declared.table], planned, links)
    return planned[declared.table][wanted - axis.origin]


def plan(
    graph: Graph, records: Mapping[str, DayRecords], *, due: Due | None = None, only: Collection[str] | None = None
) -> Plan:
    """What is out of step: days on record that rest on changed content, and days that are due and not on record.

    `due` names the half-open range of days that should be on record by now; without it a day never asked for stays so.
    `only` leaves every other table as it is. Raises CatalogError for an unknown name and for a table without records.
    """
    due_days = {table: _all_of(*bounds) for table, bounds in (due or {}).items()}
    for what, names, known in (
        ("due", due_days, graph.assets),
        ("only", only or (), graph.assets),
        ("the graph", graph.assets, records),
    ):
        if unknown := sorted(set(names) - set(known)):
            raise CatalogError(f"{what} names {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    tables = [table for table in graph.assets if only is None or table in only]
    assets = [graph[table] for table in tables]
    axis = _Axis.over([*(records[table].days for table in graph.assets), *(due_days[table] for table in due_days)])
    rows = {table: np.arange(len(records[table].days)) for table in tables}
    differing = {asset.table: _differing(asset, records[asset.table], records, rows[asset.table]) for asset in assets}
    missing = {table: np.zeros(axis.length, np.bool_) for table in tables}
    for table in due_days.keys() & missing.keys():
        missing[table] = axis.mask(due_days[table]) & ~axis.mask(records[table].days)
    planned = {}
    links = []
    for asset in assets:
        table, own = asset.table, records[asset.table]
        stale = _stale(asset, own, differing[table], rows[table])
        planned[table] = missing[table] | axis.mask(own.days[stale])
        for read in _windowed(asset).values():
            heeded = _heeded(asset, read, own, rows[table])
            if read.table in missing and heeded.any():
                links.append(_Link(table, read.table, read.window, axis.mask(own.days[heeded])))
    _carry_over(tables, planned, links)
    found = _Found(graph, records, axis, missing, planned, differing, links)
    on_record = {table: records[table].days for table in tables}
    return Plan(tuple(found.steps()), tuple(found.warnings()), graph, on_record)


def _windowed(declared: Declared) -> dict[str, Read]:
    """The reads of which the content of a window counts."""
    return {name: read for name, read in declared.reads.items() if not read.by_version}


def _heeded(declared: Declared, read: Read, own: DayRecords, rows: npt.NDArray[np.int64]) -> Mask:
    """For which rows a change of a read puts the day out of step.

    A blocked decision has decided nothing that could be kept, so it is decided once what it lacked is there. One that
    was judged and refused (too few rows to train on) stands: to train after all would rewrite what served.
    """
    if declared.nature is Nature.FACT or read.follows:
        return np.ones(len(rows), np.bool_)
    return own.refused[rows] if own.blocked is None else own.blocked[rows]


def _differing(
    declared: Declared, own: DayRecords, parents: Mapping[str, DayRecords], rows: npt.NDArray[np.int64]
) -> Masks:
    """For each read, for which rows its window holds something else than when the day was computed."""
    differing = {}
    for name, read in _windowed(declared).items():
        differing[name] = np.zeros(len(rows), np.bool_)
        # A read that no record names was declared since: a change of code alone makes nothing stale.
        if len(rows) and name in own.inputs:
            was = own.inputs[name][rows]
            now = window_fingerprints(parents[read.table], own.days[rows], read.window, presence=read.needed)
            differing[name] = (was != now) & (was != UNRECORDED)
    return differing


def _stale(declared: Declared, own: DayRecords, differing: Masks, rows: npt.NDArray[np.int64]) -> Mask:
    """Which rows are out of step by what they read."""
    stale = np.zeros(len(rows), np.bool_)
    for name, differs in differing.items():
        stale |= differs & _heeded(declared, declared.reads[name], own, rows)
    return stale


def _reached(planned: Mask, window: Window) -> Mask:
    """The days whose window holds a planned day."""
    before = np.concatenate(([0], np.cumsum(planned)))
    days = np.arange(len(planned))
    until = np.clip(days - window.last + 1, 0, None)
    since = np.clip(days - window.first, 0, None)
    reached: Mask = before[until] > before[since]
    return reached


def _carry_over(tables: Sequence[str], planned: Masks, links: Sequence[_Link]) -> None:
    """Adds to the planned days of each table those that rest on a planned day of another or of itself."""
    parents = {table: {link.parent for link in links if link.child == table} for table in tables}
    for together in _in_order(tables, parents):
        for link in links:
            if link.child in together and link.parent not in together and planned[link.parent].any():
                planned[link.child] |= _reached(planned[link.parent], link.window) & link.where
        _carry(together, planned, [link for link in links if link.child in together and link.parent in together])


def _carry(together: Sequence[str], planned: Masks, links: Sequence[_Link]) -> None:
    """The same within tables that read one another's past: in order, day by day, as such reads lead forward in time."""
    if not links or not any(planned[table].any() for table in together):
        return
    first = min(int(planned[table].argmax()) for table in together if planned[table].any())
    inward = {
        table: [
            (link.parent, link.window.first, link.window.last, link.where.tolist())
            for link in links
            if link.child == table
        ]
        for table in together
    }
    days = {table: planned[table].tolist() for table in together}
    # The latest planned day up to each day; before `first` there is none.
    latest: dict[str, list[int]] = {table: [-1] * first for table in together}
    for day in range(first, len(planned[together[0]])):
        for table in together:
            hit = days[table][day] or any(
                where[day] and day >= last and latest[parent][day - last] >= max(0, day - start)
                for parent, start, last, where in inward[table]
            )
            days[table][day] = hit
            latest[table].append(day if hit else (latest[table][-1] if latest[table] else -1))
    for table in together:
        planned[table] = np.array(days[table], np.bool_)


def _in_order(tables: Sequence[str], parents: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The tables, parents first and else in the order given; those that lead back to one another together."""
    above = {table: {table, *parents[table]} & set(tables) for table in tables}
    for middle in tables:
        for table in tables:
            if middle in above[table]:
                above[table] |= above[middle]
    ordered: list[list[str]] = []
    done: set[str] = set()
    pending = list(tables)
    while pending:
        for table in pending:
            together = [each for each in pending if each in above[table] and table in above[each]]
            if above[table] - done <= set(together):
                break
        ordered.append(together)
        done.update(together)
        pending = [each for each in pending if each not in done]
    return ordered


@dataclass(frozen=True, slots=True)
class _Found:
    """What a plan is told from: which days are planned, and why."""

    graph: Graph
    records: Mapping[str, DayRecords]
    axis: _Axis
    missing: Masks
    planned: Masks
    differing: Mapping[str, Masks]
    links: Sequence[_Link]

    def steps(self) -> Iterator[Step]:
        """The planned days as ranges, parents first; tables that rest on one another's past take turns day by day."""
        tables = [table for table, planned in self.planned.items() if planned.any()]
        parents = {
            table: {
                read.table
                for read in _windowed(self.graph[table]).values()
                if read.table in tables
                and read.table != table
                and (_reached(self.planned[read.table], read.window) & self.planned[table]).any()
            }
            for table in tables
        }
        for together in _in_order(tables, parents):
            if len(together) == 1:
                ranges = [(start, end, together[0]) for start, end in _ranges(self.planned[together[0]])]
            else:
                ranges = sorted(
                    (
                        (int(day), int(day) + 1, table)
                        for table in together
                        for day in np.flatnonzero(self.planned[table])
                    ),
                    key=lambda each: (each[0], together.index(each[2])),
                )
            causes = {table: self._causes(table) for table in together}
            for start, end, table in ranges:
                yield Step(table, self.axis.days(start, end), self._reason(table, start, end, causes[table]))

    def warnings(self) -> Iterator[DecisionWarning]:
        """Decisions that are kept although what they rest on has changed; one without rows decided nothing."""
        for table, differing in self.differing.items():
            asset, own = self.graph[table], self.records[table]
            if asset.nature is Nature.FACT:
                continue
            kept = ~self.planned[table][own.days - self.axis.origin]
            if own.empty is not None:
                kept &= ~own.empty
            for name, differs in differing.items():
                rows = np.flatnonzero(differs & kept)
                if not len(rows):
                    continue
                read = asset.reads[name]
                changed, _ = self._changed(own, name, read, rows)
                parent_days, days = self.records[read.table].days, own.days[rows]
                of = np.searchsorted(parent_days, days - np.int32(read.window.last), side="right") - np.searchsorted(
                    parent_days, days - np.int32(read.window.first)
                )
                for day, count, length in zip(days.tolist(), changed.tolist(), of.tolist(), strict=True):
                    yield DecisionWarning(table, date.fromordinal(day), name, read.table, count or None, length)

    def _changed(
        self, own: DayRecords, name: str, read: Read, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], Mask]:
        """How many days of each row's window were written after the row was computed, and which; 0 where unknown."""
        changed = np.zeros(len(rows), np.int64)
        which = np.zeros(self.axis.length, np.bool_)
        parent = self.records[read.table]
        if parent.changed_at is None or name not in own.versions:
            return changed, which
        changed_at = np.full(self.axis.length, UNKNOWN_VERSION)
        changed_at[parent.days - self.axis.origin] = parent.changed_at
        at, seen = own.days[rows] - self.axis.origin, own.versions[name][rows]
        for back in range(read.window.last, min(read.window.first, self.axis.length) + 1):
            days = at - back
            newer = (days >= 0) & (seen != UNKNOWN_VERSION) & (changed_at[np.maximum(days, 0)] > seen)
            changed += newer
            which[days[newer]] = True
        return changed, which

    def _causes(self, table: str) -> dict[str, tuple[Read, Mask, Mask]]:
        """For each read that puts days out of step: the read, those days, and the days of the parent that changed."""
        asset, own = self.graph[table], self.records[table]
        causes = {}
        for name, differs in self.differing[table].items():
            read = asset.reads[name]
            rows = np.flatnonzero(differs)
            rows = rows[_heeded(asset, read, own, rows)]
            if len(rows):
                _, which = self._changed(own, name, read, rows)
                causes[name] = (read, self.axis.mask(own.days[rows]), which)
        return causes

    def _reason(self, table: str, start: int, end: int, causes: Mapping[str, tuple[Read, Mask, Mask]]) -> str:
        """Why a range of a table is planned."""
        clauses = []
        if self.missing[table][start:end].any():
            clauses.append(MISSING)
            if self.missing[table][start:end].all():
                return MISSING
        told = set()
        for read, days, which in causes.values():
            out = np.flatnonzero(days[start:end]) + start
            if len(out):
                told.add(read.table)
                since, until = max(0, int(out[0]) - read.window.first), int(out[-1]) - read.window.last + 1
                if which[since : max(0, until)].any():
                    clauses.append(f"rests on {read.table} of {self._named(which, since, until)}")
                else:
                    # Days from before the axis are left out of the words only where they hold nothing.
                    days_read = self.axis.days(min(since, until - 1), until)
                    some = "" if len(days_read) == 1 else "some day of "
                    clauses.append(f"rests on {read.table} of {some}{_in_words(days_read)}")
        for link in self.links:
            if link.child == table and link.parent not in told and link.where[start:end].any():
                since, until = max(0, start - link.window.first), max(0, end - link.window.last)
                if self.planned[link.parent][since:until].any():
                    told.add(link.parent)
                    named = self._named(self.planned[link.parent], since, until)
                    clauses.append(f"rests on {link.parent} of {named}, computed anew before it")
        more = f"; and {len(clauses) - CLAUSES_SHOWN} more" if len(clauses) > CLAUSES_SHOWN else ""
        return "; ".join(clauses[:CLAUSES_SHOWN]) + more

    def _named(self, mask: Mask, since: int, until: int) -> str:
        """The days of a mask within `[since, until)`, in words."""
        found = np.flatnonzero(mask[since:until]) + since
        days = self.axis.days(int(found[0]), int(found[-1]) + 1)
        return f"{'' if len(found) == len(days) else f'{len(found)} days in '}{_in_words(days)}"


def _in_words(days: DayRange) -> str:
    """A range of days as people say it."""
    return str(days.start) if len(days) == 1 else f"{days.start} to {days.last}"


def _all_of(start: date, end: date) -> Ordinals:
    """Every day of `[start, end)`."""
    return ordinals(DayRange(start, end))


def _ranges(mask: Mask) -> list[tuple[int, int]]:
    """The half-open ranges of a mask's days."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _runs(planned: Plan) -> Iterator[Run]:
    steps = planned.steps
    axis = _Axis.over(ordinals((step.days.start, step.days.last)) for step in steps)
    days = {step.table: np.zeros(axis.length, np.bool_) for step in steps}
    for step in steps:
        days[step.table][_at(axis, step.days)] = True
    closed = {}
    for table, turns in days.items():
        known = planned.on_record[table] - axis.origin
        open_days = np.zeros(axis.length, np.bool_)
        open_days[known[(known >= 0) & (known < axis.length)]] = True
        closed[table] = ~open_days | turns
    # A launched run computes a table after those it has an edge from, and after no other.
    unordered = [
        (asset.table, read.table, read.window.last)
        for asset in planned.graph
        for read in _windowed(asset).values()
        if read.table != asset.table and not read.edge
    ]

    def fits(steps: Sequence[Step]) -> bool:
        tables, hull = {step.table for step in steps}, _hull(steps)
        return not any(closed[table][_at(axis, hull)].any() for table in tables) and not any(
            child in tables and parent in tables and len(hull) > last for child, parent, last in unordered
        )

    for group in _connected(planned.graph, axis, steps, days):
        run: list[Step] = []
        for _, turn in groupby(group, key=lambda step: step.table):
            batch = list(turn)
            for step in batch:
                closed[step.table][_at(axis, step.days)] = False
            if run and fits([*run, *batch]):
                run += batch
                continue
            if run:
                yield _run(run)
            run = batch if fits(batch) else []
            if not run:
                yield from (_run([step]) for step in batch[:-1])
                run = batch[-1:]
        yield _run(run)


def _run(steps: Sequence[Step]) -> Run:
    return Run(tuple(dict.fromkeys(step.table for step in steps)), _hull(steps), steps[0].reason)


def _hull(steps: Sequence[Step]) -> DayRange:
    return DayRange(min(step.days.start for step in steps), max(step.days.end for step in steps))


def _at(axis: _Axis, days: DayRange) -> slice:
    return slice(days.start.toordinal() - axis.origin, days.end.toordinal() - axis.origin)


def _connected(graph: Graph, axis: _Axis, steps: Sequence[Step], days: Masks) -> list[list[Step]]:
    """The steps in groups that neither rest on one another nor touch in time, the earliest first; each in order."""
    ranges = {table: _ranges(mask) for table, mask in days.items()}
    above = {(table, at): (table, at) for table, held in ranges.items() for at in range(len(held))}

    def top(of: tuple[str, int]) -> tuple[str, int]:
        while above[of] != of:
            above[of] = of = above[above[of]]
        return of

    for table, held in ranges.items():
        for read in _windowed(graph[table]).values():
            parents = ranges.get(read.table, [])
            for at, (start, end) in enumerate(held):
                first = bisect_right(parents, start - read.window.first, key=lambda each: each[1])
                until = bisect_left(parents, end - read.window.last, key=lambda each: each[0])
                for parent in range(first, until):
                    above[top((read.table, parent))] = top((table, at))
    groups: dict[tuple[str, int], list[int]] = {}
    for number, step in enumerate(steps):
        start = step.days.start.toordinal() - axis.origin
        at = bisect_right(ranges[step.table], start, key=lambda each: each[0]) - 1
        groups.setdefault(top((step.table, at)), []).append(number)
    return [[steps[number] for number in sorted(members)] for members in _touching(steps, groups.values())]


def _touching(steps: Sequence[Step], groups: Iterable[list[int]]) -> list[list[int]]:
    """The groups of steps, those joined whose hulls of days overlap or touch, the earliest first."""
    hulls = sorted(
        ((_hull([steps[number] for number in group]), group) for group in groups), key=lambda each: each[0].start
    )
    joined: list[tuple[date, list[int]]] = []
    for hull, group in hulls:
        if joined and hull.start <= joined[-1][0]:
            end, held = joined[-1]
            joined[-1] = max(end, hull.end), held + group
        else:
            joined.append((hull.end, group))
    return [group for _, group in joined]
