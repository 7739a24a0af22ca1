"""What Dagster's own records say of days, in runs nobody of ours prepared: started by the two range tags only."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta

import pytest
import yaml
from dagster import AssetRecordsFilter, DagsterEventType, DagsterInstance, DagsterRunStatus, ExecuteInProcessResult
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status
from short_year import SERVING, SOURCES, Platform, days, key_of

from ml_assets.launch import QUIET
from partitions import DayRange
from resources.project import this_project

BAD = date(2013, 3, 21)
FIRST, LAST = BAD - timedelta(days=1), BAD + timedelta(days=2)
FLIGHTS, SCHEDULE, WEATHER = "events/flights", "features/schedule", "features/weather"


def stock_run(
    platform: Platform, assets: Sequence[str], first: date, last: date, *, raising: bool = True
) -> ExecuteInProcessResult:
    """A range run as the UI and backfills create it; not through our launcher."""
    one_day = first == last
    span = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
    return platform.launcher.defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=platform.instance,
        asset_selection=[key_of(asset) for asset in assets],
        partition_key=str(first) if one_day else None,
        tags={} if one_day else span,
        run_config=QUIET,
        raise_on_error=raising,
    )


def planned(instance: DagsterInstance, asset: str, run_id: str) -> set[str]:
    """The partitions a run announced before it began."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION_PLANNED).records
    events = (record.event_log_entry.dagster_event for record in records)
    found: set[str] = set()
    for event in events:
        if event and event.asset_key == key_of(asset):
            data = event.asset_materialization_planned_data
            subset = data.partitions_subset
            found |= {data.partition} if data.partition else set(subset.get_partition_keys() if subset else ())
    return found


def failed(instance: DagsterInstance, asset: str) -> set[str]:
    """The partitions that were planned last by a failed run and not materialised since, as the UI shows them."""
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations
    runs = {partition: instance.get_run_by_id(run_id) for partition, (run_id, _) in attempts(key_of(asset)).items()}
    return {partition for partition, run in runs.items() if run and run.status == DagsterRunStatus.FAILURE}


def test_a_stock_range_run_records_accepted_days_each_with_its_own_version(
    platform: Platform, replayed: Platform
) -> None:
    platform.extract("flights", BAD).unlink()
    run = stock_run(platform, [FLIGHTS, SCHEDULE], FIRST, LAST, raising=False)
    assert planned(platform.instance, FLIGHTS, run.run_id) == {str(day) for day in days(FIRST, LAST)}
    good = {str(day) for day in days(FIRST, LAST)} - {str(BAD)}
    for asset in (FLIGHTS, SCHEDULE):
        events = run.asset_materializations_for_node("__".join(asset.split("/")))
        assert {str(event.partition) for event in events} == good, asset
        assert len(events) == len(good), "a day was recorded twice"
        versions = {str(event.partition): event.tags["dagster/data_version"] for event in events}  # type: ignore[index]
        assert len(set(versions.values())) == len(good), "days share a data version"
        assert versions == {day: replayed.data_versions(asset)[day] for day in good}
        rows = {str(event.partition): event.metadata["dagster/partition_row_count"].value for event in events}
        assert rows == {day: replayed.rows(asset, date.fromisoformat(day)).height for day in good}


def test_a_rejected_day_that_never_was_good_stays_unmaterialised(platform: Platform) -> None:
    """In a stock run Dagster itself would mark it, were it left to Dagster."""
    platform.instance.wipe_assets([key_of(FLIGHTS)])
    platform.withdraw([FLIGHTS], FIRST, LAST)
    platform.extract("flights", BAD).unlink()
    stock_run(platform, [FLIGHTS], FIRST, LAST, raising=False)
    assert platform.materialized(FLIGHTS) == {str(day) for day in days(FIRST, LAST) if day != BAD}
    assert platform.rows(FLIGHTS, BAD).is_empty()


def test_every_planned_check_of_a_stock_run_is_filled(platform: Platform) -> None:
    platform.extract("flights", BAD).unlink()
    run = stock_run(platform, [FLIGHTS, SCHEDULE], FIRST, LAST, raising=False)
    expected = {str(day): Status.FAILED if day == BAD else Status.SUCCEEDED for day in days(FIRST, LAST)}
    found = platform.checks(FLIGHTS, run.run_id)
    assert {record.partition: record.status for record in found} == expected
    assert len(found) == len(expected), "a record without a partition, or a second one of a day"
    blocked = {record.partition: record.status for record in platform.checks(SCHEDULE, run.run_id)}
    assert blocked == expected, "a blocked day says so in its check"


def test_a_one_day_run_records_the_same_as_its_day_in_a_range(platform: Platform) -> None:
    in_range = stock_run(platform, SERVING, FIRST, LAST)
    alone = stock_run(platform, SERVING, BAD, BAD)
    for asset in SERVING:
        node = "__".join(asset.split("/"))
        (of_range,) = [e for e in in_range.asset_materializations_for_node(node) if e.partition == str(BAD)]
        (of_day,) = alone.asset_materializations_for_node(node)
        assert of_day.tags["dagster/data_version"] == of_range.tags["dagster/data_version"]  # type: ignore[index]
        assert of_day.tags["dagster/code_version"] == of_range.tags["dagster/code_version"]  # type: ignore[index]
        counted = "dagster/partition_row_count"
        assert of_day.metadata[counted] == of_range.metadata[counted]


