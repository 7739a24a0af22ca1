"""What a row is given is the same whatever a run reads: one day, a range, a training window, the whole history.

Groups of every shape over a lake in small: states of any age and of none, timetables, late and early values, sparse
rows, leads over midnight, days refused. The twin looks at every accepted row there is, row by row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import toy_catalog
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.domain.day_frame import DayFrame
from ml_assets.domain.feature_days import cut_to_days
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import as_of, read_window
from ml_assets.domain.snapshots import CARRY_BACK_DAYS, carried_from, rows_to_join, with_carried_over
from ml_assets.domain.specs import A_DAY, Calendar, FeatureGroupSpec, ModelSpec
from partitions import DayRange, Window, window_before
from partitions.days import midnight

ONE_DAY, HOUR = timedelta(days=1), timedelta(hours=1)
INSTANT = pl.Datetime("us", "UTC")
SCHEMA = {
    "plane": pl.String,
    "line": pl.Int64,
    "event_time": INSTANT,
    "known_at": INSTANT,
    "value": pl.Int64,
}
# Each a little before the clocks change, there and back.
BEGINNINGS = [
    ("Europe/Berlin", date(2024, 3, 27)),
    ("America/New_York", date(2013, 10, 31)),
    ("UTC", date(2024, 2, 27)),
    ("Pacific/Apia", date(2011, 12, 26)),
]


ACCOUNT = replace(
    toy_catalog.groups()["account"], name="here", entity=("plane",), values=("value",), described={}, max_age=A_DAY
)
MODEL = replace(toy_catalog.model(), spine="elsewhere")


@dataclass(frozen=True)
class Row:
    """A row of the group, or one that asks: `hour` of its event since the calendar began, `known` hours after it."""

    plane: str | None
    line: int | None
    hour: int
    known: int = 0


@dataclass(frozen=True)
class World:
    """A group, a model, every row that ever was of both, and the days that are refused."""

    group: FeatureGroupSpec
    model: ModelSpec
    rows: tuple[Row, ...]
    asking: tuple[Row, ...]
    refused: frozenset[int]

    @property
    def calendar(self) -> Calendar:
        return self.group.calendar

    def day(self, number: int) -> date:
        return self.calendar.first_day + number * ONE_DAY

    def at(self, row: Row) -> datetime:
        return midnight(self.calendar.first_day, self.calendar.timezone) + row.hour * HOUR

    @property
    def days(self) -> list[date]:
        return list(DayRange(self.calendar.first_day, self.calendar.end_day))

    @cached_property
    def own(self) -> pl.DataFrame:
        """The group's rows on the days they are about, those of refused days as well."""
        made = [
            (row.plane, row.line, self.at(row), self.at(row) + row.known * HOUR, number)
            for number, row in enumerate(self.rows)
        ]
        return cut_to_days(self.group, pl.LazyFrame(made, schema=SCHEMA, orient="row"), self.days)

    @cached_property
    def refused_days(self) -> frozenset[date]:
        return frozenset(self.day(number) for number in self.refused)

    def stored(self, days: Iterable[date], rows: pl.DataFrame) -> DayFrame:
        """Days of the lake, given what it holds; a refused day's rows are not read."""
        asked = frozenset(days)
        accepted = asked - self.refused_days
        held = rows.filter(pl.col(DAY).is_in(list(accepted)))
        refused = dict.fromkeys(asked & self.refused_days, "red")
        return DayFrame("features/here", held.lazy(), accepted, frozenset(held[DAY]), refused, 1)

    @cached_property
    def lake(self) -> pl.DataFrame:
        """What the group's days hold, made in one run."""
        if not self.group.carries_over:
            return self.own
        rows, blocked = with_carried_over(
            self.group, self.own, self.days, self.refused_days, self.stored([], self.own.clear())
        )
        assert not blocked
        return rows

    def asked(self, days: DayRange) -> pl.DataFrame:
        """The rows that ask on these days."""
        made = [
            (row.plane, row.line, self.at(row), self.at(row) - self.model.prediction_lead, number)
            for number, row in enumerate(self.asking)
        ]
        kinds = {**SCHEMA, "prediction_time": INSTANT, "number": pl.Int64}
        frame = pl.DataFrame(
            made,
            schema={name: kinds[name] for name in ("plane", "line", "event_time", "prediction_time", "number")},
            orient="row",
        )
        return cut_to(frame, self.calendar.timezone, days)

    def joined(self, asked: DayRange, read: DayRange, window: Window) -> dict[int, int | None]:
        """What each row that asks on some days is given, by number, when those days of the lake are read."""
        start = max(read.start, self.calendar.first_day)
        frame = self.stored(DayRange(start, max(read.end, start)), self.lake)
        asking = self.asked(asked)
        rows = rows_to_join(self.group, frame, asked.start, window).collect()
        return dict(zip(asking["number"], as_of(asking, rows, self.group, ("value",))["value"], strict=True))

    @cached_property
    def truth(self) -> dict[int, int | None]:
        """What each row that asks is given by all accepted history, row by row."""
        history = self.own.filter(~pl.col(DAY).is_in(list(self.refused_days))).to_dicts()
        return {
            asking["number"]: self.answer(asking, history)
            for asking in self.asked(DayRange(self.calendar.first_day, self.calendar.end_day)).to_dicts()
        }

    def answer(self, asking: Mapping[str, object], history: list[dict]) -> int | None:
        event, asked = asking["event_time"], asking["prediction_time"]
        entity = [asking[key] for key in self.group.entity]
        counting = []
        for row in history:
            known, about = row["known_at"], row["event_time"]
            if None in entity or [row[key] for key in self.group.entity] != entity or known > asked or about > event:
                continue
            if self.group.valid_for is not None:
                if about + self.group.valid_for > event:
                    counting.append((about, known, row["value"]))
            elif self.group.max_age is None or known + self.group.max_age >= asked:
                counting.append((known, about, row["value"]))
        return max(counting)[-1] if counting else None


