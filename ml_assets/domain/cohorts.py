"""The delayed-label loop: how each day's predictions did, as far as their labels are known.

What belongs here: matching labels with predictions, cohorts and their coverage.
What does not: the metrics themselves (`evaluation.py`).
"""

import polars as pl

from ml_assets.domain.evaluation import grouped_metrics
from ml_assets.domain.local_days import DAY, local_day

COHORT_REPORTS = {
    DAY: pl.Date,
    "cohort": pl.Date,
    "model_version": pl.String,
    "n": pl.Int64,
    "predictions": pl.Int64,
    "coverage": pl.Float64,
    "base_rate": pl.Float64,
    "roc_auc": pl.Float64,
    "brier": pl.Float64,
    "log_loss": pl.Float64,
    "ece": pl.Float64,
    "raw_brier": pl.Float64,
    "raw_ece": pl.Float64,
}
METRICS = ("base_rate", "roc_auc", "brier", "log_loss", "ece")


def cohort_reports(outcomes: pl.DataFrame, predictions: pl.DataFrame, *, timezone: str, lag_days: int) -> pl.DataFrame:
    """One row for every day and event-date cohort that received labels on that day.

    `outcomes` are dated by the day the label became known, `predictions` by the event's day. A row's metrics
    are over all labels of the cohort known by the end of the row's day; `coverage` is their share of the
    cohort's predictions. `raw_ece` and `raw_brier` are those of the uncalibrated score.
    """
    made = predictions.group_by(pl.col(DAY).alias("cohort")).agg(
        pl.len().alias("predictions"), pl.col("model_version").first()
    )
    labels = outcomes.select(
        "row_key",
        "label",
        pl.col(DAY).alias("known_day"),
        local_day(pl.col("event_time"), timezone).alias("cohort"),
    )
    matched = labels.join(
        predictions.select("row_key", pl.col(DAY).alias("cohort"), "score", "probability"),
        on=["row_key", "cohort"],
        how="inner",
    )
    arrivals = matched.select(pl.col("known_day").alias(DAY), "cohort").unique()
    seen = pl.concat(
        [
            matched.filter(pl.col("known_day") <= pl.col("cohort") + pl.duration(days=lag)).with_columns(
                (pl.col("cohort") + pl.duration(days=lag)).alias(DAY)
            )
            for lag in range(lag_days + 1)
        ]
    ).join(arrivals, on=[DAY, "cohort"], how="semi")
    calibrated = grouped_metrics(seen, [DAY, "cohort"], "label", "probability")
    raw = grouped_metrics(seen, [DAY, "cohort"], "label", "score")
    return (
        calibrated.join(
            raw.select(DAY, "cohort", pl.col("ece").alias("raw_ece"), pl.col("brier").alias("raw_brier")),
            on=[DAY, "cohort"],
        )
        .join(made, on="cohort")
        .with_columns((pl.col("n") / pl.col("predictions")).alias("coverage"))
        .select(*COHORT_REPORTS)
        .cast(pl.Schema(COHORT_REPORTS))
        .sort(DAY, "cohort")
    )
