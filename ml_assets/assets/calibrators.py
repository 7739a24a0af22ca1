"""`calibrators/<model>`: Platt, isotonic or none, fitted on a later, held-out slice, with its reliability.

What belongs here: the stage. What does not: the methods (`ml_assets/domain/calibration.py`).
"""

import json
from datetime import date

import polars as pl
from dagster import MetadataValue

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.calibration import apply_calibrator, choose_calibrator, reliability_curve
from ml_assets.domain.content import fingerprint
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.local_days import DAY
from ml_assets.domain.pictures import inline, reliability_picture
from ml_assets.domain.serving import scored
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training_rows import rows_of_slice, slices_of, with_event_day
from partitions import same_days

LIMITS = DayLimits(key=("calibrator_version",), required=("model_version", "calibrator_version", "calibrator"))
CALIBRATORS = {
    DAY: pl.Date,
    "model_version": pl.String,
    "calibrator_version": pl.String,
    "method": pl.String,
    "calibrator": pl.String,
    "held_out_brier": pl.String,
    "rows": pl.Int64,
}


def _body(model: ModelSpec, _: Catalog) -> Body:
    def body(ready: Ready) -> DayBatch:
        trained = [day for day in ready.days if day in ready.inputs["models"].filled]
        empty = {day: "no model was trained at this day" for day in ready.days if day not in trained}
        rows, notes = [pl.DataFrame(schema=CALIBRATORS)], {}
        for day in trained:
            row, notes[day] = _calibrated(model, ready, day)
            before = ready.held("fitted_before", day)
            rows += [row, before.select(*CALIBRATORS)] if before.height else [row]
        frame = pl.concat(rows).unique("calibrator_version", keep="first", maintain_order=True)
        verdicts = judge_days(frame, trained, LIMITS) if trained else {}
        return DayBatch(rows=frame, verdicts=verdicts, empty=empty, notes=notes)

    return body


def _calibrated(model: ModelSpec, ready: Ready, day: date) -> tuple[pl.DataFrame, dict[str, object]]:
    rows = with_event_day(model, ready.inputs["training_set"].of(day))
    held_out = rows_of_slice(rows, slices_of(model, day).calibrate)
    best = ready.inputs["models"].of(day).filter("best").row(0, named=True)
    scores = scored(model, best, held_out).to_numpy()
    labels = held_out["label"].to_numpy()
    blocks = held_out["event_day"].rank("dense").to_numpy()
    choice = choose_calibrator(scores, labels, blocks, methods=model.calibrators)
    curve = reliability_curve(apply_calibrator(choice.calibrator, scores), labels)
    raw_curve = reliability_curve(scores, labels)
    frame = pl.DataFrame(
        {
            DAY: [day],
            "model_version": [best["model_version"]],
            "calibrator_version": [f"{day}-{fingerprint(best['model_version'], choice.calibrator.to_json())}"],
            "method": [choice.calibrator.method],
            "calibrator": [choice.calibrator.to_json()],
            "held_out_brier": [json.dumps(dict(choice.brier), sort_keys=True)],
            "rows": [held_out.height],
        },
        schema=CALIBRATORS,
    )
    picture = reliability_picture({"raw score": raw_curve, choice.calibrator.method: curve}, f"{model.name} {day}")
    return frame, {
        "method": choice.calibrator.method,
        "reliability": MetadataValue.md(inline(picture)),
        **{f"held-out Brier, {method}": value for method, value in choice.brier.items()},
    }


STAGE = Stage(
    name="calibrators",
    of="models",
    nature=Nature.DECISION,
    holds="Platt, isotonic or none, chosen on a held-out slice, with its reliability plot; no rows without a model",
    describe=lambda model: f"What turns the scores of {model.name} into probabilities that come true.",
    reads=lambda model, _: {
        "models": Read(f"models/{model.name}", same_days(), follows=True),
        "training_set": Read(f"training_sets/{model.name}", same_days(), follows=True),
        "fitted_before": Read(f"calibrators/{model.name}", same_days(), edge=False, by_version=True),
    },
    code_version=lambda model, _: fingerprint(model.calibrators),
    body=_body,
    kinds=frozenset({"scikitlearn", "deltalake"}),
    columns=lambda _model, _catalog: {
        "calibrator_version": "training day and content hash; named by champions and predictions",
        "model_version": "the model whose score it turns into a probability",
        "method": "platt, isotonic or none",
        "held_out_brier": "Brier score of each method on held-out days, as JSON",
        "rows": "rows it was fitted on",
        "calibrator": "the fitted map from score to probability, as JSON",
    },
    empty=CALIBRATORS,
)
