"""Which days an asset reads, by name: same day, trailing days, the window before a day, training slices.

What belongs here: every offset between a partition and the partitions it reads.
What does not: date arithmetic about data (that is `domain`, on instants).
"""

from dataclasses import dataclass
from datetime import date, timedelta

from dagster import TimeWindowPartitionMapping

from ml_assets.domain.errors import DayError
from partitions.days import DayRange


def same_days() -> TimeWindowPartitionMapping:
    """The days of the partition itself; days the parent's calendar lacks are left out."""
    return trailing_days(0)


def trailing_days(look_back: int) -> TimeWindowPartitionMapping:
    """The day itself and the `look_back` days before it; days before the calendar begins are left out."""
    return TimeWindowPartitionMapping(start_offset=-look_back, end_offset=0, allow_nonexistent_upstream_partitions=True)


def window_before(days: int) -> TimeWindowPartitionMapping:
    """The `days` days strictly before the partition; never the day itself."""
    if days < 1:
        raise DayError(f"a window before a day has at least one day; got {days}")
    return TimeWindowPartitionMapping(start_offset=-days, end_offset=-1, allow_nonexistent_upstream_partitions=True)


@dataclass(frozen=True, slots=True)
class TrainingSlices:
    """The event days before a training day: train, then calibrate, then gate; none overlap."""

    train: DayRange
    calibrate: DayRange
    gate: DayRange

    @property
    def window(self) -> DayRange:
        """All days of the three slices."""
        return DayRange(self.train.start, self.gate.end)


def training_slices(
    day: date, *, first_day: date, train_days: int, calibration_days: int, gate_days: int
) -> TrainingSlices:
    """The slices before training day `day`, cut off at the calendar's first day."""
    gate_start = day - timedelta(days=gate_days)
    calibrate_start = gate_start - timedelta(days=calibration_days)
    train_start = min(max(first_day, calibrate_start - timedelta(days=train_days)), calibrate_start)
    return TrainingSlices(
        train=DayRange(train_start, calibrate_start),
        calibrate=DayRange(calibrate_start, gate_start),
        gate=DayRange(gate_start, day),
    )
