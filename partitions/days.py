"""Days and half-open ranges of days, as values.

What belongs here: naming a day, walking a range.
What does not: Dagster objects (`definitions.py`), which days an asset reads (`windows.py`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from ml_assets.domain.errors import DayError


@dataclass(frozen=True, slots=True)
class DayRange:
    """The days of the half-open range `[start, end)`."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise DayError(f"a range of days must not end before it starts: [{self.start}, {self.end})")

    def __iter__(self) -> Iterator[date]:
        return (self.start + timedelta(days=offset) for offset in range(len(self)))

    def __len__(self) -> int:
        return (self.end - self.start).days

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.start <= day < self.end

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"

    @property
    def last(self) -> date:
        """The last day of the range."""
        return self.end - timedelta(days=1)

    def extended(self, *, back: int) -> "DayRange":
        """The range that starts `back` days earlier."""
        return DayRange(self.start - timedelta(days=back), self.end)

    def instants(self, timezone: str) -> tuple[datetime, datetime]:
        """The UTC instants at which the first day begins and the last one ends, local midnights of `timezone`."""
        return midnight(self.start, timezone), midnight(self.end, timezone)


def midnight(day: date, timezone: str) -> datetime:
    """The UTC instant of local midnight at the start of `day` in `timezone`."""
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
    return local.astimezone(ZoneInfo("UTC"))


def hours_of(day: date, timezone: str) -> list[datetime]:
    """The instants in `timezone` at which the hours of a local day begin: 24 of them, or as clocks are put."""
    start, end = midnight(day, timezone), midnight(day + timedelta(days=1), timezone)
    count = -(-(end - start) // timedelta(hours=1))
    return [(start + timedelta(hours=at)).astimezone(ZoneInfo(timezone)) for at in range(count)]


@cache
def clock_change(timezone: str, first: date, end: date | None) -> timedelta:
    """How much the local clock is put forward or back, at the most, between midnights of `[first, end]`.

    So much shorter than 24 hours each may a stretch of local days be. Without an end two years are looked at.
    """
    end = end or first + TWO_YEARS
    zone = ZoneInfo(timezone)
    days = DayRange(first, end + timedelta(days=1))
    offsets = [datetime(day.year, day.month, day.day, tzinfo=zone).utcoffset() or timedelta(0) for day in days]
    return max(offsets) - min(offsets)


TWO_YEARS = timedelta(days=731)


def today_in(timezone: str) -> date:
    """The local day in `timezone`; the days before it are over."""
    return datetime.now(ZoneInfo(timezone)).date()


def key_of_day(day: date) -> str:
    """The partition key of a day."""
    return day.isoformat()


def day_of_key(key: str) -> date:
    """The day of a partition key; DayError says what came when it is none."""
    try:
        return date.fromisoformat(key)
    except ValueError as error:
        raise DayError(f"{key!r} is not a day; wanted YYYY-MM-DD, for example 2013-03-05.") from error


def days_between(keys: Iterable[str]) -> DayRange:
    """The range that a run's contiguous partition keys cover; an empty one for no keys.

    Raises DayError for keys with holes: a run covers a range, and a hole would be filled in silence.
    """
    days = sorted(day_of_key(key) for key in keys)
    if not days:
        return DayRange(date.min, date.min)
    covered = DayRange(days[0], days[-1] + timedelta(days=1))
    if len(covered) != len(days):
        missing = sorted(set(covered) - set(days))
        raise DayError(f"a run must cover a range without holes; {covered} lacks {missing[:5]}")
    return covered
