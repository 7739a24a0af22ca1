"""Days that are due and not delivered, days without rows, and labels that come late, in a live shop."""

import shutil
from pathlib import Path

import pytest
from dagster import AssetCheckSeverity, DagsterRunStatus, build_sensor_context
from live_shop import A_DAY, END, PACKAGE, TRAINED, at, at_work, dropped, with_sources
from short_year import Platform

from ml_assets.__main__ import main
from ml_assets.domain.status import DayState, StatusReport, TableDay
from ml_assets.operate import operate
from resources.handles import LakeHandle
from resources.overview import statuses_of
from resources.run_tags import RANGE_END, RANGE_START
from sensors.due import SENSOR

SAID = "nothing was delivered for {day} (data/orders_{day:%Y%m%d}.csv), expected by {next} 00:00 (UTC)"


@pytest.fixture
def project(shop: Path, tmp_path: Path) -> Path:
    """A copy of the shop to write in."""
    return Path(shutil.copytree(shop, tmp_path / "shop"))


def status(platform: Platform) -> StatusReport:
    """How the shop stands."""
    (report,) = statuses_of(platform.lake, platform.launcher.graph, ())
    return report


def test_a_late_day_is_an_alarm_where_people_look_and_no_failure(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the one day and what waits for it; it is computed when it comes."""
    late = TRAINED + A_DAY
    held_back = dropped(project, "orders", late).rename(project / "held_back.csv")
    waits = {"events/orders", "features/order", "features/customer_orders"} | {"predictions/returns"}
    why = SAID.format(day=late, next=late + A_DAY)
    with at_work(project) as platform:
        operated = operate(platform.launcher, at(END), lambda _: None)
        assert operated.late == (("orders", late),)
        runs = platform.instance.get_runs()
        assert {run.status for run in runs} == {DagsterRunStatus.SUCCESS}
        report = status(platform)
        states = {table: report.cells[TableDay(table, late)].state for table in platform.launcher.graph.assets}
        assert waits <= {table for table, state in states.items() if state is DayState.LATE}
        assert set(states.values()) <= {DayState.LATE, DayState.GOOD, DayState.EMPTY}
        assert report.cells[TableDay("events/orders", late)].reason.startswith(why)
        assert f"events/orders of {late} is late: {why}" in report.cells[TableDay("predictions/returns", late)].reason
        assert f"events/orders {late} is late, " in report.headline
        assert report.alarming
        step = report.cells[TableDay("events/orders", late)].next_step
        assert step.commands[0].endswith(f"deliver orders {late} <file>")
        assert "which is late" in report.cells[TableDay("predictions/returns", late)].next_step.sentence
        for table in waits:
            found = platform.newest_checks(table)[str(late)].evaluation
            assert found is not None
            assert (found.passed, found.severity) == (False, AssetCheckSeverity.WARN)
            assert platform.failed(table) == set()
        assert f"late: orders of {late}" in said_by_the_sensor(platform, monkeypatch)
    monkeypatch.setenv("ML_ASSETS_PROJECT", str(project))
    monkeypatch.setenv("ML_ASSETS_HOME", str(project / ".ml_assets"))
    assert main(["plan"]) == 0
    assert f"late: orders: {why}" in capsys.readouterr().out
    assert main(["run", "events/orders", str(late)]) == 2
    assert f"1 day late, first events/orders {late}: {why}" in capsys.readouterr().out
    held_back.rename(dropped(project, "orders", late))
    with at_work(project) as platform:
        assert operate(platform.launcher, at(END), lambda _: None).late == ()
        assert not status(platform).alarming


def said_by_the_sensor(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sensors.due.clock", lambda: at(END))
    found = platform.launcher.defs.get_repository_def().get_sensor_def(SENSOR)
    resources = {"lake": LakeHandle(home=str(platform.path))}
    with build_sensor_context(
        instance=platform.instance, resources=resources, repository_def=platform.launcher.defs.get_repository_def()
    ) as context:
        return str(found.evaluate_tick(context).skip_message)


def test_a_red_day_is_no_late_one(project: Path) -> None:
    """What came and is of no use is the day's own fault: blocked is what rests on it, and its run has failed."""
    red = TRAINED + A_DAY
    dropped(project, "orders", red).write_text("order,placed_at\n")
    with at_work(project) as platform:
        assert operate(platform.launcher, at(END), lambda _: None).late == ()
        report = status(platform)
        assert report.cells[TableDay("events/orders", red)].state is DayState.RED
        assert report.cells[TableDay("predictions/returns", red)].state is DayState.BLOCKED
        assert DagsterRunStatus.FAILURE in {run.status for run in platform.instance.get_runs()}


def test_five_days_after_an_outage_are_one_run_of_each_shared_stage(project: Path) -> None:
    with at_work(project) as platform:
        operate(platform.launcher, at(END), lambda _: None)
        after = [run for run in platform.instance.get_runs() if run.tags.get(RANGE_START, "") >= str(TRAINED)]
        for table in ("events/orders", "features/order", "outcomes/returned"):
            of_table = [run for run in after if table in {"/".join(key.path) for key in run.asset_selection or ()}]
            ranges = [(run.tags[RANGE_START], run.tags[RANGE_END]) for run in of_table]
            assert ranges == [(str(TRAINED), str(END - A_DAY))], table


def test_a_day_without_orders_goes_through_every_stage(project: Path) -> None:
    """A holiday, declared; and a file without rows, where the source says that there may be such days."""
    holiday, empty = TRAINED + A_DAY, TRAINED + 3 * A_DAY
    dropped(project, "orders", holiday).unlink()
    file = dropped(project, "orders", empty)
    file.write_text(file.read_text().splitlines()[0])
    catalog = with_sources(project, orders={"holidays": (holiday,), "min_rows": 0})
    with at_work(project, catalog) as platform:
        assert operate(platform.launcher, at(END), lambda _: None).late == ()
        report = status(platform)
        assert not report.attention
        for day, why in ((holiday, "nothing is delivered for this day"), (empty, "a day may have no rows")):
            for table in ("events/orders", "features/order", "predictions/returns"):
                assert report.cells[TableDay(table, day)].state is DayState.EMPTY, (table, day)
                evaluation = platform.newest_checks(table)[str(day)].evaluation
                assert evaluation is not None
                assert evaluation.passed
                said = why if table == "events/orders" else "of " + str(day) + " holds no rows"
                assert said in str(evaluation.description), table
            # Labels of other days' orders come, and are judged, on a day without orders.
            assert report.cells[TableDay("outcomes/returned", day)].state is DayState.GOOD
            assert report.cells[TableDay("performance_reports/returns", day)].state is DayState.GOOD
        assert {run.status for run in platform.instance.get_runs()} == {DagsterRunStatus.SUCCESS}


def test_late_labels_update_what_rests_on_them_and_nothing_else(project: Path) -> None:
    late = TRAINED + A_DAY
    held_back = dropped(project, "returns", late).rename(project / "held_back.csv")
    with at_work(project) as platform:
        assert operate(platform.launcher, at(END), lambda _: None).late == (("returns", late),)
        assert status(platform).calendar == PACKAGE
        before, files = platform.on_record(), platform.files()
        waiting = {table for table, days in before.items() if days[late][0] == "late"}
        assert waiting == {
            "events/returns",
            "source_reports/returns",
            "outcomes/returned",
            "performance_reports/returns",
        }
        held_back.rename(dropped(project, "returns", late))
        # Somebody killed it there, and went on a day later.
        platform.run(["events/returns"], late)
        assert operate(platform.launcher, at(END + A_DAY), lambda _: None).late == ()
        assert END not in {warning.day for warning in platform.plan().warnings}, "decided before the labels were mended"
        after = platform.on_record()
        changed = {
            table: {day for day, held in of_table.items() if day < END and held != before[table].get(day)}
            for table, of_table in after.items()
        }
        # Reports look back at the labels of five days; decisions made without the labels stand.
        lag = platform.launcher.catalog.outcomes["returned"].calendar.label_lag_days
        assert changed.pop("performance_reports/returns") <= {late + at * A_DAY for at in range(lag + 1)}
        # What is usual of later days rests on the late one.
        reported = changed.pop("source_reports/returns")
        assert min(reported) == late
        assert {table: days for table, days in changed.items() if days} == {
            "events/returns": {late},
            "outcomes/returned": {late},
        }
        written = {file for file in platform.files() - files if f"={END}" not in file}
        tables = {"extracts", "events", "outcomes", "performance_reports", "refusals", "source_reports"}
        assert {file.split("/")[0] for file in written} <= tables
