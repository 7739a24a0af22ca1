"""Drift: published numbers, scipy as the oracle, the fast range path against its slow twin, false alarms."""

import datetime as dt
import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ml_assets.domain.drift import (
    ColumnReference,
    DriftError,
    DriftReference,
    bin_counts,
    chi_squared_p_value,
    column_drift,
    day_drift,
    drift_reference,
    jensen_shannon,
    ks_critical_value,
    ks_p_value,
    ks_statistic,
    psi,
    psi_null_quantile,
    wasserstein_scaled,
)

EASTER = dt.date(2024, 3, 31)
QUARTERS, TENTHS = (0.25, 0.25, 0.25, 0.25), (0.1, 0.2, 0.3, 0.4)

odd_floats = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0, 2.5, -3.0, 5e-324, math.inf, -math.inf, math.nan, 1e300]),
    st.floats(-5, 5, width=16),
)


def dated(values: list, *, rows_a_day: int, column: str = "gust") -> pl.DataFrame:
    return pl.DataFrame(
        {"tag": [EASTER + dt.timedelta(days=i // rows_a_day) for i in range(len(values))], column: values}
    )


def one_column(values, *, categorical: bool = False, **options) -> ColumnReference:
    frame = pl.DataFrame({"gust": values}, strict=False).with_columns(tag=pl.lit(EASTER))
    named = ["gust"] if categorical else []
    return drift_reference(frame, ["gust"], day="tag", categorical=named, **options).columns[0]


def without_missing(values) -> np.ndarray:
    kept = np.array([math.nan if value is None else value for value in values], dtype=float)
    return kept[~np.isnan(kept)]


# --- published numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "index", "distance"),
    [
        (0.1, 0.009587, 0.039878),
        (0.25, 0.059816, 0.099476),
        (0.5, 0.237749, 0.197413),
        (1.0, 0.926142, 0.382925),
    ],
)
def test_a_shifted_normal_has_the_known_psi_ks_and_wasserstein(shift, index, distance):
    deciles = stats.norm.ppf(np.arange(1, 10) / 10)
    shares = np.diff(stats.norm.cdf(deciles - shift), prepend=0, append=1)
    assert float(psi(np.full(10, 0.1), shares)) == pytest.approx(index, abs=1e-6)

    population = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    reference = one_column(population)
    assert len(reference.quantiles) == 1001
    assert ks_statistic(reference, population + shift) == pytest.approx(distance, abs=1e-3)
    assert wasserstein_scaled(reference, population + shift) == pytest.approx(shift, abs=0.01)
    finest = one_column(population, sketch_size=20_000)
    assert ks_statistic(finest, population + shift) == pytest.approx(distance, abs=1e-4)
    assert wasserstein_scaled(finest, population + shift) == pytest.approx(shift, rel=2e-4)
    binned = bin_counts(reference, pl.Series("gust", population + shift))
    assert float(psi(reference.counts, binned)) == pytest.approx(index, rel=0.02)


def test_four_categories_have_the_known_psi_and_jensen_shannon():
    assert float(psi(QUARTERS, TENTHS)) == pytest.approx(0.228217, abs=1e-6)
    assert jensen_shannon(QUARTERS, TENTHS, base=2) == pytest.approx(0.200503, abs=1e-6)
    assert jensen_shannon(QUARTERS, TENTHS, base=math.e) == pytest.approx(0.166930, abs=1e-6)


def test_empty_bins_are_floored_then_renormalised():
    p, q = np.array([1e-4, 1.0]) / 1.0001, np.array([0.5, 0.5])
    assert float(psi([0, 70], [9, 9])) == pytest.approx(float(np.sum((q - p) * np.log(q / p))), rel=1e-12)
    assert float(psi([3, 0, 5], [3, 0, 5])) == 0.0


def test_psi_of_many_days_is_one_call():
    days = np.array([[5, 5, 0], [1, 2, 3], [0, 0, 9]])
    assert psi([4, 4, 4], days).tolist() == [float(psi([4, 4, 4], day)) for day in days]


# --- scipy as the oracle ---------------------------------------------------------------------------------

samples = st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=60).map(np.array)


@given(samples, samples)
@pytest.mark.filterwarnings("ignore:ks_2samp.*Exact calculation:RuntimeWarning")
def test_distances_equal_scipy_where_the_sketch_holds_every_value(before, now):
    reference = one_column(before)
    assert ks_statistic(reference, now) == pytest.approx(stats.ks_2samp(before, now).statistic, abs=1e-12)
    expected = stats.wasserstein_distance(before, now) / max(np.std(before), 0.001)
    assert wasserstein_scaled(reference, now) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1_002, 4_000), st.sampled_from([0, 1, 3]))
