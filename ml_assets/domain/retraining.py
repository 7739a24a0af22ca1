"""Shall a model be trained at a day, and on what evidence: one pure function for replay and sensor alike.

What belongs here: triggers, cool-down, the decision as a value.
What does not: acting on it (`sensors`, `ml_assets/replay.py`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ml_assets.domain.calibration import WORSE_BEYOND_NOISE
from ml_assets.domain.content import fingerprint
from ml_assets.domain.local_days import DAY
from ml_assets.domain.promotion import ATTEMPTED
from ml_assets.domain.specs import MetricTrigger, ModelSpec

DECISIONS = {
    DAY: pl.Date,
    "decision": pl.String,
    "trigger": pl.String,
    "reasons": pl.String,
    "evidence_version": pl.String,
}
CALIBRATION_DAYS = 56
"""Over how many trailing days the served probability is held against the raw score."""
WORSE_WHEN_LOWER = frozenset({"roc_auc"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was known before a day: reports and champions of earlier days only."""

    drift: pl.DataFrame
    performance: pl.DataFrame
    champions: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Decision:
    """To train or to wait, which trigger fired, every reason for and against."""

    day: date
    train: bool
    trigger: str
    reasons: tuple[str, ...]

    @property
    def evidence_version(self) -> str:
        """Changes when what the decision rests on changes."""
        return fingerprint(self.day.isoformat(), self.train, self.trigger, self.reasons)


def decide(model: ModelSpec, day: date, evidence: Evidence) -> Decision:
    """The decision for `day`, from evidence strictly before it.

    In this order: before the first training day wait; within the cool-down of the last attempt wait; with no champion
    train; then business days, the schedule, drift, metrics, the champion's age.
    """
    if day < model.first_training_day:
        return Decision(day, False, "none", (f"the first training day is {model.first_training_day}",))
    champions = evidence.champions.filter(pl.col(DAY) < day).sort(DAY)
    attempts = champions.filter(pl.col("decision").is_in(ATTEMPTED))
    if attempts.height:
        last = attempts[DAY][-1]
        if day - last < timedelta(days=model.cool_down_days):
            reason = f"in cool-down: the last training was on {last}, {model.cool_down_days} days must pass"
            return Decision(day, False, "none", (reason,))
    if champions.is_empty() or champions["model_version"][-1] is None:
        return Decision(day, train=True, trigger="first champion", reasons=("no champion serves yet",))
    first = day - timedelta(days=metric_look_back(model))
    performance = evidence.performance.filter(pl.col(DAY) >= first, pl.col(DAY) < day)
    findings = (
        _business_day(model, day),
        *_schedule(model, day),
        _drift(model, day, evidence.drift),
        *(_metric(trigger, performance) for trigger in model.metric_triggers),
        *_age(model, day, str(champions["model_version"][-1])),
    )
    said = tuple(_calibration_finding(evidence.performance, day))
    for name, fired, reason in findings:
        if fired:
            return Decision(day, train=True, trigger=name, reasons=(reason, *said))
    return Decision(day, False, "none", (*(reason for _, _, reason in findings), *said))


def requested(day: date, reason: str) -> Decision:
    """The decision to train that a person makes, although no trigger fired."""
    return Decision(day, train=True, trigger="manual", reasons=(reason,))


def performance_look_back(model: ModelSpec) -> int:
    """How many days of performance reports before a day its decision looks at."""
    return max(metric_look_back(model), CALIBRATION_DAYS)


def metric_look_back(model: ModelSpec) -> int:
    """How many days of performance reports before a day its metric triggers look at."""
    cohorts = max((trigger.cohorts for trigger in model.metric_triggers), default=0)
    return cohorts + 3 * model.calendar.label_lag_days + 1


def decision_rows(decisions: Sequence[Decision]) -> pl.DataFrame:
    """One row a decision, as `retrain_decisions` stores it."""
    return pl.DataFrame(
        {
            DAY: [decision.day for decision in decisions],
            "decision": ["train" if decision.train else "wait" for decision in decisions],
            "trigger": [decision.trigger for decision in decisions],
            "reasons": [json.dumps(decision.reasons) for decision in decisions],
            "evidence_version": [decision.evidence_version for decision in decisions],
        },
        schema=DECISIONS,
    )


