"""`ml-assets check`: every promise on a line, each finding with what to do, an exit status, nothing left behind."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import toy_catalog as toy
from rich.console import Console

from ml_assets.__main__ import main
from ml_assets.begin import make_project
from ml_assets.check import Checked, check, of_model
from ml_assets.check_terminal import TerminalCheck, state_of
from ml_assets.domain.errors import CatalogError, NothingToDoError
from ml_assets.domain.proofs.days import LookedAt
from ml_assets.domain.proofs.proof import CENSORING, PLANTED, RANGE, Finding, Proof
from resources.settings import HOME_VARIABLE

ROOT = Path(__file__).parent.parent
NOW = datetime(2025, 1, 1, tzinfo=UTC)


def quiet(_step: str, _done: int, _total: int) -> None:
    """A check's progress, unheard."""


def tree(path: Path) -> dict[str, bytes | None]:
    return {str(found.relative_to(path)): found.read_bytes() if found.is_file() else None for found in path.rglob("*")}


@pytest.mark.parametrize(
    ("model", "looked_at", "promises", "subjects"),
    [
        # The blizzard is the most telling day.
        ("disruption", "flights: looked at 2013-02-09, ", 31, ("events/weather", "outcomes/disrupted")),
        ("repurchase", "purchases: looked at 1997-", 18, ("features/customer_history", "outcomes/buys_again")),
    ],
)
def test_the_shipped_catalogue_keeps_its_promises(
    model: str,
    looked_at: str,
    promises: int,
    subjects: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(place))
    assert main(["check", "--days", "2", "--model", model]) == 0
    told = capsys.readouterr().out
    assert looked_at in told
    assert f"All {promises} promises hold, in " in told
    for name in (*subjects, f"training_sets/{model}"):
        assert name in told
    assert not (tmp_path / "home").exists()
    assert tree(place) == {}


# --- a project of one's own -------------------------------------------------------------------------------

HONEST, LOOKING_AHEAD = '        "price",\n', '        pl.col("price").mean().over("partition_date"),\n'


def checked(project: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ML_ASSETS_")}
    return subprocess.run(
        [sys.executable, "-m", "ml_assets", "check", "--days", "3"],
        cwd=project,
        env={**clean, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_new_project_keeps_its_promises_and_a_breach_is_told(tmp_path: Path) -> None:
    project = make_project(tmp_path / "shop")
    good = checked(project)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "promises hold, in" in good.stdout
    assert not (project / ".ml_assets").exists()

    feature = project / "shop" / "features" / "order.py"
    assert HONEST in feature.read_text()
    feature.write_text(feature.read_text().replace(HONEST, LOOKING_AHEAD, 1))
    bad = checked(project)
    assert bad.returncode == 2, bad.stdout + bad.stderr
    told = " ".join(bad.stdout.split())
    assert "nothing from the future features/order" in told
    assert "where features/order, row_key 20" in told
    assert "came as of 20" in told
    assert "wanted the same, for what became known later cannot have been in it" in told
    assert "do It uses rows of orders that come after." in told
    # No line ends at the width of a page.
    assert max(len(line) for line in bad.stdout.splitlines()) > 120
    assert "Traceback" not in bad.stderr


# --- what is asked for ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "disrupted"], "unknown model 'disrupted'; known are disruption, repurchase."),
        (["--days", "0"], "0 days are to be looked at, wanted 1 or more"),
    ],
)
def test_what_cannot_be_looked_at_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    assert main(["check", *arguments]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("ml-assets: ")
    assert sentence in line


def test_a_model_is_checked_with_all_it_reads_and_nothing_else() -> None:
    model = toy.model()
    gate = replace(model.gate, segments=())
    lean = replace(model, name="lean", features=("gauge.level",), categorical=(), gate=gate)
    catalog = toy.catalog(models={"lean": lean})
    part = of_model(catalog, "lean")
    assert (set(part.sources), set(part.features)) == ({"parcels", "gauges"}, {"parcel", "gauge"})
    assert (set(part.outcomes), set(part.models)) == ({"late"}, {"lean"})
    with pytest.raises(CatalogError, match=r"unknown model 'fat'; known are delay, lean\."):
        of_model(catalog, "fat")


def test_extracts_are_read_where_they_lie_and_left_as_they_are(tmp_path: Path) -> None:
    """And a day that is damaged is left out and named, with the place where a good one may be put."""
    toy.write_extracts(tmp_path)
    damaged = tmp_path / "gauges" / "2024-03-31.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    before = tree(tmp_path)
    found = check(toy.catalog(), tmp_path, NOW, quiet, days=3)
    assert not found.broken
    assert tree(tmp_path) == before
    assert list(found.refused) == ["gauges"]
    (why,) = found.refused["gauges"].values()
    assert str(damaged) in why


@pytest.mark.parametrize("damage", ["empty", "absent"])
def test_nothing_good_to_look_at_is_no_success(tmp_path: Path, damage: str) -> None:
    toy.write_extracts(tmp_path)
    for file in tmp_path.rglob("*.parquet"):
        if damage == "empty":
            file.write_bytes(b"")
        else:
            file.unlink()
    with pytest.raises(NothingToDoError, match="no day of any source is good, so there is nothing to check"):
        check(toy.catalog(), tmp_path, NOW, quiet, days=2)


def test_a_catalogue_without_sources_and_days_that_are_not_over_are_told(tmp_path: Path) -> None:
    empty = toy.build_catalog([], [], [], [])
    with pytest.raises(NothingToDoError, match="declares no source"):
        check(empty, tmp_path, NOW, quiet, days=2)
    with pytest.raises(NothingToDoError, match="begins on 2024-03-20, and that day is not over yet"):
        check(toy.catalog(), tmp_path, datetime(2024, 3, 20, 12, tzinfo=UTC), quiet, days=2)


# --- how it is told ---------------------------------------------------------------------------------------


def test_holds_broken_and_not_shown_are_told_apart() -> None:
    finding = Finding("features/a of 2024-01-01, depot x", "level is 1 here", "the same", "Mend it.")
    proofs = (
        Proof(RANGE, "features/a", (date(2024, 1, 1),), 1_234),
        Proof(CENSORING, "features/a", (), 0, (finding,)),
        Proof(PLANTED, "models/m", (), 0, (), "too few rows", ("a note",)),
    )
    assert [state_of(proof) for proof in proofs] == ["holds", "broken", "not shown"]
    at = LookedAt({"parcels": (date(2024, 1, 1),)}, {"m": date(2024, 1, 9)})
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(TerminalCheck(Checked(proofs, at, {"gauges": {date(2024, 1, 2): "it is damaged"}}), 3.2))
    told = console.export_text()
    for line in (
        "parcels: looked at 2024-01-01",
        "m: training set of 2024-01-09",
        "a range equals its days   features/a     1  1,234  holds",
        "where   features/a of 2024-01-01, depot x",
        "came    level is 1 here",
        "wanted  the same",
        "do      Mend it.",
        " not shown  a planted leak stays out: models/m: too few rows",
        "note: models/m: a note",
        "note: gauges of 2024-01-02 is refused, so nothing was computed from it: it is damaged",
        "1 of 3 promises hold, 1 broken, 1 not shown, in 3 s.",
    ):
        assert line in told, told
