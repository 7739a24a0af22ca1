"""Evaluation: published numbers, scikit-learn as the oracle, fast paths against their slow twins."""

import math
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ml_assets.domain.evaluation import (
    EvaluationError,
    Interval,
    balanced_accuracy,
    brier,
    brier_decomposition,
    ece,
    equal_mass_bins,
    evaluate,
    f1,
    grouped_metrics,
    log_loss,
    paired_bootstrap,
    roc_auc,
)

KNOWN_LABELS = np.array([0, 0, 1, 0, 1, 1, 0, 1, 1, 1])
KNOWN_FORECASTS = np.array([0.1] * 3 + [0.4] * 3 + [0.7] * 4)

tied_or_not = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0]), st.floats(0, 1, width=32))
rows = st.lists(st.tuples(st.booleans(), tied_or_not), min_size=1, max_size=80).map(
    lambda pairs: (np.array([int(y) for y, _ in pairs]), np.array([p for _, p in pairs]))
)


# --- published numbers -----------------------------------------------------------------------------------


def test_the_known_example_comes_out():
    parts = brier_decomposition(KNOWN_LABELS, KNOWN_FORECASTS)
    assert brier(KNOWN_LABELS, KNOWN_FORECASTS) == pytest.approx(0.247, abs=1e-12)
    assert parts.reliability == pytest.approx(0.038667, abs=1e-6)
    assert parts.resolution == pytest.approx(0.031667, abs=1e-6)
    assert parts.uncertainty == pytest.approx(0.24, abs=1e-12)
    assert ece(KNOWN_LABELS, KNOWN_FORECASTS) == pytest.approx(0.17, abs=1e-12)


def test_an_order_that_is_right_half_the_time_by_ties_alone_is_a_half():
    assert roc_auc([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3]) == 0.5
    assert roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_roc_auc_and_no_balanced_accuracy(label):
    assert roc_auc([label] * 3, [0.1, 0.2, 0.9]) is None
    assert balanced_accuracy([label] * 3, [0.1, 0.2, 0.9]) is None
    assert evaluate([label] * 3, [0.1, 0.2, 0.9]).roc_auc is None


def test_f1_without_a_positive_anywhere_is_undefined_not_zero():
    assert f1([0, 0], [0.1, 0.2]) is None
    assert f1([1, 0], [0.1, 0.2]) == 0.0
    assert f1([0, 0], [0.9, 0.2]) == 0.0


def test_the_threshold_itself_counts_as_positive():
    assert f1([1, 0], [0.5, 0.4]) == 1.0
    assert f1([1, 0], [0.3, 0.2], threshold=0.3) == 1.0


def test_certainty_that_was_wrong_costs_the_clipped_log():
    assert log_loss([1], [0.0]) == pytest.approx(-math.log(1e-15))
    assert log_loss([0], [1.0]) == pytest.approx(-math.log(1e-15))
    assert log_loss([1, 0], [1.0, 0.0]) == 0.0


# --- scikit-learn as the oracle --------------------------------------------------------------------------


@given(rows)
def test_metrics_equal_scikit_learn(pair):
    truth, forecast = pair
    assert brier(truth, forecast) == pytest.approx(sk.brier_score_loss(truth, forecast), abs=1e-12)
    inside = np.clip(forecast, 1e-9, 1 - 1e-9)
    assert log_loss(truth, inside) == pytest.approx(sk.log_loss(truth, inside, labels=[0, 1]), abs=1e-9)
    if 0 < truth.sum() < truth.size:
        assert roc_auc(truth, forecast) == pytest.approx(sk.roc_auc_score(truth, forecast), abs=1e-12)
        expected = sk.balanced_accuracy_score(truth, forecast >= 0.5)
        assert balanced_accuracy(truth, forecast) == pytest.approx(expected, abs=1e-12)
    measured = f1(truth, forecast)
    expected = sk.f1_score(truth, forecast >= 0.5, zero_division=0)
    assert (measured or 0.0) == pytest.approx(expected, abs=1e-12)


@given(rows)
def test_the_brier_score_is_the_sum_of_its_parts(pair):
    parts = brier_decomposition(*pair)
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(brier(*pair), abs=1e-12)
    assert min(parts.reliability, parts.resolution, parts.uncertainty) >= 0


# --- equal-mass bins -------------------------------------------------------------------------------------


@given(rows, st.integers(1, 12), st.randoms(use_true_random=False))
def test_bins_do_not_depend_on_the_order_of_the_rows(pair, bins, random):
    truth, forecast = pair
    order = list(range(truth.size))
    random.shuffle(order)
    assigned = equal_mass_bins(forecast, bins)
    assert assigned.min() == 0
    assert assigned.max() < bins
    assert equal_mass_bins(forecast[order], bins).tolist() == assigned[order].tolist()
    assert ece(truth[order], forecast[order], bins) == pytest.approx(ece(truth, forecast, bins), abs=1e-12)
    ranked = np.argsort(forecast, kind="stable")
    assert np.all(np.diff(assigned[ranked]) >= 0)


