"""The journeys of a person with a mouse, in headless Chromium on the real web server, daemon and home.

What belongs here: what is clicked, what is read, screenshots on the way. What does not: which ways of launching leave
the lake right (`test_ui_journeys.py` has them all, with the mutations that these clicks send).

Screenshots go to the folder that `$ML_ASSETS_TEST_SCREENSHOTS` names.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import browser
import pytest
from browser import Mouse, mouse
from short_year import ASSETS, Platform, opened
from test_bad_days import with_an_empty_column
from test_ui_journeys import CAUSE, DAY, FACTS, FLIGHTS, NEXT, PREDICTIONS, REASON, RETRAINED, TICKED, Facts, corrected
from ui_session import UiSession, served

LACKS = browser.missing()
if LACKS:
    print(f"journeys by mouse are skipped: {LACKS}")

pytestmark = [
    pytest.mark.xdist_group("ui"),
    pytest.mark.skipif(LACKS is not None, reason=f"journeys by mouse: {LACKS}"),
]

REPORTS = "performance_reports/disruption"


@dataclass
class Desk:
    """A person's place: the served home and a browser on it."""

    session: UiSession
    platform: Platform
    mouse: Mouse
    right: Facts
    file: bytes

    def spoil(self) -> None:
        """Has the day's other file computed, so that the right one is to be put in its place."""
        extract = self.platform.extract("flights", DAY)
        corrected(self.file, extract)
        self.session.ended_run(self.session.launch_one_day([FLIGHTS], str(DAY)))
        self.session.at_rest()
        assert self.platform.contents(FACTS) != self.right
        extract.write_bytes(self.file)

    def is_right(self) -> None:
        """Waits until the platform rests, and compares the facts."""
        self.session.at_rest()
        assert self.platform.contents(FACTS) == self.right