def test_the_sketch_is_off_by_less_than_its_bound(seed, rows, decimals):
    rng = np.random.default_rng(seed)
    before, now = np.round(rng.gamma(1.0, size=rows), decimals), np.round(rng.gamma(1.3, size=200), decimals)
    reference = one_column(before)
    assert len(reference.quantiles) == 1001
    assert (reference.quantiles[0], reference.quantiles[-1]) == (before.min(), before.max())
    assert abs(ks_statistic(reference, now) - stats.ks_2samp(before, now).statistic) < 1 / 1000


@given(st.floats(0, 1), st.integers(1, 10_000), st.integers(1, 10_000))
def test_ks_p_value_is_kolmogorovs_distribution(distance, n, m):
    expected = stats.kstwobign.sf(distance * math.sqrt(n * m / (n + m)))
    assert float(ks_p_value(distance, n, m)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(1e-9, 0.5), st.integers(2, 30))
def test_limits_are_the_quantiles_they_claim_to_be(n, m, alpha, bins):
    assert float(ks_p_value(ks_critical_value(n, m, alpha), n, m)) == pytest.approx(alpha, rel=1e-6)
    expected = (1 / n + 1 / m) * stats.chi2.isf(alpha, bins - 1)
    assert float(psi_null_quantile(n, m, bins, alpha)) == pytest.approx(expected, rel=1e-9)


tables = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8).filter(
    lambda pairs: sum(a for a, _ in pairs) > 0 and sum(b for _, b in pairs) > 0
)


@given(tables)
def test_counts_compare_as_in_scipy(pairs):
    before, now = np.array(pairs).T
    assert jensen_shannon(before, now, base=2) == pytest.approx(
        float(np.nan_to_num(jensenshannon(before, now, base=2))), abs=2e-8
    )
    used = (before + now) > 0
    if used.sum() < 2:
        assert chi_squared_p_value(before, now) == 1.0
        return
    expected = stats.chi2_contingency(np.array([before, now])[:, used], correction=False).pvalue
    assert chi_squared_p_value(before, now) == pytest.approx(expected, rel=1e-9, abs=1e-300)


# --- the reference ---------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.none(), odd_floats), min_size=1, max_size=300))
def test_numeric_bins_cover_everything_and_count_what_a_loop_counts(values):
    reference = one_column(pl.Series(values, dtype=pl.Float64))
    assert list(reference.edges) == sorted(set(reference.edges))
    assert len(reference.edges) <= 18
    assert reference.missing == sum(value is None or math.isnan(value) for value in values)

    loop = [0] * (len(reference.edges) + 2)
    for value in values:
        if value is None or math.isnan(value):
            loop[-1] += 1
        else:
            loop[sum(edge < value for edge in reference.edges)] += 1
    assert list(reference.counts) == loop
    assert bin_counts(reference, pl.Series(values, dtype=pl.Float64)).tolist() == loop


def test_deciles_of_distinct_values_hold_a_tenth_each():
    reference = one_column(np.random.default_rng(1).normal(size=10_001))
    assert len(reference.edges) == 9
    assert all(abs(count - 1000) <= 10 for count in reference.counts[:-1])
    assert reference.missing == 0


