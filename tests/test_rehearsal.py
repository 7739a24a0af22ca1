"""A rehearsal computes what the platform stores, row for row; what it looks at and how it compares can be relied on."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
import toy_catalog as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from rehearsed import rehearsed
from short_year import END, FIRST, FIRST_TRAINING, SECOND_TRAINING, opened, short_catalog

from ml_assets.assets import declared_graph
from ml_assets.domain.ingestion import ingest
from ml_assets.domain.local_days import DAY
from ml_assets.domain.proofs.comparison import difference
from ml_assets.domain.proofs.days import chosen_days, closed, in_one_go
from ml_assets.domain.rehearsal import EventsAtHand, Rehearsal
from partitions import DayRange
from resources.extract_profiles import profile_of
from resources.extracts import Extracts

if TYPE_CHECKING:
    from short_year import Platform

ONE_DAY = timedelta(days=1)
SHAPE = replace(toy.SHAPE, days=16, account_max_age=None)
DAYS = DayRange(SHAPE.first_day, SHAPE.first_day + timedelta(days=16))


# --- against the lake -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Platform"]:
    """The toy's facts as Dagster computes them, in a run over the first ten days and one over the rest."""
    path = tmp_path_factory.mktemp("toy") / "home"
    catalog = toy.catalog(SHAPE)
    with opened(path, catalog) as platform:
        toy.write_extracts(platform.launcher.home.extracts, SHAPE)
        tables = [f"{kind}/{name}" for kind, names in STAGES(catalog) for name in names]
        platform.run(tables, DAYS.start, DAYS.start + timedelta(days=9))
        platform.run(tables, DAYS.start + timedelta(days=10), DAYS.last)
        yield platform


def STAGES(catalog: toy.Catalog) -> tuple[tuple[str, list[str]], ...]:  # noqa: N802
    return (
        ("events", list(catalog.sources)),
        ("features", list(catalog.features)),
        ("outcomes", list(catalog.outcomes)),
    )


def test_a_rehearsal_of_the_toy_computes_what_the_lake_stores(toy_lake: "Platform") -> None:
    looked = rehearsed(SHAPE).rehearsal
    looked = replace(looked, kept={"account": [DAYS]})
    for group in looked.catalog.features:
        stored = toy_lake.rows(f"features/{group}").sort(pl.all())
        assert_frame_equal(looked.features(group, DAYS).sort(pl.all()), stored, check_column_order=False)
        for day in (DAYS.start, DAYS.start + timedelta(days=7), DAYS.last):
            alone = looked.features(group, DayRange(day, day + ONE_DAY))
            of_day = stored.filter(pl.col(DAY) == day)
            assert_frame_equal(alone.sort(pl.all()), of_day, check_column_order=False)
    labels = looked.outcomes("late", DAYS)
    assert labels.height > 100
    assert_frame_equal(labels, toy_lake.rows("outcomes/late").sort(DAY, "row_key"), check_column_order=False)


def test_a_rehearsal_of_the_flights_computes_what_the_lake_stores(replayed: "Platform") -> None:
    """Training sets are stored with their features, joined by the platform from its own days."""
    catalog = short_catalog()
    extracts = Extracts(replayed.launcher.home.extracts)
    events = {}
    for name, source in catalog.sources.items():
        read = extracts.read(source, DayRange(FIRST, END))
        made = ingest(source, read.rows, read.unreadable)
        accepted = frozenset(day for day, verdict in made.verdicts.items() if verdict.passed)
        events[name] = EventsAtHand(made.rows, accepted)
    rehearsal = Rehearsal(catalog, declared_graph(catalog), events)
    for name in catalog.features:
        stored = replayed.rows(f"features/{name}")
        assert_frame_equal(rehearsal.features(name, DayRange(FIRST, END)), stored, check_column_order=False)
    stored = replayed.rows("outcomes/disrupted", FIRST, END - ONE_DAY)
    assert_frame_equal(rehearsal.outcomes("disrupted", DayRange(FIRST, END)), stored, check_column_order=False)
    model = catalog.models["disruption"]
    for day in (FIRST_TRAINING, SECOND_TRAINING):
        stored = replayed.rows("training_sets/disruption", day)
        trained = rehearsal.training_set(model, day, DayRange(day, day + ONE_DAY)).rows
        assert stored.height > 1_000
        assert_frame_equal(trained.select(stored.columns).sort("row_key"), stored.sort("row_key"))
    for day in (FIRST_TRAINING, END - ONE_DAY):
        scored = rehearsal.scoring_rows(model, DayRange(day, day + ONE_DAY))
        served = replayed.rows("predictions/disruption", day).select("row_key", "prediction_time").sort("row_key")
        assert_frame_equal(scored.select("row_key", "prediction_time").sort("row_key"), served)


# --- which days -------------------------------------------------------------------------------------------

CALENDAR = toy.SHAPE.calendar
ALL_DAYS = list(DayRange(CALENDAR.first_day, CALENDAR.event_end(date.max)))
SPRING = date(2024, 3, 31)


def profile(**strange: dict[date, float]) -> pl.DataFrame:
    """A profile of all days with two figures that vary a little, but for what is given."""
    figures = {"rows": [40.0 + place % 5 for place in range(len(ALL_DAYS))], "nulls": [0.1] * len(ALL_DAYS)}
    for name, values in strange.items():
        figures[name] = [values.get(day, usual) for day, usual in zip(ALL_DAYS, figures[name], strict=True)]
    return pl.DataFrame({DAY: ALL_DAYS, **figures})


