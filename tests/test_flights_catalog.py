"""The flights workload on the real archive: figures, clocks, no fact before its time, ranges equal their days."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import flights_archive
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.catalog.features.recent_delays import recent_delays
from ml_assets.catalog.sources.flights import at_local_time, scheduled_arrival
from ml_assets.domain.feature_days import cut_to_days
from ml_assets.domain.labels import labels_by_known_day
from ml_assets.domain.local_days import DAY, within
from ml_assets.domain.specs import FeatureGroupSpec, Inputs, SourceSpec
from partitions import DayRange
from partitions.days import midnight

CATALOG = flights_archive.catalog()
GROUPS = sorted(CATALOG.features)
OUTCOMES = sorted(CATALOG.outcomes)
NEW_YORK = "America/New_York"
FIRST, END = date(2013, 1, 1), date(2014, 1, 1)
SPRING, AUTUMN, BLIZZARD = date(2013, 3, 10), date(2013, 11, 3), date(2013, 2, 8)
ONE_DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    return flights_archive.ingested()["flights"].rows


@pytest.fixture(scope="module")
def labels() -> pl.DataFrame:
    return CATALOG.outcomes["disrupted"].compute(flights_archive.events()["flights"]).collect()


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


# --- the known figures ------------------------------------------------------------------------------------


def test_the_year_has_the_known_rows(flights):
    by_day = flights.group_by(DAY).len()
    assert flights.height == 336_776
    assert flights["row_key"].n_unique() == 336_776
    assert sorted(by_day[DAY]) == list(DayRange(FIRST, END))
    assert (by_day["len"].min(), by_day["len"].max()) == (634, 1_014)
    assert flights_archive.ingested()["flights"].quarantined.is_empty()
    assert flights_archive.extracts()["flights"].unreadable == {}


def test_the_year_has_the_known_fates(flights):
    assert dict(flights["fate"].value_counts().iter_rows()) == {
        "arrived": 336_776 - 8_255 - 1_175,
        "cancelled": 8_255,
        "diverted": 1_175,
    }
    assert flights["tailnum"].null_count() == 2_512
    cancelled, diverted = (flights.filter(fate=fate) for fate in ("cancelled", "diverted"))
    assert cancelled["departed_at"].null_count() == cancelled["arrived_at"].null_count() == 8_255
    assert diverted["departed_at"].null_count() == 0
    assert diverted["arrived_at"].null_count() == 1_175


def test_the_known_number_of_flights_has_another_utc_date(flights):
    assert flights.filter(pl.col("event_time").dt.date() != pl.col(DAY)).height == 38_444


def test_a_rows_day_is_the_local_date_of_its_departure(flights):
    local = pl.col("event_time").dt.convert_time_zone(NEW_YORK).dt.date()
    assert flights.filter(local != pl.col(DAY)).is_empty()


def test_the_months_have_the_known_shares_of_late_arrivals(flights):
    arrived = flights.filter(fate="arrived")
    by_month = arrived.group_by(pl.col(DAY).dt.month()).agg((pl.col("arr_delay") >= 30).mean())
    share = dict(by_month.iter_rows())
    known = {1: 0.146, 4: 0.193, 7: 0.238, 9: 0.088, 11: 0.102, 12: 0.217}
    assert {month: round(share[month], 3) for month in known} == known


def test_the_blizzard_has_the_known_shares_of_cancellations(flights):
    by_day = flights.group_by(DAY).agg((pl.col("fate") == "cancelled").mean())
    cancelled = {day.day: round(share, 3) for day, share in by_day.iter_rows() if day.month == 2}
    assert cancelled[7] == 0.004
    assert (round(cancelled[8], 2), round(cancelled[9], 2)) == (0.51, 0.57)


def test_the_label_counts_late_cancelled_and_diverted_flights(flights, labels):
    late = flights_archive.archive_flights().filter(pl.col("arr_delay") >= 30).height
    assert labels.height == flights.height
    assert labels["label"].null_count() == 0
    assert labels["label"].sum() == late + 8_255 + 1_175


def test_the_impossible_wind_is_quarantined_and_says_why():
    bad = flights_archive.ingested()["weather"].quarantined
    (delivered,) = (json.loads(payload) for payload in bad["payload"])
    assert (delivered["origin"], delivered["time_hour"], delivered["wind_speed"]) == (
        "EWR",
        "2013-02-12T08:00:00Z",
        pytest.approx(1048.36058),
    )
    assert bad["reasons"].to_list() == [["wind_speed: 1048.36058 came, wanted less_than_or_equal_to(250)"]]
    assert flights_archive.ingested()["weather"].rows["wind_speed"].max() < 50


def test_new_years_eve_has_no_weather_and_says_so():
    unreadable = flights_archive.extracts()["weather"].unreadable
    assert list(unreadable) == [date(2013, 12, 31)]
    assert "no extract at" in unreadable[date(2013, 12, 31)]


# --- clocks -----------------------------------------------------------------------------------------------


def test_flights_of_the_switching_days_stand_at_the_right_instant(flights):
    """Against the clock of the standard library, from the archive's own columns."""
    zone = ZoneInfo(NEW_YORK)
    instants = dict(flights.select("row_key", "event_time").iter_rows())
    seen = 0
    for day in (SPRING - ONE_DAY, SPRING, AUTUMN - ONE_DAY, AUTUMN):
        for row in flights_archive.archive_flights().filter(day_flown=day).iter_rows(named=True):
            hour, minute = divmod(row["sched_dep_time"], 100)
            local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
            assert instants[row["row_key"]] == local.astimezone(UTC)
            seen += 1
    assert seen > 3_000


