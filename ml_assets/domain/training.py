"""Fitting a candidate, scoring with it, and turning it into bytes that execute nothing when they are read.

What belongs here: the scikit-learn pipeline of a model spec, its importances, its identity.
What does not: where rows come from, MLflow, the lake. scikit-learn and skops are imported inside functions,
because the code location must load without them.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.content import fingerprint
from ml_assets.domain.errors import ArtefactError, MlAssetsError
from ml_assets.domain.feature_types import MOST_CATEGORIES
from ml_assets.domain.specs import ModelSpec

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

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
IMPORTANCE_ROWS = 2_000


class TrainingError(MlAssetsError, ValueError):
    """Rows from which no model can be fitted, or none that could be judged."""


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

    Encoders are fitted on `train` and travel with the pipeline. A column without a single value in `train` is
    left out and has no importance. Importances are the rise in log loss on `held_out` when a column is
    permuted, floored at 0, scaled to sum to 1. Raises TrainingError when a frame lacks a column or a class, a
    column has too many categories, or no column has a value.
    """
    for name, frame in (("train", train), ("held out", held_out)):
        _refuse_unfit(model, name, frame)
    _refuse_too_many_categories(model, train)
    valued = _valued_columns(model, train)
    pipeline = _pipeline(model, seed, valued)
    pipeline.fit(train.select(model.feature_columns), train["label"].to_numpy())
    scores = _positive(pipeline, model, held_out)
    return Candidate(
        artefact=_dump(pipeline),
        probe=fingerprint(scores[:PROBE_ROWS].tolist()),
        scores=scores,
        importances=_importances(pipeline, model, held_out, seed, valued),
    )


def fitted_on_all(model: ModelSpec, rows: pl.DataFrame, *, seed: int) -> "Pipeline":
    """The model's pipeline fitted on all rows; TrainingError as `fit_candidate` raises it."""
    _refuse_unfit(model, "all", rows)
    pipeline = _pipeline(model, seed, _valued_columns(model, rows))
    return pipeline.fit(rows.select(model.feature_columns), rows["label"].to_numpy())


def refitted(model: ModelSpec, rows: pl.DataFrame, judged: Candidate, pipeline: "Pipeline") -> Candidate:
    """The candidate that was judged, its pipeline fitted on all rows: it serves what the judged one has earned.

    No row is left to measure it on, so scores on held-out rows and importances are those of the judged one.
    """
    return Candidate(
        artefact=_dump(pipeline),
        probe=fingerprint(_positive(pipeline, model, rows.head(PROBE_ROWS)).tolist()),
        scores=judged.scores,
        importances=judged.importances,
    )


def score(model: ModelSpec, artefact: bytes, rows: pl.DataFrame) -> Floats:
    """The raw scores of `rows` (feature columns), in order, by a stored pipeline.

    Raises ArtefactError when the pipeline was fitted on other features than the model's, and when `rows` lack one.
    """
    pipeline = load_pipeline(artefact)
    fitted = set(pipeline.feature_names_in_)
    if fitted != set(model.feature_columns):
        raise ArtefactError(
            f"the stored pipeline and model {model.name!r} do not share their features: only the pipeline has "
            f"{sorted(fitted - set(model.feature_columns))}, only the model has "
            f"{sorted(set(model.feature_columns) - fitted)}. Train the model anew."
        )
    lacking = [column for column in model.feature_columns if column not in rows.columns]
    if lacking:
        raise ArtefactError(f"rows to be scored by model {model.name!r} lack {lacking}; they have {rows.columns}.")
    return _positive(pipeline, model, rows)


@lru_cache(maxsize=4)
def load_pipeline(artefact: bytes) -> "Pipeline":
    """The pipeline stored in `artefact`; the last few are kept, as champion and challenger are asked for repeatedly.

    Raises ArtefactError for bytes that cannot be read, and for anything not allow-listed, before it is loaded.
    """
    from sklearn.pipeline import Pipeline

    with _torch_left_out():
        from skops.io import get_untrusted_types, loads

    try:
        strangers = sorted(set(get_untrusted_types(data=artefact)) - TRUSTED_TYPES)
        pipeline = None if strangers else loads(artefact, trusted=sorted(TRUSTED_TYPES))
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise ArtefactError(
            f"the stored pipeline cannot be read ({type(error).__name__}: {first_line}): its {len(artefact)} bytes "
            "are truncated or were tampered with. Train the model of its day anew."
        ) from error
    if strangers:
        raise ArtefactError(
            f"the stored pipeline holds {strangers}, which are not on the allow-list; it was not loaded. "
            "If a new estimator needs them, add them to TRUSTED_TYPES after review; else treat it as tampered."
        )
    if not isinstance(pipeline, Pipeline):
        raise ArtefactError(
            f"the stored artefact holds a {type(pipeline).__name__}, wanted a Pipeline. "
            "Train the model of its day anew."
        )
    return pipeline