def test_storms_changes_of_the_clocks_and_the_ends_are_looked_at() -> None:
    storm, hole = date(2024, 4, 5), date(2024, 4, 9)
    profiles = [profile(rows={storm: 3.0}), profile(nulls={hole: 0.9})]
    assert chosen_days(CALENDAR, profiles, 2) == (storm, hole)
    days = chosen_days(CALENDAR, profiles, 6)
    assert {storm, hole, SPRING, ALL_DAYS[0], ALL_DAYS[-1]} < set(days)
    assert len(days) == 6
    assert days == tuple(sorted(days)) == chosen_days(CALENDAR, profiles, 6)


def test_only_days_that_every_source_has_are_looked_at() -> None:
    there = set(ALL_DAYS[3:12])
    few = profile().filter(pl.col(DAY).is_in(list(there)))
    days = chosen_days(CALENDAR, [profile(), few], 30)
    assert set(days) == there
    assert chosen_days(CALENDAR, [profile().clear()], 3) == chosen_days(CALENDAR, [], 3) != ()


def test_a_live_calendar_ends_where_it_is_due() -> None:
    live = replace(CALENDAR, end_day=None)
    catalog = toy.catalog()
    sources = {name: replace(source, calendar=live) for name, source in catalog.sources.items()}
    ended = closed(replace(catalog, sources=sources), {"parcels": SPRING})
    assert {spec.calendar.end_day for spec in (*ended.sources.values(), *ended.models.values())} == {SPRING}


@given(st.sets(st.integers(0, 40)))
def test_days_make_up_ranges_without_holes(offsets: set[int]) -> None:
    days = {ALL_DAYS[0] + timedelta(days=offset) for offset in offsets}
    ranges = in_one_go(days)
    assert [day for each in ranges for day in each] == sorted(days)
    assert all(one.end < other.start for one, other in pairwise(ranges))


def test_a_profile_tells_rows_and_nulls_of_every_day_without_damaged_files(tmp_path: Path) -> None:
    toy.write_extracts(tmp_path)
    folder = tmp_path / "parcels"
    (folder / "notes.parquet").write_bytes(b"no day")
    (folder / "2024-06-01.parquet").write_bytes(b"damaged")
    told = profile_of(folder)
    extracts = toy.extracts()["parcels"]
    assert told[DAY].to_list() == sorted(extracts)
    for row in told.iter_rows(named=True):
        of_day = extracts[row[DAY]]
        assert row["rows"] == of_day.height
        assert row["null share of courier"] == of_day["courier"].null_count() / of_day.height
    assert profile_of(tmp_path / "nowhere").is_empty()


# --- comparing --------------------------------------------------------------------------------------------

rows = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([None, 1, 2]), st.sampled_from([None, 0.5, float("nan")])),
    max_size=6,
)
SCHEMA = {"key": pl.String, "number": pl.Int64, "share": pl.Float64}


def told(frame: pl.DataFrame) -> Counter[str]:
    return Counter(map(repr, frame.rows()))


@settings(max_examples=200, deadline=None)
@given(one=rows, other=rows)
def test_frames_differ_when_their_rows_do_whatever_their_order(one: list[tuple], other: list[tuple]) -> None:
    frames = [pl.DataFrame(each, schema=SCHEMA, orient="row") for each in (one, other)]
    found = difference(*frames, ["key"], came_from="here", wanted_from="there")
    mine, theirs = map(told, frames)
    assert (found is None) == (mine == theirs)
    if found:
        assert found.rows <= max(len(mine), len(theirs))
        assert found.came
        assert found.key.startswith("key ")
    assert difference(frames[0], frames[0].reverse(), ["key"], came_from="here", wanted_from="there") is None


@pytest.mark.parametrize(
    ("one", "other", "came", "rounding"),
    [
        ([("a", 1, 0.5)], [("a", 2, 0.5)], "number is 1 here and 2 there", False),
        (
            [("a", 1, 0.5)],
            [("a", None, 0.25)],
            "number is 1 here and null there; share is 0.5 here and 0.25 there",
            False,
        ),
        ([("a", 1, 0.1 + 0.2)], [("a", 1, 0.3)], "share is 0.30000000000000004 here and 0.3 there", True),
        ([("a", 1, 0.5)] * 2, [("a", 1, 0.5)], "times it comes is 2 here and 1 there", False),
        ([("a", 1, 0.5)], [], "the row is there here and is not there", False),
        ([], [("a", 1, 0.5)], "the row is there there and is not here", False),
    ],
)
def test_the_first_difference_is_told(one: list[tuple], other: list[tuple], came: str, rounding: bool) -> None:
    frames = [pl.DataFrame(each, schema=SCHEMA, orient="row") for each in (one, other)]
    found = difference(*frames, ["key"], came_from="here", wanted_from="there")
    assert found is not None
    assert (found.key, found.came, found.rounding) == ("key a", came, rounding)


def test_other_types_are_a_difference() -> None:
    one, other = pl.DataFrame({"key": ["a"], "number": [1]}), pl.DataFrame({"key": ["a"], "number": [1.0]})
    found = difference(one, other, ["key"], came_from="here", wanted_from="there")
    assert found is not None
    assert found.came == "number is Int64 here and Float64 there"
