"""How Dagster runs what the catalogue declares: one stage a file, found, not registered.

What belongs here: stages, each a `STAGE` value and its body: arguments in, one call into `domain`, a batch of days out.
What does not: arithmetic (`ml_assets/domain`), windows (`partitions`), files (`resources`).
"""

import pkgutil
from importlib import import_module

from ml_assets.assets.stage import Stage, graph_of, stage_asset
from ml_assets.domain.declared import Graph
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.specs import Catalog


def stages() -> tuple[Stage, ...]:
    """Every stage declared in the files beside this one, in the order of their names."""
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [module.STAGE for module in modules if hasattr(module, "STAGE")]
    names = [stage.name for stage in found]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise CatalogError(f"two stages are named {doubled[0]!r} in {__name__}; rename one.")
    return tuple(found)


def declared_graph(catalog: Catalog) -> Graph:
    """Every asset of the catalogue with its reads, parents first."""
    return graph_of(stages(), catalog)


__all__ = ["Stage", "declared_graph", "stage_asset", "stages"]
