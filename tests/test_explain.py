"""A prediction explained: the same numbers once more, every value where plain reading finds it, whatever came since.

What belongs here: `ml-assets explain` over replayed homes. What does not: a training made once more
(`test_reproduce.py`).
"""

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from short_year import CORRECTED, FIRST, SECOND_TRAINING, SOURCES, Platform, correct, short_catalog
from test_upkeep import aged

from ml_assets.__main__ import main
from ml_assets.domain.errors import CatalogError, RecordsError
from ml_assets.domain.local_days import DAY
from ml_assets.explain import Explanation, explain
from resources.settings import HOME_VARIABLE
from resources.upkeep import upkeep

TABLE = "predictions/disruption"
ONE_DAY = timedelta(days=1)
NEXT = CORRECTED + ONE_DAY
MODEL = short_catalog().models["disruption"]
# What an explanation says of the time at which it is asked for.
OF_TODAY = ("changed", "label", "label_known_at")


def explained(platform: Platform, key: str, day: date | None = None, version: int | None = None) -> Explanation:
    return explain(platform.lake, platform.launcher.catalog, TABLE, key, day, version=version)


def keys(platform: Platform, day: date, each: int = 97) -> list[str]:
    return platform.rows(TABLE, day)["row_key"].gather_every(each).to_list()


def as_it_was(found: Explanation) -> dict[str, Any]:
    return {name: held for name, held in json.loads(found.to_json()).items() if name not in OF_TODAY}


def newest_known(rows: pl.DataFrame, entity: dict[str, Any], at: Any, max_age: timedelta) -> dict[str, Any] | None:
    """The twin of the join, a row at a time: of all that is stored of a group, whatever the day."""
    best = None
    for row in rows.iter_rows(named=True):
        if any(row[name] is None or row[name] != value for name, value in entity.items()) or row["known_at"] > at:
            continue
        if at - row["known_at"] <= max_age and (best is None or row["known_at"] >= best["known_at"]):
            best = row
    return best


@pytest.mark.parametrize("day", [SECOND_TRAINING - ONE_DAY, SECOND_TRAINING, SECOND_TRAINING + ONE_DAY])
def test_a_prediction_is_made_once_more_to_the_last_bit(replayed: Platform, day: date) -> None:
    before = replayed.files()
    stored = {row["row_key"]: row for row in replayed.rows(TABLE, day).iter_rows(named=True)}
    for key in keys(replayed, day):
        found = explained(replayed, key)
        assert found.identical
        assert found.changed == ()
        assert (found.day, found.score, found.probability) == (day, stored[key]["score"], stored[key]["probability"])
        assert found.model["model_version"] == stored[key]["model_version"]
        assert found.calibrator["version"] == stored[key]["calibrator_version"]
        assert found.decision["decision"] in {"first", "promoted"}
        assert len(found.values) == len(MODEL.features)
    assert replayed.files() == before, "the lake was written to"


def test_every_value_stands_where_plain_reading_finds_it(replayed: Platform) -> None:
    groups = replayed.launcher.catalog.groups_of(MODEL)
    tables = {name: replayed.rows(f"features/{name}", NEXT - 3 * ONE_DAY, NEXT) for name in groups}
    for key in keys(replayed, NEXT, 331):
        found = explained(replayed, key, NEXT)
        spine = tables[MODEL.spine].filter(pl.col("row_key") == key).row(0, named=True)
        assert found.prediction_time == spine["event_time"] - MODEL.prediction_lead
        for value in found.values:
            name, column = value.feature.split(".")
            group = groups[name]
            row = spine
            if name != MODEL.spine:
                entity = {part: spine[part] for part in group.entity}
                assert group.max_age is not None
                row = newest_known(tables[name], entity, found.prediction_time, group.max_age)
            if row is None:
                assert (value.value, value.known_at, value.day) == (None, None, None)
                assert value.why_null
                continue
            assert (value.value, value.known_at, value.event_time, value.day) == (
                row[column],
                row["known_at"],
                row["event_time"],
                row[DAY],
            )
            assert bool(value.why_null) == (value.value is None)
            assert value.known_at <= found.prediction_time
            assert value.sources, "it was computed from something"
            assert all(source.startswith("events/") for source in value.sources)


def test_a_value_that_is_not_there_says_why(replayed: Platform) -> None:
    said = {
        value.why_null.split(" of ")[0]
        for key in keys(replayed, NEXT, 7)
        for value in explained(replayed, key, NEXT).values
        if value.value is None
    }
    assert said <= {
        "nothing was known",
        "the newest known",
        "the row that counts holds no value",
        "the row that asks has no tailnum",
    }
    assert {"nothing was known", "the newest known", "the row that counts holds no value"} <= said


def test_what_was_repaired_is_explained_as_it_is_and_as_it_was(platform: Platform) -> None:
    last_of_day = platform.rows(TABLE, CORRECTED).sort("prediction_time", "row_key")
    key = last_of_day["row_key"][-1]
    before = explained(platform, key)
    correct(platform.extract("flights", CORRECTED))
    platform.run([SOURCES[0], "features/carrier_delays", "features/origin_delays"], CORRECTED)

    stale = explained(platform, key)
    assert as_it_was(stale) == as_it_was(before), "the prediction has not been computed anew"
    assert any(f"features/carrier_delays of {CORRECTED} has another content" in line for line in stale.changed)

    platform.repair()
    now = explained(platform, key)
    assert now.identical
    assert now.changed == ()
    assert [each.value for each in now.values] != [each.value for each in before.values]
    then = explained(platform, key, version=before.record["version"])
    assert then.identical
    assert as_it_was(then) == as_it_was(before)

    aged(platform.path)
    assert sum(each.done.files for each in upkeep(platform.lake, platform.launcher.graph, keep_hours=1))
    assert as_it_was(explained(platform, key)) == as_it_was(now)


def test_what_cannot_be_explained_is_said_in_a_sentence(replayed: Platform) -> None:
    key = keys(replayed, NEXT)[0]
    with pytest.raises(CatalogError, match="is no predictions/<model>; known are predictions/disruption"):
        explain(replayed.lake, replayed.launcher.catalog, "models/disruption", key)
    missing = key[:-1] + "?"
    with pytest.raises(RecordsError, match=r"has no row .*Near it are .*'") as raised:
        explained(replayed, missing)
    assert repr(key) in str(raised.value)
    with pytest.raises(RecordsError, match=f"of {FIRST} cannot be explained: no champion serves this day yet"):
        explained(replayed, key, FIRST)
    with pytest.raises(RecordsError, match=f"of {SECOND_TRAINING} has no row"):
        explained(replayed, key, SECOND_TRAINING)
    with pytest.raises(RecordsError, match="nothing is on record of that day"):
        explained(replayed, key, date(2013, 7, 1))


def test_the_command_tells_people_and_programs(
    replayed: Platform,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    served_as: Callable[[], None],
) -> None:
    served_as()
    monkeypatch.setenv(HOME_VARIABLE, str(replayed.path))
    monkeypatch.setenv("COLUMNS", "200")
    key = keys(replayed, NEXT)[2]
    assert main(["explain", TABLE, key]) == 0
    told = capsys.readouterr().out
    found = explained(replayed, key)
    for said in (f"{found.probability:.4f}", found.model["model_version"], "schedule.clock_hour", "to the last bit"):
        assert said in told
    assert main(["explain", TABLE, key, str(NEXT), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(found.to_json())


@pytest.fixture
def served_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Commands work on the catalogue of the short year."""
    return lambda: monkeypatch.setattr("ml_assets.catalog.load_catalog", lambda _package: short_catalog())
