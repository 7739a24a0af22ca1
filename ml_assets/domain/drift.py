"""How far the rows of a day lie from the rows a model was trained on, column by column.

What belongs here: the frozen reference (counts and a quantile sketch, never the rows), the drift
statistics, limits that know the sample size, the number of columns and the reference's own variation
from day to day.
What does not: which column matters to which model (`triggers`), what a drifted column sets off, tables.
"""

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.errors import MlAssetsError

Kind = Literal["numeric", "categorical"]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BINS = 10
SKETCH_SIZE = 1001
TOP_CATEGORIES = 20
MIN_DAY_ROWS = 50
SHARE_FLOOR = 1e-4
PRACTICAL_PSI = 0.1
SMALLEST_STD = 0.001


class DriftError(MlAssetsError, ValueError):
    """A reference cannot be built or read, or a column cannot be compared with it."""


@dataclass(frozen=True, slots=True)
class ColumnReference:
    """What is kept of one column of the reference: enough to compare, too little to rebuild the rows.

    `n` counts rows, missing ones included (NaN counts as missing). `counts` has the missing rows last.
    numeric: bins `(-inf, edges[0]]`, …, `(edges[-1], inf)`, then missing. `quantiles` are at most 1,001
    order statistics with the minimum and the maximum, all values where there are no more; every edge is one
    of them. `std` has ddof 0 and is None without a finite value.
    categorical: the first `top` of `categories`, other (known, not among the first), unseen, then missing.
    `categories` is every category of the reference, the frequent first.
    The block limits are None where the reference has fewer than two days that are large enough.
    """

    name: str
    kind: Kind
    n: int
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    std: float | None = None
    categories: tuple[str, ...] = ()
    top: int = 0
    psi_block_limit: float | None = None
    ks_block_limit: float | None = None

    def __post_init__(self) -> None:
        """Refuse counts that do not belong to the bins."""
        numeric = self.kind == "numeric"
        bins = len(self.edges) + 2 if numeric else self.top + 3
        if len(self.counts) != bins or sum(self.counts) != self.n or not set(self.edges) <= set(self.quantiles):
            raise DriftError(
                f"{self.name}: {len(self.counts)} counts of {sum(self.counts)} rows do not belong to {bins} "
                f"bins of {self.n} rows with edges taken from the quantiles; rebuild the reference"
            )

    @property
    def missing(self) -> int:
        """Rows that are null or NaN."""
        return self.counts[-1]

    @property
    def bins_in_use(self) -> int:
        """Bins that hold a row of the reference, never less than 2: the B of the PSI's null quantile."""
        return max(2, sum(1 for count in self.counts if count))


@dataclass(frozen=True, slots=True)
class DriftReference:
    """One `ColumnReference` per column, in the order in which they were asked for."""

    columns: tuple[ColumnReference, ...]

    def to_json(self) -> str:
        """The reference as JSON; floats are written so that they read back exactly."""
        return json.dumps({"columns": [asdict(column) for column in self.columns]})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The reference that `to_json` wrote; `DriftError` if it is none."""
        try:
            stored = json.loads(text)["columns"]
            return cls(tuple(ColumnReference(**_tuples(column)) for column in stored))
        except DriftError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DriftError(f"not a drift reference's JSON: {text[:80]!r} ({error})") from error


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How far one column lies from its reference, and against which limits.

    `unseen_share` is None for a numeric column; `ks`, `ks_p_value` and `ks_limit` are None for a categorical
    one and where either side has no value. `reasons` is empty unless `drifted`.
    """

    name: str
    n: int
    reference_n: int
    null_share: float
    reference_null_share: float
    unseen_share: float | None
    psi: float
    psi_limit: float
    ks: float | None
    ks_p_value: float | None
    ks_limit: float | None
    drifted: bool
    reasons: tuple[str, ...]


_DAY_SCHEMA: dict[str, pl.DataType] = {
    "name": pl.String(),
    "n": pl.Int64(),
    "reference_n": pl.Int64(),
    "null_share": pl.Float64(),
    "reference_null_share": pl.Float64(),
    "unseen_share": pl.Float64(),
    "psi": pl.Float64(),
    "psi_limit": pl.Float64(),
    "ks": pl.Float64(),
    "ks_p_value": pl.Float64(),
    "ks_limit": pl.Float64(),
    "drifted": pl.Boolean(),
    "reasons": pl.List(pl.String()),
}


