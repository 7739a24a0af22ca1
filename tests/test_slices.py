"""Slices end where cohorts are mature, are recorded and read back, and say when their base rates differ."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from short_year import FIRST_TRAINING, SECOND_TRAINING, Platform, opened, short_catalog

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.catalog.features.schedule import FEATURES as SCHEDULE
from ml_assets.catalog.models.disruption import MODEL as SHIPPED
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.slices import COHORTS, NAMES, Slice, Slices, base_rates_that_differ, slices_before
from ml_assets.domain.specs import Maturity, ModelSpec
from ml_assets.domain.training_rows import EVENT_DAY, SLICE, rows_of_slice, slices_of, training_set
from partitions import DayRange

LAG = 45
FIRST = date(2013, 1, 1)
LOANS = replace(FLIGHTS, name="loans", timezone="UTC", label_lag_days=LAG)
APPLICATIONS = replace(
    SCHEDULE, name="applications", calendar=LOANS, values=("amount",), described={}, max_null_share={}
)
LOAN = replace(
    SHIPPED,
    name="default",
    calendar=LOANS,
    spine="applications",
    prediction_lead=timedelta(0),
    features=("applications.amount",),
    categorical=(),
    train_days=60,
    held_out_days=10,
    gate_days=20,
    cool_down_days=31,
    max_age_days=None,
    maturity=Maturity(age_days=LAG + 1),
)


def matured(**maturity: float) -> ModelSpec:
    return replace(LOAN, maturity=Maturity(**maturity))


def cohort_rows(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=COHORTS, orient="row")


# --- when a cohort counts as known ------------------------------------------------------------------------

cohorts = st.dictionaries(
    st.integers(0, 120), st.tuples(st.integers(1, 50), st.floats(0, 1), st.floats(0, 1)), max_size=60
).map(
    lambda days: cohort_rows(
        *(
            (FIRST + timedelta(days=day), events, math.floor(events * known), math.floor(events * known * positive))
            for day, (events, known, positive) in sorted(days.items())
        )
    )
)
maturities = st.one_of(
    st.integers(1, 60).map(lambda days: Maturity(age_days=days)),
    st.floats(0.05, 1).map(lambda share: Maturity(label_share=share)),
)


@settings(max_examples=200, deadline=None)
@given(cohorts=cohorts, maturity=maturities, offset=st.integers(1, 140), train=st.one_of(st.none(), st.integers(1, 90)))
def test_slices_are_those_of_the_slow_twin(cohorts, maturity, offset, train):
    model = replace(LOAN, maturity=maturity, train_days=train)
    day = FIRST + timedelta(days=offset)
    before = cohorts.filter(pl.col("event_day") < day)
    found = slices_before(model, before, day)

    def known(event_day: date, events: int, labels: int) -> bool:
        age = (day - event_day).days
        if maturity.age_days is not None:
            return age >= maturity.age_days
        return age > LAG or labels >= maturity.label_share * events

    if maturity.age_days is not None:
        end = day - timedelta(days=maturity.age_days - 1)
    else:
        end = day - timedelta(days=LAG)
        for event_day, events, labels, _ in before.iter_rows():
            if known(event_day, events, labels):
                end = max(end, event_day + timedelta(days=1))
    bounds = {"gate": (end - timedelta(days=20), max(end, FIRST))}
    bounds["held_out"] = (end - timedelta(days=30), max(bounds["gate"][0], FIRST))
    start = FIRST if train is None else end - timedelta(days=30 + train)
    bounds["train"] = (start, max(bounds["held_out"][0], FIRST))
    for name, part in found.named().items():
        start, stop = bounds[name]
        assert (part.days.start, part.days.end) == (max(start, FIRST), stop), name
        inside = [row for row in before.iter_rows() if part.days.start <= row[0] < part.days.end]
        assert part.events == sum(row[1] for row in inside)
        assert part.rows == sum(row[2] for row in inside if known(*row[:3]))
        assert part.positives == sum(row[3] for row in inside if known(*row[:3]))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 90), st.integers(0, 90)), min_size=3, max_size=3))
def test_slices_survive_their_record(parts):
    day, made = FIRST, []
    for length, rows, more in parts:
        made.append(Slice(DayRange(day, day + timedelta(days=length)), rows + more, rows, rows // 2))
        day += timedelta(days=length)
    slices = Slices(*made)
    assert Slices.from_json(slices.to_json()) == slices


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "wanted one of the two"),
        ({"age_days": 2, "label_share": 0.9}, "wanted one of the two"),
        ({"age_days": 0}, "wanted 1 .the day after the event. or more"),
        ({"label_share": 0.0}, "more than 0 and at most 1"),
        ({"label_share": 1.01}, "more than 0 and at most 1"),
    ],
)
def test_a_maturity_that_cannot_be_is_refused(given, message):
    with pytest.raises(CatalogError, match=message):
        Maturity(**given)


# --- labels that come early are not like those that come late ---------------------------------------------


def loans(days: int, seed: int = 3) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Half of all loans default and are known within 25 days; that the others are repaid is known after 30 to 45."""
    draw = np.random.default_rng(seed)
    number = days * 40
    made = [FIRST + timedelta(days=place // 40) for place in range(number)]
    default = draw.random(number) < 0.5
    lag = np.where(default, draw.integers(1, 26, number), draw.integers(30, LAG + 1, number))
    instant = [datetime(day.year, day.month, day.day, 12, tzinfo=UTC) for day in made]
    keys = [f"loan {place}" for place in range(number)]
    times = pl.Series("event_time", instant, dtype=pl.Datetime("us", "UTC"))
    events = pl.DataFrame(
        {DAY: made, "row_key": keys, "event_time": times, "known_at": times, "amount": draw.random(number)}
    )
    labels = pl.DataFrame(
        {
            "row_key": keys,
            "known_at": pl.Series([at + timedelta(days=int(wait)) for at, wait in zip(instant, lag, strict=True)]).cast(
                pl.Datetime("us", "UTC")
            ),
            "label": default.astype(np.int8),
        }
    )
    return events, labels


@pytest.fixture(scope="module")
def lent() -> tuple[pl.DataFrame, pl.DataFrame]:
    return loans(200)


DAY_OF_TRAINING = FIRST + timedelta(days=180)


def made_of(model: ModelSpec, lent: tuple[pl.DataFrame, pl.DataFrame], day: date = DAY_OF_TRAINING, suspect=None):
    events, labels = lent
    return training_set(
        model, {"applications": APPLICATIONS}, {"applications": events}, labels, day, suspect=suspect or {}
    )


@pytest.mark.parametrize("maturity", [{"age_days": LAG + 1}, {"label_share": 0.97}])
def test_the_gates_base_rate_is_not_that_of_early_labels(lent, maturity):
    """Its labels are all there, so that defaults, known first, do not weigh more than repayments."""
    made = made_of(matured(**maturity), lent)
    for part in made.slices.named().values():
        assert part.coverage > 0.96
        assert part.base_rate == pytest.approx(0.5, abs=0.06)
    assert not made.findings
    assert not made.faults
    early = made_of(matured(age_days=1), lent)
    assert early.slices.gate.base_rate > 0.9, "without maturity the bias is there to be seen"
    assert any("the base rate of slice gate" in said for said in early.findings)


def test_every_row_carries_its_day_its_slice_and_the_record_of_all(lent):
    made = made_of(LOAN, lent)
    assert slices_of(made.rows) == made.slices
    for name, part in made.slices.named().items():
        rows = rows_of_slice(made.rows, name)
        assert rows.height == part.rows
        assert int(rows["label"].sum()) == part.positives
        assert set(rows[EVENT_DAY]) == set(part.days)
    assert made.rows[SLICE].unique().sort().to_list() == sorted(NAMES)
    assert made.rows.filter(pl.col(EVENT_DAY) != pl.col("prediction_time").dt.date()).is_empty()
    assert made.slices.gate.days.end == DAY_OF_TRAINING - timedelta(days=LAG)


def test_cohorts_that_are_not_known_yet_give_no_rows(lent):
    """By share: a cohort in the middle whose labels do not come is left out, and its events still count."""
    events, labels = lent
    hole = DAY_OF_TRAINING - timedelta(days=LAG)
    lost = events.filter(pl.col(DAY) == hole)["row_key"]
    model = replace(matured(label_share=0.4), gate_days=30)
    made = made_of(model, (events, labels.filter(~pl.col("row_key").is_in(lost.to_list()))))
    assert hole in made.slices.gate.days
    assert hole not in set(made.rows[EVENT_DAY])
    assert made.slices.gate.events == 30 * 40
    assert made.slices.gate.rows < 29 * 40


def test_an_empty_slice_says_which_lag_of_labels_caused_it(lent):
    made = made_of(LOAN, lent, FIRST + timedelta(days=40))
    assert made.rows.is_empty()
    assert len(made.faults) == 3
    for reason in made.faults:
        assert "labels of outcomes/disrupted come up to 45 days after the event" in reason
        assert "a cohort counts as known 46 days after its events" in reason
    barely = made_of(LOAN, lent, FIRST + timedelta(days=LAG + 20))
    assert [reason.split()[2] for reason in barely.faults] == ["train", "held_out"]


# --- base rates that differ -------------------------------------------------------------------------------


def drawn(draw: np.random.Generator, shift: float = 0.0, days: int = 74) -> tuple[Slices, pl.DataFrame]:
    """Days with shocks that last (0.6 a day, sd 0.58 in log-odds), the last seven moved by `shift`."""
    shock, odds = 0.0, []
    for day in range(days):
        shock = 0.6 * shock + draw.normal(scale=0.58 * 0.8)
        odds.append(-1.4 + shock + (shift if day >= days - 7 else 0.0))
    positives = draw.binomial(900, 1 / (1 + np.exp(-np.array(odds))))
    made = cohort_rows(*((FIRST + timedelta(days=day), 900, 900, int(count)) for day, count in enumerate(positives)))
    model = replace(SHIPPED, train_days=None, held_out_days=7, gate_days=7)
    return slices_before(model, made, FIRST + timedelta(days=days)), made


def test_storms_are_chance_and_a_lasting_shift_is_not():
    draw = np.random.default_rng(8)
    told = [base_rates_that_differ(*drawn(draw)) for _ in range(300)]
    assert sum(bool(said) for said in told) <= 9
    shifted = [base_rates_that_differ(*drawn(draw, shift=2.0)) for _ in range(100)]
    named = [said for said in shifted if any("slice gate" in each for each in said)]
    assert len(named) >= 90
    # Were rows taken for independent, most weeks would differ.
    naive = 0
    for _ in range(100):
        slices, _ = drawn(draw)
        rate, gate = slices.train.base_rate, slices.gate
        naive += abs(gate.base_rate - rate) > 3 * math.sqrt(rate * (1 - rate) / gate.rows)
    assert naive > 50


def test_slices_of_one_class_and_without_rows_differ_from_nothing():
    days = [FIRST + timedelta(days=day) for day in range(20)]
    same = cohort_rows(*((day, 10, 10, 0) for day in days))
    model = replace(SHIPPED, held_out_days=3, gate_days=3, cool_down_days=7)
    assert base_rates_that_differ(slices_before(model, same, FIRST + timedelta(days=20)), same) == []
    nothing = cohort_rows()
    assert base_rates_that_differ(slices_before(model, nothing, FIRST + timedelta(days=20)), nothing) == []


# --- bounds on record, not today's spec -------------------------------------------------------------------


def test_an_old_day_decided_anew_keeps_the_slices_it_was_trained_with(platform: Platform, replayed: Platform) -> None:
    """Raised `gate_days` must not let the gate look at days that chose the model."""
    catalog = short_catalog()
    model = catalog.models["disruption"]
    longer = replace(model, gate_days=5, held_out_days=2, prediction_lead=model.prediction_lead)
    with opened(platform.path, replace(catalog, models={"disruption": longer})) as changed:
        changed.run(["champions/disruption"], SECOND_TRAINING, anew=True)
        decided = changed.rows("champions/disruption", SECOND_TRAINING)
    assert decided.equals(replayed.rows("champions/disruption", SECOND_TRAINING))
    for day in (FIRST_TRAINING, SECOND_TRAINING):
        recorded = slices_of(replayed.rows("training_sets/disruption", day))
        assert Slices.from_json(replayed.rows("models/disruption", day)["slices"][0]) == recorded
        assert len(recorded.gate.days) == 3
        assert recorded.gate.days.end == day


def test_suspect_days_train_nothing_until_they_are_cleared_and_every_other_row_stays(lent):
    model = matured(age_days=LAG + 1)
    whole = made_of(model, lent)
    gone = sorted(whole.rows["event_day"].unique())[3::5]
    left = made_of(model, lent, suspect=dict.fromkeys(gone, "applications: rows is 4, 9 is usual"))
    assert left.rows.equals(whole.rows.filter(~pl.col("event_day").is_in(gone)))
    assert left.slices == whole.slices
    told = f"left out {len(gone)} suspect days until somebody clears them, the newest {gone[-1]}: applications: rows"
    assert any(finding.startswith(told) for finding in left.findings)
    assert not any("suspect" in finding for finding in whole.findings)
