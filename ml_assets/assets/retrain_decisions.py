"""`retrain_decisions/<model>`: shall a model be trained at the day, and on what evidence.

What belongs here: the stage. What does not: triggers (`ml_assets/domain/retraining.py`), acting on them
(`sensors`).
"""

from datetime import timedelta

from ml_assets.assets.stage import Body, Ready, Stage, notes_of
from ml_assets.domain.content import fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.retraining import DECISIONS, Evidence, decide, decision_rows, performance_look_back
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import window_before

SHOWN = {"decision": "decision", "trigger": "trigger", "reasons": "reasons"}
LIMITS = DayLimits(key=("decision", "partition_date"), required=("decision", "trigger", "reasons"))


def _body(model: ModelSpec, _: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        champions = ready.inputs["champions"]
        blocked = {
            day: f"champions/{model.name} of {day - timedelta(days=1)} is not there"
            for day in ready.days
            if day > model.calendar.first_day and day - timedelta(days=1) not in champions.days
        }
        evidence = Evidence(
            drift=ready.inputs["drift"].rows.collect(),
            performance=ready.inputs["performance"].rows.collect(),
            champions=champions.rows.collect(),
        )
        days = [day for day in ready.days if day not in blocked]
        rows = decision_rows([decide(model, day, evidence) for day in days])
        return DayBatch(
            rows=rows, verdicts=judge_days(rows, days, LIMITS), blocked=blocked, notes=notes_of(rows, SHOWN)
        )

    return body


STAGE = Stage(
    name="retrain_decisions",
    of="models",
    nature=Nature.DECISION,
    holds="shall a model be trained at D, which trigger fired, or why none did",
    describe=lambda model: f"Whether {model.name} is trained at the day, which trigger fired or why none did.",
    reads=lambda model, _: {
        "drift": Read(f"drift_reports/{model.name}", window_before(1)),
        "performance": Read(f"performance_reports/{model.name}", window_before(performance_look_back(model))),
        "champions": Read(f"champions/{model.name}", window_before(model.cool_down_days)),
    },
    code_version=lambda model, _: fingerprint(
        model.drift, model.metric_triggers, model.cool_down_days, *([model.schedule] if model.schedule else [])
    ),
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda _model, _catalog: {
        "decision": "train or wait",
        "trigger": "what fired; none when nothing did; manual when a person asked",
        "reasons": "every reason for and against, as JSON",
        "evidence_version": "changes when what the decision rests on changes",
    },
    empty=DECISIONS,
)