def psi(reference_counts: npt.ArrayLike, current_counts: npt.ArrayLike, floor: float = SHARE_FLOOR) -> Floats:
    """Population stability index Σ (q - p)·ln(q / p) of two sets of counts over the same bins.

    Bins lie on the last axis; other axes broadcast, so many days are one call; 0-dimensional for one.
    Shares below `floor` are raised to it and the shares renormalised: an empty bin would make it infinite.
    Raises `DriftError` where either side has no rows.
    """
    index: Floats = np.sum(_psi_parts(reference_counts, current_counts, floor), axis=-1)
    return index


def _psi_parts(reference_counts: npt.ArrayLike, current_counts: npt.ArrayLike, floor: float) -> Floats:
    p, q = _floored_shares(reference_counts, floor), _floored_shares(current_counts, floor)
    parts: Floats = (q - p) * np.log(q / p)
    return parts


def _floored_shares(counts: npt.ArrayLike, floor: float) -> Floats:
    floored = np.maximum(_shares(counts), floor)
    shares: Floats = floored / floored.sum(axis=-1, keepdims=True)
    return shares


def _shares(counts: npt.ArrayLike) -> Floats:
    counted = np.asarray(counts, dtype=np.float64)
    total = counted.sum(axis=-1, keepdims=True)
    if counted.size == 0 or np.any(total <= 0):
        raise DriftError("no rows to compare: a share of nothing is not a number; skip the day by name")
    shares: Floats = counted / total
    return shares


def psi_null_quantile(n: int, m: npt.ArrayLike, bins: int, alpha: float) -> Floats:
    """The PSI that n and m rows of the *same* distribution exceed with probability `alpha`.

    (1/n + 1/m)·χ²(1 - alpha; bins - 1), Yurdakul 2018. `m` may be an array. Holds from about 20 rows a bin:
    with 10 bins and alpha 0.002, 900 rows exceed it 0.2 % of the time, 100 rows 0.6 %, 60 rows 2 %, 30 rows
    28 %, because an empty bin alone then costs more.
    """
    # Here and not above: importing scipy.special costs 0.1 s that a code location need not pay.
    from scipy.special import chdtri

    quantile: Floats = (1 / n + 1 / np.asarray(m, dtype=np.float64)) * chdtri(bins - 1, alpha)
    return quantile


def ks_statistic(reference: ColumnReference, values: npt.ArrayLike) -> float:
    """Two-sample Kolmogorov–Smirnov distance between the reference's quantile sketch and the values.

    NaN is left out. Exact where the reference has at most 1,001 values; otherwise it differs from the
    distance to the full reference by less than 1/(sketch size - 1), that is by less than 0.001.
    """
    sketch, present = _both_samples(reference, values)
    pooled = np.concatenate([sketch, present])
    below_reference = np.searchsorted(sketch, pooled, side="right") / sketch.size
    below_values = np.searchsorted(present, pooled, side="right") / present.size
    return float(np.max(np.abs(below_values - below_reference)))


def _both_samples(reference: ColumnReference, values: npt.ArrayLike) -> tuple[Floats, Floats]:
    numbers = np.asarray(values, dtype=np.float64)
    present = np.sort(numbers[~np.isnan(numbers)])
    if not reference.quantiles or not present.size:
        raise DriftError(
            f"{reference.name}: {len(reference.quantiles)} quantiles against {present.size} values; "
            "distances between numbers need a numeric reference and values on both sides"
        )
    return np.array(reference.quantiles), present


def ks_p_value(d: npt.ArrayLike, n: npt.ArrayLike, m: npt.ArrayLike) -> Floats:
    """The asymptotic probability of a distance of `d` or more between n and m rows of one distribution.

    Kolmogorov's distribution at d·√(n·m/(n + m)) (`scipy.stats.kstwobign`); too large for few rows.
    """
    from scipy.special import kolmogorov

    probability: Floats = kolmogorov(np.asarray(d, dtype=np.float64) * np.sqrt(_effective_n(n, m)))
    return probability