def cut_to(frame: pl.DataFrame, timezone: str, days: DayRange) -> pl.DataFrame:
    start, end = days.instants(timezone)
    return frame.filter(pl.col("event_time") >= start, pl.col("event_time") < end)


PLANES, LINES = st.sampled_from(["a", "b"]), st.sampled_from([1, 2])
SPANS = st.sampled_from([0, 1, 5, 23, 24, 25, 30, 49, 60])


@st.composite
def worlds(draw: st.DrawFn, longest: int = 9, spans: st.SearchStrategy[int] = SPANS) -> World:
    """Rows anywhere, and near the edges of what an asking row may look at; `spans` are times in hours."""
    timezone, first_day = draw(st.sampled_from(BEGINNINGS))
    length = draw(st.integers(3, longest))
    calendar = Calendar(
        name="small", timezone=timezone, first_day=first_day, end_day=first_day + length * ONE_DAY, label_lag_days=1
    )
    before, after, lead, age, valid_for = (draw(spans) for _ in range(5))
    kind = draw(st.sampled_from(["state", "about", "for ever"]))
    entity = draw(st.sampled_from([("plane",), ("line", "plane")]))
    group = replace(
        ACCOUNT,
        calendar=calendar,
        entity=entity,
        known_before=before * HOUR,
        known_after=after * HOUR,
        max_age={"state": age * HOUR, "about": A_DAY, "for ever": None}[kind],
        valid_for=(valid_for + 1) * HOUR if kind == "about" else None,
    )
    model = replace(MODEL, calendar=calendar, prediction_lead=lead * HOUR)
    start, end = DayRange(calendar.first_day, calendar.end_day).instants(timezone)
    hours = st.integers(0, (end - start) // HOUR - 1)
    asking = draw(st.lists(st.builds(Row, PLANES, LINES, hours), min_size=1, max_size=4))
    asking += draw(st.lists(st.sampled_from([Row(None, 1, 30), Row("a", None, 40)]), max_size=1))
    # How long before the asking event, and known how long after that: the first and the last that may count.
    edges = [(lead + known, known) for known in (after, -before, 0)]
    if kind == "state":
        edges += [(lead + age + known, known) for known in (after, after, -before, 0)]
    if kind == "about":
        edges += [(valid_for + past, known) for past in (0, 1) for known in (-before, 0, valid_for - lead)]
    near = st.builds(
        lambda asked, edge, jitter: replace(asked, hour=asked.hour - edge[0] + jitter, known=edge[1]),
        st.sampled_from(asking),
        st.sampled_from([edge for edge in edges if -before <= edge[1] <= after]),
        st.integers(-1, 1),
    )
    anywhere = st.builds(Row, PLANES, LINES, hours, st.integers(-before, after))
    few, many = st.lists(near, min_size=1, max_size=2), st.lists(st.one_of(near, anywhere), max_size=15)
    rows = draw(st.one_of(few, many))
    inside = [row for row in rows if row.plane and row.line and 0 <= row.hour < (end - start) // HOUR]
    versions = {(*(getattr(row, key) for key in entity), row.hour, row.known): row for row in inside}
    refused = draw(st.frozensets(st.integers(0, length - 1), max_size=min(2, length - 2)))
    return World(group, model, tuple(versions.values()), tuple(asking), refused)


@settings(max_examples=250, deadline=None)
@given(world=worlds(), start=st.integers(0, 8), length=st.integers(2, 9))
def test_one_day_a_range_and_all_history_give_every_row_the_same(world, start, length):
    window = read_window(world.group, world.model)
    assert window.last == 0
    for day in world.days:
        one_day = DayRange(day, day + ONE_DAY)
        assert world.joined(one_day, window.of(one_day), window).items() <= world.truth.items()
    first = world.days[min(start, len(world.days) - 1)]
    days = DayRange(first, min(first + length * ONE_DAY, world.calendar.end_day))
    in_range = world.joined(days, window.of(days), window)
    assert in_range.items() <= world.truth.items()
    assert set(in_range) == set(world.asked(days)["number"])


@settings(max_examples=120, deadline=None)
@given(world=worlds(), before=st.integers(1, 9))
def test_a_training_row_is_the_serving_row(world, before):
    """A training at the calendar's end reads the days of its window, each with the days that its rows look at."""
    day = world.calendar.end_day
    window = read_window(world.group, world.model)
    read = window_before(before).then(window).of(DayRange(day, day + ONE_DAY))
    asked = DayRange(max(day - before * ONE_DAY, world.calendar.first_day), day)
    assert read.end == day
    assert world.joined(asked, read, window).items() <= world.truth.items()


@settings(max_examples=40, deadline=None)
@given(world=worlds(longest=100, spans=st.integers(0, 90 * 24)))
def test_the_same_holds_for_ages_of_months(world):
    window = read_window(world.group, world.model)
    for row in world.asking:
        day = world.at(row).astimezone(ZoneInfo(world.calendar.timezone)).date()
        one_day = DayRange(day, day + ONE_DAY)
        assert world.joined(one_day, window.of(one_day), window).items() <= world.truth.items()


def small_world(
    row: Row,
    asking: Row,
    refused: frozenset[int],
    length: int,
    beginning: tuple[str, date] = ("UTC", date(2024, 5, 1)),
    **changes: object,
) -> World:
    """A group with the given declarations, in a calendar of `length` days, asked 30 hours ahead."""
    timezone, first_day = beginning
    calendar = Calendar(
        name="small", timezone=timezone, first_day=first_day, end_day=first_day + length * ONE_DAY, label_lag_days=1
    )
    group = replace(ACCOUNT, calendar=calendar, **changes)
    model = replace(MODEL, calendar=calendar, prediction_lead=30 * HOUR)
    return World(group, model, (row,), (asking,), refused)


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        # Asked at noon of the sixth day about itself, 30 hours before: of age, known late, or about it for long.
        ({"max_age": 15 * HOUR, "known_after": 20 * HOUR}, Row("a", 1, 6 * 24 + 12 - 65, 20)),
        ({"max_age": 36 * HOUR}, Row("a", 1, 6 * 24 + 12 - 66)),
        ({"valid_for": 66 * HOUR}, Row("a", 1, 6 * 24 + 12 - 65)),
    ],
)
def test_a_window_a_day_shorter_would_be_seen(changes, row):
    """The tests above can fail: each value lies on the first day that is read."""
    world = small_world(row, Row("a", 1, 6 * 24 + 12), frozenset(), 8, **changes)
    one_day = DayRange(world.day(6), world.day(7))
    window = read_window(world.group, world.model)
    assert window.first == 3
    assert world.truth == {0: 0} == world.joined(one_day, window.of(one_day), window)
    shorter = Window(window.first - 1, 0)
    assert world.joined(one_day, shorter.of(one_day), shorter) == {0: None}


