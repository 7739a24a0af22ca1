"""What a command says at its end: every day counted by what became of it, the first reason of each, the exit status.

What belongs here: the last lines of commands over real homes. What does not: errors (`test_cli.py`,
`test_faults_told.py`).
"""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from dagster import AssetCheckKey, DagsterInstance
from rich.console import Console
from short_year import END, SECOND_TRAINING, TRAINING, Platform, days, key_of

from ml_assets.__main__ import SHORT, main
from ml_assets.checks import CHECK_NAME
from ml_assets.summary import MonthsAsTheyCome, render, summarise
from resources.handles import lake_of
from resources.home import open_home
from resources.settings import HOME_VARIABLE

FIRST = date(2013, 3, 5)
WEATHER = "events/weather"
Said = Callable[..., tuple[int, list[str]]]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which one day of weather has been run, for all tests of this file."""
    path = tmp_path_factory.mktemp("last") / "home"
    open_home(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(path))
        assert main(["run", WEATHER, str(FIRST)]) == 0
    return path


@pytest.fixture
def said(used: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command over that home and gives its exit status and its lines, none of them on standard error."""
    monkeypatch.setenv(HOME_VARIABLE, str(used))
    monkeypatch.setenv("COLUMNS", "200")
    capsys.readouterr()

    def run(*arguments: str) -> tuple[int, list[str]]:
        status = main(arguments)
        told = capsys.readouterr()
        assert told.err == ""
        return status, told.out.splitlines()

    return run


def test_a_range_with_refused_days_exits_2_and_counts_them(used: Path, said: Said) -> None:
    refused = FIRST + timedelta(days=2)
    extract = used / "extracts" / "weather" / f"{refused}.parquet"
    extract.rename(extract.with_suffix(".aside"))
    status, lines = said("run", f"{WEATHER},features/weather", str(FIRST), str(FIRST + timedelta(days=3)))
    assert status == SHORT
    why = f"no extract at {extract}; deliver it and rerun this day"
    assert lines[:-1] == [
        "5 days done",
        "1 day unchanged",
        f"1 day refused, first {WEATHER} {refused}: {why}",
        f"1 day blocked, first features/weather {refused}: {WEATHER} of {refused} is refused: {why}",
    ]
    assert "not all days are good" in lines[-1]
    written = {FIRST + timedelta(days=at) for at in (0, 1, 3)}
    assert lake_of(used).days(WEATHER) == lake_of(used).days("features/weather") == written

    extract.with_suffix(".aside").rename(extract)
    status, lines = said("run", f"{WEATHER},features/weather", str(refused))
    assert (status, lines[0]) == (0, "2 days done")
    assert "done in" in lines[-1]


def test_every_reason_of_many_refused_days_is_kept(used: Path, said: Said) -> None:
    """All of them in the lake, a count of them in the run's log."""
    forty = days(date(2013, 5, 1), date(2013, 6, 9))
    extracts = {day: used / "extracts" / "weather" / f"{day}.parquet" for day in forty}
    for extract in extracts.values():
        extract.unlink()
    status, lines = said("run", WEATHER, str(forty[0]), str(forty[-1]))
    assert status == SHORT
    assert lines[0].startswith(f"40 days refused, first {WEATHER} {forty[0]}: no extract at {extracts[forty[0]]}")
    kept = lake_of(used).refused(WEATHER, forty[0], forty[-1] + timedelta(days=1))
    assert {day: str(extract) in kept[day] for day, extract in extracts.items()} == dict.fromkeys(forty, True)
    with DagsterInstance.from_config(str(used / "dagster")) as instance:
        (run,) = instance.get_runs(limit=1)
        log = [entry.user_message for entry in instance.all_logs(run.run_id)]
        checks = instance.event_log_storage.get_asset_check_execution_history(
            AssetCheckKey(key_of(WEATHER), CHECK_NAME), limit=40
        )
    assert any(f"{WEATHER}: 40 of 40 days refused; {forty[0]}: " in text for text in log)
    told = {record.partition: str(record.evaluation.description) for record in checks if record.evaluation}
    assert {day: str(extract) in told[str(day)] for day, extract in extracts.items()} == dict.fromkeys(forty, True)


def test_days_without_a_decision_to_train_are_counted_as_empty_with_the_reason(platform: Platform) -> None:
    day = SECOND_TRAINING + timedelta(days=2)
    platform.withdraw(TRAINING, day, day)
    report = platform.run(TRAINING, day)
    assert not report.short
    assert report.lines() == [
        f"{len(TRAINING)} days empty, first {min(TRAINING)} {day}: {report.of('empty')[0][2]}",
    ]
    assert {reason for _, _, reason in report.of("empty")} >= {"there is no decision to train"}


def test_a_summary_without_a_model_says_so(said: Said) -> None:
    status, lines = said("summary")
    assert status == 0
    assert lines[0] == ("disruption: no predictions yet; replay the workload (ml-assets demo), or run its stages.")


def test_a_summary_names_months_with_their_year(replayed: Platform) -> None:
    console = Console(width=200)
    with console.capture() as shown:
        console.print(render(replayed.launcher.home, replayed.launcher.catalog, replayed.lake))
    assert "Mar 2013" in shown.get()


def test_months_are_told_as_they_come_with_the_figures_of_the_summary(replayed: Platform) -> None:
    told: list[str] = []
    model = replayed.launcher.catalog.models["disruption"]
    months = MonthsAsTheyCome(replayed.lake, told.append)
    for before in (FIRST + timedelta(days=9), END, END + timedelta(days=5)):
        months(model, before)
    assert told == []
    months(model, END + timedelta(days=40))
    (march,) = told
    shown = summarise(replayed.lake, model).months
    assert shown is not None
    figures = shown.row(0, named=True)
    assert march == (
        f"disruption  Mar 2013  {figures['rows']:,} predictions, base rate {figures['base_rate']:.1%}, "
        f"ROC-AUC {figures['roc_auc']:.3f}, ECE {figures['ece']:.3f}"
    )


def test_a_declared_loss_is_told_in_a_sentence(used: Path, said: Said) -> None:
    # The second run finds nothing to write; losing its commit loses no day.
    assert [said("run", "features/weather", str(FIRST))[0] for _ in range(2)] == [0, 0]
    log = used / "lake" / "features" / "weather" / "_delta_log"
    max(log.glob("*.json")).write_bytes(b"")
    status, lines = said("accept-loss", "features/weather")
    assert status == 0
    left = lake_of(used).store.snapshot("features/weather")
    held = len(left.days()) if left else 0
    assert " ".join(lines) == (
        f"features/weather: the {held} days it holds count from here on. See what rests on it: ml-assets plan"
    )
