"""Dagster's asset graph is what the stages declare: edges, one calendar, checks by day, words; what loading costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import AssetKey, BackfillPolicy, TimeWindowPartitionsDefinition
from short_year import ASSETS, FIRST, FIRST_TRAINING, SECOND_TRAINING, TRAINING, Platform, days, key_of

from ml_assets.assets import declared_graph
from ml_assets.catalog import load_catalog
from ml_assets.definitions import defs
from ml_assets.domain.declared import Nature

GRAPH = defs.resolve_asset_graph()
DECLARED = declared_graph(load_catalog())
STATUS = {"status/flights", "status/purchases"}
STAGES = {key.to_user_string(): key for key in GRAPH.get_all_asset_keys() if key.to_user_string() not in STATUS}
HEAVY = ("torch", "mlflow", "sklearn", "skops", "matplotlib", "scipy")


def test_every_declared_asset_is_there_and_the_status_of_its_calendar() -> None:
    assert set(STAGES) == set(DECLARED.assets)
    assert {asset.table for asset in DECLARED if asset.calendar.name == "flights"} == set(ASSETS)
    for status in STATUS:
        assert not GRAPH.get(AssetKey(status.split("/"))).is_executable


def test_edges_are_the_declared_reads_that_are_edges_and_no_others() -> None:
    found = {name: {parent.to_user_string() for parent in GRAPH.get(key).parent_keys} for name, key in STAGES.items()}
    assert found == {asset.table: {read.table for read in asset.reads.values() if read.edge} for asset in DECLARED}


def test_the_graph_is_open_at_one_place_and_at_a_days_own_yesterday() -> None:
    hidden = {
        (asset.table, read.table)
        for asset in DECLARED
        for read in asset.reads.values()
        if not read.edge and not read.by_version
    }
    assert hidden == {
        (f"{stage}/{model}", f"{read}/{model}")
        for model in ("disruption", "repurchase")
        for stage, read in (
            ("training_sets", "retrain_decisions"),
            ("champions", "champions"),
            ("interventions", "interventions"),
        )
    } | {(f"source_reports/{source}",) * 2 for source in ("flights", "weather", "purchases")}


@pytest.mark.parametrize(
    ("workload", "first", "last"), [("flights", "2013-01-01", "2014-01-02"), ("purchases", "1997-01-01", "1998-07-30")]
)
def test_all_assets_of_a_workload_share_one_calendar_so_that_a_click_can_launch_them_together(
    workload: str, first: str, last: str
) -> None:
    own = [key for name, key in STAGES.items() if DECLARED[name].calendar.name == workload]
    (days_of,) = {GRAPH.get(key).partitions_def for key in own}
    assert isinstance(days_of, TimeWindowPartitionsDefinition)
    assert (days_of.get_first_partition_key(), days_of.get_last_partition_key()) == (first, last)
    assert {GRAPH.get(key).backfill_policy for key in STAGES.values()} == {BackfillPolicy.single_run()}


def test_edges_are_same_day_for_dagster() -> None:
    for definition in defs.resolve_asset_graph().assets_defs:
        for key in definition.keys:
            for parent in definition.asset_deps[key]:
                # Windows as mappings send Dagster's backfills wrong; `LastPartitionMapping` reads the future.
                assert definition.get_partition_mapping(parent) is None, (key, parent)


def test_golden_list_of_checks_each_by_day() -> None:
    checks = {f"{key.asset_key.to_user_string()}:{key.name}" for key in GRAPH.asset_check_keys}
    reports = {asset for asset in STAGES if asset.startswith("source_reports/")}
    assert checks == {*(f"{asset}:rows_and_nulls" for asset in STAGES), *(f"{asset}:no_alarm" for asset in reports)}
    for key in GRAPH.asset_check_keys:
        check = GRAPH.get(key)
        # Without partitions a failing check makes downstream conditions fire for every partition.
        assert check.partitions_def == GRAPH.get(key.asset_key).partitions_def, key
        # What reads the asset looks at the day itself, in a run of one day as in a range.
        assert not check.blocking, key


def test_decisions_read_nothing_of_facts_of_their_own_day() -> None:
    for asset in DECLARED:
        for read in asset.reads.values():
            parent = DECLARED[read.table]
            if asset.nature is Nature.DECISION and parent.nature is Nature.FACT:
                assert read.window.last >= 1, (asset.table, read)
            assert read.window.last >= 0, (asset.table, read)


def test_every_asset_says_what_it_is_whose_it_is_and_which_code_made_it() -> None:
    owners = {"flights": "team:flight-operations", "purchases": "team:customer-insight"}
    for name, key in STAGES.items():
        node = GRAPH.get(key)
        assert node.description, key
        assert node.code_version, key
        assert list(node.owners) == [owners[DECLARED[name].calendar.name]], key
        assert node.tags["workload"] == DECLARED[name].calendar.name
        assert node.tags.keys() >= {"stage", "nature", "workload"}, key
        assert node.pools == {"_".join(("lake", *key.path))}, "two runs of one table must not write at once"


def test_the_lineage_reads_when_it_opens_and_when_it_is_unfolded() -> None:
    """Dagster labels an asset by the last part of its key, so the box around it tells assets of one name apart."""
    groups = {key: GRAPH.get(key).group_name for key in STAGES.values()}
    assert {group.split("/")[0] for group in groups.values()} == {"flights", "purchases", "disruption", "repurchase"}
    for key, group in groups.items():
        workload = DECLARED[key.to_user_string()].calendar.name
        assert (
            group.split("/")[0]
            in {"flights": ("flights", "disruption"), "purchases": ("purchases", "repurchase")}[workload]
        )
    labels = [(group.split("/")[-1], key.path[-1]) for key, group in groups.items()]
    assert len(set(labels)) == len(labels), sorted(labels)


def test_every_stored_column_is_described(replayed: Platform) -> None:
    """In the UI: of every table, in the materialisation that carries its schema."""
    lacking = {}
    for asset in replayed.launcher.graph.assets:
        schemas = [
            event.metadata["dagster/column_schema"].value
            for day in sorted(replayed.materialized(asset), reverse=True)[:3]
            for event in replayed.materializations(asset, day)
            if "dagster/column_schema" in event.metadata
        ]
        assert schemas, asset
        lacking |= {f"{asset}: {column.name}": "" for column in schemas[0].columns if not column.description}
    assert not lacking, f"name them in the stage's `columns`: {sorted(lacking)}"


def test_jobs_and_sensors() -> None:
    assert {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")} == {
        "intervene_disruption",
        "intervene_repurchase",
        "retrain_disruption",
        "retrain_repurchase",
    }
    retrain = defs.resolve_job_def("retrain_disruption")
    assert {key.to_user_string() for key in retrain.asset_layer.executable_asset_keys} == {
        *TRAINING,
        "champions/disruption",
        "calibrators/disruption",
    }
    assert retrain.partitions_def == GRAPH.get(AssetKey(["models", "disruption"])).partitions_def
    assert {sensor.name for sensor in defs.sensors or ()} == {"retrain_on_decision", "keep_in_step"}


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
def test_training_has_every_day_and_rows_on_days_of_decisions_only(replayed: Platform, asset: str) -> None:
    assert {str(day) for day in replayed.contents([asset])[asset]} == {str(FIRST_TRAINING), str(SECOND_TRAINING)}
    assert replayed.materialized(asset) >= {str(day) for day in days(FIRST, SECOND_TRAINING)}


def test_a_day_without_a_decision_says_so(platform: Platform) -> None:
    quiet_day = FIRST_TRAINING.replace(day=FIRST_TRAINING.day + 1)
    platform.withdraw([*TRAINING, "champions/disruption"], quiet_day, quiet_day)
    report = platform.run([*TRAINING, "champions/disruption"], quiet_day)
    assert {table: why for table, _, why in report.of("empty")} == {
        "training_sets/disruption": "there is no decision to train",
        "models/disruption": "nothing was trained",
    }
    assert platform.rows("champions/disruption", quiet_day)["decision"].to_list() == ["keep"]


def test_days_before_the_first_champion_are_no_error(platform: Platform) -> None:
    before = days(FIRST, FIRST_TRAINING)[:-1]
    stages = ["predictions/disruption", "drift_reports/disruption", "performance_reports/disruption"]
    report = platform.run(stages, before[0], before[-1])
    assert not report.short
    said = {(table, day): why for table, day, why in report.of("empty")}
    for day in before:
        assert said["predictions/disruption", day] == "no champion serves this day yet"
        assert said["drift_reports/disruption", day] == "no predictions were made"
        assert said["performance_reports/disruption", day] == "no predictions were made"
    for stage in stages:
        assert platform.materialized(stage) >= {str(day) for day in before}
        assert not platform.lake.refused(stage, before[0], FIRST_TRAINING)
        assert metadata_of(platform, stage, str(before[1]))["empty"].value


def metadata_of(platform: Platform, asset: str, partition: str) -> dict[str, object]:
    """What is shown beside a day."""
    assert key_of(asset)
    return dict(platform.materializations(asset, partition)[0].metadata)
