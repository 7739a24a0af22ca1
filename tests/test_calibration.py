"""Calibration: libsvm's numbers, scikit-learn as the oracle, monotone, exact in JSON, chosen held out."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from ml_assets.domain.calibration import (
    METHODS,
    CalibrationError,
    Calibrator,
    apply_calibrator,
    choose_calibrator,
    fit_calibrator,
    platt_coefficients,
    reliability_curve,
)
from ml_assets.domain.evaluation import EvaluationError, brier, ece

scored = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 0.5, 1.0, 1e-9, 1 - 1e-9]), st.floats(0, 1)),
        st.booleans(),
    ),
    min_size=2,
    max_size=60,
).map(lambda pairs: (np.array([s for s, _ in pairs]), np.array([int(y) for _, y in pairs])))


def two_classes(labels):
    return 0 < labels.sum() < labels.size


def days_of_scores(seed=0, rows=1_400, blocks=7, sharpen=1.0):
    """Scores whose log-odds are `sharpen` times those of the true probability."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1.5, 1.2, size=rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    return 1 / (1 + np.exp(-odds * sharpen)), labels, np.repeat(np.arange(blocks), rows // blocks)


# --- Platt -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [[1, -1, -1], [1, 0, 0], [True, False, False]])
def test_platt_gives_the_coefficients_of_libsvm(labels):
    a, b = platt_coefficients([5, -4, 1], labels)
    assert (a, b) == pytest.approx((-0.20261354391187855, 0.65236314980010512), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 300), st.floats(-3, 3))
def test_platt_equals_scikit_learn_on_any_decision_values(seed, rows, slope):
    rng = np.random.default_rng(seed)
    f = rng.normal(size=rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-slope * f))).astype(int)
    assume(two_classes(labels))
    a, b = platt_coefficients(f, labels)
    oracle = _SigmoidCalibration().fit(f, labels)
    p = 1 / (1 + np.exp(a * f + b))
    assert p == pytest.approx(oracle.predict(f), abs=2e-4)


def test_platt_stays_finite_on_separable_and_on_huge_decision_values():
    for f in ([-1.0, -0.5, 0.5, 1.0], [-1e4, -1e4, 1e4, 1e4], [0.0, 0.0, 0.0, 0.0]):
        a, b = platt_coefficients(f, [0, 0, 1, 1])
        assert math.isfinite(a)
        assert math.isfinite(b)
        assert a <= 0


def test_platt_undoes_scores_that_are_too_sure():
    scores, labels, _ = days_of_scores(rows=70_000, sharpen=2.0)
    ((a, b),) = fit_calibrator(scores, labels, "platt").parameters
    assert a == pytest.approx(-0.5, abs=0.03)
    assert b == pytest.approx(0.0, abs=0.05)


def test_scores_that_rank_backwards_become_the_base_rate_not_a_falling_curve():
    scores, labels, _ = days_of_scores()
    calibrator = fit_calibrator(1 - scores, labels, "platt")
    assert calibrator.parameters[0][0] == 0.0
    constant = apply_calibrator(calibrator, [0.0, 0.4, 1.0])
    assert constant == pytest.approx([(labels.sum() + 1) / (labels.size + 2)] * 3)


# --- isotonic and none -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(scored, st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_isotonic_predicts_as_scikit_learn_does(pair, new):
    scores, labels = pair
    assume(two_classes(labels))
    oracle = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    ours = apply_calibrator(fit_calibrator(scores, labels, "isotonic"), new)
    assert ours == pytest.approx(oracle.predict(np.array(new)), abs=1e-9)


def test_beyond_the_outermost_knots_the_outermost_probability_holds():
    calibrator = Calibrator("isotonic", ((0.3, 0.6), (0.1, 0.4)))
    assert apply_calibrator(calibrator, [0.0, 0.3, 0.45, 0.6, 1.0]) == pytest.approx([0.1, 0.1, 0.25, 0.4, 0.4])


def test_none_returns_the_scores_in_an_array_of_their_own():
    scores = np.array([0.0, 0.2, 1.0])
    same = apply_calibrator(fit_calibrator([0.1, 0.9], [0, 1], "none"), scores)
    assert same.tolist() == scores.tolist()
    assert same is not scores


