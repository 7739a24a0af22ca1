"""How late flights have lately been, by carrier, airport of departure and route.

A row stands at every instant at which the set of flights that left or landed within the window changes, so
the newest row at or before any instant is exactly the window's content at that instant.
"""

from datetime import timedelta

import polars as pl

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.local_days import DAY, local_midnight
from ml_assets.domain.specs import FeatureGroupSpec

# A flight counts only if it became known within this many days of its scheduled day: what makes a day's
# rows depend on a bounded number of days of events.
LATEST_DAYS = 2


def recent_delays(flights: pl.LazyFrame, entity: tuple[str, ...], window: timedelta) -> pl.LazyFrame:
    """Number of departures and landings, mean delays and the share 30+ minutes late in `(t - window, t]`.

    Sums are kept in integers, so the result does not depend on where the range of events begins.
    """
    last_instant = local_midnight(pl.col(DAY) + pl.duration(days=LATEST_DAYS), FLIGHTS.timezone)
    late = (pl.col("arr_delay") >= 30).cast(pl.Int64)
    landed = _steps(
        flights,
        entity,
        window,
        "arrived_at",
        last_instant,
        landed=1,
        arr_delay=pl.col("arr_delay"),
        late=late,
    )
    left = _steps(flights, entity, window, "departed_at", last_instant, left=1, dep_delay=pl.col("dep_delay"))
    running = ("landed", "arr_delay", "late", "left", "dep_delay")
    return (
        pl.concat([landed, left], how="diagonal")
        .group_by(*entity, "known_at")
        .agg(pl.col(running).sum())
        .sort(*entity, "known_at")
        .with_columns(pl.col(running).cum_sum().over(entity))
        .select(
            *entity,
            pl.col("known_at").alias("event_time"),
            "known_at",
            pl.col("landed").cast(pl.Float64),
            _mean("arr_delay", "landed").alias("mean_arr_delay"),
            _mean("late", "landed").alias("late_share"),
            _mean("dep_delay", "left").alias("mean_dep_delay"),
        )
    )


def _steps(
    flights: pl.LazyFrame,
    entity: tuple[str, ...],
    window: timedelta,
    known_at: str,
    last_instant: pl.Expr,
    **values: pl.Expr | int,
) -> pl.LazyFrame:
    """What enters a running sum at `known_at` and leaves it again one window later."""
    columns = [
        (pl.lit(value) if isinstance(value, int) else value).cast(pl.Int64).alias(name)
        for name, value in values.items()
    ]
    # A flight that left before its scheduled day counts from that day on: the day before does not read it.
    counts_from = pl.max_horizontal(known_at, local_midnight(pl.col(DAY), FLIGHTS.timezone))
    enters = flights.filter(pl.col(known_at) < last_instant).select(*entity, counts_from.alias("known_at"), *columns)
    leaves = enters.with_columns(pl.col("known_at") + window, *(-pl.col(name) for name in values))
    return pl.concat([enters, leaves])


def _mean(total: str, count: str) -> pl.Expr:
    return pl.when(pl.col(count) > 0).then(pl.col(total) / pl.col(count))


def _group(name: str, entity: tuple[str, ...], hours: int, of: str) -> FeatureGroupSpec:
    window = timedelta(hours=hours)
    return FeatureGroupSpec(
        name=name,
        calendar=FLIGHTS,
        description=f"How late {of} has been in the last {hours} hours, by what was known at each instant.",
        entity=entity,
        inputs=("flights",),
        values=("landed", "mean_arr_delay", "late_share", "mean_dep_delay"),
        described={
            "landed": f"landings in the last {hours} hours",
            "mean_arr_delay": f"mean minutes late at arrival in the last {hours} hours",
            "late_share": f"share landing 30 or more minutes late in the last {hours} hours",
            "mean_dep_delay": f"mean minutes late at departure in the last {hours} hours",
        },
        compute=lambda events: recent_delays(events["flights"], entity, window),
        look_back_days=LATEST_DAYS + 1,
        max_age=window,
        min_rows=100,
    )


CARRIER = _group("carrier_delays", ("carrier",), 6, of="a carrier")
ORIGIN = _group("origin_delays", ("origin",), 3, of="an airport of departure")
ROUTE = _group("route_delays", ("origin", "dest"), 24, of="a route")
