"""`interventions/<model>`: what people decided about who serves, and which model is pinned on each day.

What belongs here: the stage, a person's request. What does not: what follows for the champion
(`ml_assets/assets/champions.py`).
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl
from pydantic import Field

from ml_assets.assets.stage import Body, Ready, Stage, Step, Wish, notes_of
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.errors import InterventionError
from ml_assets.domain.feature_version import feature_version
from ml_assets.domain.interventions import (
    INTERVENTIONS,
    UNPINNED,
    Action,
    Intervention,
    Pin,
    asked_on,
    check_model,
    check_request,
    fold_interventions,
    pins_of,
    rolled_back_to,
)
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import DayRange, same_days, window_before

SHOWN = {"action": "action", "model_version": "model", "by": "by", "reason": "reason", "pinned_version": "pinned"}
LIMITS = DayLimits(key=("action", DAY), required=("action",))
ONE_DAY = timedelta(days=1)


class InterventionRequest(Wish):
    """What a person decides from the day of the run on; nothing when left as it is."""

    action: Action = Field(
        default=Action.none,
        description="pin: the named model serves from this day on, whatever the gate says; unpin: the gate decides "
        "again; rollback: pin the model that served before this day's; approve or refuse: a promotion that is held.",
    )
    model_version: str = Field(default="", description="Which model; rollback and unpin find it by themselves.")
    by: str = Field(default="", description="The name of who decides.")
    reason: str = Field(default="", description="Why; it is shown on the day.")
    accept_changed_features: bool = Field(
        default=False,
        description="Go on although the features it was trained on are computed otherwise by now.",
    )

    @property
    def asks(self) -> bool:
        """Whether the days are decided anew."""
        return self.anew or self.action != Action.none


def _body(model: ModelSpec, catalog: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        before, blocked = _pins_before(model, ready)
        days = [day for day in ready.days if day not in blocked]
        held = ready.door.read(f"interventions/{model.name}", ready.run)
        stored = held.rows.collect() if held.filled else pl.DataFrame(schema=INTERVENTIONS)
        asked, pinned = asked_on(stored), pins_of(stored)
        request = _request(ready)
        if request and days:
            first = days[0]
            asked[first] = _checked(model, catalog, ready, (first, pinned.get(first, before[first])), request)
        rows = fold_interventions(before, days, asked)
        return DayBatch(
            rows=rows, verdicts=judge_days(rows, days, LIMITS), blocked=blocked, notes=notes_of(rows, SHOWN)
        )

    return body


def _request(ready: Ready) -> InterventionRequest | None:
    config: dict[str, Any] = ready.context.op_execution_context.op_config or {}
    request = InterventionRequest(**config)
    return request if request.action != Action.none else None


def _checked(
    model: ModelSpec, catalog: Catalog, ready: Ready, at: tuple[date, Pin], request: InterventionRequest
) -> Intervention:
    """The person's decision, with the model it is about; InterventionError for one that cannot be carried out.

    `at` are the day and what is pinned on it until now.
    """
    day, pin = at
    asked = Intervention(request.action, request.model_version or None, request.by, request.reason)
    check_request(asked, day, pin)
    until = DayRange(model.calendar.first_day, day + ONE_DAY)
    if asked.action == Action.rollback:
        served = ready.door.read(f"champions/{model.name}", until)
        rows = served.rows.select(DAY, "model_version").sort(DAY).collect() if served.filled else None
        if rows is None:
            raise InterventionError(f"no model serves on {day}, so there is nothing to roll back.")
        asked = replace(asked, model_version=rolled_back_to(rows, day))
    if asked.action == Action.unpin:
        return replace(asked, model_version=pin.version)
    trained = ready.door.read(f"models/{model.name}", until)
    rows = trained.rows.select(DAY, "model_version", "feature_version").sort(DAY).collect() if trained.filled else None
    versions = dict(rows.select("model_version", "feature_version").iter_rows()) if rows is not None else {}
    features = feature_version(model, catalog)
    check_model(asked, day, versions, features, accept_changed_features=request.accept_changed_features)
    return asked


def _pins_before(model: ModelSpec, ready: Ready) -> tuple[dict[date, Pin], dict[date, str]]:
    """What was pinned on the eve of each stretch of days, and the days blocked because their eve is not there."""
    yesterday = ready.inputs["before"]
    known = pins_of(yesterday.rows.collect()) if yesterday.filled else {}
    before: dict[date, Pin] = {}
    blocked: dict[date, str] = {}
    for day in ready.days:
        eve = day - ONE_DAY
        if eve in blocked:
            blocked[day] = blocked[eve]
        elif eve in ready.days:
            continue
        elif eve in known:
            before[day] = known[eve]
        elif day == model.calendar.first_day or not ready.stored:
            before[day] = UNPINNED
        else:
            blocked[day] = (
                f"interventions/{model.name} of {eve} is not there, and a pin is carried forward from the day before; "
                f"materialise interventions/{model.name} up to {eve} first"
            )
    return before, blocked


def _refuse_ranges(step: Step, config: InterventionRequest) -> Iterator[Any]:
    if config.action != Action.none and len(step.run) > 1:
        raise InterventionError(
            f"{config.action} was asked of {len(step.run)} days at once; decide it on the first of them alone: it "
            "holds from there on, and the days after it follow by themselves."
        )
    return iter(())


STAGE = Stage(
    name="interventions",
    of="models",
    nature=Nature.DECISION,
    holds="what people decided about who serves from D on, and which model is pinned",
    describe=lambda model: f"What people decided about who serves as {model.name}: pins, rollbacks, approvals.",
    reads=lambda model, _: {
        "before": Read(f"interventions/{model.name}", window_before(1), edge=False, follows=True),
        "champions": Read(f"champions/{model.name}", same_days(), edge=False, by_version=True),
        "models": Read(f"models/{model.name}", same_days(), edge=False, by_version=True),
    },
    body=_body,
    kinds=frozenset({"deltalake"}),
    columns=lambda _model, _catalog: {
        "action": "what a person decided on the day: pin, unpin, rollback, approve, refuse, or none",
        "model_version": "the model it is about",
        "by": "who decided",
        "reason": "why",
        "pinned_version": "the model that serves whatever the gate says; null when none is pinned",
        "pinned_why": "when, by whom and why it was pinned",
    },
    empty=INTERVENTIONS,
    wish=InterventionRequest,
    before=_refuse_ranges,
)