# --- every method ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(scored, st.sampled_from(METHODS), st.lists(st.floats(0, 1), min_size=2, max_size=40))
@pytest.mark.filterwarnings("error")
def test_a_calibrator_never_falls_and_never_leaves_the_unit_interval(pair, method, new):
    scores, labels = pair
    assume(two_classes(labels))
    calibrator = fit_calibrator(scores, labels, method)
    rising = np.sort(np.array([*new, *scores, 0.0, 1.0]))
    probabilities = apply_calibrator(calibrator, rising)
    assert np.all((probabilities >= 0) & (probabilities <= 1))
    assert np.all(np.diff(probabilities) >= -1e-15)


@settings(deadline=None)
@given(scored, st.sampled_from(METHODS))
def test_json_round_trip_is_exact(pair, method):
    scores, labels = pair
    assume(two_classes(labels))
    calibrator = fit_calibrator(scores, labels, method)
    back = Calibrator.from_json(calibrator.to_json())
    assert back == calibrator
    assert back.to_json() == calibrator.to_json()
    assert apply_calibrator(back, scores).tolist() == apply_calibrator(calibrator, scores).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_one_class_is_refused_by_every_method(method):
    with pytest.raises(CalibrationError, match="all 3 labels are 1"):
        fit_calibrator([0.1, 0.2, 0.3], [1, 1, 1], method)


@pytest.mark.parametrize("scores", [[1.2], [-0.1], [math.nan], [3.5, 0.2]])
def test_what_is_no_score_is_refused(scores):
    with pytest.raises(CalibrationError, match="scores must lie"):
        apply_calibrator(Calibrator("none"), scores)
    with pytest.raises(EvaluationError):
        fit_calibrator(scores, [1] * len(scores), "platt")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("temperature", ()),
        ("none", ((1.0,),)),
        ("platt", ()),
        ("platt", ((0.5, 0.0),)),
        ("platt", ((math.nan, 0.0),)),
        ("platt", ((-1.0,),)),
        ("isotonic", ((), ())),
        ("isotonic", ((0.1, 0.2), (0.5,))),
        ("isotonic", ((0.1, 0.2), (0.5, 0.4))),
        ("isotonic", ((0.2, 0.1), (0.4, 0.5))),
        ("isotonic", ((0.1, 0.2), (0.5, 1.5))),
        ("isotonic", ((0.1, 0.2), (-0.5, 0.5))),
    ],
)
def test_a_stored_calibrator_that_could_mislead_is_refused(method, parameters):
    text = json.dumps({"method": method, "parameters": parameters})
    with pytest.raises(CalibrationError):
        Calibrator.from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"method": "platt", "parameters": [["x", 1]]}'])
def test_json_of_something_else_is_refused(text):
    with pytest.raises(CalibrationError):
        Calibrator.from_json(text)


# --- the choice ------------------------------------------------------------------------------------------


def held_out_brier_by_hand(scores, labels, blocks, method):
    squares = []
    for block in sorted(set(blocks.tolist())):
        train = [i for i in range(len(labels)) if blocks[i] != block]
        test = [i for i in range(len(labels)) if blocks[i] == block]
        calibrator = fit_calibrator(scores[train], labels[train], method)
        squares += [(apply_calibrator(calibrator, scores[[i]])[0] - labels[i]) ** 2 for i in test]
    return sum(squares) / len(squares)


def test_every_block_is_scored_by_a_calibrator_that_never_saw_it():
    scores, labels, blocks = days_of_scores(rows=280, sharpen=2.0)
    choice = choose_calibrator(scores, labels, blocks)
    assert tuple(choice.brier) == METHODS
    assert (choice.rows, choice.blocks) == (280, 7)
    for method, measured in choice.brier.items():
        assert measured == pytest.approx(held_out_brier_by_hand(scores, labels, blocks, method), rel=1e-12)
    assert choice.calibrator.method == min(choice.brier, key=choice.brier.get)
    assert choice.calibrator == fit_calibrator(scores, labels, choice.calibrator.method)


@pytest.mark.parametrize(("sharpen", "winner"), [(1.0, "none"), (3.0, "platt")])
def test_the_winner_is_what_the_data_were_made_with(sharpen, winner):
    scores, labels, blocks = days_of_scores(seed=3, rows=7_000, sharpen=sharpen)
    choice = choose_calibrator(scores, labels, blocks)
    assert choice.calibrator.method == winner


