"""Relations between columns: what one number of a row says of another.

What belongs here: regressions learnt of the last weeks, and how far a day's rows lie from them.
What does not: relations between rows.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ml_assets.domain.alarms.day_rows import Codes, DayRows, Floats
from ml_assets.domain.alarms.rule import Measure, Measured, Rule, Usual

LEAST_R2 = 0.5
EXACT_R2 = 0.999
MIN_ROWS, MIN_LEARNT_ROWS, MIN_LEARNT_DAYS = 15, 200, 7
FAR, LEAST_SPREAD, ENOUGH_R = 4.0, 0.02, 0.76
TINY = 1e-9


def residuals(rows: DayRows) -> Measure:
    """For each number its best regressions on one and on two others: the middle and spread of the day's residuals.

    Both are medians, which a storm moves little: the middle in units of the learnt residuals' spread, the spread as its
    logarithm.
    Regressions come from sums of products by day (of the rows in which both columns are there), so a day costs no
    second look at the rows it was learnt from.
    """

    def measured(found: "_Found") -> Iterator[Measured]:
        middle = float(np.median(found.residuals))
        spread = float(np.median(np.abs(found.residuals - middle)))
        yield Measured(found.subject, "middle", middle, len(found.residuals))
        # In the column's own unit: a storm among the learnt days would change any other.
        told = float(np.log(found.unit * np.hypot(spread, LEAST_SPREAD)))
        yield Measured(found.subject, "spread", told, len(found.residuals))

    return _of_relations(rows, measured)


def far_rows(rows: DayRows) -> Measure:
    """The share of a day's rows far from a relation: a sensor or a segment of several."""

    def measured(found: "_Found") -> Iterator[Measured]:
        far = float(np.mean(np.abs(found.residuals) > FAR))
        yield Measured(found.subject, "", far, len(found.residuals))

    return _of_relations(rows, measured)


def correlations(rows: DayRows) -> Measure:
    """Fisher's z of the two columns of a relation."""

    def measured(found: "_Found") -> Iterator[Measured]:
        if np.isfinite(found.correlation):
            yield Measured(found.subject, "", found.correlation, len(found.residuals))

    return _of_relations(rows, measured)


class _Found(NamedTuple):
    """A relation on a day: its name, the day's residuals in the usual spread, the correlation of two columns."""

    subject: str
    residuals: Floats
    unit: float
    correlation: float


def _of_relations(rows: DayRows, measured: Callable[["_Found"], Iterator[Measured]]) -> Measure:
    moments = _moments(rows)

    def measure(at: int, learnt: Codes) -> Iterator[Measured]:
        if len(learnt) < MIN_LEARNT_DAYS:
            return
        usual = moments.of_days(learnt)
        today = moments.of_days(np.array([at]))
        for relation in _chosen(usual):
            found = _residuals(rows, at, (usual, today), relation)
            if found is not None:
                yield from measured(found)

    return measure


class _Moments:
    """Sums over rows by day: of products of columns, of columns, of rows, each where both columns are there."""

    def __init__(self, products: Floats, sums: Floats, rows: Floats) -> None:
        self.products, self.sums, self.rows = products, sums, rows

    @classmethod
    def of(cls, rows: DayRows, names: list[str]) -> "_Moments":
        """The sums of every day; a number whose square is none makes them infinite, and nothing is told by them."""
        there = np.column_stack([~np.isnan(rows.numbers[name]) for name in names]).astype(np.float64)
        values = np.nan_to_num(np.column_stack([rows.numbers[name] for name in names]))
        count = len(rows.days)
        shape = (count, len(names), len(names))
        products, sums, pairs = np.empty(shape), np.empty(shape), np.empty(shape)
        with np.errstate(over="ignore", invalid="ignore"):
            for at in range(count):
                part = rows.slice(at)
                products[at] = values[part].T @ values[part]
                sums[at] = values[part].T @ there[part]
                pairs[at] = there[part].T @ there[part]
        return cls(products, sums, pairs)

    def of_days(self, days: Codes) -> "_Pooled":
        """Means and covariances over days."""
        rows = self.rows[days].sum(axis=0)
        with np.errstate(all="ignore"):
            mean = self.sums[days].sum(axis=0) / rows
            second = self.products[days].sum(axis=0) / rows
        return _Pooled(rows, mean, second)


def _moments(rows: DayRows) -> _Moments:
    """The sums of a table, made once for the rules that ask for them."""
    return rows.once("moments", lambda: _Moments.of(rows, list(rows.numbers)))


class _Pooled:
    """Of each pair of columns: rows in which both are there, the first's mean in them, the mean of their product."""

    def __init__(self, rows: Floats, mean: Floats, second: Floats) -> None:
        self.rows, self.mean, self.second = rows, mean, second
        with np.errstate(all="ignore"):
            self.covariance = second - mean * mean.T


