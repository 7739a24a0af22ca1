"""Bad days stop, good days pass: a delivery goes wrong on one day, in range runs, alone, and until it is healed."""

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from dagster import DagsterRunStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status
from short_year import FEATURES, OUTCOMES, REPORTS, SERVING, SOURCES, Platform, days

BAD = date(2013, 3, 21)
FIRST, LAST = BAD - timedelta(days=1), BAD + timedelta(days=3)
# Features of three days later still look back at the bad one.
CHAIN = [*SOURCES, *FEATURES, *OUTCOMES, *SERVING, *REPORTS]
READ_FLIGHTS = [name for name in FEATURES if name != "features/weather"]
FLIGHTS = "events/flights"


def lost(extract: Path) -> None:
    extract.unlink()


def truncated(extract: Path) -> None:
    content = extract.read_bytes()
    extract.write_bytes(content[: len(content) // 2])


def of_another_schema(extract: Path) -> None:
    pl.read_parquet(extract).drop("sched_dep_time").write_parquet(extract)


def with_a_retyped_column(extract: Path) -> None:
    pl.read_parquet(extract).with_columns(pl.col("distance").cast(pl.String)).write_parquet(extract)


def of_another_day(extract: Path) -> None:
    shutil.copy(extract.with_name(f"{BAD - timedelta(days=9)}.parquet"), extract)


def cut_to_a_quarter(extract: Path) -> None:
    rows = pl.read_parquet(extract)
    rows.head(rows.height // 4).write_parquet(extract)


def with_an_empty_column(extract: Path) -> None:
    pl.read_parquet(extract).with_columns(pl.lit(None, pl.String).alias("tailnum")).write_parquet(extract)


def with_contradicting_rows(extract: Path) -> None:
    rows = pl.read_parquet(extract)
    pl.concat([rows, rows.head(400).with_columns(pl.col("distance") + 1)]).write_parquet(extract)


def with_bad_rows(share: float) -> Callable[[Path], None]:
    def damage(extract: Path) -> None:
        rows = pl.read_parquet(extract).with_row_index("at")
        bad = pl.col("at") < int(rows.height * share)
        spoilt = pl.when(bad).then(-5).otherwise(pl.col("distance")).alias("distance")
        rows.with_columns(spoilt).drop("at").write_parquet(extract)

    return damage


DAMAGES = {
    "lost": (lost, "no extract at"),
    "truncated": (truncated, "cannot be read"),
    "of another schema": (of_another_schema, "sched_dep_time"),
    "with a retyped column": (with_a_retyped_column, "distance"),
    "of another day": (of_another_day, "it holds rows of 2013-03-12"),
    "cut to a quarter": (cut_to_a_quarter, "rows came, wanted at least 300"),
    "with an empty column": (with_an_empty_column, "tailnum is 100.0% null, wanted at most 50.0%"),
    "with rows that contradict others": (with_contradicting_rows, "rows break the contract (58.0%)"),
    "with too many bad rows": (with_bad_rows(0.1), "rows break the contract (10.0%)"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=list(DAMAGES))
def test_a_bad_day_is_red_and_the_others_pass(
    platform: Platform, replayed: Platform, damage: Callable[[Path], None], reason: str
) -> None:
    extract = platform.extract("flights", BAD)
    good = extract.read_bytes()
    damage(extract)
    platform.run([FLIGHTS, "features/schedule"], FIRST, LAST)
    run = platform.last_run()

    status = {record.partition: record.status for record in platform.checks(FLIGHTS, run.run_id)}
    assert status == {str(day): Status.FAILED if day == BAD else Status.SUCCEEDED for day in days(FIRST, LAST)}
    (red,) = (record for record in platform.checks(FLIGHTS, run.run_id) if record.status == Status.FAILED)
    assert red.evaluation
    assert reason in str(red.evaluation.description)
    assert materialized_by(platform, FLIGHTS, run.run_id) == set(days(FIRST, LAST)) - {BAD}
    assert platform.rows(FLIGHTS).equals(replayed.rows(FLIGHTS)), "the last known good rows are gone"
    assert platform.lake.refused(FLIGHTS, BAD, LAST).keys() == {BAD}
    assert BAD not in platform.lake.read(FLIGHTS, FIRST, LAST).days
    assert materialized_by(platform, "features/schedule", run.run_id) == set(days(FIRST, LAST)) - {BAD}

    ((table, day, why),) = platform.run(["features/schedule"], BAD).of("blocked")
    assert (table, day) == ("features/schedule", BAD)
    assert why.startswith(f"{FLIGHTS} of {BAD} is refused: ")
    report = platform.run([FLIGHTS, "features/schedule"], BAD)
    assert [found[:2] for found in report.of("refused")] == [(FLIGHTS, BAD)]
    assert [found[:2] for found in report.of("blocked")] == [("features/schedule", BAD)]
    assert platform.last_run().status == DagsterRunStatus.FAILURE
    assert {record.partition: record.status for record in platform.checks(FLIGHTS, platform.last_run().run_id)} == {
        str(BAD): Status.FAILED
    }
    assert not materialized_by(platform, "features/schedule", platform.last_run().run_id)

    extract.write_bytes(good)
    platform.run([FLIGHTS, "features/schedule"], BAD)
    assert platform.contents() == replayed.contents()
    assert platform.data_versions(FLIGHTS) == replayed.data_versions(FLIGHTS)


def test_the_whole_chain_leaves_a_bad_day_out_and_heals(platform: Platform, replayed: Platform) -> None:
    extract = platform.extract("flights", BAD)
    good = extract.read_bytes()
    with_an_empty_column(extract)
    platform.run(CHAIN, FIRST, LAST)
    run = platform.last_run()

    # Of the bad day's flights most were known the same day, so its outcomes and reports go too.
    without = {*READ_FLIGHTS, *OUTCOMES, "predictions/disruption", "drift_reports/disruption", *REPORTS, FLIGHTS}
    for asset in CHAIN:
        expected = set(days(FIRST, LAST)) - ({BAD} if asset in without else set())
        assert materialized_by(platform, asset, run.run_id) == expected, asset
        filled = platform.checks(asset, run.run_id)
        # A blocked day says on its own page what blocks it, so its check is as red as that of the day that is refused.
        assert {record.partition: record.status for record in filled} == {
            str(day): Status.SUCCEEDED if day in expected else Status.FAILED for day in days(FIRST, LAST)
        }, asset
    kept = platform.rows("predictions/disruption", BAD)
    assert kept.equals(replayed.rows("predictions/disruption", BAD)), "last known good predictions are gone"

    # Rejected is like absent to everything downstream, although good rows of an earlier delivery are there.
    downstream = [name for name in CHAIN if name not in SOURCES]
    with_last_known_good = platform.contents(downstream)
    assert with_last_known_good != replayed.contents(downstream)
    platform.withdraw(CHAIN[:-1], BAD, BAD)
    platform.run(["champions/disruption"], BAD)
    platform.run(downstream, FIRST, LAST)
    physically_absent = platform.contents(downstream)
    for asset in downstream:
        for day in set(days(FIRST, LAST)) - {BAD}:
            assert with_last_known_good[asset][day] == physically_absent[asset][day], (asset, day)

    extract.write_bytes(good)
    platform.run([FLIGHTS], BAD)
    platform.run(["events/weather"], BAD)
    platform.run(downstream, FIRST, LAST)
    assert platform.contents() == replayed.contents()
    for asset in CHAIN:
        assert platform.data_versions(asset) == replayed.data_versions(asset), asset


def test_a_blocked_day_is_left_out_by_grandchildren_too(platform: Platform) -> None:
    with_an_empty_column(platform.extract("flights", BAD))
    platform.run([FLIGHTS, *FEATURES], FIRST, LAST)
    ((table, day, why),) = platform.run(["predictions/disruption"], BAD).of("blocked")
    assert (table, day) == ("predictions/disruption", BAD)
    assert why.startswith(f"{FLIGHTS} of {BAD} is refused: "), "the reason names the root"


def test_a_few_bad_rows_are_tolerated_and_quarantined(platform: Platform, replayed: Platform) -> None:
    extract = platform.extract("flights", BAD)
    good = extract.read_bytes()
    with_bad_rows(0.01)(extract)
    report = platform.run([FLIGHTS], FIRST, LAST)
    held = platform.rows("quarantine/flights")
    before = replayed.rows(FLIGHTS, BAD).height
    assert held["partition_date"].unique().to_list() == [BAD]
    assert held.height == int(before * 0.01)
    assert held["reasons"].str.contains("distance: -5 came").all()
    assert held["payload"].str.json_path_match("$.distance").unique().to_list() == ["-5"]
    assert platform.rows(FLIGHTS, BAD).height == before - held.height
    assert not platform.lake.refused(FLIGHTS, FIRST, LAST)
    (record, *_) = [r for r in platform.checks(FLIGHTS) if r.partition == str(BAD)]
    assert record.status == Status.SUCCEEDED
    assert record.evaluation
    assert record.evaluation.metadata["bad_rows"].value == held.height
    remark = f"{held.height} of {before} rows break the contract and were set aside in the quarantine"
    assert f"1 day done, 1 of them with a remark, first {FLIGHTS} {BAD}: {remark}" in report.lines()

    extract.write_bytes(good)
    platform.run([FLIGHTS], BAD)
    assert platform.contents() == replayed.contents()


def test_the_payload_of_a_rejected_day_is_quarantined(platform: Platform, replayed: Platform) -> None:
    extract = platform.extract("flights", BAD)
    with_an_empty_column(extract)
    platform.run([FLIGHTS], FIRST, LAST)
    held = platform.rows("quarantine/flights")
    assert held["partition_date"].unique().to_list() == [BAD]
    assert held.height == replayed.rows(FLIGHTS, BAD).height
    assert held["reasons"].unique().to_list() == ["tailnum is 100.0% null, wanted at most 50.0%"]


def test_a_range_of_bad_days_only_is_red(platform: Platform) -> None:
    for day in (BAD, BAD + timedelta(days=1)):
        platform.extract("flights", day).unlink()
    report = platform.run([FLIGHTS], BAD, BAD + timedelta(days=1))
    assert [day for _, day, _ in report.of("refused")] == [BAD, BAD + timedelta(days=1)]
    assert report.lines()[0].startswith(f"2 days refused, first {FLIGHTS} {BAD}: no extract")
    assert platform.last_run().status == DagsterRunStatus.FAILURE
    assert platform.lake.refused(FLIGHTS, BAD, LAST).keys() == {BAD, BAD + timedelta(days=1)}


def materialized_by(platform: Platform, asset: str, run_id: str) -> set[date]:
    """The days of which a run recorded a materialisation."""
    logs = platform.instance.all_logs(run_id)
    events = (entry.dagster_event for entry in logs if entry.dagster_event)
    return {
        date.fromisoformat(str(event.partition))
        for event in events
        if event.is_step_materialization and event.asset_key and event.asset_key.to_user_string() == asset
    }


# --- whatever one day's file holds, no row of any other day changes -------------------------------------------


def with_moved_clocks(extract: Path) -> None:
    pl.read_parquet(extract).with_columns(pl.col("sched_dep_time") + 100).write_parquet(extract)


def of_yesterday_under_todays_date(extract: Path) -> None:
    yesterday = pl.read_parquet(extract.with_name(f"{BAD - timedelta(days=1)}.parquet"))
    yesterday.with_columns(partition_date=pl.lit(BAD)).write_parquet(extract)


def an_hour_late(extract: Path) -> None:
    at = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ") + pl.duration(hours=1)
    pl.read_parquet(extract).with_columns(time_hour=at.dt.to_string("%Y-%m-%dT%H:%M:%SZ")).write_parquet(extract)


def with_its_day_as_text(extract: Path) -> None:
    pl.read_parquet(extract).with_columns(pl.col("partition_date").cast(pl.String)).write_parquet(extract)


def with_a_piece_cut_out(extract: Path) -> None:
    content = extract.read_bytes()
    extract.write_bytes(content[:-1500] + content[-1200:])


def that_is_a_folder(extract: Path) -> None:
    extract.unlink()
    extract.mkdir()


TOUCHED = [*SOURCES, "features/schedule", "features/weather"]
STRANGE = {
    "moved clocks": ("flights", with_moved_clocks, "rows break the contract"),
    "yesterday's flights": ("flights", of_another_day, "it holds rows of 2013-03-12"),
    "a piece of flights cut out": ("flights", with_a_piece_cut_out, "cannot be read"),
    "yesterday's weather re-dated": ("weather", of_yesterday_under_todays_date, "rows break the contract (100.0%)"),
    "weather an hour late": ("weather", an_hour_late, "3 of 72 rows break the contract"),
    "weather of a day in text": ("weather", with_its_day_as_text, "partition_date: String came, wanted Date"),
    "weather that is a folder": ("weather", that_is_a_folder, "is no file"),
}


@pytest.mark.parametrize(("source", "damage", "reason"), STRANGE.values(), ids=list(STRANGE))
def test_no_row_of_another_day_changes(
    platform: Platform, replayed: Platform, source: str, damage: Callable[[Path], None], reason: str
) -> None:
    damage(platform.extract(source, BAD))
    read_by = "features/schedule" if source == "flights" else "features/weather"
    report = platform.run([f"events/{source}", read_by], BAD)
    assert [found[:2] for found in report.of("refused")] == [(f"events/{source}", BAD)]
    assert [found[:2] for found in report.of("blocked")] == [(read_by, BAD)]
    assert_only_the_quarantine_changed(platform, replayed, source, reason)
    assert platform.lake.refused(f"events/{source}", FIRST, LAST).keys() == {BAD}
    platform.run(TOUCHED, FIRST, LAST)
    assert_only_the_quarantine_changed(platform, replayed, source, reason)
    assert platform.lake.refused(f"events/{source}", FIRST, LAST).keys() == {BAD}
    assert platform.lake.refused(read_by, FIRST, LAST).keys() == {BAD}


def assert_only_the_quarantine_changed(platform: Platform, replayed: Platform, source: str, reason: str) -> None:
    assert platform.contents(TOUCHED) == replayed.contents(TOUCHED)
    (red, *_) = [record for record in platform.checks(f"events/{source}") if record.partition == str(BAD)]
    assert red.status == Status.FAILED
    assert red.evaluation
    assert reason in str(red.evaluation.description)
    for table in ("quarantine/flights", "quarantine/weather"):
        held = platform.rows(table)
        before = replayed.rows(table)
        assert set(held.get_column("partition_date", default=pl.Series([]))) <= {
            *before.get_column("partition_date", default=pl.Series([])),
            *([BAD] if table.endswith(source) else []),
        }


def test_doubled_rows_are_kept_once_and_the_check_says_so(platform: Platform, replayed: Platform) -> None:
    extract = platform.extract("flights", BAD)
    rows = pl.read_parquet(extract)
    pl.concat([rows, rows.head(9)]).write_parquet(extract)
    report = platform.run([FLIGHTS], FIRST, LAST)
    assert platform.contents([FLIGHTS]) == replayed.contents([FLIGHTS])
    (record, *_) = [record for record in platform.checks(FLIGHTS) if record.partition == str(BAD)]
    assert record.status == Status.SUCCEEDED
    assert record.evaluation
    assert record.evaluation.metadata["exact_duplicates"].value == 9
    assert str(record.evaluation.description).startswith("9 rows came that were there already")
    assert report.lines() == [
        f"5 days unchanged, 1 of them with a remark, first {FLIGHTS} {BAD}: {record.evaluation.description}"
    ]
    others = {r.evaluation.description for r in platform.checks(FLIGHTS, platform.last_run().run_id) if r != record}
    assert others == {None}
