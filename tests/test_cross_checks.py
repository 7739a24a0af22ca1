"""Declarations that do not fit one another: each is one clear sentence when the catalogue is loaded."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import toy_catalog as toy

from ml_assets.domain.drift import day_drift, drift_reference
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.feature_types import CATEGORIES, NUMBERS
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, Fact, FeatureGroupSpec, Inputs
from ml_assets.domain.training import fit_candidate, score

GROUPS = toy.groups()
SOURCE, OUTCOME, MODEL = toy.source("parcels"), toy.outcome(), toy.model()


def message_of(build: Callable[[], object]) -> str:
    with pytest.raises(CatalogError) as raised:
        build()
    message = str(raised.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert len(message) < 600
    return message


def with_source(**changes: Any) -> Callable[[], Catalog]:
    return lambda: toy.catalog(sources={"parcels": replace(SOURCE, **changes)})


def with_group(name: str, **changes: Any) -> Callable[[], Catalog]:
    return lambda: toy.catalog(features={name: replace(GROUPS[name], **changes)})


def with_outcome(**changes: Any) -> Callable[[], Catalog]:
    return lambda: toy.catalog(outcomes={"late": replace(OUTCOME, **changes)})


def with_model(**changes: Any) -> Callable[[], Catalog]:
    return lambda: toy.catalog(models={"delay": replace(MODEL, **changes)})


def with_gate(**changes: Any) -> Callable[[], Catalog]:
    return with_model(gate=replace(MODEL.gate, **changes))


def gauge_and(**columns: pl.Expr) -> Callable[[Inputs], pl.LazyFrame]:
    """The gauge's function with columns more, or in place of its own."""
    return lambda events: toy.gauge(events).with_columns(**columns)


def test_the_toy_catalogue_is_right() -> None:
    catalog = toy.catalog()
    assert set(catalog.groups_of(catalog.models["delay"])) == set(GROUPS)


