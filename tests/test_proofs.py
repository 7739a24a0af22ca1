"""What the platform promises of a catalogue: it holds for the toy, and its proof catches each planted breach."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
import toy_catalog as toy
from rehearsed import Rehearsed, rehearsed, without_facts

from ml_assets.domain.declared import Graph
from ml_assets.domain.proofs.proof import CENSORING, DECLARED, PLANTED, RANGE, SERVING, Proof
from ml_assets.domain.specs import FeatureGroupSpec, Inputs, SourceSpec
from partitions import Window

HOUR = timedelta(hours=1)
GROUPS, MODEL, OUTCOME, PARCELS = toy.groups(), toy.model(), toy.outcome(), toy.source("parcels")
MODEL_TABLES = ("models/delay", "predictions/delay", "training_sets/delay")


def group(name: str, **changes: Any) -> dict[str, dict[str, FeatureGroupSpec]]:
    return {"features": {name: replace(GROUPS[name], **changes)}}


def gauge_of(level: pl.Expr) -> dict[str, dict[str, FeatureGroupSpec]]:
    """The gauge with another value in place of its level."""
    return group("gauge", compute=lambda events: toy.gauge(events).with_columns(level=level))


def broken(proofs: list[Proof]) -> dict[tuple[str, str], str]:
    return {(proof.name, proof.subject): str(proof.findings[0]) for proof in proofs if proof.findings}


# --- the toy ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy_proofs() -> list[Proof]:
    return list(rehearsed().proofs())


def test_every_promise_holds_for_the_toy(toy_proofs: list[Proof]) -> None:
    assert broken(toy_proofs) == {}
    assert [proof.verdict.reasons for proof in toy_proofs if not proof.verdict.passed] == []
    assert all(proof.rows for proof in toy_proofs)


def test_every_part_of_the_catalogue_is_looked_at(toy_proofs: list[Proof]) -> None:
    promises: dict[str, set[str]] = {}
    for proof in toy_proofs:
        promises.setdefault(proof.subject, set()).add(proof.name)
    catalog = toy.catalog()
    assert promises == {
        **{f"events/{name}": {RANGE} for name in catalog.sources},
        **{f"features/{name}": {DECLARED, CENSORING, RANGE} for name in catalog.features},
        "outcomes/late": {DECLARED, CENSORING, RANGE},
        "models/delay": {DECLARED, PLANTED},
        "predictions/delay": {CENSORING, RANGE},
        "training_sets/delay": {CENSORING, PLANTED, RANGE, SERVING},
    }


def test_a_group_without_limit_of_age_is_shown_too() -> None:
    """Its days hold what they carry over, which is no row of theirs that could be censored."""
    shape = replace(toy.SHAPE, account_max_age=None)
    proofs = list(rehearsed(shape).proofs("features/account", *MODEL_TABLES))
    assert broken(proofs) == {}
    assert all(proof.rows for proof in proofs)


# --- planted breaches -------------------------------------------------------------------------------------


def next_reading(events: Inputs) -> pl.LazyFrame:
    return toy.gauge(events).sort("event_time").with_columns(pl.col("level").shift(-1).over("depot"))


def parcel_with(grams: pl.Expr) -> Callable[[Inputs], pl.LazyFrame]:
    """The parcel's function with something else of its event in place of its weight."""

    def compute(events: Inputs) -> pl.LazyFrame:
        return toy.parcel(events).drop("grams").join(events["parcels"].select("row_key", grams=grams), on="row_key")

    return compute


def kept_ones(events: Inputs) -> pl.LazyFrame:
    """No later value is read: that a row is missing tells that its parcel was lost."""
    return toy.parcel({"parcels": events["parcels"].filter(pl.col("lost").ne_missing(other=True))})


def of_all(lost: pl.Series) -> pl.Series:
    """Fails while nobody knows what became of a parcel."""
    if lost.null_count():
        raise ValueError("somebody's fate is not known")
    return lost.cast(pl.Int64)


def known_when_the_last_is_booked(events: Inputs) -> pl.LazyFrame:
    """One row an hour: that it is not there yet tells that somebody will book one more."""
    return (
        toy.hours(events["parcels"], toy.SHAPE.timezone)
        .group_by("depot", "event_time")
        .agg(pl.col("booked").max(), pl.col("known_at").max())
    )


def running_share(events: Inputs) -> pl.LazyFrame:
    """What lies between two sums from the first row that is loaded: the same but for its last digits."""
    sums = (pl.col("level").fill_null(0.5) / 10).cum_sum()
    return toy.gauge(events).sort("event_time").with_columns(level=(sums - sums.shift(1)).over("depot"))


def utc_hours(events: Inputs) -> pl.LazyFrame:
    return toy.hours(events["parcels"], "UTC")


def twice(events: Inputs) -> pl.LazyFrame:
    """A parcel that is booked again an hour before it is due is there twice."""
    again = toy.parcel(events).filter(pl.col("express")).with_columns(known_at=pl.col("event_time") - 3 * HOUR)
    return pl.concat([toy.parcel(events), again])


