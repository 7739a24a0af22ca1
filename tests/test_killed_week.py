"""Killed and restarted at random moments of a live week: the lake of the same deliveries, undisturbed, hash by hash."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live_shop import OnRecord, at_work
from live_week import LATE_FILE, LATE_LABELS, OPERATED, WEEK, WRONG_FILE, by_command, hold_back, take

KILLS = {"operate": 4, "sensors": 2}
LONGEST_S = 60


@pytest.fixture(scope="module")
def week(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop on the morning of the week, nothing of it delivered yet."""
    project = tmp_path_factory.mktemp("week") / "shop"
    shutil.copytree(shop, project)
    hold_back(project)
    return project


@pytest.fixture(scope="module")
def undisturbed(week: Path, tmp_path_factory: pytest.TempPathFactory) -> OnRecord:
    """What the week comes to when nobody kills anything."""
    project = tmp_path_factory.mktemp("undisturbed") / "shop"
    shutil.copytree(week, project)
    for number in range(len(WEEK)):
        take(project, number, by_command)
    with at_work(project) as platform:
        assert not platform.plan().steps
        held = platform.on_record()
        assert {state for days in held.values() for state, *_ in days.values()} == {"good"}
        for table, day in (("orders", LATE_FILE), ("orders", WRONG_FILE), ("returns", LATE_LABELS)):
            assert held[f"events/{table}"][day][1], (table, day)
        return held


class Operators:
    """Processes that take steps, one at work and one in reserve, for their imports take longer than a step."""

    def __init__(self, project: Path, by: str) -> None:
        self.command = [sys.executable, str(Path(__file__).parent / "live_week.py"), str(project), by]
        self.reserve = self._begun()

    def _begun(self) -> "subprocess.Popen[str]":
        # The code under test, whichever checkout the environment names.
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        return subprocess.Popen(self.command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def next(self) -> "subprocess.Popen[str]":
        """The one that was in reserve, ready."""
        chosen, self.reserve = self.reserve, self._begun()
        assert chosen.stdout
        assert chosen.stdout.readline() == "ready\n"
        return chosen

    def close(self) -> None:
        """Ends the one in reserve."""
        self.reserve.kill()
        self.reserve.wait()


def said(process: "subprocess.Popen[str]", number: int | None = None) -> str:
    """What a process says next, asked for a step or not."""
    assert process.stdin
    assert process.stdout
    if number is not None:
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.parametrize("by", list(OPERATED))
def test_killed_at_random_moments_of_the_week_the_lake_is_the_same(
    week: Path, undisturbed: OnRecord, tmp_path: Path, by: str
) -> None:
    project = tmp_path / "shop"
    shutil.copytree(week, project)
    chance = random.Random(by)
    killed_at = sorted(chance.randrange(len(WEEK)) for _ in range(KILLS[by]))
    operators = Operators(project, by)
    kills = 0
    operator = operators.next()
    try:
        for number in range(len(WEEK)):
            for _ in range(killed_at.count(number)):
                assert said(operator, number) == "begun"
                time.sleep(chance.uniform(0.02, 3.0))
                operator.kill()
                operator.wait(LONGEST_S)
                assert operator.stdout
                # A step that was done before its end came is taken once more: it finds nothing to do.
                kills += operator.stdout.read() == ""
                operator = operators.next()
            assert said(operator, number) == "begun"
            assert said(operator) == "done"
    finally:
        operator.kill()
        operator.wait(LONGEST_S)
        operators.close()
    assert kills >= KILLS[by] // 2, "too few steps were killed while they were at work"
    with at_work(project) as platform:
        disturbed = platform.on_record()
        assert {table for table in disturbed if disturbed[table] != undisturbed[table]} == set()
        assert not platform.plan().steps
