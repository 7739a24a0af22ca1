"""A replay can be killed at any moment and resumed, does nothing twice, and lets no model see its own future."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import monotonic
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from dagster import DagsterEventType, DagsterRun, DagsterRunStatus
from short_year import (
    ASSETS,
    END,
    FEATURES,
    FIRST,
    FIRST_TRAINING,
    LAST_LABEL_END,
    NOT_CONTENT,
    OUTCOMES,
    REPORTS,
    RETRAIN,
    SECOND_TRAINING,
    SERVING,
    SOURCE_REPORTS,
    TRAINING,
    Platform,
    days,
    key_of,
    opened,
    quiet,
    short_catalog,
)

from ml_assets.domain.errors import LogLostError
from ml_assets.replay import Replay
from resources.run_owner import OWNER, close_abandoned_runs

NEW_YORK = ZoneInfo("America/New_York")
KILLS, STUCK_S = 3, 200
SEED = 20130312
RECORDS = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION)
# Shorter segments than the uninterrupted replay has: where a range is cut must not matter either.
REPLAY = """
import sys
from pathlib import Path
import ml_assets.replay
from short_year import opened, quiet
ml_assets.replay.SEGMENT_DAYS = 5
with opened(Path(sys.argv[1])) as platform:
    ml_assets.replay.Replay(platform.launcher, quiet).run()
"""


def start(home: Path) -> subprocess.Popen[bytes]:
    """A replay in a process group of its own, so that killing it leaves nothing behind."""
    tests = Path(__file__).parent
    environment = {**os.environ, "ML_ASSETS_HOME": str(home), "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    command = [sys.executable, "-W", "ignore", "-c", REPLAY, str(home)]
    return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE)


def commits(home: Path) -> int:
    """How many commits the lake holds: the replay's progress, whatever the machine's speed."""
    return sum(1 for _ in home.glob("lake/*/*/_delta_log/*.json"))


def ended(running: subprocess.Popen[bytes], within: float) -> bool:
    """Whether the process ends within so many seconds."""
    try:
        running.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


def kill_after(home: Path, wanted: int, moment: float) -> bool:
    """Starts a replay and kills it a random moment after the lake holds so many commits; whether it still ran."""
    running = start(home)
    gives_up = monotonic() + STUCK_S
    while commits(home) < wanted and not ended(running, 0.01) and monotonic() < gives_up:
        pass
    stuck = commits(home) < wanted and running.poll() is None
    alive = not ended(running, moment)
    if alive:
        os.killpg(running.pid, signal.SIGKILL)
    _, said = running.communicate()
    assert not stuck, f"the replay stands still at {commits(home)} commits, wanted {wanted}: {said.decode()[-2000:]}"
    return alive


def test_a_killed_replay_ends_with_the_same_content(replayed: Platform, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    home = tmp_path / "killed"
    total = commits(replayed.path)
    targets = sorted(chance.sample(range(1, total - 20), KILLS))
    killed = [kill_after(home, wanted, chance.uniform(0, 0.3)) for wanted in targets]
    assert sum(killed) >= KILLS - 1, f"too few replays were alive when they were to be killed: {targets} of {total}"

    last = start(home)
    if not ended(last, STUCK_S):
        os.killpg(last.pid, signal.SIGKILL)
    _, said = last.communicate()
    assert last.returncode == 0, said.decode()[-2000:]
    with opened(home) as resumed:
        for table in replayed.tables():
            assert resumed.rows(table).equals(replayed.rows(table)), table
        assert resumed.contents() == replayed.contents()
        assert resumed.on_record() == replayed.on_record()
        assert not resumed.plan().steps
        assert not resumed.plan().warnings
        for asset in ASSETS:
            assert resumed.data_versions(asset) == replayed.data_versions(asset), asset
            assert resumed.materialized(asset) == replayed.materialized(asset), asset
        assert Replay(resumed.launcher, quiet).finished
        # What was killed is shown as failed, not as running for ever, and keeps no table to itself.
        statuses = [run.status for run in resumed.instance.get_runs()]
        assert set(statuses) == {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE}
        assert statuses.count(DagsterRunStatus.FAILURE) <= KILLS


def test_a_second_replay_does_nothing_and_says_so(platform: Platform) -> None:
    versions, runs = platform.versions(), platform.instance.get_runs_count()
    again = Replay(platform.launcher, quiet)
    assert again.finished
    again.run()
    assert platform.versions() == versions
    assert platform.instance.get_runs_count() == runs


def test_all_runs_of_a_replay_succeeded(replayed: Platform) -> None:
    assert {run.status for run in replayed.instance.get_runs()} == {DagsterRunStatus.SUCCESS}


def test_only_runs_of_a_process_that_is_gone_are_closed(platform: Platform) -> None:
    gone = "left_behind"
    (platform.launcher.home.dagster / "owners" / gone).touch()
    of_dead, of_living, of_daemon = (
        platform.instance.add_run(DagsterRun("some_job", status=DagsterRunStatus.STARTED, tags=tags))
        for tags in ({OWNER: gone}, platform.launcher.owner.tags, {})
    )
    assert close_abandoned_runs(platform.instance, platform.launcher.home) == [of_dead.run_id]
    assert close_abandoned_runs(platform.instance, platform.launcher.home) == []
    status = {run.run_id: run.status for run in platform.instance.get_runs(limit=3)}
    assert status[of_dead.run_id] == DagsterRunStatus.FAILURE
    assert status[of_living.run_id] == status[of_daemon.run_id] == DagsterRunStatus.STARTED


@pytest.mark.parametrize(
    "lost",
    [[*RETRAIN, *TRAINING, *SERVING, *REPORTS], [*TRAINING, *SERVING], ["champions/disruption"], FEATURES],
    ids=["all of the model", "a decision not carried out", "the gate's decision", "features"],
)
def test_an_unfinished_replay_says_so_and_goes_on(platform: Platform, replayed: Platform, lost: list[str]) -> None:
    platform.withdraw(lost, SECOND_TRAINING, LAST_LABEL_END - timedelta(days=1))
    going_on = Replay(platform.launcher, quiet)
    assert not going_on.finished
    going_on.run()
    assert going_on.finished
    assert platform.contents() == replayed.contents()
    assert platform.on_record() == replayed.on_record()
    assert not platform.plan().steps
    assert not platform.plan().warnings


def test_what_was_written_but_not_recorded_is_recorded(platform: Platform, replayed: Platform) -> None:
    """A run killed between the commit and Dagster's records; the lake alone would call it finished."""
    platform.instance.wipe_assets([key_of("features/schedule")])
    versions = platform.versions()
    going_on = Replay(platform.launcher, quiet)
    assert not going_on.finished
    going_on.run()
    assert going_on.finished
    assert platform.data_versions("features/schedule") == replayed.data_versions("features/schedule")
    assert platform.versions() == versions, "the days were computed again"


