"""Many writers at once, and writers killed in the middle: nothing lost, half done or doubled."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import delta_writers
import polars as pl
import pytest
from delta_writers import FIRST, KILLED_DAYS, KILLED_ROWS, days_of_write, rows_of
from deltalake import DeltaTable

from resources.delta_store import DAY, DeltaStore

WRITERS = 4
TURNS = 25
KILLS = 30
ALWAYS = (FIRST, FIRST + timedelta(1000))


@pytest.fixture(scope="module")
def writers() -> Iterator[Pool]:
    spawn = get_context("spawn")
    barrier = spawn.Barrier(WRITERS)
    with spawn.Pool(WRITERS, delta_writers.join_barrier, (barrier,)) as pool:
        yield pool


def contents(store: DeltaStore, table: str) -> dict[date, pl.DataFrame]:
    snapshot = store.snapshot(table)
    if snapshot is None:
        return {}
    rows = snapshot.scan(*ALWAYS).collect()
    by_day = {day: part for (day,), part in rows.group_by(DAY, maintain_order=True)}
    assert snapshot.rows_by_day() == {day: part.height for day, part in by_day.items()}
    return by_day


def test_writers_of_different_days_all_succeed_and_lose_nothing(tmp_path: Path, writers: Pool) -> None:
    store = DeltaStore(str(tmp_path))
    days = [[FIRST + timedelta(2 * writer), FIRST + timedelta(2 * writer + 20)] for writer in range(WRITERS)]

    done = writers.starmap(
        delta_writers.overwrite,
        [(store.root, "t", days[writer], writer, TURNS) for writer in range(WRITERS)],
        chunksize=1,
    )

    versions = [version for writes in done for version, _ in writes]
    assert sorted(versions) == list(range(1, WRITERS * TURNS + 1))
    stored = contents(store, "t")
    assert sorted(stored) == sorted(day for own in days for day in own)
    for own, writes in zip(days, done, strict=True):
        last = writes[-1][1]
        for day in own:
            assert stored[day].equals(rows_of([day], 5 + last % 3, last))


def test_writers_of_the_same_days_all_succeed_and_the_last_commit_stands(tmp_path: Path, writers: Pool) -> None:
    store = DeltaStore(str(tmp_path))
    days = [FIRST, FIRST + timedelta(1), FIRST + timedelta(5)]

    done = writers.starmap(
        delta_writers.overwrite,
        [(store.root, "t", days, writer, TURNS) for writer in range(WRITERS)],
        chunksize=1,
    )

    reported = dict(write for writes in done for write in writes)
    logged = {
        entry["version"]: int(entry["write"])
        for entry in DeltaTable(store.uri("t")).history()
        if entry["operation"] == "WRITE"
    }
    assert reported == logged
    assert sorted(reported) == list(range(1, WRITERS * TURNS + 1))
    last = logged[max(logged)]
    stored = contents(store, "t")
    assert sorted(stored) == days
    for day, rows in stored.items():
        assert rows.equals(rows_of([day], 5 + last % 3, last))


@pytest.mark.parametrize(
    "dtypes", [[pl.Int64()] * WRITERS, [pl.Int64(), pl.Float64(), pl.String(), pl.Int64()]], ids=["alike", "unlike"]
)
def test_writers_that_race_to_create_a_table_share_it_or_are_refused(
    tmp_path: Path, writers: Pool, dtypes: list[pl.DataType]
) -> None:
    store = DeltaStore(str(tmp_path))
    tables = [f"races/t{race}" for race in range(15)]

    outcomes = writers.starmap(
        delta_writers.create_all,
        [(store.root, tables, writer, dtypes) for writer in range(WRITERS)],
        chunksize=1,
    )

    for table, written in zip(tables, zip(*outcomes, strict=True), strict=True):
        delta = DeltaTable(store.uri(table))
        assert [entry["operation"] for entry in delta.history()].count("CREATE TABLE") == 1
        won = pl.Schema(delta.schema())["number"]
        assert [dtype == won for dtype in dtypes] == list(written)
        stored = contents(store, table)
        assert sorted(stored) == [FIRST + timedelta(writer) for writer in range(WRITERS) if written[writer]]
        for day, rows in stored.items():
            assert rows.equals(rows_of([day], 3, (day - FIRST).days).with_columns(pl.col("number").cast(won)))


def start_writer(root: Path, table: str, first_write: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, delta_writers.__file__, str(root), table, str(first_write)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def kill_in_the_middle(child: subprocess.Popen[str], wait_s: float) -> list[tuple[str, int]]:
    """What the writer announced before it was killed, `wait_s` after its first write began."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("go\n")
    child.stdin.flush()
    said = [child.stdout.readline()]
    time.sleep(wait_s)
    child.kill()
    said += child.stdout.read().splitlines()
    child.wait()
    return [(word, int(write)) for word, write in (line.split() for line in said)]


def test_killed_writers_leave_every_day_in_its_old_or_its_new_version(tmp_path: Path) -> None:
    store = DeltaStore(str(tmp_path))
    chance = random.Random(20130208)
    model: dict[str, dict[date, int]] = {}
    interrupted = landed = 0
    plan = [(f"t{kill // 5}", kill, chance.uniform(0.0, 0.02 if kill % 5 == 0 else 0.12)) for kill in range(KILLS)]
    # The next writers import while this one works.
    waiting: list[subprocess.Popen[str]] = []
    try:
        for table, kill, wait_s in plan:
            while len(waiting) < 3 and kill + len(waiting) < KILLS:
                ahead = kill + len(waiting)
                waiting.append(start_writer(tmp_path, plan[ahead][0], ahead * 10_000))
            with waiting.pop(0) as child:
                said = kill_in_the_middle(child, wait_s)
            old = dict(model.get(table, {}))
            for word, write in said:
                if word == "ended":
                    old |= dict.fromkeys(days_of_write(write), write)
            new = old | (dict.fromkeys(days_of_write(said[-1][1]), said[-1][1]) if said[-1][0] == "begins" else {})

            stored = contents(store, table)

            found = {day: int(rows["write"][0]) for day, rows in stored.items()}
            assert found in (old, new)
            for day, rows in stored.items():
                assert rows.equals(rows_of([day], KILLED_ROWS + found[day] % 3, found[day]))
            interrupted += old != new
            landed += old != new and found == new
            model[table] = found
    finally:
        for child in waiting:
            child.kill()
            child.communicate()
    assert interrupted > landed
    for table, found in model.items():
        store.replace_days(table, rows_of([FIRST], 2, -1), [FIRST])
        after = {day: int(rows["write"][0]) for day, rows in contents(store, table).items()}
        assert after == found | {FIRST: -1}
        assert len(after) <= KILLED_DAYS
