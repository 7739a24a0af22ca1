"""A rerun of any partition is a no-op: the same rows, the same data version."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
from short_year import ASSETS, END, FIRST, FIRST_TRAINING, SECOND_TRAINING, SERVING, TRAINING, Platform, days, opened


@pytest.fixture(scope="module")
def platform(replayed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One copy for all reruns: if they hold what they promise, it never changes."""
    path = tmp_path_factory.mktemp("rerun") / "home"
    copytree(replayed_home, path)
    with opened(path) as made:
        yield made


@pytest.mark.parametrize("asset", ASSETS)
def test_rerun_changes_nothing(platform: Platform, replayed: Platform, asset: str) -> None:
    some_day = days(FIRST_TRAINING, END)[zlib.crc32(asset.encode()) % (END - FIRST_TRAINING).days]
    chosen = {FIRST, SECOND_TRAINING, some_day}
    wanted, before = replayed.contents(), platform.versions()[asset]
    for day in sorted(chosen):
        platform.run([asset], day)
    stored = chosen & set(wanted[asset])
    assert platform.versions()[asset] == before + len(stored), "the days were not written anew"
    assert platform.contents() == wanted
    assert platform.data_versions(asset) == replayed.data_versions(asset)
    assert platform.materialized(asset) == replayed.materialized(asset)


def test_rerun_of_a_training_day_and_of_what_it_serves(platform: Platform, replayed: Platform) -> None:
    platform.launcher.retrain("disruption", SECOND_TRAINING)
    platform.run(SERVING, SECOND_TRAINING, END.fromordinal(END.toordinal() - 1))
    assert platform.contents() == replayed.contents()
    for asset in (*TRAINING, *SERVING):
        assert platform.data_versions(asset) == replayed.data_versions(asset), asset


def test_the_second_training_changed_who_serves(replayed: Platform) -> None:
    champions = replayed.rows("champions/disruption", FIRST_TRAINING, END)
    assert champions["model_version"].str.head(10).unique(maintain_order=True).to_list() == [
        str(FIRST_TRAINING),
        str(SECOND_TRAINING),
    ]
    assert champions["decision"].value_counts().sort("decision").rows() == [
        ("first", 1),
        ("keep", (END - FIRST_TRAINING).days - 2),
        ("promoted", 1),
    ]
