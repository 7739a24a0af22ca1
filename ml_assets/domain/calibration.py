"""From a model's score to a probability: fit, apply, choose.

What belongs here: the calibrators as pairs of pure functions, the choice among them on held-out blocks,
the reliability curve as numbers.
What does not: which rows are held out (the training spec), how a calibrator is stored or drawn.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.errors import MlAssetsError
from ml_assets.domain.evaluation import Floats, brier, equal_mass_bins, labels_and_probabilities

Method = Literal["none", "platt", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)

CLIP = 1e-6
TIE = 1e-12


class CalibrationError(MlAssetsError, ValueError):
    """A calibrator cannot be fitted, chosen or applied with what came."""


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A fitted, non-decreasing map from score to probability.

    `parameters`: none `()`; platt `((a, b),)` with a <= 0; isotonic `(scores, probabilities)`, the knots.
    """

    method: Method
    parameters: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a method nobody knows and parameters that could leave [0, 1] or decrease."""
        if self.method not in METHODS:
            raise CalibrationError(f"unknown calibration method {self.method!r}; known: {', '.join(METHODS)}")
        if not _sound(self.method, self.parameters):
            raise CalibrationError(f"the parameters do not make a non-decreasing {self.method} calibrator; refit it")

    def to_json(self) -> str:
        """The calibrator as JSON; floats are written so that they read back exactly."""
        return json.dumps({"method": self.method, "parameters": self.parameters})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The calibrator that `to_json` wrote; `CalibrationError` if it is none."""
        try:
            stored = json.loads(text)
            parameters = tuple(tuple(float(value) for value in part) for part in stored["parameters"])
            return cls(stored["method"], parameters)
        except CalibrationError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"not a calibrator's JSON: {text[:80]!r} ({error})") from error


@dataclass(frozen=True, slots=True)
class CalibratorChoice:
    """The winner, refitted on all rows, and the held-out Brier score of every method tried."""

    calibrator: Calibrator
    brier: Mapping[str, float]
    rows: int
    blocks: int


def _sound(method: Method, parameters: tuple[tuple[float, ...], ...]) -> bool:
    if not all(np.all(np.isfinite(part)) for part in parameters):
        return False
    if method == "none":
        return parameters == ()
    if method == "platt":
        return len(parameters) == 1 and len(parameters[0]) == 2 and parameters[0][0] <= 0
    if len(parameters) != 2 or len(parameters[0]) != len(parameters[1]) or not parameters[0]:
        return False
    scores, probabilities = (np.array(part) for part in parameters)
    in_range = probabilities[0] >= 0 and probabilities[-1] <= 1
    return bool(np.all(np.diff(scores) > 0) and np.all(np.diff(probabilities) >= 0) and in_range)


def fit_calibrator(scores: npt.ArrayLike, labels: npt.ArrayLike, method: Method) -> Calibrator:
    """The calibrator of the given method, fitted on scores in [0, 1] and labels 0 or 1.

    platt: a sigmoid on the log-odds of the score, clipped to [1e-6, 1 - 1e-6] (`platt_coefficients`); where
    scores rank the labels backwards, the best non-decreasing sigmoid is the constant smoothed base rate.
    isotonic: scikit-learn's `IsotonicRegression`. none: the score itself.
    Raises `CalibrationError` for labels of one class, `EvaluationError` for arrays that are no pair.
    """
    truth, score = labels_and_probabilities(labels, scores)
    if method not in METHODS:
        raise CalibrationError(f"unknown calibration method {method!r}; known: {', '.join(METHODS)}")
    if truth.min() == truth.max():
        raise CalibrationError(
            f"all {truth.size} labels are {truth[0]:.0f}: a calibrator needs both classes; widen the slice"
        )
    if method == "none":
        return Calibrator("none")
    if method == "platt":
        a, b = platt_coefficients(_log_odds(score), truth)
        return Calibrator("platt", ((a, b) if a <= 0 else (0.0, _constant_offset(truth)),))
    return Calibrator("isotonic", _isotonic_knots(score, truth))


def apply_calibrator(calibrator: Calibrator, scores: npt.ArrayLike) -> Floats:
    """Probabilities in [0, 1] for scores in [0, 1], in the same order; `CalibrationError` otherwise.

    Beyond the outermost isotonic knots the outermost probability holds.
    """
    score = np.asarray(scores, dtype=np.float64)
    if not np.all((score >= 0) & (score <= 1)):
        raise CalibrationError("scores must lie in [0, 1], without missing values; is it a decision value?")
    if calibrator.method == "none":
        return score.copy()
    if calibrator.method == "platt":
        a, b = calibrator.parameters[0]
        return _sigmoid(a * _log_odds(score) + b)
    knots, probabilities = calibrator.parameters
    interpolated = np.interp(score, np.array(knots), np.array(probabilities))
    bounded: Floats = np.clip(interpolated, probabilities[0], probabilities[-1])
    return bounded


