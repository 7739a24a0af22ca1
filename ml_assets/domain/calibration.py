"""From a model's score to a probability: fit for a day, apply, draw.

What belongs here: calibrators as values, the day's fit and whether it is worth having, the reliability curve.
What does not: which rows are held out (`held_out.py`), how a calibrator is stored or drawn.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.errors import MlAssetsError
from ml_assets.domain.evaluation import Floats, equal_mass_bins, labels_and_probabilities
from ml_assets.domain.specs import Calibration

Method = Literal["none", "platt"]
METHODS: tuple[Method, ...] = get_args(Method)

CLIP = 1e-6
STEP_TOLERANCE = 1e-10
JUDGED_DAYS = 7
"""The newest days of held-out rows on which the day's method is judged, by a map fitted before them."""
WORSE_BEYOND_NOISE = 2.0
"""By how many standard errors over days a map's Brier score must be above the raw score's to be left out."""


class CalibrationError(MlAssetsError, ValueError):
    """A calibrator cannot be fitted or applied with what came."""


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A fitted, non-decreasing map from score to probability.

    `parameters`: none `()`; platt `(slope, offset)` on the score's log-odds, with a slope of 0 or more.
    """

    method: Method
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a method nobody knows and parameters that could leave [0, 1] or decrease."""
        if self.method not in METHODS:
            raise CalibrationError(f"unknown calibration method {self.method!r}; known: {', '.join(METHODS)}")
        sound = (
            self.parameters == ()
            if self.method == "none"
            else len(self.parameters) == 2 and bool(np.all(np.isfinite(self.parameters))) and self.parameters[0] >= 0
        )
        if not sound:
            raise CalibrationError(f"the parameters do not make a non-decreasing {self.method} calibrator; refit it")

    def to_json(self) -> str:
        """The calibrator as JSON; floats are written so that they read back exactly."""
        return json.dumps({"method": self.method, "parameters": self.parameters})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The calibrator that `to_json` wrote; `CalibrationError` if it is none."""
        try:
            stored = json.loads(text)
            return cls(stored["method"], tuple(float(value) for value in stored["parameters"]))
        except CalibrationError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"not a calibrator's JSON: {text[:80]!r} ({error})") from error


IDENTITY = Calibrator("none")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of events that the scoring model was not fitted on, with their labels and ages in days (1: the newest)."""

    scores: Floats
    labels: Floats
    ages: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def older_than(self, days: int) -> "HeldOut":
        """The rows older than so many days, their ages counted from there."""
        kept = self.ages > days
        return HeldOut(self.scores[kept], self.labels[kept], self.ages[kept] - days)


@dataclass(frozen=True, slots=True)
class DayCalibrator:
    """The calibrator of a day, from how many rows, and why it is what it is.

    `brier` are, by method, the Brier scores on the newest days by a map fitted before them; empty when there were none.
    """

    calibrator: Calibrator
    rows: int
    reason: str
    brier: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def calibrator_of_day(held_out: HeldOut, calibration: Calibration | None) -> DayCalibrator:
    """Platt's map as of a day, or none where it has not been worth having.

    The map is left out when one fitted before the newest week has, on that week, a Brier score above the raw score's by
    more than noise: two standard errors of the daily differences.
    """
    if calibration is None:
        return DayCalibrator(IDENTITY, len(held_out), "the model declares no calibration")
    if not len(held_out):
        return DayCalibrator(IDENTITY, 0, "no held-out label was known before the day")
    fitted = Calibrator("platt", weighted_platt(held_out, calibration))
    before = held_out.older_than(JUDGED_DAYS)
    if not len(before):
        return DayCalibrator(fitted, len(held_out), f"fewer than {JUDGED_DAYS} days were held out before the last week")
    tried = Calibrator("platt", weighted_platt(before, calibration))
    newest = held_out.ages <= JUDGED_DAYS
    raw, labels, ages = held_out.scores[newest], held_out.labels[newest], held_out.ages[newest]
    if not raw.size:
        return DayCalibrator(fitted, len(held_out), "no label of the last week was known before the day")
    mapped = apply_calibrator(tried, raw)
    brier = {"none": float(np.mean((raw - labels) ** 2)), "platt": float(np.mean((mapped - labels) ** 2))}
    worse = worse_beyond_noise((mapped - labels) ** 2 - (raw - labels) ** 2, ages)
    reason = (
        f"over the last week a map fitted before it was worse than the raw score by {worse:.1f} standard errors"
        if worse > WORSE_BEYOND_NOISE
        else "over the last week a map fitted before it was no worse than the raw score"
    )
    return DayCalibrator(IDENTITY if worse > WORSE_BEYOND_NOISE else fitted, len(held_out), reason, brier)