def _chosen(usual: _Pooled) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The target and predictors of each relation worth watching: the best single one, the best pair if it says more.

    A column that others give to a thousandth (an instant from a delay) says nothing of its own and is left out.
    """
    variance = np.diag(usual.covariance)
    enough = usual.rows >= MIN_LEARNT_ROWS
    moving = (variance > TINY) & np.isfinite(variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = usual.covariance**2 / (variance[:, None] * variance[None, :])
    r2 = np.where(enough & moving[:, None] & moving[None, :] & np.isfinite(r2), r2, 0.0)
    np.fill_diagonal(r2, 0.0)
    kept: list[int] = []
    for column in np.flatnonzero(moving):
        _, explained = _best_pair(usual, int(column), r2, kept)
        if max(explained, float(r2[column, kept].max(initial=0.0))) < EXACT_R2:
            kept.append(int(column))
    for target in kept:
        others = [other for other in kept if other != target]
        if not others:
            continue
        best = max(others, key=lambda other: (r2[target, other], -other))
        if r2[target, best] >= LEAST_R2:
            yield target, (best,)
        pair, explained = _best_pair(usual, target, r2, others)
        if pair and explained >= LEAST_R2 and 1 - explained <= 0.5 * (1 - r2[target, best]):
            yield target, pair


def _best_pair(usual: _Pooled, target: int, r2: Floats, others: list[int]) -> tuple[tuple[int, ...], float]:
    """The two of the other columns that together explain most of the target, and how much; (), 0 for none."""
    can = np.array([other for other in others if r2[target, other] > 0], dtype=np.int64)
    if len(can) < 2:
        return (), 0.0
    c = usual.covariance
    i, j = (index.ravel() for index in np.triu_indices(len(can), 1))
    a, b = can[i], can[j]
    with np.errstate(invalid="ignore", divide="ignore"):
        determinant = c[a, a] * c[b, b] - c[a, b] ** 2
        explained = (
            c[target, a] ** 2 * c[b, b] + c[target, b] ** 2 * c[a, a] - 2 * c[target, a] * c[target, b] * c[a, b]
        ) / (determinant * c[target, target])
    usable = (r2[a, b] < 0.99) & (determinant > 0) & np.isfinite(explained)
    if not usable.any():
        return (), 0.0
    best = int(np.argmax(np.where(usable, explained, 0.0)))
    return (int(a[best]), int(b[best])), float(explained[best])


def _residuals(
    rows: DayRows, at: int, pooled: tuple[_Pooled, _Pooled], relation: tuple[int, tuple[int, ...]]
) -> _Found | None:
    (usual, today), (target, predictors), names = pooled, relation, list(rows.numbers)
    group, of = [target, *predictors], list(predictors)
    values = np.column_stack([rows.numbers[names[column]][rows.slice(at)] for column in group])
    values = values[~np.isnan(values).any(axis=1)]
    if len(values) < MIN_ROWS:
        return None
    slope = np.linalg.lstsq(usual.covariance[np.ix_(of, of)], usual.covariance[of, target], rcond=None)[0]
    means = _means(usual, group)
    weights = np.concatenate([[1.0], -slope])
    usual_spread = np.sqrt(max(weights @ usual.covariance[np.ix_(group, group)] @ weights, 0.0))
    scale = max(float(usual_spread), 1e-3 * float(np.sqrt(usual.covariance[target, target])), TINY)
    subject = f"{names[target]} of {' and '.join(names[other] for other in predictors)}"
    correlation = _correlation(today, target, predictors[0]) if len(predictors) == 1 else float("nan")
    return _Found(subject, (values - means) @ weights / scale, scale, correlation)


def _correlation(pooled: _Pooled, target: int, other: int) -> float:
    """Fisher's z of two columns' correlation, NaN where one stands still.

    No more than 0.76 of it counts: how close a close one is says nothing.
    """
    both = [target, other]
    covariance = pooled.covariance[np.ix_(both, both)]
    if not np.isfinite(covariance).all() or min(covariance[0, 0], covariance[1, 1]) <= TINY:
        return float("nan")
    r = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(np.arctanh(np.clip(r, -ENOUGH_R, ENOUGH_R)))


def _means(pooled: _Pooled, group: list[int]) -> Floats:
    """Each column's mean in the rows in which the target is there too, the target's in its first predictor's."""
    means: Floats = pooled.mean[group, [group[1], *([group[0]] * (len(group) - 1))]]
    return means


RULES = (
    Rule("relations", "what one column says of another", Usual.RECENT, 0.2, residuals),
    Rule("rows far from a relation", "rows that break what holds between columns", Usual.RECENT, 0.06, far_rows),
    Rule("correlations", "how strongly one column goes with another", Usual.RECENT, 0.2, correlations),
)