WRONG = {
    "a segment that is no feature column": (
        with_gate(segments=("parcel__depo",)),
        "model 'delay', segments of its gate: unknown feature column 'parcel__depo'; known are account__open_claims, ",
        "Did you mean 'parcel__depot'?",
    ),
    "a segment named like a feature": (
        with_gate(segments=("parcel.depot",)),
        "unknown feature column 'parcel.depot'",
        "Did you mean 'parcel__depot'?",
    ),
    "a metric that nobody measures": (
        with_model(metric_triggers=(replace(MODEL.metric_triggers[0], metric="auc"),)),
        "model 'delay', trigger 'calibration': unknown metric 'auc'; known are brier, ece, log_loss, roc_auc.",
    ),
    "a fact's instant that is no column": (
        with_source(facts=(Fact(known_at="finished_at", columns=("delay",)),)),
        "source 'parcels', facts: unknown column 'finished_at'; known are courier, ",
    ),
    "a fact's column that is none": (
        with_source(facts=(Fact(known_at="ended_at", columns=("delays",)),)),
        "source 'parcels', facts: unknown column 'delays'; known are courier, ",
        "Did you mean 'delay'?",
    ),
    "a fact's instant that is a number": (
        with_source(facts=(Fact(known_at="delay", columns=("lost",)),)),
        "source 'parcels', facts: delay is Int64, wanted Datetime(time_unit='us', time_zone='UTC'), an instant in UTC",
    ),
    "a column that becomes known twice": (
        with_source(facts=(Fact(known_at="ended_at", columns=("delay",)),) * 2),
        "facts name ['delay'] more than once",
    ),
    "a key that is only known later": (
        with_source(facts=(Fact(known_at="ended_at", columns=("row_key",)),)),
        "facts name ['row_key'], which a row has from its own known_at on",
    ),
    "a limit of nulls for a source's column that is none": (
        with_source(max_null_share={"delays": 0.5}),
        "source 'parcels', max_null_share: unknown column 'delays'",
    ),
    "an empty text's column that is none": (
        with_source(empty_text=("couriers",)),
        "source 'parcels', empty_text: unknown column 'couriers'",
    ),
    "a limit of nulls for a group's column that is none": (
        with_group("gauge", max_null_share={"levels": 0.5}),
        "feature group 'gauge', max_null_share: unknown column 'levels'; known are depot, event_time, known_at, level.",
    ),
    "a value that the function does not give": (
        with_group("gauge", values=("level", "trend")),
        "feature group 'gauge': compute gives depot, event_time, known_at, level, without trend",
    ),
    "a value that the platform adds": (
        with_group("gauge", values=("partition_date",), described={}),
        "feature group 'gauge': entity and values name ['partition_date'], which the platform adds itself",
    ),
    "a value named twice": (
        with_group("gauge", values=("level", "level")),
        "feature group 'gauge': entity and values name ['level'] more than once",
    ),
    "a source that the function reads and the group does not name": (
        with_group("gauge", inputs=("accounts",)),
        "feature group 'gauge': compute reads the events of 'gauges', which `inputs` does not name; it names accounts.",
    ),
    "a column that no event has": (
        with_group("gauge", compute=gauge_and(level=pl.col("levl"))),
        "feature group 'gauge': compute cannot be applied to events with the columns of their contract (",
        "levl",
    ),
    "a function that fails": (
        with_group("gauge", compute=lambda events: events["gauges"].no_such_step()),
        "feature group 'gauge': compute cannot be applied",
        "AttributeError",
    ),
    "a function that collects": (
        with_group("gauge", compute=lambda events: toy.gauge(events).collect()),
        "feature group 'gauge': compute gives a DataFrame, wanted a LazyFrame: end with .lazy().",
    ),
    "an instant without a zone": (
        with_group("gauge", compute=gauge_and(known_at=pl.col("known_at").dt.replace_time_zone(None))),
        "feature group 'gauge': known_at is Datetime(time_unit='us', time_zone=None), wanted ",
    ),
    "an instant in local time": (
        with_group("gauge", compute=gauge_and(event_time=pl.col("event_time").dt.convert_time_zone("Europe/Berlin"))),
        "feature group 'gauge': event_time is Datetime(time_unit='us', time_zone='Europe/Berlin'), wanted ",
    ),
    "a day for an instant": (
        with_group("gauge", compute=gauge_and(event_time=pl.col("event_time").dt.date())),
        "feature group 'gauge': event_time is Date, wanted ",
    ),
    "a label that is text": (
        with_outcome(compute=lambda parcels: toy.late(parcels).with_columns(pl.col("label").cast(pl.String))),
        "outcome 'late': its label is String, one of several classes; models here give the probability of a yes: ",
        "declare an outcome and a model a class, (kind == 'a').cast(pl.Int8).",
    ),
    "a label that is a quantity": (
        with_outcome(compute=lambda parcels: toy.late(parcels).with_columns(pl.col("label").cast(pl.Float64))),
        "outcome 'late': its label is Float64, a quantity; models here give the probability of a yes, not a number: ",
        "(amount >= 100).cast(pl.Int8)",
    ),
    "a label that is a day": (
        with_outcome(compute=lambda parcels: toy.late(parcels).with_columns(label=pl.col("event_time").dt.date())),
        "outcome 'late': its label is Date, wanted 0 or 1: cast it to Int8.",
    ),
    "a segment for every value of a fraction": (
        with_gate(segments=("pace__mean_delay",)),
        "model 'delay', segments of its gate: pace__mean_delay is Float64, wanted a text, a boolean or an integer",
    ),
    "an outcome without a key": (
        with_outcome(compute=lambda parcels: toy.late(parcels).drop("row_key")),
        "outcome 'late': compute gives event_time, known_at, label, without row_key",
    ),
    "two features of one column": (
        lambda: toy.catalog(
            features={
                "a": replace(GROUPS["gauge"], name="a", values=("b__level",), compute=gauge_and(b__level="level")),
                "a__b": replace(GROUPS["gauge"], name="a__b"),
            },
            models={"delay": replace(MODEL, features=("a.b__level", "a__b.level"), categorical=())},
        ),
        "model 'delay': two of its features are the column 'a__b__level' of a training set; rename",
    ),
    "an entity of another type than the spine's": (
        with_group("gauge", compute=gauge_and(depot=pl.col("depot").str.len_bytes())),
        "model 'delay', entity of group 'gauge': depot is UInt32 there and String in the spine 'parcel'",
    ),
    "values that differ only in case": (
        with_group("gauge", values=("level", "Level"), compute=gauge_and(Level="level")),
        "feature group 'gauge': columns named 'level' differ only in case, which Delta forbids.",
    ),
    "a first training day with nothing to train on": (
        with_model(first_training_day=toy.SHAPE.first_day + timedelta(days=4)),
        "first_training_day comes 4 days after the calendar's first day, wanted 5 or more: 2 held out, 2 for the gate",
    ),
    "slices of no days": (with_model(gate_days=0), "model 'delay': gate_days is 0, wanted 1 or more."),
    "a first training day that never comes": (
        with_model(first_training_day=date(2025, 1, 1)),
        "model 'delay': first_training_day names 2025-01-01, wanted a day of the calendar 'parcels', from 2024-03-20",
    ),
    "a business day that never comes": (
        with_model(business_days=(date(2024, 3, 19),)),
        "model 'delay': business_days names 2024-03-19, wanted a day of the calendar",
    ),
}


