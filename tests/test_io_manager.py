"""The IO manager in real Dagster runs of small assets, on the cases that the stock one gets wrong.

`test_stock_delta_defects.py` shows the stock manager on the same cases; what they share stands there.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from test_stock_delta_defects import DAILY, FIRST, RANGE_END, RANGE_START, TEN, one_error_on_opening, ours, rows_of

from ml_assets.domain.day_frame import DayBatch, DayFrame
from ml_assets.domain.errors import RowsOutsideDaysError, SchemaChangeRefusedError, TableUnreadableError
from ml_assets.domain.verdict import Verdict, passed
from partitions import Window, same_days, trailing_days, window_before
from partitions.days import days_between
from resources import delta_store
from resources.delta_io_manager import DeltaDaysIO, DeltaDaysIOManager
from resources.delta_store import DAY

ROWS, LAKE, IO = "public/rows", "lake", "io_manager"
IN_RANGES = {"partitions_def": DAILY, "backfill_policy": dg.BackfillPolicy.single_run(), "key_prefix": "public"}


def io(home: Path) -> DeltaDaysIO:
    return DeltaDaysIO(home=str(home))


def run(
    home: Path, days: Sequence[date], *assets: dg.AssetsDefinition, only: dg.AssetsDefinition | None = None
) -> dg.ExecuteInProcessResult:
    one = {"partition_key": str(days[0])} if len(days) == 1 else {}
    return dg.materialize(
        list(assets),
        resources={"io_manager": io(home)},
        tags={} if one else {RANGE_START: str(days[0]), RANGE_END: str(days[-1])},
        raise_on_error=False,
        selection=[only] if only else None,
        **one,
    )


def error_of(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (failure,) = result.get_step_failure_events()
    return failure.step_failure_data.error.to_string()


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    return list(days_between(context.partition_keys))


def batch(rows: pl.DataFrame, days: Sequence[date], rejected: Sequence[date] = ()) -> DayBatch:
    red = Verdict(passed=False, reasons=("too good to be true",))
    return DayBatch(rows=rows, verdicts={day: red if day in rejected else passed() for day in days})


def writing(
    produce: Callable[[list[date]], pl.DataFrame], rejected: Sequence[date] = (), judged: Sequence[date] | None = None
) -> dg.AssetsDefinition:
    @dg.asset(name="rows", **IN_RANGES)
    def rows(context: dg.AssetExecutionContext) -> DayBatch:
        return batch(produce(days_of(context)), judged or days_of(context), rejected)

    return rows


def reading(seen: dict[str, DayFrame], window: Window = same_days()) -> dg.AssetsDefinition:  # noqa: B008  frozen
    """An asset that depends on the same day, as Dagster is told, and reads its window through the lake."""

    @dg.asset(name="downstream", deps=[dg.AssetKey(["public", "rows"])], required_resource_keys={IO}, **IN_RANGES)
    def downstream(context: dg.AssetExecutionContext) -> DayBatch:
        rows = seen["rows"] = door_of(context).read(ROWS, window.of(days_between(context.partition_keys)))
        held = rows.rows.filter(pl.col(DAY).is_in(days_of(context))).collect()
        return batch(held, held[DAY].unique().to_list())

    return downstream


def taking(seen: dict[str, DayFrame]) -> dg.AssetsDefinition:
    """Somebody's own asset: it names its input, and gets the same days."""

    @dg.asset(name="downstream", ins={"rows": dg.AssetIn(["public", "rows"])}, **IN_RANGES)
    def downstream(context: dg.AssetExecutionContext, rows: DayFrame) -> DayBatch:
        seen["rows"] = rows
        held = rows.rows.collect()
        return batch(held, held[DAY].unique().to_list())

    return downstream


def door_of(context: dg.AssetExecutionContext) -> DeltaDaysIOManager:
    door = context.resources.io_manager
    assert isinstance(door, DeltaDaysIOManager)
    return door


@pytest.mark.parametrize("child", [reading, taking])
def test_a_range_hands_on_every_day_and_can_be_repeated(
    tmp_path: Path, child: Callable[[dict[str, DayFrame]], dg.AssetsDefinition]
) -> None:
    for mark in range(2):
        seen: dict[str, DayFrame] = {}
        result = run(tmp_path, TEN, writing(lambda days, mark=mark: rows_of(days, mark)), child(seen))
        assert result.success
        assert seen["rows"].rows.collect().equals(rows_of(TEN, mark))
        assert seen["rows"].days == set(TEN)
        assert ours(tmp_path / LAKE, ROWS) == ours(tmp_path / LAKE, "public/downstream") == dict.fromkeys(TEN, mark)


