"""A day's training set and models made once more from what is on record, whatever happened to the lake since."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from short_year import (
    CORRECTED,
    FIRST,
    FIRST_TRAINING,
    SECOND_TRAINING,
    SOURCES,
    Platform,
    correct,
    opened,
    short_catalog,
)
from test_upkeep import aged

from ml_assets.__main__ import main
from ml_assets.domain.content import content_hashes
from ml_assets.domain.errors import CatalogError, RecordsError, TableUnreadableError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.training import _dump, load_pipeline
from ml_assets.reproduce import Reproduction, reproduce
from resources.as_recorded import holds, record_of, rows_of
from resources.settings import HOME_VARIABLE
from resources.upkeep import upkeep

TABLE, SETS, GROUP = "models/disruption", "training_sets/disruption", "features/carrier_delays"


def again(platform: Platform, folder: Path, day: date = SECOND_TRAINING, table: str = TABLE) -> Reproduction:
    return reproduce(platform.lake, platform.launcher.catalog, table, day, folder)


def differing(found: Reproduction) -> list[str]:
    return [each.what for each in found.compared if not each.same]


@pytest.mark.parametrize("day", [FIRST_TRAINING, SECOND_TRAINING])
def test_every_training_is_made_once_more_the_same(replayed: Platform, tmp_path: Path, day: date) -> None:
    before = replayed.files()
    found = again(replayed, tmp_path, day)
    assert found.identical
    assert not found.changed
    candidates = replayed.rows(TABLE, day).filter("best")
    told = {each.what: (each.recorded, each.rebuilt) for each in found.compared}
    for row in candidates.iter_rows(named=True):
        assert told[f"{row['role']} model: version"] == (row["model_version"], row["model_version"])
        assert told["training set"] == (row["training_content"], row["training_content"])
        assert f"{row['role']} model: scores" in told
    assert candidates.height == 2
    assert len(found.read) == 9
    assert replayed.files() == before, "the lake was written to"
    assert list((tmp_path / "lake" / SETS).glob("*/*.parquet"))


def test_after_a_repair_of_an_old_day_and_upkeep_it_still_is(platform: Platform, tmp_path: Path) -> None:
    for _ in range(2):
        correct(platform.extract("flights", CORRECTED))
        platform.repair(SOURCES[:1], CORRECTED)
    now = platform.contents([GROUP])[GROUP][CORRECTED]
    trained_on = record_of(platform.lake, SETS, SECOND_TRAINING)
    assert trained_on
    assert trained_on.reads["carrier_delays"].contents[CORRECTED] != now
    assert again(platform, tmp_path / "repaired").identical
    aged(platform.path)
    assert sum(each.done.files for each in upkeep(platform.lake, platform.launcher.graph, keep_hours=1))
    assert again(platform, tmp_path / "kept").identical


def test_a_training_decided_anew_from_mended_data_is_reproduced_as_it_was_decided(
    platform: Platform, tmp_path: Path
) -> None:
    before = platform.rows(TABLE, SECOND_TRAINING)
    correct(platform.extract("flights", CORRECTED))
    platform.repair(SOURCES[:1], CORRECTED)
    platform.run([SETS, TABLE], SECOND_TRAINING, anew=True)
    found = again(platform, tmp_path)
    assert found.identical
    assert set(before["model_version"]).isdisjoint(
        each.recorded for each in found.compared if each.what.endswith("version")
    )


def test_slices_and_seed_are_those_of_the_record(replayed: Platform, tmp_path: Path) -> None:
    """Another number of gate days in the declaration changes nothing of what was trained before."""
    catalog = short_catalog()
    model = catalog.models["disruption"]
    wider = replace(model, gate_days=model.gate_days + 1, cool_down_days=model.cool_down_days + 2)
    found = reproduce(replayed.lake, replace(catalog, models={model.name: wider}), TABLE, SECOND_TRAINING, tmp_path)
    assert found.identical


def altered(platform: Platform, version_of: str, change: dict[str, object]) -> None:
    """Writes over the stored candidates of a day, as somebody with access to the files could."""
    commit = platform.lake.commit_of(TABLE, SECOND_TRAINING)
    assert commit
    rows = rows_of(platform.lake, TABLE, SECOND_TRAINING, commit.version)
    chosen = pl.col("role") == version_of
    for column, value in change.items():
        rows = rows.with_columns(pl.when(chosen).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))
    platform.lake.store.replace_days(TABLE, rows, [SECOND_TRAINING], commit_metadata=commit.metadata)


def test_an_artefact_that_scores_otherwise_than_it_should_is_told(platform: Platform, tmp_path: Path) -> None:
    rows = platform.lake.store.snapshot(TABLE)
    assert rows
    stored = rows.collect(rows.scan(SECOND_TRAINING, SECOND_TRAINING + timedelta(days=1)))
    refit = stored.filter(pl.col("role") == "refit", "best").row(0, named=True)
    pipeline = load_pipeline(refit["artefact"])
    pipeline.named_steps["classify"]._baseline_prediction = np.asarray([[0.5]])
    altered(platform, "refit", {"artefact": _dump(pipeline)})
    load_pipeline.cache_clear()
    found = again(platform, tmp_path)
    assert differing(found) == ["refit model: scores"]
    assert "rows differ, by at most" in found.compared[-1].rebuilt or any(
        "rows differ" in each.rebuilt for each in found.compared
    )


def test_an_artefact_that_cannot_be_read_is_told(platform: Platform, tmp_path: Path) -> None:
    altered(platform, "judged", {"artefact": b"PK nothing of a pipeline"})
    found = again(platform, tmp_path)
    assert differing(found) == ["judged model: scores"]


def test_changed_code_says_which_module_and_which_features_differ(
    replayed: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = short_catalog()
    group = catalog.features["carrier_delays"]

    def compute(events: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
        return group.compute(events)

    changed = replace(catalog, features={**catalog.features, "carrier_delays": replace(group, compute=compute)})
    model = catalog.models["disruption"]
    slower = replace(model, prediction_lead=model.prediction_lead + timedelta(hours=1))
    found = reproduce(replayed.lake, replace(changed, models={model.name: slower}), TABLE, SECOND_TRAINING, tmp_path)
    assert not found.identical
    assert "training set" in differing(found)
    said = " ".join(found.changed)
    assert "test_reproduce" in said
    assert "carrier_delays.landed differs in" in said


def test_another_estimator_gives_another_model_and_says_so(replayed: Platform, tmp_path: Path) -> None:
    catalog = short_catalog()
    model = catalog.models["disruption"]
    other = replace(model, estimator=replace(model.estimator, max_iter=model.estimator.max_iter + 1), refit=False)
    found = reproduce(replayed.lake, replace(catalog, models={model.name: other}), TABLE, SECOND_TRAINING, tmp_path)
    assert {"judged model: version", "judged model: scores", "refit model"} <= set(differing(found))
    assert "training set" not in differing(found)


def test_an_input_that_is_not_what_was_recorded_is_named(platform: Platform, tmp_path: Path) -> None:
    read = record_of(platform.lake, SETS, SECOND_TRAINING)
    assert read
    snapshot = platform.lake.store.snapshot(GROUP, version=read.reads["carrier_delays"].version)
    assert snapshot
    path = next(path for path in snapshot._files.filter(pl.col("day") == CORRECTED)["path"])
    file = platform.path / "lake" / GROUP / path
    rows = pl.read_parquet(file, hive_partitioning=False)
    rows.with_columns(pl.col("landed") + 1).write_parquet(file, compression="snappy")
    found = again(platform, tmp_path)
    assert f"what was read of {GROUP}" in differing(found)
    assert any(str(CORRECTED) in each.rebuilt for each in found.compared)


def test_what_cannot_be_rebuilt_is_said_in_a_sentence(replayed: Platform, tmp_path: Path) -> None:
    for day, said in (
        (FIRST, f"{TABLE} of {FIRST} holds no model: nothing was trained"),
        (date(2013, 6, 1), f"{TABLE} of 2013-06-01 cannot be rebuilt: nothing is on record of that day"),
    ):
        with pytest.raises(RecordsError, match=said):
            again(replayed, tmp_path, day)
    with pytest.raises(CatalogError, match="known are models/disruption"):
        again(replayed, tmp_path, table="models/disrupton")
    with pytest.raises(CatalogError, match="is no models/<model>"):
        again(replayed, tmp_path, table=GROUP)


def test_a_version_that_is_gone_is_said(platform: Platform, tmp_path: Path) -> None:
    for file in (platform.path / "lake" / GROUP / f"{DAY}={CORRECTED}").iterdir():
        file.unlink()
    with pytest.raises(TableUnreadableError, match=f"file of {CORRECTED}"):
        again(platform, tmp_path)


def test_a_column_that_was_added_later_is_no_difference() -> None:
    day = FIRST
    rows = pl.DataFrame({DAY: [day], "a": [1.0], "b": [None]}, schema_overrides={"b": pl.String})
    content = content_hashes(rows)[day]
    wider = rows.with_columns(pl.lit(None, pl.Float64).alias("c"), pl.lit(None, pl.Int64).alias("d"))
    assert holds(wider, day, content)
    assert not holds(wider.with_columns(pl.lit(0.0).alias("c")), day, content)
    assert not holds(wider.with_columns(a=pl.lit(2.0)), day, content)
    assert holds(rows.clear(), day, content_hashes(rows.clear(), days=[day])[day])


def test_the_command_exits_with_the_verdict(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(platform.path))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce", TABLE, str(FIRST)]) == 1
    assert "holds no model: nothing was trained" in capsys.readouterr().err
    with opened(platform.path):
        # The shipped declaration trains other trees than the short year's.
        assert main(["reproduce", TABLE, str(SECOND_TRAINING)]) == 1
    told = capsys.readouterr().out
    assert "not what is on record" in told
    assert "DIFFERS" in told
