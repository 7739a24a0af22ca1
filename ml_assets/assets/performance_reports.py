"""`performance_reports/<model>`: outcomes that arrived on the day against the predictions made for them.

What belongs here: the factory. What does not: the metrics (`ml_assets/domain/evaluation.py`).
"""

import polars as pl
from dagster import AssetsDefinition

from ml_assets.assets.keys import key
from ml_assets.assets.partitioned import Frame, Ready, notes_of, parent, partitioned_asset
from ml_assets.domain.cohorts import cohort_reports
from ml_assets.domain.content import code_fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import ModelSpec
from partitions import trailing_days

SHOWN = {"roc_auc": "ROC-AUC", "brier": "Brier", "ece": "ECE", "coverage": "labels known", "n": "labels"}
LIMITS = DayLimits(key=("cohort",), required=("cohort", "coverage", "brier", "ece"))


def performance_reports_asset(model: ModelSpec) -> AssetsDefinition:
    """The performance reports of a model: one row an event-date cohort, with how much of it is known."""
    calendar = model.calendar
    lag = calendar.label_lag_days

    def body(ready: Ready) -> DayBatch:
        predictions = ready.inputs["predictions"]
        if not predictions.days:
            return DayBatch(
                rows=pl.DataFrame(),
                verdicts={},
                skipped=dict.fromkeys(ready.days, "no predictions were made"),
            )
        reports = cohort_reports(
            ready.inputs["outcomes"].rows.collect(),
            predictions.rows.collect(),
            timezone=calendar.timezone,
            lag_days=lag,
        ).filter(pl.col(DAY).is_in(list(ready.days)))
        skipped = dict.fromkeys(set(ready.days) - set(reports[DAY]), "no prediction's label arrived")
        days = [day for day in ready.days if day not in skipped]
        verdicts = judge_days(reports, days, LIMITS)
        return DayBatch(rows=reports, verdicts=verdicts, skipped=skipped, notes=notes_of(reports, SHOWN))

    return partitioned_asset(
        Frame(
            key=key("performance_reports", model.name),
            calendar=calendar,
            group="performance_reports",
            kinds=frozenset({"polars", "deltalake"}),
            description=f"How {model.name} did, by the day of the events, as far as labels have arrived.",
            code_version=code_fingerprint(cohort_reports),
            parents={
                # Past the last event day labels may or may not come, so a day without them is no error there.
                "outcomes": parent(key("outcomes", model.outcome), trailing_days(lag), calendar, same_day=True),
                "predictions": parent(key("predictions", model.name), trailing_days(lag), calendar, same_day=False),
            },
            outcome_calendar=True,
        ),
        body,
    )
