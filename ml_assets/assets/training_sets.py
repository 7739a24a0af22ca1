"""`training_sets/<model>`: point-in-time joined labelled rows known before the day begins.

What belongs here: the factory. What does not: the join (`ml_assets/domain/point_in_time.py`).
"""

from datetime import date

import polars as pl
from dagster import AssetsDefinition, Config
from pydantic import Field

from ml_assets.assets.keys import key, table
from ml_assets.assets.partitioned import Frame, Ready, parent, partitioned_asset
from ml_assets.domain.content import code_fingerprint, fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.point_in_time import feature_rows, with_retired_features
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import DayRange, training_slices, window_before
from partitions.windows import TrainingSlices


class RetrainRequest(Config):
    """Why a person asks for a model; empty when a decision asks for it."""

    reason: str = Field(
        default="",
        description="Fill this in to train although no trigger fired; it is recorded as a manual decision.",
    )


def training_sets_asset(model: ModelSpec, catalog: Catalog) -> AssetsDefinition:
    """The training sets of a model: only days with a decision to train, or a person's request, have one."""
    calendar = model.calendar
    window = model.train_days + model.calibration_days + model.gate_days
    groups = catalog.groups_of(model)
    limits = DayLimits(
        min_rows=model.min_training_rows, key=("row_key",), required=("row_key", "prediction_time", "label")
    )

    def body(ready: Ready) -> DayBatch:
        asked = wanted_days(model, ready)
        skipped = {day: "there is no decision to train" for day in ready.days if day not in asked}
        frames = {name: ready.inputs[name].rows.collect() for name in groups}
        labels = ready.inputs["labels"].rows.collect()
        sets = [labelled_rows(model, catalog, frames, labels, day) for day in ready.days if day in asked]
        if not sets:
            return DayBatch(rows=pl.DataFrame(), verdicts={}, skipped=skipped)
        rows = with_retired_features(pl.concat(sets), ready.lake.schema(table("training_sets", model.name)))
        judged = [day for day in ready.days if day in asked]
        return DayBatch(
            rows=rows,
            verdicts=judge_days(rows, judged, limits),
            skipped=skipped,
            add_columns=frozenset(model.feature_columns),
        )

    return partitioned_asset(
        Frame(
            key=key("training_sets", model.name),
            calendar=calendar,
            group="training_sets",
            kinds=frozenset({"polars", "deltalake"}),
            description=f"Labelled rows for {model.name}, as they were known at the day's beginning.",
            code_version=feature_version(model, catalog),
            parents={
                **{
                    name: parent(key("features", name), window_before(window + 1), calendar, same_day=False)
                    for name in groups
                },
                "labels": parent(
                    key("outcomes", model.outcome),
                    window_before(window),
                    calendar,
                    same_day=False,
                    outcome_calendar=True,
                ),
            },
            dense=False,
        ),
        body,
        config=RetrainRequest,
    )


def wanted_days(model: ModelSpec, ready: Ready) -> set[date]:
    """The days of the run with a decision to train or a person's request; a new request is recorded."""
    if ready.config.reason:
        for day in ready.days:
            ready.lake.ask(model.name, day, ready.config.reason)
    decided = ready.lake.read(table("retrain_decisions", model.name), ready.run.start, ready.run.end)
    decisions = decided.rows.filter(pl.col("decision") == "train").collect() if decided.days else None
    return set(decisions[DAY] if decisions is not None else ()) | set(
        ready.lake.asked(model.name, ready.run.start, ready.run.end)
    )


def labelled_rows(
    model: ModelSpec, catalog: Catalog, frames: dict[str, pl.DataFrame], labels: pl.DataFrame, day: date
) -> pl.DataFrame:
    """The training set of one day: events of its slices whose label was known before the day began."""
    window = slices_of(model, day).window
    began, _ = DayRange(day, day).instants(model.calendar.timezone)
    known = labels.filter(pl.col("known_at") < began).select("row_key", "label")
    rows = feature_rows(model, catalog.groups_of(model), frames, (window.start, window.end))
    return (
        rows.join(known, on="row_key", how="inner", maintain_order="left")
        .with_columns(pl.lit(day).alias(DAY))
        .select(DAY, "row_key", "prediction_time", *model.feature_columns, "label")
    )


def slices_of(model: ModelSpec, day: date) -> TrainingSlices:
    """The model's slices before a training day."""
    return training_slices(
        day,
        first_day=model.calendar.first_day,
        train_days=model.train_days,
        calibration_days=model.calibration_days,
        gate_days=model.gate_days,
    )


def with_event_day(model: ModelSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Training rows with their event's local day as `event_day`."""
    event_time = pl.col("prediction_time") + pl.lit(model.prediction_lead)
    return rows.with_columns(local_day(event_time, model.calendar.timezone).alias("event_day"))


def rows_of_slice(rows: pl.DataFrame, days: DayRange) -> pl.DataFrame:
    """The rows whose `event_day` lies in a slice."""
    return rows.filter(pl.col("event_day") >= days.start, pl.col("event_day") < days.end)


def feature_version(model: ModelSpec, catalog: Catalog) -> str:
    """The fingerprint of everything that shapes a model's features: declarations, functions, sources, join."""
    groups = catalog.groups_of(model)
    sources = sorted({source for group in groups.values() for source in group.inputs})
    return fingerprint(
        model.features,
        model.prediction_lead,
        code_fingerprint(feature_rows),
        [
            (name, group.max_age, group.look_back_days, code_fingerprint(group.compute))
            for name, group in groups.items()
        ],
        [(name, code_fingerprint(catalog.sources[name].parse)) for name in sources],
    )
