"""From a training to what serves, over a replayed home: a day's calibrator by the slow way, a challenger refused.

What belongs here: what several stages make of a training together. What does not: each one's own rules
(`test_held_out.py`, `test_calibration.py`, `test_promotion.py`, `test_slices.py`).
"""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from short_year import (
    END,
    FIRST_TRAINING,
    SECOND_TRAINING,
    SERVING,
    TRAINING,
    Platform,
    days,
    opened,
    quiet,
    short_catalog,
)

from ml_assets.domain.calibration import HeldOut, calibrator_of_day
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.slices import Slices
from ml_assets.domain.specs import Catalog
from ml_assets.domain.training import score
from ml_assets.replay import Replay

MODEL = short_catalog().models["disruption"]
ZONE = ZoneInfo(MODEL.calendar.timezone)
ONE_DAY = timedelta(days=1)
CHAMPIONS, CALIBRATORS, PREDICTIONS = "champions/disruption", "calibrators/disruption", "predictions/disruption"


def artefacts(platform: Platform) -> dict[str, dict[str, object]]:
    snapshot = platform.lake.store.snapshot("models/disruption")
    assert snapshot
    rows = snapshot.scan(date.min, date.max).filter("best").collect()
    return {row["model_version"]: row for row in rows.iter_rows(named=True)}


def last_day_fitted_on(model: dict[str, object]) -> date:
    slices = Slices.from_json(str(model["slices"]))
    return (slices.gate if model["role"] == "refit" else slices.train).days.last


def test_a_days_calibrator_is_what_the_slow_way_finds(replayed: Platform) -> None:
    """Every past event scored by a model that was not fitted on its day, its label known before the day began."""
    models = artefacts(replayed)
    served = dict(replayed.rows(CHAMPIONS).select(DAY, "model_version").drop_nulls().iter_rows())
    groups = replayed.launcher.catalog.groups_of(MODEL)
    frames = {name: replayed.rows(f"features/{name}") for name in groups}
    labels = replayed.rows("outcomes/disrupted").select("row_key", "label", "known_at")
    events = feature_rows(MODEL, groups, frames).join(labels, on="row_key", how="left").sort(DAY, "row_key")
    scored = {
        version: events.with_columns(score=score(MODEL, row["artefact"], events)) for version, row in models.items()
    }
    first = models[served[min(served)]]
    held_out_of_first = Slices.from_json(str(first["slices"]))
    for day in (
        FIRST_TRAINING,
        SECOND_TRAINING - ONE_DAY,
        SECOND_TRAINING,
        SECOND_TRAINING + 2 * ONE_DAY,
        END - ONE_DAY,
    ):
        began = datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(UTC)
        chosen = []
        for back in range(MODEL.calibration.window_days, 0, -1):
            past = day - back * ONE_DAY
            if past > last_day_fitted_on(models[served[day]]):
                by = served[day]
            elif past in served:
                by = served[past]
            elif held_out_of_first.held_out.days.start <= past <= held_out_of_first.gate.days.last:
                by = str(first["judged_by"])
            else:
                continue
            assert last_day_fitted_on(models[by]) < past, "it would score what it was fitted on"
            of_day = scored[by].filter(pl.col(DAY) == past, pl.col("known_at") < began)
            chosen += [(row["score"], row["label"], back) for row in of_day.iter_rows(named=True)]
        columns = np.array(chosen, dtype=np.float64).reshape(-1, 3).T
        ages = columns[2].astype(np.int64)
        wanted = calibrator_of_day(HeldOut(columns[0], columns[1], ages - ages.min() + 1), MODEL.calibration)
        stored = replayed.rows(CALIBRATORS, day).row(0, named=True)
        assert (stored["rows"], stored["method"]) == (len(chosen), wanted.calibrator.method)
        parameters = [json.loads(text)["parameters"] for text in (stored["calibrator"], wanted.calibrator.to_json())]
        assert parameters[0] == pytest.approx(parameters[1], abs=1e-9)


def strict(catalog: Catalog) -> Catalog:
    """The short year whose gate no challenger passes."""
    model = catalog.models["disruption"]
    return replace(catalog, models={"disruption": replace(model, gate=replace(model.gate, max_brier_rise=-1.0))})


def test_a_refused_challenger_leaves_everything_to_the_champion(platform: Platform, replayed: Platform) -> None:
    platform.withdraw([*TRAINING, *SERVING, "performance_reports/disruption"], SECOND_TRAINING, END + ONE_DAY)
    with opened(platform.path, strict(short_catalog())) as stricter:
        Replay(stricter.launcher, quiet).run()
        (first,) = stricter.rows(CHAMPIONS, FIRST_TRAINING)["model_version"]
        refused = stricter.rows(CHAMPIONS, SECOND_TRAINING).row(0, named=True)
        assert (refused["model_version"], refused["decision"]) == (first, "rejected")
        assert "is higher than the champion's" in refused["reason"]
        assert json.loads(refused["evidence"])["champion_brier"] > 0
        for day in days(SECOND_TRAINING, END - ONE_DAY):
            assert stricter.rows(CHAMPIONS, day)["model_version"].to_list() == [first]
            assert stricter.rows(CALIBRATORS, day)["model_version"].to_list() == [first]
            assert stricter.rows(PREDICTIONS, day)["model_version"].unique().to_list() == [first]
        # What was trained stays to be looked at, and the replay knows that the decision was carried out.
        assert stricter.rows("models/disruption", SECOND_TRAINING).height == 2
        assert Replay(stricter.launcher, quiet).finished
        assert not stricter.plan().steps
    before = days(FIRST_TRAINING, SECOND_TRAINING - ONE_DAY)
    for table in (CHAMPIONS, CALIBRATORS, PREDICTIONS):
        assert platform.rows(table, before[0], before[-1]).equals(replayed.rows(table, before[0], before[-1])), table