def ks_critical_value(n: npt.ArrayLike, m: npt.ArrayLike, alpha: float) -> Floats:
    """The distance whose `ks_p_value` is `alpha`."""
    from scipy.special import kolmogi

    distance: Floats = kolmogi(alpha) / np.sqrt(_effective_n(n, m))
    return distance


def _effective_n(n: npt.ArrayLike, m: npt.ArrayLike) -> Floats:
    rows, others = np.asarray(n, dtype=np.float64), np.asarray(m, dtype=np.float64)
    effective: Floats = rows * others / (rows + others)
    return effective


def wasserstein_scaled(reference: ColumnReference, values: npt.ArrayLike) -> float:
    """First Wasserstein distance between sketch and values, in standard deviations of the reference.

    Divided by max(std, 0.001) as Evidently does, so that a constant reference does not divide by zero.
    NaN is left out; infinite values make it infinite or NaN.
    """
    sketch, present = _both_samples(reference, values)
    pooled = np.sort(np.concatenate([sketch, present]))
    below_reference = np.searchsorted(sketch, pooled[:-1], side="right") / sketch.size
    below_values = np.searchsorted(present, pooled[:-1], side="right") / present.size
    distance = float(np.sum(np.abs(below_values - below_reference) * np.diff(pooled)))
    return distance / max(reference.std or 0.0, SMALLEST_STD)


def jensen_shannon(p: npt.ArrayLike, q: npt.ArrayLike, base: float) -> float:
    """Jensen–Shannon *distance* (the root of the divergence) of two sets of shares or counts.

    With logarithms to `base`: 2 makes the largest distance 1, e is what Evidently and scipy report.
    """
    first, second = _shares(p), _shares(q)
    middle = (first + second) / 2
    divergence = (_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2
    return math.sqrt(max(divergence, 0.0) / math.log(base))


def _relative_entropy(p: Floats, q: Floats) -> float:
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))


def chi_squared_p_value(reference_counts: npt.ArrayLike, current_counts: npt.ArrayLike) -> float:
    """P-value of the 2×K contingency test that both sets of counts have one distribution.

    Both sides are samples (Evidently's form takes the reference as exact and reports too small a p); no
    continuity correction. Bins empty on both sides are left out; 1.0 where one bin or none remains.
    """
    from scipy.special import chdtrc

    table = np.array([reference_counts, current_counts], dtype=np.float64)
    _shares(table)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return float(chdtrc(table.shape[1] - 1, np.sum((table - expected) ** 2 / expected)))


def bin_counts(reference: ColumnReference, values: pl.Series) -> Counts:
    """Rows of the values in each bin of the reference, missing ones last; counts of days add up."""
    return np.bincount(_bins(reference, values), minlength=len(reference.counts)).astype(np.int64)


def _bins(reference: ColumnReference, values: pl.Series) -> Counts:
    if reference.kind == "categorical":
        known = _codes(reference, values)
        last = len(reference.counts) - 1
        unseen, missing = known == len(reference.categories), known > len(reference.categories)
        return np.where(missing, last, np.where(unseen, last - 1, np.minimum(known, reference.top)))
    numbers = _numbers(values)
    bins = np.searchsorted(np.array(reference.edges), numbers, side="left")
    return np.where(np.isnan(numbers), len(reference.edges) + 1, bins).astype(np.int64)


def _codes(reference: ColumnReference, values: pl.Series) -> Counts:
    """The position of each value in the reference's categories; then unseen, then missing."""
    text = _text(values)
    unseen = len(reference.categories)
    known = pl.Series(reference.categories, dtype=pl.String)
    code = text.replace_strict(known, range(unseen), default=unseen, return_dtype=pl.Int64)
    return np.where(text.is_null().to_numpy(), unseen + 1, code.to_numpy())


def _numbers(values: pl.Series) -> Floats:
    if not (values.dtype.is_numeric() or values.dtype in {pl.Boolean, pl.Null}):
        raise DriftError(f"{values.name} is {values.dtype}, no number; name it categorical or leave it out")
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _text(values: pl.Series) -> pl.Series:
    if values.dtype.is_nested() or values.dtype in {pl.Object, pl.Binary}:
        raise DriftError(f"{values.name} is {values.dtype}, no category; leave it out")
    return (values.fill_nan(None) if values.dtype.is_float() else values).cast(pl.String)


