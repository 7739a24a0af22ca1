"""The gate, and who serves which day: a fold whose range equals its days."""

import json
import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.domain.evaluation import brier
from ml_assets.domain.local_days import DAY
from ml_assets.domain.promotion import NOBODY, Attempt, Champion, fold_champions, gate
from ml_assets.domain.specs import GateLimits
from ml_assets.domain.verdict import Verdict

FIRST = date(2013, 4, 1)
LIMITS = GateLimits(
    min_rows=500,
    min_roc_auc=0.6,
    max_ece=0.1,
    max_brier_rise=0.002,
    max_segment_brier_rise=0.02,
    min_segment_rows=100,
    segments=("port",),
    bootstrap_draws=100,
)
NUMBER = 1400


def days(number: int) -> list[date]:
    return [FIRST + timedelta(days=day) for day in range(number)]


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """A week of rows with their true probabilities in `truth`."""
    draw = np.random.default_rng(5)
    truth = draw.beta(1, 3, NUMBER)
    return pl.DataFrame(
        {
            DAY: [days(7)[place % 7] for place in range(NUMBER)],
            "port": draw.choice(["big", "small", "tiny"], NUMBER, p=[0.7, 0.27, 0.03]),
            "truth": truth,
            "label": (draw.random(NUMBER) < truth).astype(np.int8),
        }
    )


@pytest.fixture(scope="module")
def knowing(rows) -> np.ndarray:
    return rows["truth"].to_numpy()


@pytest.fixture(scope="module")
def ignorant(rows) -> np.ndarray:
    return np.full(NUMBER, rows["label"].mean())


def blurred(probability: np.ndarray) -> np.ndarray:
    """Worse everywhere, yet over every absolute limit."""
    return 0.6 * probability + 0.4 * probability.mean()


# --- the gate ---------------------------------------------------------------------------------------------


def test_the_first_champion_passes_the_absolute_limits_alone(rows, knowing):
    verdict = gate(rows, knowing, None, LIMITS, seed=1)
    assert verdict.passed
    assert verdict.reasons == ()
    assert set(verdict.measured) == {"rows", "roc_auc", "brier", "ece"}
    assert verdict.measured["rows"] == NUMBER


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("min_rows", NUMBER + 1, f"the gate has {NUMBER} labelled rows, wanted at least {NUMBER + 1}"),
        ("min_roc_auc", 0.99, "at the gate, wanted at least 0.99"),
        ("max_ece", 0.0001, "at the gate, wanted at most 0.0001"),
    ],
)
@pytest.mark.parametrize("against", ["nobody", "a champion"])
def test_each_absolute_limit_counts_against_anybody(rows, knowing, ignorant, limit, value, reason, against):
    champion = None if against == "nobody" else ignorant
    verdict = gate(rows, knowing, champion, replace(LIMITS, **{limit: value}), seed=1)
    assert not verdict.passed
    assert len(verdict.reasons) == 1
    assert reason in verdict.reasons[0]


def test_a_limit_that_is_just_met_passes(rows, knowing):
    measured = gate(rows, knowing, None, LIMITS, seed=1).measured
    exact = replace(LIMITS, min_rows=NUMBER, min_roc_auc=measured["roc_auc"], max_ece=measured["ece"])
    assert gate(rows, knowing, None, exact, seed=1).passed


def test_a_better_challenger_replaces_the_champion(rows, knowing):
    verdict = gate(rows, knowing, blurred(knowing), LIMITS, seed=1)
    assert verdict.passed, verdict.reasons
    assert verdict.measured["brier_rise_p5"] <= verdict.measured["brier_rise_p50"] < 0
    assert verdict.measured["brier"] < verdict.measured["champion_brier"]


def test_a_worse_challenger_does_not_although_it_passes_the_absolute_limits(rows, knowing):
    challenger = blurred(knowing)
    assert gate(rows, challenger, None, LIMITS, seed=1).passed
    verdict = gate(rows, challenger, knowing, LIMITS, seed=1)
    assert not verdict.passed
    assert any("is higher than the champion's" in reason for reason in verdict.reasons)


def test_an_equal_challenger_replaces_the_champion_it_has_seen_newer_days(rows, knowing):
    assert gate(rows, knowing, knowing.copy(), LIMITS, seed=1).passed