@pytest.mark.parametrize(("build", "beginning", "also"), [(*case, "")[:3] for case in WRONG.values()], ids=list(WRONG))
def test_what_does_not_fit_is_refused(build: Callable[[], Catalog], beginning: str, also: str) -> None:
    message = message_of(build)
    assert beginning in message
    assert also in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "the time zone 'Mars/Olympus' is not known"),
        ({"end_day": toy.SHAPE.first_day}, "it ends before 2024-03-20 and begins on 2024-03-20, wanted a day or more"),
        ({"label_lag_days": -1}, "label_lag_days is -1, wanted 0 or more"),
    ],
)
def test_a_calendar_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    broken = replace(SOURCE, calendar=replace(SOURCE.calendar, **changes))
    message = message_of(lambda: toy.catalog(sources={"parcels": broken}))
    assert message.startswith("source 'parcels', calendar 'parcels': ")
    assert said in message


@pytest.mark.parametrize(
    "other",
    [{"timezone": "Asia/Tokyo"}, {"end_day": None}, {"first_day": toy.SHAPE.first_day - timedelta(days=7)}],
    ids=["another zone", "without an end", "from other days on"],
)
@pytest.mark.parametrize(
    ("kind", "name", "spec", "said"),
    [
        ("features", "gauge", GROUPS["gauge"], "feature group 'gauge': its calendar 'parcels' is not the calendar"),
        ("outcomes", "late", OUTCOME, "outcome 'late': its calendar 'parcels' is not the calendar"),
        ("models", "delay", MODEL, "model 'delay': its calendar 'parcels' is not the calendar"),
    ],
    ids=["group", "outcome", "model"],
)
def test_declarations_of_different_days_are_refused(
    kind: str, name: str, spec: Any, said: str, other: dict[str, Any]
) -> None:
    """Another zone failed in the run, days that the other does not have gave nulls in silence."""
    elsewhere = replace(spec, calendar=replace(spec.calendar, **other))
    message = message_of(lambda: toy.catalog(**{kind: {name: elsewhere}}))
    assert said in message
    assert "wanted one and the same" in message


def test_a_model_over_groups_of_another_calendar_is_refused_whichever_of_them_it_is() -> None:
    """The group and its source agree with one another, and not with the model."""
    there = replace(SOURCE.calendar, timezone="Asia/Tokyo")
    message = message_of(
        lambda: toy.catalog(
            sources={"gauges": replace(toy.source("gauges"), calendar=there)},
            features={"gauge": replace(GROUPS["gauge"], calendar=there)},
        )
    )
    assert message.startswith(
        "model 'delay': its calendar 'parcels' is not the calendar 'parcels' of feature group 'gauge'"
    )


# --- types ------------------------------------------------------------------------------------------------

MADE_OF_LEVEL: dict[str, pl.Expr] = {
    "Boolean": pl.col("level") > 0,
    "Int8": pl.col("level").cast(pl.Int8),
    "Int64": pl.col("level").cast(pl.Int64),
    "UInt32": pl.col("level").cast(pl.UInt32),
    "Float32": pl.col("level").cast(pl.Float32),
    "Float64": pl.col("level"),
    "Decimal": pl.col("level").cast(pl.Decimal(10, 2)),
    "String": pl.col("level").cast(pl.String),
    "Categorical": pl.col("level").cast(pl.String).cast(pl.Categorical),
    "Enum": pl.lit("a").cast(pl.Enum(["a", "b"])),
    "Date": pl.col("event_time").dt.date(),
    "Datetime": pl.col("event_time"),
    "Duration": pl.col("known_at") - pl.col("event_time"),
    "Time": pl.col("event_time").dt.time(),
    "Null": pl.lit(None),
    "List": pl.concat_list("level"),
    "Struct": pl.struct("level"),
    "Binary": pl.lit(b"x"),
}
KINDS = {name: getattr(pl, name) for name in MADE_OF_LEVEL}


