"""`models/<model>`: the candidates trained at the day, the best one named, each with its artefact.

What belongs here: the factory. What does not: fitting (`ml_assets/domain/training.py`), MLflow (`resources`).
"""

import json
from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl
from dagster import AssetsDefinition

from ml_assets.assets.keys import key, table
from ml_assets.assets.partitioned import Frame, Ready, parent, partitioned_asset
from ml_assets.assets.training_sets import feature_version, rows_of_slice, slices_of, with_event_day
from ml_assets.domain.content import content_hashes, fingerprint, seed_of
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.drift import DriftReference, drift_reference
from ml_assets.domain.errors import ArtefactError, MissingPartitionError
from ml_assets.domain.evaluation import evaluate
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training import CANDIDATE, Candidate, fit_candidate, libraries, score
from partitions import day_of_key, same_days
from resources.lake import Lake

SCORE = "score"
LIMITS = DayLimits(key=("model_version",), required=("model_version", "artefact", "best"))
# The artefact's bytes and MLflow's run id differ from run to run for the same fitted model.
NOT_CONTENT = frozenset({"artefact", "mlflow_run_id"})


def models_asset(model: ModelSpec, catalog: Catalog) -> AssetsDefinition:
    """The candidates of a model; a day without a training set has none, and says so."""
    version = feature_version(model, catalog)

    def body(ready: Ready) -> DayBatch:
        sets = ready.inputs["training_set"]
        trained = [day for day in ready.days if day in sets.days]
        skipped = {day: "there is no training set for this day" for day in ready.days if day not in trained}
        rows = [_candidate_row(model, version, ready, day) for day in trained]
        frame = pl.concat(rows) if rows else pl.DataFrame(schema={DAY: pl.Date})
        verdicts = judge_days(frame, trained, LIMITS) if trained else {}
        return DayBatch(rows=frame, verdicts=verdicts, skipped=skipped, leave_out=NOT_CONTENT)

    return partitioned_asset(
        Frame(
            key=key("models", model.name),
            calendar=model.calendar,
            group="models",
            kinds=frozenset({"scikitlearn", "mlflow", "deltalake"}),
            description=model.description,
            code_version=fingerprint(version, model.estimator),
            parents={
                "training_set": parent(key("training_sets", model.name), same_days(), model.calendar, same_day=False)
            },
            dense=False,
        ),
        body,
        required_resources=frozenset({"mlflow"}),
    )


def _candidate_row(model: ModelSpec, version: str, ready: Ready, day: date) -> pl.DataFrame:
    rows = with_event_day(model, ready.inputs["training_set"].rows.filter(pl.col(DAY) == day).collect())
    slices = slices_of(model, day)
    train, held_out = rows_of_slice(rows, slices.train), rows_of_slice(rows, slices.calibrate)
    seed = seed_of(model.name, day.isoformat())
    candidate = fit_candidate(model, train, held_out, seed=seed)
    training_hash = content_hashes(rows, leave_out={"event_day"})[day]
    model_version = f"{day}-{fingerprint(CANDIDATE, candidate.probe, training_hash, version, model.estimator, seed)}"
    measured = evaluate(held_out["label"].to_numpy(), candidate.scores)
    metrics: dict[str, float] = {
        f"held_out_{name}": value
        for name, value in (
            ("roc_auc", measured.roc_auc),
            ("brier", measured.brier),
            ("log_loss", measured.log_loss),
            ("ece", measured.ece),
        )
        if value is not None
    }
    recorded = {
        "model_version": model_version,
        "training_content": training_hash,
        "training_set_version": str(ready.inputs["training_set"].version),
        "feature_version": version,
        "seed": str(seed),
        "rows": f"{train.height} train, {held_out.height} held out",
        "slices": f"train {slices.train} calibrate {slices.calibrate} gate {slices.gate}",
    }
    mlflow_run_id = ready.context.resources.mlflow.record(
        asset=key("models", model.name).to_user_string(),
        partition=day.isoformat(),
        dagster_run_id=ready.context.run.run_id,
        params={**_parameters(model), **recorded},
        metrics=metrics,
        tags={f"library.{name}": release for name, release in libraries().items()},
        files={
            "pipeline.skops": candidate.artefact,
            "importances.json": _json(candidate.importances).encode(),
        },
    )
    return pl.DataFrame(
        {
            DAY: [day],
            "candidate": [CANDIDATE],
            "model_version": [model_version],
            "best": [True],
            "metrics": [_json(metrics)],
            "importances": [_json(candidate.importances)],
            "reference": [_reference(model, train, held_out, candidate).to_json()],
            "training_content": [training_hash],
            "feature_version": [version],
            "seed": [seed],
            "libraries": [_json(libraries())],
            "artefact": [candidate.artefact],
            "mlflow_run_id": [mlflow_run_id],
        },
        schema_overrides={DAY: pl.Date, "artefact": pl.Binary},
    )


def best_candidate(lake: Lake, model: ModelSpec, model_version: str) -> dict[str, object]:
    """The stored row of a model version.

    Raises MissingPartitionError when the partition is gone, ArtefactError when it holds another version.
    """
    day = day_of_key(model_version[:10])
    stored = lake.read(table("models", model.name), day, day + timedelta(days=1))
    if day not in stored.days:
        raise MissingPartitionError(
            f"models/{model.name} of {day} is not there, but the champion is {model_version}. Rebuild the day "
            "with the retrain job, or pin another champion."
        )
    rows = stored.rows.filter(pl.col("model_version") == model_version).collect()
    if rows.height != 1:
        raise ArtefactError(
            f"models/{model.name} of {day} does not hold {model_version}: it was trained anew since. Rerun "
            f"champions/{model.name} from {day} on, then what they serve."
        )
    return rows.row(0, named=True)


def scored(model: ModelSpec, stored: Mapping[str, object], rows: pl.DataFrame) -> pl.Series:
    """The raw scores of rows by a stored candidate."""
    artefact = stored["artefact"]
    if not isinstance(artefact, bytes):
        raise ArtefactError(f"{stored['model_version']}: the artefact is {type(artefact).__name__}, wanted bytes.")
    return pl.Series(SCORE, score(model, artefact, rows))


def _reference(model: ModelSpec, train: pl.DataFrame, held_out: pl.DataFrame, candidate: Candidate) -> DriftReference:
    # Scores of rows that were trained on are too sure of themselves: their reference is the held-out slice.
    of_scores = held_out.select("event_day").with_columns(pl.Series(SCORE, candidate.scores))
    quantile = model.drift.block_quantile
    inputs = drift_reference(
        train,
        list(model.feature_columns),
        day="event_day",
        categorical=set(model.categorical_columns),
        block_quantile=quantile,
    )
    scores = drift_reference(of_scores, [SCORE], day="event_day", categorical=set(), block_quantile=quantile)
    return DriftReference(columns=(*inputs.columns, *scores.columns))


def _parameters(model: ModelSpec) -> dict[str, str]:
    chosen = model.estimator
    return {
        "candidate": CANDIDATE,
        "learning_rate": str(chosen.learning_rate),
        "max_iter": str(chosen.max_iter),
        "max_leaf_nodes": str(chosen.max_leaf_nodes),
        "min_samples_leaf": str(chosen.min_samples_leaf),
        "l2_regularization": str(chosen.l2_regularization),
    }


def _json(mapping: Mapping[str, object]) -> str:
    return json.dumps(dict(mapping), sort_keys=True)
