"""Which days an asset reads, by name: same day, trailing days, the window before a day, training slices.

What belongs here: every offset between a partition and the partitions it reads.
What does not: date arithmetic about data (that is `domain`, on instants), Dagster's partition mappings: towards
Dagster every edge is same-day, because its backfills go wrong over windows.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from ml_assets.domain.errors import DayError
from partitions.days import DayRange


@dataclass(frozen=True, slots=True)
class Window:
    """The days read for a partition: from `first` to `last` days before it, both included; 0 is the day itself."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.last <= self.first:
            raise DayError(f"a window runs from a day to the same or a later one, never past D; got {self}")

    def __str__(self) -> str:
        if self.first == self.last:
            return "the same day" if self.first == 0 else f"day −{self.first}"
        return f"days −{self.first} to {f'−{self.last}' if self.last else 'D'}"

    def then(self, further: "Window") -> "Window":
        """The days that are read for the days of this window when each of them reads `further`."""
        return Window(self.first + further.first, self.last + further.last)

    def of(self, days: DayRange) -> DayRange:
        """The days read by a run over `days`; none for none."""
        if not len(days):
            return days
        return DayRange(days.start - timedelta(days=self.first), days.end - timedelta(days=self.last))


def same_days() -> Window:
    """The days of the partition itself."""
    return Window(0, 0)


def trailing_days(look_back: int) -> Window:
    """The day itself and the `look_back` days before it."""
    return Window(look_back, 0)


def days_reaching(span: timedelta, clock_change: timedelta) -> Window:
    """The day itself and the days before it that hold every instant up to `span` before any instant of the day.

    `clock_change` is how much the local clock may be put forward in between. A span of 0 or less reaches no other day.
    """
    return trailing_days(-(-(span + clock_change) // timedelta(days=1)) if span > timedelta(0) else 0)


def window_before(days: int) -> Window:
    """The `days` days strictly before the partition; never the day itself."""
    if days < 1:
        raise DayError(f"a window before a day has at least one day; got {days}")
    return Window(days, 1)


@dataclass(frozen=True, slots=True)
class TrainingSlices:
    """The event days before a training day: train, then held out, then the gate's; none overlap."""

    train: DayRange
    held_out: DayRange
    gate: DayRange

    @property
    def window(self) -> DayRange:
        """All days of the three slices."""
        return DayRange(self.train.start, self.gate.end)


def training_slices(
    end: date, *, first_day: date, train_days: int | None, held_out_days: int, gate_days: int
) -> TrainingSlices:
    """The slices that end before `end`, cut off at the calendar's first day; without `train_days` they begin there."""
    gate_start = max(first_day, end - timedelta(days=gate_days))
    held_out_start = max(first_day, gate_start - timedelta(days=held_out_days))
    train_start = first_day if train_days is None else max(first_day, held_out_start - timedelta(days=train_days))
    return TrainingSlices(
        train=DayRange(train_start, held_out_start),
        held_out=DayRange(held_out_start, gate_start),
        gate=DayRange(gate_start, max(gate_start, end)),
    )
