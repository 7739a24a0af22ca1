"""The journeys of a person with a mouse, in headless Chromium on the real web server, daemon and home.

What belongs here: what is clicked, what is read, screenshots on the way. What does not: which ways of launching leave
the lake right (`test_ui_journeys.py` has them all, with the mutations that these clicks send).

Screenshots go to the folder that `$ML_ASSETS_TEST_SCREENSHOTS` names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import browser
import pytest
from browser import Mouse, mouse
from short_year import Platform
from test_bad_days import with_an_empty_column
from test_ui_journeys import (
    BEGIN,
    CAUSE,
    DAY,
    DAYS,
    FLIGHTS,
    GRAPH,
    NEXT,
    PREDICTIONS,
    REASON,
    REPORT,
    RETRAINED,
    TICKED,
    TRAINING_SETS,
    Home,
    below,
    served_home,
)

LACKS = browser.missing()
if LACKS:
    print(f"journeys by mouse are skipped: {LACKS}")

pytestmark = [
    pytest.mark.xdist_group("mouse"),
    pytest.mark.skipif(LACKS is not None, reason=f"journeys by mouse: {LACKS}"),
]

CHOSEN = [BEGIN, *TICKED[BEGIN in TICKED :]]


@dataclass
class Desk:
    """A person's place: the served home and a browser on it."""

    home: Home
    mouse: Mouse


