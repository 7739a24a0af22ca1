"""The point-in-time join against slow obvious twins, over the real year, and with a planted leak."""

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

import duckdb
import flights_archive
import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from benchmarks.point_in_time import asof_query
from ml_assets.domain.errors import PointInTimeError
from ml_assets.domain.evaluation import roc_auc
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import as_of, asked_for, feature_rows
from ml_assets.domain.specs import A_DAY, FeatureGroupSpec, GradientBoosting
from ml_assets.domain.training import fit_candidate

CATALOG = flights_archive.catalog()
MODEL = CATALOG.models["disruption"]
JOINED = sorted(set(CATALOG.groups_of(MODEL)) - {MODEL.spine})
NOON = datetime(2013, 3, 10, 12, tzinfo=UTC)
INSTANT = pl.Datetime("us", "UTC")
ONE_DAY = timedelta(days=1)


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


# --- as_of against a slow twin ----------------------------------------------------------------------------

GROUP = replace(
    CATALOG.features["weather"],
    name="here",
    entity=("plane",),
    values=("wind",),
    described={},
    known_before=minutes(6),
    known_after=minutes(6),
    max_age=minutes(5),
)


def state(keys: int, max_age: int) -> FeatureGroupSpec:
    return replace(GROUP, entity=("plane", "line")[:keys], max_age=minutes(max_age))


def about(keys: int, valid_for: int) -> FeatureGroupSpec:
    return replace(GROUP, entity=("plane", "line")[:keys], max_age=A_DAY, valid_for=minutes(valid_for))


groups = st.one_of(
    st.builds(state, st.sampled_from([1, 2]), st.integers(0, 12)),
    st.builds(about, st.sampled_from([1, 2]), st.integers(1, 12)),
)
entities = st.sampled_from(["a", "b", "c", None])
numbers = st.sampled_from([1, 2, None])
# plane, line, minute of the event, minutes the score is needed before it
asking_rows = st.lists(st.tuples(entities, numbers, st.integers(-6, 9), st.integers(0, 6)), max_size=8)
# plane, line, minute described, minutes it is known after that, the value
known_rows = st.lists(
    st.tuples(entities, numbers, st.integers(-9, 9), st.integers(-6, 6), st.one_of(st.none(), st.integers(0, 99))),
    max_size=14,
)


