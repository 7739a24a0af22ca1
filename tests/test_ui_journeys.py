"""Whatever a person launches, the lake ends right: the UI's own mutations, the real web server and daemon.

What belongs here: ways of launching, interrupting and killing; afterwards every fact of the lake equals, hash by hash,
that of a twin which had the right file from the start. What does not: the mouse (`test_ui_journeys_mouse.py`).

All journeys share one home. Each begins by delivering the other of two files for one day, and knows the twin of it.
"""

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from dagster import DagsterInstance
from short_year import (
    ASSETS,
    DECISIONS,
    FEATURES,
    OUTCOMES,
    REPORTS,
    SOURCES,
    TRAINING,
    Platform,
    opened,
    quiet,
)
from test_bad_days import with_an_empty_column
from ui_session import GraphQLError, UiSession, served

from ml_assets.checks import CHECK_NAME
from ml_assets.replay import Replay
from resources.home import open_home

DAY = date(2013, 3, 21)
NEXT = DAY + timedelta(days=1)
RETRAINED = date(2013, 3, 24)
FLIGHTS, PREDICTIONS = "events/flights", "predictions/disruption"
FACTS = [*SOURCES, *FEATURES, *OUTCOMES, PREDICTIONS, "drift_reports/disruption", *REPORTS]
KEPT = [*DECISIONS, *TRAINING, "champions/disruption"]
TICKED = [FLIGHTS, *FEATURES[:5], *OUTCOMES, PREDICTIONS]
CAUSE, REASON = "cause", "the timetable changed"
KILLS = 20

Facts = dict[str, dict[date, str]]

pytestmark = pytest.mark.xdist_group("ui")


def corrected(extract: bytes, at: Path) -> bytes:
    """The file as the airline sends it a second time: every other flight was seven minutes later."""
    at.write_bytes(extract)
    later = (pl.int_range(pl.len()) % 2) * 7
    pl.read_parquet(at).with_columns(pl.col("dep_delay") + later, pl.col("arr_delay") + later).write_parquet(at)
    return at.read_bytes()


@dataclass
class Home:
    """A served home, the two files of one day, and what the facts are under each of them."""

    session: UiSession
    platform: Platform
    files: tuple[bytes, bytes]
    facts: tuple[Facts, Facts]
    lies: int = 0
    before: dict[str, dict[date, str]] = field(default_factory=dict)

    def deliver_the_other_file(self) -> None:
        """Puts the other file of the day in place."""
        assert self.platform.contents(FACTS) == self.facts[self.lies], "the journey before left the lake wrong"
        self.before = self.platform.contents(KEPT)
        self.lies = 1 - self.lies
        self.platform.extract("flights", DAY).write_bytes(self.files[self.lies])

    def is_right(self) -> None:
        """Waits until the platform rests; then every fact is that of the twin, and no decision was rewritten."""
        self.session.at_rest()
        found = self.platform.contents(FACTS)
        wrong = {
            f"{table} {day}"
            for table, days in self.facts[self.lies].items()
            for day in days.keys() | found.get(table, {}).keys()
            if days.get(day) != found.get(table, {}).get(day)
        }
        assert not wrong, f"{sorted(wrong)}; runs: {told(self.session)}"
        assert found.keys() == self.facts[self.lies].keys()
        assert self.platform.contents(KEPT) == self.before, "what was decided then was rewritten"


def told(session: UiSession) -> list[str]:
    """The newest runs, as a failing test shows them."""
    return [f"{run['id'][:8]} {run['status']} {run['tags']}" for run in session.runs()[:12]]


