"""Empty days that count as held, notes in the log, and reading only what is new."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from delta_writers import child_environment
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import CommitFailedError

from ml_assets.domain.errors import EmptyDayError, RowsOutsideDaysError, SchemaChangeRefusedError, StorageError
from resources.delta_store import DAY, DeltaStore, _exactly_next

TABLE = "events/flights"
D1, D2, D3 = (date(2013, 2, day) for day in (1, 2, 3))


def of_days(*days: date, mark: int = 0) -> pl.DataFrame:
    return pl.DataFrame({DAY: days, "number": [mark] * len(days)}, schema={DAY: pl.Date, "number": pl.Int64})


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


# The transaction: what conflicts, what is refused, what other readers see.


def parquet_files(store: DeltaStore) -> set[str]:
    return {str(path) for path in Path(store.root).rglob("*.parquet")}


@pytest.mark.parametrize("days", [[D1], [D1, D2]], ids=["one day", "two days"])
@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (of_days(D1, D2, D3, D3), RowsOutsideDaysError, r"2013-02-03 .2 rows"),
        (of_days(D1, D2).with_columns(pl.lit(None, pl.Date).alias(DAY)), RowsOutsideDaysError, "no day .2 rows"),
        (of_days(), EmptyDayError, "no rows"),
        (
            of_days(D1, D2).with_columns(number=2.7),
            SchemaChangeRefusedError,
            "as Int64, the frame gives Float64",
        ),
    ],
)
def test_a_lazy_frame_is_refused_like_its_rows_and_leaves_no_file(
    store: DeltaStore, days: list[date], frame: pl.DataFrame, error: type[StorageError], message: str
) -> None:
    store.replace_days(TABLE, of_days(D1, D2), [D1, D2])
    files, version = parquet_files(store), DeltaTable(store.uri(TABLE)).version()
    with pytest.raises(error, match=message):
        store.replace_days(TABLE, frame.lazy(), days)
    assert parquet_files(store) == files
    assert DeltaTable(store.uri(TABLE)).version() == version


def test_a_query_that_fails_while_it_is_written_fails_as_itself_and_leaves_no_file(store: DeltaStore) -> None:
    store.replace_days(TABLE, of_days(D1, D2), [D1, D2])
    files = parquet_files(store)
    # Several times: Polars' threads that have not failed yet write on, and must not bring a file back.
    for days in ([D1], [D1, D2]) * 15:
        broken = of_days(*days).lazy().with_columns((pl.col("number") - 9).cast(pl.UInt8).cast(pl.Int64))
        with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion from"):
            store.replace_days(TABLE, broken, days)
        assert parquet_files(store) == files


@pytest.mark.parametrize("lazy", [False, True])
def test_rows_of_a_lazy_frame_keep_their_order_within_each_day(store: DeltaStore, lazy: bool) -> None:
    many = pl.DataFrame({DAY: [D1, D2] * 300_000, "number": range(600_000)}).sample(fraction=1, shuffle=True, seed=7)
    store.replace_days(TABLE, many.lazy() if lazy else many, [D1, D2])
    one = many.with_columns(pl.lit(D3).alias(DAY))
    store.replace_days(TABLE, one.lazy() if lazy else one, [D3])
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    assert snapshot.scan(D1, D3).collect().equals(many.sort(DAY, maintain_order=True))
    assert snapshot.scan(D3, date(2013, 2, 4)).collect().equals(one)


def test_deltalake_itself_refuses_a_commit_that_is_not_the_next_version(store: DeltaStore) -> None:
    """What the store rests on: of two transactions begun from one version, whatever they touch, one is refused."""
    store.replace_days(TABLE, of_days(D1, D2), [D1, D2])
    begun = [DeltaTable(store.uri(TABLE)) for _ in range(4)]
    writes = [
        lambda delta: delta.create_write_transaction(
            [], "overwrite", delta.schema(), [DAY], [(DAY, "in", [str(D1)])], commit_properties=_exactly_next({})
        ),
        lambda delta: delta.create_write_transaction(
            [], "overwrite", delta.schema(), [DAY], [(DAY, "in", [str(D2)])], commit_properties=_exactly_next({})
        ),
        lambda delta: delta.create_write_transaction(
            [], "append", delta.schema(), [DAY], commit_properties=_exactly_next({})
        ),
    ]
    writes[0](begun[0])
    for write, delta in zip(writes, begun[1:], strict=True):
        with pytest.raises(CommitFailedError):
            write(delta)
    after = store.snapshot(TABLE)
    assert after is not None
    assert after.days() == {D2}


class Meanwhile(DeltaStore):
    """A store whose first commit of all meets another writer's, made after its files were written."""

    def _write(self, *args: Any) -> None:
        act = ACTS.pop() if ACTS else None
        if act:
            act(DeltaStore(self.root))
        super()._write(*args)