def labels(**columns: pl.Expr) -> dict[str, dict[str, Any]]:
    return {"outcomes": {"late": replace(OUTCOME, compute=lambda rows: toy.late(rows).with_columns(**columns))}}


def weighed_against_the_others(source: SourceSpec) -> SourceSpec:
    return replace(
        source,
        parse=lambda extract: source.parse(extract).with_columns(grams=pl.col("grams").rank("ordinal").cast(pl.Int64)),
    )


EARLY = replace(MODEL, prediction_lead=10 * HOUR)
RANDOM_TEXT = replace(MODEL, features=(*MODEL.features, "parcel.key"), categorical=(*MODEL.categorical, "parcel.key"))
BREACHES: dict[str, tuple[dict[str, Any], str, str, tuple[str, ...]]] = {
    "a feature function that looks ahead": (
        group("gauge", compute=next_reading),
        CENSORING,
        "features/gauge",
        ("with what became known later", "It uses rows of gauges that come after."),
    ),
    "a column used before it is known": (
        group("parcel", compute=parcel_with(pl.col("delay"))),
        CENSORING,
        "features/parcel",
        ("grams is", "without it", "It uses ended_at, delay, lost of parcels, known from ended_at on."),
    ),
    "a row that is missing for what happens later": (
        group("parcel", compute=kept_ones),
        CENSORING,
        "features/parcel",
        ("the row is there without it and is not with what became known later", "known from ended_at on"),
    ),
    "a function that fails while a fact is not known": (
        group("parcel", compute=parcel_with(pl.col("lost").map_batches(of_all, return_dtype=pl.Int64))),
        CENSORING,
        "features/parcel",
        ("as it was known at 2024-", "cannot be computed (", "somebody's fate is not known", "Mend what it names."),
    ),
    "a whole day's mean": (
        gauge_of(pl.col("level").mean().over("depot", pl.col("event_time").dt.date())),
        CENSORING,
        "features/gauge",
        ("level is",),
    ),
    "a value that is only there when all of it is known": (
        {**group("hours", compute=known_when_the_last_is_booked), "models": {"delay": EARLY}},
        CENSORING,
        "predictions/delay",
        ("hours__booked is null with what became known later", "It uses rows of parcels that come after."),
    ),
    "a label that uses what is known later": (
        labels(known_at=pl.col("event_time")),
        CENSORING,
        "outcomes/late",
        ("It uses ended_at, delay, lost of parcels, known from ended_at on.",),
    ),
    "a look-back that is too short": (
        group("pace", look_back_days=0),
        RANGE,
        "features/pace",
        ("in a run for its day alone", "Declare a look_back_days that holds all a row needs"),
    ),
    "a computation that depends on the days loaded": (
        gauge_of(pl.int_range(pl.len()).cast(pl.Float64)),
        RANGE,
        "features/gauge",
        ("level is", "in a run over [", "no count, rank or first row of all that is loaded"),
    ),
    "sums whose last digits depend on where they begin": (
        group("gauge", compute=running_share, look_back_days=1),
        RANGE,
        "features/gauge",
        ("Only last digits differ", "Add up integers, or round"),
    ),
    "an events' parse that looks at other rows": (
        {"sources": {"parcels": weighed_against_the_others(PARCELS)}},
        RANGE,
        "events/parcels",
        ("grams is", "together with its neighbours"),
    ),
    "a label that is planted as known before the score is needed": (
        labels(known_at=pl.col("event_time") - 3 * HOUR),
        PLANTED,
        "models/delay",
        ("a planted copy of the label", "as of chance", "Labels of 'late' count as known before the score is needed"),
    ),
    "a column that is the label, of which nobody says that it is known later": (
        {
            "sources": {"parcels": without_facts()},
            **group("parcel", compute=parcel_with(pl.col("delay"))),
        },
        PLANTED,
        "training_sets/delay",
        ("by parcel__grams (", "at most 0.97 (plausible_roc_auc)", "name it in a Fact of its source"),
    ),
    "values that become known later than declared": (
        group("roster", known_after=HOUR),
        DECLARED,
        "features/roster",
        ("after their event_time", "'roster' declares known_after=1:00:00"),
    ),
    "a spine that has an event twice": (
        group("parcel", compute=twice),
        DECLARED,
        "models/delay",
        ("features/parcel, row_key 2024-", "it is there 2 times", "one row an event"),
    ),
    "a label that is neither 0 nor 1": (
        labels(label=pl.col("label") + 1),
        DECLARED,
        "outcomes/late",
        ("the label is ", "neither 0 nor 1", "wanted 0 or 1"),
    ),
    "labels that come later than declared": (
        labels(known_at=pl.col("known_at") + 9 * 24 * HOUR),
        DECLARED,
        "outcomes/late",
        ("the label becomes known more than label_lag_days = ", "Raise label_lag_days of the calendar"),
    ),
    "labels of keys that no event has": (
        labels(row_key=pl.col("row_key").str.replace_all("-", "/")),
        DECLARED,
        "models/delay",
        ("labels of 'late' is of a row_key of its spine 'parcel'", "the same everywhere"),
    ),
    "a gate that never has the rows it asks for": (
        {"models": {"delay": replace(MODEL, gate=replace(MODEL.gate, min_rows=500))}},
        DECLARED,
        "models/delay",
        ("the gate's 2 days hold ", "the 500 that its limits ask for (min_rows)", "Raise gate_days"),
    ),
    "a category that has too many values": (
        {
            **group(
                "parcel",
                compute=lambda events: toy.parcel(events).with_columns(key="row_key"),
                values=(*GROUPS["parcel"].values, "key"),
            ),
            "models": {"delay": RANDOM_TEXT},
        },
        DECLARED,
        "models/delay",
        ("feature column parcel__key", "categories", "at most 255"),
    ),
}


