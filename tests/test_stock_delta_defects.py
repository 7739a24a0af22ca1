"""The defects of the stock Delta IO manager that our store exists for, each shown on both.

When one of the stock halves fails after an upgrade, the defect is mended upstream: look whether our guard is
still needed. Range runs are started as Dagster's own backfills start them, by the two range tags.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import dagster_deltalake.handler
import polars as pl
import pyarrow as pa
import pytest
from dagster_deltalake import DeltaLakeIOManager, LocalConfig
from dagster_deltalake.handler import DeltaLakePyArrowTypeHandler
from deltalake import DeltaTable

from ml_assets.domain.errors import SchemaChangeRefusedError, TableUnreadableError
from resources import delta_store
from resources.delta_store import DAY, DeltaStore

FIRST = date(2013, 2, 1)
TEN = [FIRST + timedelta(at) for at in range(10)]
DAILY = dg.DailyPartitionsDefinition(start_date=FIRST.isoformat())
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:dagster_deltalake"),
]
BY_DAY = {"partition_expr": DAY}


class StockDelta(DeltaLakeIOManager):
    @staticmethod
    def type_handlers() -> Sequence[DeltaLakePyArrowTypeHandler]:
        return [DeltaLakePyArrowTypeHandler()]


def rows_of(days: Sequence[date], mark: int = 0, dtype: pl.DataType | None = None) -> pl.DataFrame:
    """Two rows a day that carry the mark of their write."""
    frame = pl.DataFrame(
        {DAY: [day for day in days for _ in range(2)], "mark": mark}, schema_overrides={"mark": pl.Int64}
    )
    return frame.with_columns(pl.col(DAY).cast(dtype)) if dtype is not None else frame


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    return [date.fromisoformat(key) for key in context.partition_keys]


def run(
    root: Path, days: Sequence[date], *assets: dg.AssetsDefinition, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    one = {"partition_key": str(days[0])} if len(days) == 1 else {}
    return dg.materialize(
        list(assets),
        resources={"io_manager": StockDelta(root_uri=str(root), storage_options=LocalConfig())},
        tags={} if one else {RANGE_START: str(days[0]), RANGE_END: str(days[-1])},
        raise_on_error=False,
        instance=instance,
        **one,
    )


def marks(root: Path, table: str) -> dict[date, int]:
    frame = pl.scan_delta(DeltaTable(root / table)).collect()
    return dict(frame.select(DAY, "mark").unique().sort(DAY).iter_rows())


def ours(root: Path, table: str = "public/rows") -> dict[date, int]:
    snapshot = DeltaStore(str(root)).snapshot(table)
    assert snapshot is not None
    rows = snapshot.scan(TEN[0], TEN[-1] + timedelta(1)).select(DAY, "mark").unique().sort(DAY)
    return dict(rows.collect().iter_rows())


def writing(produce: Callable[[list[date]], pl.DataFrame]) -> dg.AssetsDefinition:
    @dg.asset(name="rows", partitions_def=DAILY, metadata=BY_DAY, backfill_policy=dg.BackfillPolicy.single_run())
    def rows(context: dg.AssetExecutionContext) -> pa.Table:
        return produce(days_of(context)).to_arrow()

    return rows


# A range run is treated as its first day.


def test_stock_hands_on_one_day_of_a_range_green_and_fails_on_its_rerun(tmp_path: Path) -> None:
    seen: list[int] = []

    @dg.asset(partitions_def=DAILY, metadata=BY_DAY, backfill_policy=dg.BackfillPolicy.single_run())
    def downstream(context: dg.AssetExecutionContext, rows: pa.Table) -> pa.Table:
        seen.append(len(rows))
        return rows

    first = run(tmp_path, TEN, writing(rows_of), downstream)

    assert first.success
    assert sorted(marks(tmp_path, "public/rows")) == TEN
    assert seen == [2]
    assert sorted(marks(tmp_path, "public/downstream")) == TEN[:1]

    again = run(tmp_path, TEN, writing(lambda days: rows_of(days, mark=1)), downstream)

    assert not again.success
    failure = again.get_step_failure_events()[0].step_failure_data.error
    assert "failed validation check" in str(failure)
    assert set(marks(tmp_path, "public/rows").values()) == {0}


def test_ours_hands_on_every_day_of_a_range_and_repeats_it(tmp_path: Path) -> None:
    store = DeltaStore(str(tmp_path))
    for mark in range(2):
        store.replace_days("public/rows", rows_of(TEN, mark), TEN)
        assert ours(tmp_path) == dict.fromkeys(TEN, mark)


# An error while opening the table becomes an overwrite of all of it.

DAY_TYPES = {
    "naive instant": pl.Datetime("us"),
    "number": pl.Int32(),
    "text": pl.String(),
}


@contextmanager
def one_error_on_opening(monkeypatch: pytest.MonkeyPatch, module: object) -> Iterator[None]:
    """The next opening of a table from the module meets a connection that breaks; later ones do not."""
    real = DeltaTable
    failures = [OSError("connection reset by peer")]

    def opening(*args: object, **kwargs: object) -> DeltaTable:
        if failures:
            raise failures.pop()
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "DeltaTable", opening)
        yield
    assert not failures


@pytest.mark.parametrize("dtype", DAY_TYPES.values(), ids=DAY_TYPES.keys())
def test_stock_loses_every_other_day_green_over_a_day_type_it_does_not_know(tmp_path: Path, dtype: pl.DataType) -> None:
    for mark, day in enumerate(TEN[:3]):
        result = run(tmp_path, [day], writing(lambda days, mark=mark: rows_of(days, mark, dtype)))
        assert result.success
        assert set(marks(tmp_path, "public/rows").values()) == {mark}


@pytest.mark.parametrize("dtype", DAY_TYPES.values(), ids=DAY_TYPES.keys())
def test_ours_refuses_a_day_type_it_does_not_know(tmp_path: Path, dtype: pl.DataType) -> None:
    store = DeltaStore(str(tmp_path))
    store.replace_days("public/rows", rows_of(TEN), TEN)
    with pytest.raises(SchemaChangeRefusedError, match="wanted Date"):
        store.replace_days("public/rows", rows_of(TEN[:1], 1, dtype), TEN[:1])
    assert ours(tmp_path) == dict.fromkeys(TEN, 0)


def test_stock_loses_every_other_day_green_over_one_broken_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mark, day in enumerate(TEN[:3]):
        assert run(tmp_path, [day], writing(lambda days, mark=mark: rows_of(days, mark))).success
    assert marks(tmp_path, "public/rows") == {TEN[0]: 0, TEN[1]: 1, TEN[2]: 2}

    with one_error_on_opening(monkeypatch, dagster_deltalake.handler):
        result = run(tmp_path, TEN[3:4], writing(lambda days: rows_of(days, 3)))

    assert result.success
    assert marks(tmp_path, "public/rows") == {TEN[3]: 3}


def test_ours_keeps_every_day_over_one_broken_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DeltaStore(str(tmp_path))
    store.replace_days("public/rows", rows_of(TEN[:3]), TEN[:3])
    with (
        one_error_on_opening(monkeypatch, delta_store),
        pytest.raises(TableUnreadableError, match="connection reset by peer"),
    ):
        store.replace_days("public/rows", rows_of(TEN[3:4], 3), TEN[3:4])
    assert ours(tmp_path) == dict.fromkeys(TEN[:3], 0)


# Row counts go missing with a warning.


def test_stock_has_no_row_count_only_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(tmp_path, TEN[:1], writing(rows_of), instance=instance).success
        event = instance.get_latest_materialization_event(dg.AssetKey("rows"))
    assert event is not None
    assert event.asset_materialization is not None
    assert "table_columns" in event.asset_materialization.metadata
    assert not {"num_rows", "size_bytes"} & set(event.asset_materialization.metadata)
    warned = [line for line in capfd.readouterr().err.splitlines() if " - WARNING - " in line]
    assert ["error while computing table stats" in line for line in warned] == [True]


def test_ours_counts_rows_and_bytes(tmp_path: Path) -> None:
    commit = DeltaStore(str(tmp_path)).replace_days("public/rows", rows_of(TEN), TEN)
    assert commit.rows_by_day == dict.fromkeys(TEN, 2)
    files = list((tmp_path / "public" / "rows").rglob("*.parquet"))
    assert (commit.rows, commit.bytes) == (20, sum(path.stat().st_size for path in files))