@pytest.fixture(scope="module")
def home(replayed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A copy of the replayed home, served; its twin was replayed from the corrected file."""
    folder = tmp_path_factory.mktemp("journeys")
    path, twin = folder / "home", folder / "twin"
    shutil.copytree(replayed_home, path)
    file = path / "extracts" / "flights" / f"{DAY}.parquet"
    files = (file.read_bytes(), corrected(file.read_bytes(), folder / "corrected.parquet"))
    open_home(twin)
    shutil.copytree(path / "extracts", twin / "extracts", dirs_exist_ok=True)
    (twin / "extracts" / "flights" / file.name).write_bytes(files[1])
    with opened(twin) as other:
        Replay(other.launcher, quiet).run()
        healed = other.contents(FACTS)
    with opened(path) as platform:
        facts = (platform.contents(FACTS), healed)
        assert {table for table in FACTS if facts[0][table] != facts[1][table]} >= {FLIGHTS, *OUTCOMES, PREDICTIONS}
        with served(path, folder / "logs") as session:
            yield Home(session, platform, files, facts)


def test_one_day_of_one_asset_and_the_rest_heals(home: Home) -> None:
    home.deliver_the_other_file()
    run = home.session.launch_one_day([FLIGHTS], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()
    healing = [found for found in home.session.runs() if CAUSE in found["tags"] and found["id"] != run]
    assert any(str(DAY) in found["tags"]["days"] for found in healing), told(home.session)


def test_one_day_of_everything_downstream_in_one_run(home: Home) -> None:
    home.deliver_the_other_file()
    assets = home.session.downstream(FLIGHTS)
    assert set(assets) == set(ASSETS) - {"events/weather", "features/weather"}
    run = home.session.launch_one_day(assets, str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()


def test_two_days_of_everything_downstream(home: Home) -> None:
    home.deliver_the_other_file()
    assets = home.session.downstream(FLIGHTS)
    backfill = home.session.launch_backfill(assets, [str(DAY), str(NEXT)])
    ended = home.session.ended_backfill(backfill)
    assert ended["status"] == "COMPLETED_SUCCESS", ended
    counts = {
        "/".join(asset["assetKey"]["path"]): (asset["numPartitionsTargeted"], asset["numPartitionsMaterialized"])
        for asset in ended["assetBackfillData"]["assetBackfillStatuses"]
    }
    assert counts == dict.fromkeys(assets, (2, 2))
    assert len([run for run in home.session.runs() if run["tags"].get("dagster/backfill") == backfill]) == 1
    home.is_right()


def test_ticked_assets(home: Home) -> None:
    """Eight of sixteen: their own days and those of the assets that were not ticked end right."""
    home.deliver_the_other_file()
    run = home.session.launch_one_day(TICKED, str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()


def test_only_what_lies_downstream_first(home: Home) -> None:
    """Somebody rebuilds the reports before the events: nothing is wrong by it, and the events mend the rest."""
    home.deliver_the_other_file()
    run = home.session.launch_one_day([PREDICTIONS, *REPORTS], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    run = home.session.launch_one_day([FLIGHTS], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()


def test_twice_and_again(home: Home) -> None:
    home.deliver_the_other_file()
    first, second = (home.session.launch_one_day([FLIGHTS], str(DAY)) for _ in range(2))
    for run in (first, second):
        assert home.session.ended_run(run)["status"] == "SUCCESS"
    again = home.session.reexecute(first)
    assert home.session.ended_run(again)["status"] == "SUCCESS"
    home.is_right()


def test_during_another_run(home: Home) -> None:
    home.deliver_the_other_file()
    days = home.session.partition_bar(FEATURES[0]).known
    other = home.session.launch_backfill([*FEATURES, *OUTCOMES], days)
    home.session.until("the other run", lambda: any(run["status"] == "STARTED" for run in home.session.runs()))
    run = home.session.launch_one_day([FLIGHTS], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    assert home.session.ended_backfill(other)["status"] == "COMPLETED_SUCCESS"
    home.is_right()


def test_cancelled_half_way(home: Home) -> None:
    home.deliver_the_other_file()
    mended = home.facts[home.lies][FLIGHTS][DAY]
    run = home.session.launch_one_day(home.session.downstream(FLIGHTS), str(DAY))
    home.session.until("the day's events", lambda: home.platform.contents([FLIGHTS])[FLIGHTS][DAY] == mended)
    home.session.cancel_run(run)
    assert home.session.ended_run(run)["status"] in ("CANCELED", "SUCCESS")
    home.is_right()


def test_a_cancelled_backfill(home: Home) -> None:
    home.deliver_the_other_file()
    backfill = home.session.launch_backfill(home.session.downstream(FLIGHTS), [str(DAY), str(NEXT)])
    home.session.until(
        "a run of it",
        lambda: any(run["tags"].get("dagster/backfill") == backfill for run in home.session.runs()),
    )
    home.session.cancel_backfill(backfill)
    home.session.at_rest()
    if home.platform.contents([FLIGHTS])[FLIGHTS][DAY] != home.facts[home.lies][FLIGHTS][DAY]:
        # Cancelled before the events were read: nothing has begun, so nothing is left to finish.
        run = home.session.launch_one_day([FLIGHTS], str(DAY))
        assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()


def test_a_red_day_is_seen_says_why_and_heals(home: Home) -> None:
    session, extract = home.session, home.platform.extract("flights", DAY)
    known = session.partition_bar(FLIGHTS).known
    good = session.check_bar(FLIGHTS, CHECK_NAME)
    assert (good.failed, good.missing + good.passed) == (0, len(known))
    right = extract.read_bytes()
    with_an_empty_column(extract)
    run = session.launch_one_day([FLIGHTS, *FEATURES], str(DAY))
    assert session.ended_run(run)["status"] == "FAILURE"
    session.at_rest()

    bar = session.check_bar(FLIGHTS, CHECK_NAME)
    assert (bar.failed, bar.passed) == (1, good.passed - 1)
    assert session.partition_bar(FLIGHTS).failed == {str(DAY)}
    assert session.badges([FLIGHTS])[FLIGHTS]["numFailed"] == 1
    # A newer good day of the same asset does not hide it.
    run = session.launch_one_day([FLIGHTS], str(NEXT))
    assert session.ended_run(run)["status"] == "SUCCESS"
    assert session.badges([FLIGHTS])[FLIGHTS]["numFailed"] == 1
    for asset, said in ((FLIGHTS, "tailnum is 100.0% null"), (PREDICTIONS, f"{FLIGHTS} of {DAY}")):
        page = str(session.day_detail(asset, str(DAY)))
        assert said in page, f"the page of {asset} {DAY} says: {page[:2000]}"

    extract.write_bytes(right)
    home.before = home.platform.contents(KEPT)
    run = session.launch_one_day([FLIGHTS], str(DAY))
    assert session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()
    assert session.check_bar(FLIGHTS, CHECK_NAME) == good
    for asset in FACTS:
        assert session.partition_bar(asset).failed == set(), asset
        assert session.check_bar(asset, CHECK_NAME).failed == 0, asset


def test_good_days_are_green_under_checks(home: Home) -> None:
    """Every materialised day has an evaluation that names it, after whatever was launched before."""
    for asset in ASSETS:
        days, bar = home.session.partition_bar(asset), home.session.check_bar(asset, CHECK_NAME)
        assert (bar.passed, bar.failed, bar.in_progress) == (len(days.materialized), 0, 0), (asset, bar)


def test_numbers_of_a_day_are_plotted_by_day(home: Home) -> None:
    drawn = home.session.plotted("performance_reports/disruption")
    for number in ("ROC-AUC", "Brier", "ECE"):
        assert len(drawn.get(number, {})) >= 10, (number, {label: len(days) for label, days in drawn.items()})
        assert set(drawn[number]) <= set(home.session.partition_bar("performance_reports/disruption").known)


def test_the_status_asset_is_kept(home: Home) -> None:
    shown = home.session.ask(LATEST_STATUS, {"assetKey": {"path": ["status", "flights"]}})
    (event,) = shown["assetOrError"]["assetMaterializations"]
    assert {entry["label"] for entry in event["metadataEntries"]} >= {"status", "headline"}


LATEST_STATUS = """
query AssetEventsQuery($assetKey: AssetKeyInput!) {
  assetOrError(assetKey: $assetKey) {
    ... on Asset { assetMaterializations(limit: 1) { description metadataEntries { label } } }
  }
}"""


def test_a_day_that_is_no_partition_is_refused(home: Home) -> None:
    with pytest.raises(GraphQLError):
        home.session.launch_one_day([FLIGHTS], "2013-07-01")


def test_killed_at_random_moments_of_a_repair(home: Home) -> None:
    """SIGKILL to daemon, code server and runs, twenty times; a person who sees a failed launch launches again."""
    session, moments = home.session, random.Random(612)
    kills = 0
    while kills < KILLS:
        home.deliver_the_other_file()
        session.launch_one_day([FLIGHTS], str(DAY))
        for _ in range(5):
            time.sleep(moments.uniform(0.2, 8.0))
            victims = moments.choice((("daemon",), ("daemon", "code"), ("code",)))
            session.processes.kill(*victims)
            kills += 1
            session.processes.start(*sorted(victims))
        _until_delivered(home)
        home.is_right()


def _until_delivered(home: Home) -> None:
    """Launches the day again as long as its events are not those of the file: a launch that died has begun nothing."""
    mended = home.facts[home.lies][FLIGHTS][DAY]
    home.session.at_rest()
    if home.platform.contents([FLIGHTS])[FLIGHTS][DAY] != mended:
        home.session.launch_one_day([FLIGHTS], str(DAY))
        home.session.at_rest()
    assert home.platform.contents([FLIGHTS])[FLIGHTS][DAY] == mended


def test_a_retrain_with_a_reason(home: Home, replayed_home: Path, tmp_path: Path) -> None:
    """The last journey: from here on another model serves, as in a twin that was asked on the command line."""
    from ml_assets.repair import repair

    config = {"ops": {"training_sets__disruption": {"config": {"reason": REASON}}}}
    assets = [*TRAINING, "champions/disruption"]
    run = home.session.launch_one_day(assets, str(RETRAINED), config=config, job="retrain_disruption")
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.session.at_rest()
    decided = home.platform.rows("retrain_decisions/disruption", RETRAINED).row(0, named=True)
    assert (decided["decision"], decided["trigger"]) == ("train", "manual")
    assert REASON in str(home.session.day_detail("retrain_decisions/disruption", str(RETRAINED)))

    path = tmp_path / "twin"
    shutil.copytree(replayed_home, path)
    if home.lies:
        (path / "extracts" / "flights" / f"{DAY}.parquet").write_bytes(home.files[1])
    with opened(path) as twin:
        repair(twin.launcher, [FLIGHTS], None, lambda _said: None)
        twin.run([FLIGHTS], DAY)
        repair(twin.launcher, [], None, lambda _said: None)
        twin.launcher.retrain("disruption", RETRAINED, REASON)
        repair(twin.launcher, [], None, lambda _said: None)
        assert home.platform.contents(FACTS) == twin.contents(FACTS)


def test_nothing_is_left_running(home: Home) -> None:
    instance: DagsterInstance = home.platform.instance
    assert not [run for run in home.session.runs() if run["status"] not in ("SUCCESS", "FAILURE", "CANCELED")]
    for key in instance.event_log_storage.get_concurrency_keys():
        info = instance.event_log_storage.get_concurrency_info(key)
        assert info.active_slot_count == 0, key
