"""How a calendar stands: what every table's day is, which need attention, and what to do about each.

What belongs here: the judgement of a day from the facts about it, its reason and next step, days with the same
trouble as one range.
What does not: gathering the facts (lake, plan, runs), drawing them (`status_picture`, `status_page`,
`status_terminal`).
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import groupby

import polars as pl

from ml_assets.domain.errors import StatusError
from partitions import DayRange, trailing_days

DAYS_SHOWN = 35
COMMAND = ".venv/bin/ml-assets"
SENSOR = "keep_in_step"
FACTS = pl.Schema({"table": pl.String, "day": pl.Date, "state": pl.String, "reason": pl.String})


class DayState(StrEnum):
    """What a table's day is. Where several are said of one day, the first in this order holds."""

    IN_WORK = "in_work"
    RED = "red"
    BLOCKED = "blocked"
    LATE = "late"
    STALE = "stale"
    WARNED = "warned"
    EMPTY = "empty"
    GOOD = "good"
    NOT_ASKED = "not_asked"

    @property
    def label(self) -> str:
        """The state in words."""
        return self.value.replace("_", " ")

    @property
    def mark(self) -> str:
        """One ASCII character that tells the state without colour."""
        return MARKS[self]

    @property
    def meaning(self) -> str:
        """What the state says, as a legend's half sentence."""
        return MEANINGS[self]


MARKS: Mapping[DayState, str] = {
    DayState.IN_WORK: ">",
    DayState.RED: "X",
    DayState.BLOCKED: "B",
    DayState.LATE: "L",
    DayState.STALE: "S",
    DayState.WARNED: "!",
    DayState.EMPTY: "-",
    DayState.GOOD: ".",
    DayState.NOT_ASKED: "_",
}
MEANINGS: Mapping[DayState, str] = {
    DayState.IN_WORK: "a run is computing it",
    DayState.RED: "rejected: its own fault",
    DayState.BLOCKED: "something it needs is red or missing",
    DayState.LATE: "due, and not delivered yet",
    DayState.STALE: "rests on content that has changed",
    DayState.WARNED: "decided on what has changed since",
    DayState.EMPTY: "accepted, nothing to do",
    DayState.GOOD: "accepted",
    DayState.NOT_ASKED: "never asked for",
}
ATTENTION = (DayState.RED, DayState.BLOCKED, DayState.LATE, DayState.STALE, DayState.WARNED)
WAITING = (DayState.BLOCKED, DayState.LATE)
"""States of days that were not judged, for want of something that their reason names."""
_RANK = {str(state): rank for rank, state in enumerate(DayState)}


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do about a day: a sentence, and what to type for it."""

    sentence: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableDay:
    """A day of a table, by name."""

    table: str
    day: date

    def __str__(self) -> str:
        return f"{self.table} {self.day}"


@dataclass(frozen=True, slots=True)
class Cause:
    """What blocks days: the days at the root of it and what they are; None where no fact speaks of them."""

    table: str
    first: date
    last: date
    state: DayState | None


@dataclass(frozen=True, slots=True)
class Cell:
    """A day of a table, judged; `cause` for a blocked one whose reason names a day of ours."""

    table: str
    day: date
    state: DayState
    reason: str = ""
    next_step: NextStep = field(default_factory=NextStep)
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """Consecutive days of a table that need attention for the same reason."""

    table: str
    state: DayState
    first: date
    last: date
    reason: str
    next_step: NextStep

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def days(self) -> str:
        """The days in words."""
        return str(self.first) if len(self) == 1 else f"{self.first} to {self.last} ({len(self)} days)"


@dataclass(frozen=True)
class StatusReport:
    """A calendar's tables × days, judged.

    `tables` are (stage, table) in graph order with the tables of a stage together; `cells` hold every one of them on
    every day of `days`; `before` are days that need attention and are not among `days`.
    """

    calendar: str
    as_of: str
    tables: tuple[tuple[str, str], ...]
    days: tuple[date, ...]
    cells: Mapping[TableDay, Cell]
    before: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()

    def row(self, table: str) -> list[Cell]:
        """The cells of a table, by day."""
        return [self.cells[TableDay(table, day)] for day in self.days]

    @cached_property
    def stages(self) -> list[tuple[str, list[str]]]:
        """Each stage with its tables, in order."""
        return [
            (stage, [table for _, table in tables]) for stage, tables in groupby(self.tables, key=lambda pair: pair[0])
        ]

    @cached_property
    def counts(self) -> dict[DayState, int]:
        """How many of the shown cells are in each state."""
        states = [cell.state for cell in self.cells.values()]
        return {state: states.count(state) for state in DayState}

    @cached_property
    def attention(self) -> list[Entry]:
        """What needs attention: red, blocked, late, stale, warned, in this order; of each the most upstream first."""
        return _entries(self)

    @cached_property
    def troubles(self) -> list[list[Entry]]:
        """The entries of `attention`, those with one next step together."""
        return [list(entries) for _, entries in groupby(self.attention, key=lambda each: (each.state, each.next_step))]

    @property
    def alarming(self) -> bool:
        """Whether a day is red, blocked or late: rows are missing, not only out of date."""
        return any(entry.state in {DayState.RED, *WAITING} for entry in self.attention)

    @property
    def all_good(self) -> bool:
        """Whether every day shown is accepted, and no other needs attention."""
        accepted = self.counts[DayState.GOOD] + self.counts[DayState.EMPTY]
        return accepted == len(self.cells) and not self.before

    @cached_property
    def headline(self) -> str:
        """The whole report in one sentence."""
        return _headline(self)

    def weeks(self) -> list[list[date]]:
        """The days in weeks that begin on Monday."""
        return [list(days) for _, days in groupby(self.days, key=lambda day: day.isocalendar()[:2])]


def shown_days(last: date, first: date = date.min) -> tuple[date, ...]:
    """The five weeks up to and with `last`, none before `first`, the calendar's first day."""
    five_weeks = trailing_days(DAYS_SHOWN - 1).of(DayRange(last, last + timedelta(days=1)))
    return tuple(day for day in five_weeks if day >= first)


