"""The candidates of a training day: fitted, measured, and named after all that made them.

What belongs here: from the rows of a training set to the rows of `models`, purely.
What does not: fitting one pipeline (`training.py`), where the rows come from, MLflow.
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import polars as pl

from ml_assets.domain.code import code_of
from ml_assets.domain.content import content_hashes, fingerprint
from ml_assets.domain.drift import DriftReference, drift_reference
from ml_assets.domain.evaluation import evaluate
from ml_assets.domain.feature_version import feature_code
from ml_assets.domain.local_days import DAY
from ml_assets.domain.serving import JUDGED, REFIT, SCORE
from ml_assets.domain.slices import HELD_OUT, TRAIN
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training import CANDIDATE, Candidate, fit_candidate, fitted_on_all, libraries, refitted
from ml_assets.domain.training_rows import EVENT_DAY, SLICES, rows_of_slice, slices_of

CANDIDATES = {
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
    "code": pl.String,
    "artefact": pl.Binary,
}
# The bytes differ from run to run for the same fitted model; libraries and code are recorded beside what they made.
NOT_CONTENT = frozenset({"artefact", "libraries", "code"})


def candidates_of(
    model: ModelSpec, rows: pl.DataFrame, day: date, *, seed: int, feature_version: str, code: Mapping[str, str]
) -> pl.DataFrame:
    """One row (`CANDIDATES`) for what the gate judges and, where the spec asks for it, one fitted anew on all rows.

    `rows` are the day's training set, `code` the digests of the modules at work. The same rows, declaration and seed
    give the same candidates but for the bytes of their artefacts. Raises TrainingError as `fit_candidate` does.
    """
    train, held_out = rows_of_slice(rows, TRAIN), rows_of_slice(rows, HELD_OUT)
    # Neither fit needs anything of the other; each is given one half of the processor's cores.
    with ThreadPoolExecutor(max_workers=1) as aside:
        on_all = aside.submit(fitted_on_all, model, rows, seed=seed) if model.refit else None
        judged = fit_candidate(model, train, held_out, seed=seed)
        fitted = {JUDGED: (judged, train)}
        if on_all:
            fitted[REFIT] = (refitted(model, rows, judged, on_all.result()), rows)
    training_hash = content_hashes(rows)[day]
    versions = {
        role: f"{day}-{fingerprint(CANDIDATE, role, each.probe, training_hash, feature_version, model.estimator, seed)}"
        for role, (each, _) in fitted.items()
    }
    _, of_inputs = list(fitted.values())[-1]
    shared = {
        DAY: day,
        "candidate": CANDIDATE,
        "judged_by": versions[JUDGED],
        "best": True,
        "metrics": _json(_metrics(held_out, judged)),
        "reference": _reference(model, of_inputs, held_out, judged).to_json(),
        "training_content": training_hash,
        SLICES: slices_of(rows).to_json(),
        "feature_version": feature_version,
        "seed": seed,
        "libraries": _json(libraries()),
        "code": _json(code),
    }
    return pl.DataFrame(
        [
            {
                **shared,
                "role": role,
                "model_version": versions[role],
                "importances": _json(each.importances),
                "artefact": each.artefact,
            }
            for role, (each, _) in fitted.items()
        ],
        schema=CANDIDATES,
    )


def code_of_candidates(model: ModelSpec, catalog: Catalog) -> dict[str, str]:
    """The digest of each module that a model's candidates are made by, features included."""
    return dict(sorted({**code_of(candidates_of), **feature_code(model, catalog)}.items()))


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


def _json(mapping: Mapping[str, object]) -> str:
    return json.dumps(dict(mapping), sort_keys=True)