@pytest.fixture(scope="module")
def desk(replayed_home: Path, corrected: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A copy of the replayed home, served, and a browser on it."""
    folder = tmp_path_factory.mktemp("mouse")
    with (
        served_home(replayed_home, corrected, folder) as home,
        mouse(home.session.url, folder / "screenshots") as hand,
    ):
        yield Desk(home, hand)


def test_the_lineage_reads_when_it_opens(desk: Desk) -> None:
    """A few boxes, by name, in the order of the work; a model's box unfolds into its stages."""
    hand = desk.mouse
    hand.open("/asset-groups")
    for box in ("sources", "features", "outcomes", "disruption"):
        hand.box(box).wait_for()
    hand.shot("lineage_1", settle_ms=3000)
    hand.unfold("disruption", {asset.stage for asset in GRAPH if asset.name == "disruption"})
    hand.shot("lineage_2_unfolded", settle_ms=3000)


def test_one_day_of_everything_downstream(desk: Desk) -> None:
    desk.home.deliver_the_other_file()
    hand = desk.mouse
    hand.whole_downstream(BEGIN)
    hand.shot("downstream_1_lineage")
    hand.click("Materialize all")
    hand.choose_days(str(DAY))
    hand.shot("downstream_2_one_day")
    sent = hand.launch()["executionParams"]
    hand.shot("downstream_3_launched")
    assert {"/".join(key["path"]) for key in sent["selector"]["assetSelection"]} == below(GRAPH, BEGIN)
    desk.home.is_right()


def test_two_days_of_everything_downstream(desk: Desk) -> None:
    desk.home.deliver_the_other_file()
    hand, session = desk.mouse, desk.home.session
    hand.whole_downstream(BEGIN)
    hand.click("Materialize all")
    hand.choose_days(f"[{DAY}...{NEXT}]")
    hand.shot("two_days_1_dialog")
    wanted = dict.fromkeys(below(GRAPH, BEGIN), f"{DAY}...{NEXT}")
    assert hand.previewed(wanted) == wanted
    hand.launch()
    session.until("the backfill", lambda: bool(session.backfills()))
    backfill = session.ended_backfill(session.backfills()[0]["id"])
    assert backfill["status"] == "COMPLETED_SUCCESS"
    hand.open(f"/runs/b/{backfill['id']}")
    hand.page.get_by_text("Partitions targeted").wait_for()
    hand.shot("two_days_2_backfill")
    desk.home.is_right()


def test_ticked_assets(desk: Desk) -> None:
    desk.home.deliver_the_other_file()
    hand = desk.mouse
    hand.tick(CHOSEN)
    hand.shot("ticked_1_catalogue")
    hand.click("Materialize selected")
    hand.choose_days(str(DAY))
    # What the dialog promises is what is launched.
    wanted = dict.fromkeys(CHOSEN, f"{DAY}...{DAY}")
    assert hand.previewed(wanted) == wanted
    sent = hand.launch()["executionParams"]
    assert {tag["key"]: tag["value"] for tag in sent["executionMetadata"]["tags"]}["dagster/partition"] == str(DAY)
    desk.home.is_right()


def test_the_runs_page_reads_like_a_diary(desk: Desk) -> None:
    """The days of a run that heals begin where the daemon found something to do, which its moment decides."""
    hand, healing = desk.mouse, desk.home.healing()
    assert healing
    hand.open("/runs")
    for said in (f"{CAUSE}: rests on", "keep_in_step", *(f"{DAYS}: {run['tags'][DAYS]}" for run in healing)):
        assert hand.shows(said), said
    hand.shot("runs")
    assert "ml_assets" not in hand.text(), "what the platform keeps for itself is hidden"


def test_the_timeline_is_not_empty(desk: Desk) -> None:
    hand = desk.mouse
    hand.open("/overview/activity/timeline")
    assert hand.shows("Jobless asset materializations")
    hand.shot("timeline")
    assert "No runs or scheduled ticks" not in hand.text()


def test_good_days_are_green_under_checks(desk: Desk) -> None:
    hand = desk.mouse
    for asset in (FLIGHTS, PREDICTIONS):
        materialized = len(desk.home.session.partition_bar(asset).materialized)
        hand.check_bar(asset)
        wanted = [materialized, 0]
        assert hand.comes(lambda: hand.counted("Passed", "Failed"), wanted) == wanted
        hand.shot(f"checks_{asset.replace('/', '_')}")


def test_a_red_day_and_the_days_it_blocks(desk: Desk) -> None:
    hand, session = desk.mouse, desk.home.session
    extract = desk.home.platform.extract("flights", DAY)
    right = extract.read_bytes()
    with_an_empty_column(extract)
    run = session.launch_one_day(session.downstream(BEGIN), str(DAY))
    assert session.ended_run(run)["status"] == "FAILURE"
    session.at_rest()
    said = "tailnum is 100.0% null"
    hand.partition_bar(FLIGHTS)
    assert hand.comes(lambda: hand.counted("Failed"), [1]) == [1]
    hand.shot("red_1_partitions")
    hand.check(FLIGHTS)
    assert hand.shows(said)
    hand.shot("red_2_check")
    hand.check_bar(FLIGHTS)
    assert hand.comes(lambda: hand.counted("Failed"), [1]) == [1]
    hand.day(FLIGHTS, str(DAY))
    assert hand.shows(said)
    hand.shot("red_3_day")
    hand.day(PREDICTIONS, str(DAY))
    assert hand.shows(f"{FLIGHTS} of {DAY}")
    hand.shot("red_4_blocked_day")
    hand.open("/assets")
    assert hand.comes(lambda: hand.failed_in_catalogue(FLIGHTS), 1) == 1
    hand.shot("red_5_catalogue")
    hand.asset("status/flights")
    assert hand.shows(f"{FLIGHTS} {DAY} is red")
    hand.page.get_by_text("Show Markdown").first.click()
    assert hand.shows(said)
    hand.shot("red_6_status")

    extract.write_bytes(right)
    desk.home.before = desk.home.platform.contents(list(desk.home.before))
    hand.asset(BEGIN)
    hand.click("Materialize")
    hand.choose_days(str(DAY))
    hand.launch()
    desk.home.is_right()
    hand.partition_bar(FLIGHTS)
    healed = [0, len(session.partition_bar(FLIGHTS).materialized)]
    assert hand.comes(lambda: hand.counted("Failed", "Materialized"), healed) == healed
    hand.open("/assets")
    assert hand.comes(lambda: hand.failed_in_catalogue(FLIGHTS), 0) == 0


def test_numbers_are_plotted_by_day(desk: Desk) -> None:
    hand = desk.mouse
    hand.plots_by_day(REPORT)
    assert hand.comes(lambda: {"ROC-AUC", "Brier", "ECE"} <= set(hand.text().splitlines()), wanted=True)
    hand.page.get_by_text("ROC-AUC").last.scroll_into_view_if_needed()
    hand.shot("plots_by_day")
    assert "Asset plots are automatically generated by metadata" not in hand.text()


def test_a_retrain_with_a_reason(desk: Desk) -> None:
    hand = desk.mouse
    hand.open("/locations/ml_assets/jobs/retrain_disruption")
    hand.click("Materialize all")
    hand.choose_days(str(RETRAINED))
    hand.configure({"ops": {TRAINING_SETS.replace("/", "__"): {"config": {"reason": REASON}}}})
    hand.shot("retrain_1_dialog")
    hand.launch()
    desk.home.session.at_rest()
    decided = desk.home.platform.rows("retrain_decisions/disruption", RETRAINED).row(0, named=True)
    assert (decided["decision"], decided["trigger"]) == ("train", "manual")
    hand.day("retrain_decisions/disruption", str(RETRAINED))
    assert hand.shows(REASON)
    hand.shot("retrain_2_decision")
