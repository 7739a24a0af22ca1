"""Decisions to train: every trigger, the cool-down, and that nothing of the day itself or later can matter."""

import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.catalog.models.disruption import MODEL as SHIPPED
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.retraining import (
    Decision,
    Evidence,
    decide,
    decision_rows,
    metric_look_back,
    requested,
)
from ml_assets.domain.specs import MetricTrigger, ModelSpec, Schedule

M1, M2 = "2013-04-05-m1", "2013-04-18-m2"
MODEL = replace(
    SHIPPED,
    max_age_days=60,
    first_training_day=date(2013, 2, 1),
    business_days=(date(2013, 5, 24),),
    metric_triggers=(
        MetricTrigger(name="discrimination", metric="roc_auc", target=0.6, violations=2, cohorts=3, min_coverage=0.95),
        MetricTrigger(name="calibration", metric="ece", target=0.1, violations=2, cohorts=3, min_coverage=0.95),
    ),
)
LIMIT = MODEL.drift.max_weighted_drift
TODAY = date(2013, 4, 20)
DRIFT = {
    DAY: pl.Date,
    "column": pl.String,
    "weighted_drift": pl.Float64,
    "drifted": pl.Boolean,
    "importance": pl.Float64,
}
PERFORMANCE = {DAY: pl.Date, "cohort": pl.Date, "coverage": pl.Float64, "roc_auc": pl.Float64, "ece": pl.Float64}
CHAMPIONS = {DAY: pl.Date, "model_version": pl.String, "decision": pl.String}


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def evidence(trained: int) -> Evidence:
    """A champion of so many days ago and nothing else to say."""
    served = pl.DataFrame([(ago(trained), M1, "promoted"), (ago(1), M1, "keep")], schema=CHAMPIONS, orient="row")
    return Evidence(drift=drift_rows(), performance=performance_rows(), champions=served)


@given(st.integers(0, 400), st.sets(st.integers(1, 7)), st.sets(st.integers(1, 28)))
def test_a_schedule_asks_for_its_weekdays_and_days_of_the_month(offset, weekdays, days_of_month):
    if not weekdays and not days_of_month:
        return
    day = date(2013, 1, 1) + timedelta(days=offset)
    schedule = Schedule(weekdays=tuple(weekdays), days_of_month=tuple(days_of_month))
    assert schedule.asks_for(day) == (int(day.strftime("%u")) in weekdays or int(day.strftime("%d")) in days_of_month)


def test_a_day_of_the_schedule_trains_and_others_do_not():
    weekly = replace(MODEL, schedule=Schedule(weekdays=(TODAY.isoweekday(),)), cool_down_days=7)
    decided = decide(weekly, TODAY, evidence(trained=8))
    assert (decided.train, decided.trigger) == (True, "schedule")
    assert decided.reasons == (f"{TODAY} is a day of the schedule",)
    waits = decide(
        replace(weekly, schedule=Schedule(weekdays=(TODAY.isoweekday() % 7 + 1,))), TODAY, evidence(trained=8)
    )
    assert not waits.train
    assert f"{TODAY} is no day of the schedule" in waits.reasons
    assert decide(weekly, TODAY, evidence(trained=6)).trigger == "none"
    assert all("schedule" not in reason for reason in decide(MODEL, TODAY, evidence(trained=20)).reasons)


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        (Schedule(weekdays=(1,)), 7),
        (Schedule(weekdays=(1, 5)), 3),
        (Schedule(days_of_month=(1,)), 28),
        (Schedule(days_of_month=(1, 15)), 14),
        (Schedule(weekdays=(1,), days_of_month=(1,)), 1),
    ],
)
def test_a_schedule_that_cannot_be_met_is_refused_when_it_is_declared(schedule, gap):
    assert replace(MODEL, schedule=schedule, cool_down_days=gap).schedule == schedule
    with pytest.raises(CatalogError, match=f"days {gap} days apart .* cool_down_days of at most {gap}"):
        replace(MODEL, schedule=schedule, cool_down_days=gap + 1)


@pytest.mark.parametrize(
    ("given_", "said"),
    [({}, "names no day"), ({"weekdays": (0,)}, "from 1 to 7"), ({"days_of_month": (29,)}, "from 1 to 28")],
)
def test_a_schedule_of_no_days_is_refused(given_, said):
    with pytest.raises(CatalogError, match=said):
        Schedule(**given_)


def drift_rows(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=DRIFT, orient="row")