def reliability_curves(held_out: HeldOut, calibration: Calibration | None) -> dict[str, pl.DataFrame]:
    """Reliability of raw and calibrated scores of the trailing weeks and of the newest day, one curve each.

    Each week, and the newest day, is asked of a map fitted before it, as every day's rows are when they are served: a
    map looks better than it is on the rows that it was fitted on. Weeks before which nothing was held out are left out.
    """
    weeks = range(0, int(held_out.ages.max(initial=0)), JUDGED_DAYS)
    asked = [each for back in weeks if (each := _asked_later(held_out, back, back + JUDGED_DAYS, calibration))]
    newest = int(held_out.ages.min(initial=1))
    day = _asked_later(held_out, newest - 1, newest, calibration)
    curves = {}
    if asked:
        raw, mapped, labels = (np.concatenate(column) for column in zip(*asked, strict=True))
        curves["raw score, trailing weeks"] = reliability_curve(raw, labels)
        if calibration is not None:
            curves["calibrated, trailing weeks"] = reliability_curve(mapped, labels)
    if day:
        curves["calibrated, newest day"] = reliability_curve(day[1], day[2], bins=5)
    return curves


def _asked_later(
    held_out: HeldOut, newer: int, older: int, calibration: Calibration | None
) -> tuple[Floats, Floats, Floats] | None:
    """Scores, probabilities by a map fitted before, and labels of the ages `(newer, older]`; None without any."""
    inside, before = (held_out.ages > newer) & (held_out.ages <= older), held_out.older_than(older)
    if not inside.any() or not len(before):
        return None
    raw = held_out.scores[inside]
    tried = IDENTITY if calibration is None else Calibrator("platt", weighted_platt(before, calibration))
    return raw, apply_calibrator(tried, raw), held_out.labels[inside]


def worse_beyond_noise(rise: Floats, days: npt.NDArray[np.int64]) -> float:
    """The mean of a rise over its standard error, rows of one day moving together; 0 where no error can be told.

    The error is that of a mean over clusters (days): the root of the summed squared day totals around the mean.
    """
    _, position = np.unique(days, return_inverse=True)
    totals = np.bincount(position, weights=rise - rise.mean())
    number = len(totals)
    if number < 2:
        return 0.0
    error = float(np.sqrt(np.sum(totals**2) * number / (number - 1))) / rise.size
    return float(rise.mean()) / error if error > 0 else 0.0


def weighted_platt(held_out: HeldOut, calibration: Calibration) -> tuple[float, float]:
    """Slope (0 or more) and offset of the sigmoid on the log-odds of scores, drawn towards (1, 0).

    They minimise the cross-entropy of the labels, a row weighing 2^(−(age − 1) / half-life), plus
    slope_ridge/2·(slope − 1)² + offset_ridge/2·offset²: convex, by Newton's method with step halving. Where scores rank
    the labels backwards the slope is 0 and the offset alone is fitted.
    """
    weights = np.exp2(-(held_out.ages - 1) / calibration.half_life_days)
    objective = _Objective(_log_odds(held_out.scores), held_out.labels, weights, calibration)
    slope, offset = _newton(objective, slope=1.0, fixed=False)
    return (slope, offset) if slope >= 0 else _newton(objective, slope=0.0, fixed=True)


