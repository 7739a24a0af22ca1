"""`models/<model>`: the candidates trained at the day, the best one named, each with its artefact.

What belongs here: the stage. What does not: fitting (`ml_assets/domain/training.py`), MLflow (`resources`).
"""

import json
from collections.abc import Mapping
from datetime import date

import polars as pl

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.content import content_hashes, fingerprint, seed_of
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.drift import DriftReference, drift_reference
from ml_assets.domain.evaluation import evaluate
from ml_assets.domain.feature_version import feature_version
from ml_assets.domain.local_days import DAY
from ml_assets.domain.serving import SCORE
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training import CANDIDATE, Candidate, fit_candidate, libraries
from ml_assets.domain.training_rows import rows_of_slice, slices_of, with_event_day
from partitions import same_days

LIMITS = DayLimits(key=("model_version",), required=("model_version", "artefact", "best"))
# The artefact's bytes and MLflow's run id differ from run to run for the same fitted model.
NOT_CONTENT = frozenset({"artefact", "mlflow_run_id"})
MODELS = {
    DAY: pl.Date,
    "candidate": pl.String,
    "model_version": pl.String,
    "best": pl.Boolean,
    "metrics": pl.String,
    "importances": pl.String,
    "reference": pl.String,
    "training_content": pl.String,
    "feature_version": pl.String,
    "seed": pl.Int64,
    "libraries": pl.String,
    "artefact": pl.Binary,
    "mlflow_run_id": pl.String,
}


def _body(model: ModelSpec, catalog: Catalog) -> Body:
    version = feature_version(model, catalog)

    def body(ready: Ready) -> DayBatch:
        sets = ready.inputs["training_set"]
        trained = [day for day in ready.days if day in sets.filled]
        empty = {
            day: f"the training set was refused: {sets.refused[day]}" if day in sets.refused else "nothing was trained"
            for day in ready.days
            if day not in trained
        }
        rows = [pl.concat([_candidate_row(model, version, ready, day), _replaced(ready, day)]) for day in trained]
        frame = pl.concat(rows).unique("model_version", keep="first", maintain_order=True) if rows else _none()
        verdicts = judge_days(frame, trained, LIMITS) if trained else {}
        return DayBatch(rows=frame, verdicts=verdicts, empty=empty, leave_out=NOT_CONTENT)

    return body


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema=MODELS)


def _replaced(ready: Ready, day: date) -> pl.DataFrame:
    """The candidates that were trained at the day before: kept, so that what they served can be scored for ever."""
    held = ready.held("trained_before", day)
    return held.select(*MODELS).with_columns(pl.lit(value=False).alias("best")) if held.height else _none()


def _candidate_row(model: ModelSpec, version: str, ready: Ready, day: date) -> pl.DataFrame:
    rows = with_event_day(model, ready.inputs["training_set"].of(day))
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
        asset=f"{STAGE.name}/{model.name}",
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
        schema=MODELS,
    )


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


STAGE = Stage(
    name="models",
    of="models",
    nature=Nature.DECISION,
    holds="the candidates trained at D, with their artefact; no rows on a day without a training set",
    describe=lambda model: model.description,
    reads=lambda model, _: {
        "training_set": Read(f"training_sets/{model.name}", same_days(), follows=True),
        "trained_before": Read(f"models/{model.name}", same_days(), edge=False, by_version=True),
    },
    code_version=lambda model, catalog: fingerprint(feature_version(model, catalog), model.estimator),
    body=_body,
    kinds=frozenset({"scikitlearn", "mlflow", "deltalake"}),
    columns=lambda _model, _catalog: {
        "model_version": "training day and content hash; named by champions and predictions",
        "candidate": "which of the day's candidates it is",
        "metrics": "metrics on the held-out rows, as JSON",
        "importances": "permutation importance of each feature, as JSON",
        "training_content": "content hash of the training set",
        "feature_version": "fingerprint of everything that shapes the features",
        "seed": "seed of the fit, from the day",
        "libraries": "versions of the libraries it was fitted with, as JSON",
        "mlflow_run_id": "its run in MLflow",
        "best": "whether it is the day's candidate for champion",
        "reference": "what drift is measured against, as JSON",
        "artefact": "the fitted pipeline (skops)",
    },
    empty=MODELS,
    resources=frozenset({"mlflow"}),
)
