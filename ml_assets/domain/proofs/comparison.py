"""Where two frames that should hold the same rows do not.

What belongs here: that comparison, exact, and its first difference in words. What does not: which frames are compared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

SAME_DIGITS = 1e-9
MOST_TOLD = 3
TIMES = "times it comes"


@dataclass(frozen=True, slots=True)
class Difference:
    """How many rows of either frame the other lacks, and the first: its key, and what differs or where it is missing.

    `rounding` says that numbers differ in their last digits only.
    """

    rows: int
    key: str
    came: str
    rounding: bool


def difference(
    came: pl.DataFrame, wanted: pl.DataFrame, key: Sequence[str], *, came_from: str, wanted_from: str
) -> Difference | None:
    """The difference of two frames of the same columns, whatever the order of their rows; None when there is none.

    Values are compared exactly; a null equals a null, NaN equals NaN, and a row counts as often as it comes.
    """
    if came.schema != wanted.schema:
        return _of_types(came.schema, wanted.schema, came_from, wanted_from)
    columns = came.columns
    one, other = came.sort(columns), wanted.sort(columns)
    if one.equals(other, null_equal=True):
        return None
    counted = [frame.group_by(columns).agg(pl.len().alias(TIMES)) for frame in (one, other)]
    on = [*columns, TIMES]
    surplus, lacking = (
        mine.join(theirs, on=on, how="anti", nulls_equal=True).sort(columns)
        for mine, theirs in (tuple(counted), tuple(reversed(counted)))
    )
    if surplus.is_empty() and lacking.is_empty():
        return None
    first = (surplus if surplus.height else lacking).row(0, named=True)
    one_row, other_row = (_of_key(frame, key, first) for frame in (surplus, lacking))
    rows, named = max(surplus.height, lacking.height), shown_key(first, key)
    if one_row and other_row:
        names = [name for name in on if not _equal(one_row[name], other_row[name])]
        told = [
            f"{name} is {_shown(one_row[name])} {came_from} and {_shown(other_row[name])} {wanted_from}"
            for name in names
        ]
        rounding = all(_close(one_row[name], other_row[name]) for name in names)
        return Difference(rows, named, "; ".join(told[:MOST_TOLD]), rounding)
    only, absent = (came_from, wanted_from) if surplus.height else (wanted_from, came_from)
    return Difference(rows, named, f"the row is there {only} and is not {absent}", rounding=False)


def shown_key(row: Mapping[str, object], key: Sequence[str]) -> str:
    """The columns that name a row, in words."""
    return ", ".join(f"{name} {_shown(row[name])}" for name in key)


def _of_types(came: pl.Schema, wanted: pl.Schema, came_from: str, wanted_from: str) -> Difference:
    names = dict.fromkeys((*came, *wanted))
    told = [
        f"{name} is {came.get(name, 'not there')} {came_from} and {wanted.get(name, 'not there')} {wanted_from}"
        for name in names
        if came.get(name) != wanted.get(name)
    ]
    return Difference(0, "the columns", "; ".join(told[:MOST_TOLD]) or "they come in another order", rounding=False)


def _of_key(frame: pl.DataFrame, key: Sequence[str], row: Mapping[str, object]) -> dict[str, object] | None:
    named = frame.filter(
        pl.all_horizontal(pl.col(name).eq_missing(pl.lit(row[name], frame.schema[name])) for name in key)
    )
    return named.row(0, named=True) if named.height else None


def _equal(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # noqa: PLR0124  NaN is not itself


def _close(one: object, other: object) -> bool:
    return isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=SAME_DIGITS)


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
