"""What exists: sources, feature groups, outcomes and models, one declaration a file.

What belongs here: reading a catalogue's package, which may be anybody's; beside it the example, flights and purchases:
declarations and each one's pure function; a new file is found, not registered.
What does not: Dagster, I/O, paths, the environment.
"""

import pkgutil
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TypeVar

from ml_assets.catalog.cross_checks import cross_check, known
from ml_assets.domain import origins, specs
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.specs import Catalog, FeatureGroupSpec, ModelSpec, OutcomeSpec, SourceSpec

FOLDERS = ("sources", "features", "outcomes", "models")
DECLARED = tuple(
    value
    for module in (specs, origins)
    for value in vars(module).values()
    if isinstance(value, type) and is_dataclass(value)
)
UNKNOWN_FIELD = re.compile(r"unexpected keyword argument '(\w+)'")
SpecT = TypeVar("SpecT", SourceSpec, FeatureGroupSpec, OutcomeSpec, ModelSpec)


def load_catalog(package: str = __name__) -> Catalog:
    """Everything declared in the folders of a catalogue's package, cross-checked; the example's when none is named.

    A folder that is not there declares nothing. Raises CatalogError naming the file, the name that came and the known
    names.
    """
    if not _exists(package):
        raise CatalogError(
            f"the catalogue's package {package!r} is not found; wanted a folder of that name in the project, with "
            f"{', '.join(FOLDERS)} in it, or an installed package."
        )
    return build_catalog(
        sources=_declared(package, "sources", SourceSpec),
        features=_declared(package, "features", FeatureGroupSpec),
        outcomes=_declared(package, "outcomes", OutcomeSpec),
        models=_declared(package, "models", ModelSpec),
    )


def _exists(package: str) -> bool:
    """Whether a package can be found; what fails inside the packages around it is raised."""
    try:
        found = find_spec(package)
    except ModuleNotFoundError as error:
        if error.name and (package == error.name or package.startswith(f"{error.name}.")):
            return False
        raise
    return found is not None and found.submodule_search_locations is not None


def build_catalog(
    sources: Iterable[tuple[str, SourceSpec]],
    features: Iterable[tuple[str, FeatureGroupSpec]],
    outcomes: Iterable[tuple[str, OutcomeSpec]],
    models: Iterable[tuple[str, ModelSpec]],
) -> Catalog:
    """The catalogue of the given `(where declared, spec)` pairs, cross-checked."""
    catalog = Catalog(
        sources=_by_name("source", sources),
        features=_by_name("feature group", features),
        outcomes=_by_name("outcome", outcomes),
        models=_by_name("model", models),
    )
    cross_check(catalog)
    return catalog


def _declared(catalog: str, folder: str, kind: type[SpecT]) -> list[tuple[str, SpecT]]:
    if not _exists(f"{catalog}.{folder}"):
        return []
    package = import_module(f"{catalog}.{folder}")
    modules = [_imported(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
    found = [(module.__name__, spec) for module in modules for spec in _specs_in(module, kind)]
    for module in modules:
        if not _specs_in(module, kind):
            raise CatalogError(
                f"{module.__name__} declares no {kind.__name__}. Every file in {folder}/ must assign "
                f"at least one {kind.__name__} to a name at module level."
            )
    return found


def _imported(name: str) -> ModuleType:
    """The module of a declaration; CatalogError for a field that the declared value does not have, or lacks."""
    try:
        return import_module(name)
    except TypeError as error:
        said = str(error)
        kind = next((kind for kind in DECLARED if said.startswith(f"{kind.__name__}.__init__() ")), None)
        if kind is None:
            raise
        where = f"{name}, {kind.__name__}"
        if unknown := UNKNOWN_FIELD.search(said):
            known(unknown[1], dict.fromkeys(field.name for field in fields(kind)), where, "field")
        raise CatalogError(f"{where}: {said.partition('() ')[2]}; mend the declaration.") from error


def _specs_in(module: ModuleType, kind: type[SpecT]) -> list[SpecT]:
    return [value for value in vars(module).values() if isinstance(value, kind)]


def _by_name(kind: str, declared: Iterable[tuple[str, SpecT]]) -> dict[str, SpecT]:
    seen: dict[str, tuple[str, SpecT]] = {}
    for where, spec in declared:
        if spec.name in seen:
            raise CatalogError(
                f"two declarations of the {kind} {spec.name!r}: in {seen[spec.name][0]} and in {where}. "
                "Names are unique within a kind; rename one."
            )
        if not spec.name.isidentifier():
            raise CatalogError(
                f"{where}: the {kind} name {spec.name!r} is no identifier; use letters, digits, underscores."
            )
        seen[spec.name] = (where, spec)
    return {name: spec for name, (_, spec) in sorted(seen.items())}
