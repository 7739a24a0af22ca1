"""A label planted among the features comes out at chance, and the model's own features are not too good to be true.

What belongs here: planting, through the platform's own join and training set; how good chance may look.
What does not: what a model must reach (`promotion.py`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from ml_assets.domain.content import seed_of
from ml_assets.domain.evaluation import roc_auc
from ml_assets.domain.local_days import DAY
from ml_assets.domain.proofs.proof import PLANTED, Finding, Proof, found
from ml_assets.domain.rehearsal import KNOWN_AT, Rehearsal
from ml_assets.domain.specs import FeatureGroupSpec, GradientBoosting, ModelSpec
from ml_assets.domain.training import Candidate, TrainingError, fit_candidate
from ml_assets.domain.training_rows import training_set
from partitions import DayRange

# Of a feature that says nothing, one in 30,000 lies further from 0.5.
DEVIATIONS = 4.2
SURE = 0.95
LABEL_COPY = "planted__label_copy"
AGES = timedelta(days=10_000)
STUMPS = GradientBoosting(learning_rate=0.1, max_iter=30, max_leaf_nodes=4, min_samples_leaf=10, l2_regularization=1.0)


@dataclass(frozen=True, slots=True)
class Tried:
    """What a model that was given the label scores on later days, and how many of its rows hold the label."""

    roc_auc: float
    chance: float
    holding: int
    rows: int


def a_planted_label(rehearsal: Rehearsal, model: ModelSpec, day: date) -> Proof:
    """A feature that equals the label, known when the label is, says nothing; known when it is not, everything.

    The second is the proof that the first could have failed: on too few rows neither says anything.
    """
    subject = f"models/{model.name}"
    honest: Tried | None = None
    lacking = ""

    def look() -> Iterator[Finding]:
        nonlocal honest, lacking
        try:
            honest = _tried(rehearsal, model, day, known_with_the_event=False)
            lying = _tried(rehearsal, model, day, known_with_the_event=True)
        except TrainingError as error:
            lacking = f"the training set of {day} is too small to plant anything in it ({error})"
            return
        if honest.holding or abs(honest.roc_auc - 0.5) > honest.chance:
            yield Finding(
                f"{subject}, training set of {day}",
                f"a planted copy of the label, known only when the label is, is held by {honest.holding} of "
                f"{honest.rows} rows and scores ROC-AUC {honest.roc_auc:.3f}",
                f"no row to hold it and a ROC-AUC of 0.5 ± {honest.chance:.3f}, as of chance",
                f"Labels of {model.outcome!r} count as known before the score is needed: mend known_at where the "
                "outcome is computed, or the model's prediction_lead.",
            )
        elif lying.roc_auc < SURE or lying.roc_auc <= 0.5 + honest.chance:
            lacking = (
                f"a label that is planted where it can be seen scores only ROC-AUC {lying.roc_auc:.3f} on {lying.rows} "
                "rows, so that one that cannot be seen proves nothing; deliver more days"
            )

    findings = found(subject, look)
    notes = (
        (f"the planted label scores ROC-AUC {honest.roc_auc:.3f}; chance is 0.5 ± {honest.chance:.3f}",)
        if honest
        else ()
    )
    return Proof(PLANTED, subject, (day,), honest.rows if honest else 0, findings, lacking, notes)


def too_good_to_be_true(rehearsal: Rehearsal, model: ModelSpec, day: date) -> Proof:
    """The model, fitted on its own features, does not score later days better than it declares to be plausible."""
    subject = f"training_sets/{model.name}"
    candidate: Candidate | None = None
    area, rows, lacking = 0.0, 0, ""

    def look() -> Iterator[Finding]:
        nonlocal candidate, area, rows, lacking
        trained = rehearsal.training_set(model, day, DayRange(day, day + timedelta(days=1))).rows
        train, held_out = _halves(trained)
        try:
            candidate = fit_candidate(model, train, held_out, seed=seed_of(model.name, day.isoformat()))
        except TrainingError as error:
            lacking = f"nothing can be fitted on the training set of {day} ({error})"
            return
        rows, area = trained.height, roc_auc(held_out["label"].to_numpy(), candidate.scores) or 0.0
        if area > model.plausible_roc_auc:
            by_weight = sorted(candidate.importances.items(), key=lambda pair: -pair[1])
            told = ", ".join(f"{column} ({weight:.0%})" for column, weight in by_weight[:3] if weight > 0)
            yield Finding(
                f"{subject} of {day}",
                f"fitted on its first half, the model scores ROC-AUC {area:.3f} on the second, by {told}",
                f"at most {model.plausible_roc_auc} (plausible_roc_auc)",
                "That good is nearly always a leak: see whether a column becomes known later than its row, and name it "
                "in a Fact of its source. If it is true, raise plausible_roc_auc.",
            )

    findings = found(subject, look)
    notes = (f"the model scores ROC-AUC {area:.3f} on the later half of the rows",) if candidate else ()
    return Proof(PLANTED, subject, (day,), rows, findings, lacking, notes)


def _tried(rehearsal: Rehearsal, model: ModelSpec, day: date, *, known_with_the_event: bool) -> Tried:
    planted = replace(model, features=("planted.label_copy", "chance.number"), categorical=(), estimator=STUMPS)
    rows = _planted_rows(rehearsal, model, planted, day, known_with_the_event=known_with_the_event)
    train, held_out = _halves(rows)
    candidate = fit_candidate(planted, train, held_out, seed=seed_of(model.name, "planted"))
    labels = held_out["label"].to_numpy()
    return Tried(
        roc_auc=roc_auc(labels, candidate.scores) or 0.0,
        chance=DEVIATIONS * _deviation(labels),
        holding=rows.height - rows[LABEL_COPY].null_count(),
        rows=rows.height,
    )


def _planted_rows(
    rehearsal: Rehearsal, model: ModelSpec, planted: ModelSpec, day: date, *, known_with_the_event: bool
) -> pl.DataFrame:
    """The model's training set with two features alone: a copy of the label, and a number drawn at random."""
    run = DayRange(day, day + timedelta(days=1))
    spine, labels = rehearsal.catalog.features[model.spine], rehearsal.labels(model, run)
    frame = rehearsal.training_frames(model, run)[model.spine]
    events = frame.select(DAY, "row_key", "event_time", KNOWN_AT).unique("row_key", maintain_order=True)
    drawn = np.random.default_rng(seed_of(model.name, day.isoformat())).normal(size=events.height)
    known_at = pl.col(KNOWN_AT if known_with_the_event else "label_known_at")
    copies = events.join(
        labels.select("row_key", label_known_at=KNOWN_AT, label_copy=pl.col("label").cast(pl.Float64)),
        on="row_key",
        maintain_order="left",
    ).with_columns(known_at.alias(KNOWN_AT))
    groups = {
        model.spine: spine,
        "planted": _beside(spine, "planted", "label_copy"),
        "chance": _beside(spine, "chance", "number"),
    }
    frames = {model.spine: frame, "planted": copies, "chance": events.with_columns(pl.Series("number", drawn))}
    return training_set(planted, groups, frames, labels, day).rows


def _beside(spine: FeatureGroupSpec, name: str, value: str) -> FeatureGroupSpec:
    """A group that the platform joins like any other, by the key of the event itself."""
    return replace(
        spine,
        name=name,
        entity=("row_key",),
        values=(value,),
        described={},
        added_values=(),
        max_null_share={},
        max_age=AGES,
        known_before=AGES,
        known_after=AGES,
    )


def _halves(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The earlier and the later half of the rows, by prediction time."""
    ordered = rows.sort("prediction_time", "row_key")
    half = ordered.height // 2
    return ordered.head(half), ordered.tail(ordered.height - half)


def _deviation(labels: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """The standard deviation of the ROC-AUC of scores that know nothing of the labels (Mann and Whitney 1947)."""
    positives = int(labels.sum())
    negatives = labels.size - positives
    return math.sqrt((labels.size + 1) / (12 * positives * negatives)) if positives and negatives else 1.0