def drift_reference(
    frame: pl.DataFrame,
    columns: Sequence[str],
    *,
    day: str,
    categorical: Collection[str],
    top: int = TOP_CATEGORIES,
    sketch_size: int = SKETCH_SIZE,
    block_quantile: float = 1.0,
    min_day_rows: int = MIN_DAY_ROWS,
) -> DriftReference:
    """The reference of the named columns of a frame whose column `day` dates every row.

    Columns in `categorical` are compared as text, the others as numbers. Edges are the sketch's deciles,
    duplicates merged; a value that holds a tenth of the rows also has the value below it as an edge, so a
    column that is 95 % ones still tells ones from zeros.
    Rows of one day are correlated (weather) and some columns are cyclic (weekday), so limits from independent
    sampling would fire for nothing: each day of at least `min_day_rows` rows is compared with all other days,
    and the `block_quantile` of those PSI and KS values (1.0: the largest) is the column's block limit.
    Raises `DriftError` for no rows, a row without a day, an unknown column or a type that does not fit.
    """
    unknown = [name for name in (day, *columns) if name not in frame.columns]
    stray = sorted(set(categorical) - set(columns))
    if unknown or stray or len(set(columns)) != len(columns):
        raise DriftError(
            f"columns {', '.join(columns)}: not in the frame: {unknown}; categorical but not asked for: "
            f"{stray}; the frame has {', '.join(frame.columns)}; each may be named once"
        )
    if frame.height == 0:
        raise DriftError("no rows to take a reference from; is the training window empty?")
    if top < 1 or sketch_size < BINS + 1:
        raise DriftError(f"top is {top} and sketch_size {sketch_size}; wanted at least 1 and {BINS + 1}")
    days, code = _day_codes(frame, day)
    built = []
    for name in columns:
        values = frame.get_column(name)
        fresh = _categorical(values, top) if name in categorical else _numeric(values, sketch_size)
        built.append(
            _with_block_limits(fresh, values, code, len(days), block_quantile=block_quantile, min_day_rows=min_day_rows)
        )
    return DriftReference(tuple(built))


def _numeric(values: pl.Series, sketch_size: int) -> ColumnReference:
    numbers = _numbers(values)
    present = np.sort(numbers[~np.isnan(numbers)])
    size = min(sketch_size, present.size)
    ranks = np.arange(size) * (present.size - 1) // max(size - 1, 1)
    # Adding zero turns -0.0 into 0.0, which sorts anywhere among zeros.
    sketch = present[ranks] + 0.0
    finite = present[np.isfinite(present)]
    unbinned = ColumnReference(
        name=values.name,
        kind="numeric",
        n=numbers.size,
        counts=(int(present.size), int(numbers.size - present.size)),
        quantiles=tuple(sketch.tolist()),
        std=_std(finite),
    )
    edges = _edges(sketch)
    binned = np.searchsorted(np.array(edges), present, side="left")
    counts = np.append(np.bincount(binned, minlength=len(edges) + 1), unbinned.missing)
    return replace(unbinned, edges=edges, counts=tuple(counts.tolist()))


def _std(finite: Floats) -> float | None:
    with np.errstate(over="ignore"):
        return float(np.std(finite)) if finite.size else None


