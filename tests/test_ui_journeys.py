"""Whatever a person launches, the lake ends right: the UI's own mutations, the real web server and daemon.

What belongs here: ways of launching, interrupting and killing; afterwards every fact of the lake equals, hash by hash,
that of a twin which had the right file from the start. What does not: the mouse (`test_ui_journeys_mouse.py`).

All journeys share one home. Each begins by delivering the other of two files for one day, and knows the twin of it.
"""

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from short_year import CORRECTED, SECOND_TRAINING, Platform, opened, short_catalog
from test_bad_days import with_an_empty_column
from ui_session import PATIENCE_S, GraphQLError, UiSession, served

from ml_assets.assets import declared_graph
from ml_assets.checks import CHECK_NAME
from ml_assets.domain.declared import Graph, Nature

GRAPH = declared_graph(short_catalog())
ASSETS = list(GRAPH.assets)
FACTS = [asset.table for asset in GRAPH if asset.nature is Nature.FACT]
DECISIONS = [asset.table for asset in GRAPH if asset.nature is Nature.DECISION]
FEATURES = [table for table in FACTS if table.startswith("features/")]
FLIGHTS, PREDICTIONS, REPORT = "events/flights", "predictions/disruption", "performance_reports/disruption"
TRAINING_SETS, CHAMPIONS = "training_sets/disruption", "champions/disruption"
TICKED = [FLIGHTS, *FEATURES[:5], "outcomes/disrupted", PREDICTIONS]
# The day of which two files come; the training after it reads it.
DAY, NEXT = CORRECTED, CORRECTED + timedelta(days=1)
RETRAINED, ROLLED_BACK = date(2013, 3, 24), date(2013, 3, 25)
CAUSE, DAYS, REASON = "cause", "days", "the timetable changed"
KILLS, KILLS_A_REPAIR, AT_MOST_S = 20, 10, 3.0
# Runs die with the code server that started them.
VICTIMS = (("daemon",), ("daemon",), ("daemon",), ("code",), ("code", "daemon"))

Facts = dict[str, dict[date, str]]

pytestmark = pytest.mark.xdist_group("ui")


def first_of(graph: Graph, table: str) -> str:
    """Where a person begins who has put another file in place: the asset, above a table, that reads no other."""
    parents = [read.table for read in graph[table].reads.values() if read.edge]
    return first_of(graph, parents[0]) if parents else table


def below(graph: Graph, table: str) -> set[str]:
    """A table and all that Dagster shows downstream of it."""
    children = {
        asset.table for asset in graph if any(read.edge and read.table == table for read in asset.reads.values())
    }
    return {table}.union(*(below(graph, child) for child in children))


BEGIN = first_of(GRAPH, FLIGHTS)


@dataclass
class Home:
    """A served home, the two files of one day, and what the facts are under each of them."""

    session: UiSession
    platform: Platform
    files: tuple[bytes, bytes]
    facts: tuple[Facts, Facts]
    lies: int = 0
    before: Facts = field(default_factory=dict)
    known: set[str] = field(default_factory=set)

    def deliver_the_other_file(self) -> None:
        """Puts the other file of the day in place."""
        if self.platform.contents(FACTS) != self.facts[self.lies]:
            # Another journey failed and left it so.
            self.session.at_rest()
            self.platform.repair([BEGIN], DAY)
        assert self.platform.contents(FACTS) == self.facts[self.lies]
        self.before = self.platform.contents(DECISIONS)
        self.known = {run["id"] for run in self.session.runs()}
        self.lies = 1 - self.lies
        self.platform.extract("flights", DAY).write_bytes(self.files[self.lies])

    @property
    def begun(self) -> bool:
        """Whether the day's events are those of the file that lies there."""
        return self.platform.contents([FLIGHTS])[FLIGHTS][DAY] == self.facts[self.lies][FLIGHTS][DAY]

    def is_right(self) -> None:
        """Waits until the platform rests; then every fact is that of the twin, and no decision was rewritten."""
        self.session.at_rest()
        found, wanted = self.platform.contents(FACTS), self.facts[self.lies]
        wrong = {
            f"{table} {day}"
            for table, days in wanted.items()
            for day in days.keys() | found.get(table, {}).keys()
            if days.get(day) != found.get(table, {}).get(day)
        }
        assert not wrong, f"{sorted(wrong)}; runs: {self.told()}"
        assert found.keys() == wanted.keys()
        assert self.platform.contents(DECISIONS) == self.before, "what was decided then was rewritten"

    def launched_since(self) -> list[dict[str, Any]]:
        """The runs since the file was delivered, the oldest first."""
        return [run for run in reversed(self.session.runs()) if run["id"] not in self.known]

    def healing(self) -> list[dict[str, Any]]:
        """Those of them that the daemon launched, to finish what a person began."""
        return [run for run in self.launched_since() if run["tags"].get("dagster/sensor_name") == "keep_in_step"]

    def told(self) -> list[str]:
        """The newest runs, as a failing test shows them."""
        return [f"{run['id'][:8]} {run['status']} {run['tags']}" for run in self.session.runs()[:12]]