@pytest.mark.parametrize("beginning", [BEGINNINGS[0], BEGINNINGS[3]])
def test_a_day_that_the_clock_makes_shorter_makes_the_window_longer(beginning):
    """The fifth day has 23 hours in Berlin and never was in Samoa. The day after it asks as it begins."""
    timezone, first_day = beginning
    day = first_day + 5 * ONE_DAY
    hour = (midnight(day, timezone) - midnight(first_day, timezone)) // HOUR
    world = small_world(Row("a", 1, hour - 48), Row("a", 1, hour), frozenset(), 8, beginning, max_age=18 * HOUR)
    one_day = DayRange(day, day + ONE_DAY)
    window = read_window(world.group, world.model)
    assert window.first == 3
    assert world.truth == {0: 0} == world.joined(one_day, window.of(one_day), window)
    shorter = Window(2, 0)
    assert world.joined(one_day, shorter.of(one_day), shorter) == {0: None}


def test_the_spine_is_read_of_its_own_day():
    group = toy_catalog.groups()["parcel"]
    assert read_window(group, toy_catalog.model()) == Window(0, 0)


# --- groups without a limit of age ------------------------------------------------------------------------


@st.composite
def dimensions(draw: st.DrawFn) -> World:
    world = draw(worlds())
    return replace(world, group=replace(world.group, max_age=None, valid_for=None))


