"""`drift_reports/<model>`: the day's inputs and scores against the champion's training reference.

What belongs here: the factory. What does not: the statistics (`ml_assets/domain/drift.py`).
"""

import json
from datetime import date

import polars as pl
from dagster import AssetsDefinition

from ml_assets.assets.keys import key, table
from ml_assets.assets.models import SCORE, best_candidate
from ml_assets.assets.partitioned import Frame, Ready, notes_of, parent, partitioned_asset
from ml_assets.assets.predictions import feature_parents, features_of_days
from ml_assets.domain.content import code_fingerprint, fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.drift import DriftReference, day_drift
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import same_days

SHOWN = {"weighted_drift": "weighted drift", "over_limit": "over limit", "model_version": "champion"}
LIMITS = DayLimits(key=("column",), required=("column", "psi", "psi_limit", "drifted", "importance"))


def drift_reports_asset(model: ModelSpec, catalog: Catalog) -> AssetsDefinition:
    """The drift reports of a model: one row a column and day, and the weighted share that drifted."""

    def body(ready: Ready) -> DayBatch:
        skipped, blocked = days_without_predictions(model, ready)
        days = [day for day in ready.days if day not in skipped and day not in blocked]
        if not days:
            return DayBatch(rows=pl.DataFrame(), verdicts={}, skipped=skipped, blocked=blocked)
        predictions = ready.inputs["predictions"].rows.select("row_key", DAY, SCORE, "model_version").collect()
        features = features_of_days(model, catalog, ready)
        rows = features.join(predictions, on=["row_key", DAY], how="inner", maintain_order="left")
        reports = [
            _report(model, ready, str(version), of_model)
            for (version,), of_model in rows.partition_by("model_version", as_dict=True).items()
        ]
        frame = pl.concat(reports).sort(DAY, "importance", "column", descending=[False, True, False])
        verdicts = judge_days(frame, days, LIMITS)
        return DayBatch(rows=frame, verdicts=verdicts, skipped=skipped, blocked=blocked, notes=notes_of(frame, SHOWN))

    return partitioned_asset(
        Frame(
            key=key("drift_reports", model.name),
            calendar=model.calendar,
            group="drift_reports",
            kinds=frozenset({"polars", "deltalake"}),
            description=f"How far the day's inputs and scores of {model.name} are from what it was trained on.",
            code_version=fingerprint(code_fingerprint(day_drift), model.drift),
            parents={
                **feature_parents(model, catalog),
                "predictions": parent(key("predictions", model.name), same_days(), model.calendar, same_day=False),
            },
        ),
        body,
    )


def days_without_predictions(model: ModelSpec, ready: Ready) -> tuple[dict[date, str], dict[date, str]]:
    """The days without accepted predictions, with the reason: by design, because nobody serves, and the others."""
    made = ready.inputs["predictions"]
    missing = [day for day in ready.days if day not in made.days]
    served = ready.lake.read(table("champions", model.name), ready.run.start, ready.run.end)
    nobody = set(served.rows.filter(pl.col("model_version").is_null()).collect()[DAY] if served.days else ())
    reasons = {
        day: f"rejected: {made.rejected[day]}" if day in made.rejected else "not there"
        for day in missing
        if day not in nobody
    }
    return (
        {day: "no champion serves this day yet" for day in missing if day in nobody},
        {day: f"{made.table} of {day} is {reason}" for day, reason in reasons.items()},
    )


def _report(model: ModelSpec, ready: Ready, model_version: str, rows: pl.DataFrame) -> pl.DataFrame:
    stored = best_candidate(ready.lake, model, model_version)
    importances: dict[str, float] = json.loads(str(stored["importances"]))
    drift = day_drift(
        DriftReference.from_json(str(stored["reference"])),
        rows,
        day=DAY,
        alpha=model.drift.alpha,
        practical_psi=model.drift.practical_psi,
    )
    weights = pl.DataFrame({"column": list(importances), "importance": list(importances.values())})
    weighted = (pl.col("importance") * pl.col("drifted")).sum().over(DAY)
    return (
        drift.rename({"name": "column"})
        .join(weights, on="column", how="left", maintain_order="left")
        .with_columns(pl.col("importance").fill_null(0.0), pl.lit(model_version).alias("model_version"))
        .with_columns(weighted.alias("weighted_drift"))
        .with_columns((pl.col("weighted_drift") > model.drift.max_weighted_drift).alias("over_limit"))
    )
