"""Rows a run hands on without reading them back are those it stored."""

from datetime import date

import polars as pl
import pytest

from ml_assets.domain.day_frame import DayFrame
from resources.delta_io_manager import Written

DAYS = [date(2013, 3, 5), date(2013, 3, 6), date(2013, 3, 7)]
ROWS = pl.DataFrame({"partition_date": DAYS, "value": [1, 2, 3]})


def both(days: list[date]) -> tuple[frozenset[date], frozenset[date]]:
    """The days that are there, and those of them with rows: all."""
    return frozenset(days), frozenset(days)


def stored(days: list[date], version: int = 4, dtype: pl.DataType | type[pl.DataType] = pl.Int64) -> DayFrame:
    """What reading some days of the table gives."""
    rows = ROWS.filter(pl.col("partition_date").is_in(days)).with_columns(pl.col("value").cast(dtype))
    return DayFrame("features/x", rows.select("value", "partition_date").lazy(), *both(days), {}, version)


@pytest.mark.parametrize("days", [DAYS, DAYS[:2], DAYS[1:2], []])
def test_the_same_rows_are_given(days: list[date]) -> None:
    written = Written(4, frozenset(DAYS), ROWS.with_columns(pl.col("value")))
    given = written.instead_of(stored(days))
    assert given.rows.collect().equals(stored(days).rows.collect())
    assert given.days == given.filled == frozenset(days)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(stored(DAYS, version=5), id="somebody wrote since"),
        pytest.param(stored(DAYS, dtype=pl.Int32), id="a type was changed by storing"),
        pytest.param(
            DayFrame("features/x", ROWS.lazy(), *both([*DAYS, date(2013, 3, 4)]), {}, 4),
            id="an earlier day is read",
        ),
    ],
)
def test_otherwise_the_stored_rows_are_read(frame: DayFrame) -> None:
    written = Written(4, frozenset(DAYS), ROWS.with_columns(value=pl.lit(0, pl.Int64)))
    assert written.instead_of(frame) is frame


def test_rows_of_a_refused_day_are_not_handed_on() -> None:
    written = Written(4, frozenset(DAYS[:2]), ROWS)
    given = written.instead_of(stored(DAYS[:2]))
    assert given.rows.collect()["value"].to_list() == [1, 2]


def test_a_written_day_without_rows_is_there_and_not_filled() -> None:
    written = Written(4, frozenset([*DAYS, date(2013, 3, 8)]), ROWS)
    frame = DayFrame("features/x", ROWS.lazy(), frozenset([*DAYS, date(2013, 3, 8)]), frozenset(DAYS), {}, 4)
    given = written.instead_of(frame)
    assert given is not frame
    assert (given.days, given.filled) == (frame.days, frame.filled)
    assert given.rows.collect().equals(ROWS)
