"""Fitting a candidate, scoring with it, and turning it into bytes that execute nothing when they are read.

What belongs here: the scikit-learn pipeline of a model spec, its importances, its identity.
What does not: where rows come from, MLflow, the lake. scikit-learn and skops are imported inside functions,
because the code location must load without them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.content import fingerprint
from ml_assets.domain.errors import ArtefactError
from ml_assets.domain.specs import ModelSpec

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float64]

CANDIDATE = "hist_gradient_boosting"
# Types a fitted pipeline of ours may hold beside those skops knows; anything else is refused unread.
TRUSTED_TYPES = frozenset(
    {
        "functools.partial",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.utils.validation.check_array",
    }
)
LIBRARIES = ("numpy", "polars", "scikit-learn", "scipy", "skops")
PROBE_ROWS = 256
PERMUTATIONS = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fitted pipeline as bytes, what it scores on held-out rows, and which columns carry it.

    `probe` is the fingerprint of its scores on fixed rows: skops files are not byte-stable, scores are.
    """

    artefact: bytes
    probe: str
    scores: Floats
    importances: Mapping[str, float]


def fit_candidate(model: ModelSpec, train: pl.DataFrame, held_out: pl.DataFrame, *, seed: int) -> Candidate:
    """The pipeline fitted on `train`, scored on `held_out`; both hold the feature columns and `label`.

    Encoders are fitted on `train` and travel with the pipeline. Importances are the rise in log loss on
    `held_out` when a column is permuted, floored at 0, scaled to sum to 1.
    """
    pipeline = _pipeline(model, seed)
    with _one_thread():
        pipeline.fit(train.select(model.feature_columns), train["label"].to_numpy())
        importances = _importances(pipeline, model, held_out, seed)
    scores = _positive(pipeline, model, held_out)
    return Candidate(
        artefact=_dump(pipeline),
        probe=fingerprint(scores[:PROBE_ROWS].tolist()),
        scores=scores,
        importances=importances,
    )


def score(model: ModelSpec, artefact: bytes, rows: pl.DataFrame) -> Floats:
    """The raw scores of `rows` (feature columns), in order, by a stored pipeline."""
    return _positive(load_pipeline(artefact), model, rows)


def load_pipeline(artefact: bytes) -> "Pipeline":
    """The pipeline stored in `artefact`; raises ArtefactError for one that holds anything not allow-listed."""
    from skops.io import get_untrusted_types, loads

    strangers = sorted(set(get_untrusted_types(data=artefact)) - TRUSTED_TYPES)
    if strangers:
        raise ArtefactError(
            f"the stored pipeline holds {strangers}, which are not on the allow-list; it was not loaded. "
            "If a new estimator needs them, add them to TRUSTED_TYPES after review; else treat it as tampered."
        )
    return loads(artefact, trusted=sorted(TRUSTED_TYPES))


def libraries() -> dict[str, str]:
    """The versions of the libraries that shape a fitted pipeline."""
    return {name: version(name) for name in LIBRARIES}


def _pipeline(model: ModelSpec, seed: int) -> "Pipeline":
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    chosen = model.estimator
    encode = ColumnTransformer(
        [
            (
                "categories",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
                list(model.categorical_columns),
            ),
            ("numbers", "passthrough", list(model.numeric_columns)),
        ]
    )
    boosting = HistGradientBoostingClassifier(
        learning_rate=chosen.learning_rate,
        max_iter=chosen.max_iter,
        max_leaf_nodes=chosen.max_leaf_nodes,
        min_samples_leaf=chosen.min_samples_leaf,
        l2_regularization=chosen.l2_regularization,
        categorical_features=list(range(len(model.categorical_columns))),
        early_stopping=False,
        random_state=seed,
    )
    return Pipeline([("encode", encode), ("classify", boosting)])


def _positive(pipeline: "Pipeline", model: ModelSpec, rows: pl.DataFrame) -> Floats:
    with _one_thread():
        scores: Floats = pipeline.predict_proba(rows.select(model.feature_columns))[:, 1].astype(np.float64)
    return scores


def _one_thread() -> "threadpool_limits":
    # OpenMP's threads wait by spinning: on a busy machine two of them took over ten times as long as one.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def _importances(pipeline: "Pipeline", model: ModelSpec, held_out: pl.DataFrame, seed: int) -> dict[str, float]:
    from sklearn.inspection import permutation_importance

    encoded = pipeline.named_steps["encode"].transform(held_out.select(model.feature_columns))
    measured: Any = permutation_importance(
        pipeline.named_steps["classify"],
        encoded,
        held_out["label"].to_numpy(),
        scoring="neg_log_loss",
        n_repeats=PERMUTATIONS,
        random_state=seed,
    )
    raised = np.maximum(measured.importances_mean, 0.0)
    total = float(raised.sum())
    shares = raised / total if total > 0 else np.full(len(raised), 1 / len(raised))
    encoded_columns = (*model.categorical_columns, *model.numeric_columns)
    return {column: float(share) for column, share in zip(encoded_columns, shares, strict=True)}


def _dump(pipeline: "Pipeline") -> bytes:
    from skops.io import dumps

    return bytes(dumps(pipeline))
