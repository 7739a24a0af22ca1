"""What a replayed year looks like to a person: months, retrains, champions.

What belongs here: reading finished tables and laying them out. What does not: computing anything new of days.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ml_assets.assets import declared_graph
from ml_assets.domain.evaluation import grouped_metrics
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, ModelSpec
from resources.home import Home
from resources.lake import RED, Lake

METRICS = ("base_rate", "roc_auc", "brier", "raw_brier", "ece", "raw_ece")
ALL_DAYS = (date(1, 1, 1), date(9999, 1, 1))


@dataclass(frozen=True)
class ModelSummary:
    """A model's months and its attempts to train, as frames."""

    months: pl.DataFrame | None
    attempts: pl.DataFrame | None


@dataclass
class MonthsAsTheyCome:
    """Says a line of each month of a model, once its days are replayed and all of their labels can be known."""

    lake: Lake
    say: Callable[[str], None]
    _next: dict[str, date] = field(default_factory=dict)

    def __call__(self, model: ModelSpec, before: date) -> None:
        """The event days before a day are done; months that were done before the first call are not told."""
        known = before - timedelta(days=model.calendar.label_lag_days)
        month = self._next.setdefault(model.name, known.replace(day=1))
        if known.replace(day=1) <= month:
            return
        self._next[model.name] = known.replace(day=1)
        months = _months(self.lake, model, (month, self._next[model.name]))
        for row in months.drop_nulls("month").iter_rows(named=True) if months is not None else ():
            metrics = (
                ("base rate", _share(row["base_rate"])),
                ("ROC-AUC", _number(row["roc_auc"])),
                ("ECE", _number(row["ece"])),
            )
            told = ", ".join(f"{name} {value}" for name, value in metrics if value)
            self.say(f"{model.name}  {row['month']:%b %Y}  {row['rows']:,} predictions, {told or 'no label known yet'}")


def summarise(lake: Lake, model: ModelSpec) -> ModelSummary:
    """Months, then all of them together (rows, base rate, metrics, champions), and attempts to train."""
    return ModelSummary(_months(lake, model, ALL_DAYS), _attempts(lake, model))


def _months(lake: Lake, model: ModelSpec, days: tuple[date, date]) -> pl.DataFrame | None:
    """One row a month with predictions on the days, and one, without a month, of all; None while there are none.

    Metrics are null while no label is known.
    """
    scores = ("row_key", "score", "probability", "model_version")
    predictions = _rows(lake, f"predictions/{model.name}", *scores, days=days)
    last_label = ALL_DAYS[1] if days == ALL_DAYS else days[1] + timedelta(days=model.calendar.label_lag_days + 1)
    outcomes = _rows(lake, f"outcomes/{model.outcome}", "row_key", "label", days=(days[0], last_label))
    if predictions is None:
        return None
    month = pl.col(DAY).dt.truncate("1mo")
    dated = pl.concat([predictions.with_columns(month=month), predictions.with_columns(month=pl.lit(None, pl.Date))])
    served = pl.col("model_version").str.head(10).unique().sort().str.join(", ")
    months = dated.group_by("month").agg(pl.len().alias("rows"), served.alias("champions"))
    in_order = pl.col("month").fill_null(date.max)
    if outcomes is None:
        return months.with_columns(pl.lit(None, pl.Float64).alias(name) for name in METRICS).sort(in_order)
    known = dated.join(outcomes.drop(DAY), on="row_key")
    calibrated = grouped_metrics(known, ["month"], "label", "probability")
    raw = grouped_metrics(known, ["month"], "label", "score").select(
        "month", pl.col("ece").alias("raw_ece"), pl.col("brier").alias("raw_brier")
    )
    both = calibrated.join(raw, on="month", how="left", nulls_equal=True)
    return months.join(both, on="month", how="left", nulls_equal=True).sort(in_order)


def _attempts(lake: Lake, model: ModelSpec) -> pl.DataFrame | None:
    """One row a decision to train and what became of it; None while nothing was decided."""
    champions = _rows(lake, f"champions/{model.name}", "decision", "reason")
    decisions = _rows(lake, f"retrain_decisions/{model.name}", "decision", "trigger", "reasons")
    if champions is None or decisions is None:
        return None
    outcome = champions.select(DAY, pl.col("decision").alias("outcome"), "reason")
    return (
        decisions.filter(pl.col("decision") == "train")
        .select(DAY, "trigger", pl.col("reasons").alias("why"))
        .join(outcome, on=DAY, how="left")
        .sort(DAY)
    )


