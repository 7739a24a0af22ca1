"""How good probabilities were, once the outcomes are known.

What belongs here: metrics on arrays, the same metrics for every group of a frame at once, the bootstrap
interval of a difference. Every metric takes labels first and probabilities second.
What does not: limits and what follows from them (`promotion`, `triggers`), pictures, tables.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.errors import MlAssetsError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Metric = Callable[[npt.ArrayLike, npt.ArrayLike], float | None]

ECE_BINS = 10
SMALLEST_PROBABILITY = 1e-15
_LABEL, _PROBABILITY, _BIN, _GAP = "__label", "__probability", "__bin", "__gap"
_METRICS = ("n", "base_rate", "roc_auc", "brier", "log_loss", "ece")


class EvaluationError(MlAssetsError, ValueError):
    """Labels and probabilities from which a metric cannot be computed."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What `evaluate` measured; `roc_auc` is None where only one class occurs."""

    n: int
    base_rate: float
    roc_auc: float | None
    brier: float
    log_loss: float
    ece: float


@dataclass(frozen=True, slots=True)
class BrierDecomposition:
    """Brier score = `reliability` - `resolution` + `uncertainty` (Murphy 1973)."""

    reliability: float
    resolution: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference on all rows, and the 5, 50 and 95 % points of its bootstrap draws.

    `draws` counts the draws behind the points: those on which the metric was defined.
    """

    estimate: float
    p05: float
    p50: float
    p95: float
    draws: int


def labels_and_probabilities(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Both as one-dimensional float arrays of the same length, labels 0 or 1, probabilities in [0, 1].

    Raises `EvaluationError` for anything else: no rows, another shape, NaN, a value out of range.
    """
    truth = np.asarray(labels, dtype=np.float64)
    probability = np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != probability.shape:
        raise EvaluationError(
            f"labels have shape {truth.shape} and probabilities {probability.shape}; "
            "wanted two one-dimensional arrays of one length"
        )
    if truth.size == 0:
        raise EvaluationError("no rows: nothing can be measured on an empty set; skip it by name")
    if not np.all((truth == 0) | (truth == 1)):
        raise EvaluationError("labels must be 0 or 1, without missing values; were the arguments swapped?")
    if not np.all((probability >= 0) & (probability <= 1)):
        raise EvaluationError("probabilities must lie in [0, 1], without missing values")
    return truth, probability