def _edges(sketch: Floats) -> tuple[float, ...]:
    if not sketch.size:
        return ()
    points, tally = np.unique(sketch, return_counts=True)
    deciles = np.searchsorted(points, sketch[np.arange(1, BINS) * (sketch.size - 1) // BINS])
    heavy = deciles[(tally[deciles] * BINS >= sketch.size) & (deciles > 0)]
    return tuple(points[np.union1d(deciles, heavy - 1)].tolist())


def _categorical(values: pl.Series, top: int) -> ColumnReference:
    text = _text(values)
    tally = (
        text.drop_nulls().alias("category").value_counts(name="rows").sort("rows", "category", descending=[True, False])
    )
    rows = tally.get_column("rows").to_list()
    shown = min(top, len(rows))
    return ColumnReference(
        name=values.name,
        kind="categorical",
        n=len(text),
        counts=(*rows[:shown], sum(rows[shown:]), 0, text.null_count()),
        categories=tuple(tally.get_column("category").to_list()),
        top=shown,
    )


def _with_block_limits(
    reference: ColumnReference,
    values: pl.Series,
    code: Counts,
    days: int,
    *,
    block_quantile: float,
    min_day_rows: int,
) -> ColumnReference:
    by_day, ks = _counts_and_ks(reference, values, code, days)
    rows = by_day.sum(axis=1)
    eligible = rows >= min_day_rows
    if eligible.sum() < 2:
        return reference
    others = np.array(reference.counts) - by_day
    alone = _with_lone_categories_unseen(reference, values, code, by_day)
    limit = float(np.quantile(psi(others[eligible], alone[eligible]), block_quantile))
    # F_others - G = (F_all - G)·N/(N - m): leaving a day out scales its distance to the whole.
    present, all_present = rows - by_day[:, -1], reference.n - reference.missing
    usable = eligible & ~np.isnan(ks) & (present < all_present)
    if not usable.any():
        return replace(reference, psi_block_limit=limit)
    apart = np.minimum(ks[usable] * all_present / (all_present - present[usable]), 1.0)
    return replace(reference, psi_block_limit=limit, ks_block_limit=float(np.quantile(apart, block_quantile)))


def _with_lone_categories_unseen(reference: ColumnReference, values: pl.Series, code: Counts, by_day: Counts) -> Counts:
    """Counts by day in which a category that no other day has is unseen, as it is to the other days."""
    if reference.kind == "numeric":
        return by_day
    known = _codes(reference, values)
    width = len(reference.categories) + 2
    pairs = np.unique(code * width + known)
    days_of = np.bincount(pairs % width, minlength=width)
    lone = (days_of[known] == 1) & (known < len(reference.categories))
    moved = np.bincount(
        code[lone] * len(reference.counts) + np.minimum(known[lone], reference.top), minlength=by_day.size
    ).reshape(by_day.shape)
    alone = by_day - moved
    alone[:, -2] += moved.sum(axis=1)
    return alone


def column_drift(
    reference: ColumnReference,
    values: pl.Series,
    *,
    alpha: float,
    columns_tested: int,
    practical_psi: float = PRACTICAL_PSI,
) -> ColumnDrift:
    """How far the values lie from the reference: the slow, obvious twin of `day_drift`.

    A column has drifted when its PSI exceeds the largest of `practical_psi`, the null quantile at
    `alpha / columns_tested` and the block limit, or its KS distance the larger of the critical value at
    the same level and the block limit. Missing values are a bin: a jump of the null share shows in the PSI.
    Raises `DriftError` for no values: an empty day is a matter of volume, not of drift.
    """
    level = _level(alpha, columns_tested)
    counts = bin_counts(reference, values)
    n = int(counts.sum())
    if n == 0:
        raise DriftError(f"{reference.name}: no rows to compare with the reference; skip the day by name")
    index = float(psi(reference.counts, counts))
    noise = float(psi_null_quantile(reference.n, n, reference.bins_in_use, level))
    psi_limit = max(practical_psi, noise, reference.psi_block_limit or 0.0)
    distance = p_value = ks_limit = apart = None
    present, reference_present = n - int(counts[-1]), reference.n - reference.missing
    if reference.kind == "numeric" and present and reference_present:
        distance = ks_statistic(reference, _numbers(values))
        p_value = float(ks_p_value(distance, reference_present, present))
        critical = float(ks_critical_value(reference_present, present, level))
        ks_limit = max(critical, reference.ks_block_limit or 0.0)
        apart = (distance, ks_limit)
    reasons = _reasons(reference, counts, (index, psi_limit), apart, practical_psi)
    return ColumnDrift(
        name=reference.name,
        n=n,
        reference_n=reference.n,
        null_share=int(counts[-1]) / n,
        reference_null_share=reference.missing / reference.n,
        unseen_share=int(counts[-2]) / n if reference.kind == "categorical" else None,
        psi=index,
        psi_limit=psi_limit,
        ks=distance,
        ks_p_value=p_value,
        ks_limit=ks_limit,
        drifted=bool(reasons),
        reasons=reasons,
    )


def day_drift(
    reference: DriftReference,
    frame: pl.DataFrame,
    *,
    day: str,
    alpha: float,
    practical_psi: float = PRACTICAL_PSI,
) -> pl.DataFrame:
    """One row per day of the frame and column of the reference: the day, then `ColumnDrift`'s fields.

    Sorted by day, within a day in the reference's order. Each row equals `column_drift` on that day's
    values with all of the reference's columns tested. A day without rows has no row; a frame without rows
    gives an empty frame with the same columns. Raises `DriftError` for a column that is not there or a row
    without a day.
    """
    needed = [day, *(column.name for column in reference.columns)]
    unknown = [name for name in needed if name not in frame.columns]
    if unknown or day in _DAY_SCHEMA or not reference.columns:
        raise DriftError(
            f"not in the frame: {unknown}; day is {day!r}, which may not be one of {', '.join(_DAY_SCHEMA)}; "
            f"the reference has {len(reference.columns)} columns and must have one or more"
        )
    days, code = _day_codes(frame, day)
    level = _level(alpha, len(reference.columns))
    tables = [
        _column_by_day(column, frame.get_column(column.name), days, code, level=level, practical_psi=practical_psi)
        for column in reference.columns
    ]
    return pl.concat(tables).sort(day, maintain_order=True)


def _column_by_day(
    reference: ColumnReference,
    values: pl.Series,
    days: pl.Series,
    code: Counts,
    *,
    level: float,
    practical_psi: float,
) -> pl.DataFrame:
    counts, ks = _counts_and_ks(reference, values, code, len(days))
    n = counts.sum(axis=1)
    index = psi(reference.counts, counts) if len(days) else np.empty(0)
    noise = psi_null_quantile(reference.n, n, reference.bins_in_use, level)
    psi_limit = np.maximum(noise, max(practical_psi, reference.psi_block_limit or 0.0))
    present, reference_present = n - counts[:, -1], reference.n - reference.missing
    p_value, ks_limit = np.full(ks.shape, np.nan), np.full(ks.shape, np.nan)
    tested = ~np.isnan(ks)
    p_value[tested] = ks_p_value(ks[tested], reference_present, present[tested])
    critical = ks_critical_value(reference_present, present[tested], level)
    ks_limit[tested] = np.maximum(critical, reference.ks_block_limit or 0.0)
    drifted = (index > psi_limit) | (ks > ks_limit)
    reasons: list[tuple[str, ...]] = [()] * len(days)
    for row in np.flatnonzero(drifted):
        shifted = (float(index[row]), float(psi_limit[row]))
        apart = (float(ks[row]), float(ks_limit[row])) if tested[row] else None
        reasons[row] = _reasons(reference, counts[row], shifted, apart, practical_psi)
    unseen = counts[:, -2] / n if reference.kind == "categorical" else None
    return (
        pl.DataFrame(
            {
                "name": [reference.name] * len(days),
                "n": n,
                "reference_n": np.full(len(days), reference.n),
                "null_share": counts[:, -1] / n,
                "reference_null_share": np.full(len(days), reference.missing / reference.n),
                "unseen_share": [None] * len(days) if unseen is None else unseen,
                "psi": index,
                "psi_limit": psi_limit,
                "ks": ks,
                "ks_p_value": p_value,
                "ks_limit": ks_limit,
                "drifted": drifted,
                "reasons": reasons,
            },
            schema=_DAY_SCHEMA,
        )
        .with_columns(pl.col("ks", "ks_p_value", "ks_limit").fill_nan(None))
        .insert_column(0, days)
    )


def _counts_and_ks(reference: ColumnReference, values: pl.Series, code: Counts, days: int) -> tuple[Counts, Floats]:
    """Rows per bin (days × bins) and the KS distance of every day, NaN where there is none.

    No sorting: between two neighbouring points of the sketch the reference's share is constant and the day's
    share rises, so the largest gap lies at a point or just below one. Counting the rows at and
    between the sketch's points is therefore enough, and the bins are unions of those cells.
    """
    if reference.kind == "categorical":
        width = len(reference.counts)
        flat = np.bincount(code * width + _bins(reference, values), minlength=days * width)
        return flat.reshape(days, width).astype(np.int64), np.full(days, np.nan)
    numbers = _numbers(values)
    points, tally = np.unique(np.array(reference.quantiles), return_counts=True)
    above = np.searchsorted(points, numbers, side="left")
    cell = 2 * above + (np.append(points, np.nan)[above] == numbers)
    missing = 2 * points.size + 1
    cell[np.isnan(numbers)] = missing
    cells = np.bincount(code * (missing + 1) + cell, minlength=days * (missing + 1)).reshape(days, missing + 1)
    edge_cells = 2 * np.searchsorted(points, np.array(reference.edges)) + 1
    counts = np.add.reduceat(cells, np.concatenate([[0], edge_cells + 1, [missing]]), axis=1)
    below_values = np.cumsum(cells[:, :-1], axis=1)
    present = below_values[:, -1:]
    if not points.size or not days:
        return counts.astype(np.int64), np.full(days, np.nan)
    at_point = np.cumsum(tally) / tally.sum()
    below_reference = np.concatenate([[0.0], np.repeat(at_point, 2)])
    share = np.divide(below_values, present, out=np.full(below_values.shape, np.nan), where=present > 0)
    return counts.astype(np.int64), np.max(np.abs(share - below_reference), axis=1)


def _reasons(
    reference: ColumnReference,
    counts: Counts,
    shifted: tuple[float, float],
    apart: tuple[float, float] | None,
    practical_psi: float,
) -> tuple[str, ...]:
    """Why the column has drifted, empty if it has not; `shifted` is PSI, `apart` KS, with its limit."""
    rows = f"{int(counts.sum())} rows against {reference.n}"
    found = []
    index, limit = shifted
    if index > limit:
        why = _why(limit, reference.psi_block_limit, practical_psi)
        found.append(f"PSI {index:.4g} above {limit:.4g} ({why}; {rows}; {_largest_part(reference, counts)})")
    if apart is not None and apart[0] > apart[1]:
        why = _why(apart[1], reference.ks_block_limit, None)
        found.append(f"KS {apart[0]:.4g} above {apart[1]:.4g} ({why}; {rows})")
    return tuple(found)


def _why(limit: float, block_limit: float | None, practical: float | None) -> str:
    if limit == block_limit:
        return "largest day-to-day variation of the reference"
    return "practical limit" if limit == practical else "sampling noise"


def _largest_part(reference: ColumnReference, counts: Counts) -> str:
    worst = int(np.argmax(_psi_parts(reference.counts, counts, SHARE_FLOOR)))
    share, before = counts[worst] / counts.sum(), reference.counts[worst] / reference.n
    return f"mostly {_bin_name(reference, worst)}: share {share:.4g}, was {before:.4g}"


def _bin_name(reference: ColumnReference, index: int) -> str:
    if index == len(reference.counts) - 1:
        return "missing values"
    if reference.kind == "categorical":
        return (
            repr(reference.categories[index]) if index < reference.top else ("other", "unseen")[index - reference.top]
        )
    low = f"({reference.edges[index - 1]:.6g}" if index else "(-inf"
    high = f"{reference.edges[index]:.6g}]" if index < len(reference.edges) else "inf)"
    return f"{low}, {high}"


def _level(alpha: float, columns_tested: int) -> float:
    if not 0 < alpha < 1 or columns_tested < 1:
        raise DriftError(f"alpha is {alpha} and columns_tested {columns_tested}; wanted 0 < alpha < 1, 1 or more")
    return alpha / columns_tested


def _day_codes(frame: pl.DataFrame, day: str) -> tuple[pl.Series, Counts]:
    """The frame's days in order, and the position of each row's day among them."""
    column = frame.get_column(day)
    if column.null_count():
        raise DriftError(f"{column.null_count()} of {len(column)} rows have no {day}; every row needs its day")
    return column.unique().sort(), column.rank("dense").to_numpy().astype(np.int64) - 1


def _tuples(stored: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
