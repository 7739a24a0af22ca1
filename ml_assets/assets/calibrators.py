"""`calibrators/<model>`: Platt, isotonic or none, fitted on a later, held-out slice, with its reliability.

What belongs here: the factory. What does not: the methods (`ml_assets/domain/calibration.py`).
"""

import json
from datetime import date

import polars as pl
from dagster import AssetsDefinition, MetadataValue

from ml_assets.assets.keys import key
from ml_assets.assets.models import best_candidate, scored
from ml_assets.assets.partitioned import Frame, Ready, parent, partitioned_asset
from ml_assets.assets.training_sets import rows_of_slice, slices_of, with_event_day
from ml_assets.domain.calibration import apply_calibrator, choose_calibrator, reliability_curve
from ml_assets.domain.content import code_fingerprint, fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.local_days import DAY
from ml_assets.domain.pictures import inline, reliability_picture
from ml_assets.domain.specs import ModelSpec
from partitions import same_days

LIMITS = DayLimits(key=("model_version",), required=("model_version", "calibrator_version", "calibrator"))


def calibrators_asset(model: ModelSpec) -> AssetsDefinition:
    """The calibrator of the day's best candidate, chosen by held-out Brier score."""

    def body(ready: Ready) -> DayBatch:
        trained = [day for day in ready.days if day in ready.inputs["models"].days]
        skipped = {day: "no model was trained at this day" for day in ready.days if day not in trained}
        rows, notes = [], {}
        for day in trained:
            row, notes[day] = _calibrated(model, ready, day)
            rows.append(row)
        frame = pl.concat(rows) if rows else pl.DataFrame(schema={DAY: pl.Date})
        verdicts = judge_days(frame, trained, LIMITS) if trained else {}
        return DayBatch(rows=frame, verdicts=verdicts, skipped=skipped, notes=notes)

    return partitioned_asset(
        Frame(
            key=key("calibrators", model.name),
            calendar=model.calendar,
            group="calibrators",
            kinds=frozenset({"scikitlearn", "deltalake"}),
            description=f"What turns the scores of {model.name} into probabilities that come true.",
            code_version=fingerprint(code_fingerprint(choose_calibrator), model.calibrators),
            parents={
                "models": parent(key("models", model.name), same_days(), model.calendar, same_day=False),
                "training_set": parent(key("training_sets", model.name), same_days(), model.calendar, same_day=False),
            },
            dense=False,
        ),
        body,
    )


def _calibrated(model: ModelSpec, ready: Ready, day: date) -> tuple[pl.DataFrame, dict[str, object]]:
    rows = with_event_day(model, ready.inputs["training_set"].rows.filter(pl.col(DAY) == day).collect())
    held_out = rows_of_slice(rows, slices_of(model, day).calibrate)
    best = ready.inputs["models"].rows.filter(pl.col(DAY) == day, pl.col("best")).collect()["model_version"][0]
    scores = scored(model, best_candidate(ready.lake, model, best), held_out).to_numpy()
    labels = held_out["label"].to_numpy()
    blocks = held_out["event_day"].rank("dense").to_numpy()
    choice = choose_calibrator(scores, labels, blocks, methods=model.calibrators)
    curve = reliability_curve(apply_calibrator(choice.calibrator, scores), labels)
    raw_curve = reliability_curve(scores, labels)
    frame = pl.DataFrame(
        {
            DAY: [day],
            "model_version": [best],
            "calibrator_version": [f"{day}-{fingerprint(best, choice.calibrator.to_json())}"],
            "method": [choice.calibrator.method],
            "calibrator": [choice.calibrator.to_json()],
            "held_out_brier": [json.dumps(dict(choice.brier), sort_keys=True)],
            "rows": [held_out.height],
        },
        schema_overrides={DAY: pl.Date},
    )
    picture = reliability_picture({"raw score": raw_curve, choice.calibrator.method: curve}, f"{model.name} {day}")
    return frame, {
        "method": choice.calibrator.method,
        "reliability": MetadataValue.md(inline(picture)),
        **{f"held-out Brier, {method}": value for method, value in choice.brier.items()},
    }