def test_a_rise_within_the_limit_passes_and_beyond_it_does_not(rows, knowing):
    worse = mixed(ignored := np.full(NUMBER, rows["label"].mean()), knowing, 0.2)
    rise = gate(rows, worse, knowing, LIMITS, seed=1).measured["brier_rise_p50"]
    assert rise > 0
    assert ignored.shape == worse.shape
    limits = replace(LIMITS, max_segment_brier_rise=1.0)
    assert gate(rows, worse, knowing, replace(limits, max_brier_rise=rise), seed=1).passed
    refused = gate(rows, worse, knowing, replace(limits, max_brier_rise=rise * 0.99), seed=1)
    assert len(refused.reasons) == 1
    assert "in the middle of the bootstrap" in refused.reasons[0]


@pytest.mark.parametrize("broken", ["noise", "halved log-odds", "a constant"])
def test_a_broken_challenger_is_stopped_by_comparison_alone(rows, knowing, broken):
    odds = np.log(knowing / (1 - knowing))
    challenger = {
        "noise": np.random.default_rng(4).permutation(knowing),
        "halved log-odds": 1 / (1 + np.exp(-odds / 2)),
        "a constant": np.full(NUMBER, rows["label"].mean()),
    }[broken]
    limits = replace(LIMITS, min_roc_auc=0.0, max_ece=1.0, max_brier_rise=0.001, max_segment_brier_rise=1.0)
    verdict = gate(rows, challenger, knowing, limits, seed=1)
    assert len(verdict.reasons) == 1
    assert "is higher than the champion's" in verdict.reasons[0]


