"""Values that are not there: nulls, combinations of nulls, zeros.

What belongs here: shares of rows. What does not: values that are there but wrong.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.alarms.day_rows import Codes, DayRows, dense
from ml_assets.domain.alarms.rule import Measure, Measured, Rule, Usual

Mask = npt.NDArray[np.bool_]


def null_shares(rows: DayRows) -> Measure:
    """The share of a day's rows in which a column is null or no finite number, where it is now or has been of late."""
    masks = {name: _absent(rows.frame[name]) for name in rows.frame.columns}
    return _shares(rows, {name: mask for name, mask in masks.items() if mask.any()})


def combinations(rows: DayRows) -> Measure:
    """The share of a day's rows with each combination of nulls (departed but not arrived), of now or of late."""
    columns = [name for name in rows.frame.columns if rows.frame[name].null_count()]
    if not columns:
        return lambda _at, _learnt: ()
    codes = dense([rows.frame[name].is_null() for name in columns])
    _, first = np.unique(codes, return_index=True)
    named = [" ".join(name for name in columns if rows.frame[name][int(row)] is None) or "nothing" for row in first]
    return _shares(rows, {f"null: {name}": codes == code for code, name in enumerate(named)})


def zero_shares(rows: DayRows) -> Measure:
    """The share of a day's rows in which a number is 0, where one is now or has been of late."""
    return _shares(rows, {name: values == 0 for name, values in rows.given.items()})


def _absent(values: pl.Series) -> Mask:
    absent = values.is_null()
    return (absent | ~values.is_finite().fill_null(value=False) if values.dtype.is_float() else absent).to_numpy()


def _shares(rows: DayRows, masks: dict[str, Mask]) -> Measure:
    counted = {name: np.bincount(rows.day_codes[mask], minlength=len(rows.days)) for name, mask in masks.items()}

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        if not (count := rows.count(at)):
            return
        for name, times in counted.items():
            # What no day has that is looked at is no subject of this day, whatever else was read with it.
            if times[at] or times[learnt].any():
                yield Measured(name, "", float(times[at] / count), count)

    return measure


RULES = (
    Rule("nulls", "the share of nulls", Usual.RECENT, 0.02, null_shares, absent=0.0),
    Rule("nulls together", "which columns are null together", Usual.RECENT, 0.02, combinations, absent=0.0),
    Rule("zeros", "the share of zeros", Usual.RECENT, 0.03, zero_shares, absent=0.0),
)
