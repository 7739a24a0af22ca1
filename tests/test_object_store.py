"""The lake on an object store: the same options lead Polars' files and Delta's commits to the same place."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from small_s3 import small_s3

from ml_assets.domain.errors import LogLostError, RowsOutsideDaysError, TableUnreadableError
from resources.delta_store import DAY, DeltaStore

TABLE = "events/flights"
D1, D2, D3 = (date(2013, 2, day) for day in (1, 2, 3))


def of_days(*days: date, mark: int = 0) -> pl.DataFrame:
    return pl.DataFrame({DAY: days, "number": [mark] * len(days)}, schema={DAY: pl.Date, "number": pl.Int64})


def test_days_are_written_read_replaced_and_refused_on_an_object_store(tmp_path: Path) -> None:
    with small_s3(tmp_path / "s3") as (objects, options):
        store = DeltaStore("s3://lake/prod", options, tmp_path / "marks")
        assert store.snapshot(TABLE) is None
        commit = store.replace_days(TABLE, of_days(D1, D2), [D1, D2, D3], keep_empty_days=True)
        assert store.replace_days(TABLE, of_days(D1, D1, mark=1).lazy(), [D1]).rows_by_day == {D1: 2}
        store.replace_days(TABLE, of_days(D1, D2, mark=2).lazy(), [D1, D2])
        with pytest.raises(RowsOutsideDaysError):
            store.replace_days(TABLE, of_days(D1, D2).lazy(), [D1])
        snapshot = store.snapshot(TABLE)
        assert snapshot is not None
        files = {key: body for key, body in objects.items() if key.endswith(".parquet") and "_delta_log" not in key}
        listed = {f"lake/prod/{TABLE}/{path}" for path in snapshot._files["path"]}
        assert listed <= set(files)
        assert len(files) == 6, "the refused file is gone"
        assert snapshot.rows_by_day() == {D1: 1, D2: 1, D3: 0}
        assert commit.bytes_by_day[D3] in {len(body) for key, body in files.items() if str(D3) in key}
        assert snapshot.collect(snapshot.scan(D1, D3)).equals(of_days(D1, D2, mark=2))
        assert DeltaTable(snapshot.uri, storage_options=options).version() == 3
        assert store.note(TABLE, {"a": "note"}) == 4
        assert [each.version for each in store.commits_after(TABLE, 2)] == [3, 4]
        assert store.moved_on(TABLE, 3)
        assert not store.moved_on(TABLE, 4)


def test_a_writer_that_comes_second_replaces_what_the_first_wrote(tmp_path: Path) -> None:
    with small_s3(tmp_path / "s3") as (_, options):
        store = DeltaStore("s3://lake/prod", options)
        store.replace_days(TABLE, of_days(D1), [D1])

        class Second(DeltaStore):
            def _write(self, *args: object) -> None:
                if store.snapshot(TABLE).version == 1:  # type: ignore[union-attr]
                    store.replace_days(TABLE, of_days(D1, mark=1), [D1])
                super()._write(*args)  # type: ignore[arg-type]

        assert Second(store.root, options).replace_days(TABLE, of_days(D1, mark=2), [D1]).version == 3
        snapshot = store.snapshot(TABLE)
        assert snapshot is not None
        assert snapshot.scan(D1, D2).collect().equals(of_days(D1, mark=2))


def test_lost_commits_and_damaged_files_are_noticed_on_an_object_store(tmp_path: Path) -> None:
    with small_s3(tmp_path / "s3") as (objects, options):
        store = DeltaStore("s3://lake/prod", options, tmp_path / "marks")
        store.replace_days(TABLE, of_days(D1), [D1])
        store.replace_days(TABLE, of_days(D2), [D2])
        snapshot = store.snapshot(TABLE)
        assert snapshot is not None
        data = next(key for key in objects if str(D2) in key)
        whole = objects.pop(data)
        with pytest.raises(TableUnreadableError, match=f"the file of {D2}, .* is gone"):
            snapshot.collect(snapshot.scan(D1, D3))
        objects[data] = whole
        newest = f"lake/prod/{TABLE}/_delta_log/{2:020}.json"
        commit = objects.pop(newest)
        with pytest.raises(LogLostError, match="its newest commit is version 1, but version 2 was recorded"):
            store.snapshot(TABLE)
        objects[newest] = b"\n".join(commit.splitlines()[:1])
        assert json.loads(objects[newest])
        with pytest.raises(LogLostError, match="1 of its 2 lines"):
            DeltaStore(store.root, options).snapshot(TABLE)
        objects.clear()
        with pytest.raises(LogLostError, match="the whole table is gone"):
            store.snapshot(TABLE)