def performance_rows(*rows: tuple) -> pl.DataFrame:
    calibrated = {"n": pl.lit(900), "brier": pl.lit(0.12), "raw_brier": pl.lit(0.12)}
    return pl.DataFrame(rows, schema=PERFORMANCE, orient="row").with_columns(**calibrated)


def champion_rows(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=CHAMPIONS, orient="row")


SERVING = champion_rows((ago(15), M1, "first"), *((ago(days), M1, "keep") for days in range(14, 0, -1)))
CALM = drift_rows((ago(1), "sky__wind", 0.01, False, 0.5), (ago(1), "sky__rain", 0.01, False, 0.5))
GOOD = performance_rows(*((ago(days), ago(days + 1), 1.0, 0.75, 0.02) for days in range(1, 8)))


def decided(day: date = TODAY, model: ModelSpec = MODEL, **evidence: object) -> Decision:
    calm = {"drift": CALM, "performance": GOOD, "champions": SERVING}
    return decide(model, day, Evidence(**{**calm, **evidence}))


def cohorts(*values: float | None, column: str = "roc_auc", coverage: float = 1.0) -> pl.DataFrame:
    """Performance of the newest cohorts, oldest first; the other metric is fine."""
    number = len(values)
    fine = {"roc_auc": 0.75, "ece": 0.02}
    rows = [
        (ago(number - place), ago(number - place + 1), coverage, *({**fine, column: value}.values()))
        for place, value in enumerate(values)
    ]
    return performance_rows(*rows)


# --- no trigger, and those that come before all -----------------------------------------------------------


def test_without_a_trigger_the_decision_is_to_wait_and_says_why_for_each():
    decision = decided()
    assert not decision.train
    assert decision.trigger == "none"
    assert len(decision.reasons) == 5
    assert "no day of the business calendar" in decision.reasons[0]
    assert "1% of the champion's importance lies in drifted columns (none), limit 35%" in decision.reasons[1]


def test_before_the_first_training_day_nothing_trains():
    """Not even drift or a business day; what a person asks for is no trigger and is not weighed against any."""
    early = date(2013, 1, 31)
    model = replace(MODEL, business_days=(early,))
    drifted = drift_rows((early - timedelta(days=1), "a", 1.0, True, 1.0))
    decision = decided(early, model, champions=champion_rows(), drift=drifted)
    assert (decision.train, decision.trigger) == (False, "none")
    assert decision.reasons == ("the first training day is 2013-02-01",)
    assert decided(MODEL.first_training_day, champions=champion_rows()).train


@pytest.mark.parametrize("champions", [champion_rows(), champion_rows((ago(1), None, "none"))])
def test_without_a_champion_the_first_is_trained(champions):
    decision = decided(champions=champions, drift=drift_rows(), performance=performance_rows())
    assert (decision.train, decision.trigger) == (True, "first champion")


@pytest.mark.parametrize("day", [date(2013, 1, 31), TODAY])
def test_what_a_person_asks_for_is_a_decision_to_train_with_their_reason(day):
    asked = requested(day, "the fleet changed")
    assert (asked.day, asked.train, asked.trigger, asked.reasons) == (day, True, "manual", ("the fleet changed",))
    # A reason of its own each time, so that asking anew is a new decision for the sensor.
    assert asked.evidence_version != requested(day, "another reason").evidence_version


# --- cool-down --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", ["first", "promoted", "rejected", "pending"])
def test_nothing_fires_within_the_cool_down_of_any_attempt(attempt):
    drifted = drift_rows((ago(1), "sky__wind", LIMIT + 0.1, True, 1.0))
    for since, train in ((1, False), (MODEL.cool_down_days - 1, False), (MODEL.cool_down_days, True)):
        champions = champion_rows((ago(since), M1, attempt), *((ago(day), M1, "keep") for day in range(1, since)))
        decision = decided(champions=champions, drift=drifted)
        assert decision.train is train, (since, decision)
        assert ("in cool-down" in decision.reasons[0]) is not train


def test_a_rejected_first_candidate_cools_down_too():
    champions = champion_rows((ago(3), None, "rejected"), (ago(2), None, "none"), (ago(1), None, "none"))
    assert "in cool-down" in decided(champions=champions).reasons[0]


@pytest.mark.parametrize("decision", ["keep", "none"])
def test_days_without_an_attempt_do_not_cool_down(decision):
    champions = champion_rows((ago(1), M1, decision))
    assert decided(champions=champions, day=TODAY, drift=drift_rows((ago(1), "a", 1.0, True, 1.0))).trigger == "drift"


