"""What exists: sources, feature groups, outcomes and models, one declaration a file.

What belongs here: reading a catalogue's package, which may be anybody's; beside it the example, a year of flights:
declarations and each one's pure function; a new file is found, not registered.
What does not: Dagster, I/O, paths, the environment.
"""

import difflib
import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TypeVar

import polars as pl

from ml_assets.domain.contracts import joint_checks
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.ingestion import EVENT_TIME, delivered_types, event_types, misfits
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, FeatureGroupSpec, ModelSpec, OutcomeSpec, SourceSpec

FOLDERS = ("sources", "features", "outcomes", "models")
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
        return find_spec(package) is not None
    except ModuleNotFoundError as error:
        if error.name and (package == error.name or package.startswith(f"{error.name}.")):
            return False
        raise


def build_catalog(
    sources: Iterable[tuple[str, SourceSpec]],
    features: Iterable[tuple[str, FeatureGroupSpec]],
    outcomes: Iterable[tuple[str, OutcomeSpec]],
    models: Iterable[tuple[str, ModelSpec]],
) -> Catalog:
    """The catalogue of the given `(where declared, spec)` pairs, after every name in them was checked."""
    catalog = Catalog(
        sources=_by_name("source", sources),
        features=_by_name("feature group", features),
        outcomes=_by_name("outcome", outcomes),
        models=_by_name("model", models),
    )
    for source_spec in catalog.sources.values():
        _check_source(source_spec)
    for group in catalog.features.values():
        for source in group.inputs:
            _known(source, catalog.sources, f"feature group {group.name!r}", "source")
    for outcome in catalog.outcomes.values():
        _known(outcome.source, catalog.sources, f"outcome {outcome.name!r}", "source")
    for model in catalog.models.values():
        _check_model(model, catalog)
    return catalog


def _check_source(source: SourceSpec) -> None:
    where = f"source {source.name!r}"
    columns = source.contract.to_schema().columns
    for name in (DAY, EVENT_TIME, *source.keys):
        _known(name, columns, f"{where}, contract {source.contract.__name__}", "column")
        if columns[name].nullable:
            raise CatalogError(f"{where}: its contract lets {name} be null, wanted a value in every row.")
    # The contract judges the rows of all days of a run together.
    alone = [name for name, column in columns.items() if column.unique]
    if alone or source.contract.to_schema().unique:
        raise CatalogError(
            f"{where}: its contract wants {', '.join(alone) or 'columns'} unique over all days, so one day could "
            "refuse another's rows. Name what is unique within a day in `keys` instead."
        )
    if joint := joint_checks(source.contract):
        raise CatalogError(
            f"{where}: its contract judges rows together in {', '.join(joint)}, wanted an answer for each row from "
            "that row alone, for the rows of all days of a run are judged at once."
        )
    given = source.parse(pl.LazyFrame(schema=delivered_types(source))).collect_schema()
    if found := misfits(given, event_types(source)):
        raise CatalogError(f"{where}: parse does not give what its contract names: {'; '.join(found)}.")


def _check_model(model: ModelSpec, catalog: Catalog) -> None:
    where = f"model {model.name!r}"
    _known(model.outcome, catalog.outcomes, where, "outcome")
    _known(model.spine, catalog.features, where, "feature group")
    for feature in model.features:
        group, _, column = feature.partition(".")
        _known(group, catalog.features, where, "feature group")
        _known(column, dict.fromkeys(catalog.features[group].values), f"{where}, group {group!r}", "feature")
    spine = catalog.features[model.spine]
    offered = dict.fromkeys((*spine.entity, *spine.values))
    if spine.entity != ("row_key",):
        raise CatalogError(
            f"{where}: its spine {spine.name!r} has the entity {spine.entity}, wanted ('row_key',): one row "
            "per event. Name a feature group with one row per event as the spine."
        )
    for group_spec in catalog.groups_of(model).values():
        for key in group_spec.entity:
            _known(key, offered, f"{where}, entity of group {group_spec.name!r}", "spine column")


def _declared(catalog: str, folder: str, kind: type[SpecT]) -> list[tuple[str, SpecT]]:
    if not _exists(f"{catalog}.{folder}"):
        return []
    package = import_module(f"{catalog}.{folder}")
    modules = [import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
    found = [(module.__name__, spec) for module in modules for spec in _specs_in(module, kind)]
    for module in modules:
        if not _specs_in(module, kind):
            raise CatalogError(
                f"{module.__name__} declares no {kind.__name__}. Every file in {folder}/ must assign "
                f"at least one {kind.__name__} to a name at module level."
            )
    return found


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


def _known(name: str, known: Mapping[str, object], where: str, kind: str) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise CatalogError(f"{where}: unknown {kind} {name!r}; known are {', '.join(sorted(known))}.{hint}")
