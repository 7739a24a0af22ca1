"""A project of one's own: made, refused, and run from an installed wheel to predictions before anything is edited."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import dagster
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.__main__ import main
from ml_assets.begin import FIRST_TRAINING, make_project
from ml_assets.domain.errors import SettingsError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.made_up_orders import KEPT_AFTER, made_up_orders

ROOT = Path(__file__).parent.parent
TODAY = date(2025, 6, 2)
FIRST = TODAY - timedelta(days=90)
TRAINED = FIRST + timedelta(days=FIRST_TRAINING)
PATIENCE_S = 400

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the built wheel and, from elsewhere, what the wheel depends on."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    source.mkdir()
    for name in ("ml_assets", "partitions", "resources", "sensors"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    # Without the network: what builds and what is depended on is installed already.
    told([*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(base)], source)
    told([sys.executable, "-m", "venv", "--without-pip", str(base / "env")], base)
    (site,) = (base / "env" / "lib").glob("python3*/site-packages")
    # Of a folder that is named so no `.pth` is read: an editable platform in it is not found.
    (site / "dependencies.pth").write_text(f"{Path(dagster.__file__).parent.parent}\n")
    (wheel,) = base.glob("ml_assets-*.whl")
    python = base / "env" / "bin" / "python"
    told([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], base)
    return base / "env" / "bin"


def told(command: list[str], folder: Path) -> str:
    """What a command that must succeed says; nothing of this process's project reaches it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ML_ASSETS_", "PYTHON"))}
    ran = subprocess.run(
        command, cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert ran.returncode == 0, f"{command}: {ran.stdout[-3000:]}{ran.stderr[-3000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as `ml-assets init` leaves it on a certain day."""
    return make_project(tmp_path_factory.mktemp("projects") / "My shop", "shop", TODAY)


def test_an_installed_wheel_goes_from_init_to_predictions(installed: Path, tmp_path: Path) -> None:
    """What a newcomer types, and nothing else; the days are few, for speed."""
    program = str(installed / "ml-assets")
    told([program, "init", "shop"], tmp_path)
    project = tmp_path / "shop"
    where = told([str(installed / "python"), "-c", "import ml_assets; print(ml_assets.__file__)"], project)
    assert where.startswith(str(installed.parent)), "the checkout would be tested"
    first = min(file.stem for file in (project / "data").glob("orders_*.csv")).removeprefix("orders_")
    trained = date.fromisoformat(first) + timedelta(days=FIRST_TRAINING)
    # Loading it, as Dagster's own commands do, leaves the project as it is.
    before = sorted(project.rglob("*"))
    told([str(installed / "python"), "-B", "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"], project)
    assert [path for path in sorted(project.rglob("*")) if "__pycache__" not in path.parts] == before

    told([program, "demo", "--until", str(trained + timedelta(days=2))], project)
    predictions = pl.read_delta(str(project / ".ml_assets" / "lake" / "predictions" / "returns"))
    assert set(predictions[DAY]) == {trained, trained + timedelta(days=1)}
    asked = pl.read_csv(project / "data" / f"orders_{trained:%Y%m%d}.csv")["order"]
    assert set(predictions.filter(pl.col(DAY) == trained)["row_key"]) == set(asked)
    assert predictions["probability"].is_between(0, 1).all()

    for kind, name in (("source", "clicks"), ("features", "basket"), ("outcome", "big"), ("model", "big")):
        told([program, "add", kind, name], project)
    assert "Everything is in step" in told([program, "plan"], project)
    (project / "data" / f"clicks_{trained:%Y%m%d}.csv").write_text(f"id,happened_at,amount\n1,{trained}T10:00:00Z,\n")
    told([program, "run", "events/clicks,features/basket,outcomes/big", str(trained)], project)
    assert "predictions" in told([program, "status"], project)
    told([str(installed / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"], project)


def test_every_file_explains_itself(shop: Path) -> None:
    for file in shop.rglob("*.py"):
        assert file.read_text().startswith('"""'), file
    left = [file for file in shop.rglob("*") if file.is_file() and "$" in file.read_text()]
    assert not left
    assert (shop / ".gitignore").read_text().count(".ml_assets/") == 1
    assert len((shop / "README.md").read_text().splitlines()) < 60


def test_what_the_readme_names_is_there(shop: Path) -> None:
    rows = [line for line in (shop / "README.md").read_text().splitlines() if line.startswith("| `")]
    named = {line.split("`")[1] for line in rows}
    assert len(named) >= 8
    assert not {name for name in named if not (shop / name).is_file()}


@pytest.mark.parametrize(
    ("folder", "package", "said"),
    [
        ("new", "calendar", "'calendar' is the name of a package that is installed"),
        ("new", "resources", "'resources' is the name of a package that is installed"),
        ("polars", None, "'polars' is the name of a package that is installed"),
        ("new", "my-shop", "'my-shop' can be the name of no package"),
        ("new", "class", "'class' can be the name of no package"),
        ("2025", None, "'2025' can be the name of no package"),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused(tmp_path: Path, folder: str, package: str | None, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make_project(tmp_path / folder, package, TODAY)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("used", "file"):
        with pytest.raises(SettingsError, match="is there already"):
            make_project(tmp_path / name, "shop_of_mine", TODAY)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine.txt", "used"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["source", "flights"], "the catalogue has a source 'flights' already"),
        (["model", "my-model"], "'my-model' is no name"),
        (["features", "class"], "'class' is no name"),
    ],
)
def test_what_cannot_be_added_is_told(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["add", *arguments]) == 1
    assert said in capsys.readouterr().err


@settings(max_examples=20, deadline=None)
@given(
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.integers(1, 12),
    st.sampled_from(["UTC", "Asia/Tokyo", "US/Hawaii"]),
)
def test_made_up_orders_are_settled_later_and_seen_only_by_their_day(first: date, days: int, zone: str) -> None:
    end = first + timedelta(days=days)
    orders, settled = made_up_orders(first, end, zone)
    for rows, at in ((orders, "placed_at"), (settled, "settled_at")):
        assert rows[at].dt.convert_time_zone(zone).dt.date().equals(rows[DAY], check_names=False)
        assert rows["order"].is_unique().all()
        assert rows[DAY].is_between(first, end, closed="left").all()
    waited = settled["settled_at"] - settled["placed_at"]
    assert waited.is_between(timedelta(hours=24), KEPT_AFTER).all()
    assert (waited.filter(~settled["returned"]) == KEPT_AFTER).all()


def test_made_up_orders_of_a_day_do_not_depend_on_the_days_around_it() -> None:
    wide, _ = made_up_orders(FIRST, FIRST + timedelta(days=9), "UTC")
    narrow, _ = made_up_orders(FIRST + timedelta(days=4), FIRST + timedelta(days=5), "UTC")
    assert narrow.equals(wide.filter(pl.col(DAY) == FIRST + timedelta(days=4)))
