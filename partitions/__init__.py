"""The only calendar: daily partitions, trailing windows, label lag, slices before a training day.

What belongs here: which days exist, which days an asset reads, how a day is named.
What does not: anything that touches data, Dagster runs or the environment.
"""

from partitions.days import DayRange, clock_change, day_of_key, days_between, key_of_day, today_in
from partitions.definitions import workload_days
from partitions.windows import Window, days_reaching, same_days, trailing_days, training_slices, window_before

__all__ = [
    "DayRange",
    "Window",
    "clock_change",
    "day_of_key",
    "days_between",
    "days_reaching",
    "key_of_day",
    "same_days",
    "today_in",
    "trailing_days",
    "training_slices",
    "window_before",
    "workload_days",
]
