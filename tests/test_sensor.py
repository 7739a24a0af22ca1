"""The retrain sensor's own logic on a built context; the real daemon is in `test_daemon.py`."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from dagster import DagsterInstance, RunRequest, build_sensor_context

from ml_assets.catalog import load_catalog
from ml_assets.definitions import build_defs, resources_of
from ml_assets.domain.retraining import Decision, decision_rows
from resources.handles import LakeHandle
from resources.home import Home
from sensors import retrain_job, retrain_sensor

MODEL = "disruption"
DECISIONS = f"retrain_decisions/{MODEL}"


@pytest.fixture
def handle(tmp_path: Path) -> LakeHandle:
    """An empty lake."""
    return LakeHandle(home=str(tmp_path))


def decided(handle: LakeHandle, *days: tuple[int, bool, str]) -> None:
    """Stores decisions of days of March, as `retrain_decisions` would."""
    decisions = [Decision(date(2013, 3, day), train, "drift", (why,)) for day, train, why in days]
    handle.lake().store.replace_days(DECISIONS, decision_rows(decisions), [decision.day for decision in decisions])


def evaluated(handle: LakeHandle, cursor: str | None) -> tuple[list[RunRequest], str, str | None]:
    """What the sensor asks for, what it says when it asks for nothing, and its new cursor."""
    sensor = retrain_sensor({MODEL: retrain_job(MODEL)})
    resources = {**resources_of(Home(Path(handle.home))), "lake": handle}
    repository = build_defs(load_catalog(), resources).get_repository_def()
    with DagsterInstance.ephemeral() as instance:
        context = build_sensor_context(
            instance=instance, cursor=cursor, resources={"lake": handle}, repository_def=repository
        )
        tick = sensor.evaluate_tick(context)
    return list(tick.run_requests or []), str(tick.skip_message), tick.cursor


def seen(cursor: str | None) -> str:
    """The newest day that a cursor has seen."""
    assert cursor
    return str(json.loads(cursor)[MODEL][1])


def since(day: str) -> str:
    """A cursor that has seen the days up to one, of an older version of the table."""
    return json.dumps({MODEL: [0, day]})


def test_what_was_decided_before_the_first_look_starts_nothing(handle: LakeHandle) -> None:
    decided(handle, (1, True, "a"), (2, False, "b"), (3, True, "c"))
    requests, said, cursor = evaluated(handle, None)
    assert requests == []
    assert "history" in said
    assert seen(cursor) == "2013-03-03"


def test_an_empty_lake_is_watched_from_the_first_decision_on(handle: LakeHandle) -> None:
    requests, _, cursor = evaluated(handle, None)
    assert requests == []
    decided(handle, (1, True, "a"))
    requests, _, cursor = evaluated(handle, cursor)
    assert [request.partition_key for request in requests] == ["2013-03-01"]
    assert seen(cursor) == "2013-03-01"


def test_only_new_decisions_to_train_without_a_training_set_are_acted_on(handle: LakeHandle) -> None:
    decided(handle, (1, True, "old"), (2, True, "done already"), (3, False, "wait"), (4, True, "new"))
    done = pl.DataFrame({"partition_date": [date(2013, 3, 2)], "row_key": ["x"]})
    handle.lake().store.replace_days(f"training_sets/{MODEL}", done, [date(2013, 3, 2)])
    requests, _, cursor = evaluated(handle, since("2013-03-01"))
    assert [request.partition_key for request in requests] == ["2013-03-04"]
    assert seen(cursor) == "2013-03-04"
    assert evaluated(handle, cursor)[0] == []


def test_several_new_decisions_in_one_evaluation_are_all_acted_on(handle: LakeHandle) -> None:
    decided(handle, (5, True, "a"), (20, True, "b"))
    requests, _, _ = evaluated(handle, since("2013-03-04"))
    assert [request.partition_key for request in requests] == ["2013-03-05", "2013-03-20"]
    assert len({request.run_key for request in requests}) == 2


def test_the_run_key_names_model_day_and_evidence(handle: LakeHandle) -> None:
    decided(handle, (5, True, "psi 0.4"))
    before = evaluated(handle, since("2013-03-04"))[0][0].run_key
    decided(handle, (5, True, "psi 0.5"))
    after = evaluated(handle, since("2013-03-04"))[0][0].run_key
    assert before != after
    assert before is not None
    assert before.startswith(f"{MODEL}|2013-03-05|")


def test_a_repair_of_an_old_decision_triggers_nothing(handle: LakeHandle) -> None:
    decided(handle, (5, False, "wait"), (9, False, "wait"))
    _, _, cursor = evaluated(handle, since("2013-03-04"))
    decided(handle, (5, True, "the healed day drifted"))
    assert evaluated(handle, cursor)[0] == []
