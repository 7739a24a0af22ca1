"""`drift_reports/<model>`: the day's inputs and scores against the champion's training reference.

What belongs here: the stage. What does not: the statistics (`ml_assets/domain/drift.py`).
"""

import polars as pl

from ml_assets.assets.feature_join import feature_reads, features_of_days
from ml_assets.assets.stage import Body, Ready, Stage, notes_of
from ml_assets.domain.content import fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.drift_reports import DRIFT_REPORTS, weighted_drift_report
from ml_assets.domain.local_days import DAY
from ml_assets.domain.serving import SCORE
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import same_days

SHOWN = {"weighted_drift": "weighted drift", "over_limit": "over limit", "model_version": "champion"}
LIMITS = DayLimits(key=("column",), required=("column", "psi", "psi_limit", "drifted", "importance"))


def _body(model: ModelSpec, catalog: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        made = ready.inputs["predictions"]
        empty = {day: "no predictions were made" for day in ready.days if day not in made.filled}
        days = [day for day in ready.days if day not in empty]
        if not days:
            return DayBatch(rows=pl.DataFrame(schema=DRIFT_REPORTS), verdicts={}, empty=empty)
        predictions = made.rows.select("row_key", DAY, SCORE, "model_version").collect()
        rows = features_of_days(model, catalog, ready).join(
            predictions, on=["row_key", DAY], how="inner", maintain_order="left"
        )
        reports = [
            weighted_drift_report(model, ready.named("models", str(version), "model_version"), of_model)
            for (version,), of_model in rows.partition_by("model_version", as_dict=True).items()
        ]
        frame = pl.concat(reports).sort(DAY, "importance", "column", descending=[False, True, False])
        return DayBatch(rows=frame, verdicts=judge_days(frame, days, LIMITS), empty=empty, notes=notes_of(frame, SHOWN))

    return body


STAGE = Stage(
    name="drift_reports",
    of="models",
    nature=Nature.FACT,
    holds="D's inputs and scores against what the champion was trained on",
    describe=lambda model: f"How far the day's inputs and scores of {model.name} are from what it was trained on.",
    reads=lambda model, catalog: {
        **feature_reads(model, catalog),
        "predictions": Read(f"predictions/{model.name}", same_days(), needed=True),
        "models": Read(f"models/{model.name}", same_days(), edge=False, by_version=True),
    },
    code_version=lambda model, _: fingerprint(model.drift),
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda _model, _catalog: {
        "column": "a feature, or the score",
        "n": "rows of the day",
        "reference_n": "rows of the champion's training days",
        "null_share": "share of the day's rows without a value",
        "reference_null_share": "the same on the champion's training days",
        "unseen_share": "share of the day's rows with a category that training had not seen",
        "psi": "population stability index against the champion's training days",
        "psi_limit": "limit of psi at these sample sizes",
        "ks": "Kolmogorov–Smirnov distance against the champion's training days",
        "ks_p_value": "its p-value",
        "ks_limit": "limit of ks at these sample sizes",
        "drifted": "whether a limit was exceeded",
        "reasons": "which limits were exceeded",
        "model_version": "the champion it is measured for",
        "importance": "the column's share of the champion's permutation importance",
        "over_limit": "whether weighted_drift exceeds the model's limit",
        "weighted_drift": "the share of importance that lies in drifted columns on the day",
    },
    empty=DRIFT_REPORTS,
)