class _Refuse(MetaPathFinder):
    """Refuses to import one package."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        """ImportError for the package, nothing to say of others."""
        if fullname == self.name:
            raise ImportError(f"{fullname} is left out of this import", name=fullname)


@contextmanager
def _torch_left_out() -> Iterator[None]:
    """While skops is imported: it imports every module of scikit-learn, one of which imports torch if it can.

    No scikit-learn pipeline needs it, and without it a process scores its first row 40% sooner.
    """
    if "skops.io" in sys.modules or "torch" in sys.modules:
        yield
        return
    refusing = _Refuse("torch")
    sys.meta_path.insert(0, refusing)
    try:
        yield
    finally:
        sys.meta_path.remove(refusing)


def libraries() -> dict[str, str]:
    """The versions of the libraries that shape a fitted pipeline."""
    return {name: version(name) for name in LIBRARIES}


def _refuse_unfit(model: ModelSpec, name: str, frame: pl.DataFrame) -> None:
    where = f"model {model.name!r}, {name} rows"
    lacking = [column for column in (*model.feature_columns, "label") if column not in frame.columns]
    if lacking:
        raise TrainingError(f"{where}: they lack {lacking}; they have {frame.columns}.")
    labels = sorted(frame["label"].unique().to_list(), key=str)
    if labels != [0, 1]:
        raise TrainingError(f"{where}: the labels of {frame.height} rows are {labels[:5]}, wanted both 0 and 1.")


def _refuse_too_many_categories(model: ModelSpec, train: pl.DataFrame) -> None:
    for column in model.categorical_columns:
        if (categories := train[column].n_unique()) > MOST_CATEGORIES:
            raise TrainingError(
                f"model {model.name!r}, train rows: {column} has {categories} categories, an absent value being one, "
                f"wanted at most {MOST_CATEGORIES}: put rare ones together where they are computed, or leave it out."
            )


def _valued_columns(model: ModelSpec, train: pl.DataFrame) -> tuple[str, ...]:
    # scikit-learn's binning fails on a number that never occurs.
    counts = train.select(
        *(pl.col(column).is_not_null().sum() for column in model.categorical_columns),
        *(pl.col(column).cast(pl.Float64).fill_nan(None).is_not_null().sum() for column in model.numeric_columns),
    ).row(0, named=True)
    valued = tuple(column for column, count in counts.items() if count)
    if not valued:
        raise TrainingError(f"model {model.name!r}: none of its features has a value in the {train.height} train rows.")
    return valued


def _pipeline(model: ModelSpec, seed: int, valued: tuple[str, ...]) -> "Pipeline":
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    chosen = model.estimator
    categories = [column for column in model.categorical_columns if column in valued]
    numbers = [column for column in model.numeric_columns if column in valued]
    encode = ColumnTransformer(
        [
            (
                "categories",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
                categories,
            ),
            ("numbers", "passthrough", numbers),
        ]
    )
    boosting = HistGradientBoostingClassifier(
        learning_rate=chosen.learning_rate,
        max_iter=chosen.max_iter,
        max_leaf_nodes=chosen.max_leaf_nodes,
        min_samples_leaf=chosen.min_samples_leaf,
        l2_regularization=chosen.l2_regularization,
        categorical_features=list(range(len(categories))),
        early_stopping=False,
        random_state=seed,
    )
    return Pipeline([("encode", encode), ("classify", boosting)])


def _positive(pipeline: "Pipeline", model: ModelSpec, rows: pl.DataFrame) -> Floats:
    if rows.is_empty():
        return np.empty(0)
    scores: Floats = pipeline.predict_proba(rows.select(model.feature_columns))[:, 1].astype(np.float64)
    return scores


def _importances(
    pipeline: "Pipeline", model: ModelSpec, held_out: pl.DataFrame, seed: int, valued: tuple[str, ...]
) -> dict[str, float]:
    from sklearn.inspection import permutation_importance

    sample = held_out.gather_every(max(1, held_out.height // IMPORTANCE_ROWS))
    encoded = pipeline.named_steps["encode"].transform(sample.select(model.feature_columns))
    measured: Any = permutation_importance(
        pipeline.named_steps["classify"],
        encoded,
        sample["label"].to_numpy(),
        scoring="neg_log_loss",
        n_repeats=PERMUTATIONS,
        random_state=seed,
    )
    raised = np.maximum(measured.importances_mean, 0.0)
    total = float(raised.sum())
    shares = raised / total if total > 0 else np.full(len(raised), 1 / len(raised))
    measured_shares = dict(zip(valued, shares.tolist(), strict=True))
    return {column: measured_shares.get(column, 0.0) for column in (*model.categorical_columns, *model.numeric_columns)}


def _dump(pipeline: "Pipeline") -> bytes:
    with _torch_left_out():
        from skops.io import dumps

    return bytes(dumps(pipeline))
