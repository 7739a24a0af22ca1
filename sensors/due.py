"""Computes the days of live workloads as they become due, by runs that everybody can see and stop.

What belongs here: when to look, which run to ask for. What does not: which days are due, in which order
(`ml_assets/domain/due.py`); days that came late or were corrected, once they are mended (`in_step.py`).
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dagster import (
    AssetKey,
    AssetSelection,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from ml_assets.domain.declared import Graph
from ml_assets.domain.due import DueRun, due_end, next_due
from ml_assets.domain.specs import SourceSpec
from partitions import DayRange
from resources.deliveries import Changed, changed_extracts, come_by_now, late_days
from resources.delta_io_manager import DEFER_EVENTS
from resources.extracts import Extracts
from resources.handles import LakeHandle
from resources.home import Home
from resources.lake import Lake
from resources.overview import work_of
from resources.run_tags import PLAN, range_tags

SENSOR = "compute_due_days"
MOST_TRIES = 3
LATE = "it was delivered late"


def due_sensor(graph: Graph, sources: Mapping[str, SourceSpec]) -> SensorDefinition:
    """Launches what has become due of live calendars, one run a calendar at a time, and days delivered late or anew.

    A tick does nothing when no day has become due, no table has a new version and nothing was delivered that is waited
    for or is another file than events were made from. A run that was launched and left its days undone is launched
    again, up to three times.
    """
    selection = AssetSelection.assets(*(AssetKey(table.split("/")) for table in graph.assets))
    live = [calendar for calendar in dict.fromkeys(asset.calendar for asset in graph) if calendar.end_day is None]
    watched = [source for source in sources.values() if source.calendar in live]

    @sensor(
        name=SENSOR,
        asset_selection=selection,
        minimum_interval_seconds=60,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake"},
        description="Computes days as they become due. Switch it off to do so by hand (`ml-assets operate`).",
    )
    def compute_due_days(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        handle: LakeHandle = context.resources.lake
        lake = handle.lake()
        now = clock()
        ends = {calendar.name: due_end(calendar, sources.values(), now) for calendar in live}
        extracts = Extracts(Home(Path(handle.home)).extracts)
        come = [_late(source.name, day) for source in watched for day in come_by_now(extracts, lake, source)]
        come += [
            _anew(source, changed)
            for source in sources
            for changed in changed_extracts(extracts, lake, source)
            if changed.handed_over
        ]
        seen = json.loads(context.cursor) if context.cursor else {}
        spoken_ends = {name: str(end) for name, end in ends.items()}
        if not come and seen.get("ends") == spoken_ends and not lake.moved(seen["versions"], graph.assets):
            return SkipReason("; ".join(["no day has become due since the last tick", *_waited_for(lake, watched)]))
        versions = lake.versions(graph.assets, seen.get("versions", {}))
        records = lake.records(graph.assets)
        # What came late is computed before later days are decided on it.
        wanted = come or [run for calendar in live if (run := next_due(graph, records, calendar, ends[calendar.name]))]
        work = work_of(context.instance)
        requests, waits = [], []
        for run in wanted:
            if any(each.touches(run.tables) for each in work):
                waits.append(f"{run.days} waits for a run that computes some of its tables")
                continue
            sign = f"due {zlib.crc32(repr((run.tables, str(run.days), run.reason)).encode()):08x}"
            tries = context.instance.get_runs_count(RunsFilter(tags={PLAN: sign}))
            if tries >= MOST_TRIES:
                waits.append(f"{run.days} was launched {tries} times and is still not on record; see those runs")
                continue
            requests.append(_request(run, sign, tries, come))
        done = {"ends": spoken_ends, "versions": versions} if not wanted else {}
        rest = ["every day that is due is on record", *_waited_for(lake, watched)]
        return SensorResult(
            run_requests=requests,
            skip_reason=None if requests else SkipReason("; ".join(waits or rest)),
            cursor=json.dumps(done) if done else None,
        )

    return compute_due_days


def clock() -> datetime:
    """The instant it is."""
    return datetime.now(UTC)


def _waited_for(lake: Lake, sources: Iterable[SourceSpec]) -> list[str]:
    """What is late, a phrase a source."""
    late = {source.name: list(late_days(lake, source)) for source in sources}
    return [
        f"late: {name} of {days[0]}" + (f" and {len(days) - 1} more days" if days[1:] else "")
        for name, days in late.items()
        if days
    ]


def _late(source: str, day: date) -> DueRun:
    return DueRun((f"events/{source}",), DayRange(day, day + timedelta(days=1)), LATE)


def _anew(source: str, changed: Changed) -> DueRun:
    # The reason names the file's hash: a third delivery of the day is a new reason, to be tried as often.
    return DueRun((f"events/{source}",), DayRange(changed.day, changed.day + timedelta(days=1)), changed.why)


def _request(run: DueRun, sign: str, tries: int, come: Sequence[DueRun]) -> RunRequest:
    return RunRequest(
        run_key=f"due|{run.days}|{sign}|{tries}",
        asset_selection=[AssetKey(table.split("/")) for table in run.tables],
        tags={
            **range_tags(run.days, cause=run.reason, by=SENSOR, only_stale=run not in come),
            PLAN: sign,
            DEFER_EVENTS: "true",
        },
    )