def test_distinct_forecasts_fill_the_bins_evenly():
    tally = np.bincount(equal_mass_bins(np.random.default_rng(0).random(1003), 10))
    assert tally.tolist() == [101, 100, 100, 101, 100, 100, 101, 100, 100, 100]


@given(rows, st.integers(1, 12))
def test_ece_equals_a_loop_over_bins(pair, bins):
    truth, forecast = pair
    assigned = equal_mass_bins(forecast, bins)
    loop = sum(abs(sum(forecast[assigned == b]) - sum(truth[assigned == b])) for b in range(bins)) / truth.size
    assert ece(truth, forecast, bins) == pytest.approx(loop, abs=1e-12)


# --- groups ----------------------------------------------------------------------------------------------

keys = st.sampled_from(["jfk", "ewr", None])
grouped_rows = st.lists(st.tuples(keys, st.integers(0, 2), st.booleans(), tied_or_not), min_size=1, max_size=120)


@settings(deadline=None)
@given(grouped_rows, st.sampled_from([["from"], ["from", "hour"]]), st.booleans())
@pytest.mark.filterwarnings("error")
def test_every_group_is_evaluated_as_if_alone(drawn, by, as_integer):
    frame = pl.DataFrame(
        drawn,
        schema={"from": pl.String, "hour": pl.Int8, "came late": pl.Boolean, "p": pl.Float64},
        orient="row",
    )
    if as_integer:
        frame = frame.with_columns(pl.col("came late").cast(pl.Int8))
    fast = grouped_metrics(frame, by, "came late", "p")
    assert fast.columns == [*by, "n", "base_rate", "roc_auc", "brier", "log_loss", "ece"]
    assert fast.equals(fast.sort(by))
    groups = frame.partition_by(by, as_dict=True)
    assert fast.height == len(groups)
    for row in fast.to_dicts():
        group = groups[tuple(row[name] for name in by)]
        alone = asdict(evaluate(group.get_column("came late"), group.get_column("p")))
        for name, value in alone.items():
            if value is None:
                assert row[name] is None
            else:
                assert row[name] == pytest.approx(value, abs=1e-12), name


def test_a_long_group_keeps_its_ranks_and_sums():
    rng = np.random.default_rng(7)
    frame = pl.DataFrame({"d": np.arange(200_000) % 2, "y": rng.random(200_000) < 0.2, "q": rng.random(200_000)})
    for row in grouped_metrics(frame, ["d"], "y", "q").to_dicts():
        alone = frame.filter(pl.col("d") == row["d"])
        expected = asdict(evaluate(alone.get_column("y"), alone.get_column("q")))
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-11)


def test_a_frame_without_rows_gives_no_groups():
    frame = pl.DataFrame({"d": [1], "y": [True], "q": [0.5]})
    empty = grouped_metrics(frame.clear(), ["d"], "y", "q")
    assert empty.schema == grouped_metrics(frame, ["d"], "y", "q").schema
    assert empty.height == 0


@pytest.mark.parametrize(
    ("label", "probability", "counted"),
    [
        ([1, 2, None], [0.5, 0.5, 0.5], "2 rows whose y is not 0 or 1, 0 whose q"),
        ([1, 0, 1], [0.5, None, 1.1], "0 rows whose y is not 0 or 1, 2 whose q"),
        ([1, 0, 1], [0.5, math.nan, 0.1], "0 rows whose y is not 0 or 1, 1 whose q"),
    ],
)
def test_groups_refuse_rows_that_cannot_be_measured(label, probability, counted):
    frame = pl.DataFrame({"d": [1, 1, 1], "y": label, "q": probability}, strict=False)
    with pytest.raises(EvaluationError, match=counted):
        grouped_metrics(frame, ["d"], "y", "q")


@pytest.mark.parametrize("by", [[], ["n"], ["absent"]])
def test_groups_need_keys_that_are_there_and_not_metrics(by):
    frame = pl.DataFrame({"n": [1], "y": [1], "q": [0.5]})
    with pytest.raises(EvaluationError):
        grouped_metrics(frame, by, "y", "q")


# --- bootstrap -------------------------------------------------------------------------------------------


def slow_bootstrap(truth, a, b, metric, blocks, seed, draws):
    """Rows really copied block by block, the metric really computed on them."""
    names = sorted(set(blocks))
    picks = np.random.default_rng(seed).integers(0, len(names), size=(draws, len(names)))
    differences = []
    for pick in picks:
        chosen = [i for k in pick for i in range(len(truth)) if blocks[i] == names[k]]
        values = [metric(truth[chosen], forecast[chosen]) for forecast in (a, b)]
        if None not in values:
            differences.append(values[1] - values[0])
    return differences