@pytest.mark.parametrize(("changed", "promise", "subject", "said"), BREACHES.values(), ids=list(BREACHES))
def test_a_breach_is_caught_by_its_proof(
    changed: dict[str, Any], promise: str, subject: str, said: tuple[str, ...]
) -> None:
    caught = broken(list(rehearsed(**changed).proofs(subject)))
    assert (promise, subject) in caught
    text = caught[promise, subject]
    assert all(words in text for words in said), text
    assert re.search(r"; wanted .*\. [A-Z].*\.$", text), text


def test_an_hour_that_two_days_share_is_caught() -> None:
    """In India local midnight is at half past an hour of UTC."""
    india = replace(toy.SHAPE, timezone="Asia/Kolkata")
    right = list(rehearsed(india).proofs("features/hours"))
    assert broken(right) == {}
    wrong = {"hours": replace(toy.groups(india)["hours"], compute=utc_hours)}
    assert (RANGE, "features/hours") in broken(list(rehearsed(india, features=wrong).proofs("features/hours")))


def cut(looked: Rehearsed, days: int) -> Rehearsed:
    """The rehearsal of a platform whose training reads of the accounts only so many days before its window."""
    table = "training_sets/delay"
    declared = looked.rehearsal.graph[table]
    window = declared.reads["account"].window
    reads = {
        **declared.reads,
        "account": replace(declared.reads["account"], window=Window(window.first - days, window.last)),
    }
    graph = Graph({**looked.rehearsal.graph.assets, table: replace(declared, reads=reads)})
    return replace(looked, rehearsal=replace(looked.rehearsal, graph=graph, _made={}))


def test_a_training_set_that_reads_less_than_scoring_does_is_caught() -> None:
    """As it was at first: the window and one day, whatever the age of a value."""
    looked = rehearsed()
    caught = broken(list(cut(looked, 9).proofs("training_sets/delay")))
    assert "account__" in caught[SERVING, "training_sets/delay"]
    assert "in the training set of" in caught[SERVING, "training_sets/delay"]
    assert broken(list(cut(looked, 0).proofs("training_sets/delay"))) == {}


# --- nothing to look at -----------------------------------------------------------------------------------


def test_a_promise_that_nothing_shows_is_not_kept() -> None:
    never = labels(known_at=pl.lit(None, dtype=pl.Datetime("us", "UTC")))
    proofs = {(proof.name, proof.subject): proof for proof in rehearsed(**never).proofs("outcomes/late", *MODEL_TABLES)}
    assert broken(list(proofs.values())) == {}
    for shown in ((CENSORING, "outcomes/late"), (DECLARED, "models/delay"), (SERVING, "training_sets/delay")):
        assert not proofs[shown].verdict.passed
        assert proofs[shown].rows == 0
    assert "too small to plant anything in it" in proofs[PLANTED, "models/delay"].verdict.reasons[0]
    assert proofs[CENSORING, "predictions/delay"].verdict.passed


def test_a_feature_that_never_has_a_value_is_noted() -> None:
    strangers = group("gauge", compute=lambda events: toy.gauge(events).with_columns(depot=pl.lit("nowhere")))
    (proof,) = (each for each in rehearsed(**strangers).proofs("models/delay") if each.name == DECLARED)
    assert proof.verdict.passed
    (note,) = proof.notes
    assert note.startswith("gauge.level has no value in any of ")


def test_a_day_without_events_is_left_out_not_failed() -> None:
    """As the shipped weather lacks a day: what needs it is not computed."""
    shape = replace(toy.SHAPE, seed=1)
    looked = rehearsed(shape)
    gone = looked.at.days["parcels"][1]
    held = looked.rehearsal.events["gauges"]
    without = replace(held, rows=held.rows.filter(pl.col("partition_date") != gone), days=held.days - {gone})
    events = {**looked.rehearsal.events, "gauges": without}
    less = replace(looked, rehearsal=replace(looked.rehearsal, events=events, _made={}))
    proofs = list(less.proofs("features/gauge", "predictions/delay", "features/parcel"))
    assert broken(proofs) == {}
    days: dict[str, set[date]] = {}
    for proof in proofs:
        days.setdefault(proof.subject, set()).update(proof.days)
    assert gone not in days["features/gauge"] | days["predictions/delay"]
    assert gone in days["features/parcel"]


# --- which days -------------------------------------------------------------------------------------------


def test_the_same_days_are_looked_at_whenever_one_asks() -> None:
    assert rehearsed().at == rehearsed().at
