"""What people decide about who serves: pins, rollbacks and approvals, what follows of them, and what cannot be.

What belongs here: the day-by-day fold, and interventions in replayed homes up to the predictions. What does not: the
gate (`test_promotion.py`).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from short_year import ASSETS, END, FIRST_TRAINING, SECOND_TRAINING, Platform, short_catalog

from ml_assets.__main__ import main
from ml_assets.domain.errors import InterventionError
from ml_assets.domain.interventions import (
    NOTHING,
    UNPINNED,
    Action,
    Intervention,
    Pin,
    asked_on,
    fold_interventions,
    pins_of,
    rolled_back_to,
)
from ml_assets.domain.local_days import DAY
from ml_assets.domain.promotion import CHAMPIONS, NOBODY, Attempt, Champion, Rulings, fold_champions
from ml_assets.domain.verdict import passed
from ml_assets.repair import repair
from resources.settings import HOME_VARIABLE

MODEL = "disruption"
TABLE, CHAMPIONS_TABLE = f"interventions/{MODEL}", f"champions/{MODEL}"
FROM = SECOND_TRAINING + timedelta(days=2)
LAST = END - timedelta(days=1)
WHO = {"by": "Ada", "reason": "the airline saw odd numbers"}
DAYS = [date(2024, 5, 1) + timedelta(days=at) for at in range(6)]

actions = st.sampled_from([Action.none, Action.pin, Action.unpin, Action.rollback, Action.approve, Action.refuse])


# --- the fold ---------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(actions, st.sampled_from(["a", "b"])), min_size=6, max_size=6), st.integers(0, 5))
def test_days_folded_at_once_are_days_folded_in_two_stretches(drawn: list[tuple[Action, str]], cut: int) -> None:
    asked = {day: Intervention(*each, "Ada", "so") for day, each in zip(DAYS, drawn, strict=True) if each[0] != "none"}
    whole = fold_interventions({}, DAYS, asked)
    first = fold_interventions({}, DAYS[:cut], asked)
    eve = pins_of(first).get(DAYS[cut - 1], UNPINNED) if cut else UNPINNED
    assert pl.concat([first, fold_interventions({DAYS[cut]: eve}, DAYS[cut:], asked)]).equals(whole)
    assert asked_on(whole) == asked


@given(st.lists(st.tuples(actions, st.sampled_from(["a", "b"])), min_size=6, max_size=6))
def test_the_last_pin_or_unpin_up_to_a_day_is_what_holds(drawn: list[tuple[Action, str]]) -> None:
    asked = {day: Intervention(*each, "Ada", "so") for day, each in zip(DAYS, drawn, strict=True)}
    found = pins_of(fold_interventions({}, DAYS, asked))
    for day in DAYS:
        ends = [asked[each] for each in DAYS if each <= day and asked[each].action in ("pin", "unpin", "rollback")]
        wanted = ends[-1].model_version if ends and ends[-1].action != "unpin" else None
        assert found[day].version == wanted


def attempt(version: str) -> Attempt:
    return Attempt(Champion(version), passed())


def served(rows: pl.DataFrame) -> list[tuple[str | None, str]]:
    return list(rows.select("model_version", "decision").iter_rows())


def test_a_pinned_model_serves_whatever_the_gate_says_and_the_gate_goes_on_from_it() -> None:
    pins = {day: Pin("m1", "pin by Ada") for day in DAYS[2:4]}
    rows = fold_champions(
        {DAYS[0]: NOBODY}, DAYS, {DAYS[0]: attempt("m1"), DAYS[1]: attempt("m2"), DAYS[3]: attempt("m3")}, {},
        Rulings(pins),
    )  # fmt: skip
    assert served(rows) == [
        ("m1", "first"), ("m2", "promoted"), ("m1", "pinned"), ("m1", "pinned"), ("m1", "keep"), ("m1", "keep"),
    ]  # fmt: skip
    assert "m3" not in rows["reason"][3]
    assert rows["reason"][3].endswith("what was trained on the day: promoted, the challenger is no worse than the "
                                      "champion at the gate")  # fmt: skip


def test_a_promotion_is_held_until_a_person_approves() -> None:
    asked = {DAYS[3]: Intervention(Action.approve, "m2", "Ada", "looks right")}
    rulings = Rulings({}, asked, approval=True)
    rows = fold_champions({DAYS[0]: Champion("m1")}, DAYS, {DAYS[1]: attempt("m2")}, {}, rulings)
    assert served(rows) == [
        ("m1", "keep"), ("m1", "held"), ("m1", "keep"), ("m2", "approved"), ("m2", "keep"), ("m2", "keep"),
    ]  # fmt: skip
    refused = Rulings({}, {DAYS[3]: replace(asked[DAYS[3]], action=Action.refuse)}, approval=True)
    rows = fold_champions({DAYS[0]: Champion("m1")}, DAYS, {DAYS[1]: attempt("m2")}, {}, refused)
    assert rows["model_version"].unique().to_list() == ["m1"]
    assert rows["reason"][3] == "m2 was refused by Ada: looks right"


def test_who_served_before_is_found_across_days_that_kept() -> None:
    rows = pl.DataFrame(
        [(day, version, "keep", "", "") for day, version in zip(DAYS, [None, "a", "a", "b", "b", "c"], strict=True)],
        schema=CHAMPIONS,
        orient="row",
    )
    assert rolled_back_to(rows, DAYS[4]) == "a"
    assert rolled_back_to(rows, DAYS[5]) == "b"
    with pytest.raises(InterventionError, match="is the first champion"):
        rolled_back_to(rows, DAYS[2])
    with pytest.raises(InterventionError, match="no model serves"):
        rolled_back_to(rows, DAYS[0])


def test_nothing_asked_is_nothing() -> None:
    assert asked_on(fold_interventions({}, DAYS, {})) == {}
    assert NOTHING.action == Action.none


# --- in a home --------------------------------------------------------------------------------------------


def champions(platform: Platform) -> dict[date, tuple[str | None, str]]:
    rows = pl.concat([platform.rows(CHAMPIONS_TABLE, day) for day in (FROM - timedelta(days=1), FROM, LAST)])
    return {day: (version, decision) for day, version, decision in rows.select(DAY, "model_version", "decision").rows()}


def intervened(platform: Platform, action: str, day: date = FROM, **more: object) -> None:
    platform.launcher.intervene(MODEL, day, {"action": action, **WHO, **more})
    repair(platform.launcher, [], None, lambda _: None)


def test_a_rollback_and_its_end_leave_the_predictions_of_before(copied: Callable[[], Platform]) -> None:
    """Rolled back from a day on, the model of before serves every day from there; unpinned, all is as it was."""
    platform = copied()
    before, was = platform.contents(ASSETS), champions(platform)
    first = platform.rows(CHAMPIONS_TABLE, FIRST_TRAINING)["model_version"].item()
    second = was[FROM][0]
    assert second not in (first, None)
    intervened(platform, "rollback")
    row = platform.rows(TABLE, FROM).row(0, named=True)
    assert (row["action"], row["by"], row["reason"], row["pinned_version"]) == ("rollback", *WHO.values(), first)
    now = champions(platform)
    assert now == {**was, FROM: (first, "pinned"), LAST: (first, "pinned")}
    assert "rollback on" in platform.rows(CHAMPIONS_TABLE, LAST)["reason"].item()
    for day in (FROM, LAST):
        assert platform.rows("predictions/disruption", day)["model_version"].unique().to_list() == [first]
        assert platform.rows("calibrators/disruption", day)["model_version"].to_list() == [first]
    assert not platform.plan().steps
    intervened(platform, "unpin")
    after = platform.contents(ASSETS)
    assert {name: days for name, days in after.items() if name != TABLE} == {
        name: days for name, days in before.items() if name != TABLE
    }
    changed = {day for day, content in after[TABLE].items() if before[TABLE][day] != content}
    assert changed == {FROM}


def test_an_earlier_decision_leaves_a_later_one_standing(copied: Callable[[], Platform]) -> None:
    platform = copied()
    first = platform.rows(CHAMPIONS_TABLE, FIRST_TRAINING)["model_version"].item()
    second = platform.rows(CHAMPIONS_TABLE, FROM)["model_version"].item()
    intervened(platform, "pin", LAST, model_version=second)
    intervened(platform, "pin", FROM, model_version=first)
    assert platform.rows(TABLE, LAST)["pinned_version"].item() == second
    assert champions(platform)[FROM] == (first, "pinned")
    assert champions(platform)[LAST] == (second, "pinned")


@pytest.mark.parametrize(
    ("action", "more", "told"),
    [
        ("pin", {"model_version": "2013-03-12-absent"}, "no model '2013-03-12-absent' is on record"),
        ("pin", {}, "names no model_version"),
        ("approve", {"model_version": "m"}, "no model 'm' is on record"),
        ("unpin", {}, "no model is pinned on"),
        ("rollback", {"by": " "}, "says no by; wanted the name of who decides, and why"),
        ("pin", {"model_version": "m", "reason": ""}, "says no reason"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_changes_nothing(
    platform: Platform, action: str, more: dict[str, object], told: str
) -> None:
    before = platform.contents(ASSETS)
    with pytest.raises(InterventionError) as refused:
        platform.launcher.intervene(MODEL, FROM, {"action": action, **WHO, **more})
    assert told in str(refused.value)
    assert platform.contents(ASSETS) == before
    assert not platform.plan().steps


def test_a_model_of_the_future_is_not_pinned(platform: Platform) -> None:
    second = platform.rows(CHAMPIONS_TABLE, FROM)["model_version"].item()
    early = FIRST_TRAINING + timedelta(days=2)
    with pytest.raises(InterventionError, match="trained on 2013-03-14 or before"):
        platform.launcher.intervene(MODEL, early, {"action": "pin", "model_version": second, **WHO})


def test_the_command_says_what_was_done(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(platform.path))
    assert main(["intervene", "pin", "delay", str(LAST), "--by", "Ada", "--reason", "odd"]) == 1
    assert "no model is named 'delay'" in capsys.readouterr().err
    assert main(["intervene", "unpin", MODEL, str(LAST), "--by", "Ada", "--reason", "odd"]) == 1
    assert "there is nothing to unpin" in capsys.readouterr().err


def test_approval_is_off_unless_a_model_declares_it() -> None:
    assert not short_catalog().models[MODEL].approval
