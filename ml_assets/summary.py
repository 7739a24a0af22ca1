"""What a replayed year looks like to a person: months, retrains, champions.

What belongs here: reading finished tables and laying them out. What does not: computing anything new of days.
"""

import json
from dataclasses import dataclass
from datetime import date

import polars as pl
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ml_assets.assets.keys import table
from ml_assets.domain.evaluation import grouped_metrics
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, ModelSpec
from resources.home import Home
from resources.lake import Lake

ALL_DAYS = (date(1, 1, 1), date(9999, 1, 1))


@dataclass(frozen=True)
class ModelSummary:
    """A model's months and its attempts to train, as frames."""

    months: pl.DataFrame
    attempts: pl.DataFrame
    left_out: pl.DataFrame


def summarise(lake: Lake, catalog: Catalog, model: ModelSpec) -> ModelSummary:
    """Months (rows, base rate, ROC-AUC, ECE before and after calibration, champions) and attempts to train."""
    predictions = lake.read(table("predictions", model.name), *ALL_DAYS).rows.collect()
    outcomes = lake.read(table("outcomes", model.outcome), *ALL_DAYS).rows.select("row_key", "label").collect()
    month = pl.col(DAY).dt.truncate("1mo").alias("month")
    known = predictions.join(outcomes, on="row_key").with_columns(month)
    calibrated = grouped_metrics(known, ["month"], "label", "probability")
    raw = grouped_metrics(known, ["month"], "label", "score").select("month", pl.col("ece").alias("raw_ece"))
    methods = (
        lake.read(table("calibrators", model.name), *ALL_DAYS).rows.select("calibrator_version", "method").collect()
    )
    champion = pl.format("{} ({})", pl.col("model_version").str.head(10), "method")
    served = (
        predictions.join(methods, on="calibrator_version", how="left")
        .with_columns(month)
        .group_by("month")
        .agg(pl.len().alias("rows"), champion.unique().sort().str.join(", ").alias("champions"))
    )
    months = served.join(calibrated, on="month", how="left").join(raw, on="month", how="left").sort("month")
    champions = lake.read(table("champions", model.name), *ALL_DAYS).rows.collect()
    decisions = lake.read(table("retrain_decisions", model.name), *ALL_DAYS).rows.collect()
    attempts = (
        decisions.filter(pl.col("decision") == "train")
        .select(DAY, "trigger", pl.col("reasons").alias("why"))
        .join(champions.select(DAY, pl.col("decision").alias("outcome"), "reason"), on=DAY, how="left")
        .sort(DAY)
    )
    return ModelSummary(months, attempts, _left_out(lake, catalog))


def render(home: Home, catalog: Catalog, lake: Lake, port: int = 3000) -> Group:
    """The summary of every model as tables, then where everything is and what to type next."""
    parts: list[Table | Text] = []
    for model in catalog.models.values():
        summary = summarise(lake, catalog, model)
        parts += [_months_table(model, summary), _attempts_table(model, summary)]
        if summary.left_out.height:
            parts.append(_left_out_table(summary))
    parts.append(
        Text(
            f"\nThe lake      {lake.store.root}   (Delta tables, <stage>/<name>)\n"
            f"MLflow        {home.tracking_uri}\n"
            f"Next          make ui      then open http://127.0.0.1:{port}  (lineage, checks, backfills)\n"
            "              make test    the test suite\n"
            "              .venv/bin/ml-assets run <stage>/<name> <day> [<last day>]   rebuild days of one asset\n",
            overflow="fold",
        )
    )
    return Group(*parts)


def _months_table(model: ModelSpec, summary: ModelSummary) -> Table:
    shown = Table(title=f"{model.name}: what was predicted, and how it came true")
    served_by = "champion trained on (calibrator)"
    for name in ("month", "rows", "base rate", "ROC-AUC", "ECE raw", "ECE calibrated", served_by):
        shown.add_column(name, justify="left" if name in ("month", served_by) else "right")
    for row in summary.months.iter_rows(named=True):
        shown.add_row(
            f"{row['month']:%B}",
            f"{row['rows']:,}",
            _share(row["base_rate"]),
            _number(row["roc_auc"]),
            _number(row["raw_ece"]),
            _number(row["ece"]),
            row["champions"],
        )
    return shown


def _attempts_table(model: ModelSpec, summary: ModelSummary) -> Table:
    shown = Table(title=f"{model.name}: what triggered which training, and what became of it")
    for name in ("day", "trigger", "why", "outcome", "because"):
        shown.add_column(name, overflow="fold")
    for day, trigger, why, outcome, reason in summary.attempts.iter_rows():
        shown.add_row(str(day), trigger, "; ".join(json.loads(why)), outcome or "", reason or "")
    return shown


def _left_out_table(summary: ModelSummary) -> Table:
    shown = Table(title="days that were refused, and why")
    for name in ("day", "table", "reason"):
        shown.add_column(name, overflow="fold")
    for row in summary.left_out.iter_rows():
        shown.add_row(*map(str, row))
    return shown


def _left_out(lake: Lake, catalog: Catalog) -> pl.DataFrame:
    rows = [
        (day, name, reason)
        for name in (table("events", source) for source in catalog.sources)
        for day, reason in lake.rejected(name, *ALL_DAYS).items()
    ]
    return pl.DataFrame(rows, schema={"day": pl.Date, "table": pl.String, "reason": pl.String}, orient="row")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
