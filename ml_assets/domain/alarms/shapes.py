"""How a day lies in its hours, and columns that stand still.

What belongs here: the day's own clock, distinct values, runs. What does not: what the values are.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ml_assets.domain.alarms.day_rows import MISSING, Codes, DayRows, Floats
from ml_assets.domain.alarms.rule import Measure, Measured, Rule, Usual

QUARTERS = (0.1, 0.5, 0.9)
MIN_ROWS = 10


def clocks(rows: DayRows) -> Measure:
    """At which minute of the day a tenth, half and nine tenths of the events are past, and on how many minutes."""

    def measure(at: int, _: Codes) -> Iterator[Measured]:
        today = rows.clock[rows.slice(at)]
        if len(today) < MIN_ROWS:
            return
        for share, minute in zip(QUARTERS, np.quantile(today, QUARTERS), strict=True):
            yield Measured("clock", f"{share:.0%} past", float(minute), len(today))
        yield Measured("full hours", "", 600 * float(np.mean(today % 60 == 0)), len(today))

    return measure


def low_end(rows: DayRows) -> Measure:
    """Where a column's lowest tenth ends, from where it usually does, in half the usual spread of its middle eighths.

    Bad days stretch a column upwards or downwards; an hour or a unit too many moves the end that bad days leave alone.
    """
    ends = {name: _ends(rows, values) for name, values in rows.numbers.items()}

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        for name, by_day in ends.items():
            usual = by_day[learnt]
            usual = usual[~np.isnan(usual[:, 0])]
            if not len(usual) or np.isnan(by_day[at, 0]):
                continue
            low, spread = float(np.median(usual[:, 0])), float(np.median(usual[:, 1] - usual[:, 0])) / 2
            if spread > 0:
                yield Measured(name, "", (float(by_day[at, 0]) - low) / spread, rows.count(at))

    return measure


def _ends(rows: DayRows, values: Floats) -> Floats:
    found = np.full((len(rows.days), 2), np.nan)
    for at in range(len(rows.days)):
        today = values[rows.slice(at)]
        today = np.sort(today[~np.isnan(today)])
        if len(today) >= MIN_ROWS:
            found[at] = today[np.round(np.array([0.1, 0.9]) * (len(today) - 1)).astype(np.int64)]
    return found


def variety(rows: DayRows) -> Measure:
    """Log of a column's different values among those that are there, where most come again: else it tells of rows."""

    def different(counts: Codes) -> float:
        return float(np.log(len(counts))) if len(counts) <= counts.sum() / 2 else float("nan")

    return _of_counts(rows, {**rows.given, **_texts(rows)}, different)


def most_frequent_numbers(rows: DayRows) -> Measure:
    """The share of a numeric column's most frequent value among those that are there."""
    return _of_counts(rows, rows.given, _largest_share)


def most_frequent_texts(rows: DayRows) -> Measure:
    """The share of a text column's most frequent value among those that are there, facts of later aside."""
    return _of_counts(rows, _texts(rows), _largest_share)


def _texts(rows: DayRows) -> dict[str, Floats]:
    return {
        name: np.where(codes == MISSING, np.nan, codes.astype(np.float64))
        for name, (codes, _) in rows.codes.items()
        if name not in rows.later
    }


def _largest_share(counts: Codes) -> float:
    return float(counts.max() / counts.sum())


def _of_counts(rows: DayRows, columns: Mapping[str, Floats], number: Callable[[Codes], float]) -> Measure:
    def measure(at: int, _: Codes) -> Iterator[Measured]:
        for name, values in columns.items():
            today = values[rows.slice(at)]
            there = today[~np.isnan(today)]
            if len(there) < MIN_ROWS:
                continue
            _, counts = np.unique(there, return_counts=True)
            yield Measured(name, "", number(counts), len(there))

    return measure


def runs(rows: DayRows) -> Measure:
    """The share of a column's neighbouring values, in time within a segment, that are equal.

    Segments are the values of the text column that had the fewest of late.
    """
    different = {name: _different(rows, codes) for name, (codes, _) in rows.codes.items()}

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        part = rows.slice(at)
        fewest = min(different, key=lambda name: (int(different[name][learnt].sum()), name), default=None)
        segment = np.zeros(rows.count(at), dtype=np.int64) if fewest is None else rows.codes[fewest][0][part]
        order = np.lexsort((rows.clock[part], segment))
        same = np.diff(segment[order]) == 0
        for name, values in rows.given.items():
            today = values[part][order]
            both = same & ~np.isnan(today[1:]) & ~np.isnan(today[:-1])
            count = int(np.count_nonzero(both))
            if count >= MIN_ROWS:
                yield Measured(name, "", float(np.mean(today[1:][both] == today[:-1][both])), count)

    return measure


def _different(rows: DayRows, codes: Codes) -> Codes:
    """How many different codes each day has."""
    return np.array([len(np.unique(codes[rows.slice(at)])) for at in range(len(rows.days))], dtype=np.int64)


RULES = (
    Rule("clock", "when in the day events are", Usual.WEEKDAY, 30.0, clocks),
    Rule("low end", "where a column's lowest tenth ends", Usual.RECENT, 0.2, low_end),
    Rule("variety", "how many different values a column has", Usual.RECENT, 0.2, variety),
    Rule(
        "most frequent number",
        "the share of a column's most frequent number",
        Usual.RECENT,
        0.03,
        most_frequent_numbers,
    ),
    Rule("most frequent text", "the share of a column's most frequent text", Usual.RECENT, 0.02, most_frequent_texts),
    Rule("standing still", "how often a value is the one before", Usual.RECENT, 0.1, runs),
)
