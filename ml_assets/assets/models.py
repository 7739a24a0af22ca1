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
from ml_assets.domain.serving import JUDGED, REFIT, SCORE
from ml_assets.domain.slices import HELD_OUT, TRAIN
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training import CANDIDATE, Candidate, fit_candidate, libraries, refitted
from ml_assets.domain.training_rows import EVENT_DAY, SLICES, rows_of_slice, slices_of
from partitions import same_days

LIMITS = DayLimits(key=("model_version",), required=("model_version", "artefact", "best"))
# The artefact's bytes and MLflow's run id differ from run to run for the same fitted model.
NOT_CONTENT = frozenset({"artefact", "mlflow_run_id"})
MODELS = {
    DAY: pl.Date,
    "candidate": pl.String,
    "role": pl.String,
    "model_version": pl.String,
    "judged_by": pl.String,
    "best": pl.Boolean,
    "metrics": pl.String,
    "importances": pl.String,
    "reference": pl.String,
    "training_content": pl.String,
    "slices": pl.String,
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
        rows = [pl.concat([_candidate_rows(model, version, ready, day), _replaced(ready, day)]) for day in trained]
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


def _candidate_rows(model: ModelSpec, version: str, ready: Ready, day: date) -> pl.DataFrame:
    """The candidate as it is judged and, where the spec asks for it, fitted anew on all that it may know."""
    rows = ready.inputs["training_set"].of(day)
    train, held_out = rows_of_slice(rows, TRAIN), rows_of_slice(rows, HELD_OUT)
    seed = seed_of(model.name, day.isoformat())
    judged = fit_candidate(model, train, held_out, seed=seed)
    fitted = {JUDGED: (judged, train)}
    if model.refit:
        fitted[REFIT] = (refitted(model, rows, judged, seed=seed), rows)
    training_hash = content_hashes(rows)[day]
    versions = {
        role: f"{day}-{fingerprint(CANDIDATE, role, each.probe, training_hash, version, model.estimator, seed)}"
        for role, (each, _) in fitted.items()
    }
    _, of_inputs = list(fitted.values())[-1]
    reference = _reference(model, of_inputs, held_out, judged).to_json()
    metrics = _metrics(held_out, judged)
    recorded = {
        "training_content": training_hash,
        "training_set_version": str(ready.inputs["training_set"].version),
        "feature_version": version,
        "seed": str(seed),
        "slices": "; ".join(f"{name} {part}" for name, part in slices_of(rows).named().items()),
        **{f"rows {role}": str(frame.height) for role, (_, frame) in fitted.items()},
        **{f"model_version {role}": versions[role] for role in fitted},
    }
    mlflow_run_id = ready.context.resources.mlflow.record(
        asset=f"{STAGE.name}/{model.name}",
        partition=day.isoformat(),
        dagster_run_id=ready.context.run.run_id,
        params={**_parameters(model), **recorded},
        metrics=metrics,
        tags={f"library.{name}": release for name, release in libraries().items()},
        files={
            **{f"{role}.skops": each.artefact for role, (each, _) in fitted.items()},
            "importances.json": _json(judged.importances).encode(),
        },
    )
    return pl.DataFrame(
        [
            {
                DAY: day,
                "candidate": CANDIDATE,
                "role": role,
                "model_version": versions[role],
                "judged_by": versions[JUDGED],
                "best": True,
                "metrics": _json(metrics),
                "importances": _json(each.importances),
                "reference": reference,
                "training_content": training_hash,
                SLICES: slices_of(rows).to_json(),
                "feature_version": version,
                "seed": seed,
                "libraries": _json(libraries()),
                "artefact": each.artefact,
                "mlflow_run_id": mlflow_run_id,
            }
            for role, (each, _) in fitted.items()
        ],
        schema=MODELS,
    )


def _metrics(held_out: pl.DataFrame, judged: Candidate) -> dict[str, float]:
    measured = evaluate(held_out["label"].to_numpy(), judged.scores)
    named = {
        "roc_auc": measured.roc_auc,
        "brier": measured.brier,
        "log_loss": measured.log_loss,
        "ece": measured.ece,
    }
    return {f"held_out_{name}": value for name, value in named.items() if value is not None}


def _reference(model: ModelSpec, train: pl.DataFrame, held_out: pl.DataFrame, candidate: Candidate) -> DriftReference:
    # Scores of rows that were trained on are too sure of themselves: their reference is the held-out slice.
    of_scores = held_out.select(EVENT_DAY).with_columns(pl.Series(SCORE, candidate.scores))
    quantile = model.drift.block_quantile
    inputs = drift_reference(
        train,
        list(model.feature_columns),
        day=EVENT_DAY,
        categorical=set(model.categorical_columns),
        block_quantile=quantile,
    )
    scores = drift_reference(of_scores, [SCORE], day=EVENT_DAY, categorical=set(), block_quantile=quantile)
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
    holds="the candidate that the gate judges, and the same one fitted on all rows to serve; no rows without a set",
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
        "role": "judged: what the gate looks at; refit: the same candidate fitted on all of the slices, to serve",
        "judged_by": "the version that the gate looked at for this one",
        "best": "whether it is of the day's candidate for champion",
        "slices": "the event days it was fitted, chosen and judged on, and how much of them was known, as JSON",
        "reference": "what drift is measured against, as JSON",
        "artefact": "the fitted pipeline (skops)",
    },
    empty=MODELS,
    resources=frozenset({"mlflow"}),
)
