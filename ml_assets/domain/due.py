"""Which days of a workload are due, from a clock that is given.

What belongs here: when a day may be computed. What does not: reading a clock, which days are on record (`planning.py`).
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from ml_assets.domain.specs import Calendar, SourceSpec


def due_end(calendar: Calendar, sources: Iterable[SourceSpec], now: datetime) -> date:
    """The first day of a calendar that is not due at the instant `now`, which has a zone.

    A day is due when it is over in its zone and the time has passed in which the slowest of the calendar's sources
    delivers (`delivered_within`), counted in hours that pass, whatever the clocks are put to.
    """
    slowest = max((source.delivered_within for source in sources if source.calendar == calendar), default=timedelta(0))
    return (now.astimezone(ZoneInfo("UTC")) - slowest).astimezone(ZoneInfo(calendar.timezone)).date()
