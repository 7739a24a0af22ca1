"""Scoring with what is stored: a model's row gives the score, a calibrator's row the probability.

What belongs here: from stored rows and feature rows to numbers. What does not: finding the stored rows.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from ml_assets.domain.calibration import Calibrator, apply_calibrator
from ml_assets.domain.errors import ArtefactError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.slices import Slices
from ml_assets.domain.specs import ModelSpec
from ml_assets.domain.training import score

SCORE, PROBABILITY = "score", "probability"
JUDGED, REFIT = "judged", "refit"
"""The roles of a stored candidate: what the gate looks at, and what was fitted on all rows afterwards."""
Stored = Mapping[str, object]
PREDICTIONS = {
    DAY: pl.Date,
    "row_key": pl.String,
    "prediction_time": pl.Datetime("us", "UTC"),
    "score": pl.Float64,
    "probability": pl.Float64,
    "model_version": pl.String,
    "calibrator_version": pl.String,
    "feature_version": pl.String,
}


def scored(model: ModelSpec, stored_model: Stored, rows: pl.DataFrame) -> pl.Series:
    """The raw scores of rows by a stored candidate; ArtefactError when its artefact is not what it should be."""
    artefact = stored_model["artefact"]
    if not isinstance(artefact, bytes):
        raise ArtefactError(
            f"{stored_model['model_version']}: the artefact is {type(artefact).__name__}, wanted bytes."
        )
    return pl.Series(SCORE, score(model, artefact, rows))


def fitted_until(stored_model: Stored) -> date:
    """The day after the last event day that a stored candidate was fitted on."""
    slices = Slices.from_json(str(stored_model["slices"]))
    return slices.window.end if stored_model["role"] == REFIT else slices.train.days.end


def probabilities(rows: pl.DataFrame, calibrators: Mapping[date, str]) -> pl.Series:
    """The probability of each scored row, in order, by the calibrator of its day (JSON)."""
    days = rows[DAY].to_list()
    scores = rows[SCORE].to_numpy()
    made = np.empty(len(days))
    codes = rows[DAY].to_physical().to_numpy()
    for day in dict.fromkeys(days):
        inside = codes == (day - date(1970, 1, 1)).days
        made[inside] = apply_calibrator(Calibrator.from_json(calibrators[day]), scores[inside])
    return pl.Series(PROBABILITY, made)