def test_the_archives_own_hour_agrees(flights):
    """`time_hour` is the archive's UTC hour of the scheduled departure; the platform never reads it."""
    hours = flights_archive.archive_flights().select(
        "row_key", theirs=pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", time_unit="us")
    )
    both = flights.select("row_key", "event_time").join(hours, on="row_key")
    assert both.height == 336_776
    assert both.filter(pl.col("event_time").dt.truncate("1h") != pl.col("theirs")).is_empty()


def test_every_arrived_flight_was_at_least_its_air_time_under_way(flights):
    air_time = flights_archive.archive_flights().select("row_key", "air_time")
    arrived = flights.filter(fate="arrived").join(air_time, on="row_key")
    under_way = (pl.col("arrived_at") - pl.col("departed_at")).dt.total_minutes()
    assert arrived["air_time"].null_count() == 0
    assert arrived.filter(under_way < pl.col("air_time")).is_empty()
    # Taxiing, waiting for a gate and the archive's own slips: no flight takes half a day more than it flew.
    assert arrived.filter(under_way - pl.col("air_time") > 12 * 60).is_empty()


def test_a_scheduled_flight_takes_between_twenty_minutes_and_twelve_hours(flights):
    block = (flights["sched_arrival"] - flights["event_time"]).dt.total_minutes()
    assert block.min() >= 20
    assert block.max() <= 12 * 60


@pytest.mark.parametrize(
    ("zone", "departs", "hhmm", "arrives"),
    [
        pytest.param("America/New_York", utc(2013, 1, 2, 4), 130, utc(2013, 1, 2, 6, 30), id="past midnight"),
        pytest.param("America/Los_Angeles", utc(2013, 1, 1, 23), 2105, utc(2013, 1, 2, 5, 5), id="three hours west"),
        pytest.param("Pacific/Honolulu", utc(2013, 1, 1, 15), 1530, utc(2013, 1, 2, 1, 30), id="five hours west"),
        pytest.param("America/Puerto_Rico", utc(2013, 7, 1, 12), 1155, utc(2013, 7, 1, 15, 55), id="no summer time"),
        pytest.param("America/Chicago", utc(2013, 3, 10, 4), 430, utc(2013, 3, 10, 9, 30), id="over the switch"),
        pytest.param("America/New_York", utc(2013, 3, 9, 23), 2400, utc(2013, 3, 10, 5), id="midnight as 2400"),
    ],
)
def test_arrival_is_the_next_time_the_destinations_clock_shows_it(zone, departs, hhmm, arrives):
    rows = pl.DataFrame(
        {"departs": [departs], "hhmm": [hhmm], "dest_zone": [zone]},
        schema_overrides={"departs": pl.Datetime("us", "UTC")},
    )
    assert rows.select(scheduled_arrival(pl.col("departs"), pl.col("hhmm"))).item() == arrives