def test_a_window_reads_its_days_only_and_starts_with_the_calendar(tmp_path: Path) -> None:
    assert run(tmp_path, TEN, writing(rows_of)).success
    for last, window, expected in (
        (TEN[5], trailing_days(2), TEN[3:6]),
        (TEN[5], window_before(2), TEN[3:5]),
        (TEN[1], trailing_days(4), TEN[:2]),
        (TEN[0], window_before(3), []),
    ):
        seen: dict[str, DayFrame] = {}
        downstream = reading(seen, window)
        run(tmp_path, [last], writing(rows_of), downstream, only=downstream)
        assert seen["rows"].days == set(expected)
        # No day at all means no row, never every row.
        assert seen["rows"].rows.collect()[DAY].unique().sort().to_list() == expected


@pytest.mark.parametrize("child", [reading, taking])
def test_a_rejected_day_keeps_what_it_had_and_is_not_recorded(
    tmp_path: Path, child: Callable[[dict[str, DayFrame]], dg.AssetsDefinition]
) -> None:
    assert run(tmp_path, TEN, writing(rows_of)).success
    seen: dict[str, DayFrame] = {}
    again = writing(lambda days: rows_of(days, mark=1), rejected=[TEN[4]])
    result = run(tmp_path, TEN, again, child(seen))
    assert result.success
    assert ours(tmp_path / LAKE, ROWS) == {day: 0 if day == TEN[4] else 1 for day in TEN}
    assert seen["rows"].days == set(TEN) - {TEN[4]}
    assert seen["rows"].refused == {TEN[4]: "too good to be true"}
    assert TEN[4] not in set(seen["rows"].rows.collect()[DAY])
    recorded = {event.partition for event in result.asset_materializations_for_node("public__rows")}
    assert recorded == {str(day) for day in TEN} - {str(TEN[4])}


def test_a_broken_connection_costs_the_run_not_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, TEN[:3], writing(rows_of)).success
    with one_error_on_opening(monkeypatch, delta_store):
        result = run(tmp_path, TEN[3:4], writing(lambda days: rows_of(days, 3)))
    said = error_of(result)
    assert TableUnreadableError.__name__ in said
    assert "connection reset by peer" in said
    assert ours(tmp_path / LAKE, ROWS) == dict.fromkeys(TEN[:3], 0)


def test_every_day_has_its_rows_bytes_and_version_on_record(tmp_path: Path) -> None:
    events = run(tmp_path, TEN, writing(rows_of)).asset_materializations_for_node("public__rows")
    assert [event.partition for event in events] == [str(day) for day in TEN]
    assert {event.metadata["dagster/partition_row_count"].value for event in events} == {2}
    files = list((tmp_path / LAKE / "public" / "rows").rglob("*.parquet"))
    assert sum(int(str(event.metadata["bytes"].value)) for event in events) == sum(f.stat().st_size for f in files)
    assert {event.metadata["delta_version"].value for event in events} == {1}
    assert len({event.tags["dagster/data_version"] for event in events if event.tags}) == len(TEN)


def test_an_empty_day_is_recorded_with_its_reason(tmp_path: Path) -> None:
    """Dense: a day with nothing to compute is there, holds no rows and says why; its child sees an accepted day."""
    nothing = dict.fromkeys(TEN[3:5], "nobody flew")

    @dg.asset(name="rows", **IN_RANGES)
    def rows(context: dg.AssetExecutionContext) -> DayBatch:
        filled = [day for day in days_of(context) if day not in nothing]
        return DayBatch(rows=rows_of(filled), verdicts={day: passed() for day in filled}, empty=nothing)

    seen: dict[str, DayFrame] = {}
    events = run(tmp_path, TEN, rows, reading(seen)).asset_materializations_for_node("public__rows")
    assert [event.partition for event in events] == [str(day) for day in TEN]
    said = {event.partition: event.metadata["empty"].value for event in events if "empty" in event.metadata}
    assert said == {str(day): why for day, why in nothing.items()}
    counts = {event.partition: event.metadata["dagster/partition_row_count"].value for event in events}
    assert counts == {str(day): 0 if day in nothing else 2 for day in TEN}
    assert seen["rows"].days == set(TEN)
    assert seen["rows"].filled == set(TEN) - set(nothing)


def test_the_same_content_is_recorded_and_not_rewritten(tmp_path: Path) -> None:
    assert run(tmp_path, TEN, writing(rows_of)).success
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / LAKE / ROWS).rglob("*.parquet")}
    changed = writing(lambda days: pl.concat([rows_of(days[:6]), rows_of(days[6:], 1)]))
    for produce, rewritten in ((writing(rows_of), []), (changed, TEN[6:])):
        events = run(tmp_path, TEN, produce).asset_materializations_for_node("public__rows")
        assert [event.partition for event in events] == [str(day) for day in TEN]
        told = {event.partition for event in events if "unchanged" in event.metadata}
        assert told == {str(day) for day in TEN if day not in rewritten}
        now = {path: path.stat().st_mtime_ns for path in (tmp_path / LAKE / ROWS).rglob("*.parquet")}
        assert {path.parent.name for path in set(now) - set(files)} == {f"{DAY}={day}" for day in rewritten}
        assert now.items() >= files.items()


