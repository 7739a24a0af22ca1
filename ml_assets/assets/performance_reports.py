"""`performance_reports/<model>`: outcomes that arrived on the day against the predictions made for them.

What belongs here: the stage. What does not: the metrics (`ml_assets/domain/evaluation.py`).
"""

from datetime import timedelta

import polars as pl

from ml_assets.assets.stage import Body, Ready, Stage, notes_of
from ml_assets.domain.cohorts import COHORT_REPORTS, cohort_reports
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import DayRange, trailing_days

SHOWN = {"roc_auc": "ROC-AUC", "brier": "Brier", "ece": "ECE", "coverage": "labels known", "n": "labels"}
NOTHING_PREDICTED, NOTHING_ARRIVED = "no predictions were made", "no prediction's label arrived"
LIMITS = DayLimits(key=("cohort",), required=("cohort", "coverage", "brier", "ece"))


def _body(model: ModelSpec, _: Catalog) -> Body:
    calendar = model.calendar

    def body(ready: Ready) -> DayBatch:
        predictions = ready.inputs["predictions"]
        if not predictions.filled:
            nothing = dict.fromkeys(ready.days, NOTHING_PREDICTED)
            return DayBatch(rows=pl.DataFrame(schema=COHORT_REPORTS), verdicts={}, empty=nothing)
        reports = cohort_reports(
            ready.inputs["outcomes"].rows.collect(),
            predictions.rows.collect(),
            timezone=calendar.timezone,
            lag_days=calendar.label_lag_days,
        ).filter(pl.col(DAY).is_in(list(ready.days)))
        lag = trailing_days(calendar.label_lag_days)
        empty = {
            day: NOTHING_ARRIVED
            if predictions.filled & set(lag.of(DayRange(day, day + timedelta(days=1))))
            else NOTHING_PREDICTED
            for day in sorted(set(ready.days) - set(reports[DAY]))
        }
        days = [day for day in ready.days if day not in empty]
        return DayBatch(
            rows=reports, verdicts=judge_days(reports, days, LIMITS), empty=empty, notes=notes_of(reports, SHOWN)
        )

    return body


def _reads(model: ModelSpec, _: Catalog) -> dict[str, Read]:
    lag = model.calendar.label_lag_days
    return {
        "outcomes": Read(f"outcomes/{model.outcome}", trailing_days(lag), needed=True),
        "predictions": Read(f"predictions/{model.name}", trailing_days(lag)),
    }


STAGE = Stage(
    name="performance_reports",
    of="models",
    nature=Nature.FACT,
    holds="labels that arrived on D against the predictions made for them, by event date",
    describe=lambda model: f"How {model.name} did, by the day of the events, as far as labels have arrived.",
    reads=_reads,
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda _model, _catalog: {
        "cohort": "the day of the events",
        "model_version": "the model that made the predictions",
        "predictions": "predictions made for the cohort",
        "base_rate": "share of the labels that are 1",
        "n": "labels known by the end of D",
        "coverage": "their share of the cohort's predictions",
        "roc_auc": "area under the ROC curve of the probability",
        "brier": "mean squared error of the probability",
        "log_loss": "mean logarithmic loss of the probability",
        "raw_brier": "mean squared error of the score before calibration",
        "raw_ece": "expected calibration error of the score before calibration",
        "ece": "expected calibration error, ten equal-mass bins",
    },
    empty=COHORT_REPORTS,
    past_end=True,
)
