"""What people decided about who serves: pins, their end, approvals; one row a day, carried forward.

What belongs here: the actions, and the day-by-day fold of what they leave standing. What does not: what follows for the
champion (`promotion.py`), asking people (`ml_assets/assets/interventions.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import polars as pl

from ml_assets.domain.errors import InterventionError
from ml_assets.domain.local_days import DAY

INTERVENTIONS = {
    DAY: pl.Date,
    "action": pl.String,
    "model_version": pl.String,
    "by": pl.String,
    "reason": pl.String,
    "pinned_version": pl.String,
    "pinned_why": pl.String,
}


class Action(StrEnum):
    """What a person can decide about who serves from a day on; Dagster asks for it by the name of the member."""

    none = "none"
    pin = "pin"
    unpin = "unpin"
    rollback = "rollback"
    approve = "approve"
    refuse = "refuse"


PINNING = (Action.pin, Action.rollback)
NAMES_A_MODEL = (Action.pin, Action.approve, Action.refuse)


@dataclass(frozen=True, slots=True)
class Intervention:
    """A decision of a person on a day: `model_version` is what it is about, `by` who, `reason` why."""

    action: Action = Action.none
    model_version: str | None = None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """The model that serves whatever the gate says, and why; no version when nobody has pinned one."""

    version: str | None = None
    why: str = ""


NOTHING = Intervention()
UNPINNED = Pin()


def fold_interventions(
    before: Mapping[date, Pin], days: Iterable[date], asked: Mapping[date, Intervention]
) -> pl.DataFrame:
    """One row a day: what was decided on it, and which model is pinned after it, carried forward from the day before.

    `before` are the pins of the eve of each day whose eve is not among `days`; `asked` the days' own decisions.
    """
    rows = []
    pin = UNPINNED
    for day in days:
        pin = before.get(day, pin)
        own = asked.get(day, NOTHING)
        if own.action in PINNING:
            pin = Pin(own.model_version, f"{own.action} on {day} by {own.by}: {own.reason}")
        elif own.action == Action.unpin:
            pin = UNPINNED
        rows.append((day, str(own.action), own.model_version, own.by, own.reason, pin.version, pin.why))
    return pl.DataFrame(rows, schema=INTERVENTIONS, orient="row")


def pins_of(rows: pl.DataFrame) -> dict[date, Pin]:
    """Which model each day of rows pins."""
    pinned = rows.select(DAY, "pinned_version", "pinned_why")
    return {day: Pin(version, why) for day, version, why in pinned.iter_rows()}


def asked_on(rows: pl.DataFrame) -> dict[date, Intervention]:
    """What was decided on each day of rows on which something was."""
    decided = rows.filter(pl.col("action") != Action.none).select(DAY, "action", "model_version", "by", "reason")
    return {
        day: Intervention(Action(action), version, by, reason)
        for day, action, version, by, reason in decided.iter_rows()
    }


def check_request(asked: Intervention, day: date, pin: Pin) -> None:
    """Raises InterventionError for a decision that says too little, or that there is nothing to end.

    `pin` is what is pinned on the day until now.
    """
    lacking = [name for name in ("by", "reason") if not getattr(asked, name).strip()]
    if lacking:
        raise InterventionError(
            f"{asked.action} on {day} says no {' and no '.join(lacking)}; wanted the name of who decides, and why."
        )
    if asked.action in NAMES_A_MODEL and not asked.model_version:
        raise InterventionError(f"{asked.action} on {day} names no model_version; wanted the one that is meant.")
    if asked.action == Action.unpin and pin.version is None:
        raise InterventionError(f"no model is pinned on {day}, so there is nothing to unpin.")


def check_model(
    asked: Intervention, day: date, trained: Mapping[str, str], features: str, *, accept_changed_features: bool
) -> None:
    """Raises InterventionError for a model that may not serve the day.

    `trained` are the versions on record by what shaped their features, those of later days left out; `features` is what
    shapes today's.
    """
    version = asked.model_version
    if version is None or version not in trained:
        near = f"; the newest are {', '.join(list(trained)[-3:])}" if trained else "; none was trained by then"
        raise InterventionError(f"no model {version!r} is on record that was trained on {day} or before{near}.")
    if trained[version] != features and asked.action != Action.refuse and not accept_changed_features:
        raise InterventionError(
            f"{version} was trained on features of fingerprint {trained[version]}, and today's are {features}: its "
            "scores may not be those of before. Look at what changed since; set accept_changed_features to go on."
        )


def rolled_back_to(served: pl.DataFrame, day: date) -> str:
    """The version that served before the one that serves on `day`; InterventionError when there is none.

    `served` are rows of champions in day order.
    """
    versions = served.filter(pl.col(DAY) <= day, pl.col("model_version").is_not_null())["model_version"]
    if versions.is_empty():
        raise InterventionError(f"no model serves on {day}, so there is nothing to roll back.")
    before = versions.filter(versions != versions[-1])
    if before.is_empty():
        raise InterventionError(
            f"{versions[-1]} is the first champion, so there is nothing to roll back to; pin a version instead."
        )
    return str(before[-1])