def test_the_data_version_follows_content_only(tmp_path: Path) -> None:
    def versions(mark: int) -> list[str]:
        events = run(tmp_path, TEN, writing(lambda days: rows_of(days, mark))).asset_materializations_for_node(
            "public__rows"
        )
        return [event.tags["dagster/data_version"] for event in events if event.tags]

    first = versions(0)
    assert versions(0) == first
    assert not set(versions(1)) & set(first)


def test_rows_of_days_outside_the_run_are_refused(tmp_path: Path) -> None:
    assert run(tmp_path, TEN, writing(rows_of)).success
    said = error_of(run(tmp_path, TEN[:2], writing(lambda days: rows_of([*days, TEN[7]], 1))))
    assert RowsOutsideDaysError.__name__ in said
    assert "2013-02-08 (2 rows)" in said
    assert ours(tmp_path / LAKE, ROWS) == dict.fromkeys(TEN, 0)


def test_rows_without_a_day_are_refused(tmp_path: Path) -> None:
    """They are left out of every comparison with days, so a filter would drop them without a word."""
    dayless = pl.DataFrame({DAY: [None], "mark": [1]}, schema={DAY: pl.Date, "mark": pl.Int64})
    said = error_of(run(tmp_path, TEN[:2], writing(lambda days: pl.concat([rows_of(days), dayless]))))
    assert RowsOutsideDaysError.__name__ in said
    assert "no day (1 rows)" in said
    assert not (tmp_path / LAKE / "public").exists()


def test_verdicts_of_days_outside_the_run_are_refused(tmp_path: Path) -> None:
    said = error_of(run(tmp_path, TEN[:2], writing(rows_of, judged=TEN[:3])))
    assert "outside the run's [2013-02-01, 2013-02-03)" in said
    assert not (tmp_path / LAKE / "public").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.with_columns(pl.col("mark").cast(pl.Float64) + 0.5),
        lambda frame: frame.drop("mark").with_columns(other=1),
        lambda frame: frame.with_columns(more=1),
        lambda frame: frame.with_columns(pl.col(DAY).cast(pl.Datetime("us"))),
    ],
    ids=["retyped", "dropped", "added", "another day type"],
)
def test_a_change_of_schema_fails_the_run(tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    assert run(tmp_path, TEN, writing(rows_of)).success
    said = error_of(run(tmp_path, TEN[:1], writing(lambda days: change(rows_of(days, 1)))))
    assert SchemaChangeRefusedError.__name__ in said
    assert ours(tmp_path / LAKE, ROWS) == dict.fromkeys(TEN, 0)


def test_an_asset_of_itself_reads_what_lies_before_the_run(tmp_path: Path) -> None:
    """The window overlaps what a rerun writes; on the first day it is empty."""
    windows: list[tuple[list[date], frozenset[date]]] = []

    @dg.asset(required_resource_keys={IO}, **IN_RANGES)
    def tally(context: dg.AssetExecutionContext) -> DayBatch:
        days = days_of(context)
        before = door_of(context).read("public/tally", window_before(1).of(days_between(context.partition_keys)))
        eve = before.rows.filter(pl.col(DAY) < days[0])
        so_far = eve.collect()["mark"].max() if before.days else -1
        windows.append((days, before.days))
        frames = [rows_of([day], int(str(so_far)) + 1 + at) for at, day in enumerate(days)]
        return batch(pl.concat(frames), days)

    for days in (TEN, TEN[3:6], TEN[9:]):
        assert run(tmp_path, days, tally).success
        assert ours(tmp_path / LAKE, "public/tally") == {day: at for at, day in enumerate(TEN)}
    assert windows == [(TEN, frozenset()), (TEN[3:6], frozenset(TEN[2:5])), (TEN[9:], frozenset(TEN[8:9]))]


def test_a_table_that_cannot_be_read_fails_its_reader(tmp_path: Path) -> None:
    assert run(tmp_path, TEN, writing(rows_of)).success
    for entry in (tmp_path / LAKE / "public" / "rows" / "_delta_log").iterdir():
        entry.write_bytes(b"{ torn")
    downstream = reading({})
    result = run(tmp_path, TEN[:2], writing(rows_of), downstream, only=downstream)
    assert TableUnreadableError.__name__ in error_of(result)


def test_a_run_with_holes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"without holes.* lacks \[datetime.date\(2013, 2, 2\)\]"):
        days_between([str(FIRST), str(FIRST + timedelta(days=2))])