def test_a_clock_reading_that_occurs_twice_means_the_first_and_one_that_never_occurs_is_null():
    rows = pl.DataFrame({"day": [AUTUMN, SPRING], "hhmm": [130, 230]})
    read = rows.select(at_local_time(pl.col("day"), pl.col("hhmm"), NEW_YORK)).to_series().to_list()
    assert read == [utc(2013, 11, 3, 5, 30), None]


# --- when the label is known ------------------------------------------------------------------------------


def test_a_label_is_never_known_at_the_scheduled_time_nor_before_the_aircraft_left(flights, labels):
    both = flights.join(labels.select("row_key", label_known_at="known_at"), on="row_key")
    without_landing = both.filter(pl.col("fate") != "arrived")
    known = pl.col("label_known_at")
    assert without_landing.height == 8_255 + 1_175
    assert without_landing.filter((known == pl.col("event_time")) | (known == pl.col("sched_arrival"))).is_empty()
    assert without_landing.filter(known < pl.col("sched_arrival") + timedelta(hours=3)).is_empty()
    assert both.filter(known <= pl.col("departed_at")).is_empty()
    arrived = both.filter(fate="arrived")
    assert arrived.filter(known != pl.col("arrived_at")).is_empty()
    # Nothing about the fate may be known when the score is needed.
    assert both.filter(known <= pl.col("event_time") - timedelta(hours=2)).is_empty()


def test_cancelled_flights_wait_for_the_days_report(flights):
    """06:00 New York time the morning after, by the standard library's clock, unless it was due later."""
    zone = ZoneInfo(NEW_YORK)
    for row in flights.filter(fate="cancelled").sample(500, seed=1).iter_rows(named=True):
        closes = datetime.combine(row[DAY] + ONE_DAY, datetime.min.time(), zone).replace(hour=6)
        assert row["fate_known_at"] == max(closes, row["sched_arrival"] + timedelta(hours=3))


def test_no_label_comes_later_than_the_calendar_allows():
    outcome = CATALOG.outcomes["disrupted"]
    dated = labels_by_known_day(outcome, flights_archive.events()["flights"]).rows
    assert dated.height == 336_776
    assert FIRST <= dated[DAY].min() < dated[DAY].max() < outcome.calendar.outcome_end_day
    assert dated.filter(pl.col(DAY) >= END).height > 0


# --- features against slow twins --------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    entity: tuple[str, ...]
    at: datetime


def questions(group: FeatureGroupSpec, day: date, number: int, seed: int) -> tuple[list[dict], list[Asked]]:
    """The flights of the days around `day` as plain rows, and random instants of `day` to ask about them."""
    near = flights_archive.events(day - 4 * ONE_DAY, day + 2 * ONE_DAY)["flights"].collect()
    start, end = midnight(day, NEW_YORK), midnight(day + ONE_DAY, NEW_YORK)
    rows = near.filter(pl.col("tailnum").is_not_null()).to_dicts()
    draw = random.Random(seed)
    known = pl.concat([near["arrived_at"], near["departed_at"]]).drop_nulls()
    at = flights_archive.instants(seed, start, end, known, number)
    return rows, [Asked(tuple(draw.choice(rows)[key] for key in group.entity), instant) for instant in at]


def newest(group: FeatureGroupSpec, asked: Asked) -> dict | None:
    """The group's newest row at or before the instant, straight from the rows of the year."""
    rows = flights_archive.features_of_the_year(group.name).filter(
        *(pl.col(key) == value for key, value in zip(group.entity, asked.entity, strict=True)),
        pl.col("known_at") <= asked.at,
    )
    if rows.is_empty():
        return None
    at_newest = rows.filter(pl.col("known_at") == rows["known_at"].max())
    assert at_newest.height == 1
    return at_newest.row(0, named=True)


def mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None


