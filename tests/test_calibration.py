"""Calibration: scipy's optimiser as the twin, monotone, exact in JSON, left out where it has not been worth having."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.optimize import minimize
from scipy.stats import binomtest

from ml_assets.domain.calibration import (
    IDENTITY,
    JUDGED_DAYS,
    METHODS,
    CalibrationError,
    Calibrator,
    HeldOut,
    apply_calibrator,
    calibrator_of_day,
    reliability_curve,
    reliability_curves,
    weighted_platt,
    worse_beyond_noise,
)
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.evaluation import ece
from ml_assets.domain.specs import Calibration

SPEC = Calibration()
FREE = Calibration(slope_ridge=1e-6, offset_ridge=1e-6, half_life_days=1e9)

scored = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 0.5, 1.0, 1e-9, 1 - 1e-9]), st.floats(0, 1)), st.booleans(), st.integers(1, 28)
    ),
    min_size=1,
    max_size=60,
).map(
    lambda rows: HeldOut(
        np.array([score for score, _, _ in rows]),
        np.array([float(label) for _, label, _ in rows]),
        np.array([age for _, _, age in rows]),
    )
)
specs = st.builds(
    Calibration,
    half_life_days=st.floats(0.5, 30),
    slope_ridge=st.floats(0.1, 5_000),
    offset_ridge=st.floats(0.1, 5_000),
)


def days_of_scores(seed: int = 0, rows: int = 14_000, days: int = 28, sharpen: float = 1.0, shift: float = 0.0):
    """Scores whose log-odds are `sharpen` times those of the true probability, plus `shift`."""
    draw = np.random.default_rng(seed)
    odds = draw.normal(-1.5, 1.2, size=rows)
    labels = (draw.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)
    return HeldOut(1 / (1 + np.exp(-odds * sharpen - shift)), labels, draw.integers(1, days + 1, rows))


def cost(held_out: HeldOut, spec: Calibration, slope: float, offset: float) -> float:
    """The objective, row by row, as it is written down."""
    total = spec.slope_ridge / 2 * (slope - 1) ** 2 + spec.offset_ridge / 2 * offset**2
    for score, label, age in zip(held_out.scores, held_out.labels, held_out.ages, strict=True):
        inside = min(max(float(score), 1e-6), 1 - 1e-6)
        z = slope * math.log(inside / (1 - inside)) + offset
        entropy = np.logaddexp(0, z) - label * z
        total += 2.0 ** (-(age - 1) / spec.half_life_days) * entropy
    return float(total)


# --- the day's map ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(scored, specs)
def test_the_map_is_what_a_slow_optimiser_finds(held_out, spec):
    slope, offset = weighted_platt(held_out, spec)
    twin = minimize(
        lambda at: cost(held_out, spec, *at), (1.0, 0.0), bounds=[(0, None), (None, None)], options={"ftol": 1e-14}
    )
    assert cost(held_out, spec, slope, offset) <= twin.fun + 1e-6 * max(1.0, abs(twin.fun))


def test_the_map_undoes_scores_that_are_too_sure_where_rows_outweigh_the_pull():
    slope, offset = weighted_platt(days_of_scores(rows=200_000, sharpen=2.0, shift=0.4), FREE)
    assert slope == pytest.approx(0.5, abs=0.02)
    assert offset == pytest.approx(-0.2, abs=0.03)


def test_few_rows_move_the_map_little_and_none_do_not_move_it():
    assert weighted_platt(HeldOut(np.empty(0), np.empty(0), np.empty(0, np.int64)), SPEC) == (1.0, 0.0)
    few = days_of_scores(rows=200, sharpen=3.0)
    slope, offset = weighted_platt(few, SPEC)
    assert 0.9 < slope < 1
    assert abs(offset) < 0.2


def test_old_rows_count_for_less():
    good, bad = days_of_scores(rows=20_000, days=1), days_of_scores(seed=1, rows=20_000, days=1, sharpen=3.0)

    def both(age_of_bad: int) -> float:
        joined = HeldOut(
            np.concatenate([good.scores, bad.scores]),
            np.concatenate([good.labels, bad.labels]),
            np.concatenate([good.ages, np.full(len(bad), age_of_bad)]),
        )
        return weighted_platt(joined, SPEC)[0]

    assert both(1) < both(8) < both(22) < 1.05


def test_scores_that_rank_backwards_become_a_constant_not_a_falling_curve():
    held_out = days_of_scores(rows=60_000)
    slope, offset = weighted_platt(replace(held_out, scores=1 - held_out.scores), FREE)
    assert slope == 0.0
    assert 1 / (1 + math.exp(-offset)) == pytest.approx(held_out.labels.mean(), abs=1e-6)


@settings(deadline=None)
@given(scored, specs, st.lists(st.floats(0, 1), min_size=2, max_size=40))
@pytest.mark.filterwarnings("error")
def test_a_calibrator_never_falls_never_leaves_the_unit_interval_and_reads_back(held_out, spec, new):
    calibrator = calibrator_of_day(held_out, spec).calibrator
    rising = np.sort(np.array([*new, 0.0, 1.0]))
    probabilities = apply_calibrator(calibrator, rising)
    assert np.all((probabilities >= 0) & (probabilities <= 1))
    assert np.all(np.diff(probabilities) >= -1e-15)
    back = Calibrator.from_json(calibrator.to_json())
    assert back == calibrator
    assert apply_calibrator(back, rising).tolist() == probabilities.tolist()


# --- whether it is worth having ---------------------------------------------------------------------------


def test_a_map_that_helps_is_kept_and_says_how_it_did():
    made = calibrator_of_day(days_of_scores(sharpen=2.0), SPEC)
    assert made.calibrator.method == "platt"
    assert made.rows == 14_000
    assert set(made.brier) == set(METHODS)
    assert made.brier["platt"] < made.brier["none"]


def test_a_map_that_was_worse_on_the_newest_week_is_left_out():
    """Too sure until a week ago, true since: the map of before would have cost."""
    held_out = days_of_scores(rows=60_000)
    old = held_out.ages > JUDGED_DAYS
    odds = np.log(held_out.scores / (1 - held_out.scores))
    turned = replace(held_out, scores=np.where(old, 1 / (1 + np.exp(-3 * odds)), held_out.scores))
    made = calibrator_of_day(turned, SPEC)
    assert made.calibrator == IDENTITY
    assert "worse than the raw score by" in made.reason
    assert made.brier["platt"] > made.brier["none"]


@pytest.mark.parametrize(
    ("held_out", "spec", "method", "said"),
    [
        (days_of_scores(rows=0), SPEC, "none", "no held-out label was known"),
        (days_of_scores(), None, "none", "declares no calibration"),
        (days_of_scores(days=JUDGED_DAYS), SPEC, "platt", "fewer than 7 days"),
        (replace(days_of_scores(), ages=np.full(14_000, 20)), SPEC, "platt", "no label of the last week"),
    ],
)
def test_what_there_is_too_little_of_is_said(held_out, spec, method, said):
    made = calibrator_of_day(held_out, spec)
    assert made.calibrator.method == method
    assert said in made.reason


def test_one_class_is_no_error_the_map_is_drawn_towards_the_identity():
    made = calibrator_of_day(replace(days_of_scores(), labels=np.zeros(14_000)), SPEC)
    assert made.calibrator.method == "platt"
    assert apply_calibrator(made.calibrator, [0.5])[0] < 0.2


def test_days_are_the_units_of_noise():
    """A rise on one stormy day of seven is noise, the same rise on each of seven days is not."""
    days = np.repeat(np.arange(1, 8), 1_000)
    spread = np.random.default_rng(0).normal(0, 0.01, days.size)
    assert worse_beyond_noise(np.where(days == 3, 0.05, 0.0) + spread, days) < 2
    assert worse_beyond_noise(np.full(days.size, 0.007) + spread, days) > 10
    assert worse_beyond_noise(np.array([1.0, 2.0]), np.array([1, 1])) == 0.0


# --- as values --------------------------------------------------------------------------------------------


def test_none_returns_the_scores_in_an_array_of_their_own():
    scores = np.array([0.0, 0.2, 1.0])
    same = apply_calibrator(IDENTITY, scores)
    assert same.tolist() == scores.tolist()
    assert same is not scores


@pytest.mark.parametrize("scores", [[1.2], [-0.1], [math.nan], [3.5, 0.2]])
def test_what_is_no_score_is_refused(scores):
    with pytest.raises(CalibrationError, match="scores must lie"):
        apply_calibrator(IDENTITY, scores)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("temperature", ()),
        ("none", (1.0,)),
        ("platt", ()),
        ("platt", (-0.5, 0.0)),
        ("platt", (math.nan, 0.0)),
        ("platt", (1.0, math.inf)),
        ("platt", (1.0,)),
    ],
)
def test_a_stored_calibrator_that_could_mislead_is_refused(method, parameters):
    text = json.dumps({"method": method, "parameters": parameters})
    with pytest.raises(CalibrationError):
        Calibrator.from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"method": "platt", "parameters": ["x", 1]}'])
def test_json_of_something_else_is_refused(text):
    with pytest.raises(CalibrationError):
        Calibrator.from_json(text)


@pytest.mark.parametrize("name", ["half_life_days", "window_days", "slope_ridge", "offset_ridge"])
def test_a_calibration_that_cannot_be_is_refused(name):
    with pytest.raises(CatalogError, match=f"{name} is 0, wanted more than 0"):
        Calibration(**{name: 0})


# --- how it would have done -------------------------------------------------------------------------------


def test_curves_are_of_rows_that_their_map_was_not_fitted_on():
    held_out = days_of_scores(sharpen=2.0)
    curves = reliability_curves(held_out, SPEC)
    raw, mapped, labels = [], [], []
    for back in range(0, int(held_out.ages.max()), 7):
        inside = (held_out.ages > back) & (held_out.ages <= back + 7)
        before = held_out.ages > back + 7
        if not before.any():
            continue
        older = HeldOut(held_out.scores[before], held_out.labels[before], held_out.ages[before] - back - 7)
        slope, offset = weighted_platt(older, SPEC)
        odds = np.log(held_out.scores[inside] / (1 - held_out.scores[inside]))
        raw += held_out.scores[inside].tolist()
        mapped += (1 / (1 + np.exp(-(slope * odds + offset)))).tolist()
        labels += held_out.labels[inside].tolist()
    assert_frame_equal(curves["raw score, trailing weeks"], reliability_curve(raw, labels))
    assert_frame_equal(curves["calibrated, trailing weeks"], reliability_curve(mapped, labels), abs_tol=1e-9)
    assert int(curves["calibrated, newest day"]["rows"].sum()) == int((held_out.ages == 1).sum())


def test_without_days_before_and_without_a_calibration_there_is_less_to_draw():
    held_out = days_of_scores()
    assert set(reliability_curves(held_out, None)) == {"raw score, trailing weeks", "calibrated, newest day"}
    one_day = HeldOut(held_out.scores, held_out.labels, np.ones(len(held_out), np.int64))
    assert reliability_curves(one_day, SPEC) == {}
    assert reliability_curves(HeldOut(np.empty(0), np.empty(0), np.empty(0, np.int64)), SPEC) == {}


# --- the reliability curve --------------------------------------------------------------------------------


@given(scored, st.integers(1, 12))
def test_the_curves_weighted_gaps_are_the_ece(held_out, bins):
    curve = reliability_curve(held_out.scores, held_out.labels, bins)
    assert curve.columns == ["bin", "mean_probability", "observed_share", "low", "high", "rows"]
    assert curve.get_column("rows").sum() == len(held_out)
    gaps = (curve.get_column("mean_probability") - curve.get_column("observed_share")).abs()
    weighted = (gaps * curve.get_column("rows")).sum() / len(held_out)
    assert weighted == pytest.approx(ece(held_out.labels, held_out.scores, bins), abs=1e-12)
    assert curve.get_column("mean_probability").is_sorted()


def test_the_curve_of_the_known_example():
    labels = [0, 0, 1, 0, 1, 1, 0, 1, 1, 1]
    curve = reliability_curve([0.1] * 3 + [0.4] * 3 + [0.7] * 4, labels)
    assert curve.get_column("rows").to_list() == [3, 3, 4]
    assert curve.get_column("observed_share").to_list() == pytest.approx([1 / 3, 2 / 3, 0.75])
    assert curve.get_column("mean_probability").to_list() == pytest.approx([0.1, 0.4, 0.7])


def test_the_band_is_wilsons():
    curve = reliability_curve([0.3] * 40, [1] * 9 + [0] * 31)
    wilson = binomtest(9, 40).proportion_ci(0.95, method="wilson")
    assert curve.select("low", "high").row(0) == pytest.approx((wilson.low, wilson.high), abs=1e-6)