def status_report(
    calendar: str,
    tables: Sequence[tuple[str, str]],
    days: Iterable[date],
    facts: pl.DataFrame,
    *,
    as_of: str,
    notes: Iterable[str] = (),
) -> StatusReport:
    """The report over (stage, table) in graph order and the days shown.

    `facts` has the columns of `FACTS`, with any number of rows a day: rows from the lake, from the plan and from the
    runs are simply concatenated, and of several states the first in `DayState` holds. A day shown that no row speaks
    of was never asked for. Days that need attention are kept even when they are not shown: a report must not hide
    them. Raises StatusError for a table or a state that nobody knows.
    """
    order = _by_stage(tables)
    shown = tuple(sorted(set(days)))
    if not order or not shown:
        raise StatusError(f"A status of {calendar} has {len(order)} tables and {len(shown)} days; wanted one or more.")
    names = [table for _, table in order]
    told = _checked(facts, names)
    if not told["state"].is_in(WAITING).any():
        # Good days that are not shown matter only as what blocked another once.
        told = told.filter(pl.col("day").is_in(shown) | pl.col("state").is_in([*ATTENTION, DayState.IN_WORK]))
    found = _judged(told)
    grid = [TableDay(table, day) for table in names for day in shown]
    found |= dict.fromkeys([at for at in grid if at not in found], (DayState.NOT_ASKED, ""))
    before = [at for at, (state, _) in found.items() if state in ATTENTION and at.day not in shown]
    causes = _causes(found, frozenset(names))
    return StatusReport(
        calendar=calendar,
        as_of=_plain(as_of),
        tables=order,
        days=shown,
        cells={at: _cell(at, found, causes) for at in grid},
        before=tuple(_cell(at, found, causes) for at in before),
        notes=tuple(_plain(note) for note in notes),
    )


