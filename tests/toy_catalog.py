"""A parcel service in small: a catalogue of every shape, and its extracts, drawn from a seed.

What belongs here: the toy workload, for every test that is not about flights; how it is delivered and ingested.
What does not: assertions, fixtures.

Parcels are promised for an instant (`event_time`), booked before it, and end delivered or lost after it. Gauges tell
now and then, late or early, how full a depot is. Accounts change rarely. Every number is an integer or a fraction with
a short binary form, so sums do not depend on their order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandera.polars as pa
import polars as pl

from ml_assets.catalog import build_catalog
from ml_assets.domain.ingestion import Ingested, ingest
from ml_assets.domain.local_days import DAY, local_midnight
from ml_assets.domain.origins import DropFolder
from ml_assets.domain.specs import (
    Calendar,
    Catalog,
    DriftLimits,
    Fact,
    FeatureGroupSpec,
    GateLimits,
    GradientBoosting,
    Inputs,
    Instant,
    Maturity,
    MetricTrigger,
    ModelSpec,
    OutcomeSpec,
    SourceSpec,
)
from partitions import DayRange
from partitions.days import midnight

HOUR, A_DAY = timedelta(hours=1), timedelta(days=1)
ROSTER = 6 * HOUR
DEPOTS = ("north", "south", "west")
COURIERS = ("ada", "ben", "cyd", "dee", "eve")
CUSTOMERS = tuple(f"c{number:02d}" for number in range(20))
# Nobody drops files there: the extracts are written by the tests.
NOWHERE = DropFolder("/nowhere/{day}.parquet")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What of the parcel service is drawn: its clock, its volume, when things become known, which features there are.

    `booked_ahead` is how long before its instant a parcel is known, `lost_after` how long after it a loss is.
    `gauge_known` and `roster_known` are the earliest and the latest that a reading, or a version of a roster, becomes
    known, counted from its own instant. Without `account_max_age` the newest change of an account counts, however old.
    """

    seed: int = 0
    timezone: str = "Europe/Berlin"
    first_day: date = date(2024, 3, 20)
    days: int = 24
    parcels_a_day: int = 40
    lead: timedelta = 2 * HOUR
    booked_ahead: timedelta = 24 * HOUR
    lost_after: timedelta = 30 * HOUR
    gauge_known: tuple[timedelta, timedelta] = (timedelta(0), timedelta(0))
    gauge_max_age: timedelta = 12 * HOUR
    gauges_a_day: int = 6
    pace_of: tuple[str, ...] = ("depot",)
    pace_window: timedelta = 12 * HOUR
    roster_known: tuple[timedelta, timedelta] = (-48 * HOUR, 2 * HOUR)
    accounts_a_day: float = 1.0
    account_max_age: timedelta | None = 10 * A_DAY
    features: tuple[str, ...] = field(
        default=(
            "parcel.depot",
            "parcel.grams",
            "parcel.express",
            "pace.ended",
            "pace.mean_delay",
            "gauge.level",
            "roster.planned",
            "hours.booked",
            "account.tier",
            "account.open_claims",
        )
    )

    @property
    def calendar(self) -> Calendar:
        """The workload's days; labels come as late as a loss is known, and a late parcel arrives within 12 hours."""
        lag = max(self.lost_after, 12 * HOUR)
        return Calendar(
            name="parcels",
            timezone=self.timezone,
            first_day=self.first_day,
            end_day=self.first_day + timedelta(days=self.days),
            label_lag_days=-(-(lag + HOUR) // A_DAY) + 1,
            owners=("team:parcels",),
        )


SHAPE = Shape()


# --- sources ----------------------------------------------------------------------------------------------


class ParcelEvent(pa.DataFrameModel):
    """A good parcel row."""

    partition_date: date
    row_key: str = pa.Field(description="the parcel")
    depot: str = pa.Field(isin=DEPOTS, description="the depot it leaves")
    courier: str = pa.Field(nullable=True, description="who carries it; nobody yet for some")
    customer: str = pa.Field(description="whose it is")
    grams: int = pa.Field(ge=1, le=30_000, description="its weight")
    express: bool = pa.Field(description="whether it is in a hurry")
    event_time: Instant = pa.Field(description="the instant it is promised for (UTC)")
    known_at: Instant = pa.Field(description="when it was booked (UTC)")
    ended_at: Instant = pa.Field(nullable=True, description="when it was delivered, or known to be lost (UTC)")
    delay: int = pa.Field(nullable=True, ge=-600, le=3_000, description="minutes late; none when lost")
    lost: bool = pa.Field(nullable=True, description="whether it was lost")


class GaugeEvent(pa.DataFrameModel):
    """A good reading of a gauge."""

    partition_date: date
    row_key: str = pa.Field(description="depot and instant")
    depot: str = pa.Field(isin=DEPOTS, description="where the gauge stands")
    event_time: Instant = pa.Field(description="the instant it tells of (UTC)")
    known_at: Instant = pa.Field(description="when it was told (UTC)")
    level: float = pa.Field(nullable=True, ge=0, le=1, description="how full the depot is")


class RosterEvent(pa.DataFrameModel):
    """A good version of a roster."""

    partition_date: date
    row_key: str = pa.Field(description="depot, instant and version")
    depot: str = pa.Field(isin=DEPOTS, description="whose roster it is")
    event_time: Instant = pa.Field(description="the instant its six hours begin (UTC)")
    known_at: Instant = pa.Field(description="when this version was told (UTC)")
    planned: int = pa.Field(ge=0, le=99, description="how many couriers are to work")


class AccountEvent(pa.DataFrameModel):
    """A good change of a customer's account."""

    partition_date: date
    row_key: str = pa.Field(description="customer and instant")
    customer: str = pa.Field(description="whose account it is")
    event_time: Instant = pa.Field(description="when it changed (UTC)")
    known_at: Instant = pa.Field(description="when that was known (UTC)")
    tier: str = pa.Field(isin=("basic", "plus"), description="what the customer pays for")
    open_claims: int = pa.Field(nullable=True, ge=0, le=99, description="claims not settled yet")


CONTRACTS: Mapping[str, type[pa.DataFrameModel]] = {
    "parcels": ParcelEvent,
    "gauges": GaugeEvent,
    "rosters": RosterEvent,
    "accounts": AccountEvent,
}


def source(name: str, shape: Shape = SHAPE) -> SourceSpec:
    """A source whose extracts hold the contract's columns as they are."""
    contract = CONTRACTS[name]
    types = {column: kind.dtype.type for column, kind in contract.to_schema().columns.items()}
    facts = (Fact(known_at="ended_at", columns=("ended_at", "delay", "lost")),) if name == "parcels" else ()
    return SourceSpec(
        name=name,
        calendar=shape.calendar,
        description=f"The parcel service's {name}, as they were delivered.",
        origin=NOWHERE,
        delivered={column: kind for column, kind in types.items() if column != DAY},
        parse=lambda extract: extract.select(*types),
        contract=contract,
        keys=("row_key",),
        facts=facts,
        min_rows=1 if name == "parcels" else 0,
    )


# --- features ---------------------------------------------------------------------------------------------


def parcel(events: Inputs) -> pl.LazyFrame:
    """One row a parcel, as it was booked."""
    return events["parcels"].select(
        "row_key", "event_time", "known_at", "depot", "courier", "customer", "grams", "express"
    )


# A parcel counts only if it ended before the end of the day after its own.
ENDS_WITHIN_DAYS = 2


def pace(parcels: pl.LazyFrame, of: tuple[str, ...], window: timedelta, timezone: str) -> pl.LazyFrame:
    """Number and mean delay of the parcels that ended in `(t - window, t]`, a row whenever that changes."""
    its_day, its_end = (
        local_midnight(pl.col(DAY) + pl.duration(days=days), timezone) for days in (0, ENDS_WITHIN_DAYS)
    )
    enters = parcels.filter(pl.col("ended_at") < its_end, pl.all_horizontal(pl.col(of).is_not_null())).select(
        *of,
        pl.max_horizontal("ended_at", its_day).alias("known_at"),
        pl.lit(1, dtype=pl.Int64).alias("ended"),
        pl.col("delay").is_not_null().cast(pl.Int64).alias("delivered"),
        pl.col("delay").fill_null(0),
    )
    sums = ("ended", "delivered", "delay")
    leaves = enters.with_columns(pl.col("known_at") + window, *(-pl.col(name) for name in sums))
    return (
        pl.concat([enters, leaves])
        .group_by(*of, "known_at")
        .agg(pl.col(sums).sum())
        .sort(*of, "known_at")
        .with_columns(pl.col(sums).cum_sum().over(of))
        .select(
            *of,
            pl.col("known_at").alias("event_time"),
            "known_at",
            "ended",
            pl.when(pl.col("delivered") > 0).then(pl.col("delay") / pl.col("delivered")).alias("mean_delay"),
        )
    )


def gauge(events: Inputs) -> pl.LazyFrame:
    """Every reading of a gauge."""
    return events["gauges"].select("depot", "event_time", "known_at", "level")


def roster(events: Inputs) -> pl.LazyFrame:
    """Every version of a roster, of those told at one instant the last."""
    versions = events["rosters"].sort("row_key").unique(["depot", "event_time", "known_at"], keep="last")
    return versions.select("depot", "event_time", "known_at", "planned")


def hours(parcels: pl.LazyFrame, timezone: str) -> pl.LazyFrame:
    """How many parcels of a depot are promised for a local hour: a version whenever one of them is booked."""
    hour = pl.col("event_time").dt.convert_time_zone(timezone).dt.truncate("1h").dt.convert_time_zone("UTC")
    return (
        parcels.group_by("depot", hour.alias("event_time"), "known_at")
        .agg(pl.len().cast(pl.Int64).alias("booked"))
        .sort("depot", "event_time", "known_at")
        .with_columns(pl.col("booked").cum_sum().over("depot", "event_time"))
    )


def account(events: Inputs) -> pl.LazyFrame:
    """Every change of an account."""
    return events["accounts"].select("customer", "event_time", "known_at", "tier", "open_claims")


def groups(shape: Shape = SHAPE) -> dict[str, FeatureGroupSpec]:
    """The feature groups by name: what a parcel is, how its depot does, how full that is, whose it is."""
    of, window, timezone = shape.pace_of, shape.pace_window, shape.timezone
    declared = (
        FeatureGroupSpec(
            name="parcel",
            calendar=shape.calendar,
            description="What is known of a parcel when it is booked.",
            entity=("row_key",),
            inputs=("parcels",),
            values=("depot", "courier", "customer", "grams", "express"),
            compute=parcel,
            known_before=shape.booked_ahead,
        ),
        FeatureGroupSpec(
            name="pace",
            calendar=shape.calendar,
            description="How late parcels have lately ended.",
            entity=of,
            inputs=("parcels",),
            values=("ended", "mean_delay"),
            compute=lambda events: pace(events["parcels"], of, window, timezone),
            look_back_days=ENDS_WITHIN_DAYS - (-window // A_DAY),
            max_age=window,
            min_rows=0,
        ),
        FeatureGroupSpec(
            name="gauge",
            calendar=shape.calendar,
            description="How full a depot is.",
            entity=("depot",),
            inputs=("gauges",),
            values=("level",),
            compute=gauge,
            known_before=max(timedelta(0), -shape.gauge_known[0]),
            known_after=max(timedelta(0), shape.gauge_known[1]),
            max_age=shape.gauge_max_age,
            min_rows=0,
        ),
        FeatureGroupSpec(
            name="roster",
            calendar=shape.calendar,
            description="How many are to work in a depot.",
            entity=("depot",),
            inputs=("rosters",),
            values=("planned",),
            compute=roster,
            known_before=max(timedelta(0), -shape.roster_known[0]),
            known_after=max(timedelta(0), shape.roster_known[1]),
            valid_for=ROSTER,
        ),
        FeatureGroupSpec(
            name="hours",
            calendar=shape.calendar,
            description="How much is booked for an hour.",
            entity=("depot",),
            inputs=("parcels",),
            values=("booked",),
            compute=lambda events: hours(events["parcels"], timezone),
            known_before=shape.booked_ahead,
            known_after=HOUR,
            valid_for=HOUR,
        ),
        FeatureGroupSpec(
            name="account",
            calendar=shape.calendar,
            description="What is known of a customer.",
            entity=("customer",),
            inputs=("accounts",),
            values=("tier", "open_claims"),
            compute=account,
            max_age=shape.account_max_age,
            min_rows=0,
        ),
    )
    return {group.name: group for group in declared}


# --- outcome and model ------------------------------------------------------------------------------------


def late(parcels: pl.LazyFrame) -> pl.LazyFrame:
    """1 for a parcel that was lost or came 30 or more minutes late, known when it ended."""
    return parcels.select(
        "row_key",
        "event_time",
        pl.col("ended_at").alias("known_at"),
        (pl.col("lost") | (pl.col("delay") >= 30).fill_null(value=False)).cast(pl.Int8).alias("label"),
    )


def outcome(shape: Shape = SHAPE) -> OutcomeSpec:
    """Whether a parcel was late."""
    return OutcomeSpec(
        name="late",
        calendar=shape.calendar,
        description="Whether a parcel was lost or came 30 or more minutes late.",
        source="parcels",
        compute=late,
        min_rows=0,
    )


def model(shape: Shape = SHAPE) -> ModelSpec:
    """The probability that a parcel will be late, with limits that nothing trips over."""
    return ModelSpec(
        name="delay",
        calendar=shape.calendar,
        description="The probability that a parcel will be late.",
        outcome="late",
        spine="parcel",
        prediction_lead=shape.lead,
        features=shape.features,
        categorical=tuple(name for name in ("parcel.depot", "account.tier") if name in shape.features),
        estimator=GradientBoosting(
            learning_rate=0.1, max_iter=10, max_leaf_nodes=6, min_samples_leaf=20, l2_regularization=1.0
        ),
        first_training_day=shape.first_day + timedelta(days=shape.days // 2),
        train_days=8,
        maturity=Maturity(age_days=1),
        held_out_days=2,
        gate_days=2,
        cool_down_days=4,
        min_training_rows=50,
        gate=GateLimits(
            # Half of what two days bring: the gate always has its rows, whatever the shape.
            min_rows=min(20, shape.parcels_a_day),
            min_roc_auc=0.3,
            max_ece=1.0,
            max_brier_rise=1.0,
            max_segment_brier_rise=1.0,
            min_segment_rows=20,
            segments=("parcel__depot",),
            bootstrap_draws=50,
        ),
        drift=DriftLimits(alpha=0.01, practical_psi=0.1, block_quantile=0.95, max_weighted_drift=0.9),
        metric_triggers=(MetricTrigger(name="calibration", metric="ece", target=1.0, violations=2, cohorts=3),),
    )


def catalog(shape: Shape = SHAPE, **changed: Mapping[str, Any]) -> Catalog:
    """The parcel service's catalogue, cross-checked; `changed` puts declarations in place of, or beside, its own."""
    declared: dict[str, dict[str, Any]] = {
        "sources": {name: source(name, shape) for name in CONTRACTS},
        "features": groups(shape),
        "outcomes": {"late": outcome(shape)},
        "models": {"delay": model(shape)},
    }
    for kind, specs in changed.items():
        declared[kind] |= specs
    return build_catalog(
        **{kind: [(f"{kind}/{name}.py", spec) for name, spec in of.items()] for kind, of in declared.items()}
    )


# --- what is delivered ------------------------------------------------------------------------------------


@cache
def extracts(shape: Shape = SHAPE) -> dict[str, dict[date, pl.DataFrame]]:
    """What every source delivers for every day, by source and day: the same for the same shape."""
    draw = np.random.default_rng(shape.seed)
    days = list(DayRange(shape.calendar.first_day, shape.calendar.end_day))
    made = {"gauges": _gauges, "rosters": _rosters, "accounts": _accounts, "parcels": _parcels}
    drawn = {name: of_source(shape, draw, days) for name, of_source in made.items()}
    return {name: {day: _of_day(name, rows, day, shape) for day in days} for name, rows in drawn.items()}


def _instants_of(shape: Shape, draw: np.random.Generator, day: date, number: int) -> list[datetime]:
    """Different minutes of a local day, which a change of the clocks makes an hour shorter or longer."""
    start, end = midnight(day, shape.timezone), midnight(day + A_DAY, shape.timezone)
    minutes = draw.choice(int((end - start) / timedelta(minutes=1)), size=number, replace=False)
    return [start + timedelta(minutes=int(minute)) for minute in minutes]


def _parcels(shape: Shape, draw: np.random.Generator, days: list[date]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for day in days:
        for number, promised in enumerate(_instants_of(shape, draw, day, shape.parcels_a_day)):
            depot = int(draw.integers(len(DEPOTS)))
            lost = bool(draw.random() < 0.03)
            # Depots differ, and a day has a mood that its parcels share.
            mood = (day.toordinal() * 7 + depot * 3) % 11 * 6
            delay = int(draw.integers(-60, 60)) + 15 * depot + mood - 20
            ended = promised + (shape.lost_after if lost else timedelta(minutes=delay))
            booked = shape.booked_ahead * (0.25 if draw.random() < 0.1 else 1.0)
            rows.append(
                {
                    "row_key": f"{day}-{number:03d}",
                    "depot": DEPOTS[depot],
                    "courier": None if draw.random() < 0.1 else COURIERS[int(draw.integers(len(COURIERS)))],
                    "customer": CUSTOMERS[int(draw.integers(len(CUSTOMERS)))],
                    "grams": int(draw.integers(1, 30_000)),
                    "express": bool(draw.random() < 0.3),
                    "event_time": promised,
                    "known_at": promised - booked,
                    "ended_at": ended,
                    "delay": None if lost else delay,
                    "lost": lost,
                }
            )
    return rows


def _gauges(shape: Shape, draw: np.random.Generator, days: list[date]) -> list[dict[str, Any]]:
    earliest, latest = (offset // timedelta(minutes=1) for offset in shape.gauge_known)
    return [
        {
            "row_key": f"{depot}|{told_of:%Y-%m-%dT%H:%M}",
            "depot": depot,
            "event_time": told_of,
            "known_at": told_of + timedelta(minutes=int(draw.integers(earliest, latest + 1))),
            "level": None if draw.random() < 0.1 else int(draw.integers(0, 65)) / 64,
        }
        for day in days
        for depot in DEPOTS
        for told_of in _instants_of(shape, draw, day, shape.gauges_a_day)
    ]


def _rosters(shape: Shape, draw: np.random.Generator, days: list[date]) -> list[dict[str, Any]]:
    earliest, latest = (offset // timedelta(minutes=1) for offset in shape.roster_known)
    rows: list[dict[str, Any]] = []
    for day in days:
        begins, ends = midnight(day, shape.timezone), midnight(day + A_DAY, shape.timezone)
        for depot in DEPOTS:
            for begin in (begins + place * ROSTER for place in range(5) if begins + place * ROSTER < ends):
                rows += [
                    {
                        "row_key": f"{depot}|{begin:%Y-%m-%dT%H:%M}|{version}",
                        "depot": depot,
                        "event_time": begin,
                        "known_at": begin + timedelta(minutes=int(draw.integers(earliest, latest + 1))),
                        "planned": int(draw.integers(1, 9)),
                    }
                    for version in range(int(draw.integers(1, 4)))
                ]
    return rows


def _accounts(shape: Shape, draw: np.random.Generator, days: list[date]) -> list[dict[str, Any]]:
    return [
        {
            "row_key": f"{customer}|{changed:%Y-%m-%dT%H:%M}",
            "customer": customer,
            "event_time": changed,
            "known_at": changed,
            "tier": ("basic", "plus")[int(draw.integers(2))],
            "open_claims": None if draw.random() < 0.1 else int(draw.integers(0, 5)),
        }
        for day in days
        for changed in _instants_of(shape, draw, day, int(draw.poisson(shape.accounts_a_day)))
        for customer in (CUSTOMERS[int(draw.integers(len(CUSTOMERS)))],)
    ]


def _of_day(name: str, rows: list[dict[str, Any]], day: date, shape: Shape) -> pl.DataFrame:
    types = {DAY: pl.Date, **source(name, shape).delivered}
    start, end = midnight(day, shape.timezone), midnight(day + A_DAY, shape.timezone)
    return pl.DataFrame([{DAY: day, **row} for row in rows if start <= row["event_time"] < end], schema=types)


@cache
def ingested(shape: Shape = SHAPE) -> dict[str, Ingested]:
    """What the platform makes of the extracts, by source."""
    return {name: ingest(source(name, shape), days, {}) for name, days in extracts(shape).items()}


def write_extracts(folder: Path, shape: Shape = SHAPE) -> None:
    """Puts the extracts where a home looks for them: `<folder>/<source>/<day>.parquet`."""
    for name, days in extracts(shape).items():
        (folder / name).mkdir(parents=True)
        for day, rows in days.items():
            rows.write_parquet(folder / name / f"{day}.parquet")
