"""The project at work: whose catalogue is run, and where its home is.

What belongs here: finding a project's `pyproject.toml`, what its `[tool.ml_assets]` says.
What does not: importing a catalogue (`ml_assets/catalog`), making a home (`home.py`).
"""

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_assets.domain.errors import SettingsError
from resources.settings import CATALOG_VARIABLE, PROJECT_VARIABLE, checkout, settings, working_directory

PYPROJECT, TABLE = "pyproject.toml", "ml_assets"
KEYS = ("catalog",)
HOME = ".ml_assets"
WORKSPACE = "workspace.yaml"
BEGIN = "`ml-assets init <folder>` makes a project"


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a `pyproject.toml` whose `[tool.ml_assets]` names the package of a catalogue."""

    root: Path
    catalog: str

    @property
    def home(self) -> Path:
        """`$ML_ASSETS_HOME`, or `.ml_assets` in the project."""
        return settings().home or self.root / HOME

    @property
    def workspace(self) -> Path:
        """The file from which Dagster loads the project; SettingsError when it is not there."""
        file = self.root / WORKSPACE
        if not file.is_file():
            raise SettingsError(f"{file} is not there, but Dagster loads the project from it. Restore it; {BEGIN}.")
        return file

    def make_importable(self) -> None:
        """Lets the project's packages be imported, after all that is installed: none of them may hide another."""
        if str(self.root) not in sys.path:
            sys.path.append(str(self.root))


def this_project() -> Project:
    """The project that `$ML_ASSETS_PROJECT` names, or the nearest one upwards, or the checkout of the platform.

    Raises SettingsError when there is none, or when its `[tool.ml_assets]` cannot be read.
    """
    chosen = settings()
    if chosen.project:
        table = _table_of(chosen.project)
        if table is None and not chosen.catalog:
            raise SettingsError(
                f"{PROJECT_VARIABLE} names {chosen.project}, which holds no {PYPROJECT} with a [tool.{TABLE}] table; "
                f"{BEGIN}."
            )
        return Project(chosen.project, chosen.catalog or _catalog_of(chosen.project, table or {}))
    here = working_directory()
    # The platform's own checkout is a project too: its example, found from wherever it is run.
    for folder in (here, *here.parents, checkout()):
        table = _table_of(folder)
        if table is not None:
            return Project(folder, chosen.catalog or _catalog_of(folder, table))
    if chosen.catalog:
        return Project(here, chosen.catalog)
    raise SettingsError(
        f"no project: neither {here} nor a folder above it has a {PYPROJECT} with a [tool.{TABLE}] table. Go to a "
        f"project's folder or name it in {PROJECT_VARIABLE}, or name a catalogue's package in {CATALOG_VARIABLE}; "
        f"{BEGIN}."
    )


def _table_of(folder: Path) -> Mapping[str, Any] | None:
    """`[tool.ml_assets]` of the folder's `pyproject.toml`; None when there is no such file or table."""
    file = folder / PYPROJECT
    try:
        if not file.is_file():
            return None
        declared = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read ({error}); mend it.") from error
    table = declared.get("tool", {}).get(TABLE)
    return table if isinstance(table, dict) else None


def _catalog_of(folder: Path, table: Mapping[str, Any]) -> str:
    where = f"{folder / PYPROJECT}, [tool.{TABLE}]"
    if unknown := sorted(set(table) - set(KEYS)):
        raise SettingsError(f"{where}: {unknown[0]!r} is no setting; known are {', '.join(KEYS)}.")
    catalog = table.get("catalog")
    if not isinstance(catalog, str) or not all(part.isidentifier() for part in catalog.split(".")):
        raise SettingsError(f"{where}: catalog is {catalog!r}, wanted the name of the catalogue's package.")
    return catalog
