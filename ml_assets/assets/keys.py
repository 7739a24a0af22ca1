"""The names of assets: `<stage>/<name>`, one function a stage.

What belongs here: asset keys. What does not: anything about their content.
"""

from dagster import AssetKey

from ml_assets.domain.errors import CatalogError

STAGES = (
    "events",
    "outcomes",
    "features",
    "retrain_decisions",
    "training_sets",
    "models",
    "calibrators",
    "champions",
    "predictions",
    "drift_reports",
    "performance_reports",
)


def key(stage: str, name: str) -> AssetKey:
    """The key of the asset `name` of a stage."""
    if stage not in STAGES:
        raise CatalogError(f"unknown stage {stage!r}; known are {', '.join(STAGES)}")
    return AssetKey([stage, name])


def table(stage: str, name: str) -> str:
    """The lake's table of the asset `name` of a stage."""
    return "/".join(key(stage, name).path)
