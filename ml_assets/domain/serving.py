"""Scoring with what is stored: a model's row gives the score, a calibrator's row the probability.

What belongs here: from stored rows and feature rows to numbers. What does not: finding the stored rows.
"""

from collections.abc import Mapping

import polars as pl

from ml_assets.domain.calibration import Calibrator, apply_calibrator
from ml_assets.domain.errors import ArtefactError
from ml_assets.domain.specs import ModelSpec
from ml_assets.domain.training import score

SCORE = "score"
Stored = Mapping[str, object]


def scored(model: ModelSpec, stored_model: Stored, rows: pl.DataFrame) -> pl.Series:
    """The raw scores of rows by a stored candidate; ArtefactError when its artefact is not what it should be."""
    artefact = stored_model["artefact"]
    if not isinstance(artefact, bytes):
        raise ArtefactError(
            f"{stored_model['model_version']}: the artefact is {type(artefact).__name__}, wanted bytes."
        )
    return pl.Series(SCORE, score(model, artefact, rows))


def probabilities(
    model: ModelSpec, stored_model: Stored, stored_calibrator: Stored, rows: pl.DataFrame
) -> pl.DataFrame:
    """The raw `score` and the calibrated `probability` of rows, in order."""
    scores = scored(model, stored_model, rows)
    calibrator = Calibrator.from_json(str(stored_calibrator["calibrator"]))
    return pl.DataFrame([scores, pl.Series("probability", apply_calibrator(calibrator, scores.to_numpy()))])
