"""The identity of a model's features: what shapes them, as one fingerprint.

What belongs here: that fingerprint, and the modules it covers. What does not: the features.
"""

from collections.abc import Callable

from ml_assets.domain.code import code_fingerprint, code_of
from ml_assets.domain.content import fingerprint
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.specs import Catalog, ModelSpec


def feature_version(model: ModelSpec, catalog: Catalog) -> str:
    """The fingerprint of everything that shapes a model's features: declarations, functions, sources, join."""
    groups = catalog.groups_of(model)
    return fingerprint(
        model.features,
        model.prediction_lead,
        code_fingerprint(feature_rows),
        [
            (
                name,
                (group.known_before, group.known_after, group.max_age, group.valid_for, group.look_back_days),
                code_fingerprint(group.compute),
            )
            for name, group in groups.items()
        ],
        [(name, code_fingerprint(catalog.sources[name].parse)) for name in _sources(model, catalog)],
    )


def feature_code(model: ModelSpec, catalog: Catalog) -> dict[str, str]:
    """The digest of each module that shapes a model's features: the join's, the groups' and the sources'."""
    functions: list[Callable[..., object]] = [feature_rows]
    functions += [group.compute for group in catalog.groups_of(model).values()]
    functions += [catalog.sources[name].parse for name in _sources(model, catalog)]
    return {name: told for function in functions for name, told in code_of(function).items()}


def _sources(model: ModelSpec, catalog: Catalog) -> list[str]:
    return sorted({source for group in catalog.groups_of(model).values() for source in group.inputs})
