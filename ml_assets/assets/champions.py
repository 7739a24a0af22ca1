"""`champions/<model>`: which model serves the day, and why; a dense asset, not a moving pointer.

What belongs here: the stage. What does not: the gate and the fold (`ml_assets/domain/promotion.py`).
"""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from ml_assets.assets.stage import Body, Ready, Stage, notes_of
from ml_assets.domain.content import fingerprint, seed_of
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.held_out import opponent_of
from ml_assets.domain.interventions import INTERVENTIONS, asked_on, pins_of
from ml_assets.domain.local_days import DAY
from ml_assets.domain.promotion import CHAMPIONS, NOBODY, Attempt, Champion, Rulings, fold_champions, gate, serve
from ml_assets.domain.serving import JUDGED, REFIT, Stored, scored
from ml_assets.domain.slices import GATE
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training_rows import EVENT_DAY, rows_of_slice
from partitions import same_days, window_before

SHOWN = {"model_version": "champion", "decision": "decision", "reason": "reason"}
LIMITS = DayLimits(key=("decision", DAY), required=("decision", "reason"))


def _body(model: ModelSpec, _: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        before, blocked = champions_before(model, ready)
        days = [day for day in ready.days if day not in blocked]
        pending = {
            day: why for stage in ("models", "training_sets") for day, why in ready.inputs[stage].refused.items()
        }
        said = ready.inputs["interventions"]
        rows = said.rows.collect() if said.filled else pl.DataFrame(schema=INTERVENTIONS)
        rulings = Rulings(pins_of(rows), asked_on(rows), approval=model.approval)
        attempts: dict[date, Attempt] = {}
        serving = NOBODY
        for day in days:
            serving = before.get(day, serving)
            if day in ready.inputs["models"].filled:
                attempts[day] = _attempt(model, ready, day, serving)
            serving = serve(day, serving, attempts.get(day), rulings).champion
        rows = fold_champions(before, days, attempts, pending, rulings)
        return DayBatch(
            rows=rows, verdicts=judge_days(rows, days, LIMITS), blocked=blocked, notes=notes_of(rows, SHOWN)
        )

    return body


def champions_before(model: ModelSpec, ready: Ready) -> tuple[dict[date, Champion], dict[date, str]]:
    """Who served the day before each stretch of days to decide, nobody before the first day; and the days blocked
    because the day before them is not there.
    """
    before: dict[date, Champion] = {}
    blocked: dict[date, str] = {}
    yesterday = ready.inputs["before"]
    served = {row[DAY]: row for row in yesterday.rows.collect().iter_rows(named=True)} if yesterday.days else {}
    deciding: Sequence[date] = ready.days
    for day in deciding:
        eve = day - timedelta(days=1)
        if day == model.calendar.first_day:
            before[day] = NOBODY
        elif eve in blocked:
            blocked[day] = blocked[eve]
        elif eve in deciding:
            continue
        elif eve in served:
            before[day] = Champion(served[eve]["model_version"])
        else:
            blocked[day] = (
                f"champions/{model.name} of {eve} is not there, and a champion is carried forward from the day "
                f"before; materialise champions/{model.name} up to {eve} first"
            )
    return before, blocked


def _attempt(model: ModelSpec, ready: Ready, day: date, serving: Champion) -> Attempt:
    rows = rows_of_slice(ready.inputs["training_sets"].of(day), GATE).with_columns(pl.col(EVENT_DAY).alias(DAY))
    trained = ready.inputs["models"].of(day).filter("best")
    judged = trained.filter(pl.col("role") == JUDGED).row(0, named=True)
    # What serves, if the gate lets it: fitted on all rows where the spec asks for it.
    challenger = Champion(trained.sort(pl.col("role") == REFIT)["model_version"][-1])
    theirs = None if serving in (NOBODY, challenger) else _opponent(ready, serving, judged, rows)
    verdict = gate(
        rows,
        scored(model, judged, rows).to_numpy(),
        None if theirs is None else scored(model, theirs, rows).to_numpy(),
        model.gate,
        seed=seed_of(model.name, day.isoformat(), "gate"),
    )
    return Attempt(challenger, verdict)


def _opponent(ready: Ready, serving: Champion, judged: Stored, rows: pl.DataFrame) -> Stored:
    champion = ready.named("any_model", str(serving.model_version), "model_version")
    begins = rows[DAY].min()
    if not isinstance(begins, date):
        return champion
    return ready.named("any_model", opponent_of(judged, champion, begins), "model_version")


STAGE = Stage(
    name="champions",
    of="models",
    nature=Nature.DECISION,
    holds="which model serves D, and why",
    describe=lambda model: f"Which {model.name} model serves the day, and why.",
    reads=lambda model, _: {
        "before": Read(f"champions/{model.name}", window_before(1), edge=False),
        "training_sets": Read(f"training_sets/{model.name}", same_days(), follows=True),
        "models": Read(f"models/{model.name}", same_days(), follows=True),
        "interventions": Read(f"interventions/{model.name}", same_days(), follows=True),
        "any_model": Read(f"models/{model.name}", same_days(), by_version=True),
    },
    code_version=lambda model, _: fingerprint(model.gate, *([model.approval] if model.approval else [])),
    body=_body,
    kinds=frozenset({"deltalake"}),
    columns=lambda _model, _catalog: {
        "model_version": "the model that serves the day; null before the first champion",
        "decision": "first, promoted, rejected, held, approved, pinned, keep, pending or none",
        "reason": "why",
        "evidence": "what the gate measured, as JSON",
    },
    empty=CHAMPIONS,
)
