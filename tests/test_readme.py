"""The README's code and commands are true: examples are built, commands and paths exist."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import flights_archive
import polars as pl
import pytest
from polars.testing import assert_frame_equal, assert_series_equal

from ml_assets.catalog import build_catalog
from ml_assets.check import check
from ml_assets.domain.feature_days import cut_to_days, judge_feature_days
from ml_assets.domain.point_in_time import feature_rows, read_window
from ml_assets.domain.specs import Catalog, FeatureGroupSpec
from partitions import DayRange

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture
def timetable(tmp_path: Path) -> FeatureGroupSpec:
    """The feature group that the README writes."""
    example = next(block for block in blocks("python") if "FEATURES =" in block)
    file = tmp_path / "timetable.py"
    file.write_text(example)
    written: dict[str, object] = {"__name__": "timetable", "__doc__": "x", "__file__": str(file)}
    exec(compile(example, str(file), "exec"), written)
    group = written["FEATURES"]
    assert isinstance(group, FeatureGroupSpec)
    return group


def with_timetable(timetable: FeatureGroupSpec) -> Catalog:
    """The shipped catalogue with that group, named in its model."""
    shipped = flights_archive.catalog()
    model = replace(
        shipped.models["disruption"], features=(*shipped.models["disruption"].features, "timetable.departures")
    )
    return build_catalog(
        sources=[("here", spec) for spec in shipped.sources.values()],
        features=[("here", spec) for spec in (*shipped.features.values(), timetable)],
        outcomes=[("here", spec) for spec in shipped.outcomes.values()],
        models=[("here", model)],
    )


def test_the_feature_example_keeps_what_it_declares_on_every_day_of_the_year(timetable: FeatureGroupSpec) -> None:
    year = list(DayRange(timetable.calendar.first_day, timetable.calendar.end_day))
    rows = cut_to_days(timetable, timetable.compute(flights_archive.events()), year)
    assert all(verdict.passed for verdict in judge_feature_days(timetable, rows, year).values())


def test_the_feature_example_keeps_every_promise(timetable: FeatureGroupSpec, tmp_path: Path) -> None:
    found = check(with_timetable(timetable), tmp_path, datetime(2014, 2, 1, tzinfo=UTC), lambda *_: None, days=2)
    assert not found.broken
    assert not found.unshown
    assert {"features/timetable", "training_sets/disruption"} <= {proof.subject for proof in found.proofs}


@pytest.mark.parametrize("first", [date(2013, 3, 9), date(2013, 11, 2), date(2013, 7, 3)])
def test_the_feature_example_describes_the_flights_own_hour_in_one_day_and_in_three(
    timetable: FeatureGroupSpec, first: date
) -> None:
    catalog = with_timetable(timetable)
    model, groups = catalog.models["disruption"], catalog.groups_of(catalog.models["disruption"])
    days = DayRange(first, first + timedelta(days=3))

    def joined(run: DayRange) -> pl.DataFrame:
        frames = {}
        for name, group in groups.items():
            read = read_window(group, model).of(run)
            events = flights_archive.events(read.start, read.end)
            frames[name] = cut_to_days(group, group.compute(events), tuple(read))
        return feature_rows(model, groups, frames, (run.start, run.end))

    in_one_run = joined(days)
    assert_frame_equal(in_one_run, pl.concat([joined(DayRange(day, day + timedelta(days=1))) for day in days]))
    flights = flights_archive.archive_flights().filter(pl.col("day_flown").is_between(days.start, days.last))
    hour_of = pl.col("sched_dep_time") // 100
    by_hand = flights.select("row_key", pl.len().over("day_flown", "origin", hour_of).cast(pl.Float64).alias("by_hand"))
    held = in_one_run.join(by_hand, on="row_key", how="full", coalesce=True)
    assert held.height == in_one_run.height > 2_500
    assert_series_equal(held["timetable__departures"], held["by_hand"], check_names=False)


PATHS = set(re.findall(r"`((?:ml_assets|partitions|sensors|resources|benchmarks)/[^`*<]*)`", README))


@pytest.mark.parametrize("name", sorted(PATHS))
def test_paths_exist(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README))))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_table_of_stages_is_made_of_their_declarations() -> None:
    from ml_assets.assets import declared_graph, stages
    from ml_assets.assets.table import stage_table

    assert stage_table(stages(), declared_graph(flights_archive.catalog())) in README, "paste what stage_table gives"


def test_the_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).exists() for picture in pictures)


def blocks(language: str) -> list[str]:
    """The README's fenced code of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