def asking_frame(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(
        [(plane, line, NOON + minutes(at), NOON + minutes(at - lead)) for plane, line, at, lead in rows],
        schema={"plane": pl.String, "line": pl.Int64, "event_time": INSTANT, "prediction_time": INSTANT},
        orient="row",
    )


def known_frame(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(
        [(wind, plane, line, NOON + minutes(at), NOON + minutes(at + after)) for plane, line, at, after, wind in rows],
        schema={
            "wind": pl.Int32,
            "plane": pl.String,
            "line": pl.Int64,
            "event_time": INSTANT,
            "known_at": INSTANT,
        },
        orient="row",
    )


def slowly(asking: list[tuple], rows: list[tuple], group: FeatureGroupSpec) -> list[int | None]:
    """Row by row: everything that may count, then the last given of the newest of it."""
    answers = []
    keys = len(group.entity)
    for *entity, event, lead in asking:
        counting = []
        for place, (*owner, at, after, wind) in enumerate(rows):
            known, asked = at + after, event - lead
            same = None not in entity[:keys] and owner[:keys] == entity[:keys]
            if not same or known > asked or at > event:
                continue
            if group.valid_for is None and minutes(asked - known) <= group.max_age:
                counting.append((known, at, place, wind))
            if group.valid_for is not None and minutes(event - at) < group.valid_for:
                counting.append((at, known, place, wind))
        answers.append(max(counting)[-1] if counting else None)
    return answers


@settings(max_examples=400, deadline=None)
@given(asking=asking_rows, rows=known_rows, group=groups)
@example(asking=[], rows=[("a", 1, 0, 0, 7)], group=state(1, 1))
@example(asking=[("a", 1, 0, 0)], rows=[], group=about(2, 1))
@example(asking=[("a", 1, 0, 0)], rows=[(None, None, 0, 0, 7), (None, 1, 0, 0, 8)], group=state(2, 0))
@example(asking=[("a", 1, 0, 0)], rows=[("a", 1, 0, 0, 7), ("a", 2, 0, 0, 8), ("a", 1, -1, 0, 9)], group=state(1, 0))
# Announced for later, of a later version, of the instant before: only what is about the event's own instant counts.
@example(asking=[("a", 1, 2, 1)], rows=[("a", 1, 3, -4, 7)], group=state(1, 12))
@example(asking=[("a", 1, 2, 1)], rows=[("a", 1, 2, -2, 7), ("a", 1, 2, 0, 8), ("a", 1, 1, -1, 9)], group=about(1, 2))
def test_as_of_equals_a_loop_over_the_rows(asking, rows, group):
    given_rows = known_frame(rows)
    before = given_rows.clone()
    found = as_of(asking_frame(asking), given_rows, group, ("wind", "known_at"), prefix="of_")
    assert found.schema == {"of_wind": pl.Int32, "of_known_at": INSTANT}
    assert found["of_wind"].to_list() == slowly(asking, rows, group)
    assert_frame_equal(given_rows, before)


@settings(max_examples=100, deadline=None)
@given(rows=known_rows, asking=asking_rows, group=groups, seed=st.integers(0, 9))
def test_the_order_of_the_rows_does_not_matter(rows, asking, group, seed):
    """A version is one row: an entity has one of an instant that is known at another."""
    once = list({row[:4]: row for row in rows if None not in row[: len(group.entity)]}.values())
    if len(group.entity) == 1:
        once = list({(row[0], *row[2:4]): row for row in once}.values())
    mixed = np.random.default_rng(seed).permutation(len(once))
    answers = [
        as_of(asking_frame(asking), known_frame(ordered), group, ("wind",))
        for ordered in (once, [once[place] for place in mixed])
    ]
    assert_frame_equal(*answers)


@settings(max_examples=100, deadline=None)
@given(rows=known_rows, others=known_rows, asking=asking_rows, group=groups)
def test_rows_that_are_later_known_or_about_later_change_nothing(rows, others, asking, group):
    last_event = max((event for *_, event, _ in asking), default=0)
    last_asked = max((event - lead for *_, event, lead in asking), default=0)
    later = [row for row in others if row[2] > last_event or row[2] + row[3] > last_asked]
    answers = [as_of(asking_frame(asking), known_frame(each), group, ("wind",)) for each in (rows, [*rows, *later])]
    assert_frame_equal(*answers)


ONE_ROW = known_frame([("a", 1, 0, 0, 7)])


def asked_at(minute: int, shift: timedelta, lead: int = 0) -> list[int | None]:
    """What a group of one row answers to an asking row near it."""
    asking = asking_frame([("a", 1, minute, lead)]).with_columns(pl.col("event_time", "prediction_time") + shift)
    return as_of(asking, ONE_ROW, GROUP, ("wind",))["wind"].to_list()


TICK = timedelta(microseconds=1)


def test_a_value_known_exactly_at_prediction_time_counts_and_a_microsecond_later_does_not():
    assert asked_at(0, timedelta(0)) == [7]
    assert asked_at(2, -TICK, lead=2) == [None]


def test_a_value_of_exactly_max_age_counts_and_a_microsecond_older_does_not():
    assert asked_at(5, timedelta(0)) == [7]
    assert asked_at(5, TICK) == [None]


def test_a_row_describes_its_first_instant_and_no_longer_its_last():
    for shift, wanted in ((-TICK, None), (timedelta(0), 7), (minutes(3) - TICK, 7), (minutes(3), None)):
        asking = asking_frame([("a", 1, 0, 0)]).with_columns(pl.col("event_time") + shift)
        asking = asking.with_columns(prediction_time=pl.col("event_time").clip(NOON))
        assert as_of(asking, ONE_ROW, about(1, 3), ("wind",))["wind"].to_list() == [wanted]


def test_a_newest_row_that_holds_a_null_is_the_answer_not_the_row_before_it():
    rows = known_frame([("a", 1, -2, 0, 7), ("a", 1, -1, 0, None)])
    assert as_of(asking_frame([("a", 1, 0, 0)]), rows, GROUP, ("wind",))["wind"].to_list() == [None]


def test_times_in_another_unit_and_zone_mean_the_same_instants():
    rows = known_frame([("a", 1, 0, 0, 7), ("a", 1, 3, 0, 8)]).with_columns(
        pl.col("known_at").dt.convert_time_zone("America/New_York").dt.cast_time_unit("ms")
    )
    asking = asking_frame([("a", 1, 2, 0), ("a", 1, 3, 0)])
    assert as_of(asking, rows, GROUP, ("wind",))["wind"].to_list() == [7, 8]


@pytest.mark.parametrize("side", ["known_at", "prediction_time", "event_time"])
def test_a_row_without_a_time_is_refused(side):
    asking, rows = asking_frame([("a", 1, 0, 0), ("b", 1, 0, 0)]), known_frame([("a", 1, 0, 0, 7), ("b", 1, 0, 0, 8)])
    emptied = pl.when(pl.col("plane") == "a").then(pl.col(side)).alias(side)
    if side == "known_at":
        rows = rows.with_columns(emptied)
    else:
        asking = asking.with_columns(emptied)
    with pytest.raises(PointInTimeError, match=f"{side} has 1 nulls"):
        as_of(asking, rows, GROUP, ("wind",))


@pytest.mark.parametrize(("after", "field"), [(7, "known_after=0:06:00"), (-7, "known_before=0:06:00")])
def test_a_row_known_outside_what_is_declared_is_refused(after, field):
    """Days are read as far as declared: a row beyond would be joined in a run that happens to hold it, alone."""
    rows = known_frame([("a", 1, 0, 0, 7), ("a", 1, 0, after, 8)])
    with pytest.raises(PointInTimeError, match=f"features/here holds a row .*0:07:00.*{field}"):
        as_of(asking_frame([("a", 1, 0, 0)]), rows, GROUP, ("wind",))


# --- feature_rows -----------------------------------------------------------------------------------------


def spine_frame(rows: list[tuple]) -> pl.DataFrame:
    """(row_key, plane, line, minute of the event, minutes it is known ahead)"""
    return pl.DataFrame(
        [
            (NOON.date(), key, plane, line, NOON + minutes(at), NOON + minutes(at - ahead))
            for key, plane, line, at, ahead in rows
        ],
        schema={
            DAY: pl.Date,
            "row_key": pl.String,
            "plane": pl.String,
            "line": pl.Int64,
            "event_time": INSTANT,
            "known_at": INSTANT,
        },
        orient="row",
    )


SMALL_MODEL = replace(
    MODEL,
    spine="timetable",
    prediction_lead=minutes(3),
    features=("here.wind", "timetable.line", "there.wind"),
    categorical=(),
)
SMALL_GROUPS = {
    "timetable": replace(CATALOG.features["schedule"], name="timetable", values=("plane", "line"), described={}),
    "here": state(1, 4),
    "there": replace(about(2, 100), name="there", entity=("line", "plane")),
}


@settings(max_examples=150, deadline=None)
@given(
    spine=st.lists(st.tuples(entities, numbers, st.integers(-6, 6), st.integers(0, 6)), max_size=6),
    here=known_rows,
    there=known_rows,
)
def test_feature_rows_equal_a_loop_over_the_rows(spine, here, there):
    events = [(f"k{number}", *row) for number, row in enumerate(spine)]
    frames = {
        "timetable": spine_frame(events[::-1]),
        "here": known_frame(here),
        "there": known_frame(there),
    }
    found = feature_rows(SMALL_MODEL, SMALL_GROUPS, frames)
    wanted = []
    for key, plane, line, at, ahead in events:
        if ahead < 3:
            continue
        asked = [(plane, line, at, 3)]
        wanted.append(
            (
                NOON.date(),
                key,
                NOON + minutes(at),
                NOON + minutes(at - 3),
                slowly(asked, here, SMALL_GROUPS["here"])[0],
                line,
                slowly(asked, there, about(2, 100))[0],
            )
        )
    assert found.rows() == wanted
    assert found.columns == [DAY, "row_key", "event_time", "prediction_time", *SMALL_MODEL.feature_columns]
    assert found.columns[4:] == ["here__wind", "timetable__line", "there__wind"]


def test_only_the_days_asked_for_are_joined_and_the_end_is_open():
    days = [date(2013, 3, day) for day in (9, 10, 11)]
    spine = pl.concat([spine_frame([(f"k{day}", "a", 1, 0, 9)]).with_columns(pl.lit(day).alias(DAY)) for day in days])
    found = asked_for(SMALL_MODEL, spine, (days[0], days[2]))
    assert found[DAY].to_list() == days[:2]
    assert asked_for(SMALL_MODEL, spine)[DAY].to_list() == days


# --- the whole year ---------------------------------------------------------------------------------------


@cache
def spine_of_the_year() -> pl.DataFrame:
    return asked_for(MODEL, flights_archive.features_of_the_year(MODEL.spine))


def known_of_the_year(name: str) -> pl.DataFrame:
    """For every flight of the year, when the row that it is given was known."""
    group, rows = CATALOG.features[name], flights_archive.features_of_the_year(name)
    return as_of(spine_of_the_year(), rows, group, ("known_at", *group.values))


def test_a_score_is_asked_for_every_flight_of_the_year():
    assert spine_of_the_year().height == 336_776


@pytest.mark.parametrize("name", JOINED)
def test_nothing_of_the_year_is_known_after_the_prediction_nor_too_old(name):
    """And the same, for a sample of flights, against a scan over the entity's rows."""
    group, rows = CATALOG.features[name], flights_archive.features_of_the_year(name)
    spine = spine_of_the_year()
    given_rows = spine.select(*group.entity, "prediction_time").hstack(known_of_the_year(name))
    age = pl.col("prediction_time") - pl.col("known_at")
    assert given_rows.filter(age < timedelta(0)).is_empty()
    assert given_rows.filter(age > group.max_age).is_empty()
    nobody = given_rows.filter(pl.any_horizontal(pl.col(group.entity).is_null()))
    assert nobody["known_at"].null_count() == nobody.height
    assert given_rows["known_at"].null_count() < 0.6 * spine.height

    days = spine[DAY].unique().sort().to_list()
    for day in (date(2013, 3, 10), date(2013, 11, 3), *random.Random(name).sample(days, 4)):
        of_day = given_rows.filter(spine[DAY] == day).sample(20, seed=7)
        first, last = of_day["prediction_time"].min() - group.max_age, of_day["prediction_time"].max()
        near = rows.filter(pl.col("known_at").is_between(first, last)).to_dicts()
        for asked in of_day.to_dicts():
            at = asked["prediction_time"]
            known = [
                row
                for row in near
                if all(row[key] == asked[key] for key in group.entity) and at - group.max_age <= row["known_at"] <= at
            ]
            best = max(known, key=lambda row: row["known_at"], default=None)
            for column in ("known_at", *group.values):
                assert asked[column] == (best[column] if best else None)


def test_feature_rows_of_the_year_hold_what_as_of_gives_and_nothing_of_the_outcome():
    groups = CATALOG.groups_of(MODEL)
    frames = {name: flights_archive.features_of_the_year(name) for name in groups}
    week = (date(2013, 3, 7), date(2013, 3, 14))
    rows = feature_rows(MODEL, groups, frames, week)
    spine = spine_of_the_year()
    of_week = spine.with_row_index("place").filter(pl.col(DAY) >= week[0], pl.col(DAY) < week[1])
    assert rows["row_key"].to_list() == of_week["row_key"].to_list()
    for name in JOINED:
        wanted = [feature.split(".")[1] for feature in MODEL.features if feature.startswith(f"{name}.")]
        of_year = known_of_the_year(name).select(wanted)[of_week["place"]]
        assert_frame_equal(rows.select(pl.col(f"{name}__{column}").alias(column) for column in wanted), of_year)


@pytest.mark.parametrize("name", JOINED)
def test_a_fortnight_is_joined_as_duckdb_joins_it(name):
    group, days = CATALOG.features[name], (date(2013, 3, 3), date(2013, 3, 17))
    asking = asked_for(MODEL, flights_archive.features_of_the_year(MODEL.spine), days).with_row_index("place")
    near = pl.col(DAY).is_between(days[0] - 2 * ONE_DAY, days[1])
    known = flights_archive.features_of_the_year(name).filter(near)
    with duckdb.connect() as connection:
        connection.register("asking", asking.to_arrow())
        connection.register("known", known.to_arrow())
        answered = connection.sql(asof_query(group, list(group.values))).to_arrow_table()
    expected = pl.DataFrame(pl.from_arrow(answered)).sort("place").select(group.values)
    assert_frame_equal(as_of(asking, known, group, group.values), expected, check_exact=True)
    assert all(nulls < expected.height for nulls in expected.null_count().row(0))


# --- the leak canary --------------------------------------------------------------------------------------

CANARY = replace(
    MODEL,
    features=("planted.label_copy", "chance.number"),
    categorical=(),
    estimator=GradientBoosting(
        learning_rate=0.1, max_iter=40, max_leaf_nodes=7, min_samples_leaf=50, l2_regularization=1.0
    ),
)


def canary_roc_auc(known_at: pl.Expr) -> float:
    """How well a model predicts February's last week from the label itself, said to be known at `known_at`."""
    days = (date(2013, 1, 20), date(2013, 2, 28))
    near = flights_archive.events(*days)["flights"]
    labels = CATALOG.outcomes["disrupted"].compute(near).collect()
    planted = labels.with_columns(known_at.alias("known_at"), pl.col("label").cast(pl.Float64).alias("label_copy"))
    numbers = np.random.default_rng(0).normal(size=labels.height)
    chance = labels.select("row_key", pl.col("event_time") - timedelta(days=2)).with_columns(
        pl.col("event_time").alias("known_at"), pl.Series("number", numbers)
    )
    spec = {"entity": ("row_key",), "known_before": ONE_DAY, "known_after": 2 * ONE_DAY, "max_age": 30 * ONE_DAY}
    groups = {
        "schedule": CATALOG.features["schedule"],
        "planted": replace(CATALOG.features["weather"], name="planted", values=("label_copy",), described={}, **spec),
        "chance": replace(CATALOG.features["weather"], name="chance", values=("number",), described={}, **spec),
    }
    frames: Mapping[str, pl.DataFrame] = {
        "schedule": flights_archive.features_of_the_year("schedule"),
        "planted": planted,
        "chance": chance,
    }
    rows = feature_rows(CANARY, groups, frames, days).join(labels.select("row_key", "label"), on="row_key")
    assert rows["chance__number"].null_count() == 0
    train, held_out = rows.filter(pl.col(DAY) < date(2013, 2, 21)), rows.filter(pl.col(DAY) >= date(2013, 2, 21))
    candidate = fit_candidate(CANARY, train, held_out, seed=1)
    return roc_auc(held_out["label"].to_numpy(), candidate.scores) or 0.0


def test_a_planted_label_that_is_only_known_later_scores_at_chance():
    assert 0.45 < canary_roc_auc(pl.col("known_at")) < 0.55


def test_the_same_label_with_a_lie_about_when_it_is_known_scores_almost_perfectly():
    """So the canary can sing: only the instant differs from the test above."""
    assert canary_roc_auc(pl.col("event_time") - timedelta(hours=24)) > 0.99
