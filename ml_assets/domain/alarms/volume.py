"""Rows that are missing or too many: of the day, of a segment, of a part of the day.

What belongs here: counts. What does not: what is expected of them (`limits.py`).
"""

from collections.abc import Iterator

import numpy as np

from ml_assets.domain.alarms.day_rows import MISSING, Codes, DayRows
from ml_assets.domain.alarms.rule import Measure, Measured, Rule, Usual

MIN_SEGMENT_ROWS = 15.0
MINUTES, HOURS_A_PART = 60, 4


def total(rows: DayRows) -> Measure:
    """Log of the rows of a day."""

    def measure(at: int, _: Codes) -> Iterator[Measured]:
        count = rows.count(at)
        yield Measured("rows", "", float(np.log1p(count)), count)

    return measure


def by_segment(rows: DayRows) -> Measure:
    """Log of the rows of each value of a text column, known before the event, that usually has enough of them."""
    tables = {
        name: (_counts(rows, codes, len(values)), values)
        for name, (codes, values) in rows.codes.items()
        if name not in rows.later
    }

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        for name, (counts, values) in tables.items():
            usual = counts[learnt].mean(axis=0) if len(learnt) else np.zeros(len(values))
            for code in np.flatnonzero(usual >= MIN_SEGMENT_ROWS):
                count = int(counts[at, code])
                yield Measured("rows", f"{name}={values[code]}", float(np.log1p(count)), count)

    return measure


def by_hours(rows: DayRows) -> Measure:
    """Log of the rows of every four hours of the local day that usually have enough of them."""
    parts = np.nan_to_num(rows.clock // (MINUTES * HOURS_A_PART), nan=MISSING).astype(np.int64)
    counts = _counts(rows, parts, 24 // HOURS_A_PART)

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        usual = counts[learnt].mean(axis=0) if len(learnt) else np.zeros(counts.shape[1])
        for part in np.flatnonzero(usual >= MIN_SEGMENT_ROWS / 2):
            count = int(counts[at, part])
            first = int(part) * HOURS_A_PART
            yield Measured("rows", f"{first:02}–{first + HOURS_A_PART:02} h", float(np.log1p(count)), count)

    return measure


def _counts(rows: DayRows, codes: Codes, width: int) -> Codes:
    """Rows by day and code."""
    there = codes != MISSING
    flat = np.bincount(rows.day_codes[there] * width + codes[there], minlength=len(rows.days) * width)
    return flat.reshape(len(rows.days), width).astype(np.int64)


TOTAL = Rule("rows", "how many rows came", Usual.WEEKDAY, 0.08, total)
SEGMENTS = Rule("rows of a segment", "how many rows a segment has", Usual.WEEKDAY, 0.3, by_segment)
HOURS = Rule("rows of four hours", "how many rows a part of the day has", Usual.WEEKDAY, 0.2, by_hours)
RULES = (TOTAL, SEGMENTS, HOURS)