def test_a_day_of_an_asset_costs_two_records(platform: Platform) -> None:
    """What a range run records beyond them does not grow with its days: records are what its time is spent on."""
    assets = [FLIGHTS, SCHEDULE, *SERVING]
    spans = [(FIRST, FIRST), (FIRST - timedelta(days=9), FIRST)]
    counts = []
    for first, last in spans:
        run = platform.launcher.run(assets, DayRange(first, last + timedelta(days=1)))
        records = platform.instance.get_records_for_run(run.run_id, limit=10_000).records
        of_days = Counter(
            (event.asset_key, event.partition)
            for record in records
            if (event := record.event_log_entry.dagster_event) and event.partition
        )
        of_days += Counter(
            (event.event_specific_data.asset_key, event.event_specific_data.partition)
            for record in records
            if (event := record.event_log_entry.dagster_event)
            and event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION
        )
        assert set(of_days) == {(key_of(asset), str(day)) for asset in assets for day in days(first, last)}
        assert set(of_days.values()) == {2}
        counts.append((len(of_days), len(records)))
    (few_days, few), (many_days, many) = counts
    assert many - few == 2 * (many_days - few_days)


def test_a_refused_day_is_told_last_and_told_again_until_it_is_healed(platform: Platform) -> None:
    """An asset's badge and the head of its check show the newest evaluation, whichever day it is of."""
    extract = platform.extract("flights", BAD)
    right = extract.read_bytes()
    extract.unlink()
    assert platform.run([FLIGHTS, SCHEDULE], FIRST, LAST).short
    for asset, said in ((FLIGHTS, "no extract"), (SCHEDULE, f"blocked: {FLIGHTS} of {BAD}")):
        assert newest(platform, asset) == (str(BAD), False)
        (note,) = notes(platform, asset, BAD)
        assert said in note
    report = platform.run([FLIGHTS, SCHEDULE], LAST)
    assert not report.short, "of the days of this run none was refused"
    assert newest(platform, FLIGHTS) == newest(platform, SCHEDULE) == (str(BAD), False)
    assert platform.failed(FLIGHTS) == platform.failed(SCHEDULE) == {str(BAD)}
    extract.write_bytes(right)
    platform.repair([FLIGHTS], BAD)
    assert newest(platform, FLIGHTS) == (str(BAD), True)
    platform.run([FLIGHTS, SCHEDULE], FIRST)
    assert newest(platform, FLIGHTS) == newest(platform, SCHEDULE) == (str(FIRST), True)
    assert platform.failed(FLIGHTS) == platform.failed(SCHEDULE) == set()


def newest(platform: Platform, asset: str) -> tuple[str | None, bool]:
    """Day and verdict of the newest evaluation of an asset's check."""
    record = platform.checks(asset)[0]
    return record.partition, record.status is Status.SUCCEEDED


def notes(platform: Platform, asset: str, day: date) -> list[str]:
    """What was observed of a day, the newest first."""
    wanted = AssetRecordsFilter(key_of(asset), asset_partitions=[str(day)])
    records = platform.instance.fetch_observations(wanted, limit=100).records
    return [record.event_log_entry.asset_observation.description for record in records]


def test_a_crash_in_the_middle_shows_its_days_as_failed(platform: Platform) -> None:
    """The table of a middle step is damaged on disk; steps before it are on record, its own days are failed."""
    log = platform.path / "lake" / WEATHER / "_delta_log"
    for entry in log.iterdir():
        entry.write_bytes(b"{ torn")
    run = stock_run(platform, [*SOURCES, WEATHER], FIRST, LAST, raising=False)
    assert not run.success
    every_day = {str(day) for day in days(FIRST, LAST)}
    assert failed(platform.instance, WEATHER) == every_day
    assert not failed(platform.instance, FLIGHTS)
    assert {str(event.partition) for event in run.asset_materializations_for_node("events__flights")} == every_day


@pytest.mark.parametrize("asset", [FLIGHTS, WEATHER, "models/disruption", "predictions/disruption"])
def test_metadata_says_where_a_day_came_from(replayed: Platform, asset: str) -> None:
    newest = max(replayed.materialized(asset))
    found = replayed.materializations(asset, newest)[0]
    stored = replayed.rows(asset, date.fromisoformat(newest))
    assert found.metadata["dagster/partition_row_count"].value == stored.height
    assert found.metadata["dagster/table_name"].value == asset
    assert int(str(found.metadata["bytes"].value)) > 0
    assert found.metadata["delta_version"].value == replayed.versions()[asset]
    schema = found.metadata["dagster/column_schema"].value
    assert {column.name for column in schema.columns} >= set(stored.columns)  # type: ignore[union-attr]
    assert ("inputs" in found.metadata) == (asset != FLIGHTS)


def test_commits_say_which_run_wrote_which_days_from_what(platform: Platform) -> None:
    platform.run([WEATHER], FIRST, LAST)
    snapshot = platform.lake.store.snapshot(WEATHER)
    source = platform.lake.store.snapshot("events/weather")
    assert snapshot
    assert source
    newest = snapshot._delta.history(1)[0]
    assert newest["run_id"] == platform.last_run().run_id
    assert newest["partitions"] == f"{FIRST}..{LAST}"
    assert newest["input:events/weather"] == str(source.version)
    assert newest["code_version"]


def test_a_run_of_the_command_line_belongs_to_what_the_ui_serves(replayed: Platform) -> None:
    """Else Dagster leaves it out of its timeline; nor does the daemon retry what a person's command was killed in."""
    (served,) = yaml.safe_load(this_project().workspace.read_text())["load_from"]
    run = replayed.last_run()
    assert run.remote_job_origin
    assert (
        run.remote_job_origin.repository_origin.code_location_origin.location_name
        == (served["python_module"]["location_name"])
    )
    assert run.tags["dagster/max_retries"] == "0"