def platt_coefficients(decision_values: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, float]:
    """A and B of P(positive | f) = 1 / (1 + exp(A·f + B)), as libsvm fits them.

    Labels above 0 are positive. Targets are smoothed to (N+ + 1)/(N+ + 2) and 1/(N- + 2), and a Newton
    method with backtracking minimises the cross-entropy (Lin, Lin and Weng 2007, algorithm 1).
    """
    f = np.asarray(decision_values, dtype=np.float64)
    target = _smoothed_targets(np.asarray(labels, dtype=np.float64) > 0)
    a, b = 0.0, _constant_offset(np.asarray(labels, dtype=np.float64) > 0)
    loss = _cross_entropy(f, target, a, b)
    for _ in range(100):
        p = _sigmoid(a * f + b)
        gradient_a, gradient_b = float(np.sum(f * (target - p))), float(np.sum(target - p))
        if max(abs(gradient_a), abs(gradient_b)) < 1e-5:
            break
        curvature = p * (1 - p)
        h_aa = float(np.sum(f * f * curvature)) + 1e-12
        h_bb = float(np.sum(curvature)) + 1e-12
        h_ab = float(np.sum(f * curvature))
        determinant = h_aa * h_bb - h_ab * h_ab
        step_a = -(h_bb * gradient_a - h_ab * gradient_b) / determinant
        step_b = -(h_aa * gradient_b - h_ab * gradient_a) / determinant
        slope = gradient_a * step_a + gradient_b * step_b
        fraction = 1.0
        while fraction >= 1e-10:
            lower = _cross_entropy(f, target, a + fraction * step_a, b + fraction * step_b)
            if lower < loss + 1e-4 * fraction * slope:
                a, b, loss = a + fraction * step_a, b + fraction * step_b, lower
                break
            fraction /= 2
        else:
            break
    return a, b


def choose_calibrator(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    blocks: npt.ArrayLike,
    methods: Sequence[Method] = METHODS,
) -> CalibratorChoice:
    """The method with the lowest held-out Brier score, refitted on all rows.

    `blocks` names the block of each row (its event date). Each block is scored by a calibrator fitted on
    all the others; the Brier score is the mean over all rows so scored. Ties within 1e-12 go to the method
    that stands first in `methods`: give the simplest first. Deterministic.
    Raises `CalibrationError` for one class, fewer than two blocks, or a class that lives in one block only.
    """
    truth, score = labels_and_probabilities(labels, scores)
    names, code = np.unique(np.asarray(blocks), return_inverse=True)
    if code.shape != truth.shape:
        raise CalibrationError(f"{code.size} blocks for {truth.size} rows; wanted the block of each row")
    if names.size < 2 or not methods:
        raise CalibrationError(f"{names.size} blocks and {len(methods)} methods; wanted 2 blocks and 1 method or more")
    held_out: dict[str, float] = {}
    for method in methods:
        probability = np.empty_like(score)
        for number, name in enumerate(names):
            inside = code == number
            if truth[~inside].min() == truth[~inside].max():
                raise CalibrationError(f"without block {name} the labels are of one class; widen the slice")
            fitted = fit_calibrator(score[~inside], truth[~inside], method)
            probability[inside] = apply_calibrator(fitted, score[inside])
        held_out[method] = brier(truth, probability)
    lowest = min(held_out.values())
    winner = next(method for method in methods if held_out[method] <= lowest + TIE)
    return CalibratorChoice(
        calibrator=fit_calibrator(score, truth, winner),
        brier=MappingProxyType(held_out),
        rows=truth.size,
        blocks=names.size,
    )


def reliability_curve(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 10) -> pl.DataFrame:
    """One row per non-empty equal-mass bin: bin, mean_probability, observed_share, rows.

    The bins are those of `evaluation.ece`, so the row-weighted mean of the gaps is that number.
    """
    truth, probability = labels_and_probabilities(labels, probabilities)
    used, position, rows = np.unique(equal_mass_bins(probability, bins), return_inverse=True, return_counts=True)
    return pl.DataFrame(
        {
            "bin": used,
            "mean_probability": np.bincount(position, weights=probability) / rows,
            "observed_share": np.bincount(position, weights=truth) / rows,
            "rows": rows.astype(np.int64),
        }
    )


def _log_odds(score: Floats) -> Floats:
    inside = np.clip(score, CLIP, 1 - CLIP)
    odds: Floats = np.log(inside / (1 - inside))
    return odds


def _sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(z)): Platt's sign, falling in z."""
    p: Floats = 1 / (1 + np.exp(np.clip(z, -700, 700)))
    return p


def _cross_entropy(f: Floats, target: Floats, a: float, b: float) -> float:
    z = a * f + b
    return float(np.sum(target * z + np.logaddexp(0, -z)))


def _smoothed_targets(positive: npt.NDArray[np.bool_]) -> Floats:
    positives = int(positive.sum())
    negatives = positive.size - positives
    return np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _constant_offset(truth: npt.NDArray[np.generic]) -> float:
    """The B at which a sigmoid with A = 0 gives the smoothed share of positives."""
    positives = int(np.sum(truth))
    return float(np.log((truth.size - positives + 1) / (positives + 1)))


def _isotonic_knots(score: Floats, truth: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # Here and not above: importing scikit-learn takes over a second, and only fitting needs it.
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, truth)
    return tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_))
