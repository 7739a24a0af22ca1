"""Runs whose process is gone: closed by any number of processes at once, and while another run waits for their pool.

What belongs here: real processes, killed. What does not: a replay that is killed (`test_replay.py`).
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from resources.home import Home, open_home
from resources.run_owner import OWNER, RunOwner, close_abandoned_runs, is_alive
from resources.settings import HOME_VARIABLE

PROCESSES, ROUNDS, DEAD = 8, 20, 12
PATIENCE_S = 120


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home")


@pytest.fixture
def instance(home: Home) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(home.dagster)) as held:
        yield held


def close_together(path: Path, start: Barrier, told: Any) -> None:
    """A process of the race: closes what is abandoned, each time when all others do."""
    home = Home(path)
    with DagsterInstance.from_config(str(home.dagster)) as instance:
        for at in range(ROUNDS):
            start.wait(PATIENCE_S)
            try:
                told.put((at, close_abandoned_runs(instance, home), None))
            except BaseException as error:  # noqa: BLE001  told to the parent, which fails
                told.put((at, [], repr(error)))
            start.wait(PATIENCE_S)


def test_many_processes_close_the_runs_of_the_dead_at_once(home: Home, instance: DagsterInstance) -> None:
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(PROCESSES + 1), context.Queue()
    racing = [context.Process(target=close_together, args=(home.path, start, told)) for _ in range(PROCESSES)]
    RunOwner.of(home)
    (home.dagster / "owners").mkdir(exist_ok=True)
    for process in racing:
        process.start()
    try:
        for at in range(ROUNDS):
            names = [f"dead{at}x{number}" for number in range(DEAD)]
            left = instance.add_run(DagsterRun("job", status=DagsterRunStatus.STARTED, tags={OWNER: names[0]}))
            for name in names:
                (home.dagster / "owners" / name).touch()
            start.wait(PATIENCE_S)
            said = [told.get(timeout=PATIENCE_S) for _ in racing]
            assert [error for _, _, error in said if error] == []
            assert [run_id for _, closed, _ in said for run_id in closed] == [left.run_id]
            assert not list((home.dagster / "owners").glob("dead*"))
            start.wait(PATIENCE_S)
    finally:
        for process in racing:
            process.join(timeout=30)
            if process.is_alive():
                process.kill()


def test_a_run_is_its_process_s_own_once_adopted(home: Home, instance: DagsterInstance) -> None:
    adopted, other = (instance.add_run(DagsterRun("job", status=DagsterRunStatus.STARTED)) for _ in range(2))
    owner = RunOwner.of(home)
    assert RunOwner.of(home) is owner
    owner.adopt(adopted.run_id)
    assert is_alive(home, adopted)
    assert is_alive(home, other) is None
    assert close_abandoned_runs(instance, home) == []
    del owner
    assert is_alive(home, adopted) is False
    assert close_abandoned_runs(instance, home) == [adopted.run_id]
    assert is_alive(home, adopted) is None
    assert instance.get_run_by_id(other.run_id).status == DagsterRunStatus.STARTED


def test_another_attempt_at_a_dead_owner_s_run_is_not_closed(home: Home, instance: DagsterInstance) -> None:
    """Dagster's retry copies the tags of the run it repeats."""
    owners = home.dagster / "owners"
    owners.mkdir()
    (owners / "gone").touch()
    first = instance.add_run(DagsterRun("job", status=DagsterRunStatus.STARTED, tags={OWNER: "gone"}))
    again = instance.add_run(
        DagsterRun(
            "job",
            status=DagsterRunStatus.STARTED,
            tags={OWNER: "gone"},
            parent_run_id=first.run_id,
            root_run_id=first.run_id,
        )
    )
    assert close_abandoned_runs(instance, home) == [first.run_id]
    assert instance.get_run_by_id(again.run_id).status == DagsterRunStatus.STARTED


HOLDER = """
import sys
from datetime import date
from pathlib import Path
import polars as pl
from ml_assets.catalog import load_catalog
from ml_assets.launch import Launcher
from partitions import DayRange
from resources.home import Home
from resources.lake import Lake

write = Lake.write
def slow(*arguments, **named):
    print("holds", flush=True)
    sys.stdin.readline()
    return write(*arguments, **named)
Lake.write = slow
launcher = Launcher.of(Home(Path(sys.argv[1])), load_catalog())
launcher.run(["events/weather"], DayRange(date(2013, 3, 5), date(2013, 3, 6)))
"""


def holding(home: Home) -> subprocess.Popen[str]:
    """A process that holds the pool of a table, about to write it, until it is told to go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "holds\n"
    return process


def waiting(home: Home, said: Path) -> subprocess.Popen[bytes]:
    """The command line, writing the same table."""
    return subprocess.Popen(
        [sys.executable, "-m", "ml_assets", "run", "events/weather", "2013-03-06"],
        env={**os.environ, HOME_VARIABLE: str(home.path)},
        stderr=said.open("w"),
    )


def until_said(said: Path, words: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while words not in said.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
    return said.read_text()


def test_a_run_goes_on_when_the_holder_of_its_pool_is_killed(home: Home, tmp_path: Path) -> None:
    holder, said = holding(home), tmp_path / "said"
    waiter = waiting(home, said)
    try:
        told = until_said(said, "waits for the pool", waiter)
        assert "events" in told
        assert "its process is alive" in told
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert waiter.wait(PATIENCE_S) == 0, said.read_text()
    finally:
        for process in (holder, waiter):
            process.kill()
            process.wait()
    with DagsterInstance.from_config(str(home.dagster)) as instance:
        statuses = sorted(run.status.value for run in instance.get_runs())
        (held,) = [run.run_id for run in instance.get_runs() if run.status == DagsterRunStatus.FAILURE]
    assert statuses == ["FAILURE", "SUCCESS"]
    assert held in told


def test_a_run_waits_for_a_living_holder(home: Home, tmp_path: Path) -> None:
    holder, said = holding(home), tmp_path / "said"
    waiter = waiting(home, said)
    try:
        until_said(said, "waits for the pool", waiter)
        holder.communicate("\n", timeout=PATIENCE_S)
        assert waiter.wait(PATIENCE_S) == 0, said.read_text()
        assert holder.wait(PATIENCE_S) == 0
    finally:
        for process in (holder, waiter):
            process.kill()
            process.wait()
    with DagsterInstance.from_config(str(home.dagster)) as instance:
        assert [run.status.value for run in instance.get_runs()] == ["SUCCESS", "SUCCESS"]