def test_duplicated_edges_are_merged_but_a_rare_value_keeps_a_bin_of_its_own():
    mostly_ones = one_column([1.0] * 95 + [0.0] * 5)
    assert mostly_ones.edges == (0.0, 1.0)
    assert mostly_ones.counts == (5, 95, 0, 0)
    assert one_column([0.0] * 95 + [4.0] * 5).counts == (95, 5, 0)
    assert one_column(list(range(7)) * 30).counts == (*[30] * 7, 0, 0)


def test_the_whole_set_of_categories_is_remembered_not_only_the_first():
    values = ["ewr"] * 5 + ["jfk"] * 3 + ["lga"] * 3 + ["isp"] + [None]
    reference = one_column(values, categorical=True, top=2)
    assert reference.categories == ("ewr", "jfk", "lga", "isp")
    assert reference.counts == (5, 3, 4, 0, 1)
    today = pl.Series("gust", ["isp", "hpn", "ewr", None, "lga", ""])
    assert bin_counts(reference, today).tolist() == [1, 0, 2, 2, 1]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["a", "b", "c"]), pl.String])
def test_categories_compare_by_their_text(dtype):
    reference = one_column(pl.Series(["a", "b", "b", None]), categorical=True)
    assert bin_counts(reference, pl.Series(["c", "a", None], dtype=dtype)).tolist() == [0, 1, 0, 1, 1]


def test_a_missing_number_is_no_category():
    reference = one_column(pl.Series([1.5, math.nan, None, 1.5]), categorical=True)
    assert (reference.categories, reference.counts) == (("1.5",), (2, 0, 0, 2))


def test_an_all_missing_reference_still_sees_values_arrive():
    for categorical, now in ((False, [1.0] * 400), (True, ["x"] * 400)):
        empty = pl.Series([None] * 400, dtype=pl.Float64)
        reference = one_column(empty, categorical=categorical)
        drift = column_drift(reference, pl.Series("gust", now), alpha=0.05, columns_tested=1)
        assert drift.drifted
        assert drift.ks is None
        assert not column_drift(reference, empty, alpha=0.05, columns_tested=1).drifted


@given(
    st.lists(st.one_of(st.none(), odd_floats), min_size=1, max_size=200),
    st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=1, max_size=200),
    st.integers(1, 9),
)
def test_json_round_trip_is_exact(numbers, words, rows_a_day):
    rows = min(len(numbers), len(words))
    frame = dated(numbers[:rows], rows_a_day=rows_a_day).with_columns(
        pl.Series("gust", numbers[:rows], dtype=pl.Float64), pl.Series("port", words[:rows], dtype=pl.String)
    )
    reference = drift_reference(frame, ["port", "gust"], day="tag", categorical={"port"}, top=2, min_day_rows=2)
    back = DriftReference.from_json(reference.to_json())
    assert back == reference
    assert back.to_json() == reference.to_json()
    assert repr(back) == repr(reference)


@given(st.lists(st.one_of(st.none(), odd_floats), min_size=2, max_size=60), st.randoms(use_true_random=False))
def test_the_reference_does_not_depend_on_the_order_of_the_rows(values, random):
    frame = dated(values, rows_a_day=7).with_columns(
        pl.Series("gust", values, dtype=pl.Float64), port=pl.Series([str(v)[:2] for v in values])
    )
    order = list(range(len(values)))
    random.shuffle(order)
    named = {"day": "tag", "categorical": ["port"], "min_day_rows": 3}
    shuffled = drift_reference(frame[order], ["gust", "port"], **named)
    same = drift_reference(frame, ["gust", "port"], **named)
    assert [replace(c, std=None) for c in shuffled.columns] == [replace(c, std=None) for c in same.columns]
    assert [repr(c.quantiles) for c in shuffled.columns] == [repr(c.quantiles) for c in same.columns]
    assert [c.std for c in shuffled.columns] == [c.std for c in same.columns]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"columns": [{"name": "x"}]}', '{"columns": 3}', "null"])
def test_json_of_something_else_is_refused(text):
    with pytest.raises(DriftError, match="not a drift reference"):
        DriftReference.from_json(text)


