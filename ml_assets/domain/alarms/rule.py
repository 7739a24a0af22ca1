"""What a rule is: numbers measured of a day, each with how to tell an unusual one.

What belongs here: the value that every rule is. What does not: the rules (a file each), the limits (`limits.py`).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ml_assets.domain.alarms.day_rows import Codes, DayRows

LEARNT_DAYS = 28


class Usual(StrEnum):
    """What is expected of a day: the median of its last four same weekdays, or of the last 14 days."""

    WEEKDAY = "same weekdays"
    RECENT = "last days"


class Measured(NamedTuple):
    """A number measured of a day: of which column or columns, within which segment, from how many rows."""

    subject: str
    segment: str
    value: float
    n: int


Measure = Callable[[int, Codes], Iterable[Measured]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of thing that may be wrong with a day.

    `prepare` counts all days at once and gives the function that measures one: it is handed the position of the day
    and those of the days before it from which may be learnt. `floor` is the size of a deviation that is nothing, in
    the unit of the values: scales near zero would make everything an alarm. `look_back` says how many days before
    the day are looked at. Where more than `most_usual` is usual, nothing can be told and nothing is. `absent` is what a
    subject counts as on days on which nothing was measured of it: a share of rows is 0 where there are none.
    """

    name: str
    says: str
    usual: Usual
    floor: float
    prepare: Callable[[DayRows], Measure]
    look_back: int = LEARNT_DAYS
    most_usual: float = math.inf
    absent: float = math.nan