@contextmanager
def served_home(replayed_home: Path, corrected: Platform, folder: Path) -> Iterator[Home]:
    """A copy of the replayed home, served; its twin had the corrected file from the start."""
    path = folder / "home"
    shutil.copytree(replayed_home, path)
    with opened(path) as platform:
        files = (platform.extract("flights", DAY).read_bytes(), corrected.extract("flights", DAY).read_bytes())
        facts = (platform.contents(FACTS), corrected.contents(FACTS))
        assert {table for table in FACTS if facts[0][table] != facts[1][table]} >= {FLIGHTS, PREDICTIONS, REPORT}
        with served(path, folder / "logs") as session:
            yield Home(session, platform, files, facts)


@pytest.fixture(scope="module")
def home(replayed_home: Path, corrected: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The home of all journeys."""
    with served_home(replayed_home, corrected, tmp_path_factory.mktemp("journeys")) as home:
        yield home


def test_what_was_replayed_is_on_the_timeline_and_readable_in_the_list_of_runs(home: Home) -> None:
    """Dagster's timeline leaves out runs that belong to no code location; the list shows tags as they are."""
    runs = home.session.runs()
    assert runs
    for run in runs:
        assert run["repositoryOrigin"], run
        shown = {tag for tag in run["tags"] if not tag.startswith((".dagster/", "dagster/"))}
        assert shown == {DAYS, CAUSE, "user"}, run["tags"]


def test_one_day_of_one_asset_and_the_rest_heals(home: Home) -> None:
    home.deliver_the_other_file()
    run = home.session.launch_one_day([BEGIN], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()
    assert home.healing()
    for healing in home.healing():
        assert FLIGHTS in healing["tags"][CAUSE]
        assert str(DAY) in healing["tags"][CAUSE]
        assert healing["tags"][DAYS]
        assert not {"/".join(key["path"]) for key in healing["assetSelection"]} & set(DECISIONS)


def test_a_decision_that_is_kept_says_on_its_day_what_has_changed(home: Home) -> None:
    """The day is in the window of the training after it, of which Dagster knows nothing."""
    home.session.until(
        "a word on the decision's day, told once nothing is at work",
        lambda: (
            "it rests on have changed since"
            in str(home.session.day_detail(TRAINING_SETS, str(SECOND_TRAINING))["events"])
        ),
        PATIENCE_S,
    )


def test_one_day_of_everything_downstream_in_one_run(home: Home) -> None:
    home.deliver_the_other_file()
    assets = home.session.downstream(BEGIN)
    assert set(assets) == below(GRAPH, BEGIN)
    run = home.session.launch_one_day(assets, str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()
    # The person's run, and what of the days after it rests on it.
    assert len(home.launched_since()) <= 3, home.told()


def test_two_days_of_everything_downstream(home: Home) -> None:
    home.deliver_the_other_file()
    assets = home.session.downstream(BEGIN)
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
    assert len(home.launched_since()) <= 3, home.told()


def test_ticked_assets(home: Home) -> None:
    """Some of them: their own days and those of the assets that were not ticked end right."""
    home.deliver_the_other_file()
    run = home.session.launch_one_day([BEGIN, *TICKED[BEGIN in TICKED :]], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()


def test_only_what_lies_downstream_first(home: Home) -> None:
    """Somebody rebuilds the reports before the events: nothing is wrong by it, and the events mend the rest."""
    home.deliver_the_other_file()
    run = home.session.launch_one_day([PREDICTIONS, REPORT], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    run = home.session.launch_one_day([BEGIN], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()


def test_twice_and_again(home: Home) -> None:
    home.deliver_the_other_file()
    first, second = (home.session.launch_one_day([BEGIN], str(DAY)) for _ in range(2))
    for run in (first, second):
        assert home.session.ended_run(run)["status"] == "SUCCESS"
    again = home.session.reexecute(first)
    assert home.session.ended_run(again)["status"] == "SUCCESS"
    home.is_right()


def test_during_another_run(home: Home) -> None:
    home.deliver_the_other_file()
    days = home.session.partition_bar(FEATURES[0]).known
    other = home.session.launch_backfill([*FEATURES, "outcomes/disrupted"], days)
    home.session.until("the other run", lambda: any(run["status"] == "STARTED" for run in home.session.runs()))
    run = home.session.launch_one_day([BEGIN], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    assert home.session.ended_backfill(other)["status"] == "COMPLETED_SUCCESS"
    home.is_right()


def test_cancelled_half_way(home: Home) -> None:
    home.deliver_the_other_file()
    run = home.session.launch_one_day(home.session.downstream(BEGIN), str(DAY))
    home.session.until("the day's events", lambda: home.begun)
    home.session.cancel_run(run)
    assert home.session.ended_run(run)["status"] in ("CANCELED", "SUCCESS")
    home.is_right()


def test_a_cancelled_backfill(home: Home) -> None:
    home.deliver_the_other_file()
    backfill = home.session.launch_backfill(home.session.downstream(BEGIN), [str(DAY), str(NEXT)])
    home.session.until(
        "a run of it",
        lambda: any(run["tags"].get("dagster/backfill") == backfill for run in home.session.runs()),
    )
    home.session.cancel_backfill(backfill)
    _begin_again_if_need_be(home)
    home.is_right()


def test_from_the_launchpad_a_decision_is_kept_or_made_anew(home: Home) -> None:
    """Only a person's explicit wish decides anew; from the same it decides the same, and nothing follows."""
    home.deliver_the_other_file()
    run = home.session.launch_one_day([BEGIN], str(DAY))
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()
    for config, kept in (({}, True), ({"ops": {CHAMPIONS.replace("/", "__"): {"config": {"anew": True}}}}, False)):
        run = home.session.launch_one_day([CHAMPIONS], str(NEXT), config=config)
        assert home.session.ended_run(run)["status"] == "SUCCESS"
        newest = home.session.day_detail(CHAMPIONS, str(NEXT))["events"][0]
        assert ("kept" in {entry["label"] for entry in newest["metadataEntries"]}) is kept
        home.is_right()


def test_killed_at_random_moments_of_a_repair(home: Home) -> None:
    """SIGKILL to daemon, code server and the runs with it, twenty times; who sees a failed launch launches again."""
    session, moments = home.session, random.Random(612)
    kills = 0
    with session.processes.kills():
        while kills < KILLS:
            home.deliver_the_other_file()
            session.launch_one_day([BEGIN], str(DAY))
            for _ in range(min(KILLS_A_REPAIR, KILLS - kills)):
                time.sleep(moments.uniform(0.1, AT_MOST_S))
                victims = moments.choice(VICTIMS)
                session.processes.kill(*victims)
                kills += 1
                session.processes.start(*sorted(victims))
            _begin_again_if_need_be(home)
            home.is_right()


def _begin_again_if_need_be(home: Home) -> None:
    """Launches the day again if its events are not those of the file: a launch that died has begun nothing."""
    home.session.at_rest()
    if not home.begun:
        run = home.session.launch_one_day([BEGIN], str(DAY))
        assert home.session.ended_run(run)["status"] == "SUCCESS"
    assert home.begun


def test_a_red_day_is_seen_says_why_and_heals(home: Home) -> None:
    session, extract = home.session, home.platform.extract("flights", DAY)
    good = session.check_bar(FLIGHTS, CHECK_NAME)
    assert (good.passed, good.failed) == (len(session.partition_bar(FLIGHTS).materialized), 0)
    right = extract.read_bytes()
    with_an_empty_column(extract)
    run = session.launch_one_day(session.downstream(BEGIN), str(DAY))
    assert session.ended_run(run)["status"] == "FAILURE"
    session.at_rest()
    # A newer good day of the same assets does not hide it.
    run = session.launch_one_day([BEGIN, *FEATURES], str(NEXT))
    assert session.ended_run(run)["status"] == "SUCCESS"

    bar = session.check_bar(FLIGHTS, CHECK_NAME)
    assert (bar.failed, bar.passed) == (1, good.passed - 1)
    assert session.partition_bar(FLIGHTS).failed == {str(DAY)}
    for asset, said in (
        (FLIGHTS, "tailnum is 100.0% null"),
        (FEATURES[0], f"{FLIGHTS} of {DAY}"),
        (PREDICTIONS, f"{FLIGHTS} of {DAY}"),
    ):
        badge = session.badges([asset])[asset]
        assert (badge["numFailed"], badge["checks"][CHECK_NAME]) == (1, "FAILED"), (asset, badge)
        page = str(session.day_detail(asset, str(DAY)))
        assert said in page, f"the page of {asset} {DAY} says: {page[:2000]}"

    extract.write_bytes(right)
    home.before = home.platform.contents(DECISIONS)
    run = session.launch_one_day([BEGIN], str(DAY))
    assert session.ended_run(run)["status"] == "SUCCESS"
    home.is_right()
    assert session.check_bar(FLIGHTS, CHECK_NAME) == good
    for asset, badge in session.badges(FACTS).items():
        assert (badge["numFailed"], badge["checks"][CHECK_NAME]) == (0, "SUCCEEDED"), asset


def test_good_days_are_green_under_checks(home: Home) -> None:
    """Every materialised day has an evaluation that names it, after whatever was launched, cancelled and killed."""
    home.session.at_rest()
    for asset in ASSETS:
        days, bar = home.session.partition_bar(asset), home.session.check_bar(asset, CHECK_NAME)
        assert days.failed == days.in_progress == set(), asset
        assert (bar.passed, bar.missing) == (len(days.materialized), len(days.missing)), (asset, bar)


def test_numbers_of_a_day_are_plotted_by_day(home: Home) -> None:
    drawn = home.session.plotted(REPORT)
    for number in ("ROC-AUC", "Brier", "ECE"):
        assert len(drawn.get(number, {})) >= 10, (number, {label: len(days) for label, days in drawn.items()})
        assert set(drawn[number]) <= set(home.session.partition_bar(REPORT).known)


def test_the_status_asset_is_kept(home: Home) -> None:
    shown = home.session.ask(LATEST_STATUS, {"assetKey": {"path": ["status", "flights"]}})
    (event,) = shown["assetOrError"]["assetMaterializations"]
    assert {entry["label"] for entry in event["metadataEntries"]} >= {"status", "headline"}
    assert "need attention" in event["description"] or "good" in event["description"]


LATEST_STATUS = """
query AssetEventsQuery($assetKey: AssetKeyInput!) {
  assetOrError(assetKey: $assetKey) {
    ... on Asset { assetMaterializations(limit: 1) { description metadataEntries { label } } }
  }
}"""


def test_a_day_that_is_no_partition_is_refused(home: Home) -> None:
    before = home.platform.versions()
    with pytest.raises(GraphQLError):
        home.session.launch_backfill([BEGIN], ["2013-07-01"])
    run = home.session.launch_one_day([BEGIN], "2013-07-01")
    assert home.session.ended_run(run)["status"] == "FAILURE"
    home.session.at_rest()
    assert home.platform.versions() == before


def test_a_retrain_with_a_reason(home: Home, tmp_path: Path) -> None:
    """From here on another model serves, as in a twin that was asked on the command line."""
    home.session.at_rest()
    path = twin_of(home, tmp_path)
    config = {"ops": {TRAINING_SETS.replace("/", "__"): {"config": {"reason": REASON}}}}
    launch_job(home, "retrain_", RETRAINED, config)
    decided = home.platform.rows("retrain_decisions/disruption", RETRAINED).row(0, named=True)
    assert (decided["decision"], decided["trigger"]) == ("train", "manual")
    assert REASON in str(home.session.day_detail("retrain_decisions/disruption", str(RETRAINED)))
    with opened(path) as twin:
        twin.launcher.retrain("disruption", RETRAINED, REASON)
        twin.repair()
        assert home.platform.contents(ASSETS) == twin.contents(ASSETS)


def test_a_rollback_with_a_name_and_a_reason(home: Home, tmp_path: Path) -> None:
    """The last journey: the model of before serves from the day on, and the daemon scores those days anew."""
    home.session.at_rest()
    path = twin_of(home, tmp_path)
    was = home.platform.rows(CHAMPIONS, ROLLED_BACK)["model_version"].item()
    asked = {"action": "rollback", "by": "Ada", "reason": REASON}
    launch_job(home, "intervene_", ROLLED_BACK, {"ops": {"interventions__disruption": {"config": asked}}})
    champion = home.platform.rows(CHAMPIONS, ROLLED_BACK).row(0, named=True)
    assert champion["decision"] == "pinned"
    assert champion["model_version"] != was
    assert REASON in str(home.session.day_detail(CHAMPIONS, str(ROLLED_BACK)))
    scored = home.platform.rows("predictions/disruption", ROLLED_BACK)["model_version"].unique().to_list()
    assert scored == [champion["model_version"]]
    with opened(path) as twin:
        twin.launcher.intervene("disruption", ROLLED_BACK, asked)
        twin.repair()
        assert home.platform.contents(ASSETS) == twin.contents(ASSETS)


def twin_of(home: Home, folder: Path) -> Path:
    """A copy of the home as it is; Dagster's own records are at work, and the copy keeps its own."""
    path = folder / "twin"
    shutil.copytree(home.platform.path, path, ignore=lambda at, _: {"dagster"} if Path(at).name == "home" else set())
    (path / "dagster").mkdir()
    return path


def launch_job(home: Home, begins: str, day: date, config: dict[str, Any]) -> None:
    """Launches a job for a day from the launchpad and waits until all rests."""
    jobs = home.platform.launcher.defs.resolve_all_job_defs()
    (job,) = (job for job in jobs if job.name.startswith(begins))
    assets = ["/".join(key.path) for key in job.asset_layer.executable_asset_keys]
    run = home.session.launch_one_day(assets, str(day), config=config, job=job.name)
    assert home.session.ended_run(run)["status"] == "SUCCESS"
    home.session.at_rest()


def test_nothing_is_left_running(home: Home) -> None:
    instance: DagsterInstance = home.platform.instance
    assert not [run for run in home.session.runs() if run["status"] not in ("SUCCESS", "FAILURE", "CANCELED")]
    for key in instance.event_log_storage.get_concurrency_keys():
        info = instance.event_log_storage.get_concurrency_info(key)
        assert info.active_slot_count == 0, key