@pytest.mark.parametrize("day", [SPRING, AUTUMN, BLIZZARD, date(2013, 7, 10)])
@pytest.mark.parametrize(("name", "hours"), [("carrier_delays", 6), ("origin_delays", 3), ("route_delays", 24)])
def test_recent_delays_equal_a_loop_over_the_flights(name, hours, day):
    group = CATALOG.features[name]
    rows, asked_for = questions(group, day, 12, seed=day.toordinal() + hours)
    window = timedelta(hours=hours)
    told = 0
    for asked in asked_for:
        mine = [row for row in rows if tuple(row[key] for key in group.entity) == asked.entity]
        landed = [r["arr_delay"] for r in mine if r["arrived_at"] and asked.at - window < r["arrived_at"] <= asked.at]
        left = [r["dep_delay"] for r in mine if r["departed_at"] and asked.at - window < r["departed_at"] <= asked.at]
        row = newest(group, asked)
        assert (row["landed"] if row else 0) == len(landed)
        if row is not None:
            assert row["mean_arr_delay"] == mean(landed)
            assert row["late_share"] == mean([int(delay >= 30) for delay in landed])
            assert row["mean_dep_delay"] == mean(left)
        told += bool(landed)
    assert told > 0


@pytest.mark.parametrize("day", [SPRING, AUTUMN, BLIZZARD, date(2013, 7, 10)])
def test_the_inbound_aircraft_equals_a_loop_over_the_flights(day):
    group = CATALOG.features["inbound_aircraft"]
    rows, asked_for = questions(group, day, 40, seed=day.toordinal())
    told = 0
    for asked in asked_for:
        moves = [
            (row[at], row["event_time"], landed, float(row[delay]))
            for row in rows
            if row["tailnum"] == asked.entity[0]
            for at, landed, delay in (("departed_at", 0.0, "dep_delay"), ("arrived_at", 1.0, "arr_delay"))
            if row[at] is not None and row[at] <= asked.at
        ]
        row = newest(group, asked)
        if moves:
            told += 1
            assert (row["known_at"], row["landed"], row["last_delay"]) == (max(moves)[0], *max(moves)[2:])
        elif row is not None:
            # A movement of a flight of five days ago, which the loop did not look at.
            assert row["known_at"] < midnight(day - 3 * ONE_DAY, NEW_YORK)
    assert told > 10


def flight(row_key: str, day: date, left: datetime, landed: datetime, late: int) -> dict:
    return {
        "row_key": row_key,
        DAY: day,
        "airline": "ZZ",
        "departed_at": left,
        "dep_delay": late,
        "arrived_at": landed,
        "arr_delay": late,
    }


def test_a_flight_known_two_days_after_its_day_counts_nowhere():
    """The bound that makes a day's rows depend on a bounded number of days of events."""
    day = date(2013, 5, 6)
    last, too_late = midnight(day + 2 * ONE_DAY, NEW_YORK) - timedelta(minutes=1), midnight(day + 2 * ONE_DAY, NEW_YORK)
    left = too_late - timedelta(hours=2)
    rows = pl.LazyFrame([flight("in", day, left, last, 40), flight("out", day, left, too_late, 90)])
    steps = recent_delays(rows, ("airline",), timedelta(hours=1)).collect()
    at_last = steps.filter(pl.col("known_at") == last).select("landed", "mean_arr_delay", "late_share")
    assert at_last.rows() == [(1, 40, 1)]
    assert steps.filter(pl.col("known_at") == too_late).is_empty()
    assert steps.filter(pl.col("known_at") == last + timedelta(hours=1))["landed"].to_list() == [0]


@pytest.mark.parametrize("name", ["carrier_delays", "inbound_aircraft"])
def test_a_flight_that_leaves_before_its_scheduled_day_counts_from_that_days_beginning(name):
    """The day before does not read the flight's events: counted earlier, a range would differ from its days."""
    day, group = date(2013, 5, 6), CATALOG.features[name]
    begins = midnight(day, NEW_YORK)
    early = flight("early", day, begins - timedelta(minutes=20), begins + timedelta(hours=1), -25)
    rows = pl.LazyFrame([{**early, "carrier": "ZZ", "tailnum": "N1", "event_time": begins + timedelta(minutes=5)}])
    assert group.compute({"flights": rows}).select(pl.col("known_at").min()).collect().item() == begins


# --- flights the year does not have: delays of days, ties, departures before the scheduled day ------------


