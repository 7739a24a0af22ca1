"""Puts catalogue, assets, sensors and resources together; only Dagster, the replay and tests import it.

What belongs here: `build_defs`. What does not: everything else.
"""

from collections.abc import Mapping
from typing import Any

from dagster import Definitions, in_process_executor

from ml_assets.assets.calibrators import calibrators_asset
from ml_assets.assets.champions import champions_asset
from ml_assets.assets.drift_reports import drift_reports_asset
from ml_assets.assets.events import events_asset
from ml_assets.assets.features import features_asset
from ml_assets.assets.models import models_asset
from ml_assets.assets.outcomes import outcomes_asset
from ml_assets.assets.performance_reports import performance_reports_asset
from ml_assets.assets.predictions import predictions_asset
from ml_assets.assets.retrain_decisions import retrain_decisions_asset
from ml_assets.assets.training_sets import training_sets_asset
from ml_assets.catalog import load_catalog
from ml_assets.domain.specs import Catalog
from resources.console import redacted_console
from resources.delta_io_manager import DeltaDaysIO
from resources.handles import ExtractsHandle, LakeHandle
from resources.home import Home, open_home
from resources.mlflow_store import MlflowStore
from resources.settings import home_path, prepare_process
from sensors import retrain_job, retrain_sensor


def build_defs(catalog: Catalog, resources: Mapping[str, Any]) -> Definitions:
    """Dagster's definitions of everything in the catalogue, over the given resources."""
    models = catalog.models.values()
    jobs = {model.name: retrain_job(model.name) for model in models}
    return Definitions(
        assets=[
            *map(events_asset, catalog.sources.values()),
            *map(features_asset, catalog.features.values()),
            *map(outcomes_asset, catalog.outcomes.values()),
            *map(retrain_decisions_asset, models),
            *(training_sets_asset(model, catalog) for model in models),
            *(models_asset(model, catalog) for model in models),
            *map(calibrators_asset, models),
            *map(champions_asset, models),
            *(predictions_asset(model, catalog) for model in models),
            *(drift_reports_asset(model, catalog) for model in models),
            *map(performance_reports_asset, models),
        ],
        jobs=list(jobs.values()),
        sensors=[retrain_sensor(model.name, jobs[model.name]) for model in models],
        resources=dict(resources),
        executor=in_process_executor,
        loggers={"console": redacted_console},
    )


def resources_of(home: Home) -> dict[str, Any]:
    """The resources over a home; what they are given here is for everybody to see."""
    return {
        "io_manager": DeltaDaysIO(home=str(home.path)),
        "lake": LakeHandle(home=str(home.path)),
        "extracts": ExtractsHandle(folder=str(home.extracts)),
        "mlflow": MlflowStore(
            experiment_name="ml_assets",
            mlflow_tracking_uri=home.tracking_uri,
            artifact_root=str(home.mlflow / "artifacts"),
        ),
    }


prepare_process()
defs = build_defs(load_catalog(), resources_of(open_home(home_path())))
