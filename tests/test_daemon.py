"""The one sensor, with the real daemon: a drifted day becomes a decision, a decision becomes a trained model.

What belongs here: the daemon as a process over a real home. What does not: the sensor's own logic on a built context
(`test_sensor.py`).
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import flights_archive
import polars as pl
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from ml_assets.launch import Launcher
from partitions import DayRange
from resources.home import open_home
from resources.settings import checkout, child_environment
from sensors.retrain import SENSOR, TRAINING_STAGES

MODEL = "disruption"
FIRST, TRAINED, DRIFTED = date(2013, 1, 1), date(2013, 2, 1), date(2013, 2, 14)
NEXT = DRIFTED + timedelta(days=1)
PATIENCE_S = 240

pytestmark = pytest.mark.xdist_group("daemon")


@dataclass
class Served:
    """A home with a daemon on it."""

    launcher: Launcher
    log: Path

    @property
    def instance(self) -> DagsterInstance:
        """The home's instance."""
        return self.launcher.instance

    def until(self, what: str, happened: Callable[[], bool]) -> None:
        """Waits for a condition; fails with the daemon's log when it does not come true."""
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not happen; the daemon's log ends with:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """History up to the day before the drifted one, then a daemon that has looked at it once."""
    folder = tmp_path_factory.mktemp("daemon")
    launcher = Launcher.of(open_home(folder / "home"), flights_archive.catalog())
    catalog = launcher.catalog
    history = DayRange(FIRST, DRIFTED)
    launcher.run([f"events/{name}" for name in catalog.sources], history)
    launcher.run([f"features/{name}" for name in catalog.features], history)
    launcher.run(["outcomes/disrupted"], history)
    launcher.run([f"champions/{MODEL}"], DayRange(FIRST, TRAINED))
    launcher.run([f"retrain_decisions/{MODEL}"], DayRange(FIRST, TRAINED + timedelta(days=1)))
    launcher.run([f"{stage}/{MODEL}" for stage in TRAINING_STAGES], DayRange(TRAINED, TRAINED + timedelta(days=1)))
    _serve_and_report(launcher, DayRange(TRAINED, DRIFTED))
    launcher.run([f"retrain_decisions/{MODEL}"], DayRange(TRAINED + timedelta(days=1), DRIFTED + timedelta(days=1)))
    log = folder / "daemon.log"
    with log.open("w") as written:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", str(checkout() / "workspace.yaml")],
            env=child_environment(launcher.home.path),
            cwd=checkout(),
            stdout=written,
            stderr=subprocess.STDOUT,
        )
        try:
            served = Served(launcher, log)
            served.until("the sensor's first evaluation", lambda: _ticks(served) > 0)
            yield served
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)


def test_history_starts_nothing(served: Served) -> None:
    """The decision of 1 February was acted on, and whatever else was decided is history."""
    seen = _ticks(served)
    served.until("another evaluation", lambda: _ticks(served) > seen)
    assert _launched(served) == []


def test_a_drifted_day_trains_a_model_the_next_day(served: Served) -> None:
    """The daemon launches the retrain job for the day after the drift, once, and a challenger comes of it."""
    launcher = served.launcher
    _deliver_drifted_day(launcher)
    day = DayRange(DRIFTED, NEXT)
    launcher.run([f"events/{name}" for name in launcher.catalog.sources], day)
    launcher.run([f"features/{name}" for name in launcher.catalog.features], day)
    launcher.run(["outcomes/disrupted"], day)
    _serve_and_report(launcher, day)
    launcher.run([f"retrain_decisions/{MODEL}"], DayRange(NEXT, NEXT + timedelta(days=1)))
    decided = launcher.lake.read(f"retrain_decisions/{MODEL}", NEXT, NEXT + timedelta(days=1)).rows.collect()
    assert decided["decision"].to_list() == ["train"]
    assert decided["trigger"].to_list() == ["drift"]

    served.until("the retrain run", lambda: bool(_launched(served)))
    served.until("the end of the retrain run", lambda: all(run.is_finished for run in _launched(served)))
    (run,) = _launched(served)
    assert run.status == DagsterRunStatus.SUCCESS
    assert run.tags["dagster/partition"] == str(NEXT)
    assert run.tags["dagster/run_key"].startswith(f"{MODEL}|{NEXT}|")
    for stage in ("training_sets", "models", "calibrators", "champions"):
        assert NEXT in launcher.lake.days(f"{stage}/{MODEL}")
    champion = launcher.lake.read(f"champions/{MODEL}", NEXT, NEXT + timedelta(days=1)).rows.collect()
    assert champion["decision"].item() in ("promoted", "rejected")

    seen = _ticks(served)
    served.until("another evaluation", lambda: _ticks(served) > seen)
    assert len(_launched(served)) == 1


def _serve_and_report(launcher: Launcher, days: DayRange) -> None:
    stages = ("champions", "calibrators", "predictions", "drift_reports", "performance_reports")
    launcher.run([f"{stage}/{MODEL}" for stage in stages], days)


def _deliver_drifted_day(launcher: Launcher) -> None:
    """One carrier flies everything, from one airport to one place, before seven in the morning."""
    path = launcher.home.extracts / "flights" / f"{DRIFTED}.parquet"
    delivered = pl.read_parquet(path)
    number = pl.int_range(1, pl.len() + 1)
    drifted = delivered.with_columns(
        carrier=pl.lit("HA"),
        origin=pl.lit("JFK"),
        dest=pl.lit("HNL"),
        dest_zone=pl.lit("Pacific/Honolulu"),
        distance=pl.lit(4983, pl.Int64),
        flight=number.cast(pl.Int64),
        sched_dep_time=(500 + number % 60).cast(pl.Int64),
    )
    drifted.write_parquet(path)


def _ticks(served: Served) -> int:
    states = served.instance.all_instigator_state()
    state = next((state for state in states if state.instigator_name == SENSOR), None)
    if state is None:
        return 0
    ticks = served.instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return sum(tick.is_completed for tick in ticks)


def _launched(served: Served) -> list:
    """Runs of the retrain job that the sensor launched; those of the history have no sensor's tag."""
    runs = served.instance.get_runs(RunsFilter(job_name=f"retrain_{MODEL}"))
    return [run for run in runs if run.tags.get("dagster/sensor_name") == SENSOR]
