"""A day's drift against what its champion was trained on, as rows of `drift_reports`.

What belongs here: weighing columns by importance. What does not: the statistics (`drift.py`).
"""

import json
from typing import Any

import polars as pl

from ml_assets.domain.drift import DriftReference, day_drift
from ml_assets.domain.local_days import DAY
from ml_assets.domain.serving import Stored
from ml_assets.domain.specs import ModelSpec

DRIFT_REPORTS: dict[str, Any] = {
    DAY: pl.Date,
    "column": pl.String,
    "n": pl.Int64,
    "reference_n": pl.Int64,
    "null_share": pl.Float64,
    "reference_null_share": pl.Float64,
    "unseen_share": pl.Float64,
    "psi": pl.Float64,
    "psi_limit": pl.Float64,
    "ks": pl.Float64,
    "ks_p_value": pl.Float64,
    "ks_limit": pl.Float64,
    "drifted": pl.Boolean,
    "reasons": pl.List(pl.String),
    "importance": pl.Float64,
    "model_version": pl.String,
    "weighted_drift": pl.Float64,
    "over_limit": pl.Boolean,
}


def weighted_drift_report(model: ModelSpec, stored_model: Stored, rows: pl.DataFrame) -> pl.DataFrame:
    """One row a column and day: its drift, its importance, and the share of importance that drifted on the day."""
    importances: dict[str, float] = json.loads(str(stored_model["importances"]))
    drift = day_drift(
        DriftReference.from_json(str(stored_model["reference"])),
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
        .with_columns(
            pl.col("importance").fill_null(0.0), pl.lit(str(stored_model["model_version"])).alias("model_version")
        )
        .with_columns(weighted.alias("weighted_drift"))
        .with_columns((pl.col("weighted_drift") > model.drift.max_weighted_drift).alias("over_limit"))
        .select(*DRIFT_REPORTS)
        .cast(pl.Schema(DRIFT_REPORTS))
    )
