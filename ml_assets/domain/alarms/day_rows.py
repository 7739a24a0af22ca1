"""Rows of a table by day, as the arrays that rules count in.

What belongs here: which rows are a day's, numbers, minutes between instants, codes of texts.
What does not: any rule, any limit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.local_days import DAY

Made = TypeVar("Made")
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

EVENT_TIME = "event_time"
CLOCK = "clock"
MISSING = -1
MICROSECONDS_A_MINUTE = 60_000_000


@dataclass(frozen=True)
class DayRows:
    """Rows sorted by day, the days they are of or that have none, and where each day begins.

    `keys` name a row: they are no values. `later` are the columns that hold what happened after the event began;
    `timezone` is that of the clock a person would read.
    """

    frame: pl.DataFrame
    keys: tuple[str, ...]
    timezone: str
    later: frozenset[str] = frozenset()
    days: tuple[date, ...] = ()
    starts: Codes = field(init=False)
    _made: dict[str, Any] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Finds where the days begin; the frame has to be sorted by them."""
        counted = dict(self.frame.group_by(DAY).len().iter_rows())
        days = tuple(sorted({*self.days, *counted}))
        ends = np.cumsum([counted.get(day, 0) for day in days], dtype=np.int64)
        object.__setattr__(self, "days", days)
        object.__setattr__(self, "starts", np.concatenate([[0], ends]).astype(np.int64))

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        keys: Sequence[str],
        timezone: str,
        later: Sequence[str] = (),
        days: Iterable[date] = (),
    ) -> "DayRows":
        """The rows of a frame, whatever their order; `days` count that have none, too."""
        return cls(frame.sort(DAY, *keys), tuple(keys), timezone, frozenset(later), tuple(days))

    def slice(self, at: int) -> slice:
        """Where the rows of the day at a position lie."""
        return slice(int(self.starts[at]), int(self.starts[at + 1]))

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` gives, made once for the rules that ask for the same."""
        if name not in self._made:
            self._made[name] = make()
        made: Made = self._made[name]
        return made

    def count(self, at: int) -> int:
        """How many rows a day has."""
        return int(self.starts[at + 1] - self.starts[at])

    @cached_property
    def day_codes(self) -> Codes:
        """The position of each row's day."""
        return np.repeat(np.arange(len(self.days)), np.diff(self.starts))

    @cached_property
    def given(self) -> Mapping[str, Floats]:
        """The columns that are numbers, NaN where there is none."""
        return {
            name: _floats(self.frame[name])
            for name, kind in self.frame.schema.items()
            if (kind.is_numeric() or kind == pl.Boolean) and name not in self.keys
        }

    @cached_property
    def clock(self) -> Floats:
        """Minutes of the local day at which each row's event is."""
        local = pl.col(EVENT_TIME).dt.convert_time_zone(self.timezone)
        return _floats(
            self.frame.select(local.dt.hour().cast(pl.Int64) * 60 + local.dt.minute().cast(pl.Int64)).to_series()
        )

    @cached_property
    def since(self) -> Mapping[str, Floats]:
        """Minutes from the event to each other instant of the row."""
        origin = self.frame[EVENT_TIME].to_physical()
        return {
            f"{name}−{EVENT_TIME}": _floats(self.frame[name].to_physical() - origin) / MICROSECONDS_A_MINUTE
            for name, kind in self.frame.schema.items()
            if isinstance(kind, pl.Datetime) and name not in (EVENT_TIME, *self.keys)
        }

    @cached_property
    def numbers(self) -> Mapping[str, Floats]:
        """Everything about a row that is a number: its numeric columns, its clock, the minutes to its instants."""
        return {**self.given, CLOCK: self.clock, **self.since}

    @cached_property
    def texts(self) -> Mapping[str, pl.Series]:
        """The columns that are texts, keys aside."""
        return {
            name: self.frame[name]
            for name, kind in self.frame.schema.items()
            if kind == pl.String and name not in self.keys
        }

    @cached_property
    def codes(self) -> Mapping[str, tuple[Codes, tuple[str, ...]]]:
        """Each text column as codes of its values in their order, −1 for null."""
        return {name: coded(values) for name, values in self.texts.items()}


def coded(values: pl.Series) -> tuple[Codes, tuple[str, ...]]:
    """Codes of the values in their order, −1 for null, and the values."""
    known = values.unique().drop_nulls().sort()
    dense = values.rank("dense").cast(pl.Int64) - 1
    return dense.fill_null(MISSING).to_numpy(), tuple(known.cast(pl.String))


def dense(columns: Sequence[pl.Series]) -> Codes:
    """One code for each different combination of the columns' values, −1 where one of them is null."""
    frame = pl.DataFrame(columns)
    whole = frame.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
    ranked = frame.select(pl.struct(pl.all()).rank("dense").cast(pl.Int64) - 1).to_series()
    return pl.select(pl.when(whole).then(ranked).otherwise(MISSING)).to_series().to_numpy()


def _floats(values: pl.Series) -> Floats:
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(numbers), numbers, np.nan)