def _business_day(model: ModelSpec, day: date) -> tuple[str, bool, str]:
    fired = day in model.business_days
    return "business calendar", fired, f"{day} is {'a' if fired else 'no'} day of the business calendar"


def _schedule(model: ModelSpec, day: date) -> list[tuple[str, bool, str]]:
    if model.schedule is None:
        return []
    fired = model.schedule.asks_for(day)
    return [("schedule", fired, f"{day} is {'a' if fired else 'no'} day of the schedule")]


def _drift(model: ModelSpec, day: date, drift: pl.DataFrame) -> tuple[str, bool, str]:
    yesterday = drift.filter(pl.col(DAY) == day - timedelta(days=1))
    if yesterday.is_empty():
        return "drift", False, f"no drift report of {day - timedelta(days=1)}"
    share = float(yesterday["weighted_drift"][0])
    drifted = yesterday.filter(pl.col("drifted")).sort("importance", descending=True)["column"].to_list()
    limit = model.drift.max_weighted_drift
    fired = share > limit
    named = ", ".join(drifted[:5]) or "none"
    return (
        "drift",
        fired,
        f"{share:.0%} of the champion's importance lies in drifted columns ({named}), limit {limit:.0%}",
    )


def _age(model: ModelSpec, day: date, champion: str) -> list[tuple[str, bool, str]]:
    if model.max_age_days is None:
        return []
    age = (day - date.fromisoformat(champion[:10])).days
    fired = age >= model.max_age_days
    return [("age", fired, f"the champion was trained {age} days ago, wanted less than {model.max_age_days}")]


def _calibration_finding(performance: pl.DataFrame, day: date) -> list[str]:
    """That serving the probability has cost against the raw score, over the trailing weeks, by more than noise."""
    trailing = performance.filter(pl.col(DAY) < day, pl.col(DAY) >= day - timedelta(days=CALIBRATION_DAYS))
    cohorts = trailing.sort(DAY).unique("cohort", keep="last", maintain_order=True)
    rise = cohorts.select(pl.col("n"), (pl.col("brier") - pl.col("raw_brier")).alias("rise")).drop_nulls()
    if rise.height < CALIBRATION_DAYS // 2:
        return []
    number = int(rise["n"].sum())
    mean = float((rise["n"] * rise["rise"]).sum()) / number
    total = float(((rise["n"] * (rise["rise"] - mean)) ** 2).sum())
    error = (total * rise.height / (rise.height - 1)) ** 0.5 / number
    if mean <= WORSE_BEYOND_NOISE * error:
        return []
    said = (
        f"finding: over {rise.height} cohorts of the last {CALIBRATION_DAYS} days the probability's Brier score is "
        f"above the raw score's by {mean:.4f}, {WORSE_BEYOND_NOISE:.0f} standard errors over days being "
        f"{WORSE_BEYOND_NOISE * error:.4f}: see the calibrators of those days"
    )
    return [said]


def _metric(trigger: MetricTrigger, performance: pl.DataFrame) -> tuple[str, bool, str]:
    """At least `violations` of the last `cohorts` mature cohorts are worse than the target, the newest too."""
    mature = (
        performance.sort(DAY)
        .unique("cohort", keep="last", maintain_order=True)
        .filter(pl.col("coverage") >= trigger.min_coverage, pl.col(trigger.metric).is_not_null())
        .sort("cohort")
        .tail(trigger.cohorts)
    )
    worse = (
        pl.col(trigger.metric) < trigger.target
        if trigger.metric in WORSE_WHEN_LOWER
        else pl.col(trigger.metric) > trigger.target
    )
    violated = mature.select(worse)[trigger.metric].to_list()
    fired = len(violated) == trigger.cohorts and sum(violated) >= trigger.violations and violated[-1]
    bound = "below" if trigger.metric in WORSE_WHEN_LOWER else "above"
    return (
        trigger.name,
        bool(fired),
        (
            f"{trigger.metric} {bound} {trigger.target} in {sum(violated)} of {len(violated)} mature cohorts, "
            f"wanted {trigger.violations} of {trigger.cohorts} and the newest to fire"
        ),
    )
