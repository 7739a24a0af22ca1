"""Rows of a toy scored during the day: long leads, late gauges, profiles without age, values of other types in files.

What belongs here: properties over a replayed toy. What does not: the same on flights, bad rows (`test_scoring.py`).
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import toy_catalog as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from short_year import Platform, opened, quiet
from test_dimension import SHAPE, catalog

from ml_assets.domain.local_days import DAY
from ml_assets.replay import Replay
from ml_assets.scoring import Scores, score_rows
from ml_assets.scoring_terminal import rows_of_file
from partitions import DayRange

ONE_DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
MODEL = catalog().models["delay"]
TABLE, SPINE = "predictions/delay", "features/parcel"
LATEST = datetime(2030, 1, 1, tzinfo=UTC)
END = SHAPE.calendar.end_day
assert END is not None
LAST = END - ONE_DAY


@pytest.fixture(scope="module")
def replayed_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("toy") / "home"
    with opened(home, catalog()) as platform:
        toy.write_extracts(platform.launcher.home.extracts, SHAPE)
        Replay(platform.launcher, quiet).run()
    return home


@pytest.fixture(scope="module")
def done(replayed_toy: Path) -> Iterator[Platform]:
    """For reading only."""
    with opened(replayed_toy, catalog()) as platform:
        yield platform


@pytest.fixture
def platform(replayed_toy: Path, tmp_path: Path) -> Iterator[Platform]:
    shutil.copytree(replayed_toy, tmp_path / "home")
    with opened(tmp_path / "home", catalog()) as opened_copy:
        yield opened_copy


def scored(of: Platform, rows: pl.DataFrame, as_of: datetime = LATEST) -> Scores:
    return score_rows(of.lake, catalog(), "delay", rows, as_of)


def asked(of: Platform, day: date) -> pl.DataFrame:
    """The spine's rows of a day that its predictions have."""
    return of.rows(SPINE, day).join(of.rows(TABLE, day), on="row_key", how="semi", maintain_order="left")


def predicted(of: Platform, rows: pl.DataFrame) -> pl.DataFrame:
    """What is on record for rows, in their order."""
    return rows.select("row_key").join(of.rows(TABLE), on="row_key", how="left", maintain_order="left")


def predicted_days(of: Platform) -> list[date]:
    return of.rows(TABLE)[DAY].unique().sort().to_list()


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**31), number=st.integers(1, 30), later=st.sampled_from([timedelta(0), SECOND, 99 * ONE_DAY])
)
def test_any_rows_are_scored_as_their_days_predictions(
    done: Platform, seed: int, number: int, later: timedelta
) -> None:
    """Rows of some days in any order, as of the last of their prediction times or any time after."""
    rows = pl.concat([asked(done, day) for day in predicted_days(done)]).sample(number, shuffle=True, seed=seed)
    expected = predicted(done, rows).select(*done.rows(TABLE).columns)
    as_of = expected["prediction_time"].max()
    assert isinstance(as_of, datetime)
    # A day's champion is there from the day's beginning on; a lead reaches into the day before.
    began = max(toy.midnight(day, SHAPE.timezone) for day in rows[DAY])
    found = scored(done, rows, max(as_of, began) + later)
    assert_frame_equal(found.rows.select(expected.columns), expected, check_exact=True)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_file_of_any_format_gives_the_same(done: Platform, tmp_path: Path, ending: str) -> None:
    rows, file = asked(done, LAST).drop(DAY), tmp_path / f"rows{ending}"
    if ending == ".parquet":
        rows.write_parquet(file)
    elif ending == ".jsonl":
        rows.write_ndjson(file)
    else:
        rows.write_csv(
            file,
            separator="\t" if ending == ".tsv" else ",",
            compression="gzip" if ending[-1] == "z" else "uncompressed",
        )
    expected = predicted(done, rows)
    found = scored(done, rows_of_file(file)).rows
    assert_frame_equal(found.select(expected.columns), expected, check_exact=True)


def test_only_what_the_model_reads_is_needed_of_a_row(done: Platform) -> None:
    rows = asked(done, LAST)
    needed = rows.select("row_key", "event_time", "depot", "customer", "grams", "express")
    assert_frame_equal(scored(done, needed).rows, scored(done, rows).rows, check_exact=True)


def test_what_the_lake_learns_later_changes_nothing(platform: Platform) -> None:
    """The twin that knew less: all days after the one in which is asked are taken away."""
    day = predicted_days(platform)[3]
    rows = asked(platform, day)
    as_of = toy.midnight(day + ONE_DAY, SHAPE.timezone) - SECOND
    before = scored(platform, rows, as_of)
    assert before.missing == ()
    for table in platform.tables():
        if not table.startswith(("quarantine", "refusals")):
            platform.lake.withdraw(table, list(DayRange(day + ONE_DAY, END + 60 * ONE_DAY)))
    assert not platform.rows(SPINE, day + ONE_DAY).height
    after = scored(platform, rows, as_of)
    assert_frame_equal(after.rows, before.rows, check_exact=True)


def test_on_a_day_that_is_not_over_yesterdays_champion_scores_and_what_is_not_there_is_said(platform: Platform) -> None:
    rows = asked(platform, LAST)
    whole = scored(platform, rows).rows
    for table in platform.tables():
        if not table.startswith(("quarantine", "refusals")):
            platform.lake.withdraw(table, [LAST])
    found = scored(platform, rows, toy.midnight(END, SHAPE.timezone) - SECOND)
    assert set(found.rows["calibrator_version"].str.head(10)) == {str(LAST - ONE_DAY)}
    assert found.rows["score"].null_count() == 0
    groups = [name for name in catalog().groups_of(MODEL) if name != MODEL.spine]
    assert [remark.split(" of ")[0] for remark in found.missing] == [f"features/{name}" for name in groups]
    assert all(str(LAST) in remark for remark in found.missing)
    # A lead of 30 hours: of the day itself nothing known is new enough to count, but the timetable of its hours is.
    assert found.rows.height == whole.height


def test_before_its_day_begins_a_row_is_scored_by_who_serves_by_then(done: Platform) -> None:
    day = LAST
    rows = asked(done, day).sort("event_time").head(3)
    needed = predicted(done, rows)["prediction_time"].max()
    assert isinstance(needed, datetime)
    assert needed < toy.midnight(day, SHAPE.timezone)
    found = scored(done, rows, needed).rows
    assert set(found["calibrator_version"].str.head(10)) <= {str(day - 2 * ONE_DAY), str(day - ONE_DAY)}
    assert set(found[DAY]) == {day}