@settings(max_examples=150, deadline=None)
@given(world=dimensions(), cut=st.integers(0, 9))
def test_snapshots_of_a_range_are_those_of_its_days(world, cut):
    """In one run; day by day; and in two runs, each day judged as it was then."""
    one_by_one = world.own.clear()
    for day in world.days:
        refused = world.refused_days & {day}
        before = world.stored(carried_from().of(DayRange(day, day + ONE_DAY)), one_by_one)
        before = replace(before, days=before.days & set(world.days))
        made, blocked = with_carried_over(world.group, world.own.filter(pl.col(DAY) == day), [day], refused, before)
        assert not blocked
        one_by_one = pl.concat([one_by_one, made])
    assert_frame_equal(world.lake, one_by_one)
    early, late = world.days[:cut], world.days[cut:]
    halves = world.own.clear()
    for days in (early, late):
        before = world.stored(set(early) if days is late else [], halves)
        own = world.own.filter(pl.col(DAY).is_in(days))
        made, blocked = with_carried_over(world.group, own, days, world.refused_days & set(days), before)
        assert not blocked
        halves = pl.concat([halves, made])
    assert_frame_equal(world.lake, halves)


@settings(max_examples=150, deadline=None)
@given(world=dimensions())
def test_a_snapshot_holds_its_own_rows_one_of_each_entity_and_what_is_not_known_yet(world):
    for day in set(world.days) - world.refused_days:
        held, own = (frame.filter(pl.col(DAY) == day) for frame in (world.lake, world.own))
        carried = held.join(own, on="value", how="anti")
        began = midnight(day, world.calendar.timezone)
        known = carried.filter(pl.col("known_at") <= began)
        assert held.height == own.height + carried.height
        newest: dict[tuple, tuple] = {}
        for row in world.own.to_dicts():
            if row[DAY] < day and row[DAY] not in world.refused_days and row["known_at"] <= began:
                entity = tuple(row[key] for key in world.group.entity)
                found = (row["known_at"], row["event_time"], row["value"])
                newest[entity] = max(newest.get(entity, found), found)
        assert set(known["value"]) == {value for *_, value in newest.values()}
        assert known.height == len(newest)
        assert (carried.filter(pl.col("known_at") > began)["event_time"] < began).all()
        assert (carried["known_at"] < began + world.group.known_after).all()