ACTS: list[Callable[[DeltaStore], object]] = []
RIVALS: dict[str, tuple[Callable[[DeltaStore], object], dict[date, list[int]]]] = {
    "the same day": (lambda store: store.replace_days(TABLE, of_days(D1, mark=7), [D1]), {D1: [9], D2: [0]}),
    "another day": (lambda store: store.replace_days(TABLE, of_days(D2, mark=7), [D2]), {D1: [9], D2: [7]}),
    "the same day deleted": (
        lambda store: store.replace_days(TABLE, of_days(), [D1], allow_empty_days=True),
        {D1: [9], D2: [0]},
    ),
    "a note": (lambda store: store.note(TABLE, {"a": "note"}), {D1: [9], D2: [0]}),
    "upkeep": (
        lambda store: [
            store.maintain(TABLE, keep_hours=1),
            DeltaTable(store.uri(TABLE)).vacuum(
                retention_hours=1, dry_run=False, enforce_retention_duration=False, full=True
            ),
        ],
        {D1: [9], D2: [0]},
    ),
    "another tool's append to the day": (
        lambda store: write_deltalake(store.uri(TABLE), of_days(D1, mark=5), mode="append"),
        {D1: [9], D2: [0]},
    ),
}


@pytest.mark.parametrize(("rival", "stored"), RIVALS.values(), ids=RIVALS.keys())
def test_a_write_that_meets_another_commit_replaces_what_is_there_by_then(
    store: DeltaStore, rival: Callable[[DeltaStore], object], stored: dict[date, list[int]]
) -> None:
    store.replace_days(TABLE, of_days(D1, D2), [D1, D2])
    ACTS.append(rival)
    Meanwhile(store.root).replace_days(TABLE, of_days(D1, mark=9), [D1])
    snapshot = store.snapshot(TABLE)
    assert snapshot is not None
    rows = snapshot.scan(D1, D3).collect()
    assert {day: part["number"].to_list() for (day,), part in rows.group_by(DAY)} == stored
    assert pl.read_delta(snapshot.uri).sort(DAY).equals(rows)


def test_a_column_added_meanwhile_and_one_added_by_us_are_one_commit_each(store: DeltaStore) -> None:
    store.replace_days(TABLE, of_days(D1, D2), [D1, D2])
    wide = of_days(D1, mark=9).with_columns(wind=1.5)
    commit = store.replace_days(TABLE, wide, [D1], add_columns=frozenset({"wind"}))
    assert commit.version == 2
    assert store.commits_after(TABLE, 1)[0].operation == "WRITE"
    assert list(commit.schema) == [DAY, "number", "wind"]
    delta = DeltaTable(store.uri(TABLE))
    assert delta.metadata().configuration["delta.checkpointInterval"] == "10"
    assert pl.read_delta(delta).sort(DAY)["wind"].to_list() == [1.5, None]
    ACTS.append(
        lambda other: other.replace_days(TABLE, wide.with_columns(gust=1.0), [D1], add_columns=frozenset({"gust"}))
    )
    with pytest.raises(SchemaChangeRefusedError, match="gust"):
        Meanwhile(store.root).replace_days(TABLE, wide, [D1])


def test_the_day_is_in_the_path_and_not_in_the_file_and_every_reader_sees_the_same_rows(store: DeltaStore) -> None:
    frame = pl.DataFrame(
        {
            DAY: [D1, D1, D2],
            "small": pl.Series([1, None, -3], dtype=pl.Int8),
            "at": pl.Series([datetime(2013, 2, 1, 5, 0, 0, 7, tzinfo=UTC), None, None], dtype=pl.Datetime("us", "UTC")),
            "money": pl.Series([Decimal("1.25"), None, Decimal("-7.00")], dtype=pl.Decimal(12, 2)),
            "tags": [["a", None], [], None],
            "parts": [{"a": 1, "b": [0.5]}, None, {"a": None, "b": []}],
            "text": ["ü", "", None],
            "raw": [b"\x00", None, b""],
        }
    )
    store.replace_days(TABLE, frame, [D1, D2])
    delta = DeltaTable(store.uri(TABLE))
    files = sorted(Path(delta.table_uri.removeprefix("file://")).rglob("*.parquet"))
    assert [path.parent.name for path in files] == [f"{DAY}={D1}", f"{DAY}={D2}"]
    assert all(DAY not in pl.read_parquet_schema(path) for path in files)
    assert pl.read_delta(delta).sort(DAY, "small", nulls_last=True).equals(frame)
    by_deltalake = pl.DataFrame(QueryBuilder().register("t", delta).execute("SELECT * FROM t"))
    assert by_deltalake.select(frame.columns).cast(frame.schema).sort(DAY, "small", nulls_last=True).equals(frame)
    by_arrow = cast("pl.DataFrame", pl.from_arrow(delta.to_pyarrow_table()))
    assert by_arrow.select(frame.columns).sort(DAY, "small", nulls_last=True).equals(frame)


def test_a_process_that_writes_ends_cleanly(tmp_path: Path) -> None:
    script = f"""
        from datetime import date
        import polars as pl
        from resources.delta_store import DAY, DeltaStore
        day = date(2013, 2, 1)
        store = DeltaStore({str(tmp_path)!r})
        for frame in (pl.DataFrame({{DAY: [day], "x": [1]}}), pl.LazyFrame({{DAY: [day], "x": [1]}})):
            store.replace_days("a/b", frame, [day])
    """
    for _ in range(10):
        child = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=False,
            env=child_environment(),
        )
        assert (child.returncode, child.stdout, child.stderr) == (0, "", "")
