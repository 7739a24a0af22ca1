"""A week of a live shop, step by step under a simulated clock, in a process that somebody may kill at any moment.

What belongs here: what is delivered at which step, and how the platform is operated at it: by `operate`, or by its
sensors with their runs carried out as the daemon would. What does not: killing, comparing (`test_killed_week.py`).

A step that was killed is begun anew: whoever delivers puts the same files in their places, and the platform goes on.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from live_shop import A_DAY, TRAINED, at, at_work, dropped

if TYPE_CHECKING:
    from short_year import Platform

    from partitions import DayRange

DAYS = [TRAINED + number * A_DAY for number in range(6)]
LATE_FILE, WRONG_FILE, LATE_LABELS = DAYS[1], DAYS[2], DAYS[2]


@dataclass(frozen=True)
class Step:
    """A moment of the week: what has been dropped by then, and whose correction is handed over."""

    now: date
    orders: tuple[date, ...]
    returns: tuple[date, ...]
    corrected: bool = False


# On the third day nobody is there; one file comes three days late, one is wrong, one day's labels come three days late.
WEEK = (
    Step(DAYS[1], DAYS[:1], DAYS[:1]),
    Step(DAYS[2], (), (DAYS[1],)),
    Step(DAYS[4], (DAYS[2], DAYS[3]), (DAYS[3],)),
    Step(DAYS[5], (LATE_FILE, DAYS[4]), (DAYS[4],)),
    Step(DAYS[5] + A_DAY, (DAYS[5],), (LATE_LABELS, DAYS[5]), corrected=True),
)


def hold_back(project: Path) -> None:
    """Takes the week's files away, to be dropped when their step comes."""
    (project / "held").mkdir()
    for day in [*DAYS, *(DAYS[-1] + number * A_DAY for number in range(1, 60))]:
        for source in ("orders", "returns"):
            file = dropped(project, source, day)
            if file.exists():
                file.rename(project / "held" / file.name)


def take(project: Path, number: int, operated: Callable[["Platform", Step], None]) -> None:
    """Drops what is delivered by a step, and operates the platform at its moment."""
    step = WEEK[number]
    for source in ("orders", "returns"):
        for day in getattr(step, source):
            file = dropped(project, source, day)
            text = (project / "held" / file.name).read_text()
            wrong = source == "orders" and day == WRONG_FILE
            aside = file.with_suffix(".part")
            aside.write_text(text.replace("books", "shoes") if wrong else text)
            aside.replace(file)
    with at_work(project) as platform:
        if step.corrected:
            correct(platform, project)
        operated(platform, step)


def correct(platform: "Platform", project: Path) -> None:
    """Hands the right file over for the day whose file was wrong, and has the day computed anew."""
    from resources.deliveries import deliver
    from resources.extracts import Extracts

    source = platform.launcher.catalog.sources["orders"]
    right = project / "held" / dropped(project, "orders", WRONG_FILE).name
    deliver(Extracts(platform.launcher.home.extracts), source, WRONG_FILE, right)
    platform.launcher.run(["events/orders"], one(WRONG_FILE))


def one(day: date) -> "DayRange":
    from partitions import DayRange

    return DayRange(day, day + timedelta(days=1))


def by_command(platform: "Platform", step: Step) -> None:
    """As `ml-assets operate` does."""
    from ml_assets.operate import operate

    operate(platform.launcher, at(step.now), lambda _: None)


def by_sensors(platform: "Platform", step: Step) -> None:
    """As the daemon does: sensors are asked until they want nothing, runs carried out, then cursors kept."""
    import sensors.due
    from sensors.due import SENSOR as DUE
    from sensors.in_step import SENSOR as IN_STEP

    sensors.due.clock = lambda: at(step.now)
    kept = platform.path / "cursors.json"
    while True:
        cursors = json.loads(kept.read_text()) if kept.exists() else {}
        ran = False
        for name in (IN_STEP, DUE):
            requests, cursors[name] = ticked(platform, name, cursors.get(name))
            for tables, days, only_stale in requests:
                platform.launcher.run(tables, days, only_stale=only_stale)
            ran |= bool(requests)
            kept.write_text(json.dumps(cursors))
            if requests:
                break
        if not ran:
            return


def ticked(
    platform: "Platform", name: str, cursor: str | None
) -> tuple[list[tuple[list[str], "DayRange", bool]], str | None]:
    """The runs that a sensor asks for, and its cursor after it."""
    from dagster import build_sensor_context

    from partitions import DayRange
    from resources.handles import LakeHandle
    from resources.run_tags import ONLY_STALE, RANGE_END, RANGE_START

    repository = platform.launcher.defs.get_repository_def()
    resources = {"lake": LakeHandle(home=str(platform.path))}
    with build_sensor_context(
        instance=platform.instance, cursor=cursor, resources=resources, repository_def=repository
    ) as context:
        result = repository.get_sensor_def(name).evaluate_tick(context)
    asked = [
        (
            ["/".join(key.path) for key in request.asset_selection or ()],
            DayRange(
                date.fromisoformat(request.tags[RANGE_START]), date.fromisoformat(request.tags[RANGE_END]) + A_DAY
            ),
            ONLY_STALE in request.tags,
        )
        for request in result.run_requests or ()
    ]
    return asked, result.cursor or cursor


OPERATED = {"operate": by_command, "sensors": by_sensors}


def asked_for() -> Iterator[int]:
    """The steps asked for on the standard input, once everything is imported."""
    import ml_assets.operate
    import ml_assets.replay  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        print("begun", flush=True)
        yield int(line)
        print("done", flush=True)


if __name__ == "__main__":
    if sys.argv[2:]:
        for asked in asked_for():
            take(Path(sys.argv[1]), asked, OPERATED[sys.argv[2]])