def test_a_table_that_is_gone_is_refused(platform: Platform, replayed: Platform) -> None:
    shutil.rmtree(platform.path / "lake" / "predictions" / "disruption")
    with pytest.raises(LogLostError, match=r"predictions/disruption.*accept-loss predictions/disruption"):
        Replay(platform.launcher, quiet).run()
    platform.lake.store.declare_loss("predictions/disruption")
    Replay(platform.launcher, quiet).run()
    assert platform.contents() == replayed.contents()


def test_a_table_set_back_behind_its_commits_is_refused(platform: Platform) -> None:
    log = platform.path / "lake" / "events" / "flights" / "_delta_log"
    max(log.glob("*.json")).unlink()
    with pytest.raises(LogLostError, match=r"events/flights.*version"):
        Replay(platform.launcher, quiet).run()


def test_the_index_of_records_is_a_copy_that_anybody_may_damage(platform: Platform, replayed: Platform) -> None:
    index = sorted((platform.path / "index").iterdir())
    assert len(index) >= len(ASSETS)
    for number, file in enumerate(index):
        file.write_bytes([b"", b"{", file.read_bytes()[:-100]][number % 3])
    index[0].unlink()
    assert Replay(platform.launcher, quiet).finished
    assert platform.on_record() == replayed.on_record()


def test_a_home_replayed_by_other_code_is_noticed_and_makes_nothing_stale(platform: Platform) -> None:
    assert not Replay(platform.launcher, quiet).made_from_other_code
    catalog = short_catalog()
    model = catalog.models["disruption"]
    earlier = replace(model, prediction_lead=model.prediction_lead + timedelta(hours=1))
    with opened(platform.path, replace(catalog, models={"disruption": earlier})) as changed:
        assert Replay(changed.launcher, quiet).made_from_other_code
        assert not changed.plan().steps


def test_after_a_replay_everything_is_in_step(replayed: Platform) -> None:
    assert replayed.plan().steps == ()
    assert replayed.plan().warnings == ()
    every_day = set(days(FIRST, LAST_LABEL_END - timedelta(days=1)))
    for asset, found in replayed.on_record().items():
        assert set(found) == every_day, asset
        assert {state for state, *_ in found.values()} == {"good"}, asset
        assert all(why for _, _, empty, why in found.values() if empty), f"{asset}: an empty day without a reason"
        assert replayed.materialized(asset) == {str(day) for day in every_day}, asset
        assert not replayed.failed(asset), asset