def _rows(lake: Lake, table: str, *columns: str, days: tuple[date, date] = ALL_DAYS) -> pl.DataFrame | None:
    """The rows of days of a table; None when it has none yet."""
    read = lake.read(table, *days)
    return read.rows.select(DAY, *columns).collect() if read.filled else None


def render(home: Home, catalog: Catalog, lake: Lake, port: int = 3000) -> Group:
    """The summary of every model as tables, then where everything is and what to type next."""
    parts: list[Table | Text] = []
    for model in catalog.models.values():
        summary = summarise(lake, model)
        if summary.months is None or summary.attempts is None:
            parts.append(
                Text(f"{model.name}: no predictions yet; replay the workload (ml-assets demo), or run its stages.")
            )
        if summary.months is not None:
            parts.append(_months_table(model, summary.months))
        if summary.attempts is not None:
            parts.append(_attempts_table(model, summary.attempts))
    left_out = _left_out(lake, catalog)
    if left_out.height:
        parts.append(_left_out_table(left_out))
    parts.append(
        Text(
            f"\nThe lake      {lake.store.root}   (Delta tables, <stage>/<name>)\n"
            f"MLflow        {home.tracking_uri}\n"
            f"Next          ml-assets ui       then open http://127.0.0.1:{port}  (lineage, checks, backfills)\n"
            "              ml-assets status   how it stands; plan: what is out of step; repair: mend it\n",
            overflow="fold",
        )
    )
    return Group(*parts)


def _months_table(model: ModelSpec, months: pl.DataFrame) -> Table:
    shown = Table(title=f"{model.name}: what was predicted, and how it came true")
    for name in (
        "month",
        "rows",
        "base rate",
        "ROC-AUC",
        "Brier raw",
        "Brier",
        "ECE raw",
        "ECE",
        "champion trained on",
    ):
        shown.add_column(name, justify="left" if name in ("month", "champion trained on") else "right")
    for row in months.iter_rows(named=True):
        whole = row["month"] is None
        if whole:
            shown.add_section()
        shown.add_row(
            "all" if whole else f"{row['month']:%b %Y}",
            f"{row['rows']:,}",
            _share(row["base_rate"]),
            _number(row["roc_auc"]),
            _number(row["raw_brier"], 4),
            _number(row["brier"], 4),
            _number(row["raw_ece"]),
            _number(row["ece"]),
            f"{len(row['champions'].split(', '))} champions" if whole else row["champions"],
        )
    return shown


def _attempts_table(model: ModelSpec, attempts: pl.DataFrame) -> Table:
    shown = Table(title=f"{model.name}: what triggered which training, and what became of it")
    for name in ("day", "trigger", "why", "outcome", "because"):
        shown.add_column(name, overflow="fold")
    for day, trigger, why, outcome, reason in attempts.iter_rows():
        shown.add_row(str(day), trigger, "; ".join(json.loads(why)), outcome or "", reason or "")
    return shown


def _left_out_table(left_out: pl.DataFrame) -> Table:
    shown = Table(title="days that were refused, and why")
    for name in ("day", "table", "reason"):
        shown.add_column(name, overflow="fold")
    for row in left_out.iter_rows():
        shown.add_row(*map(str, row))
    return shown


def _left_out(lake: Lake, catalog: Catalog) -> pl.DataFrame:
    """Red days with their reason, then on how many days each table is blocked, with the first reason."""
    refusals = [
        (table, day, state, reason)
        for table in declared_graph(catalog).assets
        for day, (state, reason) in sorted(lake.refusals(table, *ALL_DAYS).items())
    ]
    rows = [(str(day), table, reason) for table, day, state, reason in refusals if state == RED]
    blocked = [refusal for refusal in refusals if refusal[2] != RED]
    for table in dict.fromkeys(table for table, *_ in blocked):
        days = [(day, reason) for name, day, _, reason in blocked if name == table]
        rows.append(
            (f"{days[0][0]}" + (f" (+{len(days) - 1})" if len(days) > 1 else ""), table, f"blocked: {days[0][1]}")
        )
    return pl.DataFrame(rows, schema=dict.fromkeys(("day", "table", "reason"), pl.String), orient="row")


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