@settings(deadline=None, max_examples=40)
@given(rows, st.integers(0, 99), st.integers(2, 5), st.sampled_from([roc_auc, brier, log_loss, ece]))
@pytest.mark.filterwarnings("error")
def test_sums_per_block_give_the_draws_that_copied_rows_give(pair, seed, count, metric):
    truth, first = pair
    second = np.random.default_rng(seed).permutation(first)
    blocks = np.arange(truth.size) % count
    slow = slow_bootstrap(truth, first, second, metric, blocks, seed, 25)
    if truth.size < 2 or not slow or metric(truth, first) is None:
        with pytest.raises(EvaluationError):
            paired_bootstrap(truth, first, second, metric, blocks, seed=seed, draws=25)
        return
    interval = paired_bootstrap(truth, first, second, metric, blocks, seed=seed, draws=25)
    points = [interval.p05, interval.p50, interval.p95]
    assert points == pytest.approx(np.quantile(slow, [0.05, 0.5, 0.95]).tolist(), abs=1e-12)
    assert interval.draws == len(slow)
    assert interval.estimate == pytest.approx(metric(truth, second) - metric(truth, first), abs=1e-12)


def week(seed=11, rows_a_day=90):
    rng = np.random.default_rng(seed)
    days = np.repeat(np.arange("2024-03-28", "2024-04-04", dtype="datetime64[D]"), rows_a_day)
    chance = rng.beta(1.5, 5, size=days.size)
    return (rng.random(days.size) < chance).astype(int), rng.permutation(chance), chance, days


def test_the_interval_is_the_same_for_the_same_seed_and_for_any_order_of_rows():
    truth, bad, good, days = week()
    order = np.random.default_rng(1).permutation(truth.size)
    for metric in (roc_auc, brier):
        once = paired_bootstrap(truth, bad, good, metric, days, seed=5, draws=200)
        assert paired_bootstrap(truth, bad, good, metric, days, seed=5, draws=200) == once
        assert paired_bootstrap(truth, bad, good, metric, days, seed=6, draws=200) != once
        again = paired_bootstrap(truth[order], bad[order], good[order], metric, days[order], seed=5, draws=200)
        assert asdict(again) == pytest.approx(asdict(once), abs=1e-12)


def test_the_better_forecast_is_told_from_the_shuffled_one():
    truth, bad, good, days = week()
    area = paired_bootstrap(truth, bad, good, roc_auc, days, seed=5, draws=200)
    score = paired_bootstrap(truth, bad, good, brier, days, seed=5, draws=200)
    assert 0 < area.p05 < area.p50 < area.p95
    assert score.p05 < score.p50 < score.p95 < 0
    assert area.p05 < area.estimate < area.p95


def test_no_difference_is_exactly_no_difference():
    truth, _, good, days = week()
    assert paired_bootstrap(truth, good, good, roc_auc, days, seed=5, draws=50) == Interval(0.0, 0.0, 0.0, 0.0, 50)


def test_rows_of_a_day_stay_together():
    truth = np.array([1, 1, 0, 0])
    interval = paired_bootstrap(
        truth, [0.5] * 4, [0.9, 0.9, 0.9, 0.9], brier, ["mon", "mon", "tue", "tue"], seed=0, draws=400
    )
    assert (interval.p05, interval.p95) == pytest.approx((0.01 - 0.25, 0.81 - 0.25))


def test_a_bootstrap_of_one_block_or_of_one_class_is_refused():
    truth, bad, good, days = week()
    with pytest.raises(EvaluationError, match="1 blocks"):
        paired_bootstrap(truth, bad, good, brier, days[:1].repeat(truth.size), seed=0, draws=10)
    with pytest.raises(EvaluationError, match="7 blocks and 0 draws"):
        paired_bootstrap(truth, bad, good, brier, days, seed=0, draws=0)
    with pytest.raises(EvaluationError, match="one class only"):
        paired_bootstrap(np.zeros(truth.size), bad, good, roc_auc, days, seed=0, draws=10)
    with pytest.raises(EvaluationError, match="block of each row"):
        paired_bootstrap(truth, bad, good, brier, days[:-1], seed=0, draws=10)


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "forecast", "message"),
    [
        ([], [], "no rows"),
        ([1, 0], [0.5], "shape"),
        ([[1, 0]], [[0.5, 0.5]], "one-dimensional"),
        ([1, 2], [0.5, 0.5], "labels must be 0 or 1"),
        ([1, math.nan], [0.5, 0.5], "labels must be 0 or 1"),
        ([0.2, 0.7], [1, 0], "swapped"),
        ([1, 0], [0.5, 1.5], r"\[0, 1\]"),
        ([1, 0], [0.5, math.nan], r"\[0, 1\]"),
    ],
)
@pytest.mark.parametrize(
    "metric", [roc_auc, brier, log_loss, ece, f1, balanced_accuracy, brier_decomposition, evaluate]
)
def test_every_metric_refuses_what_it_cannot_measure(metric, truth, forecast, message):
    with pytest.raises(EvaluationError, match=message):
        metric(truth, forecast)


def test_bins_are_at_least_one():
    with pytest.raises(EvaluationError, match="bins is 0"):
        ece([0, 1], [0.2, 0.3], bins=0)