def mixed(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    return share * one + (1 - share) * other


@pytest.mark.parametrize(("port", "refused"), [("small", True), ("tiny", False)])
def test_a_large_segment_that_gets_worse_is_named_and_a_small_one_is_not_judged(rows, knowing, port, refused):
    champion = np.where((rows["port"] == port).to_numpy(), knowing, knowing.mean())
    challenger = np.where((rows["port"] == port).to_numpy(), 1 - knowing, knowing)
    limits = replace(LIMITS, min_roc_auc=0.0, max_ece=1.0, max_brier_rise=1.0)
    verdict = gate(rows, challenger, champion, limits, seed=1)
    named = [reason for reason in verdict.reasons if f"in port = {port} Brier rises" in reason]
    assert bool(named) is refused
    inside = rows["port"] == port
    labels, mask = rows["label"].to_numpy(), inside.to_numpy()
    assert brier(labels[mask], challenger[mask]) - brier(labels[mask], champion[mask]) > 0.02
    assert (int(inside.sum()) >= LIMITS.min_segment_rows) is refused


def test_segments_without_a_name_are_passed_over(rows, knowing):
    nameless = rows.with_columns(pl.when(pl.col("port") != "tiny").then(pl.col("port")).alias("port"))
    assert gate(nameless, knowing, blurred(knowing), LIMITS, seed=1).passed


def test_no_rows_one_day_and_one_class_are_refused_not_an_error(rows, knowing):
    nothing = gate(rows.clear(), knowing[:0], knowing[:0], LIMITS, seed=1)
    assert nothing.reasons == ("the gate has 0 labelled rows, wanted at least 500",)
    one_day = rows.with_columns(pl.lit(FIRST).alias(DAY))
    verdict = gate(one_day, knowing, blurred(knowing), LIMITS, seed=1)
    assert verdict.reasons == ("the gate's rows lie on one day, wanted two or more to compare with the champion",)
    one_class = gate(rows.with_columns(label=pl.lit(0)), knowing, None, LIMITS, seed=1)
    assert any("ROC-AUC None" in reason for reason in one_class.reasons)


def test_the_gate_depends_on_its_seed_only_and_not_on_the_order_of_rows(rows, knowing):
    champion = blurred(knowing)
    verdict = gate(rows, knowing, champion, LIMITS, seed=1)
    assert gate(rows, knowing, champion, LIMITS, seed=1) == verdict
    order = np.random.default_rng(2).permutation(NUMBER)
    mixed_up = gate(rows[order], knowing[order], champion[order], LIMITS, seed=1)
    assert mixed_up.passed == verdict.passed
    for name, value in verdict.measured.items():
        assert math.isclose(mixed_up.measured[name], value, abs_tol=1e-9)


# --- who serves -------------------------------------------------------------------------------------------

PASSED = Verdict(passed=True, measured={"rows": 9})
FAILED = Verdict(passed=False, reasons=("too few rows", "too bold"), measured={"rows": 2})


def model(number: int) -> Champion:
    return Champion(f"m{number}")


def told(frame: pl.DataFrame) -> list[tuple]:
    return frame.select("model_version", "decision").rows()


def served_before(champion: Champion, first: date = FIRST) -> dict[date, Champion]:
    """Who served before the only stretch of days to decide, which begins at `first`."""
    return {first: champion}


def test_nobody_serves_before_the_first_champion_and_says_so():
    rows = fold_champions(served_before(NOBODY), days(2), {}, {})
    assert told(rows) == [(None, "none")] * 2
    assert rows["reason"].to_list() == ["no champion yet"] * 2


def test_the_first_the_kept_and_the_promoted_champion():
    attempts = {days(5)[1]: Attempt(model(1), PASSED), days(5)[3]: Attempt(model(2), PASSED)}
    rows = fold_champions(served_before(NOBODY), days(5), attempts, dict.fromkeys(attempts, "never said"))
    assert told(rows) == [
        (None, "none"),
        ("m1", "first"),
        ("m1", "keep"),
        ("m2", "promoted"),
        ("m2", "keep"),
    ]
    assert json.loads(rows["evidence"][1]) == {"rows": 9}
    assert rows["evidence"][2] == "{}"


def test_a_rejected_challenger_leaves_the_champion_and_its_reasons():
    rows = fold_champions(served_before(model(1)), days(2), {days(2)[0]: Attempt(model(2), FAILED)}, {})
    assert told(rows) == [("m1", "rejected"), ("m1", "keep")]
    assert rows["reason"][0] == "too few rows; too bold"


def test_a_rejected_first_candidate_leaves_nobody():
    rows = fold_champions(served_before(NOBODY), days(2), {days(2)[0]: Attempt(model(1), FAILED)}, {})
    assert told(rows) == [(None, "rejected"), (None, "none")]


@pytest.mark.parametrize("before", [NOBODY, model(1)])
def test_a_day_whose_training_was_refused_keeps_its_champion_and_says_why(before):
    rows = fold_champions(served_before(before), days(3), {}, {days(3)[1]: "two rows"})
    assert rows["decision"].to_list()[1] == "pending"
    assert "pending" not in rows["decision"].to_list()[::2]
    assert rows["reason"][1] == "training was decided and refused: two rows"
    assert rows["model_version"].to_list() == [before.model_version] * 3


def test_a_candidate_that_already_serves_is_kept():
    rows = fold_champions(served_before(model(1)), days(1), {FIRST: Attempt(model(1), PASSED)}, {})
    assert told(rows) == [("m1", "keep")]


def test_an_attempt_on_another_day_changes_nothing():
    attempts, pending = {days(9)[8]: Attempt(model(2), PASSED)}, {days(9)[7]: "two rows"}
    assert told(fold_champions(served_before(model(1)), days(1), attempts, pending)) == [("m1", "keep")]


def test_each_stretch_of_days_carries_on_from_its_own_eve():
    """Days between that are kept as they are on record: what they say counts, not the last day decided here."""
    four = [*days(9)[:2], *days(9)[6:8]]
    rows = fold_champions({four[0]: model(1), four[2]: model(5)}, four, {four[1]: Attempt(model(2), PASSED)}, {})
    assert told(rows) == [("m1", "keep"), ("m2", "promoted"), ("m5", "keep"), ("m5", "keep")]


@settings(max_examples=200, deadline=None)
@given(
    before=st.sampled_from([NOBODY, model(0)]),
    attempts=st.dictionaries(
        st.sampled_from(days(12)),
        st.builds(Attempt, st.integers(0, 3).map(model), st.sampled_from([PASSED, FAILED])),
        max_size=6,
    ),
    asked=st.dictionaries(st.sampled_from(days(12)), st.sampled_from(["two rows", "no labels"]), max_size=4),
    cut=st.integers(0, 12),
)
def test_a_range_equals_its_days_and_any_two_halves(before, attempts, asked, cut):
    whole = fold_champions(served_before(before), days(12), attempts, asked)
    assert whole[DAY].to_list() == days(12)

    serving, one_by_one = before, []
    for day in days(12):
        one_by_one.append(fold_champions(served_before(serving, day), [day], attempts, asked))
        serving = Champion(*one_by_one[-1].select("model_version").row(0))
    assert_frame_equal(pl.concat(one_by_one), whole)

    head = fold_champions(served_before(before), days(12)[:cut], attempts, asked)
    at_cut = Champion(*head.select("model_version").row(-1)) if cut else before
    tail_before = served_before(at_cut, FIRST + timedelta(days=cut))
    assert_frame_equal(pl.concat([head, fold_champions(tail_before, days(12)[cut:], attempts, asked)]), whole)


def test_no_days_have_no_champions():
    assert fold_champions(served_before(model(1)), [], {}, {}).is_empty()
