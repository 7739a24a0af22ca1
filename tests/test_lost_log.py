"""A table that lost commits, or all of itself, is refused until somebody restores it or declares the loss."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import delta_writers
import polars as pl
import pytest
from dagster import build_init_resource_context
from delta_writers import FIRST, KILLED_DAYS, rows_of
from deltalake import DeltaTable, write_deltalake

from ml_assets.domain.errors import LogLostError, StorageError, TableUnreadableError
from resources.delta_io_manager import DeltaDaysIO
from resources.delta_store import DAY, DeltaStore
from resources.handles import LakeHandle
from resources.settings import marks_folder
from resources.table_marks import Mark, Marks

TABLE = "events/flights"
DAYS = [FIRST + timedelta(at) for at in range(6)]
ALWAYS = (FIRST, FIRST + timedelta(1000))


def log_files(store: DeltaStore) -> list[Path]:
    return sorted(Path(store.uri(TABLE), "_delta_log").glob("*.json"))


def cut_lines(path: Path, keep: int) -> None:
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:keep]))


def written(root: Path, *, marks: bool) -> DeltaStore:
    store = DeltaStore(str(root / "lake"), marks=root / "marks" if marks else None)
    store.replace_days(TABLE, rows_of(DAYS[:4], 3, 0), DAYS[:4])
    store.replace_days(TABLE, rows_of(DAYS[2:], 3, 1), DAYS[2:])
    return store


def refused(store: DeltaStore, lacking: str) -> None:
    """Asserts that reading, writing and noting are refused with the two ways out, and that nothing changes."""
    before = {path: path.read_bytes() for path in Path(store.root).rglob("*") if path.is_file()}
    for act in (
        lambda: store.snapshot(TABLE),
        lambda: store.snapshot(TABLE, version=0),
        lambda: store.replace_days(TABLE, rows_of(DAYS[:1], 3, 9), DAYS[:1]),
        lambda: store.note(TABLE, {}),
        lambda: store.commits_after(TABLE, -1),
    ):
        with pytest.raises(LogLostError, match=lacking) as caught:
            act()
        assert TABLE in str(caught.value)
        assert "Restore" in str(caught.value)
        assert f"ml-assets accept-loss {TABLE}" in str(caught.value)
    assert {path: path.read_bytes() for path in Path(store.root).rglob("*") if path.is_file()} == before


def counts_again(store: DeltaStore, held: dict[date, int]) -> None:
    """Declares the loss and asserts what counts from then on, that writing works, and that it is kept."""
    snapshot = store.declare_loss(TABLE)
    assert ({} if snapshot is None else snapshot.rows_by_day()) == held
    store.replace_days(TABLE, rows_of(DAYS[:1], 2, 5), DAYS[:1])
    after = store.snapshot(TABLE)
    assert after is not None
    assert after.rows_by_day() == held | {DAYS[0]: 2}


ALL, BEFORE = dict.fromkeys(DAYS, 3), dict.fromkeys(DAYS[:4], 3)
CUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "emptied": (lambda path: path.write_bytes(b""), "version 2, is empty"),
    "cut mid-line": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is cut off or garbage"),
    "cut in its first line": (lambda path: path.write_bytes(path.read_bytes()[:20]), "is cut off or garbage"),
    "cut after the first line": (lambda path: cut_lines(path, 1), "1 of its 7 lines"),
    "cut before the last line": (lambda path: cut_lines(path, 6), "6 of its 7 lines"),
    "garbage": (lambda path: path.write_bytes(b"\x00" * 4096), "is cut off or garbage"),
}


@pytest.mark.parametrize("marks", [False, True], ids=["without marks", "with marks"])
@pytest.mark.parametrize(("cut", "lacking"), CUTS.values(), ids=CUTS.keys())
def test_a_newest_commit_that_is_not_whole_is_refused(
    tmp_path: Path, cut: Callable[[Path], object], lacking: str, marks: bool
) -> None:
    store = written(tmp_path, marks=marks)
    cut(log_files(store)[-1])
    refused(store, lacking)


@pytest.mark.parametrize("marks", [False, True], ids=["without marks", "with marks"])
@pytest.mark.parametrize(("cut", "lacking"), CUTS.values(), ids=CUTS.keys())
def test_a_declared_loss_lets_what_is_left_count(
    tmp_path: Path, cut: Callable[[Path], object], lacking: str, marks: bool
) -> None:
    store = written(tmp_path, marks=marks)
    cut(log_files(store)[-1])
    snapshot = store.declare_loss(TABLE)
    assert snapshot is not None
    held = snapshot.rows_by_day()
    assert set(BEFORE) <= set(held)
    assert snapshot.scan(*ALWAYS).collect().height == sum(held.values())
    assert "loss_declared" in store.commits_after(TABLE, snapshot.version - 1)[-1].metadata
    store.replace_days(TABLE, rows_of(DAYS, 2, 5), DAYS)
    after = store.snapshot(TABLE)
    assert after is not None
    assert after.scan(*ALWAYS).collect().equals(rows_of(DAYS, 2, 5))


def test_a_commit_that_is_not_the_newest_and_lost_its_lines_is_noticed_by_what_the_table_holds(tmp_path: Path) -> None:
    for at, keep in enumerate((0, 1, 4)):
        store = written(tmp_path / str(at), marks=False)
        store.note(TABLE, {"and": "on"})
        cut_lines(log_files(store)[-2], keep)
        refused(store, "it holds . days in . files, but its newest commit, version 3, left 6 days in 6 files")
        counts_again(store, DeltaStore(store.root).declare_loss(TABLE).rows_by_day())


@pytest.mark.parametrize("newest", [1, 2, 3])
def test_newest_commits_that_are_gone_are_noticed_by_the_mark(tmp_path: Path, newest: int) -> None:
    store = written(tmp_path, marks=True)
    for path in log_files(store)[-newest:] if newest < 3 else log_files(store)[-2:]:
        path.unlink()
    left = 2 - min(newest, 2)
    refused(store, f"its newest commit is version {left}, but version 2 was recorded; recorded were 6 days")
    counts_again(store, BEFORE if left else {})


def test_a_table_that_is_gone_is_not_taken_for_one_that_never_was(tmp_path: Path) -> None:
    store = written(tmp_path, marks=True)
    shutil.rmtree(store.root)
    refused(store, "the whole table is gone, recorded at version 2; recorded were 6 days")
    assert store.snapshot("events/weather") is None
    counts_again(store, {})


def test_a_log_that_was_lost_and_written_on_by_others_is_refused(tmp_path: Path) -> None:
    store = written(tmp_path, marks=True)
    log_files(store)[-1].unlink()
    elsewhere = DeltaStore(store.root)
    elsewhere.replace_days(TABLE, rows_of(DAYS[:1], 3, 7), DAYS[:1])
    refused(store, "the commit of version 2 is not the one that was recorded")
    elsewhere.replace_days(TABLE, rows_of(DAYS[:1], 3, 8), DAYS[:1])
    refused(store, "the commit of version 2 is not the one that was recorded")
    counts_again(store, BEFORE)


def test_a_table_made_anew_in_the_place_of_a_recorded_one_is_refused(tmp_path: Path) -> None:
    store = written(tmp_path, marks=True)
    shutil.rmtree(store.root)
    for _ in range(3):
        DeltaStore(store.root).replace_days(TABLE, rows_of(DAYS[:1], 3, 0), DAYS[:1])
    refused(store, "another table stands in its place")
    counts_again(store, {DAYS[0]: 3})


def test_what_is_meant_is_not_taken_for_a_loss(tmp_path: Path) -> None:
    store = written(tmp_path, marks=True)
    store.replace_days(TABLE, rows_of(DAYS[:1], 3, 1)[:0], DAYS[1:], allow_empty_days=True)
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.days() == {DAYS[0]}
    store.replace_days(TABLE, rows_of(DAYS[1:2], 3, 1).with_columns(x=1), DAYS[1:2], add_columns=frozenset({"x"}))
    for turn in range(25):
        store.replace_days(TABLE, rows_of(DAYS[2:3], 3, turn).with_columns(x=1), DAYS[2:3])
        assert store.snapshot(TABLE) is not None
    store.maintain(TABLE, keep_hours=1)
    assert store.snapshot(TABLE) is not None
    # Another tool, and another machine, write on.
    write_deltalake(
        DeltaTable(store.uri(TABLE)),
        rows_of(DAYS[3:4], 3, 1).with_columns(x=pl.lit(1, pl.Int64)),
        mode="overwrite",
        predicate=f"{DAY} = '{DAYS[3]}'",
    )
    DeltaTable(store.uri(TABLE)).optimize.compact()
    DeltaStore(store.root).replace_days(TABLE, rows_of(DAYS[4:5], 3, 1).with_columns(x=1), DAYS[4:5])
    after = store.snapshot(TABLE)
    assert after is not None
    assert after.days() == set(DAYS[:5])
    store.replace_days(TABLE, rows_of(DAYS[:1], 3, 1).with_columns(x=1), DAYS[:1])


def test_a_cut_commit_of_deltalakes_own_writer_is_refused(tmp_path: Path) -> None:
    store = written(tmp_path, marks=False)
    frame = rows_of(DAYS[3:5], 3, 1)
    predicate = f"{DAY} >= '{DAYS[3]}' AND {DAY} <= '{DAYS[4]}'"
    write_deltalake(DeltaTable(store.uri(TABLE)), frame, mode="overwrite", predicate=predicate)
    assert store.snapshot(TABLE) is not None
    newest = log_files(store)[-1]
    whole = newest.read_bytes()
    for keep in range(1, len(whole.splitlines())):
        newest.write_bytes(whole)
        cut_lines(newest, keep)
        refused(store, "files added and removed of")


def test_a_killed_writer_between_commit_and_mark_leaves_a_table_that_is_read_and_written(tmp_path: Path) -> None:
    store = written(tmp_path, marks=True)
    mark = Marks(tmp_path / "marks").read(TABLE)
    DeltaStore(store.root).replace_days(TABLE, rows_of(DAYS[:1], 3, 9), DAYS[:1])
    assert store.snapshot(TABLE) is not None
    assert Marks(tmp_path / "marks").read(TABLE) == mark
    # Lost again, it is an older commit than was recorded by nobody: all that can be seen is what is cut.
    cut_lines(log_files(store)[-1], 2)
    refused(store, "2 of its 3 lines")


def test_a_mark_that_cannot_be_read_is_no_missing_mark(tmp_path: Path) -> None:
    store = written(tmp_path, marks=True)
    path = tmp_path / "marks" / "events" / "flights.json"
    assert json.loads(path.read_text())["version"] == 2
    path.write_text("")
    with pytest.raises(StorageError, match=r"marks/events/flights.json of the table events/flights cannot be read"):
        store.snapshot(TABLE)
    counts_again(store, ALL)


def test_a_commit_whose_mark_cannot_be_written_says_so(tmp_path: Path) -> None:
    store = written(tmp_path, marks=True)
    (tmp_path / "marks" / "events" / f"flights.json.{os.getpid()}").mkdir()
    with pytest.raises(StorageError, match="version 3 was committed, but its mark cannot be written"):
        store.replace_days(TABLE, rows_of(DAYS[:1], 2, 9), DAYS[:1])
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.rows_by_day() == ALL | {DAYS[0]: 2}


def test_marks_of_writers_at_once_end_at_the_newest_version(tmp_path: Path) -> None:
    spawn = get_context("spawn")
    barrier = spawn.Barrier(3)
    with spawn.Pool(3, delta_writers.join_barrier, (barrier,)) as pool:
        pool.starmap(
            delta_writers.overwrite,
            [(str(tmp_path / "lake"), TABLE, [DAYS[at]], at, 15, tmp_path / "marks") for at in range(3)],
            chunksize=1,
        )
        pool.close()
        pool.join()
    mark = Marks(tmp_path / "marks").read(TABLE)
    assert mark is not None
    assert (mark.version, mark.days) == (45, 3)
    assert [path.name for path in (tmp_path / "marks" / "events").iterdir()] == ["flights.json"]


def test_a_mark_never_goes_back(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    newer, older, other = (Mark(name, version, "", 1, 1, 1) for name, version in (("a", 5), ("a", 4), ("b", 9)))
    for mark in (newer, older, other):
        marks.record(TABLE, mark)
    assert marks.read(TABLE) == newer
    marks.renew(TABLE, older)
    assert marks.read(TABLE) == older


def test_writers_killed_at_any_moment_leave_a_whole_table_and_end_cleanly_when_not_killed(tmp_path: Path) -> None:
    store = DeltaStore(str(tmp_path / "lake"), marks=tmp_path / "marks")
    for kill in range(6):
        child = subprocess.Popen(
            [sys.executable, delta_writers.__file__, store.root, TABLE, str(kill * 1000), str(tmp_path / "marks")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=delta_writers.child_environment(),
        )
        with child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("go\n")
            child.stdin.flush()
            child.stdout.readline()
            time.sleep(0.03 + 0.05 * kill)
            child.kill()
        snapshot = store.snapshot(TABLE)
        if snapshot is not None:
            assert snapshot.scan(*ALWAYS).collect().height == sum(snapshot.rows_by_day().values())
    assert snapshot is not None
    assert len(snapshot.days()) <= KILLED_DAYS
    store.replace_days(TABLE, rows_of(DAYS, 3, 1), DAYS)


# Data files.

HURT: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "is gone"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:300]), "has 300 bytes of"),
    "emptied": (lambda path: path.write_bytes(b""), "has 0 bytes of"),
    "overwritten": (lambda path: path.write_bytes(b"x" * path.stat().st_size), "cannot be read: .*PAR1"),
}


@pytest.mark.parametrize(("hurt", "what"), HURT.values(), ids=HURT.keys())
def test_a_damaged_data_file_is_named_with_its_table_and_day(
    tmp_path: Path, hurt: Callable[[Path], object], what: str
) -> None:
    store = written(tmp_path, marks=False)
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.damage() is None
    hurt(next(Path(store.uri(TABLE), f"{DAY}={DAYS[4]}").glob("*.parquet")))
    with pytest.raises(TableUnreadableError, match=f"{TABLE}: the file of {DAYS[4]}, .* {what}") as caught:
        snapshot.collect(snapshot.scan(*ALWAYS))
    assert f"ml-assets run {TABLE} {DAYS[4]}" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert snapshot.collect(snapshot.scan(DAYS[0], DAYS[2])).height == 6
    with (
        pytest.raises(pl.exceptions.ColumnNotFoundError),
        written(tmp_path / "whole", marks=False).snapshot(TABLE).reading(),
    ):
        snapshot.scan(DAYS[0], DAYS[2]).select("no such column").collect()


def test_opening_with_the_checks_costs_no_more_than_twice_the_bare_opening(tmp_path: Path) -> None:
    store = DeltaStore(str(tmp_path / "lake"), marks=tmp_path / "marks")
    days = [FIRST + timedelta(at) for at in range(365)]
    store.replace_days(TABLE, rows_of(days, 1, 0), days)
    for at in range(30):
        store.replace_days(TABLE, rows_of(days[at : at + 1], 1, 1), days[at : at + 1])

    def fastest(act: Callable[[], object]) -> float:
        times = []
        for _ in range(15):
            began = time.perf_counter()
            act()
            times.append(time.perf_counter() - began)
        return min(times)

    assert fastest(lambda: store.snapshot(TABLE)) < 2 * fastest(lambda: DeltaTable(store.uri(TABLE)))


# As it is wired.


@pytest.mark.parametrize(
    ("root", "marks"),
    [
        ("{}/lake", "{}/marks"),
        ("{}/lake/", "{}/marks"),
        ("file://{}/lake", "{}/marks"),
        ("{}/other", "{}/other_marks"),
        ("s3://bucket/lake", "{}/home/marks/s3_bucket_lake"),
    ],
)
def test_marks_lie_beside_a_local_lake_and_in_the_home_for_an_object_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, marks: str
) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    assert marks_folder(root.format(tmp_path), tmp_path / "home") == Path(marks.format(tmp_path))


def test_the_platforms_own_doors_to_the_lake_keep_marks(tmp_path: Path) -> None:
    stores = [LakeHandle(home=str(tmp_path)).lake().store, door_of_runs(tmp_path)]
    for store in stores:
        store.replace_days(TABLE, rows_of(DAYS[:1], 3, 0), DAYS[:1])
    assert Marks(tmp_path / "marks").read(TABLE) is not None
    shutil.rmtree(tmp_path / "lake")
    for store in stores:
        refused(store, "the whole table is gone")


def door_of_runs(home: Path) -> DeltaStore:
    """The store behind the IO manager."""
    return DeltaDaysIO(home=str(home)).create_io_manager(build_init_resource_context()).lake.store
