"""Which days of a workload are due, from a clock that is given, and what is to be computed of them next.

What belongs here: when a day may be computed, in which order. What does not: reading a clock, what is out of step
(`planning.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from ml_assets.domain.day_records import DayRecords
from ml_assets.domain.declared import Declared, Graph, Nature
from ml_assets.domain.origins import DropFolder
from ml_assets.domain.specs import Calendar, SourceSpec
from partitions import DayRange
from partitions.days import midnight

A_DAY = timedelta(days=1)


def due_end(calendar: Calendar, sources: Iterable[SourceSpec], now: datetime) -> date:
    """The first day of a calendar that is not due at the instant `now`, which has a zone.

    A day is due when it is over in its zone and every source of the calendar has had the time in which it delivers the
    day (`expected_by`).
    """
    over = now.astimezone(ZoneInfo(calendar.timezone)).date()
    return min([over, *(_first_not_due(source, over, now) for source in sources if source.calendar == calendar)])


def expected_by(source: SourceSpec, day: date) -> datetime:
    """The UTC instant by which a day of a source has been delivered, or by which nothing is delivered any more.

    It is the end of the local day, or of the last day that the same file holds, and `delivered_within` in hours that
    pass, whatever the clocks are put to. For a day on which the source does not deliver it is the day's end.
    """
    zone, delivers = source.calendar.timezone, source.delivers(day)
    last = source.origin.last_day_of(day) if delivers and isinstance(source.origin, DropFolder) else day
    return midnight(last + A_DAY, zone) + (source.delivered_within if delivers else timedelta(0))


def _first_not_due(source: SourceSpec, over: date, now: datetime) -> date:
    """The first day of which a source may still deliver, of those before `over`; `over` when there is none."""
    first = day = over
    while day > source.calendar.first_day:
        day -= A_DAY
        if expected_by(source, day) > now:
            first = day
        elif source.delivers(day):
            # Days before it were expected no later.
            break
    return first


@dataclass(frozen=True, slots=True)
class DueRun:
    """Tables and days that one run is to compute next, and why."""

    tables: tuple[str, ...]
    days: DayRange
    reason: str


def next_due(graph: Graph, records: Mapping[str, DayRecords], calendar: Calendar, end: date) -> DueRun | None:
    """What a live calendar is to compute next of its days before `end`; None when all of them are on record.

    First, of all days at once, what rests on no decision. Then day by day: the decision that the day begins with, and
    after it what that day trains, serves and reports: evidence of a day can only ask for a model of the next.
    """
    mine = [asset for asset in graph if asset.calendar == calendar]
    decided = _resting_on_decisions(mine)
    shared = [asset for asset in mine if asset.table not in decided]
    days = DayRange(calendar.first_day, calendar.event_end(end))
    if missing := [day for asset in shared if (day := _first_missing(asset, records, days)) is not None]:
        return DueRun(tuple(asset.table for asset in shared), DayRange(min(missing), days.end), "these days are due")
    later = [asset for asset in mine if asset.table in decided]
    opening = [asset for asset in later if all(read.window.last > 0 for read in asset.reads.values())]
    behind = {asset.table: day for asset in later if (day := _first_missing(asset, records, days)) is not None}
    if not behind:
        return None
    day = min(behind.values())
    first = [asset.table for asset in opening if behind.get(asset.table) == day]
    tables = first or [asset.table for asset in later if asset not in opening]
    return DueRun(tuple(tables), DayRange(day, day + timedelta(days=1)), "this day is due")


def _resting_on_decisions(assets: Iterable[Declared]) -> set[str]:
    """The decisions among the assets, parents first, and whatever reads one of them."""
    found: set[str] = set()
    for asset in assets:
        if asset.nature is Nature.DECISION or any(read.table in found for read in asset.reads.values()):
            found.add(asset.table)
    return found


def _first_missing(asset: Declared, records: Mapping[str, DayRecords], days: DayRange) -> date | None:
    on_record = {int(day) for day in records[asset.table].days}
    return next((day for day in days if day.toordinal() not in on_record), None)
