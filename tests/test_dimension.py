"""A customer's profile without limit of age on the platform: carried from day to day, over bad days, joined and healed.

The parcel service with long leads, and gauges that tell early or late: what its trainings hold is what the whole
history gives, and a range of days comes to what its days come to.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import toy_catalog as toy
from polars.testing import assert_frame_equal, assert_series_equal
from short_year import Platform, days, opened, quiet

from ml_assets.domain.feature_days import cut_to_days
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.serving import scored
from ml_assets.domain.specs import Catalog
from ml_assets.replay import Replay

HOUR, ONE_DAY = timedelta(hours=1), timedelta(days=1)
SHAPE = toy.Shape(
    seed=3,
    days=18,
    parcels_a_day=25,
    lead=30 * HOUR,
    booked_ahead=48 * HOUR,
    gauge_known=(-20 * HOUR, 50 * HOUR),
    gauge_max_age=40 * HOUR,
    accounts_a_day=1.5,
)
FIRST, LAST = SHAPE.first_day, SHAPE.calendar.end_day - ONE_DAY
ACCOUNT = "features/account"
BAD = FIRST + 6 * ONE_DAY


def catalog() -> Catalog:
    """The parcel service, whose accounts count for ever."""
    account = replace(toy.groups(SHAPE)["account"], max_age=None)
    model = replace(toy.model(SHAPE), features=(*SHAPE.features, "parcel.customer"))
    model = replace(model, categorical=(*model.categorical, "parcel.customer"))
    return toy.catalog(SHAPE, features={"account": account}, models={"delay": model})


@pytest.fixture(scope="module")
def replayed_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("toy") / "home"
    with opened(home, catalog()) as platform:
        toy.write_extracts(platform.launcher.home.extracts, SHAPE)
        Replay(platform.launcher, quiet).run()
    return home


@pytest.fixture
def platform(replayed_toy: Path, tmp_path: Path) -> Iterator[Platform]:
    shutil.copytree(replayed_toy, tmp_path / "home")
    with opened(tmp_path / "home", catalog()) as opened_copy:
        yield opened_copy


def own_rows(name: str) -> pl.DataFrame:
    """What a group has of all days, each row on the day it is about."""
    group = catalog().features[name]
    events = {source: ingested.rows.lazy() for source, ingested in toy.ingested(SHAPE).items()}
    return cut_to_days(group, group.compute(events), days(FIRST, LAST))


@cache
def truth() -> pl.DataFrame:
    """The features of every parcel, joined over the whole history at once."""
    model = catalog().models["delay"]
    groups = catalog().groups_of(model)
    # Without a limit of age all rows of before are looked at: no snapshot is needed.
    return feature_rows(model, groups, {name: own_rows(name) for name in groups})


def test_training_rows_hold_what_the_whole_history_gives(platform: Platform) -> None:
    model = catalog().models["delay"]
    trained = platform.rows("training_sets/delay")
    assert trained[DAY].n_unique() >= 1
    assert trained.height > 100
    expected = trained.select("row_key").join(truth(), on="row_key", how="left", maintain_order="left")
    for column in model.feature_columns:
        assert trained[column].equals(expected[column], null_equal=True), column
    # Profiles are long known, and some customers never had one.
    assert 0 < trained["account__tier"].null_count() < trained.height
    assert trained["gauge__level"].null_count() < trained.height


def test_scores_are_those_of_the_whole_history_in_a_range_and_day_by_day(platform: Platform) -> None:
    table, model = "predictions/delay", catalog().models["delay"]
    served = platform.rows(table)
    assert served[DAY].n_unique() > 4
    for (version,), of_model in served.partition_by("model_version", as_dict=True).items():
        day = date.fromisoformat(version[:10])
        stored = platform.lake.read("models/delay", day, day + ONE_DAY).rows.filter(pl.col("model_version") == version)
        expected = of_model.select("row_key").join(truth(), on="row_key", how="left", maintain_order="left")
        scores = scored(model, stored.collect().row(0, named=True), expected)
        assert_series_equal(of_model["score"], scores, check_exact=True)
    some = served[DAY].unique().sort()[-3:].to_list()
    platform.withdraw([table], some[0], some[-1])
    for day in some:
        platform.run([table], day)
    assert_frame_equal(platform.rows(table), served, check_exact=True)
    assert not platform.plan().steps


def test_every_day_holds_the_newest_of_each_customer(platform: Platform) -> None:
    held, own = platform.rows(ACCOUNT), own_rows("account")
    for day in days(FIRST, LAST):
        of_day = held.filter(pl.col(DAY) == day)
        so_far = own.filter(pl.col(DAY) <= day).sort("known_at", "event_time")
        newest = so_far.unique("customer", keep="last").sort("customer").drop(DAY)
        found = of_day.sort("known_at", "event_time").unique("customer", keep="last").sort("customer").drop(DAY)
        assert_frame_equal(found, newest)
        # The newest of before, and the day's own: no history.
        assert of_day.height <= newest.height + own.filter(pl.col(DAY) == day).height


def test_range_equals_days_of_a_group_that_carries_over(platform: Platform) -> None:
    replayed, on_record = platform.rows(ACCOUNT), platform.on_record([ACCOUNT])
    first, last = FIRST + 3 * ONE_DAY, FIRST + 9 * ONE_DAY
    platform.withdraw([ACCOUNT], first, last)
    platform.run([ACCOUNT], first, last)
    assert_frame_equal(platform.rows(ACCOUNT), replayed, check_exact=True)
    platform.withdraw([ACCOUNT], first, last)
    for day in days(first, last):
        platform.run([ACCOUNT], day)
    assert_frame_equal(platform.rows(ACCOUNT), replayed, check_exact=True)
    assert platform.on_record([ACCOUNT]) == on_record
    assert not platform.plan().steps


def test_a_day_whose_day_before_was_never_made_is_blocked_with_what_to_do(platform: Platform) -> None:
    platform.withdraw([ACCOUNT], FIRST, LAST)
    report = platform.run([ACCOUNT], BAD)
    assert [(table, day) for table, day, _ in report.of("blocked")] == [(ACCOUNT, BAD)]
    assert f"materialise {ACCOUNT} up to {BAD - ONE_DAY} first" in report.of("blocked")[0][2]
    assert platform.run([ACCOUNT], FIRST, BAD).of("blocked") == []


def lose(platform: Platform, day: date) -> Callable[[], None]:
    """Takes a day's accounts away; gives them back when called."""
    extract = platform.extract("accounts", day)
    kept = extract.with_suffix(".kept")
    extract.rename(kept)
    return lambda: kept.rename(extract) and None


def test_a_bad_day_is_carried_over_and_heals(platform: Platform) -> None:
    replayed, on_record = platform.rows(ACCOUNT), platform.on_record()
    own = own_rows("account")
    give_back = lose(platform, BAD)
    report = platform.run(["events/accounts", ACCOUNT], FIRST, LAST)
    late = {(table, day) for table, day, _ in report.of("late")}
    assert late == {("events/accounts", BAD), (ACCOUNT, BAD)}
    held = platform.rows(ACCOUNT, BAD + ONE_DAY)
    lost = own.filter(pl.col(DAY) == BAD)
    assert lost.height
    assert held.join(lost, on=["customer", "event_time"], how="semi").is_empty()
    without = own.filter(pl.col(DAY) < BAD)["customer"].unique()
    assert set(without) <= set(held["customer"])
    give_back()
    platform.run(["events/accounts"], BAD)
    platform.repair()
    assert_frame_equal(platform.rows(ACCOUNT), replayed, check_exact=True)
    assert platform.on_record() == on_record
    assert not platform.plan().steps