def test_counts_that_do_not_belong_to_their_bins_are_refused():
    reference = one_column([1.0, 2.0, 3.0])
    stored = json.loads(DriftReference((reference,)).to_json())
    stored["columns"][0]["counts"][0] += 1
    with pytest.raises(DriftError, match="rebuild the reference"):
        DriftReference.from_json(json.dumps(stored))


# --- block limits ----------------------------------------------------------------------------------------


def brute_force_block_limits(values, days, reference, quantile, floor_rows):
    indices, distances = [], []
    for day in sorted(set(days)):
        now = [v for v, d in zip(values, days, strict=True) if d == day]
        others = [v for v, d in zip(values, days, strict=True) if d != day]
        if len(now) < floor_rows or not others:
            continue
        if reference.kind == "numeric":
            before_counts = bin_counts(reference, pl.Series(others, dtype=pl.Float64))
            now_counts = bin_counts(reference, pl.Series(now, dtype=pl.Float64))
            before_kept, now_kept = without_missing(others), without_missing(now)
            if before_kept.size and now_kept.size:
                distances.append(stats.ks_2samp(before_kept, now_kept).statistic)
        else:
            first = reference.categories[: reference.top]

            def place(word, known, first=first):
                if word is None:
                    return "missing"
                return ("in", word) if word in first and word in known else "other" if word in known else "unseen"

            bins = [*(("in", word) for word in first), "other", "unseen", "missing"]
            known = set(others)
            tallies = [Counter(place(word, known) for word in words) for words in (others, now)]
            before_counts, now_counts = ([tally[key] for key in bins] for tally in tallies)
        indices.append(float(psi(before_counts, now_counts)))
    if len(indices) < 2:
        return None, None
    distance = float(np.quantile(distances, quantile)) if distances else None
    return float(np.quantile(indices, quantile)), distance


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 80),
    st.sampled_from([1.0, 0.5, 0.9]),
    st.sampled_from([1, 5, 15]),
)
def test_block_limits_leave_one_day_out(seed, rows, quantile, floor_rows):
    rng = np.random.default_rng(seed)
    days = rng.integers(0, rng.integers(1, 6), size=rows).tolist()
    present = rng.random(rows) < rng.choice([0.1, 0.9, 1.0])
    numbers = [float(v) if ok else None for v, ok in zip(rng.integers(0, 9, rows), present, strict=True)]
    words = [f"w{v % 30}" if ok else None for v, ok in zip(rng.zipf(1.4, rows), present, strict=True)]
    frame = pl.DataFrame(
        {
            "tag": [EASTER + dt.timedelta(days=day) for day in days],
            "gust": pl.Series(numbers, dtype=pl.Float64),
            "port": pl.Series(words, dtype=pl.String),
        }
    )
    reference = drift_reference(
        frame,
        ["gust", "port"],
        day="tag",
        categorical=["port"],
        top=3,
        block_quantile=quantile,
        min_day_rows=floor_rows,
    )
    for column, values in zip(reference.columns, (numbers, words), strict=True):
        index, distance = brute_force_block_limits(values, days, column, quantile, floor_rows)
        measured = (column.psi_block_limit, column.ks_block_limit)
        for limit, expected in zip(measured, (index, distance), strict=True):
            assert (limit is None) == (expected is None)
            assert limit is None or limit == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_cyclic_column_fires_without_the_block_limit_and_not_with_it():
    weekdays = [i // 200 % 7 for i in range(200 * 28)]
    reference = drift_reference(dated(weekdays, rows_a_day=200), ["gust"], day="tag", categorical=[]).columns[0]
    monday = pl.Series("gust", [0] * 200)
    assert not column_drift(reference, monday, alpha=0.05, columns_tested=20).drifted
    bare = replace(reference, psi_block_limit=None, ks_block_limit=None)
    assert column_drift(bare, monday, alpha=0.05, columns_tested=20).drifted
    two_weekdays_that_never_were = pl.Series("gust", [9] * 200)
    assert column_drift(reference, two_weekdays_that_never_were, alpha=0.05, columns_tested=20).drifted


# --- what must be seen, and what must not fire ------------------------------------------------------------


def steady_reference(rng, rows_a_day=300, days=20):
    values = rng.normal(size=rows_a_day * days)
    return drift_reference(dated(values.tolist(), rows_a_day=rows_a_day), ["gust"], day="tag", categorical=[]).columns[
        0
    ]


def test_lost_variance_is_seen_in_psi_and_in_ks():
    reference = steady_reference(np.random.default_rng(3))
    drift = column_drift(reference, pl.Series("gust", [0.1] * 300), alpha=0.01, columns_tested=30)
    assert drift.drifted
    assert drift.psi > drift.psi_limit
    assert drift.ks > drift.ks_limit
    assert "mostly (" in drift.reasons[0]


def test_a_jump_of_the_null_share_is_seen_although_the_values_did_not_change():
    rng = np.random.default_rng(4)
    reference = steady_reference(rng)
    now = pl.Series("gust", [None if i % 5 == 0 else float(v) for i, v in enumerate(rng.normal(size=300))])
    drift = column_drift(reference, now, alpha=0.01, columns_tested=30)
    assert drift.drifted
    assert drift.psi > drift.psi_limit
    assert drift.ks <= drift.ks_limit
    assert (drift.null_share, drift.reference_null_share) == (0.2, 0.0)
    assert "mostly missing values: share 0.2, was 0" in drift.reasons[0]


def test_nan_and_null_are_the_same_missing():
    reference = steady_reference(np.random.default_rng(5))
    values = [0.5, None, 1.5, None]
    as_nan = [0.5, math.nan, 1.5, math.nan]
    options = {"alpha": 0.05, "columns_tested": 2}
    assert column_drift(reference, pl.Series("gust", values), **options) == column_drift(
        reference, pl.Series("gust", as_nan), **options
    )


def test_a_rare_zero_that_becomes_common_is_seen():
    reference = one_column([1.0] * 950 + [0.0] * 50)
    drift = column_drift(reference, pl.Series("gust", [1, 0] * 200), alpha=0.01, columns_tested=30)
    assert drift.psi > drift.psi_limit


def test_unseen_categories_are_told_from_rare_ones():
    words = [f"port{i % 40:02d}" for i in range(4000)]
    reference = one_column(words, categorical=True)
    rare = column_drift(reference, pl.Series("gust", words[:400]), alpha=0.01, columns_tested=30)
    assert (rare.unseen_share, rare.drifted, rare.reasons) == (0.0, False, ())
    novel = pl.Series("gust", words[:300] + ["spaceport"] * 100)
    drift = column_drift(reference, novel, alpha=0.01, columns_tested=30)
    assert (drift.unseen_share, drift.drifted, drift.ks) == (0.25, True, None)
    assert "mostly unseen: share 0.25, was 0" in drift.reasons[0]


def test_a_constant_column_that_stays_constant_does_not_fire_and_one_that_moves_does():
    reference = one_column([7.0] * 500)
    options = {"alpha": 0.05, "columns_tested": 1}
    assert not column_drift(reference, pl.Series("gust", [7.0] * 500), **options).drifted
    assert column_drift(reference, pl.Series("gust", [7.5] * 500), **options).drifted
    assert column_drift(reference, pl.Series("gust", [6.5] * 500), **options).drifted


@pytest.mark.parametrize(("rows", "tolerated"), [(60, 0.12), (200, 0.03), (900, 0.03)])
def test_without_drift_it_fires_about_as_often_as_alpha_says(rows, tolerated):
    rng = np.random.default_rng(rows)
    days, alpha = 400, 0.05
    names = [f"c{i}" for i in range(5)]
    history = pl.DataFrame({name: rng.normal(size=20_000) for name in names}).with_columns(tag=pl.lit(EASTER))
    reference = drift_reference(history, names, day="tag", categorical=[])
    frame = pl.DataFrame({name: rng.normal(size=rows * days) for name in names}).with_columns(
        tag=pl.int_range(rows * days) // rows
    )
    result = day_drift(reference, frame, day="tag", alpha=alpha, practical_psi=0.0)
    by_day = result.group_by("tag").agg(
        (pl.col("psi") > pl.col("psi_limit")).any(), (pl.col("ks") > pl.col("ks_limit")).any()
    )
    assert by_day.get_column("psi").mean() < alpha + tolerated
    assert 0 < by_day.get_column("ks").mean() < alpha + 0.03
    assert rows > 60 or (result.get_column("psi") > 0.1).mean() > 0.5


def test_every_column_tested_raises_the_limit():
    reference = steady_reference(np.random.default_rng(8), rows_a_day=40)
    now = pl.Series("gust", [0.0] * 40)
    assert reference.psi_block_limit is None
    few, many = (column_drift(reference, now, alpha=0.05, columns_tested=k) for k in (1, 100))
    assert few.psi_limit < many.psi_limit
    assert few.ks_limit < many.ks_limit
    assert few.psi == many.psi


def test_a_limit_names_what_it_stands_on():
    reference = one_column(np.random.default_rng(9).normal(size=50_000))
    far = pl.Series("gust", np.full(5_000, 9.0))
    practical = column_drift(reference, far, alpha=0.05, columns_tested=1)
    assert "(practical limit; 5000 rows against 50000;" in practical.reasons[0]
    assert "(sampling noise; 5000 rows against 50000)" in practical.reasons[1]
    blocked = replace(reference, psi_block_limit=0.3, ks_block_limit=0.2)
    drift = column_drift(blocked, far, alpha=0.05, columns_tested=1)
    assert (drift.psi_limit, drift.ks_limit) == (0.3, 0.2)
    assert all("day-to-day variation" in reason for reason in drift.reasons)


# --- the fast path and its slow twin ----------------------------------------------------------------------


@st.composite
def history_and_range(draw):
    def frame(rows):
        def column(values):
            return draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows))

        moments = draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows))
        return pl.DataFrame(
            {
                "when it was": [EASTER + dt.timedelta(days=moment) for moment in moments],
                "gust": pl.Series(column(odd_floats), dtype=pl.Float64),
                "hour": pl.Series(column(st.integers(0, 4)), dtype=pl.Int8),
                "wet": pl.Series(column(st.booleans()), dtype=pl.Boolean),
                "port": pl.Series(column(st.sampled_from("abcdefgh")), dtype=pl.String),
                "void": pl.Series([None] * rows, dtype=pl.Float32),
            }
        )

    return frame(draw(st.integers(1, 25))), frame(draw(st.integers(1, 25)))


