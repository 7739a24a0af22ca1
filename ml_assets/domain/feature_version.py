"""The identity of a model's features: what shapes them, as one fingerprint.

What belongs here: that fingerprint. What does not: the features.
"""

from ml_assets.domain.code import code_fingerprint
from ml_assets.domain.content import fingerprint
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.specs import Catalog, ModelSpec


def feature_version(model: ModelSpec, catalog: Catalog) -> str:
    """The fingerprint of everything that shapes a model's features: declarations, functions, sources, join."""
    groups = catalog.groups_of(model)
    sources = sorted({source for group in groups.values() for source in group.inputs})
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
        [(name, code_fingerprint(catalog.sources[name].parse)) for name in sources],
    )
