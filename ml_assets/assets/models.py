"""`models/<model>`: the candidates trained at the day, the best one named, each with its artefact.

What belongs here: the stage. What does not: candidates (`ml_assets/domain/candidates.py`), MLflow (`resources`).
"""

import json
from collections.abc import Mapping
from datetime import date

import polars as pl

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.candidates import CANDIDATES, NOT_CONTENT, candidates_of, code_of_candidates
from ml_assets.domain.content import fingerprint, seed_of
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.feature_version import feature_version
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training import CANDIDATE, libraries
from ml_assets.domain.training_rows import slices_of
from partitions import same_days

LIMITS = DayLimits(key=("model_version",), required=("model_version", "artefact", "best"))
MODELS = {**CANDIDATES, "mlflow_run_id": pl.String}


def _body(model: ModelSpec, catalog: Catalog) -> Body:
    version, code = feature_version(model, catalog), code_of_candidates(model, catalog)

    def body(ready: Ready) -> DayBatch:
        sets = ready.inputs["training_set"]
        trained = [day for day in ready.days if day in sets.filled]
        empty = {
            day: f"the training set was refused: {sets.refused[day]}" if day in sets.refused else "nothing was trained"
            for day in ready.days
            if day not in trained
        }
        rows = [_none()]
        for day in trained:
            rows += [_candidate_rows(model, version, code, ready, day), _replaced(ready, day)]
        frame = pl.concat(rows).unique("model_version", keep="first", maintain_order=True)
        verdicts = judge_days(frame, trained, LIMITS) if trained else {}
        return DayBatch(rows=frame, verdicts=verdicts, empty=empty, leave_out=NOT_CONTENT | {"mlflow_run_id"})

    return body


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema=MODELS)


def _replaced(ready: Ready, day: date) -> pl.DataFrame:
    """The candidates that were trained at the day before: kept, so that what they served can be scored for ever."""
    held = ready.held("trained_before", day)
    return held.select(*MODELS).with_columns(pl.lit(value=False).alias("best")) if held.height else _none()


def _candidate_rows(model: ModelSpec, version: str, code: Mapping[str, str], ready: Ready, day: date) -> pl.DataFrame:
    """The day's candidates, with the run of MLflow that holds what is to be said of them."""
    rows = ready.inputs["training_set"].of(day)
    seed = seed_of(model.name, day.isoformat())
    made = candidates_of(model, rows, day, seed=seed, feature_version=version, code=code)
    judged = made.row(0, named=True)
    recorded = {
        "training_content": judged["training_content"],
        "training_set_version": str(ready.inputs["training_set"].version),
        "feature_version": version,
        "seed": str(seed),
        "slices": "; ".join(f"{name} {part}" for name, part in slices_of(rows).named().items()),
        **{f"model_version {role}": name for role, name in made.select("role", "model_version").iter_rows()},
    }
    mlflow_run_id = ready.context.resources.mlflow.record(
        asset=f"{STAGE.name}/{model.name}",
        partition=day.isoformat(),
        dagster_run_id=ready.context.run.run_id,
        params={**_parameters(model), **recorded},
        metrics=json.loads(judged["metrics"]),
        tags={f"library.{name}": release for name, release in libraries().items()},
        files={
            **{f"{role}.skops": artefact for role, artefact in made.select("role", "artefact").iter_rows()},
            "importances.json": judged["importances"].encode(),
        },
    )
    return made.with_columns(pl.lit(mlflow_run_id).alias("mlflow_run_id"))


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
        "code": "the modules at work and the digest of each one's source, as JSON",
        "artefact": "the fitted pipeline (skops)",
    },
    empty=MODELS,
    resources=frozenset({"mlflow"}),
)
