"""The asset graph against golden lists: keys, checks, density, windows; and what its import costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import AssetKey, BackfillPolicy, TimeWindowPartitionMapping, TimeWindowPartitionsDefinition
from short_year import DENSE, FIRST, FIRST_TRAINING, SECOND_TRAINING, TRAINING, Platform, days, key_of

from ml_assets.catalog import load_catalog
from ml_assets.definitions import defs

GRAPH = defs.resolve_asset_graph()
YEAR, TO_LAST_LABEL = ("2013-01-01", "2013-12-31"), ("2013-01-01", "2014-01-02")
ASSETS = {
    "calibrators/disruption": YEAR,
    "champions/disruption": YEAR,
    "drift_reports/disruption": YEAR,
    "events/flights": YEAR,
    "events/weather": YEAR,
    "features/carrier_delays": YEAR,
    "features/inbound_aircraft": YEAR,
    "features/origin_delays": YEAR,
    "features/route_delays": YEAR,
    "features/schedule": YEAR,
    "features/weather": YEAR,
    "models/disruption": YEAR,
    "outcomes/disrupted": TO_LAST_LABEL,
    "performance_reports/disruption": TO_LAST_LABEL,
    "predictions/disruption": YEAR,
    "retrain_decisions/disruption": YEAR,
    "training_sets/disruption": YEAR,
}
# What each asset reads: parent, first and last day relative to its own partition.
DELAYS = ("carrier_delays", "inbound_aircraft", "origin_delays", "route_delays", "schedule", "weather")
MODEL = load_catalog().models["disruption"]
SLICES = MODEL.train_days + MODEL.calibration_days + MODEL.gate_days
FEATURES_OF_TODAY = {f"features/{name}": (-1, 0) for name in DELAYS}
WINDOWS = {
    "events/flights": {},
    "events/weather": {},
    "features/carrier_delays": {"events/flights": (-3, 0)},
    "features/inbound_aircraft": {"events/flights": (-2, 0)},
    "features/origin_delays": {"events/flights": (-3, 0)},
    "features/route_delays": {"events/flights": (-3, 0)},
    "features/schedule": {"events/flights": (0, 0)},
    "features/weather": {"events/weather": (0, 0)},
    "outcomes/disrupted": {"events/flights": (-2, 0)},
    "training_sets/disruption": {
        **{f"features/{name}": (-SLICES - 1, -1) for name in DELAYS},
        "outcomes/disrupted": (-SLICES, -1),
    },
    "models/disruption": {"training_sets/disruption": (0, 0)},
    "calibrators/disruption": {"models/disruption": (0, 0), "training_sets/disruption": (0, 0)},
    "champions/disruption": {
        "champions/disruption": (-1, -1),
        **dict.fromkeys(TRAINING, (0, 0)),
    },
    "predictions/disruption": {**FEATURES_OF_TODAY, "champions/disruption": (0, 0)},
    "drift_reports/disruption": {**FEATURES_OF_TODAY, "predictions/disruption": (0, 0)},
    "performance_reports/disruption": {"outcomes/disrupted": (-2, 0), "predictions/disruption": (-2, 0)},
    "retrain_decisions/disruption": {
        "drift_reports/disruption": (-1, -1),
        "performance_reports/disruption": (-12, -1),
        "champions/disruption": (-14, -1),
    },
}
# Parents a body reads for the day itself; every other window must end before the day begins.
TODAY = {name for name in WINDOWS if name.split("/")[0] not in {"training_sets", "retrain_decisions"}}
HEAVY = ("torch", "mlflow", "sklearn", "skops", "matplotlib")


def test_golden_list_of_assets_and_their_calendars() -> None:
    found = {}
    for key in GRAPH.get_all_asset_keys():
        days_of = GRAPH.get(key).partitions_def
        assert isinstance(days_of, TimeWindowPartitionsDefinition), key
        found[key.to_user_string()] = (days_of.get_first_partition_key(), days_of.get_last_partition_key())
    assert found == ASSETS


def test_golden_list_of_checks_each_by_day() -> None:
    checks = {f"{key.asset_key.to_user_string()}:{key.name}" for key in GRAPH.asset_check_keys}
    assert checks == {f"{asset}:rows_and_nulls" for asset in ASSETS}
    for key in GRAPH.asset_check_keys:
        check = GRAPH.get(key)
        # Without partitions a failing check makes downstream conditions fire for every partition.
        assert check.partitions_def == GRAPH.get(key.asset_key).partitions_def, key
        assert check.blocking, key


def test_golden_list_of_windows() -> None:
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for definition in GRAPH.assets_defs:
        for key in definition.keys:
            windows = found.setdefault(key.to_user_string(), {})
            for parent in definition.asset_deps[key]:
                mapping = definition.get_partition_mapping(parent)
                # `LastPartitionMapping` would read the future, an identity mapping fails beyond a calendar's end.
                assert type(mapping) is TimeWindowPartitionMapping, (key, parent)
                assert mapping.allow_nonexistent_upstream_partitions, (key, parent)
                windows[parent.to_user_string()] = (mapping.start_offset, mapping.end_offset)
    assert found == WINDOWS


def test_no_window_reaches_past_its_day() -> None:
    assert all(last <= 0 for windows in WINDOWS.values() for _, last in windows.values())
    strictly_before = [name for name in WINDOWS if name not in TODAY]
    assert strictly_before == ["training_sets/disruption", "retrain_decisions/disruption"]
    assert all(last < 0 for name in strictly_before for _, last in WINDOWS[name].values())


def test_dense_assets_run_a_range_in_one_run() -> None:
    policies = {key.to_user_string(): GRAPH.get(key).backfill_policy for key in GRAPH.get_all_asset_keys()}
    assert policies == {
        **dict.fromkeys(DENSE, BackfillPolicy.single_run()),
        **dict.fromkeys(TRAINING, BackfillPolicy.multi_run(1)),
    }


def test_every_asset_says_what_it_is_and_which_code_made_it() -> None:
    for key in GRAPH.get_all_asset_keys():
        node = GRAPH.get(key)
        assert node.description, key
        assert node.code_version, key
        assert node.pools == {"_".join(("lake", *key.path))}, "two runs of one table must not write at once"


def test_jobs_and_sensors() -> None:
    assert {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")} == {"retrain_disruption"}
    retrain = defs.resolve_job_def("retrain_disruption")
    assert {key.to_user_string() for key in retrain.asset_layer.executable_asset_keys} == {
        *TRAINING,
        "champions/disruption",
    }
    assert retrain.partitions_def == GRAPH.get(AssetKey(["models", "disruption"])).partitions_def
    (sensor,) = defs.sensors or ()
    assert sensor.name == "retrain_disruption_on_decision"


def test_loading_the_code_location_imports_nothing_heavy(tmp_path: Path) -> None:
    asked = f"import json, sys, ml_assets.definitions; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", asked],
        env={"ML_ASSETS_HOME": str(tmp_path / "home"), "PATH": ""},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(loaded.stdout) == []


@pytest.mark.parametrize("asset", TRAINING)
def test_sparse_stages_have_the_days_of_decisions_only(replayed: Platform, asset: str) -> None:
    trained = {str(FIRST_TRAINING), str(SECOND_TRAINING)}
    assert replayed.materialized(asset) == trained
    assert {str(day) for day in replayed.contents([asset])[asset]} == trained


def test_a_day_without_a_decision_stays_unmaterialised_and_says_so(platform: Platform) -> None:
    quiet_day = FIRST_TRAINING.replace(day=FIRST_TRAINING.day + 1)
    platform.launcher.retrain("disruption", quiet_day)
    # Dagster skips the job's other steps once the first hands on nothing, so each is asked by itself as well.
    for asset in (*TRAINING[1:], "champions/disruption"):
        platform.run([asset], quiet_day)
    for asset in TRAINING:
        assert str(quiet_day) not in platform.materialized(asset)
    assert observed(platform, "training_sets/disruption") == {str(quiet_day): "there is no decision to train"}
    assert observed(platform, "models/disruption") == {str(quiet_day): "there is no training set for this day"}
    assert observed(platform, "calibrators/disruption") == {str(quiet_day): "no model was trained at this day"}
    assert platform.rows("champions/disruption", quiet_day)["decision"].to_list() == ["keep"]


def test_days_before_the_first_champion_are_no_error(platform: Platform) -> None:
    before = days(FIRST, FIRST_TRAINING)[:-1]
    stages = ["predictions/disruption", "drift_reports/disruption", "performance_reports/disruption"]
    platform.run(stages, before[0], before[-1])
    for stage in stages:
        platform.run([stage], before[0], before[-1])
        platform.run([stage], before[1])
    for stage in stages:
        assert not platform.materialized(stage) & {str(day) for day in before}
        assert not platform.lake.rejected(stage, before[0], FIRST_TRAINING)
    said = dict.fromkeys(map(str, before), "no champion serves this day yet")
    assert observed(platform, "predictions/disruption") == said
    assert observed(platform, "drift_reports/disruption") == said
    of_reports = observed(platform, "performance_reports/disruption")
    assert {day: of_reports[day] for day in said} == dict.fromkeys(said, "no predictions were made")


def observed(platform: Platform, asset: str) -> dict[str, object]:
    """Why days were not computed, as the asset's observations say it."""
    records = platform.instance.fetch_observations(key_of(asset), limit=1000).records
    found = [record.event_log_entry.asset_observation for record in records]
    return {str(each.partition): each.metadata["not computed"].value for each in found if each}
