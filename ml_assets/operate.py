"""Brings everything that is due up to date: what a live workload needs every day, or after any outage.

What belongs here: the order of it, what is said of late days. What does not: which days are due
(`ml_assets/domain/due.py`), the runs (`replay.py`, `repair.py`).

It keeps nothing of its own: what is on record says where to go on, so it may be killed at any moment and called as
often as one likes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ml_assets.domain.due import due_end
from ml_assets.launch import Launcher
from ml_assets.repair import repair
from ml_assets.replay import Replay
from partitions import DayRange
from resources.deliveries import changed_extracts, come_by_now, late_days
from resources.extracts import Extracts

A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Operated:
    """Up to which day each calendar is computed, by its name, and the days for which a source has not delivered."""

    ends: Mapping[str, date]
    late: tuple[tuple[str, date], ...]


def operate(launcher: Launcher, now: datetime, say: Callable[[str], None], until: date | None = None) -> Operated:
    """What is due at the instant `now` is computed, of the days before `until` if that is given.

    Days whose delivery has come late, or anew, are computed first and what rests on them is mended, then the days that
    have become due, in order, one day or many, then whatever else is out of step.
    """
    sources = launcher.catalog.sources.values()
    extracts = Extracts(launcher.home.extracts)
    for source in sources:
        anew = [each.day for each in changed_extracts(extracts, launcher.lake, source.name) if each.handed_over]
        late = come_by_now(extracts, launcher.lake, source)
        for day in sorted({*late, *anew}):
            say(f"{source.name} of {day} was delivered {'late' if day in late else 'anew'}")
            repair(launcher, [f"events/{source.name}"], DayRange(day, day + A_DAY), say)
    # What an earlier pass was killed over is mended before later days are decided on it.
    repair(launcher, [], None, say)
    ends = {}
    for calendar in dict.fromkeys(source.calendar for source in sources):
        end = due_end(calendar, sources, now)
        ends[calendar.name] = min(end, until) if until else end
    replay = Replay(launcher, lambda *_: None, ends)
    if not replay.finished:
        replay.run()
    repair(launcher, [], None, say)
    waiting = [(source.name, day) for source in sources for day in late_days(launcher.lake, source)]
    return Operated(ends, tuple(waiting))
