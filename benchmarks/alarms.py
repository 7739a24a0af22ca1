"""What the alarms are worth: incidents caught on their day, alarms on healthy and on resampled days.

Reads a home in which the year was replayed (`make demo`) and writes nothing. Incidents are those of `tests/`.
`python benchmarks/alarms.py [--home HOME] [--days 3] [--resampled 1000] [--only KIND]`
"""

import argparse
import sys
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from incident_world import World, resampled
from incidents_of_extracts import INCIDENTS

from ml_assets.domain.alarms.reports import alarms_by_day
from ml_assets.domain.local_days import DAY

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Prints what was caught, by what, and what was not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / ".ml_assets")
    parser.add_argument("--days", type=int, default=3, help="days on which each kind strikes")
    parser.add_argument("--resampled", type=int, default=1000, help="healthy days drawn anew")
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    asked = parser.parse_args()
    world = World(asked.home)
    quiet(world, asked.resampled)
    caught(world, asked.days, asked.only)


def quiet(world: World, count: int) -> None:
    """Alarms on the days of the year and on days drawn anew."""
    alarmed = {
        day: f"{source}: {why}"
        for source, report in world.reports.items()
        for day, why in alarms_by_day(report).items()
    }
    judged = set().union(*(report.filter(pl.col("limit").is_not_null())[DAY] for report in world.reports.values()))
    print(f"healthy days with an alarm: {len(alarmed)} of {len(judged)} ({len(alarmed) / len(judged):.1%})")
    for day, why in sorted(alarmed.items()):
        print(f"  {day}  {why[:200]}")
    rng = np.random.default_rng(zlib.crc32(b"resampled"))
    days = world.days("flights")
    found: Counter[str] = Counter()
    for index in range(count):
        day = days[index % len(days)]
        came = world.came("flights", day, resampled(world.extract("flights", day), rng))
        for why in alarms_by_day(world.judged("flights", came.rows)).values():
            found[why.split(":")[0]] += 1
    if count:
        print(f"resampled days with an alarm: {found.total()} of {count} ({found.total() / count:.1%}) {dict(found)}")


def caught(world: World, days: int, only: str) -> None:
    """Incidents caught on their day."""
    struck = []
    for incident in INCIDENTS:
        if only in incident.name:
            struck += [each for day in world.days_of(incident, days) if (each := world.strike(incident, day))]
    harmful = [each for each in struck if each.harm.harmful]
    for name, group in (("all", struck), ("harmful", harmful)):
        hits = sum(bool(each.caught_by) for each in group)
        print(f"{name}: caught on its day {hits} of {len(group)} ({hits / max(len(group), 1):.1%})")
    by_family: dict[str, list[bool]] = {}
    for each in harmful:
        by_family.setdefault(f"{each.incident.table} {each.incident.family}", []).append(bool(each.caught_by))
    for family, hits in sorted(by_family.items()):
        print(f"  {family:22} {sum(hits)} of {len(hits)}")
    first = Counter(each.caught_by.split(":")[0] for each in struck if each.caught_by)
    print("first said by:", dict(first.most_common()))
    for each in struck:
        if not each.caught_by:
            h = each.harm
            told = f"rows {h.rows:.0%} labels {h.labels:.0%} probability {h.probability:.3f} Brier {h.brier:.0%}"
            print(
                f"  missed{' HARMFUL' if h.harmful else ''}: {each.incident.table}, "
                f"{each.incident.name}, {each.day}: {told}"
            )


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)
    main()
