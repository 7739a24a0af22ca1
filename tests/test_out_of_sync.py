"""What Dagster shows as out of sync: exactly the days that depend on a day whose content changed."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from dagster import AssetKey
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from ml_assets.catalog import load_catalog
from ml_assets.launch import Launcher
from ml_assets.repair import repair
from partitions import DayRange
from resources.home import open_home
from resources.overview import plan_of

WEEK = DayRange(date(2013, 1, 1), date(2013, 1, 8))
CHANGED = DayRange(date(2013, 1, 3), date(2013, 1, 4))
CHILDREN = ("features/route_delays", "features/schedule", "outcomes/disrupted", "champions/disruption")


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    """A week of events and of some of their children."""
    launcher = Launcher.of(open_home(tmp_path_factory.mktemp("out_of_sync") / "home"), load_catalog())
    launcher.run(["events/flights"], WEEK)
    launcher.run(list(CHILDREN), WEEK)
    return launcher


def out_of_sync(launcher: Launcher) -> dict[str, list[int]]:
    """Days of January that Dagster calls out of sync, by asset."""
    resolver = CachingStaleStatusResolver(
        launcher.instance, launcher.defs.resolve_asset_graph(), LoadingContextForTest(launcher.instance)
    )
    found = {
        name: [
            day.day
            for day in WEEK
            if resolver.get_status(AssetKey(name.split("/")), day.isoformat()) != StaleStatus.FRESH
        ]
        for name in CHILDREN
    }
    return {name: days for name, days in found.items() if days}


def test_it_follows_content(week: Launcher) -> None:
    assert out_of_sync(week) == {}

    week.run(["events/flights"], CHANGED)
    assert out_of_sync(week) == {}, "the same content came again"

    extract = Path(week.home.extracts) / "flights" / f"{CHANGED.start}.parquet"
    pl.read_parquet(extract).with_columns(pl.col("dep_delay") + 1).write_parquet(extract)
    week.run(["events/flights"], CHANGED)
    # Towards Dagster every edge is same-day; the windows are the plan's.
    assert out_of_sync(week) == {
        name: [3] for name in ("features/route_delays", "features/schedule", "outcomes/disrupted")
    }
    assert planned(week) == {
        "features/route_delays": [3, 4, 5, 6],
        "features/schedule": [3],
        "outcomes/disrupted": [3, 4, 5],
    }

    week.run(["features/schedule", "outcomes/disrupted"], DayRange(date(2013, 1, 3), date(2013, 1, 6)))
    assert planned(week) == {"features/route_delays": [3, 4, 5, 6]}
    repair(week, [], None, lambda _: None)
    assert planned(week) == out_of_sync(week) == {}


def planned(launcher: Launcher) -> dict[str, list[int]]:
    """Days of January that the plan computes anew, by asset."""
    found: dict[str, list[int]] = {}
    for step in plan_of(launcher.lake, launcher.graph).steps:
        found.setdefault(step.table, []).extend(day.day for day in step.days)
    return found