# --- age and calibration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "train"), [(59, False), (60, True)])
def test_a_champion_is_replaced_when_it_is_old(age, train):
    version = f"{ago(age)}-m1"
    champions = champion_rows(*((ago(days), version, "keep") for days in range(20, 0, -1)))
    decision = decided(champions=champions)
    assert (decision.train, decision.trigger) == (train, "age" if train else "none")
    assert f"the champion was trained {age} days ago, wanted less than 60" in decision.reasons[-1]
    assert not decided(champions=champions, model=replace(MODEL, max_age_days=None)).train


def test_a_maximum_age_within_the_cool_down_is_refused():
    with pytest.raises(CatalogError, match="max_age_days is 13 and cool_down_days 14"):
        replace(MODEL, max_age_days=13)


@pytest.mark.parametrize(("rise", "said"), [(0.004, True), (0.0002, False), (-0.004, False)])
def test_a_probability_that_costs_against_the_raw_score_is_a_finding_and_trains_nothing(rise, said):
    draw = np.random.default_rng(0).normal(0, 0.004, 50)
    served = performance_rows(*((ago(days), ago(days + 1), 1.0, 0.75, 0.02) for days in range(1, 51)))
    served = served.with_columns(brier=0.12 + rise + pl.Series(draw))
    decision = decided(performance=served)
    assert not decision.train
    assert any(reason.startswith("finding: over 50 cohorts") for reason in decision.reasons) is said


# --- the triggers -----------------------------------------------------------------------------------------


def test_a_business_day_fires_on_its_day_only():
    day = MODEL.business_days[0]
    champions = champion_rows(*((day + timedelta(days=shift), M1, "keep") for shift in (-2, -1, 0)))
    assert decided(day, champions=champions).trigger == "business calendar"
    assert not decided(day - timedelta(days=1), champions=champions).train
    assert not decided(day + timedelta(days=1), champions=champions).train


@pytest.mark.parametrize(("share", "train"), [(LIMIT, False), (LIMIT + 1e-9, True)])
def test_drift_fires_above_its_limit_and_names_the_heaviest_columns(share, train):
    rows = [(ago(1), f"c{place}", share, place != 3, place / 10) for place in range(8)]
    decision = decided(drift=drift_rows(*rows))
    assert decision.train is train
    assert (decision.trigger == "drift") is train
    reason = next(reason for reason in decision.reasons if "drifted columns" in reason)
    assert "(c7, c6, c5, c4, c2)" in reason


def test_drift_of_an_older_day_does_not_fire_and_a_missing_report_is_said():
    decision = decided(drift=drift_rows((ago(2), "a", 1.0, True, 1.0)))
    assert not decision.train
    assert f"no drift report of {ago(1)}" in decision.reasons


@pytest.mark.parametrize(
    ("values", "train"),
    [
        ((0.75, 0.5, 0.5), True),
        ((0.5, 0.75, 0.5), True),
        ((0.5, 0.5, 0.75), False),  # the newest recovered
        ((0.75, 0.75, 0.5), False),  # once is no pattern
        ((0.5, 0.5), False),  # too few cohorts
        ((0.5, 0.5, 0.75, 0.75, 0.5), False),  # old ones do not count
        ((0.6, 0.6, 0.6), False),  # the target itself is met
    ],
)
def test_a_metric_fires_when_enough_of_the_last_cohorts_miss_it_and_the_newest_does(values, train):
    decision = decided(performance=cohorts(*values))
    assert decision.train is train
    assert decision.trigger == ("discrimination" if train else "none")


@pytest.mark.parametrize(("value", "train"), [(0.1, False), (0.11, True)])
def test_a_metric_that_is_worse_when_higher_fires_above_its_target(value, train):
    decision = decided(performance=cohorts(value, value, value, column="ece"))
    assert decision.trigger == ("calibration" if train else "none")


def test_immature_cohorts_are_not_looked_at():
    mature = cohorts(0.75, 0.75, 0.75)
    immature = performance_rows(*((ago(1), ago(days), 0.94, 0.1, 0.9) for days in (1, 2)))
    assert not decided(performance=pl.concat([mature, immature])).train
    ripe = immature.with_columns(coverage=pl.lit(0.95))
    assert decided(performance=pl.concat([mature.with_columns(pl.col("cohort") - timedelta(days=3)), ripe])).train


def test_a_cohort_without_the_metric_is_not_looked_at():
    """A day on which one class only occurred has no ROC-AUC."""
    assert decided(performance=cohorts(0.5, 0.5, 0.5, None)).trigger == "discrimination"


