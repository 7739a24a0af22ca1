"""`champions/<model>`: which model and calibrator serve the day, and why; a dense asset, not a moving pointer.

What belongs here: the factory. What does not: the gate and the fold (`ml_assets/domain/promotion.py`).
"""

from datetime import date, timedelta

import numpy as np
import polars as pl
from dagster import AssetsDefinition

from ml_assets.assets.keys import key, table
from ml_assets.assets.models import best_candidate, scored
from ml_assets.assets.partitioned import Frame, Ready, notes_of, parent, partitioned_asset
from ml_assets.assets.training_sets import rows_of_slice, slices_of, with_event_day
from ml_assets.domain.calibration import Calibrator, apply_calibrator
from ml_assets.domain.content import code_fingerprint, fingerprint, seed_of
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.errors import MissingPartitionError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.promotion import NOBODY, Attempt, Champion, fold_champions, gate
from ml_assets.domain.specs import ModelSpec
from partitions import day_of_key, same_days, window_before
from resources.lake import Lake

SHOWN = {"model_version": "champion", "decision": "decision", "reason": "reason"}
LIMITS = DayLimits(key=("decision", DAY), required=("decision", "reason"))


def champions_asset(model: ModelSpec) -> AssetsDefinition:
    """The champions of a model, folded day by day from the day before the run."""

    def body(ready: Ready) -> DayBatch:
        start = ready.run.start
        champion = champion_before(model, ready)
        attempts: dict[date, Attempt] = {}
        serving = champion
        for day in sorted(set(ready.days) & ready.inputs["calibrators"].days & ready.inputs["models"].days):
            attempts[day] = _attempt(model, ready, day, serving)
            if attempts[day].verdict.passed:
                serving = attempts[day].challenger
        decided = ready.lake.read(table("retrain_decisions", model.name), start, ready.run.end)
        train = decided.rows.filter(pl.col("decision") == "train").collect()[DAY] if decided.days else []
        rows = fold_champions(champion, ready.run, attempts, set(train))
        return DayBatch(rows=rows, verdicts=judge_days(rows, ready.days, LIMITS), notes=notes_of(rows, SHOWN))

    return partitioned_asset(
        Frame(
            key=key("champions", model.name),
            calendar=model.calendar,
            group="champions",
            kinds=frozenset({"deltalake"}),
            description=f"Which {model.name} model and calibrator serve the day, and why.",
            code_version=fingerprint(code_fingerprint(gate), model.gate),
            parents={
                "before": parent(key("champions", model.name), window_before(1), model.calendar, same_day=False),
                **{
                    stage: parent(key(stage, model.name), same_days(), model.calendar, same_day=False)
                    for stage in ("training_sets", "models", "calibrators")
                },
            },
        ),
        body,
    )


def champion_before(model: ModelSpec, ready: Ready) -> Champion:
    """Who served the day before the run; nobody before the calendar's first day.

    Of the window read, which overlaps what a rerun writes, only rows before the run count. Raises
    MissingPartitionError when the day before is not there.
    """
    start = ready.run.start
    if start == model.calendar.first_day:
        return NOBODY
    eve = start - timedelta(days=1)
    if eve not in ready.inputs["before"].days:
        raise MissingPartitionError(
            f"champions/{model.name} of {eve} is not there, and a champion is carried forward from the day "
            f"before. Materialise champions/{model.name} up to {eve} first."
        )
    row = ready.inputs["before"].rows.filter(pl.col(DAY) == eve).collect().row(0, named=True)
    return Champion(row["model_version"], row["calibrator_version"])


def _attempt(model: ModelSpec, ready: Ready, day: date, serving: Champion) -> Attempt:
    rows = with_event_day(model, ready.inputs["training_sets"].rows.filter(pl.col(DAY) == day).collect())
    rows = rows_of_slice(rows, slices_of(model, day).gate).with_columns(pl.col("event_day").alias(DAY))
    calibrated = ready.inputs["calibrators"].rows.filter(pl.col(DAY) == day).collect().row(0, named=True)
    challenger = Champion(calibrated["model_version"], calibrated["calibrator_version"])
    theirs = None if serving in (NOBODY, challenger) else probabilities(model, ready.lake, serving, rows)["probability"]
    verdict = gate(
        rows,
        probabilities(model, ready.lake, challenger, rows)["probability"].to_numpy(),
        None if theirs is None else theirs.to_numpy(),
        model.gate,
        seed=seed_of(model.name, day.isoformat(), "gate"),
    )
    return Attempt(challenger, verdict)


def probabilities(model: ModelSpec, lake: Lake, champion: Champion, rows: pl.DataFrame) -> pl.DataFrame:
    """The raw `score` and calibrated `probability` of rows by a champion.

    Raises MissingPartitionError or ArtefactError when what it names is not stored any more.
    """
    if champion.model_version is None or champion.calibrator_version is None:
        raise MissingPartitionError(f"{model.name}: nobody serves, so nothing can be scored.")
    scores = scored(model, best_candidate(lake, model, champion.model_version), rows)
    calibrator = stored_calibrator(lake, model, champion.calibrator_version)
    probability: np.ndarray[tuple[int], np.dtype[np.float64]] = apply_calibrator(calibrator, scores.to_numpy())
    return pl.DataFrame([scores, pl.Series("probability", probability)])


def stored_calibrator(lake: Lake, model: ModelSpec, calibrator_version: str) -> Calibrator:
    """The calibrator of a version."""
    day = day_of_key(calibrator_version[:10])
    stored = lake.read(table("calibrators", model.name), day, day + timedelta(days=1))
    rows = (
        stored.rows.filter(pl.col("calibrator_version") == calibrator_version).collect()["calibrator"]
        if stored.days
        else []
    )
    if len(rows) != 1:
        raise MissingPartitionError(
            f"calibrators/{model.name} of {day} does not hold {calibrator_version}. Rerun the day's calibrator and "
            f"champions/{model.name} from {day} on."
        )
    return Calibrator.from_json(rows[0])
