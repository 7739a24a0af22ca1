"""Makes a project of one's own, and files to begin with in it.

What belongs here: filling in and writing templates, a small data set so that the project runs before anything is
edited. What does not: what the templates say (`templates/`), finding a project (`resources/project.py`).
"""

import keyword
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import Mapping
from datetime import date, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TypeVar

import polars as pl

from ml_assets.catalog import load_catalog
from ml_assets.domain.errors import CatalogError, SettingsError
from ml_assets.domain.ingestion import event_types
from ml_assets.domain.local_days import DAY
from ml_assets.domain.made_up_orders import made_up_orders
from ml_assets.domain.specs import Calendar, Catalog, FeatureGroupSpec
from partitions import today_in
from resources.project import Project

DeclaredT = TypeVar("DeclaredT")
TEMPLATES = Path(__file__).parent / "templates"
ENDING = ".tmpl"
PACKAGE = "package"
DAYS, FIRST_TRAINING = 90, 49
ZONE = "UTC"
FOLDERS = {"source": "sources", "features": "features", "outcome": "outcomes", "model": "models"}


def make_project(folder: Path, package: str | None = None, today: date | None = None) -> Path:
    """The folder of a new project with a catalogue, 90 days of made-up orders up to yesterday, and a README.

    The folder appears whole or not at all. Raises SettingsError when there is something in it, or when the package
    could not be imported by its name.
    """
    folder = folder.expanduser().absolute()
    name = package or "".join(sign if sign.isalnum() else "_" for sign in folder.name.lower())
    _refuse_name(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is there already, and not empty; name a new folder. Nothing was written.")
    end = today or today_in(ZONE)
    first = end - timedelta(days=DAYS)
    words = {
        "package": name,
        "project": folder.name,
        "timezone": ZONE,
        "first_day": _numbers(first),
        "first_training_day": _numbers(first + timedelta(days=FIRST_TRAINING)),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for template in sorted((TEMPLATES / "project").rglob("*")):
            if template.is_file():
                place = template.relative_to(TEMPLATES / "project").as_posix().removesuffix(ENDING)
                _write(aside / _placed(place, name), template, words)
        _write_orders(aside / "data", first, end)
        aside.chmod(0o755)
        aside.replace(folder)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


def add_declaration(project: Project, kind: str, name: str) -> Path:
    """The new file of a source, feature group, outcome or model, to be edited; the catalogue loads with it.

    Raises SettingsError when the name is taken or is none, or when the catalogue lacks what the new file rests on.
    """
    project.make_importable()
    catalog = load_catalog(project.catalog)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise SettingsError(f"{name!r} is no name; use letters, digits and underscores. Nothing was written.")
    if name in getattr(catalog, FOLDERS[kind]):
        raise SettingsError(f"the catalogue has a {kind} {name!r} already. Nothing was written.")
    package = import_module(project.catalog)
    file = Path(next(iter(package.__path__))) / FOLDERS[kind] / f"{name}.py"
    if file.exists():
        raise SettingsError(f"{file} is there already. Nothing was written.")
    module, calendar = _calendar_of(project.catalog)
    words = {"name": name, "calendar_module": module, "calendar": calendar, **_words_of(kind, catalog)}
    _write(file, TEMPLATES / "add" / f"{kind}.py{ENDING}", words)
    return file


def _words_of(kind: str, catalog: Catalog) -> dict[str, str]:
    if kind == "source":
        return {}
    if kind in ("features", "outcome"):
        source = _first(catalog.sources, "source", kind)
        return {"source": source.name, "key_columns": _quoted(source.keys)}
    spines = {name: group for name, group in catalog.features.items() if group.entity == ("row_key",)}
    spine = _first(spines, "feature group with the entity ('row_key',)", kind)
    words = _text_values(spine, catalog)
    return {
        "outcome": _first(catalog.outcomes, "outcome", kind).name,
        "spine": spine.name,
        "features": _quoted(tuple(f"{spine.name}.{value}" for value in spine.values)),
        "categorical": "".join(f'"{spine.name}.{value}", ' for value in words).rstrip(),
        "first_training_day": _numbers(spine.calendar.first_day + timedelta(days=FIRST_TRAINING)),
    }


def _text_values(group: FeatureGroupSpec, catalog: Catalog) -> list[str]:
    inputs = {name: pl.LazyFrame(schema=event_types(catalog.sources[name])) for name in group.inputs}
    schema = group.compute(inputs).collect_schema()
    return [value for value in group.values if schema[value] == pl.String]


def _first(declared: Mapping[str, DeclaredT], what: str, kind: str) -> DeclaredT:
    if not declared:
        raise SettingsError(f"the catalogue has no {what} for a {kind} to rest on; add that first.")
    return next(iter(declared.values()))


def _calendar_of(package: str) -> tuple[str, str]:
    """The module and the name of the first calendar that the catalogue's package declares."""
    path = import_module(package).__path__
    for found in pkgutil.iter_modules(path):
        if found.ispkg:
            continue
        module = import_module(f"{package}.{found.name}")
        for name, value in vars(module).items():
            if isinstance(value, Calendar):
                return module.__name__, name
    raise CatalogError(f"{package} declares no Calendar in a file beside its folders; wanted one, as in calendar.py.")


def _refuse_name(name: str) -> None:
    taken = name in sys.stdlib_module_names or find_spec(name) is not None if name.isidentifier() else False
    if not name.isidentifier() or keyword.iskeyword(name) or taken:
        why = "is the name of a package that is installed" if taken else "can be the name of no package"
        raise SettingsError(f"{name!r} {why}; name another with --package. Nothing was written.")


def _placed(place: str, package: str) -> str:
    first, _, rest = place.partition("/")
    return f"{package}/{rest}" if first == PACKAGE else ".gitignore" if place == "gitignore" else place


def _write(file: Path, template: Path, words: Mapping[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(Template(template.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")


def _write_orders(folder: Path, first: date, end: date) -> None:
    folder.mkdir()
    orders, returns = made_up_orders(first, end, ZONE)
    for name, rows in (("orders", orders), ("returns", returns)):
        # A day on which nothing was settled has a file too: that nothing came is a delivery.
        for day in (first + timedelta(days=offset) for offset in range((end - first).days)):
            of_day = rows.filter(pl.col(DAY) == day).drop(DAY)
            of_day.write_csv(folder / f"{name}_{day:%Y%m%d}.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")


def _numbers(day: date) -> str:
    return f"{day.year}, {day.month}, {day.day}"


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)
