"""Which rows a model is trained, chosen and judged on: labelled rows as they were known when a training day began.

What belongs here: the rows of a training set, each with its event day and slice; reading those back.
What does not: where slices end (`slices.py`), fitting (`training.py`), the join (`point_in_time.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

import polars as pl

from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import asked_for, feature_rows
from ml_assets.domain.slices import COHORTS, NAMES, Slices, base_rates_that_differ, empty_slices, mature, slices_before
from ml_assets.domain.specs import Catalog, FeatureGroupSpec, ModelSpec
from partitions import DayRange, window_before

EVENT_DAY, SLICE, SLICES = "event_day", "slice", "slices"
ABOUT_ROWS = {EVENT_DAY: pl.Date, SLICE: pl.String, SLICES: pl.String}
"""What a training set records of its rows, beside what the model reads."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The rows of a training day, the slices they lie in, and what is to be said of these."""

    rows: pl.DataFrame
    slices: Slices
    faults: tuple[str, ...]
    findings: tuple[str, ...]


def training_set(
    model: ModelSpec,
    groups: Mapping[str, FeatureGroupSpec],
    frames: Mapping[str, pl.DataFrame],
    labels: pl.DataFrame,
    day: date,
    *,
    as_recorded: Slices | None = None,
    suspect: Mapping[date, str] = MappingProxyType({}),
) -> TrainingSet:
    """Events of the day's slices whose label was known before the day began, in cohorts that count as known.

    The slices are those `as_recorded` of a set that is made once more. Every row carries its event's local day, the
    name of its slice and the record of all slices. `faults` are reasons why nothing can be trained on them, `findings`
    what a person should know. `suspect` event days, each with the reason, give no rows.
    """
    began, _ = DayRange(day, day).instants(model.calendar.timezone)
    known = labels.filter(pl.col("known_at") < began).select("row_key", "label")
    cohorts = cohorts_of(asked_for(model, frames[model.spine], (first_event_day(model, day), day)), known)
    slices = as_recorded or slices_before(model, cohorts, day)
    usable = cohorts.filter(mature(model.maturity, model.calendar, day))[EVENT_DAY].to_list()
    rows = feature_rows(model, groups, frames, (slices.window.start, slices.window.end))
    chosen = (
        rows.rename({DAY: EVENT_DAY})
        .filter(pl.col(EVENT_DAY).is_in(usable), ~pl.col(EVENT_DAY).is_in(list(suspect)))
        .join(known, on="row_key", how="inner", maintain_order="left")
        .with_columns(pl.lit(day).alias(DAY), _slice_of(slices).alias(SLICE), pl.lit(slices.to_json()).alias(SLICES))
        .select(DAY, "row_key", "prediction_time", *model.feature_columns, "label", *ABOUT_ROWS)
    )
    return TrainingSet(
        rows=chosen,
        slices=slices,
        faults=tuple(empty_slices(model, slices, day)),
        findings=(*base_rates_that_differ(slices, cohorts), *_left_out(slices, suspect)),
    )


def _left_out(slices: Slices, suspect: Mapping[date, str]) -> list[str]:
    inside = {day: why for day, why in suspect.items() if slices.window.start <= day < slices.window.end}
    if not inside:
        return []
    newest = max(inside)
    days = f"{len(inside)} suspect day{'s' if len(inside) > 1 else ''}"
    return [f"left out {days} until somebody clears them, the newest {newest}: {inside[newest]}"]


def sources_of(model: ModelSpec, catalog: Catalog) -> list[str]:
    """The sources that a model's features and labels are made of."""
    inputs = {source for group in catalog.groups_of(model).values() for source in group.inputs}
    return sorted({*inputs, catalog.outcomes[model.outcome].source})


def alarms_of(source: str) -> str:
    """The name of the read of a source's reports."""
    return f"alarms of {source}"


def first_event_day(model: ModelSpec, day: date) -> date:
    """The first event day that a training at `day` can look at."""
    reach = window_before(model.training_window_days).of(DayRange(day, date.fromordinal(day.toordinal() + 1)))
    return max(model.calendar.first_day, reach.start)


def cohorts_of(asked: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """One row an event day: its events, those among them whose label is known, the positives of these."""
    return (
        asked.select("row_key", pl.col(DAY).alias(EVENT_DAY))
        .join(known, on="row_key", how="left")
        .group_by(EVENT_DAY)
        .agg(
            pl.len().alias("events"),
            pl.col("label").is_not_null().sum().alias("known"),
            pl.col("label").sum().alias("positives"),
        )
        .select(*COHORTS)
        .cast(pl.Schema(COHORTS))
        .sort(EVENT_DAY)
    )


def slices_of(rows: pl.DataFrame) -> Slices:
    """The slices of a stored training set, as they were recorded when it was made."""
    return Slices.from_json(rows[SLICES][0])


def rows_of_slice(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    """The rows of a stored training set that lie in the named slices."""
    return rows.filter(pl.col(SLICE).is_in(names))


def _slice_of(slices: Slices) -> pl.Expr:
    event_day, found = pl.col(EVENT_DAY), pl.lit(NAMES[0])
    for name, part in list(slices.named().items())[1:]:
        found = pl.when(event_day >= part.days.start).then(pl.lit(name)).otherwise(found)
    return found