def equal_mass_bins(probabilities: npt.ArrayLike, bins: int = ECE_BINS) -> Integers:
    """The bin of every probability, 0 to `bins` - 1, each bin holding about the same number of rows.

    Equal probabilities share a bin (the one in which their lowest rank falls), so the answer does not
    depend on the order of the rows; where ties are wide, some bins stay empty.
    """
    if bins < 1:
        raise EvaluationError(f"bins is {bins}; wanted 1 or more")
    probability = np.asarray(probabilities, dtype=np.float64)
    lowest_rank = np.searchsorted(np.sort(probability), probability, side="left")
    return (lowest_rank * bins // max(probability.size, 1)).astype(np.int64)


def roc_auc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float | None:
    """Area under the ROC curve by ranks, ties counting half; None where only one class occurs."""
    truth, probability = labels_and_probabilities(labels, probabilities)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if positives == 0 or negatives == 0:
        return None
    _, position, tally = np.unique(probability, return_inverse=True, return_counts=True)
    rank = (np.cumsum(tally) - (tally - 1) / 2)[position]
    rank_sum = float(rank[truth == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared distance between probability and label: 0 is perfect."""
    truth, probability = labels_and_probabilities(labels, probabilities)
    return float(np.mean((probability - truth) ** 2))


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of -ln of the probability given to what happened, in nats; never less than 1e-15 is given."""
    truth, probability = labels_and_probabilities(labels, probabilities)
    return float(np.mean(_surprise(truth, probability)))


def _surprise(truth: Floats, probability: Floats) -> Floats:
    given = np.where(truth == 1, probability, 1 - probability)
    return -np.log(np.maximum(given, SMALLEST_PROBABILITY))


def ece(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error over equal-mass bins (`equal_mass_bins`).

    The mean, weighted by rows, of |mean probability - observed share| per bin. Biased upwards on few
    rows: a perfectly calibrated model does not reach 0.
    """
    truth, probability = labels_and_probabilities(labels, probabilities)
    gap = np.bincount(equal_mass_bins(probability, bins), weights=probability - truth)
    return float(np.abs(gap).sum() / truth.size)


def brier_decomposition(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> BrierDecomposition:
    """The Brier score's three parts, grouped by distinct probability: only then is the sum exact."""
    truth, probability = labels_and_probabilities(labels, probabilities)
    distinct, position, tally = np.unique(probability, return_inverse=True, return_counts=True)
    observed = np.bincount(position, weights=truth) / tally
    base_rate = float(truth.mean())
    weight = tally / truth.size
    return BrierDecomposition(
        reliability=float(np.sum(weight * (distinct - observed) ** 2)),
        resolution=float(np.sum(weight * (observed - base_rate) ** 2)),
        uncertainty=base_rate * (1 - base_rate),
    )


def f1(labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float = 0.5) -> float | None:
    """Harmonic mean of precision and recall of `probability >= threshold`.

    None where nothing is positive, neither in the labels nor among the predictions.
    """
    truth, probability = labels_and_probabilities(labels, probabilities)
    predicted, actual = probability >= threshold, truth == 1
    positives = int(predicted.sum()) + int(actual.sum())
    return None if positives == 0 else 2 * int((predicted & actual).sum()) / positives


def balanced_accuracy(labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float = 0.5) -> float | None:
    """Mean of both classes' recall of `probability >= threshold`; None where only one class occurs."""
    truth, probability = labels_and_probabilities(labels, probabilities)
    predicted, actual = probability >= threshold, truth == 1
    if actual.all() or not actual.any():
        return None
    return (float(predicted[actual].mean()) + float((~predicted[~actual]).mean())) / 2


def evaluate(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Metrics:
    """All of `Metrics` on one set of rows; the slow twin of `grouped_metrics`."""
    truth, probability = labels_and_probabilities(labels, probabilities)
    return Metrics(
        n=truth.size,
        base_rate=float(truth.mean()),
        roc_auc=roc_auc(truth, probability),
        brier=brier(truth, probability),
        log_loss=log_loss(truth, probability),
        ece=ece(truth, probability),
    )


def grouped_metrics(frame: pl.DataFrame, by: list[str], label: str, probability: str) -> pl.DataFrame:
    """One row of `Metrics` for every group, sorted by the group's keys; a null key is a group of its own.

    `label` holds booleans or 0 and 1, `probability` lies in [0, 1]. Equals `evaluate` on each group up
    to the rounding of sums, and does not depend on the order of the rows or on which other groups there are.
    Raises `EvaluationError` for missing or impossible values.
    """
    _refuse_unusable(frame, by, label, probability)
    truth, given = pl.col(_LABEL), pl.col(_PROBABILITY)
    rows = frame.lazy().select(
        *by,
        pl.col(label).cast(pl.Float64).alias(_LABEL),
        pl.col(probability).cast(pl.Float64).alias(_PROBABILITY),
    )
    n, positives = pl.len().cast(pl.Float64), truth.sum()
    wins = (given.rank("average") * truth).sum() - positives * (positives + 1) / 2
    happened = pl.when(truth == 1).then(given).otherwise(1 - given)
    scores = rows.group_by(by).agg(
        pl.len().cast(pl.Int64).alias("n"),
        truth.mean().alias("base_rate"),
        pl.when((positives > 0) & (positives < n)).then(wins / (positives * (n - positives))).alias("roc_auc"),
        (_exact_sum((given - truth) ** 2) / n).alias("brier"),
        (_exact_sum(-happened.clip(lower_bound=SMALLEST_PROBABILITY).log()) / n).alias("log_loss"),
    )
    lowest_rank = given.rank("min").over(by).cast(pl.Int64) - 1
    gaps = (
        rows.with_columns((lowest_rank * ECE_BINS // pl.len().over(by).cast(pl.Int64)).alias(_BIN))
        .group_by(*by, _BIN)
        .agg(_exact_sum(given - truth).abs().alias(_GAP))
        .group_by(by)
        .agg(_exact_sum(pl.col(_GAP)))
    )
    joined = scores.join(gaps, on=by, how="left", nulls_equal=True)
    return joined.with_columns((pl.col(_GAP) / pl.col("n")).alias("ece")).select(*by, *_METRICS).sort(by).collect()


def _exact_sum(values: pl.Expr) -> pl.Expr:
    # Floats add up to another last digit in another order, and Polars adds in any: whole multiples of 2^-60
    # do not, so a day's figures are the same whether it is computed alone or within a range.
    return (values * 2.0**60).round().cast(pl.Int128).sum().cast(pl.Float64) / 2.0**60


def _refuse_unusable(frame: pl.DataFrame, by: list[str], label: str, probability: str) -> None:
    known = ", ".join(frame.columns)
    missing = [name for name in (*by, label, probability) if name not in frame.columns]
    if missing:
        raise EvaluationError(f"no column {', '.join(missing)}; the frame has {known}")
    taken = [name for name in by if name in _METRICS]
    if taken or not by:
        raise EvaluationError(f"by is {by}; wanted at least one column, none named like a metric ({taken})")
    truth, given = pl.col(label).cast(pl.Float64), pl.col(probability).cast(pl.Float64)
    bad_labels, bad_probabilities = frame.select(
        (~truth.is_in([0.0, 1.0])).fill_null(value=True).sum().alias(_LABEL),
        (~given.is_between(0, 1)).fill_null(value=True).sum().alias(_PROBABILITY),
    ).row(0)
    if bad_labels or bad_probabilities:
        raise EvaluationError(
            f"{bad_labels} rows whose {label} is not 0 or 1, {bad_probabilities} whose {probability} is not "
            "in [0, 1]; drop rows without a label before measuring, and say how many"
        )


def paired_bootstrap(
    labels: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    metric: Metric,
    blocks: npt.ArrayLike,
    *,
    seed: int,
    draws: int,
) -> Interval:
    """The interval of `metric(b) - metric(a)` when whole blocks are drawn with replacement.

    `blocks` names the block of each row (its day): rows of one day share weather and are not
    independent, so days are resampled and never rows. Deterministic by `seed` and independent of the
    order of the rows. `roc_auc`, `brier` and `log_loss` are computed for all draws at once, from sums per
    block; any other metric row by row. Draws on which the metric is None are left out and not counted.
    Raises `EvaluationError` for fewer than two blocks, or when no draw defines the metric.
    """
    truth, first = labels_and_probabilities(labels, a)
    _, second = labels_and_probabilities(labels, b)
    names, code = np.unique(np.asarray(blocks), return_inverse=True)
    if code.shape != truth.shape:
        raise EvaluationError(f"{code.size} blocks for {truth.size} rows; wanted the block of each row")
    if names.size < 2 or draws < 1:
        raise EvaluationError(f"{names.size} blocks and {draws} draws; wanted 2 blocks and 1 draw or more")
    picks = np.random.default_rng(seed).integers(0, names.size, size=(draws, names.size))
    difference = _drawn(metric, truth, second, code, picks) - _drawn(metric, truth, first, code, picks)
    defined = difference[~np.isnan(difference)]
    whole = np.arange(names.size)[np.newaxis, :]
    estimate = _drawn(metric, truth, second, code, whole) - _drawn(metric, truth, first, code, whole)
    if defined.size == 0 or np.isnan(estimate[0]):
        raise EvaluationError(f"the metric is undefined on every draw of {names.size} blocks (one class only?)")
    p05, p50, p95 = np.quantile(defined, [0.05, 0.5, 0.95])
    return Interval(float(estimate[0]), float(p05), float(p50), float(p95), int(defined.size))


def _drawn(metric: Metric, truth: Floats, probability: Floats, code: Integers, picks: Integers) -> Floats:
    """The metric on every draw; `picks` (draws × blocks) names the blocks drawn; NaN where undefined."""
    count = picks.shape[1]
    draw = np.arange(picks.shape[0])[:, np.newaxis]
    times = np.bincount((draw * count + picks).ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)
    if metric is brier:
        return _drawn_mean((probability - truth) ** 2, code, times)
    if metric is log_loss:
        return _drawn_mean(_surprise(truth, probability), code, times)
    if metric is roc_auc:
        return _drawn_auc(truth, probability, code, times)
    rows = [np.flatnonzero(code == block) for block in range(count)]
    values = []
    for pick in picks:
        chosen = np.concatenate([rows[block] for block in pick])
        value = metric(truth[chosen], probability[chosen])
        values.append(np.nan if value is None else value)
    return np.array(values, dtype=np.float64)


def _drawn_mean(per_row: Floats, code: Integers, times: Floats) -> Floats:
    total = np.bincount(code, weights=per_row, minlength=times.shape[1])
    rows = np.bincount(code, minlength=times.shape[1])
    mean: Floats = (times * total).sum(axis=1) / (times * rows).sum(axis=1)
    return mean


def _drawn_auc(truth: Floats, probability: Floats, code: Integers, times: Floats) -> Floats:
    """ROC-AUC of every draw from one matrix: how often a positive of block i beats a negative of block j."""
    count = times.shape[1]
    positive = truth == 1
    wins = np.zeros((count, count))
    for block in range(count):
        negatives = np.sort(probability[~positive & (code == block)])
        beaten = np.searchsorted(negatives, probability[positive], side="left")
        beaten_or_tied = np.searchsorted(negatives, probability[positive], side="right")
        wins[:, block] = np.bincount(code[positive], weights=(beaten + beaten_or_tied) / 2, minlength=count)
    positives = np.bincount(code[positive], minlength=count)
    negatives_per_block = np.bincount(code[~positive], minlength=count)
    pairs: Floats = (times * positives).sum(axis=1) * (times * negatives_per_block).sum(axis=1)
    won = np.einsum("di,ij,dj->d", times, wins, times)
    area: Floats = np.divide(won, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
    return area
