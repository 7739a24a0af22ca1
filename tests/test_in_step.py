"""The sensor that keeps the lake in step, tick by tick on a built context; the real daemon is in `test_ui_journeys.py`.

What belongs here: what a tick asks for, what it keeps in mind, what it costs. What does not: which days a change
reaches (`test_planning.py`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from dagster import (
    AssetMaterialization,
    AssetObservation,
    DagsterEvent,
    DagsterEventType,
    DagsterRun,
    DagsterRunStatus,
    RunRequest,
    build_sensor_context,
)
from dagster._core.events import AssetMaterializationPlannedData
from short_year import (
    CORRECTED,
    DECISIONS,
    END,
    FACTS,
    SECOND_TRAINING,
    TRAINING,
    Platform,
    correct,
    key_of,
)

from ml_assets.domain.day_records import GOOD
from ml_assets.domain.watch import AS_IT_WAS
from ml_assets.launch import QUIET
from resources.delta_store import DeltaStore
from resources.handles import LakeHandle
from resources.lake import Lake
from resources.overview import RECORDED, untold_of
from resources.run_owner import RunOwner
from resources.run_tags import CAUSE, DAYS, LAUNCHED_BY
from sensors import in_step_sensor
from sensors.in_step import MOST_RUNS_A_TICK, MOST_TRIES

FLIGHTS, SCHEDULE = "events/flights", "features/schedule"


@dataclass
class Watch:
    """The sensor over a platform, and what it has kept in mind."""

    platform: Platform
    cursor: str | None = None
    requests: Sequence[RunRequest] = field(default_factory=list)
    said: str = ""
    status: dict[str, str] = field(default_factory=dict)
    told: dict[tuple[str, str], str] = field(default_factory=dict)

    def tick(self) -> Sequence[RunRequest]:
        """What the sensor asks for now."""
        launcher = self.platform.launcher
        context = build_sensor_context(
            instance=launcher.instance,
            cursor=self.cursor,
            resources={"lake": LakeHandle(home=str(self.platform.path))},
            definitions=launcher.defs,
        )
        told = in_step_sensor(launcher.graph).evaluate_tick(context)
        self.cursor, self.requests, self.said = told.cursor, told.run_requests or [], told.skip_message or ""
        made = [event for event in told.asset_events if isinstance(event, AssetMaterialization)]
        seen = [event for event in told.asset_events if isinstance(event, AssetObservation)]
        self.status = {"/".join(event.asset_key.path): event.description or "" for event in made}
        self.told = {("/".join(event.asset_key.path), str(event.partition)): event.description or "" for event in seen}
        return self.requests

    def carry_out(self) -> None:
        """Runs what was asked for, as the daemon would."""
        job = self.platform.launcher.defs.resolve_implicit_global_asset_job_def()
        for request in self.requests:
            job.execute_in_process(
                instance=self.platform.instance,
                asset_selection=request.asset_selection,
                tags=request.tags,
                run_config=QUIET,
                raise_on_error=False,
            )

    def until_quiet(self) -> list[RunRequest]:
        """Ticks and carries out until nothing is asked for; all that was."""
        asked: list[RunRequest] = []
        while self.tick():
            asked += self.requests
            self.carry_out()
            assert len(asked) < 20, [request.tags for request in asked]
        return asked


@pytest.fixture
def watch(platform: Platform) -> Watch:
    """A sensor that has looked once."""
    watch = Watch(platform)
    assert not watch.tick()
    return watch


def tables(request: RunRequest) -> set[str]:
    return {"/".join(key.path) for key in request.asset_selection or ()}


def test_a_changed_day_is_followed_by_what_rests_on_it_and_nothing_else(
    watch: Watch, platform: Platform, corrected: Platform
) -> None:
    kept = platform.contents(DECISIONS)
    correct(platform.extract("flights", CORRECTED))
    platform.run([FLIGHTS], CORRECTED)
    (request,) = watch.tick()
    assert not tables(request) & {FLIGHTS, "events/weather", "features/weather", *DECISIONS}
    assert request.tags[CAUSE] == f"rests on {FLIGHTS} of {CORRECTED}"
    assert request.tags[DAYS].startswith(str(CORRECTED))
    assert request.tags[LAUNCHED_BY] == "keep_in_step"
    assert "stale" in watch.status["status/flights"]
    watch.carry_out()
    assert not watch.tick()
    assert platform.contents(FACTS) == corrected.contents(FACTS)
    assert platform.contents(DECISIONS) == kept
    assert "stale" not in watch.status["status/flights"]


def test_a_decision_that_is_kept_says_on_its_day_what_has_changed(watch: Watch, platform: Platform) -> None:
    """Dagster finds none of it: it looks at no window, and the windows of training have over a hundred days."""
    extract = platform.extract("flights", CORRECTED)
    before = extract.read_bytes()
    correct(extract)
    platform.run([FLIGHTS], CORRECTED)
    assert watch.tick()
    assert not watch.told, "what is being mended still changes"
    watch.carry_out()
    assert not watch.tick()
    said = watch.told[TRAINING[0], str(SECOND_TRAINING)]
    assert "days of features/carrier_delays it rests on have changed since" in said
    # A day on which nothing was trained decided nothing that could rest on anything.
    assert {day for table, day in watch.told if table == TRAINING[0]} == {str(SECOND_TRAINING)}
    assert {table for table, _ in watch.told} <= set(DECISIONS)
    assert not watch.tick()
    assert not watch.told, "told once"
    extract.write_bytes(before)
    platform.run([FLIGHTS], CORRECTED)
    asked = watch.until_quiet()
    assert asked
    assert watch.told[TRAINING[0], str(SECOND_TRAINING)] == AS_IT_WAS
    assert json.loads(watch.cursor or "")["told"] == {}


def test_what_is_out_of_step_at_the_first_look_is_history(platform: Platform) -> None:
    correct(platform.extract("flights", CORRECTED))
    platform.run([FLIGHTS], CORRECTED)
    watch = Watch(platform)
    assert not watch.tick()
    assert "history" in watch.said
    assert not watch.tick()
    # Another day is mended; the old trouble stays with whoever made it.
    other = END - timedelta(days=1)
    correct(platform.extract("flights", other))
    platform.run([FLIGHTS], other)
    asked = watch.until_quiet()
    assert asked
    # Reports of the mended day rest on the five weeks before it: what is out of step there is taken along.
    assert all(date.fromisoformat(request.tags[DAYS][-10:]) >= other for request in asked)
    # What was history changes again: that is news.
    correct(platform.extract("flights", CORRECTED))
    platform.run([FLIGHTS], CORRECTED)
    assert watch.until_quiet()
    assert not platform.plan().steps


def test_nothing_is_read_or_asked_when_nothing_has_changed(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick on which nothing is new costs a look at each table's newest version, however long the history is."""

    def never(*_: Any) -> None:
        raise AssertionError("records were read")

    monkeypatch.setattr(Lake, "record", never)
    monkeypatch.setattr(Lake, "records", never)
    before = watch.cursor
    assert not watch.tick()
    assert watch.said == "nothing has changed since the last tick"
    assert watch.cursor in (None, before)