def test_isotonic_wins_where_no_sigmoid_fits():
    rng = np.random.default_rng(5)
    scores = rng.random(7_000)
    labels = (rng.random(7_000) < np.where(scores < 0.5, 0.05, np.where(scores < 0.55, 0.9, 0.95))).astype(int)
    blocks = np.arange(7_000) % 7
    assert choose_calibrator(scores, labels, blocks).calibrator.method == "isotonic"


def test_held_out_and_not_fitted_error_decides():
    """On few rows isotonic fits its own rows best by far; held out it must not win against the truth."""
    scores, labels, blocks = days_of_scores(seed=1, rows=140)
    fitted = {m: brier(labels, apply_calibrator(fit_calibrator(scores, labels, m), scores)) for m in METHODS}
    assert min(fitted, key=fitted.get) == "isotonic"
    choice = choose_calibrator(scores, labels, blocks)
    assert choice.calibrator.method != "isotonic"
    assert choice.brier["isotonic"] > fitted["isotonic"]


def test_ties_go_to_the_method_that_stands_first():
    scores, labels = np.array([0.0, 1.0] * 20), np.array([0, 1] * 20)
    blocks = np.arange(40) // 10
    assert choose_calibrator(scores, labels, blocks, ("none", "isotonic")).calibrator.method == "none"
    turned = choose_calibrator(scores, labels, blocks, ("isotonic", "none"))
    assert turned.calibrator.method == "isotonic"
    assert set(turned.brier.values()) == {0.0}


def test_the_choice_is_deterministic_and_takes_dates_as_blocks():
    scores, labels, blocks = days_of_scores(rows=700)
    days = np.datetime64("2024-03-28") + blocks
    once, again = (choose_calibrator(scores, labels, days) for _ in range(2))
    assert once == again
    assert once == choose_calibrator(scores, labels, blocks)


def test_a_choice_needs_blocks_and_both_classes_without_each():
    scores, labels, blocks = days_of_scores(rows=140)
    with pytest.raises(CalibrationError, match="1 blocks"):
        choose_calibrator(scores, labels, np.zeros(140))
    with pytest.raises(CalibrationError, match="0 methods"):
        choose_calibrator(scores, labels, blocks, ())
    with pytest.raises(CalibrationError, match="block of each row"):
        choose_calibrator(scores, labels, blocks[:-1])
    with pytest.raises(CalibrationError, match="one class"):
        choose_calibrator(scores, np.zeros(140), blocks)
    with pytest.raises(CalibrationError, match="without block 2 the labels are of one class"):
        choose_calibrator(scores, (blocks == 2).astype(int), blocks)
    with pytest.raises(CalibrationError, match="'temperature'; known: none, platt, isotonic"):
        choose_calibrator(scores, labels, blocks, ("temperature",))


# --- the reliability curve -------------------------------------------------------------------------------


@given(scored, st.integers(1, 12))
def test_the_curves_weighted_gaps_are_the_ece(pair, bins):
    probabilities, labels = pair
    curve = reliability_curve(probabilities, labels, bins)
    assert curve.columns == ["bin", "mean_probability", "observed_share", "rows"]
    assert curve.get_column("rows").sum() == labels.size
    gaps = (curve.get_column("mean_probability") - curve.get_column("observed_share")).abs()
    weighted = (gaps * curve.get_column("rows")).sum() / labels.size
    assert weighted == pytest.approx(ece(labels, probabilities, bins), abs=1e-12)
    assert curve.get_column("mean_probability").is_sorted()


def test_the_curve_of_the_known_example():
    labels = [0, 0, 1, 0, 1, 1, 0, 1, 1, 1]
    curve = reliability_curve([0.1] * 3 + [0.4] * 3 + [0.7] * 4, labels)
    assert curve.get_column("rows").to_list() == [3, 3, 4]
    assert curve.get_column("observed_share").to_list() == pytest.approx([1 / 3, 2 / 3, 0.75])
    assert curve.get_column("mean_probability").to_list() == pytest.approx([0.1, 0.4, 0.7])
