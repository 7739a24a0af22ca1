"""`calibrators/<model>`: the day's map from the champion's score to a probability, fitted on held-out scores.

What belongs here: the stage. What does not: the fit (`ml_assets/domain/calibration.py`), which scores are held out
(`ml_assets/domain/held_out.py`).
"""

import json
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache, partial

import polars as pl
from dagster import MetadataValue

from ml_assets.assets.feature_join import feature_reads, joined_rows
from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.calibration import (
    DayCalibrator,
    HeldOut,
    calibrator_of_day,
    reliability_curves,
)
from ml_assets.domain.content import fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.held_out import ScoredDays, Scorers, days_before, judged_for, scorers
from ml_assets.domain.local_days import DAY
from ml_assets.domain.pictures import inline, reliability_picture
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.serving import Stored, scored
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import DayRange, same_days, window_before

LIMITS = DayLimits(key=("calibrator_version",), required=("model_version", "calibrator_version", "calibrator"))
CALIBRATORS = {
    DAY: pl.Date,
    "model_version": pl.String,
    "calibrator_version": pl.String,
    "method": pl.String,
    "calibrator": pl.String,
    "reason": pl.String,
    "held_out_brier": pl.String,
    "rows": pl.Int64,
}
NOBODY = "no champion serves this day yet"


def _body(model: ModelSpec, catalog: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        served = _served(ready, "champions") | _served(ready, "served_before")
        days = [day for day in ready.days if day in served]
        empty = dict.fromkeys(sorted(set(ready.days) - set(days)), NOBODY)
        if not days:
            return DayBatch(rows=pl.DataFrame(schema=CALIBRATORS), verdicts={}, empty=empty)
        stored = cache(partial(ready.named, "models", column="model_version"))
        by_day = {day: _scorers(model, stored, served, day) for day in days}
        held_out = _held_out(model, catalog, ready, stored, by_day)
        made = {day: calibrator_of_day(held_out[day], model.calibration) for day in days}
        rows = pl.DataFrame([_row(day, served[day], made[day]) for day in days], schema=CALIBRATORS)
        newest = days[-1]
        return DayBatch(
            rows=rows,
            verdicts=judge_days(rows, days, LIMITS),
            empty=empty,
            notes={
                **{day: {"method": made[day].calibrator.method, "why": made[day].reason} for day in days},
                newest: _shown(model, newest, made[newest], held_out[newest]),
            },
        )

    return body


def _served(ready: Ready, read: str) -> dict[date, str]:
    frame = ready.inputs[read]
    if not frame.filled:
        return {}
    rows = frame.rows.select(DAY, "model_version").filter(pl.col("model_version").is_not_null()).collect()
    return dict(rows.iter_rows())


def _scorers(model: ModelSpec, stored: Callable[[str], Stored], served: Mapping[date, str], day: date) -> Scorers:
    """Who scores each day of the day's own window, whatever else the run has read."""
    window = days_before(day, _window_days(model))
    before = {past: served[past] for past in window if past in served}
    first = next(iter(before.values()), served[day])
    return scorers(stored(served[day]), before, judged_for(stored(first)), window)


def _held_out(
    model: ModelSpec,
    catalog: Catalog,
    ready: Ready,
    stored: Callable[[str], Stored],
    by_day: Mapping[date, Scorers],
) -> dict[date, HeldOut]:
    """For each day its labelled held-out rows, joined and scored once for all days of the run."""
    groups = catalog.groups_of(model)
    whole = frozenset.intersection(*(ready.inputs[name].days for name in groups))
    wanted: dict[str, set[date]] = {}
    for by in by_day.values():
        for past, version in by.items():
            if past in whole:
                wanted.setdefault(version, set()).add(past)
    gathered = ScoredDays({})
    if wanted and ready.inputs["labels"].filled:
        past_days = set().union(*wanted.values())
        frames = {name: rows.collect() for name, rows in joined_rows(model, groups, ready, min(past_days)).items()}
        labels = ready.inputs["labels"].rows.select("row_key", "label", "known_at").collect()
        rows = feature_rows(model, groups, frames, (min(past_days), date.fromordinal(max(past_days).toordinal() + 1)))
        events = rows.join(labels, on="row_key", how="left", maintain_order="left")
        for version, past in sorted(wanted.items()):
            of_days = events.filter(pl.col(DAY).is_in(sorted(past)))
            scores = scored(model, stored(version), of_days)
            gathered = gathered.also(ScoredDays.of(version, of_days.with_columns(scores)))
    return {
        day: gathered.held_out(model.maturity, model.calendar, day, _began_us(model, day), by)
        for day, by in by_day.items()
    }


def _began_us(model: ModelSpec, day: date) -> int:
    began, _ = DayRange(day, day).instants(model.calendar.timezone)
    return int(began.timestamp()) * 1_000_000


def _row(day: date, model_version: str, made: DayCalibrator) -> dict[str, object]:
    text = made.calibrator.to_json()
    return {
        DAY: day,
        "model_version": model_version,
        "calibrator_version": f"{day}-{fingerprint(model_version, text)}",
        "method": made.calibrator.method,
        "calibrator": text,
        "reason": made.reason,
        "held_out_brier": json.dumps(dict(made.brier), sort_keys=True),
        "rows": made.rows,
    }


def _shown(model: ModelSpec, day: date, made: DayCalibrator, held_out: HeldOut) -> dict[str, object]:
    shown: dict[str, object] = {"method": made.calibrator.method, "why": made.reason, "held-out rows": made.rows}
    if curves := reliability_curves(held_out, model.calibration):
        shown["reliability"] = MetadataValue.md(inline(reliability_picture(curves, f"{model.name} {day}")))
    return shown


def _window_days(model: ModelSpec) -> int:
    """The event days before a day that may calibrate it, back from the newest that can count as known."""
    window = model.calibration.window_days if model.calibration else 1
    return window + model.oldest_cohort_days - 1


def _reads(model: ModelSpec, catalog: Catalog) -> dict[str, Read]:
    before = window_before(_window_days(model))
    return {
        "champions": Read(f"champions/{model.name}", same_days(), needed=True, follows=True),
        "served_before": Read(f"champions/{model.name}", before),
        **{name: Read(read.table, before.then(read.window)) for name, read in feature_reads(model, catalog).items()},
        "labels": Read(f"outcomes/{model.outcome}", before),
        "models": Read(f"models/{model.name}", same_days(), edge=False, by_version=True),
    }


STAGE = Stage(
    name="calibrators",
    of="models",
    nature=Nature.DECISION,
    holds="the map from the champion's score to a probability, fitted on held-out scores with labels known before D",
    describe=lambda model: f"What turns the scores of {model.name} into probabilities that come true, day by day.",
    reads=_reads,
    code_version=lambda model, _: fingerprint(model.calibration),
    body=_body,
    kinds=frozenset({"scikitlearn", "deltalake"}),
    columns=lambda _model, _catalog: {
        "model_version": "the champion whose scores it maps",
        "calibrator_version": "day and content hash; named by predictions",
        "method": "platt, or none: the score as it is",
        "calibrator": "the fitted map from score to probability, as JSON",
        "reason": "why this method",
        "held_out_brier": "Brier score of each method on the newest week, by a map fitted before it, as JSON",
        "rows": "held-out rows with a label known before the day",
    },
    empty=CALIBRATORS,
)