def of_type(name: str) -> FeatureGroupSpec:
    return replace(GROUPS["gauge"], name="kind", compute=gauge_and(level=MADE_OF_LEVEL[name]))


def with_feature(name: str, *, categorical: bool) -> Catalog:
    model = replace(
        MODEL,
        features=("kind.level", "parcel.grams"),
        categorical=("kind.level",) if categorical else (),
        gate=replace(MODEL.gate, segments=()),
    )
    return toy.catalog(features={"kind": of_type(name)}, models={"delay": model})


@pytest.mark.parametrize("categorical", [False, True], ids=["number", "category"])
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_type_is_taken_or_refused_with_what_to_do(name: str, categorical: bool) -> None:
    if KINDS[name] in (CATEGORIES if categorical else NUMBERS):
        assert "kind" in with_feature(name, categorical=categorical).features
        return
    message = message_of(lambda: with_feature(name, categorical=categorical))
    if name in UNSTORED:
        assert message.startswith("feature group 'kind': the column level is ")
        return
    assert message.startswith(f"model 'delay': the feature 'kind.level' is {name}")
    assert ("as it is named in `categorical`: " if categorical else "wanted a number: ") in message


def made(name: str) -> pl.Series:
    """Six hundred values of a type, some of them null."""
    numbers = np.random.default_rng(0).integers(0, 7, 600)
    events = pl.DataFrame({"level": [None if number == 6 else number / 1 for number in numbers]})
    if name == "Enum":
        return pl.Series("kind__level", [None if n == 6 else "ab"[n % 2] for n in numbers], dtype=pl.Enum(["a", "b"]))
    return events.select(MADE_OF_LEVEL[name].alias("kind__level")).to_series()


@pytest.mark.parametrize(
    ("name", "categorical"),
    [(name, False) for name in sorted(KINDS) if KINDS[name] in NUMBERS]
    + [(name, True) for name in sorted(KINDS) if KINDS[name] in CATEGORIES],
)
def test_what_is_taken_can_be_trained_scored_and_watched(name: str, categorical: bool) -> None:
    model = with_feature(name, categorical=categorical).models["delay"]
    days = [date(2024, 4, 1 + place % 6) for place in range(600)]
    labels = np.random.default_rng(1).integers(0, 2, 600)
    rows = pl.DataFrame({"label": labels, "parcel__grams": labels * 3, DAY: days}).with_columns(made(name))
    candidate = fit_candidate(model, rows[:400], rows[400:], seed=1)
    assert score(model, candidate.artefact, rows[400:]).tolist() == candidate.scores.tolist()
    reference = drift_reference(rows, model.feature_columns, day=DAY, categorical=model.categorical_columns)
    assert day_drift(reference, rows, day=DAY, alpha=0.01).height == 12


def test_a_text_that_is_no_category_is_told_to_be_named() -> None:
    """It used to be a raw error of Polars at the first training."""
    message = message_of(lambda: with_feature("String", categorical=False))
    assert "wanted a number: name it in `categorical`, or leave it out" in message


UNSTORED = {
    "Duration": "store .dt.total_microseconds()",
    "Time": "microseconds as Int64",
    "Null": "cast it to the type",
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_group_that_no_model_reads_may_hold_what_the_lake_keeps(name: str) -> None:
    """What it does not keep used to be said on the group's first day, by the write."""
    if name not in UNSTORED:
        assert "kind" in toy.catalog(features={"kind": of_type(name)}).features
        return
    message = message_of(lambda: toy.catalog(features={"kind": of_type(name)}))
    assert message.startswith(f"feature group 'kind': the column level is {name}")
    assert UNSTORED[name] in message


def test_every_feature_that_does_not_fit_is_named_at_once() -> None:
    model = replace(MODEL, features=("parcel.depot", "parcel.courier", "gauge.level"), categorical=())
    message = message_of(lambda: toy.catalog(models={"delay": model}))
    assert "the feature 'parcel.depot' is String" in message
    assert "the feature 'parcel.courier' is String" in message


def test_nothing_of_the_functions_is_computed_on_loading() -> None:
    def explode(_: pl.Series) -> pl.Series:
        raise AssertionError("a row was computed")

    computed = gauge_and(level=pl.col("level").map_batches(explode, return_dtype=pl.Float64))
    assert with_group("gauge", compute=computed)().features["gauge"].compute is computed


def test_a_value_known_for_ages_is_allowed() -> None:
    assert with_group("account", max_age=timedelta(days=90))()
