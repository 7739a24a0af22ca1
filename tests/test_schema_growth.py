"""Tables grow when somebody asks for it by name, and only then."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import flights_archive
import polars as pl
import pytest

from ml_assets.domain.errors import CatalogError, SchemaChangeRefusedError
from ml_assets.domain.point_in_time import with_retired_features
from ml_assets.domain.specs import Catalog, Inputs
from ml_assets.launch import Launcher
from partitions import DayRange
from resources.home import open_home

DAYS = DayRange(date(2013, 1, 1), date(2013, 1, 4))
GROUP = "features/schedule"


def grown(catalog: Catalog, *, asked: bool) -> Catalog:
    """The catalogue with one more value in the schedule group."""
    group = catalog.features["schedule"]

    def compute(events: Inputs) -> pl.LazyFrame:
        return group.compute(events).with_columns(pl.col("distance").log().alias("log_distance"))

    more = replace(
        group,
        values=(*group.values, "log_distance"),
        added_values=("log_distance",) if asked else (),
        compute=compute,
    )
    return Catalog(catalog.sources, {**catalog.features, "schedule": more}, catalog.outcomes, catalog.models)


def test_a_new_value_needs_to_be_named_as_added(tmp_path: Path) -> None:
    shipped = flights_archive.catalog()
    home = open_home(tmp_path / "home")
    Launcher.of(home, shipped).run(["events/flights", GROUP], DAYS)
    last = DayRange(date(2013, 1, 3), date(2013, 1, 4))

    before = Launcher.of(home, shipped).lake.store.snapshot(GROUP)
    with pytest.raises(SchemaChangeRefusedError, match="log_distance"):
        Launcher.of(home, grown(shipped, asked=False)).run([GROUP], last)
    launcher = Launcher.of(home, grown(shipped, asked=True))
    after = launcher.lake.store.snapshot(GROUP)
    assert before is not None
    assert after is not None
    assert after.version == before.version, "a refused write left something behind"

    launcher.run([GROUP], last)
    rows = launcher.lake.read(GROUP, DAYS.start, DAYS.end).rows.collect()
    by_day = dict(rows.group_by("partition_date").agg(pl.col("log_distance").is_null().mean()).iter_rows())
    assert by_day == {date(2013, 1, 1): 1.0, date(2013, 1, 2): 1.0, date(2013, 1, 3): 0.0}


def test_an_added_value_must_be_a_value() -> None:
    group = flights_archive.catalog().features["schedule"]
    with pytest.raises(CatalogError, match="distanse"):
        replace(group, added_values=("distanse",))


def test_a_retired_feature_stays_as_nulls_of_its_type() -> None:
    rows = pl.DataFrame({"row_key": ["a"], "schedule__distance": [1.0]})
    stored = {"row_key": pl.String(), "schedule__distance": pl.Float64(), "weather__temp": pl.Float32()}
    kept = with_retired_features(rows, stored)
    assert kept.schema == {**rows.schema, "weather__temp": pl.Float32}
    assert kept["weather__temp"].to_list() == [None]
    assert with_retired_features(rows, {}).equals(rows)