def drift_of(history, **options):
    return drift_reference(
        history,
        ["port", "gust", "hour", "wet", "void"],
        day="when it was",
        categorical=["port"],
        top=3,
        min_day_rows=3,
        **options,
    )


@settings(deadline=None, max_examples=100)
@given(history_and_range(), st.sampled_from([0.05, 0.9, 1e-6]), st.sampled_from([0.1, 0.0]))
@pytest.mark.filterwarnings("error")
def test_every_row_of_the_range_is_the_slow_twins_answer(frames, alpha, practical):
    history, span = frames
    reference = drift_of(history)
    fast = day_drift(reference, span, day="when it was", alpha=alpha, practical_psi=practical)
    slow = []
    for moment in span.get_column("when it was").unique().sort():
        rows = span.filter(pl.col("when it was") == moment)
        for column in reference.columns:
            answer = column_drift(
                column,
                rows.get_column(column.name),
                alpha=alpha,
                columns_tested=len(reference.columns),
                practical_psi=practical,
            )
            fields = {name: getattr(answer, name) for name in answer.__slots__}
            slow.append({"when it was": moment, **fields, "reasons": list(answer.reasons)})
    assert fast.to_dicts() == slow


@settings(deadline=None, max_examples=40)
@given(history_and_range(), st.randoms(use_true_random=False))
def test_a_range_is_its_days_one_after_the_other_in_any_row_order(frames, random):
    history, span = frames
    options = {"day": "when it was", "alpha": 0.05}
    order = list(range(span.height))
    random.shuffle(order)
    whole = day_drift(drift_of(history), span[order], **options)
    days = [day_drift(drift_of(history), rows, **options) for rows in span.partition_by("when it was")]
    assert whole.equals(pl.concat(days).sort("when it was", maintain_order=True))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_twins_also_agree_where_the_sketch_leaves_values_out(seed):
    rng = np.random.default_rng(seed)
    history = dated(np.round(rng.normal(size=3_000), 2).tolist(), rows_a_day=100)
    span = dated(np.round(rng.normal(0.3, 1.2, size=900), rng.integers(0, 4)).tolist(), rows_a_day=300)
    reference = drift_reference(history, ["gust"], day="tag", categorical=[])
    fast = day_drift(reference, span, day="tag", alpha=0.05).drop("tag")
    slow = [
        column_drift(reference.columns[0], rows.get_column("gust"), alpha=0.05, columns_tested=1)
        for rows in span.partition_by("tag")
    ]
    assert [tuple(row[:-1]) for row in fast.rows()] == [
        tuple(getattr(answer, name) for name in answer.__slots__[:-1]) for answer in slow
    ]