def world_of(refused: frozenset[int], length: int) -> World:
    """A profile known on the first day, asked for on the last."""
    return small_world(Row("a", 1, 5), Row("a", 1, (length - 1) * 24 + 1), refused, length, max_age=None)


def test_as_many_refused_days_as_are_carried_over_lose_nothing():
    """The score is needed on a refused day, and the day that tells what was known then is the last that may."""
    length = CARRY_BACK_DAYS + 1
    world = world_of(frozenset(range(1, length - 1)), length)
    one_day = DayRange(world.days[-1], world.calendar.end_day)
    window = read_window(world.group, world.model)
    assert world.truth == {0: 0} == world.joined(one_day, window.of(one_day), window)


def test_more_refused_days_than_are_carried_over_block_the_day():
    length = CARRY_BACK_DAYS + 4
    world = world_of(frozenset(), length)
    before = replace(world.stored(world.days[:2], world.own), refused=dict.fromkeys(world.days[2:-1], "red"))
    own = world.own.clear()
    rows, blocked = with_carried_over(world.group, own, [world.days[-1]], [], before)
    assert rows.is_empty()
    assert list(blocked) == [world.days[-1]]
    assert "none of the 28 days of features/here before" in blocked[world.days[-1]]


def test_a_day_that_was_never_made_blocks_the_days_after_it_until_one_is_made():
    world = world_of(frozenset(), 6)
    before = world.stored(world.days[:2], world.lake)
    rows, blocked = with_carried_over(world.group, world.own.clear(), world.days[3:5], [], before)
    assert rows.is_empty()
    assert set(blocked) == set(world.days[3:5])
    assert "features/here of 2024-05-03 is not there" in blocked[world.days[3]]
    assert "materialise features/here up to 2024-05-03 first" in blocked[world.days[4]]


def test_a_value_that_is_new_to_the_group_is_null_in_what_is_carried():
    world = world_of(frozenset(), 3)
    before = world.stored(world.days[:1], world.lake)
    own = world.own.clear().with_columns(pl.lit(None, dtype=pl.String).alias("added"))
    rows, _ = with_carried_over(world.group, own, [world.days[1]], [], before)
    assert rows.select("plane", "value", "added").rows() == [("a", 0, None)]


def test_the_calendars_first_day_carries_nothing_over():
    world = world_of(frozenset(), 3)
    rows, blocked = with_carried_over(world.group, world.own, world.days[:1], [], world.stored([], world.own.clear()))
    assert not blocked
    assert rows.height == 1


@pytest.mark.parametrize("lead", [timedelta(0), 2 * HOUR, 30 * HOUR])
def test_a_model_reads_a_snapshot_as_old_as_its_earliest_score(lead):
    world = world_of(frozenset(), 6)
    window = read_window(world.group, replace(world.model, prediction_lead=lead))
    assert window == Window(-(-lead // ONE_DAY) + CARRY_BACK_DAYS, 0)
