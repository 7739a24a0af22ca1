"""Values outside what the last weeks held: beyond their range, never seen, new combinations of columns.

What belongs here: shares of rows whose value, or combination of values, is new. What does not: how often known values
come (`volume.py`).
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from ml_assets.domain.alarms.day_rows import MISSING, Codes, DayRows, Floats, dense
from ml_assets.domain.alarms.rule import Measure, Measured, Rule, Usual

WIDENED = 0.25
MOSTLY = 0.1
VALUES_A_KEY = 3.0
MARKED_AT_MOST = 50_000_000


def beyond_range(rows: DayRows) -> Measure:
    """The share of a day's numbers that lie beyond the learnt days' range, widened by a quarter of itself."""
    bounds = {name: _bounds(rows, values) for name, values in rows.numbers.items()}

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        for name, values in rows.numbers.items():
            low, high = bounds[name][0][learnt], bounds[name][1][learnt]
            today = values[rows.slice(at)]
            there = int(np.count_nonzero(~np.isnan(today)))
            if not there or not np.isfinite(low).any():
                continue
            least, most = float(np.min(low)), float(np.max(high))
            margin = WIDENED * (most - least)
            outside = int(np.count_nonzero((today < least - margin) | (today > most + margin)))
            yield Measured(name, "", outside / there, there)

    return measure


def _bounds(rows: DayRows, values: Floats) -> tuple[Floats, Floats]:
    filled = np.flatnonzero(np.diff(rows.starts))
    low, high = np.full(len(rows.days), np.inf), np.full(len(rows.days), -np.inf)
    if len(filled):
        low[filled] = np.fmin.reduceat(values, rows.starts[filled])
        high[filled] = np.fmax.reduceat(values, rows.starts[filled])
    return np.where(np.isnan(low), np.inf, low), np.where(np.isnan(high), -np.inf, high)


def never_seen_numbers(rows: DayRows) -> Measure:
    """The share of a day's numbers that no learnt day held, where most values come again: units, precision.

    Numbers with a fraction only: whole ones may name things (a flight's number), and new names are no fault.
    """
    fractions = [name for name in rows.given if rows.frame.schema[name].is_float()]
    return _unseen(rows, {name: dense([rows.frame[name]]) for name in fractions})


def never_seen_texts(rows: DayRows) -> Measure:
    """The share of a day's texts that no learnt day held."""
    return _unseen(rows, {name: codes for name, (codes, _) in rows.codes.items()})


def never_seen_together(rows: DayRows) -> Measure:
    """The share of rows whose key is known and whose value is none that this key has had: a route's distance.

    Keys are texts and pairs of texts, values other texts and whole numbers, columns that are known late aside.
    """
    texts = [name for name in rows.texts if name not in rows.later]
    whole = [
        name for name, kind in rows.frame.schema.items() if kind.is_integer() and name not in rows.later | {*rows.keys}
    ]
    keys = [(name,) for name in texts] + list(combinations(texts, 2))
    coded: dict[frozenset[str], tuple[Codes, list[Codes], int]] = {}

    def table(columns: frozenset[str]) -> tuple[Codes, list[Codes], int]:
        if columns not in coded:
            codes = dense([rows.frame[name] for name in sorted(columns)])
            coded[columns] = (codes, _by_day(rows, codes), int(codes.max(initial=0)) + 1)
        return coded[columns]

    pairs = [
        (f"{value} of {' and '.join(key)}", frozenset(key), frozenset((*key, value)))
        for key in keys
        for value in (*texts, *whole)
        if value not in key
    ]

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        known: dict[frozenset[str], np.ndarray[tuple[int], np.dtype[np.bool_]]] = {}
        for name, key, both in pairs:
            for columns in (key, both):
                if columns not in known:
                    known[columns] = _known(table(columns), at, learnt, rows)
            asked = int(np.count_nonzero(known[key]))
            if asked and _values_a_key(table(key), table(both), learnt) <= VALUES_A_KEY:
                new = int(np.count_nonzero(known[key] & ~known[both]))
                yield Measured(name, "", new / asked, asked)

    return measure


def _values_a_key(key: tuple[Codes, list[Codes], int], both: tuple[Codes, list[Codes], int], learnt: Codes) -> float:
    """How many different values a key had on a learnt day, on average."""
    keys = sum(len(key[1][day]) for day in learnt)
    return sum(len(both[1][day]) for day in learnt) / max(keys, 1)


def _known(
    table: tuple[Codes, list[Codes], int], at: int, learnt: Codes, rows: DayRows
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    codes, by_day, width = table
    seen = np.zeros(width + 1, dtype=np.bool_)
    for day in learnt:
        seen[by_day[day]] = True
    known: np.ndarray[tuple[int], np.dtype[np.bool_]] = seen[codes[rows.slice(at)]]
    return known


def _unseen(rows: DayRows, coded: dict[str, Codes]) -> Measure:
    by_day = {name: (codes, _by_day(rows, codes), int(codes.max(initial=0)) + 1) for name, codes in coded.items()}

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        if not len(learnt):
            return
        for name, table in by_day.items():
            there = int(np.count_nonzero(table[0][rows.slice(at)] != MISSING))
            if there:
                known = int(np.count_nonzero(_known(table, at, learnt, rows)))
                yield Measured(name, "", 1 - known / there, there)

    return measure


def _by_day(rows: DayRows, codes: Codes) -> list[Codes]:
    """The different codes of each day, without that of null."""
    there = codes != MISSING
    width = int(codes.max(initial=0)) + 1
    packed = rows.day_codes[there] * width + codes[there]
    if len(rows.days) * width <= MARKED_AT_MOST:
        marks = np.zeros(len(rows.days) * width, dtype=np.bool_)
        marks[packed] = True
        packed = np.flatnonzero(marks)
    else:
        packed = np.unique(packed)
    first = np.searchsorted(packed, np.arange(len(rows.days) + 1) * width)
    return [packed[first[at] : first[at + 1]] - at * width for at in range(len(rows.days))]


RULES = (
    Rule("beyond the range", "the share of values beyond the recent range", Usual.RECENT, 0.01, beyond_range),
    Rule(
        "new numbers",
        "the share of numbers not seen in the last weeks",
        Usual.RECENT,
        0.1,
        never_seen_numbers,
        most_usual=MOSTLY,
    ),
    Rule(
        "new texts",
        "the share of values not seen in the last weeks",
        Usual.RECENT,
        0.01,
        never_seen_texts,
        most_usual=MOSTLY,
    ),
    Rule(
        "new combinations",
        "the share of keys with a value they never had",
        Usual.RECENT,
        0.02,
        never_seen_together,
        most_usual=MOSTLY,
    ),
)