def test_a_frame_without_rows_gives_a_frame_without_rows():
    history = dated([1.0, 2.0, 3.0], rows_a_day=1)
    reference = drift_reference(history, ["gust"], day="tag", categorical=[])
    full = day_drift(reference, history, day="tag", alpha=0.05)
    none = day_drift(reference, history.clear(), day="tag", alpha=0.05)
    assert none.height == 0
    assert none.schema == full.schema


# --- errors ----------------------------------------------------------------------------------------------


def test_errors_say_what_came_and_what_was_wanted():
    frame = dated([1.0, 2.0], rows_a_day=1).with_columns(word=pl.lit("x"), box=pl.lit([1]))
    build = {"day": "tag", "categorical": []}
    with pytest.raises(DriftError, match="not in the frame: \\['gusst'\\]"):
        drift_reference(frame, ["gusst"], **build)
    with pytest.raises(DriftError, match="categorical but not asked for: \\['prot'\\]"):
        drift_reference(frame, ["gust"], day="tag", categorical=["prot"])
    with pytest.raises(DriftError, match="named once"):
        drift_reference(frame, ["gust", "gust"], **build)
    with pytest.raises(DriftError, match="no rows"):
        drift_reference(frame.clear(), ["gust"], **build)
    with pytest.raises(DriftError, match="1 of 3 rows have no tag"):
        drift_reference(pl.concat([frame, frame[:1].with_columns(tag=None)], how="vertical_relaxed"), ["gust"], **build)
    with pytest.raises(DriftError, match="word is String, no number"):
        drift_reference(frame, ["word"], **build)
    with pytest.raises(DriftError, match="box is List"):
        drift_reference(frame, ["box"], day="tag", categorical=["box"])
    with pytest.raises(DriftError, match="sketch_size 5"):
        drift_reference(frame, ["gust"], sketch_size=5, **build)

    reference = drift_reference(frame, ["gust"], **build)
    column = reference.columns[0]
    with pytest.raises(DriftError, match="gust: no rows"):
        column_drift(column, pl.Series("gust", [], dtype=pl.Float64), alpha=0.05, columns_tested=1)
    with pytest.raises(DriftError, match="alpha is 5"):
        column_drift(column, pl.Series("gust", [1.0]), alpha=5, columns_tested=1)
    with pytest.raises(DriftError, match="not in the frame: \\['gust'\\]"):
        day_drift(reference, frame.drop("gust"), day="tag", alpha=0.05)
    with pytest.raises(DriftError, match="may not be one of"):
        day_drift(reference, frame.rename({"tag": "psi"}), day="psi", alpha=0.05)
    with pytest.raises(DriftError, match="values on both sides"):
        ks_statistic(column, [math.nan])
    with pytest.raises(DriftError, match="share of nothing"):
        psi([0, 0], [1, 2])


@pytest.mark.parametrize("module", ["drift", "calibration", "evaluation"])
def test_importing_costs_neither_scipy_nor_scikit_learn(module):
    code = (
        f"import sys, ml_assets.domain.{module}; "
        "print(sorted({'scipy', 'sklearn', 'torch', 'matplotlib', 'dagster'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
