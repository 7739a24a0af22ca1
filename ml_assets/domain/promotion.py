"""Champion against challenger, and who serves which day.

What belongs here: the gate as a verdict, the day-by-day fold of champions.
What does not: scoring the gate's rows, reading artefacts (`ml_assets/assets`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

import numpy as np
import polars as pl

from ml_assets.domain.evaluation import brier, evaluate, paired_bootstrap
from ml_assets.domain.interventions import UNPINNED, Action, Intervention, Pin
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import GateLimits
from ml_assets.domain.verdict import Verdict

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Champion:
    """Which model serves; None before the first champion."""

    model_version: str | None


NOBODY = Champion(None)
# What champions say of a day on which training was tried.
ATTEMPTED = ("first", "promoted", "rejected", "held", "pending")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A trained candidate of a day and what the gate said of it."""

    challenger: Champion
    verdict: Verdict


def gate(rows: pl.DataFrame, challenger: Floats, champion: Floats | None, limits: GateLimits, *, seed: int) -> Verdict:
    """Whether the challenger may replace the champion on the same recent, never-trained-on, labelled rows.

    `rows` hold `label`, `partition_date` and the segment columns; the arrays are scores in its order: what turns
    scores into probabilities is fitted daily for whoever serves. Absolute limits always count; against a champion the
    Brier score must not be higher by more than the limit in the middle of a day-block bootstrap, nor any large
    segment's beyond its own.
    """
    if rows.is_empty():
        reason = f"the gate has 0 labelled rows, wanted at least {limits.min_rows}"
        return Verdict(passed=False, reasons=(reason,), measured={"rows": 0})
    labels = rows["label"].to_numpy()
    ours = evaluate(labels, challenger)
    reasons: list[str] = []
    if ours.n < limits.min_rows:
        reasons.append(f"the gate has {ours.n} labelled rows, wanted at least {limits.min_rows}")
    if ours.roc_auc is None or ours.roc_auc < limits.min_roc_auc:
        reasons.append(f"ROC-AUC {ours.roc_auc} at the gate, wanted at least {limits.min_roc_auc}")
    if ours.ece > limits.max_ece:
        reasons.append(f"ECE {ours.ece:.3f} at the gate, wanted at most {limits.max_ece}")
    measured: dict[str, int | float | str | bool | None] = {
        "rows": ours.n,
        "roc_auc": ours.roc_auc,
        "brier": ours.brier,
        "ece": ours.ece,
    }
    if champion is not None and rows[DAY].n_unique() < 2:
        reasons.append("the gate's rows lie on one day, wanted two or more to compare with the champion")
    elif champion is not None:
        theirs = evaluate(labels, champion)
        blocks = rows[DAY].rank("dense").to_numpy().astype(np.int64)
        rise = paired_bootstrap(
            labels, champion, challenger, brier, blocks=blocks, seed=seed, draws=limits.bootstrap_draws
        )
        measured |= {
            "champion_roc_auc": theirs.roc_auc,
            "champion_brier": theirs.brier,
            "brier_rise_p5": rise.p05,
            "brier_rise_p50": rise.p50,
            "brier_rise_p95": rise.p95,
        }
        if rise.p50 > limits.max_brier_rise:
            reasons.append(
                f"Brier {ours.brier:.4f} is higher than the champion's {theirs.brier:.4f} by {rise.p50:.4f} in the "
                f"middle of the bootstrap, wanted at most {limits.max_brier_rise}"
            )
        reasons += _segment_reasons(rows, labels, challenger, champion, limits)
    return Verdict(passed=not reasons, reasons=tuple(reasons), measured=measured)


CHAMPIONS = {
    DAY: pl.Date,
    "model_version": pl.String,
    "decision": pl.String,
    "reason": pl.String,
    "evidence": pl.String,
}


@dataclass(frozen=True, slots=True)
class Rulings:
    """What people decided: the model pinned on each day, what was asked on it, whether promotions need an approval."""

    pins: Mapping[date, Pin] = field(default_factory=lambda: MappingProxyType({}))
    asked: Mapping[date, Intervention] = field(default_factory=lambda: MappingProxyType({}))
    approval: bool = False