def test_what_has_not_moved_is_not_opened_to_know_its_version(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a table costs its history, and most tables have no news."""
    names = list(platform.launcher.graph.assets)
    seen = platform.lake.versions(names)
    assert seen["events/flights"] >= 0
    correct(platform.extract("flights", CORRECTED))
    platform.run(["events/flights"], CORRECTED)
    wanted = platform.lake.versions(names)
    opened = []
    snapshot = DeltaStore.snapshot
    monkeypatch.setattr(DeltaStore, "snapshot", lambda store, name: opened.append(name) or snapshot(store, name))
    assert platform.lake.versions(names, seen) == wanted != seen
    assert opened == ["events/flights"]


def test_a_file_that_goes_back_and_forth_is_followed_each_time(platform: Platform) -> None:
    """The same content for the seventh time is no run in vain."""
    only_schedules(platform, [CORRECTED])
    watch = Watch(platform)
    assert not watch.tick()
    extract = platform.extract("flights", CORRECTED)
    files = (extract.read_bytes(), fewer_flights(platform, CORRECTED))
    for turn in range(2 * MOST_TRIES + 1):
        extract.write_bytes(files[turn % 2])
        platform.run([FLIGHTS], CORRECTED)
        if turn:
            assert len(watch.until_quiet()) == 1, f"nothing was launched at turn {turn}"
        assert not platform.plan().steps


def only_schedules(platform: Platform, days: Sequence[date]) -> None:
    """Leaves the events alone, and these days of one feature group that rests on them."""
    for table in (each for each in platform.launcher.graph.assets if each != FLIGHTS):
        platform.withdraw([table], date(2013, 3, 2), date(2013, 3, 31))
    for day in days:
        platform.run([SCHEDULE], day)


def fewer_flights(platform: Platform, day: date) -> bytes:
    """Another file of a day, in which the last flight is not there; the file."""
    extract = platform.extract("flights", day)
    pl.read_parquet(extract).head(-1).write_parquet(extract)
    return extract.read_bytes()


def test_a_run_in_vain_is_launched_three_times(watch: Watch, platform: Platform) -> None:
    correct(platform.extract("flights", CORRECTED))
    platform.run([FLIGHTS], CORRECTED)
    seen = set()
    for _ in range(MOST_TRIES):
        (request,) = watch.tick()
        seen.add(request.run_key)
        run = platform.instance.add_run(DagsterRun("job", status=DagsterRunStatus.STARTED, tags=request.tags))
        platform.instance.report_run_failed(run)
    assert len(seen) == MOST_TRIES
    assert not watch.tick()
    assert f"launched {MOST_TRIES} times" in watch.said
    # It changes once more: another three.
    correct(platform.extract("flights", CORRECTED))
    platform.run([FLIGHTS], CORRECTED)
    assert watch.until_quiet()
    assert not platform.plan().steps


def test_a_run_at_work_on_its_tables_is_waited_for(watch: Watch, platform: Platform) -> None:
    correct(platform.extract("flights", CORRECTED))
    platform.run([FLIGHTS], CORRECTED)
    selection = frozenset({key_of(SCHEDULE)})
    run = platform.instance.add_run(DagsterRun("job", status=DagsterRunStatus.STARTED, asset_selection=selection))
    assert not watch.tick()
    assert f"waits for run {run.run_id[:8]}" in watch.said
    assert not watch.tick()
    platform.instance.report_run_failed(run)
    assert watch.until_quiet()
    assert not platform.plan().steps


def test_a_run_whose_process_is_gone_is_not_waited_for(watch: Watch, platform: Platform) -> None:
    correct(platform.extract("flights", CORRECTED))
    platform.run([FLIGHTS], CORRECTED)
    RunOwner.of(platform.launcher.home)
    (platform.launcher.home.dagster / "owners" / "dead").write_text("")
    run = platform.instance.add_run(
        DagsterRun("job", status=DagsterRunStatus.STARTED, tags={".dagster/ml_assets_owner": "dead"})
    )
    assert watch.until_quiet()
    assert platform.instance.get_run_by_id(run.run_id).status is DagsterRunStatus.FAILURE
    assert not platform.plan().steps


def test_a_tick_asks_for_so_many_runs_at_most(platform: Platform) -> None:
    """Bounded work a tick: stretches of days far apart are runs of their own."""
    days = [date(2013, 3, 2) + timedelta(days=2 * number) for number in range(MOST_RUNS_A_TICK + 2)]
    only_schedules(platform, days)
    watch = Watch(platform)
    assert not watch.tick()
    for day in days:
        fewer_flights(platform, day)
        platform.run([FLIGHTS], day)
    assert len(watch.tick()) == MOST_RUNS_A_TICK
    watch.carry_out()
    assert len(watch.tick()) == 2
    watch.carry_out()
    assert not watch.tick()
    assert not platform.plan().steps


def test_days_that_a_killed_run_did_not_tell_are_told(watch: Watch, platform: Platform) -> None:
    """Killed between the lake's record and Dagster's, or before it came to a day that was in order."""
    lake, instance, graph = platform.lake, platform.instance, platform.launcher.graph
    day = CORRECTED
    planned = DagsterRun("job", status=DagsterRunStatus.STARTED, asset_selection=frozenset({key_of(SCHEDULE)}))
    run = instance.add_run(planned)
    plan_day(platform, run, SCHEDULE, day)
    assert not untold_of(lake, graph, instance), "what a run at work has planned is not told yet"
    instance.report_run_canceled(run)
    assert untold_of(lake, graph, instance) == {SCHEDULE: [day]}
    rows = platform.rows(SCHEDULE)
    (request,) = watch.tick()
    assert (tables(request), request.tags[CAUSE], request.tags[DAYS]) == ({SCHEDULE}, RECORDED, str(day))
    watch.carry_out()
    assert not watch.tick()
    assert not untold_of(lake, graph, instance)
    assert platform.rows(SCHEDULE).equals(rows)
    record = lake.record(SCHEDULE)
    assert set(record["state"]) == {GOOD}


def plan_day(platform: Platform, run: DagsterRun, table: str, day: date) -> None:
    """What Dagster records of a day before a run that the UI launches begins."""
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
        job_name="job",
        event_specific_data=AssetMaterializationPlannedData(key_of(table), partition=str(day)),
    )
    platform.instance.report_dagster_event(event, run.run_id)


def test_the_cursor_is_small_text(watch: Watch) -> None:
    assert watch.cursor
    assert set(json.loads(watch.cursor)) == {"versions", "history", "told", "work", "waits", "ended"}
    assert len(watch.cursor) < 5_000
