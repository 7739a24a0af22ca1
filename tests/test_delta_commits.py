"""Empty days that count as held, notes in the log, and reading only what is new."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from ml_assets.domain.errors import StorageError
from resources.delta_store import DAY, DeltaStore

TABLE = "events/flights"
D1, D2, D3 = (date(2013, 2, day) for day in (1, 2, 3))


def of_days(*days: date) -> pl.DataFrame:
    return pl.DataFrame({DAY: days, "number": range(len(days))}, schema={DAY: pl.Date, "number": pl.Int64})


@pytest.fixture
def store(tmp_path: Path) -> DeltaStore:
    return DeltaStore(str(tmp_path / "lake"))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_day_kept_empty_is_held_and_a_day_left_out_is_not(store: DeltaStore, lazy: bool) -> None:
    frame = of_days(D2)
    commit = store.replace_days(TABLE, frame.lazy() if lazy else frame, [D1, D2], keep_empty_days=True)
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.days() == {D1, D2}
    assert snapshot.rows_by_day() == commit.rows_by_day == {D1: 0, D2: 1}
    assert snapshot.bytes_by_day() == commit.bytes_by_day
    assert snapshot.scan(D1, D3).collect().equals(frame)
    assert snapshot.scan(D1, D2).collect().equals(frame[:0])
    assert pl.read_delta(snapshot.uri).equals(frame)
    assert DeltaTable(snapshot.uri).to_pyarrow_table().num_rows == 1

    store.replace_days(TABLE, of_days(D1), [D1])
    store.replace_days(TABLE, of_days(), [D2], keep_empty_days=True)
    store.replace_days(TABLE, of_days(), [D1], allow_empty_days=True)
    after = store.snapshot(TABLE)
    assert after is not None
    assert after.rows_by_day() == {D2: 0}


@pytest.mark.parametrize("lazy", [False, True])
def test_a_table_may_begin_with_days_kept_empty(store: DeltaStore, lazy: bool) -> None:
    frame = of_days()
    store.replace_days(TABLE, frame.lazy() if lazy else frame, [D1, D3], keep_empty_days=True)
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.rows_by_day() == {D1: 0, D3: 0}
    assert snapshot.schema() == frame.schema
    assert snapshot.scan(D1, D3).collect().equals(frame)


def test_an_empty_day_is_deleted_or_kept_not_both(store: DeltaStore) -> None:
    with pytest.raises(StorageError, match="one of the two"):
        store.replace_days(TABLE, of_days(), [D1], keep_empty_days=True, allow_empty_days=True)


def test_a_note_is_a_version_that_changes_nothing(store: DeltaStore) -> None:
    store.replace_days(TABLE, of_days(D1), [D1])
    before = store.snapshot(TABLE)
    assert store.note(TABLE, {"verdicts": "2013-02-01 red"}) == 2
    after = store.snapshot(TABLE)
    assert before is not None
    assert after is not None
    assert after.version == 2
    assert after.table_id == before.table_id
    assert after.scan(D1, D2).collect().equals(of_days(D1))
    assert DeltaTable(after.uri).file_uris() == [f"{after.uri}/{path}" for path in before._files["path"]]
    with pytest.raises(StorageError, match="no such table"):
        store.note("events/none", {})


def test_commits_are_read_from_a_version_on_oldest_first(store: DeltaStore) -> None:
    assert store.commits_after(TABLE, -1) == []
    store.replace_days(TABLE, of_days(D1), [D1], commit_metadata={"run_id": "r-1"})
    store.note(TABLE, {"verdicts": "green"})
    records = store.commits_after(TABLE, 0)
    assert [
        (each.version, each.operation, each.metadata["run_id" if at == 0 else "verdicts"])
        for at, each in enumerate(records)
    ] == [(1, "WRITE", "r-1"), (2, "WRITE", "green")]
    assert all(each.timestamp.tzinfo for each in records)
    assert store.commits_after(TABLE, -1)[0].operation == "CREATE TABLE"
    assert store.commits_after(TABLE, 2) == []


def test_the_probe_for_news_opens_no_table_on_a_local_disk(store: DeltaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not store.moved_on(TABLE, -1)
    store.replace_days(TABLE, of_days(D1), [D1])
    monkeypatch.setattr(DeltaStore, "_open", None)
    assert store.moved_on(TABLE, -1)
    assert store.moved_on(TABLE, 0)
    assert not store.moved_on(TABLE, 1)
    next(Path(store.uri(TABLE), "_delta_log").glob("*01.json")).unlink()
    assert store.moved_on(TABLE, 1), "a commit that is gone is news too"