NO_RULINGS = Rulings()


@dataclass(frozen=True, slots=True)
class Served:
    """Who serves a day, what was decided and why."""

    champion: Champion
    decision: str
    reason: str


def fold_champions(
    before: Mapping[date, Champion],
    days: Iterable[date],
    attempts: Mapping[date, Attempt],
    pending: Mapping[date, str],
    rulings: Rulings = NO_RULINGS,
) -> pl.DataFrame:
    """One row a day: who serves it and why, carried forward from the day before.

    `before` says who served the day before each day whose eve is not among `days`. `pending` are days on which training
    was decided and refused, with the reason: the day keeps its champion and says so.
    """
    rows = []
    serving = NOBODY
    for day in days:
        served = serve(day, before.get(day, serving), attempts.get(day), rulings, pending.get(day))
        serving = served.champion
        measured = attempts[day].verdict.measured if day in attempts else {}
        evidence = json.dumps(dict(measured), sort_keys=True)
        rows.append((day, serving.model_version, served.decision, served.reason, evidence))
    return pl.DataFrame(
        rows,
        schema=CHAMPIONS,
        orient="row",
    )


def serve(
    day: date, serving: Champion, attempt: Attempt | None, rulings: Rulings, pending: str | None = None
) -> Served:
    """Who serves a day after `serving`: a pinned model first, then one that a person approves, then what the gate says.

    Where promotions need an approval, one that passed the gate is held until a person decides.
    """
    said = None if attempt is None else _after(serving, attempt)
    pin, asked = rulings.pins.get(day, UNPINNED), rulings.asked.get(day)
    if pin.version is not None:
        tried = "" if said is None else f"; what was trained on the day: {said.decision}, {said.reason}"
        return Served(Champion(pin.version), "pinned", f"{pin.why}{tried}")
    if asked is not None and asked.action == Action.approve:
        return Served(Champion(asked.model_version), "approved", f"approved by {asked.by}: {asked.reason}")
    if said is not None and rulings.approval and said.champion != serving:
        return Served(serving, "held", f"{said.champion.model_version} passed the gate and waits for an approval")
    return said or Served(serving, *_nothing_tried(serving, asked, pending))


def _nothing_tried(serving: Champion, asked: Intervention | None, pending: str | None) -> tuple[str, str]:
    if pending is not None:
        return "pending", f"training was decided and refused: {pending}"
    if asked is not None and asked.action == Action.refuse:
        return "keep", f"{asked.model_version} was refused by {asked.by}: {asked.reason}"
    return ("none", "no champion yet") if serving == NOBODY else ("keep", "nothing was trained for this day")


def _after(serving: Champion, attempt: Attempt) -> Served:
    if not attempt.verdict.passed:
        return Served(serving, "rejected", "; ".join(attempt.verdict.reasons))
    if serving == NOBODY:
        return Served(attempt.challenger, "first", "the first champion passed the absolute limits")
    if serving == attempt.challenger:
        return Served(serving, "keep", "the candidate is the serving champion")
    return Served(attempt.challenger, "promoted", "the challenger is no worse than the champion at the gate")


def _segment_reasons(
    rows: pl.DataFrame, labels: Floats, challenger: Floats, champion: Floats, limits: GateLimits
) -> list[str]:
    reasons = []
    for column in limits.segments:
        values = rows[column].to_numpy()
        for value in sorted(rows[column].drop_nulls().unique()):
            inside = values == value
            if int(inside.sum()) < limits.min_segment_rows:
                continue
            rise = brier(labels[inside], challenger[inside]) - brier(labels[inside], champion[inside])
            if rise > limits.max_segment_brier_rise:
                reasons.append(
                    f"in {column} = {value} Brier rises by {rise:.4f}, wanted at most {limits.max_segment_brier_rise}"
                )
    return reasons
