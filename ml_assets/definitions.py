"""Puts catalogue, assets, sensors and resources together; only Dagster, the replay and tests import it.

What belongs here: `build_defs`. What does not: everything else.
"""

from collections.abc import Mapping
from typing import Any

from dagster import Definitions, in_process_executor

from ml_assets.assets import declared_graph, stage_asset, stages
from ml_assets.catalog import load_catalog
from ml_assets.domain.specs import Catalog
from resources.console import redacted_console
from resources.delta_io_manager import DeltaDaysIO
from resources.handles import ExtractsHandle, LakeHandle
from resources.home import Home
from resources.mlflow_store import MlflowStore
from resources.project import this_project
from resources.settings import prepare_process
from sensors import due_sensor, in_step_sensor, intervene_job, retrain_job, retrain_sensor, status_assets


def build_defs(catalog: Catalog, resources: Mapping[str, Any]) -> Definitions:
    """Dagster's definitions of everything in the catalogue, over the given resources."""
    graph = declared_graph(catalog)
    jobs = {model.name: retrain_job(model.name, model.calendar.owners) for model in catalog.models.values()}
    declared = [stage_asset(stage, spec, catalog) for stage in stages() for spec in getattr(catalog, stage.of).values()]
    return Definitions(
        assets=[*declared, *status_assets(graph)],
        jobs=[*jobs.values(), *(intervene_job(name, each.calendar.owners) for name, each in catalog.models.items())],
        sensors=[
            *([retrain_sensor(jobs)] if jobs else []),
            *([in_step_sensor(graph)] if graph.assets else []),
            *([due_sensor(graph, catalog.sources)] if any(not asset.calendar.end_day for asset in graph) else []),
        ],
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


def project_defs() -> Definitions:
    """The definitions of the project at work; nothing is made or written."""
    prepare_process()
    project = this_project()
    project.make_importable()
    return build_defs(load_catalog(project.catalog), resources_of(Home(project.home)))


defs = project_defs()