def attention_frame(report: StatusReport) -> pl.DataFrame:
    """What needs attention as a table of text: state, table, days, reason, next step."""
    rows = [
        (entry.state.label, entry.table, entry.days, entry.reason, _spoken(entry.next_step))
        for entry in report.attention
    ]
    names = ("state", "table", "days", "reason", "next step")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _by_stage(tables: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The tables with those of a stage together, stages in the order in which they first appear."""
    names = [table for _, table in tables]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise StatusError(f"Tables are listed twice: {', '.join(doubled)}; list each once.")
    stages = list(dict.fromkeys(stage for stage, _ in tables))
    return tuple(sorted(tables, key=lambda pair: stages.index(pair[0])))


def _checked(facts: pl.DataFrame, tables: Sequence[str]) -> pl.DataFrame:
    """The facts, or StatusError that names what does not fit."""
    if list(facts.schema.items()) != list(FACTS.items()):
        raise StatusError(f"Facts have the columns {dict(facts.schema)}; wanted {dict(FACTS)}, in this order.")
    nulls = facts.select("table", "day", "state").null_count().row(0, named=True)
    if any(nulls.values()):
        raise StatusError(f"Facts lack values: {nulls}; every fact names its table, day and state.")
    if unknown := sorted(set(facts["table"]) - set(tables)):
        raise StatusError(f"Facts speak of {', '.join(unknown[:5])}; known are {', '.join(sorted(tables))}.")
    if unknown := sorted(set(facts["state"]) - set(_RANK)):
        raise StatusError(f"Facts say {', '.join(map(repr, unknown[:5]))}; known are {', '.join(_RANK)}.")
    return facts


def _judged(facts: pl.DataFrame) -> dict[TableDay, tuple[DayState, str]]:
    """The state and reason that hold for each day spoken of."""
    rank = pl.col("state").replace_strict(_RANK, return_dtype=pl.Int8)
    by_day = (
        facts.with_columns(pl.col("reason").fill_null(""))
        .sort(rank, maintain_order=True)
        .group_by("table", "day", maintain_order=True)
        .agg("state", "reason")
        .sort("table", "day")
    )
    return {
        TableDay(table, day): _holding([DayState(state) for state in states], reasons)
        for table, day, states, reasons in by_day.iter_rows()
    }


def _holding(states: Sequence[DayState], reasons: Sequence[str]) -> tuple[DayState, str]:
    """The first of the ranked states with its reasons; work under way also says what it mends."""
    holds = states[0]
    said = [_plain(reason) for state, reason in zip(states, reasons, strict=True) if state is holds and reason]
    reason = "; ".join(dict.fromkeys(said))
    mended = next((at for at, state in enumerate(states) if state in ATTENTION), None)
    if holds is DayState.IN_WORK and mended is not None:
        was = f"until it ends: {states[mended].label}" + (f", {_plain(reasons[mended])}" if reasons[mended] else "")
        reason = "; ".join(filter(None, (reason, was)))
    return holds, reason


def _plain(text: str) -> str:
    """Text on one line, without control characters: reasons may quote what came from outside."""
    shown = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())


def _cell(at: TableDay, found: Mapping[TableDay, tuple[DayState, str]], causes: Mapping[TableDay, Cause]) -> Cell:
    state, reason = found[at]
    cause = causes.get(at)
    return Cell(at.table, at.day, state, reason, next_step(at.table, state, at.day, at.day, cause), cause)


def _causes(found: Mapping[TableDay, tuple[DayState, str]], tables: frozenset[str]) -> dict[TableDay, Cause]:
    """What each blocked or late day waits for, followed from reason to reason; absent where that is no day of ours."""
    roots: dict[TableDay, TableDay] = {}
    for start in found:
        path, at = [], start
        while at not in roots and at in found and found[at][0] in WAITING:
            path.append(at)
            roots[at] = at  # so that days that name one another end the walk
            at = next((named for named in _days_named(found[at][1], tables) if named != at), at)
        roots |= dict.fromkeys(path, roots.get(at, at))
    return {
        at: Cause(root.table, root.day, root.day, found[root][0] if root in found else None)
        for at, root in roots.items()
        if root != at
    }


_NAMED = re.compile(r"(?P<table>[\w.-]+/[\w.-]+)(?: of)? (?P<day>\d{4}-\d{2}-\d{2})\b")


def _days_named(reason: str, tables: frozenset[str]) -> list[TableDay]:
    """The days of our tables that a reason names: "events/weather of 2013-12-31 is rejected"."""
    named = [(match["table"], _day(match["day"])) for match in _NAMED.finditer(reason)]
    return [TableDay(table, day) for table, day in named if table in tables and day]


def _day(text: str) -> date | None:
    """The day that a text spells; None for the likes of 2013-02-30."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def next_step(table: str, state: DayState, first: date, last: date, cause: Cause | None = None) -> NextStep:
    """What to do about the days from `first` to `last` of a table; empty for good ones."""
    if state is DayState.RED:
        return NextStep(_mending(table), (_command("run", table, first, last),))
    if state in WAITING:
        return _unblocking(cause) if state is DayState.BLOCKED or cause else _delivering(table, first)
    if state is DayState.STALE:
        return _refreshing(table, first, last)
    if state is DayState.WARNED:
        return NextStep(
            "Nothing breaks: the decision on record stays. Look whether the change matters; only your explicit wish "
            "decides anew.",
            (f"{COMMAND} plan",),
        )
    if state is DayState.NOT_ASKED:
        return NextStep("Materialise it if it is wanted.", (_command("run", table, first, last),))
    return {
        DayState.IN_WORK: NextStep("Wait for the run that is computing it."),
        DayState.EMPTY: NextStep("Nothing to do."),
        DayState.GOOD: NextStep(),
    }[state]


def _refreshing(table: str, first: date, last: date) -> NextStep:
    stage, name = table.split("/", 1)
    if stage != "events":
        return NextStep(f"Wait for the sensor {SENSOR}, or repair it now.", (f"{COMMAND} plan", f"{COMMAND} repair"))
    return NextStep(
        f"Materialise {table} of that day to take the file in, or put back what was delivered. What rests on it "
        "follows by itself.",
        (_command("repair", table, first, last), shlex.join([COMMAND, "deliveries", name, str(first)])),
    )


def _mending(table: str) -> str:
    stage, name = table.split("/", 1)
    if stage == "events":
        return (
            f"Look at quarantine/{name} and at the check of that day; deliver the right extract, then materialise "
            f"{table} of that day. What rests on it follows by itself."
        )
    return (
        f"Look at the check of that day: what {table} reads was accepted, so the fault is in how it is computed or in "
        "its limits. Mend that, then materialise the day."
    )


def _delivering(table: str, first: date) -> NextStep:
    deliver = shlex.join([COMMAND, "deliver", table.split("/", 1)[1], str(first)])
    return NextStep(
        "Nothing is wrong here: it is computed once it comes. Ask whoever delivers it, or hand a file over.",
        (f"{deliver} <file>", f"{COMMAND} operate"),
    )


def _unblocking(cause: Cause | None) -> NextStep:
    if cause is None:
        return NextStep("Heal what the reason names; the rest follows by itself.", (f"{COMMAND} plan",))
    named = f"{cause.table} {_days(cause.first, cause.last)}"
    if cause.state is None:
        return NextStep(f"Look at {named} and heal it; the rest follows by itself.", (f"{COMMAND} plan",))
    if cause.state in (DayState.IN_WORK, DayState.LATE):
        awaited = f"{named}, which is late" if cause.state is DayState.LATE else f"the run that is computing {named}"
        return NextStep(f"Wait for {awaited}; the rest follows by itself.")
    if cause.state in ATTENTION:
        return NextStep(f"Heal {named} ({cause.state.label}); the rest follows by itself.")
    if cause.state is DayState.NOT_ASKED:
        run = _command("run", cause.table, cause.first, cause.last)
        return NextStep(f"Materialise {named}, which is missing; the rest follows by itself.", (run,))
    return NextStep(f"{named} is good again: wait for the sensor {SENSOR}, or repair now.", (f"{COMMAND} repair",))


def _command(verb: str, table: str, first: date, last: date) -> str:
    return shlex.join([COMMAND, verb, table, str(first), *([str(last)] if last != first else [])])


def _days(first: date, last: date) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _spoken(step: NextStep) -> str:
    return " ".join((step.sentence, *(f"`{command}`" for command in step.commands)))


def _troubled(report: StatusReport) -> list[Cell]:
    """Every cell that needs attention, shown or not."""
    return [*report.before, *(cell for cell in report.cells.values() if cell.state in ATTENTION)]


def _entries(report: StatusReport) -> list[Entry]:
    place = {table: number for number, (_, table) in enumerate(report.tables)}
    ranges: list[list[Cell]] = []
    for cell in sorted(_troubled(report), key=lambda cell: (_RANK[cell.state], place[cell.table], cell.day)):
        if ranges and _goes_on(ranges[-1][-1], cell):
            ranges[-1].append(cell)
        else:
            ranges.append([cell])
    return [_entry(cells) for cells in ranges]


def _goes_on(eve: Cell, cell: Cell) -> bool:
    """Whether a cell is the next day of the same trouble."""
    one_day = timedelta(days=1)
    if (eve.table, eve.state, eve.day + one_day) != (cell.table, cell.state, cell.day):
        return False
    if eve.reason != cell.reason and _relative(eve) != _relative(cell):
        return False
    if eve.cause is None or cell.cause is None:
        return eve.cause is cell.cause
    same = (eve.cause.table, eve.cause.state) == (cell.cause.table, cell.cause.state)
    return same and timedelta(0) <= cell.cause.first - eve.cause.last <= one_day


_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


def _relative(cell: Cell) -> str:
    """The reason with the days it names told from its own: "champions/demand of the day before is not there"."""

    def told(match: re.Match[str]) -> str:
        day = _day(match[0])
        if day is None:
            return match[0]
        away = (day - cell.day).days
        return {0: "that day", -1: "the day before"}.get(away, f"day {away:+d}")

    return _DATE.sub(told, cell.reason)


def _entry(cells: Sequence[Cell]) -> Entry:
    first, last = cells[0], cells[-1]
    cause = first.cause
    if cause and last.cause:
        cause = Cause(cause.table, cause.first, last.cause.last, cause.state)
    return Entry(
        table=first.table,
        state=first.state,
        first=first.day,
        last=last.day,
        reason=first.reason if first.reason == last.reason else _relative(first),
        next_step=next_step(first.table, first.state, first.day, last.day, cause),
    )


def _headline(report: StatusReport) -> str:
    troubled = _troubled(report)
    if not troubled:
        return _calm(report)
    said = [phrase for state in ATTENTION if (phrase := _phrase(report, state, troubled))]
    days, unseen = len({cell.day for cell in troubled}), len({cell.day for cell in report.before})
    of_them = f", {unseen} of them not among the days shown" if unseen else ""
    return f"{days} {'day needs' if days == 1 else 'days need'} attention{of_them}: {'; '.join(said)}."


def _calm(report: StatusReport) -> str:
    counts, size = report.counts, f"{len(report.days)} days × {len(report.tables)} tables"
    good = counts[DayState.GOOD] + counts[DayState.EMPTY]
    if report.all_good:
        return f"All {size} are good."
    if counts[DayState.NOT_ASKED] == len(report.cells):
        return f"Nothing was ever asked for: {size}, none computed."
    rest = [f"{counts[state]} {state.label}" for state in (DayState.IN_WORK, DayState.NOT_ASKED) if counts[state]]
    return f"Nothing needs attention: of {size}, {good} are good, {', '.join(rest)}."


def _phrase(report: StatusReport, state: DayState, troubled: Sequence[Cell]) -> str:
    """What the headline says of a state; "" for no such cell."""
    cells = [cell for cell in troubled if cell.state is state]
    if not cells:
        return ""
    amount = _amount(cells, len({cell.day for cell in troubled}))
    if state is DayState.RED:
        spans = [f"{each.table} {_days(each.first, each.last)}" for each in report.attention if each.state is state]
        named = " and ".join(spans) if len(spans) <= 2 else f"{spans[0]} and {len(spans) - 1} more"
        return f"{named} {'is' if len(spans) == 1 else 'are'} red"
    if state is DayState.BLOCKED:
        at_fault = {TableDay(cell.table, cell.day) for cell in troubled if cell.state is DayState.RED}
        causes = {TableDay(cell.cause.table, cell.cause.first) if cell.cause else None for cell in cells}
        if causes <= at_fault:
            red = [entry for entry in report.attention if entry.state is DayState.RED]
            by = " by it" if len(red) == 1 else " by them"
        else:
            by = f" by {next(iter(causes))}" if len(causes) == 1 and None not in causes else ""
        return f"{amount} blocked{by}"
    if state is DayState.LATE:
        return _phrase_of_late(cells, amount)
    return f"{amount} stale" if state is DayState.STALE else _phrase_of_warned(cells)


def _phrase_of_late(cells: Sequence[Cell], amount: str) -> str:
    roots = {TableDay(cell.table, cell.day) for cell in cells if cell.cause is None}
    if len(roots) == 1 and len(cells) > 1:
        waits = f"{len(cells) - 1} {'table waits' if len(cells) == 2 else 'tables wait'}"
        return f"{next(iter(roots))} is late, {waits} for it"
    return f"{amount} late"


def _phrase_of_warned(cells: Sequence[Cell]) -> str:
    decisions = "1 decision rests" if len(cells) == 1 else f"{len(cells)} decisions rest"
    return f"{decisions} on what has changed since"


def _amount(cells: Sequence[Cell], days: int) -> str:
    """So many days of so many tables, with the verb: "12 days of 4 tables are"; `days` are all those in trouble."""
    tables = len({cell.table for cell in cells})
    if len(cells) == 1:
        return f"{cells[0].table} {cells[0].day} is"
    if len({cell.day for cell in cells}) == 1:
        return f"{tables} tables{'' if days == 1 else f' of {cells[0].day}'} are"
    return f"{len(cells)} days of {cells[0].table if tables == 1 else f'{tables} tables'} are"
