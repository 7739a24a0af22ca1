"""`retrain_decisions/<model>`: shall a model be trained at the day, and on what evidence.

What belongs here: the factory. What does not: triggers (`ml_assets/domain/retraining.py`), acting on them
(`sensors`).
"""

from datetime import timedelta

from dagster import AssetsDefinition

from ml_assets.assets.keys import key
from ml_assets.assets.partitioned import Frame, Ready, notes_of, parent, partitioned_asset
from ml_assets.domain.content import code_fingerprint, fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.retraining import Evidence, decide, decision_rows, performance_look_back
from ml_assets.domain.specs import ModelSpec
from partitions import window_before

SHOWN = {"decision": "decision", "trigger": "trigger", "reasons": "reasons"}
LIMITS = DayLimits(key=("decision", "partition_date"), required=("decision", "trigger", "reasons"))


def retrain_decisions_asset(model: ModelSpec) -> AssetsDefinition:
    """The decisions of a model; only reports and champions of earlier days are read."""
    calendar = model.calendar

    def body(ready: Ready) -> DayBatch:
        champions = ready.inputs["champions"]
        blocked = {
            day: f"champions/{model.name} of {day - timedelta(days=1)} is not there"
            for day in ready.days
            if day > calendar.first_day and day - timedelta(days=1) not in champions.days
        }
        evidence = Evidence(
            drift=ready.inputs["drift"].rows.collect(),
            performance=ready.inputs["performance"].rows.collect(),
            champions=champions.rows.collect(),
            requests=ready.lake.asked(model.name, ready.run.start, ready.run.end),
        )
        days = [day for day in ready.days if day not in blocked]
        rows = decision_rows([decide(model, day, evidence) for day in days])
        verdicts = judge_days(rows, days, LIMITS)
        return DayBatch(rows=rows, verdicts=verdicts, blocked=blocked, notes=notes_of(rows, SHOWN))

    return partitioned_asset(
        Frame(
            key=key("retrain_decisions", model.name),
            calendar=calendar,
            group="retrain_decisions",
            kinds=frozenset({"polars", "deltalake"}),
            description=f"Whether {model.name} is trained at the day, which trigger fired or why none did.",
            code_version=fingerprint(
                code_fingerprint(decide), model.drift, model.metric_triggers, model.cool_down_days
            ),
            parents={
                "drift": parent(key("drift_reports", model.name), window_before(1), calendar, same_day=False),
                "performance": parent(
                    key("performance_reports", model.name),
                    window_before(performance_look_back(model)),
                    calendar,
                    same_day=False,
                    outcome_calendar=True,
                ),
                "champions": parent(
                    key("champions", model.name),
                    window_before(model.cool_down_days),
                    calendar,
                    same_day=False,
                ),
            },
        ),
        body,
    )