def test_of_several_reports_on_a_cohort_the_newest_counts():
    early = cohorts(0.5, 0.5, 0.5).with_columns(pl.col(DAY) - timedelta(days=1))
    late = cohorts(0.75, 0.75, 0.75)
    for order in ([early, late], [late, early]):
        assert not decided(performance=pl.concat(order)).train
    restated = pl.concat([late.with_columns(pl.col(DAY) - timedelta(days=2)), cohorts(0.5, 0.5, 0.5)])
    assert decided(performance=restated).train


def test_the_first_trigger_that_fires_is_the_one_named():
    drifted = drift_rows((ago(1), "a", 1.0, True, 1.0))
    assert decided(drift=drifted, performance=cohorts(0.5, 0.5, 0.5)).trigger == "drift"
    model = replace(MODEL, business_days=(TODAY,))
    assert decided(model=model, drift=drifted).trigger == "business calendar"


# --- nothing of the day itself or later -------------------------------------------------------------------

shares = st.floats(0, 1)
later = st.integers(0, 30).map(lambda days: TODAY + timedelta(days=days))
earlier = st.integers(1, 25).map(ago)


def evidence_rows(days: st.SearchStrategy[date]) -> st.SearchStrategy[dict[str, pl.DataFrame]]:
    def one_a_key(keys: int, *columns: st.SearchStrategy) -> st.SearchStrategy[list[tuple]]:
        return st.lists(st.tuples(days, *columns), max_size=6, unique_by=lambda row: row[:keys])

    return st.fixed_dictionaries(
        {
            "drift": one_a_key(1, st.just("a"), shares, st.booleans(), shares).map(lambda rows: drift_rows(*rows)),
            "performance": one_a_key(
                2, st.integers(-3, 25).map(ago), st.sampled_from([0.5, 0.95, 1.0]), st.one_of(st.none(), shares), shares
            ).map(lambda rows: performance_rows(*rows)),
            "champions": one_a_key(
                1,
                st.sampled_from([None, M1, M2]),
                st.sampled_from(["none", "keep", "first", "rejected", "pending"]),
            ).map(lambda rows: champion_rows(*rows)),
        }
    )


@settings(max_examples=250, deadline=None)
@given(before=evidence_rows(earlier), after=evidence_rows(later), base=st.booleans(), front=st.booleans())
def test_evidence_of_the_day_itself_or_later_never_changes_a_decision(before, after, base, front):
    if base:  # a champion that may fire, so that not every example waits for its cool-down
        before = {**before, "champions": SERVING}
    both = {name: pl.concat([after[name], before[name]] if front else [before[name], after[name]]) for name in before}
    assert decide(MODEL, TODAY, Evidence(**both)) == decide(MODEL, TODAY, Evidence(**before))


def test_reports_older_than_the_look_back_never_count():
    """A day decided alone reads only its look-back; decided in a range it must not see further back."""
    look_back = metric_look_back(MODEL)
    bad = cohorts(0.5, 0.5, 0.5)
    fitting = bad.with_columns(pl.col(DAY) - timedelta(days=look_back - 3), pl.col("cohort") - timedelta(days=40))
    assert fitting[DAY].min() == ago(look_back)
    assert decided(performance=fitting).train
    assert not decided(performance=fitting.with_columns(pl.col(DAY) - timedelta(days=1))).train


def test_that_property_can_fail():
    """Evidence of the day before does change the decision."""
    assert decided() != decided(drift=drift_rows((ago(1), "a", 1.0, True, 1.0)))


# --- decisions as rows ------------------------------------------------------------------------------------


def test_decisions_are_stored_one_a_row_with_their_reasons():
    decisions = [decided(), requested(TODAY, "because")]
    rows = decision_rows(decisions)
    assert rows["decision"].to_list() == ["wait", "train"]
    assert rows["trigger"].to_list() == ["none", "manual"]
    assert [tuple(json.loads(reasons)) for reasons in rows["reasons"]] == [each.reasons for each in decisions]
    assert rows["evidence_version"].n_unique() == 2
    assert decision_rows([]).schema == rows.schema


def test_the_evidences_version_changes_with_what_the_decision_rests_on_only():
    version = decided().evidence_version
    assert decided().evidence_version == version
    other = drift_rows((ago(1), "sky__wind", 0.2, True, 0.5))
    assert decided(drift=other).evidence_version != version
    of_today = drift_rows((TODAY, "a", 1.0, True, 1.0))
    assert decided(drift=pl.concat([CALM, of_today])).evidence_version == version
