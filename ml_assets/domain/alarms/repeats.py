"""Rows that came before: a file dated anew, a part of it, one row many times.

What belongs here: equality of rows, their day and name aside.
What does not: rows that are equal within the day in every column (the boundary keeps one of each, `ingestion.py`).
"""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import polars as pl

from ml_assets.domain.alarms.day_rows import CLOCK, EVENT_TIME, Codes, DayRows, dense
from ml_assets.domain.alarms.rule import Measure, Measured, Rule, Usual
from ml_assets.domain.local_days import DAY

REMEMBERED_DAYS = 35


def rows_of_earlier_days(rows: DayRows) -> Measure:
    """The largest share of a day's rows that one of the days before held, at whatever date, with their facts."""
    return _repeated(rows, _contents(rows))


def rows_twice(rows: DayRows) -> Measure:
    """The share of a day's rows that are there more than once, whatever their key says."""
    codes = _contents(rows)

    def measure(at: int, _: Codes) -> Iterator[Measured]:
        today = codes[rows.slice(at)]
        if len(today):
            yield Measured("rows", "", 1 - len(np.unique(today)) / len(today), len(today))

    return measure


def _contents(rows: DayRows) -> Codes:
    """One code for each different content of a row: all but the keys, instants as minutes from the event."""
    left_out = {DAY, EVENT_TIME, *rows.keys}
    plain = [
        rows.frame[name]
        for name, kind in rows.frame.schema.items()
        if name not in left_out and not isinstance(kind, pl.Datetime)
    ]
    instants = [pl.Series(name, values) for name, values in {CLOCK: rows.clock, **rows.since}.items()]
    hashed = pl.DataFrame([*plain, *instants]).hash_rows(seed=1)
    return dense([hashed])


def _repeated(rows: DayRows, codes: Codes) -> Measure:
    by_day = [np.unique(codes[rows.slice(at)]) for at in range(len(rows.days))]
    width = int(codes.max(initial=0)) + 1

    def measure(at: int, _: Codes) -> Iterator[Measured]:
        first = rows.days[at] - timedelta(days=REMEMBERED_DAYS)
        before = [day for day in range(max(at - REMEMBERED_DAYS, 0), at) if rows.days[day] >= first]
        if not before or not rows.count(at):
            return
        here = np.zeros(width, dtype=np.bool_)
        here[by_day[at]] = True
        shares = [float(np.count_nonzero(here[by_day[day]])) / max(len(by_day[at]), 1) for day in before]
        most = int(np.argmax(shares))
        yield Measured("rows", "", shares[most], rows.count(at))

    return measure


RULES = (
    Rule(
        "rows of an earlier day",
        "the share of rows that an earlier day held",
        Usual.RECENT,
        0.02,
        rows_of_earlier_days,
        look_back=REMEMBERED_DAYS,
    ),
    Rule("rows more than once", "the share of rows that are there twice", Usual.RECENT, 0.02, rows_twice),
)
