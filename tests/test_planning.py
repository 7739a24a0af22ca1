"""The planner against a twin that rebuilds everything with dicts and loops, on random graphs, histories and changes."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_assets.domain.declared import Declared, Graph, Nature, Read
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.planning import (
    UNRECORDED,
    DayRecords,
    DecisionWarning,
    Plan,
    Run,
    Step,
    content_key,
    content_keys,
    day_records,
    ordinals,
    plan,
    stale_days,
    window_fingerprints,
)
from ml_assets.domain.specs import Calendar
from partitions import DayRange, Window, same_days, trailing_days, window_before

FIRST = date(2012, 2, 20)
WORKLOAD = Calendar(
    name="harbour", timezone="UTC", first_day=FIRST, end_day=FIRST + timedelta(days=400), label_lag_days=0
)
FACT, DECISION = Nature.FACT, Nature.DECISION
RED, BLOCKED, NOT_THERE, EMPTY = "red", "blocked", "not there", "empty"


def asset(table: str, nature: Nature = FACT, **reads: Read) -> Declared:
    stage, name = table.split("/")
    return Declared(stage, name, nature, WORKLOAD, reads)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


# -- The toy: tables as dicts of days, whose content is a hash of what they read. --


@dataclass(frozen=True)
class Row:
    """One day on record. `content` is "" for a refused day, `state` says good, empty, red or why it is blocked."""

    content: str
    state: str
    key: int
    seen: dict[str, dict[int, str]]
    fingerprints: dict[str, int]
    versions: dict[str, int]
    changed_at: int


@dataclass
class ToyLake:
    """Tables that really compute; a table without reads holds what `sources` says, "red" where the day is refused."""

    graph: Graph
    coarse: dict[str, int]
    tables: dict[str, dict[int, Row]]
    sources: dict[tuple[str, int], str] = field(default_factory=dict)
    version: dict[str, int] = field(default_factory=dict)
    computed: list[tuple[str, int]] = field(default_factory=list)
    _records: dict[str, DayRecords] = field(default_factory=dict)

    def copy(self) -> "ToyLake":
        """A lake of the same that goes its own way; rows are never changed, only replaced."""
        return replace(
            self,
            tables={table: dict(rows) for table, rows in self.tables.items()},
            sources=dict(self.sources),
            version=dict(self.version),
            computed=[],
            _records=dict(self._records),
        )

    def window(self, read: Read, number: int) -> dict[int, str]:
        """What a reader sees: the contents that hold rows, and of a needed parent that a day is empty or refused."""
        seen = {}
        for other in range(number - read.window.first, number - read.window.last + 1):
            row = self.tables[read.table].get(other)
            if row and row.content and (row.state != EMPTY or read.needed):
                seen[other] = row.content
            elif row and read.needed:
                seen[other] = "refused"
        return seen

    def outcome(self, table: str, number: int) -> tuple[str, str]:
        """The content and the state of a day, as a function of what it reads."""
        declared = self.graph[table]
        if not declared.reads:
            content = self.sources.get((table, number), f"{table} {number}")
            return ("", RED) if content == RED else (content, EMPTY if content == EMPTY else "good")
        for read in declared.reads.values():
            if read.needed:
                row = self.tables[read.table].get(number)
                if row is None or not row.content:
                    return "", f"{BLOCKED}: {read.table} {'refused' if row else NOT_THERE}"
        windows = {
            name: {each: text for each, text in self.window(read, number).items() if text != "refused"}
            for name, read in declared.reads.items()
            if not read.by_version
        }
        hashed = int(hashlib.sha256(f"{table} {number} {windows}".encode()).hexdigest(), 16)
        # Few different contents, so that much that is computed anew comes out as it was; some days are red.
        drawn = hashed % self.coarse[table]
        if self.coarse[table] < 10 and drawn < 2:
            return ("", RED) if drawn == 0 else (EMPTY, EMPTY)
        return f"{table} {drawn}", "good"

    def compute(self, table: str, number: int) -> None:
        """Computes a day and records what it was computed from."""
        content, state = self.outcome(table, number)
        windowed = {name: read for name, read in self.graph[table].reads.items() if not read.by_version}
        before = self.tables[table].get(number)
        if before is None or before.content != content:
            self.version[table] = self.version.get(table, 0) + 1
            changed_at = self.version[table]
        else:
            changed_at = before.changed_at
        fingerprints = {
            name: int(
                window_fingerprints(self.records(read.table), [day(number)], read.window, presence=read.needed)[0]
            )
            for name, read in windowed.items()
        }
        self.tables[table][number] = Row(
            content,
            state,
            content_key(content) if content else 0,
            {name: self.window(read, number) for name, read in windowed.items()},
            fingerprints,
            {name: self.version.get(read.table, 0) for name, read in windowed.items()},
            changed_at,
        )
        self._records.pop(table, None)
        self.computed.append((table, number))

    def forget(self, table: str, number: int) -> None:
        """Takes a day off the record, as if it had never been asked for."""
        del self.tables[table][number]
        self._records.pop(table, None)

    def records(self, table: str) -> DayRecords:
        """What the planner gets to see."""
        if table not in self._records:
            held = sorted(self.tables[table].items())
            rows = [row for _, row in held]
            names = [name for name, read in self.graph[table].reads.items() if not read.by_version]
            self._records[table] = DayRecords(
                ordinals([day(number) for number, _ in held]),
                np.array([row.key for row in rows], np.uint64),
                np.array([not row.content for row in rows], np.bool_),
                {name: np.array([row.fingerprints[name] for row in rows], np.uint64) for name in names},
                np.array([row.changed_at for row in rows], np.int64),
                {name: np.array([row.versions[name] for row in rows], np.int64) for name in names},
                empty=np.array([row.state == EMPTY for row in rows], np.bool_),
                blocked=np.array([row.state.startswith(BLOCKED) for row in rows], np.bool_),
            )
        return self._records[table]

    def all_records(self) -> dict[str, DayRecords]:
        return {table: self.records(table) for table in self.tables}

    def held(self) -> dict[tuple[str, int], tuple[str, str]]:
        """Every day on record with its content and state."""
        return {
            (table, number): (row.content, row.state)
            for table, rows in self.tables.items()
            for number, row in rows.items()
        }

    def stale(self, table: str, days: Sequence[date]) -> list[bool]:
        stale = stale_days(self.graph[table], self.records(table), self.all_records(), days)
        return [bool(each) for each in stale]


# -- The twin: obviously right. --


def heeded(declared: Declared, read: Read, row: Row) -> bool:
    """Whether a change of this read puts a day on record out of step: a decision that was blocked decided nothing."""
    return not read.by_version and (declared.nature is FACT or read.follows or row.state.startswith(BLOCKED))


def changed_reads(lake: ToyLake, table: str, number: int) -> list[str]:
    """The reads whose window holds something else than what the day was computed from."""
    row, reads = lake.tables[table][number], lake.graph[table].reads
    return [name for name in row.seen if lake.window(reads[name], number) != row.seen[name]]


def rebuilt(lake: ToyLake, due: Iterable[tuple[str, int]] = ()) -> ToyLake:
    """A copy in which, day by day and parents first, every fact is computed anew and what is due is computed.

    A decision on record is kept, unless what it follows has changed or it was blocked and has now what it lacked.
    """
    twin = lake.copy()
    missing = set(due)
    last = max((number for rows in twin.tables.values() for number in rows), default=0)
    for number in range(max([last, *(number for _, number in missing)]) + 1):
        for declared in twin.graph:
            row = twin.tables[declared.table].get(number)
            if row is None:
                if (declared.table, number) in missing:
                    twin.compute(declared.table, number)
            elif (
                declared.nature is FACT
                or row.state.startswith(BLOCKED)
                or any(declared.reads[name].follows for name in changed_reads(twin, declared.table, number))
            ):
                twin.compute(declared.table, number)
    return twin


def closure(lake: ToyLake, due: Iterable[tuple[str, int]] = ()) -> set[tuple[str, int]]:
    """What may have to be computed: what is out of step or missing, and on and on what is on record and rests on it."""
    planned = {each for each in due if each[1] not in lake.tables[each[0]]}
    grown = True
    while grown:
        grown = False
        for declared in lake.graph:
            for number, row in lake.tables[declared.table].items():
                if (declared.table, number) in planned:
                    continue
                changed = changed_reads(lake, declared.table, number)
                for name, read in declared.reads.items():
                    days = range(number - read.window.first, number - read.window.last + 1)
                    if heeded(declared, read, row) and (
                        name in changed or any((read.table, each) in planned for each in days)
                    ):
                        planned.add((declared.table, number))
                        grown = True
                        break
    return planned


def expected_warnings(lake: ToyLake, planned: set[tuple[str, int]]) -> set[DecisionWarning]:
    warnings = set()
    for declared in lake.graph:
        for number, row in lake.tables[declared.table].items():
            # A decision without rows has decided nothing that could serve.
            if declared.nature is DECISION and row.state != EMPTY and (declared.table, number) not in planned:
                for name in changed_reads(lake, declared.table, number):
                    read = declared.reads[name]
                    parent = lake.tables[read.table]
                    days = range(number - read.window.first, number - read.window.last + 1)
                    held = [each for each in days if each in parent]
                    newer = sum(parent[each].changed_at > row.versions[name] for each in held)
                    warnings.add(
                        DecisionWarning(declared.table, day(number), name, read.table, newer or None, len(held))
                    )
    return warnings


# -- Three ways to execute a plan. --


def numbers(days: DayRange) -> list[int]:
    return [(each - FIRST).days for each in days]


def by_steps_and_days(lake: ToyLake, made: Plan) -> None:
    """Steps in order; each day looked at when its turn comes."""
    for step in made.steps:
        for each in step.days:
            if lake.stale(step.table, [each])[0]:
                lake.compute(step.table, (each - FIRST).days)


def by_steps_and_ranges(lake: ToyLake, made: Plan) -> None:
    """Steps in order; a step looks once at its whole range."""
    for step in made.steps:
        for number, stale in zip(numbers(step.days), lake.stale(step.table, tuple(step.days)), strict=True):
            if stale:
                lake.compute(step.table, number)


def by_runs(lake: ToyLake, made: Plan, random: Random) -> None:
    """Runs in order; within a run a table comes after those it has an edge from, and else whenever."""
    for run in made.runs():
        pending = list(run.tables)
        random.shuffle(pending)
        while pending:
            ready = [
                table
                for table in pending
                if not any(read.edge and read.table in pending for read in lake.graph[table].reads.values())
            ]
            table = ready[0]
            pending.remove(table)
            for number, stale in zip(numbers(run.days), lake.stale(table, tuple(run.days)), strict=True):
                if stale:
                    lake.compute(table, number)


# -- Random graphs, histories, changes. --


def a_window(random: Random, longest: int) -> Window:
    shape = random.randrange(4)
    if shape == 0:
        return same_days()
    if shape == 1:
        return trailing_days(random.randint(1, longest))
    if shape == 2:
        return window_before(random.randint(1, longest))
    first = random.randint(1, longest)
    return Window(first, random.randint(0, first))


def a_graph(random: Random, *, tables: int, longest: int) -> Graph:
    """Sources first; the rest read earlier tables over any window, and later ones or themselves strictly before."""
    names = [f"stage/{chr(97 + number)}" for number in range(tables)]
    sources = random.randint(1, 2)
    made = []
    for at, name in enumerate(names):
        nature = DECISION if at >= sources and random.random() < 0.35 else FACT
        reads = {}
        for number in range(random.randint(1, 3) if at >= sources else 0):
            follows = nature is DECISION and random.random() < 0.4
            by_version = random.random() < 0.05
            if random.random() < 0.8:
                window = a_window(random, longest)
                reads[f"read{number}"] = Read(
                    random.choice(names[:at]),
                    window,
                    needed=window.last == 0 and not by_version and random.random() < 0.3,
                    edge=random.random() < 0.85,
                    by_version=by_version,
                    follows=follows,
                )
            else:
                last = random.randint(1, min(3, longest))
                first = random.randint(last, longest)
                reads[f"past{number}"] = Read(
                    random.choice(names[at:]), Window(first, last), edge=False, follows=follows
                )
        made.append(Declared("stage", name[-1], nature, WORKLOAD, reads))
    random.shuffle(made)
    return Graph.of(made)


def a_lake(random: Random, *, tables: int, days: int, longest: int) -> ToyLake:
    """A lake built day by day in which some days were never asked for."""
    graph = a_graph(random, tables=tables, longest=longest)
    coarse = {table: random.choice([2, 5, 1000, 10**9]) for table in graph.assets}
    lake = ToyLake(graph, coarse, {table: {} for table in graph.assets})
    share = {table: random.choice([0.6, 0.95, 1.0]) for table in graph.assets}
    for number in range(days):
        for declared in graph:
            if random.random() < share[declared.table]:
                if not declared.reads and random.random() < 0.2:
                    lake.sources[declared.table, number] = random.choice([RED, EMPTY])
                lake.compute(declared.table, number)
    return lake


def change(lake: ToyLake, random: Random, days: int) -> None:
    """A few days of sources change, turn red, heal, come back to what they were, or come for the first time."""
    sources = [declared.table for declared in lake.graph if not declared.reads]
    for _ in range(random.randint(1, 3)):
        key = (random.choice(sources), random.randrange(days))
        new = random.choice([RED, EMPTY, f"{key[0]} {key[1]}", f"anew {random.randrange(3)}"])
        lake.sources[key] = new
        lake.compute(*key)


def days_of(made: Plan) -> list[tuple[str, int]]:
    return [(step.table, number) for step in made.steps for number in numbers(step.days)]


def mend_and_compare(lake: ToyLake, random: Random, due: dict[str, tuple[date, date]] | None = None) -> Plan:
    """Plans, checks the plan against the closure, executes it in three ways, compares each with the twin."""
    wanted = [(table, number) for table, bounds in (due or {}).items() for number in numbers(DayRange(*bounds))]
    before = lake.held()
    made = plan(lake.graph, lake.all_records(), due=due)
    planned = days_of(made)
    assert len(planned) == len(set(planned))
    assert set(planned) == closure(lake, wanted)
    assert set(made.warnings) == expected_warnings(lake, set(planned))
    assert len(set(made.warnings)) == len(made.warnings)

    twin = rebuilt(lake, wanted)
    changed = {each for each, held in twin.held().items() if before.get(each) != held}
    assert changed <= set(planned), "what a rebuild changes is in the plan, nothing outside it changes"

    covered = [(table, number) for run in made.runs() for table in run.tables for number in numbers(run.days)]
    assert set(planned) <= set(covered)
    assert set(covered) <= set(before) | set(planned), "a run covers no day that was never asked for"
    for execute in (by_steps_and_days, by_steps_and_ranges, lambda toy, done: by_runs(toy, done, random)):
        toy = lake.copy()
        execute(toy, made)
        assert toy.held() == twin.held()
        assert set(toy.computed) <= set(planned)
        assert len(toy.computed) == len(set(toy.computed)), "nothing is computed twice"
        again = plan(toy.graph, toy.all_records(), due=due)
        assert again.steps == ()
        assert again.runs() == ()
    return made


RANDOM_LAKES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@RANDOM_LAKES
@given(st.randoms(use_true_random=False), st.integers(2, 6), st.integers(3, 14))
def test_a_plan_mends_a_lake_as_a_rebuild_would(random: Random, tables: int, days: int) -> None:
    lake = a_lake(random, tables=tables, days=days, longest=6)
    assert plan(lake.graph, lake.all_records()).steps == ()
    change(lake, random, days)
    mend_and_compare(lake, random)


@pytest.mark.parametrize("seed", range(16))
def test_a_plan_mends_long_histories_round_after_round(seed: int) -> None:
    """Windows of up to 40 days, changes on top of mended and of unmended ones, days that are due."""
    random = Random(seed)
    days = 60
    lake = a_lake(random, tables=random.randint(5, 9), days=days, longest=40)
    for round_ in range(3):
        change(lake, random, days)
        due = {
            table: (day(start), day(start + random.randint(0, 8)))
            for table in lake.graph.assets
            if random.random() < 0.5
            for start in [random.randrange(days)]
        }
        made = mend_and_compare(lake, random, due if round_ else None)
        if random.random() < 0.6:
            by_steps_and_days(lake, made)


@pytest.mark.parametrize("seed", range(10))
def test_catching_up_from_nothing_is_a_replay(seed: int) -> None:
    """With everything due and nothing on record, the plan builds what day by day is built, decisions included."""
    random = Random(1000 + seed)
    lake = a_lake(random, tables=6, days=0, longest=8)
    mend_and_compare(lake, random, {table: (day(0), day(15)) for table in lake.graph.assets})


@pytest.mark.parametrize("seed", range(15))
def test_a_change_taken_back_leaves_nothing_to_do(seed: int) -> None:
    random = Random(2000 + seed)
    lake = a_lake(random, tables=6, days=25, longest=10)
    held = [(table, number) for table, number in lake.held() if not lake.graph[table].reads]
    key = random.choice(held)
    before = lake.sources.get(key, f"{key[0]} {key[1]}")
    for content in ("something else", RED, before):
        lake.sources[key] = content
        lake.compute(*key)
    made = plan(lake.graph, lake.all_records())
    assert made.steps == ()
    assert made.warnings == ()


# -- One promise at a time. --


def ship_lake(days: int = 40, **tables: dict[str, Read] | tuple[Nature, dict[str, Read]]) -> ToyLake:
    """A lake in which every table holds every day; `events` is the source."""
    declared = [asset("ships/events")]
    for name, given_ in tables.items():
        nature, reads = given_ if isinstance(given_, tuple) else (FACT, given_)
        declared.append(asset(f"ships/{name}", nature, **reads))
    graph = Graph.of(declared)
    lake = ToyLake(graph, dict.fromkeys(graph.assets, 10**9), {table: {} for table in graph.assets})
    for number in range(days):
        for each in graph:
            lake.compute(each.table, number)
    return lake


def with_new_event(lake: ToyLake, number: int, content: str = "corrected") -> None:
    lake.sources["ships/events", number] = content
    lake.compute("ships/events", number)


EVENTS = {"events": Read("ships/events", same_days())}


def test_steps_are_ranges_with_reasons() -> None:
    lake = ship_lake(
        berths={"events": Read("ships/events", trailing_days(3))},
        delays={"berths": Read("ships/berths", same_days()), "events": Read("ships/events", window_before(1))},
    )
    with_new_event(lake, 10)
    made = plan(lake.graph, lake.all_records())
    assert made.steps == (
        Step("ships/berths", DayRange(day(10), day(14)), "rests on ships/events of 2012-03-01"),
        Step(
            "ships/delays",
            DayRange(day(10), day(14)),
            "rests on ships/events of 2012-03-01; "
            "rests on ships/berths of 2012-03-01 to 2012-03-04, computed anew before it",
        ),
    )
    assert made.runs() == (
        Run(("ships/berths", "ships/delays"), DayRange(day(10), day(14)), "rests on ships/events of 2012-03-01"),
    )


def test_a_reason_without_versions_on_record_names_the_window() -> None:
    lake = ship_lake(
        berths={"events": Read("ships/events", trailing_days(3))}, queues={"events": Read("ships/events", same_days())}
    )
    with_new_event(lake, 10)
    records = {table: replace(held, changed_at=None) for table, held in lake.all_records().items()}
    reasons = {step.table: step.reason for step in plan(lake.graph, records).steps}
    assert reasons == {
        "ships/berths": "rests on ships/events of some day of 2012-02-27 to 2012-03-04",
        "ships/queues": "rests on ships/events of 2012-03-01",
    }


def test_changes_far_apart_are_two_runs_of_all_that_they_reach() -> None:
    lake = ship_lake(60, berths={"events": Read("ships/events", trailing_days(5))}, queues=EVENTS)
    with_new_event(lake, 40)
    with_new_event(lake, 3)
    runs = plan(lake.graph, lake.all_records()).runs()
    assert [(set(run.tables), run.days) for run in runs] == [
        ({"ships/queues", "ships/berths"}, DayRange(day(3), day(9))),
        ({"ships/queues", "ships/berths"}, DayRange(day(40), day(46))),
    ]


def test_steps_that_rest_on_one_another_share_a_run_across_a_gap() -> None:
    lake = ship_lake(berths=EVENTS, delays={"berths": Read("ships/berths", Window(7, 5))})
    with_new_event(lake, 10)
    (run,) = plan(lake.graph, lake.all_records()).runs()
    assert run == Run(
        ("ships/berths", "ships/delays"), DayRange(day(10), day(18)), "rests on ships/events of 2012-03-01"
    )


def test_a_run_goes_round_days_that_were_never_asked_for() -> None:
    lake = ship_lake(
        berths={"events": Read("ships/events", trailing_days(3))}, queues={"b": Read("ships/berths", same_days())}
    )
    lake.forget("ships/queues", 11)
    with_new_event(lake, 10)
    made = plan(lake.graph, lake.all_records())
    assert [(run.tables, run.days) for run in made.runs()] == [
        (("ships/berths",), DayRange(day(10), day(14))),
        (("ships/queues",), DayRange(day(10), day(11))),
        (("ships/queues",), DayRange(day(12), day(14))),
    ]


def test_a_read_without_an_edge_is_cut_between_runs() -> None:
    """Without an edge a launched run may compute the reader first."""
    lake = ship_lake(berths=EVENTS, delays={"berths": Read("ships/berths", same_days(), edge=False)})
    with_new_event(lake, 10)
    made = plan(lake.graph, lake.all_records())
    assert [run.tables for run in made.runs()] == [("ships/berths",), ("ships/delays",)]


def test_a_fact_that_reads_its_own_yesterday_carries_a_change_through_to_the_end() -> None:
    lake = ship_lake(stock={**EVENTS, "yesterday": Read("ships/stock", window_before(1), edge=False)})
    lake.forget("ships/stock", 30)
    lake.compute("ships/stock", 31)
    with_new_event(lake, 10)
    made = plan(lake.graph, lake.all_records())
    assert {step.days for step in made.steps} == {DayRange(day(10), day(30)), DayRange(day(32), day(40))}
    assert lake.stale("ships/stock", [day(12)]) == [False], "its own yesterday has not changed yet"
    assert lake.stale("ships/stock", tuple(DayRange(day(9), day(14)))) == [False, True, True, True, True]


def test_facts_that_read_one_another_take_turns_day_by_day() -> None:
    lake = ship_lake(
        5,
        demand={**EVENTS, "stock": Read("ships/stock", window_before(1), edge=False)},
        stock={"demand": Read("ships/demand", same_days())},
    )
    with_new_event(lake, 2)
    made = plan(lake.graph, lake.all_records())
    taken = [(step.table, step.days) for step in made.steps]
    assert taken == [
        (table, DayRange(day(each), day(each + 1))) for each in (2, 3, 4) for table in ("ships/demand", "ships/stock")
    ]
    assert [run.days for run in made.runs()] == [DayRange(day(each), day(each + 1)) for each in (2, 3, 4)]


def test_a_run_leaves_out_days_whose_turn_comes_later() -> None:
    """The last day of the stock reads a demand that is to be computed anew before it, in a run of its own."""
    lake = ship_lake(
        7,
        berths={"events": Read("ships/events", trailing_days(4))},
        stock={
            "berths": Read("ships/berths", same_days()),
            "demand": Read("ships/demand", window_before(1), edge=False),
        },
        demand={"stock": Read("ships/stock", same_days())},
    )
    for number in (2, 3, 4, 6):
        lake.forget("ships/demand", number)
    for number in (3, 4, 5):
        lake.compute("ships/stock", number)
    with_new_event(lake, 2)
    made = plan(lake.graph, lake.all_records())
    assert [(run.tables, run.days) for run in made.runs()] == [
        (("ships/berths",), DayRange(day(2), day(7))),
        (("ships/stock",), DayRange(day(2), day(6))),
        (("ships/demand",), DayRange(day(5), day(6))),
        (("ships/stock",), DayRange(day(6), day(7))),
    ]


def test_a_decision_is_kept_and_says_what_has_changed() -> None:
    lake = ship_lake(
        training=(DECISION, {"events": Read("ships/events", window_before(20))}),
        scores={"events": Read("ships/events", same_days()), "training": Read("ships/training", same_days())},
    )
    for number in (10, 11, 13):
        with_new_event(lake, number)
    made = plan(lake.graph, lake.all_records())
    assert {step.table for step in made.steps} == {"ships/scores"}
    warnings = {warning.day: warning for warning in made.warnings}
    assert sorted(warnings) == list(DayRange(day(11), day(34)))
    assert warnings[day(14)] == DecisionWarning("ships/training", day(14), "events", "ships/events", 3, 14)
    assert str(warnings[day(25)]) == "3 of the 20 days of ships/events it rests on have changed since"
    assert str(warnings[day(11)]) == "1 of the 11 days of ships/events it rests on has changed since"


def test_a_decision_follows_its_earlier_half_only() -> None:
    lake = ship_lake(
        training=(DECISION, {"events": Read("ships/events", window_before(5))}),
        models=(DECISION, {"set": Read("ships/training", same_days(), follows=True), **EVENTS}),
    )
    with_new_event(lake, 10)
    assert plan(lake.graph, lake.all_records()).steps == ()
    lake.compute("ships/training", 11)
    made = plan(lake.graph, lake.all_records())
    assert made.steps == (Step("ships/models", DayRange(day(11), day(12)), "rests on ships/training of 2012-03-02"),)


def test_a_refused_decision_has_decided_nothing_and_is_judged_anew() -> None:
    needed = {"events": Read("ships/events", same_days(), needed=True)}
    lake = ship_lake(training=(DECISION, needed))
    with_new_event(lake, 10, RED)
    assert plan(lake.graph, lake.all_records()).steps == ()
    lake.compute("ships/training", 10)
    assert lake.tables["ships/training"][10].state == "blocked: ships/events refused"
    with_new_event(lake, 10, "healed")
    made = plan(lake.graph, lake.all_records())
    assert [(step.table, step.days) for step in made.steps] == [("ships/training", DayRange(day(10), day(11)))]
    assert made.warnings == ()


def test_what_a_version_names_is_no_window() -> None:
    lake = ship_lake(scores={"model": Read("ships/events", window_before(30), by_version=True), **EVENTS})
    with_new_event(lake, 10)
    assert [step.days for step in plan(lake.graph, lake.all_records()).steps] == [DayRange(day(10), day(11))]


def test_a_read_declared_since_makes_nothing_stale() -> None:
    lake = ship_lake(berths=EVENTS)
    with_new_event(lake, 10)
    records = lake.all_records()
    held = records["ships/berths"]
    unrecorded = np.where(held.days == day(10).toordinal(), np.uint64(UNRECORDED), held.inputs["events"])
    for inputs in ({}, {"events": unrecorded}):
        assert plan(lake.graph, {**records, "ships/berths": replace(held, inputs=inputs)}).steps == ()


def test_only_leaves_other_tables_as_they_are() -> None:
    lake = ship_lake(berths=EVENTS, delays={"berths": Read("ships/berths", same_days())}, queues=EVENTS)
    with_new_event(lake, 10)
    records = lake.all_records()
    assert {step.table for step in plan(lake.graph, records, only=["ships/queues"]).steps} == {"ships/queues"}
    assert plan(lake.graph, records, only=["ships/delays"]).steps == (), "its parent is not computed anew"
    with pytest.raises(CatalogError, match=r"only names ships/queue; there are .*ships/queues"):
        plan(lake.graph, records, only=["ships/queue"])


def test_names_without_a_table_are_refused() -> None:
    lake = ship_lake(3, berths=EVENTS)
    with pytest.raises(CatalogError, match=r"due names ships/berth; there are ships/berths"):
        plan(lake.graph, lake.all_records(), due={"ships/berth": (day(0), day(3))})
    with pytest.raises(CatalogError, match=r"the graph names ships/berths; there are ships/events"):
        plan(lake.graph, {"ships/events": lake.records("ships/events")})


def test_due_days_that_are_not_on_record_are_missing() -> None:
    lake = ship_lake(5, berths={"events": Read("ships/events", trailing_days(2))})
    due = {"ships/events": (day(2), day(7)), "ships/berths": (day(2), day(7))}
    made = plan(lake.graph, lake.all_records(), due=due)
    assert [(step.table, step.days, step.reason) for step in made.steps] == [
        ("ships/events", DayRange(day(5), day(7)), "missing"),
        ("ships/berths", DayRange(day(5), day(7)), "missing"),
    ]
    late = {"ships/events": (day(0), day(5))}
    lake.forget("ships/events", 1)
    (missing, resting) = plan(lake.graph, lake.all_records(), due=late).steps
    assert missing == Step("ships/events", DayRange(day(1), day(2)), "missing")
    assert resting.days == DayRange(day(1), day(4))


def test_nothing_on_record_and_nothing_due_is_an_empty_plan() -> None:
    graph = Graph.of([asset("ships/events")])
    made = plan(graph, {"ships/events": DayRecords.none()})
    assert (made.steps, made.warnings, made.runs()) == ((), (), ())


def test_a_day_of_a_run_that_is_not_on_record_is_to_be_computed() -> None:
    lake = ship_lake(5, berths=EVENTS)
    assert lake.stale("ships/berths", (day(3), day(4), day(5), day(6))) == [False, False, True, True]
    assert lake.stale("ships/berths", ()) == []


# -- Fingerprints, keys, records. --


def slow_fingerprint(contents: dict[int, int], number: int, window: Window) -> frozenset[tuple[int, int]]:
    days = range(number - window.first, number - window.last + 1)
    return frozenset((each, contents[each]) for each in days if contents.get(each))


def records_of(contents: dict[int, int]) -> DayRecords:
    held = sorted(contents)
    content = np.array([contents[number] for number in held], np.uint64)
    return DayRecords(ordinals([day(number) for number in held]), content, content == 0)


CONTENTS = st.dictionaries(st.integers(0, 12), st.integers(0, 3), max_size=10)


@given(CONTENTS, CONTENTS, st.integers(0, 12), st.integers(0, 6), st.integers(0, 6))
def test_fingerprints_are_equal_where_windows_are(
    one: dict[int, int], other: dict[int, int], number: int, last: int, more: int
) -> None:
    window = Window(last + more, last)
    every = [day(each) for each in range(13)]
    ours, theirs = (window_fingerprints(records_of(each), every, window) for each in (one, other))
    for each in range(13):
        same = slow_fingerprint(one, each, window) == slow_fingerprint(other, each, window)
        assert (ours[each] == theirs[each]) == same
    alone = window_fingerprints(records_of(one), [day(number)], window)
    assert alone[0] == ours[number], "a day alone, a range, a year: the same fingerprints"


def test_fingerprints_tell_days_that_swap_their_contents() -> None:
    window = trailing_days(3)
    swapped = [window_fingerprints(records_of(each), [day(3)], window)[0] for each in ({1: 5, 2: 9}, {1: 9, 2: 5})]
    assert swapped[0] != swapped[1]


def test_presence_tells_a_refused_day_from_one_that_was_never_asked_for() -> None:
    refused, absent = records_of({3: 0}), records_of({})
    for presence in (False, True):
        of = [window_fingerprints(each, [day(3)], same_days(), presence=presence)[0] for each in (refused, absent)]
        assert (of[0] != of[1]) == presence


def test_fingerprints_stay_what_they_were() -> None:
    """They lie in commits: another value would make every lake stale at once."""
    assert content_key("a1b2c3d4" * 6) == 14694362360680445692
    assert window_fingerprints(records_of({1: 7, 2: 8}), [day(2)], trailing_days(1)).tolist() == [4400737865534535766]


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60), max_size=8))
def test_keys_depend_on_their_text_alone(texts: list[str]) -> None:
    keys = content_keys(texts).tolist()
    assert keys == [content_key(text) for text in texts]
    assert len(set(keys)) == len(set(texts))
    assert 0 not in keys


def test_records_are_read_from_one_row_a_day() -> None:
    rows = pl.DataFrame(
        {
            DAY: [day(2), day(0), day(1)],
            "content": ["c2", "c0", ""],
            "state": ["good", "good", "red"],
            "empty": [False, True, False],
            "changed_at": [7, 3, 5],
            "inputs": [json.dumps({"events": 2**64 - 2, "own": 1}), json.dumps({"own": 2}), "{}"],
            "versions": ['{"events":4}', "{}", '{"own": 6}'],
        }
    )
    held = day_records(rows)
    assert held.days.tolist() == [day(number).toordinal() for number in range(3)]
    assert held.content.tolist() == [content_key("c0"), 0, content_key("c2")]
    assert held.state_of([day(0), day(1), day(2), day(3)]) == ["good", "refused", "good", ""]
    assert {name: values.tolist() for name, values in held.inputs.items()} == {
        "events": [UNRECORDED, UNRECORDED, 2**64 - 2],
        "own": [2, UNRECORDED, 1],
    }
    assert held.changed_at is not None
    assert held.changed_at.tolist() == [3, -1, 7]
    assert {name: values.tolist() for name, values in held.versions.items()} == {
        "events": [-1, -1, 4],
        "own": [-1, 6, -1],
    }
    none = day_records(rows.clear())
    assert len(none.days) == 0


def test_records_take_on_the_days_of_a_run() -> None:
    held = replace(records_of({1: 5, 2: 6}), inputs={"own": np.array([8, 9], np.uint64)})
    then = held.with_content([day(0), day(2)], np.array([4, 0], np.uint64), np.array([True, False]))
    assert then.days.tolist() == [day(number).toordinal() for number in range(3)]
    assert then.content.tolist() == [4, 5, 0]
    assert then.refused.tolist() == [False, False, True]
    assert then.empty is not None
    assert then.empty.tolist() == [True, False, False], "a day without rows adds nothing to what later days read"
    assert then.inputs["own"].tolist() == [UNRECORDED, 8, 9]


def test_records_that_contradict_themselves_are_refused() -> None:
    held = records_of({1: 5, 2: 6})
    with pytest.raises(ValueError, match="in day order"):
        replace(held, days=held.days[::-1])
    with pytest.raises(ValueError, match="content: 1 values for 2 days"):
        replace(held, content=held.content[:1])
    with pytest.raises(ValueError, match="wanted key 0"):
        replace(held, refused=np.array([True, False]))