@st.composite
def strange_flights(draw) -> list[dict]:
    """Flights around the night of the spring switch, on a coarse grid of times, so that many of them tie."""
    rows = []
    for number in range(draw(st.integers(1, 8))):
        day = SPRING + timedelta(days=draw(st.integers(-3, 2)))
        scheduled = midnight(day, NEW_YORK) + timedelta(hours=draw(st.sampled_from([0, 12])))
        left = scheduled + timedelta(hours=draw(st.sampled_from([-1, 0, 11, 23, 24, 35, 47])))
        landed = left + timedelta(hours=draw(st.sampled_from([1, 12])))
        row = flight(f"k{number}", day, left, landed, draw(st.sampled_from([-5, 29, 30, 600])))
        rows.append({**row, "event_time": scheduled, "tailnum": "N1", "carrier": "ZZ", "origin": "JFK", "dest": "LAX"})
    return rows


def movements(row: dict) -> Iterator[tuple[datetime, datetime, float, float]]:
    """When each movement counts from, with what decides between equal instants."""
    for at, landed, delay in (("departed_at", 0.0, "dep_delay"), ("arrived_at", 1.0, "arr_delay")):
        if row[at] < midnight(row[DAY] + 2 * ONE_DAY, NEW_YORK):
            yield max(row[at], midnight(row[DAY], NEW_YORK)), row["event_time"], landed, float(row[delay])


@settings(max_examples=60, deadline=None)
@given(rows=strange_flights())
def test_the_inbound_aircraft_of_strange_flights_equals_a_loop(rows):
    moves = sorted(move for row in rows for move in movements(row))
    wanted = {known_at: (delay, landed) for known_at, _, landed, delay in moves}
    found = CATALOG.features["inbound_aircraft"].compute({"flights": pl.LazyFrame(rows)}).collect()
    assert {row["known_at"]: (row["last_delay"], row["landed"]) for row in found.to_dicts()} == wanted
    assert found.height == len(wanted)


@settings(max_examples=60, deadline=None)
@given(rows=strange_flights())
def test_recent_delays_of_strange_flights_equal_a_loop(rows):
    moves = [move for row in rows for move in movements(row)]
    window = timedelta(hours=24)
    found = CATALOG.features["route_delays"].compute({"flights": pl.LazyFrame(rows)}).collect().to_dicts()
    assert {row["known_at"] for row in found} == {at + shift for at, *_ in moves for shift in (timedelta(0), window)}
    for row in found:
        inside = [move for move in moves if row["known_at"] - window < move[0] <= row["known_at"]]
        arrivals = [delay for *_, landed, delay in inside if landed]
        assert row["landed"] == len(arrivals)
        assert row["mean_arr_delay"] == mean(arrivals)
        assert row["late_share"] == mean([delay >= 30 for delay in arrivals])
        assert row["mean_dep_delay"] == mean([delay for *_, landed, delay in inside if not landed])


@pytest.mark.parametrize("name", ["carrier_delays", "inbound_aircraft", "route_delays"])
@settings(max_examples=25, deadline=None)
@given(rows=strange_flights())
@example(
    rows=[
        {
            **flight("k", SPRING - 2 * ONE_DAY, utc(2013, 3, 10, 3), utc(2013, 3, 10, 4, 30), 600),
            "event_time": utc(2013, 3, 8, 17),
            "tailnum": "N1",
            "carrier": "ZZ",
            "origin": "JFK",
            "dest": "LAX",
        }
    ]
)
def test_features_of_strange_flights_over_a_range_equal_its_days(name, rows):
    """The example is a landing before the short day whose window closes after it: it needs the whole look-back."""
    group = CATALOG.features[name]
    whole = pl.LazyFrame(rows)

    def computed(days: DayRange) -> pl.DataFrame:
        read = days.extended(back=group.look_back_days)
        return cut_to_days(group, group.compute({"flights": whole.filter(within(read.start, read.end))}), tuple(days))

    span = DayRange(SPRING - 3 * ONE_DAY, SPRING + 3 * ONE_DAY)
    assert_frame_equal(computed(span), pl.concat([computed(day) for day in single_days(span)]), check_exact=True)


# --- no fact before its time ------------------------------------------------------------------------------


def as_seen_at(source: SourceSpec, rows: pl.LazyFrame, instant: datetime) -> pl.LazyFrame:
    """The events as anybody would have seen them: later rows are not there, later facts are null."""
    return rows.filter(pl.col("known_at") <= instant).with_columns(
        pl.when(pl.col(fact.known_at) <= instant).then(pl.col(column)).alias(column)
        for fact in source.facts
        for column in fact.columns
    )