@pytest.fixture(scope="module")
def desk(replayed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A copy of the replayed home, served, and a browser on it."""
    folder = tmp_path_factory.mktemp("mouse")
    path = folder / "home"
    shutil.copytree(replayed_home, path)
    with (
        opened(path) as platform,
        served(path, folder / "logs") as session,
        mouse(session.url, folder / "screenshots") as hand,
    ):
        yield Desk(session, platform, hand, platform.contents(FACTS), platform.extract("flights", DAY).read_bytes())


def test_one_day_of_everything_downstream(desk: Desk) -> None:
    desk.spoil()
    hand = desk.mouse
    hand.whole_downstream(FLIGHTS)
    hand.shot("downstream_1_lineage")
    hand.click("Materialize all")
    hand.choose_days(str(DAY))
    hand.shot("downstream_2_one_day")
    sent = hand.launch()["executionParams"]
    hand.shot("downstream_3_launched")
    assert {"/".join(key["path"]) for key in sent["selector"]["assetSelection"]} == set(
        desk.session.downstream(FLIGHTS)
    )
    desk.is_right()
    hand.shot("downstream_4_healed")


def test_two_days_of_everything_downstream(desk: Desk) -> None:
    desk.spoil()
    hand = desk.mouse
    hand.whole_downstream(FLIGHTS)
    hand.click("Materialize all")
    hand.choose_days(f"[{DAY}...{NEXT}]")
    hand.shot("two_days_1_dialog")
    previewed = hand.previewed()
    assert previewed == dict.fromkeys(desk.session.downstream(FLIGHTS), f"{DAY}...{NEXT}")
    hand.launch()
    desk.session.until("the backfill", lambda: bool(desk.session.backfills()))
    backfill = desk.session.ended_backfill(desk.session.backfills()[0]["id"])
    assert backfill["status"] == "COMPLETED_SUCCESS"
    hand.open(f"/runs/b/{backfill['id']}")
    hand.page.get_by_text("Partitions targeted").wait_for()
    hand.shot("two_days_2_backfill")
    desk.is_right()


def test_ticked_assets(desk: Desk) -> None:
    desk.spoil()
    hand = desk.mouse
    hand.tick(TICKED)
    hand.shot("ticked_1_catalogue")
    hand.click("Materialize selected")
    hand.choose_days(str(DAY))
    # What the dialog promises is what is launched.
    assert hand.previewed() == dict.fromkeys(TICKED, f"{DAY}...{DAY}")
    sent = hand.launch()["executionParams"]
    assert {tag["key"]: tag["value"] for tag in sent["executionMetadata"]["tags"]}["dagster/partition"] == str(DAY)
    desk.is_right()
    hand.open("/assets")
    hand.page.get_by_text("partitions").first.wait_for()
    hand.shot("ticked_2_healed", settle_ms=4000)


def test_good_days_are_green_under_checks(desk: Desk) -> None:
    for asset in (FLIGHTS, PREDICTIONS):
        counted = desk.mouse.check_bar(asset)
        desk.mouse.shot(f"checks_{asset.replace('/', '_')}")
        materialized = len(desk.session.partition_bar(asset).materialized)
        assert (counted["Passed"], counted["Failed"]) == (materialized, 0), counted


def test_a_red_day_and_the_days_it_blocks(desk: Desk) -> None:
    hand, extract = desk.mouse, desk.platform.extract("flights", DAY)
    with_an_empty_column(extract)
    run = desk.session.launch_one_day(desk.session.downstream(FLIGHTS), str(DAY))
    assert desk.session.ended_run(run)["status"] == "FAILURE"
    desk.session.at_rest()
    assert hand.partition_bar(FLIGHTS)["Failed"] == 1
    hand.shot("red_1_partitions")
    assert hand.check_bar(FLIGHTS)["Failed"] == 1
    hand.shot("red_2_checks")
    assert "tailnum is 100.0% null" in hand.day(FLIGHTS, str(DAY))
    hand.shot("red_3_day")
    assert f"{FLIGHTS} of {DAY}" in hand.day(PREDICTIONS, str(DAY))
    hand.shot("red_4_blocked_day")
    hand.open("/assets")
    hand.page.get_by_test_id(f"checkbox-{FLIGHTS}").wait_for(state="attached")
    hand.shot("red_5_catalogue", settle_ms=5000)
    extract.write_bytes(desk.file)
    hand.asset(FLIGHTS)
    hand.click("Materialize")
    hand.choose_days(str(DAY))
    hand.launch()
    desk.is_right()
    assert hand.partition_bar(FLIGHTS)["Failed"] == 0


def test_numbers_are_plotted_by_day(desk: Desk) -> None:
    said = desk.mouse.plots_by_day(REPORTS)
    desk.mouse.page.get_by_text("ROC-AUC").last.scroll_into_view_if_needed()
    desk.mouse.shot("plots_by_day")
    assert "Asset plots are automatically generated by metadata" not in said
    assert {"ROC-AUC", "Brier", "ECE"} <= set(said.splitlines())


def test_the_status_asset(desk: Desk) -> None:
    hand = desk.mouse
    hand.asset("status/flights")
    hand.page.get_by_text("headline").first.wait_for()
    hand.shot("status_1_overview", settle_ms=2000)
    hand.page.get_by_text("Show Markdown").first.click()
    hand.shot("status_2_picture", settle_ms=2000)


def test_the_runs_page_reads_like_a_diary(desk: Desk) -> None:
    hand = desk.mouse
    hand.open("/runs")
    hand.page.get_by_text(f"{CAUSE}:").first.wait_for()
    hand.shot("runs", settle_ms=2000)
    said = hand.text()
    assert "ml_assets/owner" not in said
    assert f"days: {DAY}" in said


def test_a_retrain_with_a_reason(desk: Desk) -> None:
    hand = desk.mouse
    hand.open("/locations/ml_assets/jobs/retrain_disruption")
    hand.click("Materialize all")
    hand.choose_days(str(RETRAINED))
    hand.configure({"ops": {"training_sets__disruption": {"config": {"reason": REASON}}}})
    hand.shot("retrain_1_dialog")
    hand.launch()
    desk.session.at_rest()
    decided = desk.platform.rows("retrain_decisions/disruption", RETRAINED).row(0, named=True)
    assert (decided["decision"], decided["trigger"]) == ("train", "manual")
    assert REASON in hand.day("retrain_decisions/disruption", str(RETRAINED))
    hand.shot("retrain_2_decision")


def test_the_lineage_reads_when_it_opens(desk: Desk) -> None:
    hand = desk.mouse
    hand.open("/asset-groups")
    hand.page.get_by_text("sources", exact=True).locator("visible=true").first.wait_for()
    hand.shot("lineage", settle_ms=4000)
    assert len(ASSETS) >= 10