@dataclass(frozen=True, slots=True)
class _Objective:
    """What a map costs: weighted cross-entropy and the pull towards the identity."""

    f: Floats
    labels: Floats
    weights: Floats
    calibration: Calibration

    def __call__(self, slope: float, offset: float) -> float:
        z = slope * self.f + offset
        entropy = _total(self.weights * (np.logaddexp(0, z) - self.labels * z))
        pull = self.calibration.slope_ridge * (slope - 1) ** 2 + self.calibration.offset_ridge * offset**2
        return entropy + pull / 2

    def step(self, slope: float, offset: float, *, fixed: bool) -> tuple[float, float]:
        """Newton's step away from the minimum; in the offset alone where the slope is fixed."""
        p = _sigmoid(slope * self.f + offset)
        residual = self.weights * (p - self.labels)
        to_slope = _total(residual * self.f) + self.calibration.slope_ridge * (slope - 1)
        to_offset = _total(residual) + self.calibration.offset_ridge * offset
        curvature = self.weights * p * (1 - p)
        h_oo = _total(curvature) + self.calibration.offset_ridge
        if fixed:
            return 0.0, to_offset / h_oo
        h_so = _total(curvature * self.f)
        h_ss = _total(curvature * self.f * self.f) + self.calibration.slope_ridge
        determinant = h_ss * h_oo - h_so * h_so
        return (h_oo * to_slope - h_so * to_offset) / determinant, (h_ss * to_offset - h_so * to_slope) / determinant


def _newton(objective: _Objective, *, slope: float, fixed: bool) -> tuple[float, float]:
    offset = 0.0
    cost = objective(slope, offset)
    for _ in range(100):
        step_s, step_o = objective.step(slope, offset, fixed=fixed)
        fraction = 1.0
        while (tried := objective(slope - fraction * step_s, offset - fraction * step_o)) > cost:
            fraction /= 2
            if fraction < 1e-6:
                return slope, offset
        slope, offset, cost = slope - fraction * step_s, offset - fraction * step_o, tried
        if max(abs(step_s), abs(step_o)) < STEP_TOLERANCE:
            break
    return slope, offset


def apply_calibrator(calibrator: Calibrator, scores: npt.ArrayLike) -> Floats:
    """Probabilities in [0, 1] for scores in [0, 1], in the same order; `CalibrationError` otherwise."""
    score = np.asarray(scores, dtype=np.float64)
    if not np.all((score >= 0) & (score <= 1)):
        raise CalibrationError("scores must lie in [0, 1], without missing values; is it a decision value?")
    if calibrator.method == "none":
        return score.copy()
    slope, offset = calibrator.parameters
    return _sigmoid(slope * _log_odds(score) + offset)


def reliability_curve(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 10) -> pl.DataFrame:
    """One row per non-empty equal-mass bin: bin, mean_probability, observed_share, its 95% band low and high, rows.

    The band is Wilson's interval of the bin's share (Wilson 1927): as if its outcomes were independent.

    The bins are those of `evaluation.ece`, so the row-weighted mean of the gaps is that number.
    """
    truth, probability = labels_and_probabilities(labels, probabilities)
    used, position, rows = np.unique(equal_mass_bins(probability, bins), return_inverse=True, return_counts=True)
    share = np.bincount(position, weights=truth) / rows
    low, high = _wilson(share, rows)
    return pl.DataFrame(
        {
            "bin": used,
            "mean_probability": np.bincount(position, weights=probability) / rows,
            "observed_share": share,
            "low": low,
            "high": high,
            "rows": rows.astype(np.int64),
        }
    )


def _wilson(share: Floats, rows: npt.NDArray[np.int64], z: float = 1.959964) -> tuple[Floats, Floats]:
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return centre - half, centre + half


def _total(values: Floats) -> float:
    # Not a dot product: BLAS adds in another order on another number of threads, and a day must come out the same.
    return float(np.sum(values))


def _log_odds(score: Floats) -> Floats:
    inside = np.clip(score, CLIP, 1 - CLIP)
    odds: Floats = np.log(inside / (1 - inside))
    return odds


def _sigmoid(z: Floats) -> Floats:
    p: Floats = 1 / (1 + np.exp(np.clip(-z, -700, 700)))
    return p