def changes_by_censoring(
    compute: Callable[[Inputs], pl.LazyFrame], sources: tuple[str, ...], instant: datetime
) -> pl.DataFrame:
    """Rows said to be known at the instant that differ when whatever became known later is taken away."""
    day = instant.astimezone(ZoneInfo(NEW_YORK)).date()
    near = flights_archive.events(day - 4 * ONE_DAY, day + 3 * ONE_DAY)
    whole = {name: near[name] for name in sources}
    seen = {name: as_seen_at(CATALOG.sources[name], near[name], instant) for name in sources}
    with_future, without = (
        compute(given_events).filter(pl.col("known_at") <= instant).collect() for given_events in (whole, seen)
    )
    assert with_future.schema == without.schema
    counted = [frame.group_by(pl.all()).len() for frame in (with_future, without)]
    return pl.concat(
        [
            counted[0].join(counted[1], on=counted[0].columns, how="anti", nulls_equal=True),
            counted[1].join(counted[0], on=counted[1].columns, how="anti", nulls_equal=True),
        ]
    )


def censoring_instants(number: int, seed: int) -> Iterator[datetime]:
    known = flights_archive.ingested()["flights"].rows["fate_known_at"]
    yield from flights_archive.instants(seed, utc(2013, 1, 2), utc(2014, 1, 1), known, number)
    for day in (SPRING, AUTUMN, BLIZZARD):
        start = midnight(day, NEW_YORK)
        yield from flights_archive.instants(seed, start, start + ONE_DAY, known, max(1, number // 4))


def outcome_of(name: str) -> tuple[Callable[[Inputs], pl.LazyFrame], tuple[str, ...]]:
    outcome = CATALOG.outcomes[name]
    return lambda given_events: outcome.compute(given_events[outcome.source]), (outcome.source,)


@pytest.mark.parametrize("name", GROUPS)
def test_no_feature_row_changes_when_the_future_is_taken_away(name):
    group = CATALOG.features[name]
    for instant in censoring_instants(8, seed=len(name)):
        changed = changes_by_censoring(group.compute, group.inputs, instant)
        assert changed.is_empty(), f"{name} at {instant}: {changed.head(3)}"


@pytest.mark.parametrize("name", OUTCOMES)
def test_no_label_changes_when_the_future_is_taken_away(name):
    compute, sources = outcome_of(name)
    for instant in censoring_instants(8, seed=5):
        changed = changes_by_censoring(compute, sources, instant)
        assert changed.is_empty(), f"{name} at {instant}: {changed.head(3)}"


def leaks_the_arrival(given_events: Inputs) -> pl.LazyFrame:
    """The mistake of the first baseline: the flight's own arrival delay, dated by its timetable."""
    return given_events["flights"].select("row_key", "known_at", "arr_delay")


def leaks_by_absence(given_events: Inputs) -> pl.LazyFrame:
    """No later value is read: that a row is missing tells that its flight was cancelled."""
    return given_events["flights"].filter(pl.col("fate") != "cancelled").select("row_key", "known_at", "distance")


def leaks_the_days_mean(given_events: Inputs) -> pl.LazyFrame:
    """A mean over the whole day, known at each landing."""
    landed = given_events["flights"].filter(pl.col("arrived_at").is_not_null())
    return landed.select(
        "row_key", pl.col("arrived_at").alias("known_at"), pl.col("arr_delay").mean().over(DAY, "carrier")
    )


def leaks_by_a_minute(given_events: Inputs) -> pl.LazyFrame:
    """A landing that is said to be known one minute before it was."""
    landed = given_events["flights"].filter(pl.col("arrived_at").is_not_null())
    return landed.select("row_key", (pl.col("arrived_at") - timedelta(minutes=1)).alias("known_at"), "arr_delay")


@pytest.mark.parametrize("leak", [leaks_the_arrival, leaks_by_absence, leaks_the_days_mean, leaks_by_a_minute])
def test_taking_the_future_away_finds_a_leaking_feature(leak):
    assert any(changes_by_censoring(leak, ("flights",), instant).height for instant in censoring_instants(8, seed=4))


def test_every_column_is_either_on_the_timetable_or_a_fact_with_its_own_instant():
    """A new column must be put on one of the two lists: the censoring above trusts `facts`."""
    of_the_timetable = {
        "flights": {
            *(DAY, "row_key", "carrier", "flight", "tailnum", "origin", "dest", "distance"),
            *("event_time", "sched_arrival", "known_at"),
        },
        "weather": set(flights_archive.ingested()["weather"].rows.columns),
    }
    for name, source in CATALOG.sources.items():
        facts = {column for fact in source.facts for column in fact.columns}
        assert set(flights_archive.ingested()[name].rows.columns) == of_the_timetable[name] | facts
        assert not of_the_timetable[name] & facts
        assert {fact.known_at for fact in source.facts} <= facts


# --- a range equals its days ------------------------------------------------------------------------------


def features_of(group: FeatureGroupSpec, days: DayRange) -> pl.DataFrame:
    read = days.extended(back=group.look_back_days)
    rows = flights_archive.events(read.start, read.end)
    return cut_to_days(group, group.compute({name: rows[name] for name in group.inputs}), tuple(days))


def labels_of(name: str, days: DayRange) -> pl.DataFrame:
    outcome = CATALOG.outcomes[name]
    read = days.extended(back=outcome.calendar.label_lag_days)
    rows = labels_by_known_day(outcome, flights_archive.events(read.start, read.end)[outcome.source]).rows
    return rows.filter(pl.col(DAY).is_in(list(days))).sort(DAY, "row_key")


def single_days(days: DayRange) -> list[DayRange]:
    return [DayRange(day, day + ONE_DAY) for day in days]


ranges = st.builds(
    lambda start, length: DayRange(start, min(start + timedelta(days=length), END)),
    st.dates(FIRST, date(2013, 12, 31)),
    st.integers(1, 4),
)
SWITCHES = (
    DayRange(SPRING - ONE_DAY, SPRING + 2 * ONE_DAY),
    DayRange(AUTUMN - ONE_DAY, AUTUMN + 2 * ONE_DAY),
    DayRange(BLIZZARD, BLIZZARD + 3 * ONE_DAY),
    DayRange(FIRST, FIRST + 3 * ONE_DAY),
    DayRange(END - 2 * ONE_DAY, END),
)


def over_ranges(test):
    for days in SWITCHES:
        test = example(days=days)(test)
    return settings(max_examples=4, deadline=None)(given(days=ranges)(test))


@pytest.mark.parametrize("name", GROUPS)
@over_ranges
def test_features_of_a_range_equal_its_days(name, days):
    group = CATALOG.features[name]
    one_by_one = pl.concat([features_of(group, day) for day in single_days(days)])
    assert_frame_equal(features_of(group, days), one_by_one, check_exact=True)


@pytest.mark.parametrize("name", OUTCOMES)
@over_ranges
def test_labels_of_a_range_equal_its_days(name, days):
    one_by_one = pl.concat([labels_of(name, day) for day in single_days(days)])
    assert_frame_equal(labels_of(name, days), one_by_one, check_exact=True)


@pytest.mark.parametrize("name", ["carrier_delays", "route_delays", "inbound_aircraft"])
def test_a_look_back_that_is_too_short_would_be_seen(name):
    group = replace(CATALOG.features[name], look_back_days=0)
    days = DayRange(BLIZZARD, BLIZZARD + 3 * ONE_DAY)
    one_by_one = pl.concat([features_of(group, day) for day in single_days(days)])
    with pytest.raises(AssertionError):
        assert_frame_equal(features_of(group, days), one_by_one, check_exact=True)


@pytest.mark.parametrize("name", GROUPS)
def test_a_row_stands_on_the_day_on_which_it_was_observed_and_is_known_no_earlier(name):
    rows = flights_archive.features_of_the_year(name)
    group = CATALOG.features[name]
    assert rows.select(pl.struct(*group.entity, "known_at").is_duplicated().any()).item() is False
    assert rows["known_at"].null_count() == rows["event_time"].null_count() == 0
    if name != "schedule":  # the timetable is known before the flight it names
        assert rows.filter(pl.col("known_at") < pl.col("event_time")).is_empty()