def test_a_day_costs_two_records_each_time_it_is_computed_and_a_report_three(replayed: Platform) -> None:
    """A materialisation and a check, of a report two; days after a training are computed again once it is done."""
    trainings = 2
    recorded: Counter[tuple[str, str, str]] = Counter()
    for run in replayed.instance.get_runs():
        for entry in replayed.instance.all_logs(run.run_id):
            event = entry.dagster_event
            assert event is None or event.event_type != DagsterEventType.ASSET_MATERIALIZATION_PLANNED
            if event and event.event_type in RECORDS:
                told = event.asset_check_evaluation_data if event.event_type == RECORDS[1] else event
                assert told.asset_key
                recorded["/".join(told.asset_key.path), str(told.partition), run.run_id] += 1
    for (asset, *_), count in recorded.items():
        assert count == (3 if asset in SOURCE_REPORTS else 2), asset
    times = Counter((asset, partition) for asset, partition, _ in recorded)
    assert len(times) == len(ASSETS) * (LAST_LABEL_END - FIRST).days
    again = {asset for (asset, _), count in times.items() if count > 1}
    assert again <= {*RETRAIN, *SERVING, *REPORTS}, "recomputed although no training concerns it"
    assert max(times.values()) <= 1 + trainings


def test_past_the_last_event_day_only_labels_arrive(replayed: Platform) -> None:
    for asset, found in replayed.on_record().items():
        for day in days(END, LAST_LABEL_END - timedelta(days=1)):
            _, _, empty, why = found[day]
            if asset in (*OUTCOMES, *REPORTS):
                assert not empty or day > END, asset
            else:
                assert empty, asset
                assert f"the last event day of flights is {END - timedelta(days=1)}" in why


def midnight(day: date) -> datetime:
    """The instant at which a day begins in New York."""
    return datetime.combine(day, time.min, NEW_YORK).astimezone(UTC)


def test_training_rows_were_known_before_the_training_day(replayed: Platform) -> None:
    labels = replayed.rows("outcomes/disrupted").select("row_key", "event_time", "known_at", "label")
    for trained in (FIRST_TRAINING, SECOND_TRAINING):
        rows = replayed.rows("training_sets/disruption", trained).join(labels, on="row_key", suffix="_known")
        assert rows.height == replayed.rows("training_sets/disruption", trained).height > 1_000
        assert rows["known_at"].max() < midnight(trained)  # type: ignore[operator]
        assert rows["event_time"].max() < midnight(trained)  # type: ignore[operator]
        assert (rows["label"] == rows["label_known"]).all()
        # Labels of the day before were there to be had, so the limit is not kept by training on old rows only.
        assert rows["event_time"].max() > midnight(trained - timedelta(days=1))  # type: ignore[operator]


def test_no_champion_serves_a_day_its_evidence_lies_on(replayed: Platform) -> None:
    champions = replayed.rows("champions/disruption")
    served = champions.filter(pl.col("model_version").is_not_null())
    calibrators = replayed.rows("calibrators/disruption")
    assert calibrators.select("partition_date", "model_version").equals(
        served.select("partition_date", "model_version")
    )
    assert [version[:10] for version in calibrators["calibrator_version"]] == [
        str(day) for day in served["partition_date"]
    ]
    for day, version in served.select("partition_date", "model_version").iter_rows():
        trained = date.fromisoformat(version[:10])
        assert trained <= day
        evidence = replayed.rows("training_sets/disruption", trained)
        assert evidence["prediction_time"].max() < midnight(trained)  # type: ignore[operator]
    predictions = replayed.rows("predictions/disruption").select("partition_date", "model_version").unique()
    by_day = dict(served.select("partition_date", "model_version").iter_rows())
    assert dict(predictions.iter_rows()) == by_day
    assert set(by_day) == set(days(FIRST_TRAINING, END - timedelta(days=1)))
    assert champions.height == (END - FIRST).days


def test_a_day_is_decided_from_earlier_days_only(platform: Platform, replayed: Platform) -> None:
    """What happens on a day and after it changes no decision for the day."""
    day = SECOND_TRAINING + timedelta(days=2)
    reports = ["predictions/disruption", "drift_reports/disruption", "performance_reports/disruption"]
    platform.withdraw(reports, day, END + timedelta(days=1))
    platform.withdraw(["champions/disruption", "retrain_decisions/disruption"], day, END)
    platform.run(["retrain_decisions/disruption"], day)
    kept = platform.rows("retrain_decisions/disruption", day)
    assert kept.equals(replayed.rows("retrain_decisions/disruption", day))


def test_artefacts_are_the_only_thing_left_out_of_content(replayed: Platform) -> None:
    """Or the comparisons above would be blind in more than they say."""
    snapshot = replayed.lake.store.snapshot("models/disruption")
    assert snapshot
    assert set(snapshot.schema()) - set(replayed.rows("models/disruption").columns) == NOT_CONTENT
    assert short_catalog().models["disruption"].calendar.first_day == FIRST
