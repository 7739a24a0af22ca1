"""The record of training in MLflow on SQLite: one run per asset, partition and Dagster run, closed rightly."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from ml_assets.domain.errors import ToolError
from resources.mlflow_store import MlflowStore

RECORD = {
    "asset": "models/m",
    "partition": "2013-02-01",
    "params": {"max_iter": "100"},
    "metrics": {"held_out_brier": 0.1},
    "tags": {"library.polars": "2"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MlflowStore:
    """A store on a database of its own; making one takes seconds, so the tests share it."""
    folder = tmp_path_factory.mktemp("mlflow")
    return MlflowStore(
        experiment_name="e", mlflow_tracking_uri=f"sqlite:///{folder / 'm.db'}", artifact_root=str(folder / "artifacts")
    )


def test_a_run_holds_what_was_recorded(store: MlflowStore) -> None:
    run_id = store.record(**RECORD, dagster_run_id="first", files={"a.bin": b"content"})
    client = MlflowClient(tracking_uri=store.mlflow_tracking_uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"max_iter": "100"}
    assert run.data.metrics == {"held_out_brier": 0.1}
    assert run.data.tags.items() >= {
        ("dagster_run_id", "first"),
        ("asset", "models/m"),
        ("partition", "2013-02-01"),
        ("library.polars", "2"),
    }
    assert Path(client.download_artifacts(run_id, "a.bin")).read_bytes() == b"content"


def test_a_retry_writes_into_its_run_and_another_dagster_run_into_its_own(store: MlflowStore) -> None:
    first = store.record(**RECORD, dagster_run_id="retried", files={})
    assert store.record(**RECORD, dagster_run_id="retried", files={}) == first
    assert store.record(**RECORD, dagster_run_id="another", files={}) != first


def test_a_record_that_fails_is_closed_as_failed(store: MlflowStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.record(**RECORD, dagster_run_id="broken", files={"no/such/folder/a.bin": b""})
    client = MlflowClient(tracking_uri=store.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("e")
    (run,) = client.search_runs([experiment.experiment_id], "tags.dagster_run_id = 'broken'")
    assert run.info.status == "FAILED"


def test_the_configuration_is_dagster_mlflows() -> None:
    from dagster_mlflow.resources import CONFIG_SCHEMA

    assert {"experiment_name", "mlflow_tracking_uri"} <= set(CONFIG_SCHEMA)
    broken = MlflowStore.model_construct(experiment_name=3, mlflow_tracking_uri="sqlite:///x", artifact_root="x")
    with pytest.raises(ToolError, match="dagster-mlflow refuses"):
        broken._client()
