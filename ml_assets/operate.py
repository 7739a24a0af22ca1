"""Brings everything that is due up to date: what a live workload needs every day, or after any outage.

What belongs here: the order of it, what is said of late days. What does not: which days are due
(`ml_assets/domain/due.py`), the runs (`replay.py`, `repair.py`).

It keeps nothing of its own: what is on record says where to go on, so it may be killed at any moment and called as
often as one likes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ml_assets.domain.due import due_end
from ml_assets.domain.errors import ExtractError
from ml_assets.domain.origins import Archive
from ml_assets.domain.specs import SourceSpec
from ml_assets.launch import Launcher
from ml_assets.repair import repair
from ml_assets.replay import Replay
from partitions import DayRange
from resources.extracts import Extracts
from resources.origins import fetched

A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Operated:
    """Up to which day each calendar is computed, by its name, and the days for which a source has not delivered."""

    ends: Mapping[str, date]
    late: tuple[tuple[str, date], ...]


def operate(launcher: Launcher, now: datetime, say: Callable[[str], None], until: date | None = None) -> Operated:
    """What is due at the instant `now` is computed, of the days before `until` if that is given.

    Days whose delivery has come late are computed first and what rests on them is mended, then the days that have
    become due, in order, one day or many, then whatever else is out of step.
    """
    sources = launcher.catalog.sources.values()
    for source in sources:
        for day in _waiting(launcher, source):
            if _has_come(launcher, source, day):
                say(f"{source.name} of {day} was delivered late")
                repair(launcher, [f"events/{source.name}"], DayRange(day, day + A_DAY), say)
    ends = {}
    for calendar in dict.fromkeys(source.calendar for source in sources):
        end = due_end(calendar, sources, now)
        ends[calendar.name] = min(end, until) if until else end
    replay = Replay(launcher, lambda *_: None, ends)
    if not replay.finished:
        replay.run()
    repair(launcher, [], None, say)
    return Operated(ends, tuple((source.name, day) for source in sources for day in _waiting(launcher, source)))


def _waiting(launcher: Launcher, source: SourceSpec) -> Iterator[date]:
    """The refused days of a source that have no extract: nothing was delivered when they were computed."""
    extracts = Extracts(launcher.home.extracts)
    for day in sorted(launcher.lake.refused(f"events/{source.name}", date.min, date.max)):
        if not extracts.path(source.name, day).exists():
            yield day


def _has_come(launcher: Launcher, source: SourceSpec, day: date) -> bool:
    """Whether the origin holds something for a day by now; of use or not, its run says."""
    if isinstance(source.origin, Archive):
        return Extracts(launcher.home.extracts).path(source.name, day).exists()
    try:
        return fetched(source.origin, source, day) is not None
    except ExtractError:
        return True
