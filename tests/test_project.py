"""Which project is at work, and what the environment says: found, or refused in one sentence; nothing is made."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from toy import FIRST, loans

from ml_assets.__main__ import main
from ml_assets.catalog import load_catalog
from ml_assets.domain.errors import CatalogError, SettingsError, SourceError
from ml_assets.domain.origins import Archive
from resources.extracts import Extracts
from resources.home import IN_PROCESS, INSTANCE, Home, open_home
from resources.project import Project, this_project
from resources.settings import Settings, checkout, secrets, settings

TOY = '[tool.ml_assets]\ncatalog = "shop"\n'


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings."""
    for name in [name for name in os.environ if name.startswith("ML_ASSETS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def toy(tmp_path: Path, bare: pytest.MonkeyPatch) -> Path:
    """A project with a folder below it, in which one stands."""
    (tmp_path / "pyproject.toml").write_text(TOY)
    (tmp_path / "deep" / "below").mkdir(parents=True)
    bare.chdir(tmp_path / "deep" / "below")
    return tmp_path


def test_every_setting_is_described_and_frozen() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    with pytest.raises(ValidationError, match="frozen"):
        settings().home = Path("elsewhere")


def test_settings_are_one_value_as_long_as_the_environment_is_the_same(bare: pytest.MonkeyPatch) -> None:
    first = settings()
    assert settings() is first
    bare.setenv("ML_ASSETS_HOME", "~/somewhere")
    assert settings().home == Path.home() / "somewhere"
    bare.setenv("ML_ASSETS_HOME", "")
    assert settings().home is None


def test_options_of_the_object_store_are_in_no_picture_of_the_settings(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("ML_ASSETS_STORAGE_SECRET_ACCESS_KEY", "planted-secret")
    assert settings().storage == {"SECRET_ACCESS_KEY": "planted-secret"}
    assert "planted" not in repr(settings())
    assert "planted" not in str(settings())


def test_a_misspelt_setting_is_refused_with_the_known_ones(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("ML_ASSETS_HOEM", "/somewhere")
    with pytest.raises(SettingsError, match=r"ML_ASSETS_HOEM, which is no setting.*Did you mean ML_ASSETS_HOME\?"):
        settings()


def test_a_password_in_a_url_of_the_environment_is_a_secret(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("LOANS_URL", "postgresql+psycopg2://reader:pass%2Fword77@db.example:5432/loans")
    assert {"pass/word77", "pass%2Fword77"} <= set(secrets())


def test_the_nearest_project_upwards_is_at_work(toy: Path) -> None:
    assert this_project() == Project(toy, "shop")
    assert this_project().home == toy / ".ml_assets"


def test_a_named_home_is_the_projects(toy: Path, bare: pytest.MonkeyPatch) -> None:
    bare.setenv("ML_ASSETS_HOME", str(toy / "other"))
    assert this_project().home == toy / "other"


def test_a_pyproject_that_says_nothing_of_the_platform_is_no_project(toy: Path) -> None:
    (toy / "deep" / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert this_project().root == toy


def test_the_checkout_is_a_project_from_everywhere(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    bare.chdir(tmp_path)
    assert this_project() == Project(checkout(), "ml_assets.catalog")


def test_a_named_project_comes_before_the_nearest(toy: Path, bare: pytest.MonkeyPatch) -> None:
    other = toy / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text(TOY.replace("shop", "loans"))
    bare.setenv("ML_ASSETS_PROJECT", str(other))
    assert this_project() == Project(other, "loans")


def test_a_named_catalogue_comes_before_the_projects(toy: Path, bare: pytest.MonkeyPatch) -> None:
    bare.setenv("ML_ASSETS_CATALOG", "loans.catalogue")
    assert this_project() == Project(toy, "loans.catalogue")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[tool.ml_assets]\n", "catalog is None, wanted the name of the catalogue's package"),
        ('[tool.ml_assets]\ncatalog = "no package"\n', "catalog is 'no package', wanted the name"),
        ("[tool.ml_assets]\ncatalog = 3\n", "catalog is 3, wanted the name"),
        (TOY + 'catalogue = "shop"\n', "'catalogue' is no setting; known are catalog"),
        ("[tool.ml_assets\n", "pyproject.toml cannot be read"),
    ],
)
def test_what_a_project_says_is_of_no_use(
    toy: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    (toy / "pyproject.toml").write_text(text)
    assert main(["plan"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert sentence in told.err
    assert str(toy / "pyproject.toml") in told.err
    assert not (toy / ".ml_assets").exists()


def test_a_project_without_its_package_is_told(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == 1
    assert "the catalogue's package 'shop' is not found" in capsys.readouterr().err


def test_without_a_project_one_is_told_how_to_begin(
    tmp_path: Path, bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an installed wheel finds it: above the packages lies no `pyproject.toml`."""
    bare.chdir(tmp_path)
    bare.setattr("resources.project.checkout", lambda: tmp_path / "site-packages")
    assert main(["plan"]) == 1
    told = capsys.readouterr().err
    assert "no project" in told
    assert "ml-assets init <folder>" in told
    assert not list(tmp_path.iterdir())


def test_a_folder_of_a_catalogue_that_is_not_there_declares_nothing(toy: Path, bare: pytest.MonkeyPatch) -> None:
    (toy / "lonely" / "sources").mkdir(parents=True)
    bare.syspath_prepend(str(toy))
    catalog = load_catalog("lonely")
    assert not catalog.sources
    assert not catalog.models


def test_what_fails_inside_a_catalogue_is_not_taken_for_its_absence(toy: Path, bare: pytest.MonkeyPatch) -> None:
    (toy / "broken" / "sources").mkdir(parents=True)
    (toy / "broken" / "sources" / "loans.py").write_text("import nothing_of_that_name\n")
    bare.syspath_prepend(str(toy))
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        load_catalog("broken")
    for no_package in ("broken.other", "nothing.of.that.name", "small_s3"):
        with pytest.raises(CatalogError, match=f"'{re.escape(no_package)}' is not found"):
            load_catalog(no_package)


def test_importing_the_code_location_makes_nothing(toy: Path) -> None:
    """Dagster loads definitions at every turn: what it looks at must not change by being looked at."""
    (toy / "shop").mkdir()
    before = sorted(toy.rglob("*"))
    loaded = subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-c", "import ml_assets.definitions as d; print(len(d.defs.assets))"],
        cwd=toy,
        env={**os.environ, "PYTHONPATH": str(checkout())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout.strip() == "0", loaded.stderr
    assert sorted(toy.rglob("*")) == before


def test_a_persons_own_dagster_yaml_is_left_alone_and_holds_for_every_run(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    assert home.in_process == IN_PROCESS
    own = home.dagster / INSTANCE
    written = yaml.safe_load(own.read_text())
    own.write_text(yaml.safe_dump(written | {"concurrency": {"runs": {"max_concurrent_runs": 7}}}))
    text = own.read_text()
    again = open_home(tmp_path / "home")
    assert own.read_text() == text
    assert again.in_process == INSTANCE


def test_the_embedded_default_is_kept_as_the_platform_wants_it(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    file = home.dagster / INSTANCE
    wanted = file.read_text()
    file.write_text(wanted.replace("max_concurrent_runs: 2", "max_concurrent_runs: 9"))
    open_home(tmp_path / "home")
    assert file.read_text() == wanted
    assert Home(tmp_path / "home").in_process == IN_PROCESS


def test_a_workspace_that_is_missing_is_told(toy: Path, told: Callable[[], str]) -> None:
    (toy / "shop").mkdir()
    assert main(["ui"]) == 1
    assert f"{toy / 'workspace.yaml'} is not there" in told()


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was said on stderr."""
    return lambda: capsys.readouterr().err


def test_an_archive_that_is_not_installed_is_told_where_it_is_declared(toy: Path) -> None:
    """In a project of one's own there is no Makefile."""
    archive = Archive(distribution="no-such-archive", path="x.csv", sha256="", prepare=lambda tables: tables["archive"])
    with pytest.raises(SourceError, match=r"`pip install no-such-archive`, and name it among the dependencies") as told:
        Extracts(toy / "extracts").read(loans(archive), [FIRST])
    assert str(toy / "pyproject.toml") in str(told.value)
