"""MLflow as the record of training: one MLflow run per asset, partition and Dagster run.

What belongs here: writing that record. What does not: the artefact that serves, which lies in the lake, in the
same commit as its row, so that the two cannot part.

dagster-mlflow is the configured door: its configuration schema and its `dagster_run_id` tag are kept. Its
resource works on MLflow's global state, which splits runs between processes and never closes them when a run is
launched in the UI; so the work is done on a client. Both are imported inside methods: MLflow takes about a
second, and only training needs it.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dagster import ConfigurableResource
from pydantic import Field

from ml_assets.domain.errors import ToolError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ASSET_TAG, PARTITION_TAG, DAGSTER_RUN_TAG = "asset", "partition", "dagster_run_id"


class MlflowStore(ConfigurableResource):
    """Records training runs in MLflow; the fields are those of dagster-mlflow's resource."""

    experiment_name: str = Field(description="MLflow experiment.")
    mlflow_tracking_uri: str = Field(description="MLflow tracking store; SQLite, as MLflow 3 refuses files.")
    artifact_root: str = Field(description="Folder of the artefacts.")

    def record(
        self,
        *,
        asset: str,
        partition: str,
        dagster_run_id: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> str:
        """The id of the MLflow run that now holds the given record, closed with the right status.

        A retry of the same asset, partition and Dagster run writes into the run it finds by its tags.
        """
        from mlflow.entities import Metric, Param, RunTag

        client = self._client()
        now = time.time_ns() // 1_000_000
        keys = {ASSET_TAG: asset, PARTITION_TAG: partition, DAGSTER_RUN_TAG: dagster_run_id}
        run_id = self._run_of(client, keys)
        try:
            client.log_batch(
                run_id,
                metrics=[Metric(name, measured, now, 0) for name, measured in metrics.items()],
                params=[Param(name, value) for name, value in params.items()],
                tags=[RunTag(name, value) for name, value in {**tags, **keys}.items()],
            )
            with TemporaryDirectory() as folder:
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                    client.log_artifact(run_id, str(Path(folder) / name))
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id, status="FINISHED")
        return run_id

    def _client(self) -> "MlflowClient":
        from dagster import Field as DagsterField
        from dagster import Shape
        from dagster._config import validate_config
        from dagster_mlflow.resources import CONFIG_SCHEMA
        from mlflow import MlflowClient

        chosen = {
            "experiment_name": self.experiment_name,
            "mlflow_tracking_uri": self.mlflow_tracking_uri,
            "env": {},
            "extra_tags": {},
        }
        schema = Shape(
            {
                name: DagsterField(field.config_type, is_required=field.is_required)
                for name, field in CONFIG_SCHEMA.items()
            }
        )
        checked = validate_config(schema, chosen)
        if not checked.success:
            raise ToolError(f"dagster-mlflow refuses this configuration: {checked.errors}")
        return MlflowClient(tracking_uri=self.mlflow_tracking_uri)

    def _run_of(self, client: "MlflowClient", keys: Mapping[str, str]) -> str:
        experiment_id = self._experiment(client)
        query = " and ".join(f"tags.{name} = '{value}'" for name, value in keys.items())
        found = client.search_runs([experiment_id], query, max_results=1)
        if found:
            return found[0].info.run_id
        name = f"{keys[ASSET_TAG]} {keys[PARTITION_TAG]}"
        return client.create_run(experiment_id, tags=dict(keys), run_name=name).info.run_id

    def _experiment(self, client: "MlflowClient") -> str:
        known = client.get_experiment_by_name(self.experiment_name)
        if known is not None:
            return known.experiment_id
        return client.create_experiment(self.experiment_name, artifact_location=Path(self.artifact_root).as_uri())
