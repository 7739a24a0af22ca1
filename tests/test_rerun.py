"""A rerun of any partition is a no-op: the same rows, the same data version."""

import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from shutil import copytree

import pytest
from short_year import (
    ASSETS,
    DECISIONS,
    END,
    FIRST,
    FIRST_TRAINING,
    SECOND_TRAINING,
    SERVING,
    TRAINING,
    Platform,
    days,
    opened,
)


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
    before, files = platform.versions()[asset], platform.files()
    for day in sorted(chosen):
        found = platform.run([asset], day).outcomes
        assert found.keys() == {(asset, day)}
        what, why = found[asset, day]
        empty = replayed.on_record([asset])[asset][day][2]
        assert what == ("kept" if asset in DECISIONS else "empty" if empty else "unchanged")
        assert why or what == "unchanged"
    # A fact is computed and its days are noted in one commit a run; a decision on record is not even made.
    assert platform.versions()[asset] == before + (0 if asset in DECISIONS else len(chosen))
    assert platform.files() == files, "rows were written although they are the same"
    assert platform.contents() == replayed.contents()
    assert platform.on_record() == replayed.on_record()
    assert platform.data_versions(asset) == replayed.data_versions(asset)
    assert platform.materialized(asset) == replayed.materialized(asset)
    assert not platform.plan().steps
    assert not platform.plan().warnings


def test_a_training_day_and_what_it_serves_decided_anew_from_the_same(platform: Platform, replayed: Platform) -> None:
    platform.run([*TRAINING, "champions/disruption"], SECOND_TRAINING, anew=True)
    decided = platform.run(SERVING, SECOND_TRAINING, END - timedelta(days=1), anew=True)
    assert not decided.of("kept")
    assert platform.contents() == replayed.contents()
    for asset in (*TRAINING, *SERVING):
        assert platform.data_versions(asset) == replayed.data_versions(asset), asset
    assert not platform.plan().steps


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
