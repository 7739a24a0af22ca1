"""Catalogues drawn at random keep every promise: ages to 90 days, leads, late, early and sparse values, many clocks."""

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import toy_catalog as toy
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from rehearsed import rehearsed

from ml_assets.domain.specs import FeatureGroupSpec, ModelSpec

HOUR, A_DAY = timedelta(hours=1), timedelta(days=1)
# Zones whose clocks change at other hours, or never, with a day shortly before they do.
CLOCKS = (
    ("Europe/Berlin", date(2024, 3, 20)),
    ("Europe/Berlin", date(2024, 10, 17)),
    ("America/New_York", date(2024, 3, 1)),
    ("America/Sao_Paulo", date(2018, 10, 25)),
    ("Australia/Lord_Howe", date(2024, 9, 26)),
    ("Asia/Kolkata", date(2024, 1, 1)),
    ("Pacific/Apia", date(2024, 6, 1)),
)


def hours(least: float, most: float) -> st.SearchStrategy[timedelta]:
    return st.integers(int(least * 60), int(most * 60)).map(lambda minutes: timedelta(minutes=minutes))


def spans(least: float, most: float) -> st.SearchStrategy[tuple[timedelta, timedelta]]:
    return st.tuples(hours(least, most), hours(least, most)).map(lambda pair: (min(pair), max(pair)))


ages = st.sampled_from((HOUR, 7 * HOUR, A_DAY, 3 * A_DAY, 20 * A_DAY, 90 * A_DAY))


@st.composite
def shapes(draw: st.DrawFn) -> toy.Shape:
    timezone, first_day = draw(st.sampled_from(CLOCKS))
    return toy.Shape(
        seed=draw(st.integers(0, 2**31 - 1)),
        timezone=timezone,
        first_day=first_day,
        days=draw(st.integers(16, 30)),
        parcels_a_day=draw(st.integers(8, 30)),
        # A parcel comes up to 80 minutes early: later its label would be known before the score is needed.
        lead=draw(hours(1.5, 40)),
        booked_ahead=draw(hours(6, 90)),
        lost_after=draw(hours(1, 200)),
        gauge_known=draw(spans(-30, 60)),
        gauge_max_age=draw(ages),
        gauges_a_day=draw(st.integers(0, 6)),
        pace_of=draw(st.sampled_from((("depot",), ("courier",), ("depot", "courier"), ("customer",)))),
        pace_window=draw(st.sampled_from((HOUR, 12 * HOUR, 3 * A_DAY, 30 * A_DAY, 90 * A_DAY))),
        roster_known=draw(spans(-72, 30)),
        accounts_a_day=draw(st.sampled_from((0.2, 1.0, 6.0))),
        account_max_age=draw(st.one_of(st.none(), ages)),
    )


@st.composite
def other_models(draw: st.DrawFn, shape: toy.Shape) -> dict[str, ModelSpec]:
    """A second model over the same groups, asked at another time, of other features of them: whole groups or not."""
    features = draw(st.lists(st.sampled_from(shape.features), min_size=2, unique=True).map(tuple))
    lead = draw(hours(1.5, 40))
    return {
        "other": replace(
            toy.model(shape),
            name="other",
            prediction_lead=lead,
            features=("parcel.depot", *(name for name in features if name != "parcel.depot"), "parcel.kilos"),
            # A boolean and an integer may be categories too; a decimal is a number.
            categorical=tuple(
                name
                for name in ("parcel.depot", "account.tier", "parcel.express", "roster.planned")
                if name in {*features, "parcel.depot"}
            ),
        )
    }


def with_kilos(shape: toy.Shape) -> FeatureGroupSpec:
    """The parcels, with their weight as a decimal."""
    kilos = (pl.col("grams") / 1000).cast(pl.Decimal(8, 3)).alias("kilos")
    group = toy.groups(shape)["parcel"]
    return replace(
        group, values=(*group.values, "kilos"), compute=lambda events: group.compute(events).with_columns(kilos)
    )


@settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(drawn=shapes().flatmap(lambda shape: st.tuples(st.just(shape), other_models(shape))))
def test_two_models_that_share_features_keep_every_promise_each(drawn: tuple[toy.Shape, dict[str, ModelSpec]]) -> None:
    shape, models = drawn
    kept = rehearsed(shape, days=2, models=models, features={"parcel": with_kilos(shape)})
    proofs = list(kept.proofs())
    assert [(proof.name, str(proof.findings[0])) for proof in proofs if proof.findings] == []
    assert {"predictions/delay", "predictions/other"} <= {proof.subject for proof in proofs}
    toy.extracts.cache_clear()
    toy.ingested.cache_clear()


@settings(
    max_examples=6,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(shape=shapes())
def test_a_random_catalogue_keeps_every_promise(shape: toy.Shape) -> None:
    proofs = list(rehearsed(shape, days=3).proofs())
    assert [(proof.name, str(proof.findings[0])) for proof in proofs if proof.findings] == []
    event(f"{sum(1 for proof in proofs if not proof.rows)} promises found no row to be shown on")
    toy.extracts.cache_clear()
    toy.ingested.cache_clear()


def test_it_would_not_keep_them_if_a_group_declared_less() -> None:
    """The same shape as drawn above, late values declared as timely: the drawing reaches what it is about."""
    shape = replace(toy.SHAPE, gauge_known=(timedelta(0), 60 * HOUR), gauge_max_age=3 * A_DAY)
    kept = rehearsed(shape, days=3)
    assert not [proof for proof in kept.proofs("features/gauge", "predictions/delay") if proof.findings]
    timely = replace(toy.groups(shape)["gauge"], known_after=2 * HOUR)
    found = [
        proof
        for proof in rehearsed(shape, days=3, features={"gauge": timely}).proofs("features/gauge", "predictions/delay")
        if proof.findings
    ]
    assert {proof.subject for proof in found} == {"features/gauge", "predictions/delay"}
