"""How late the aircraft was in its last movement that is known: the delay at landing, or at departure."""

from datetime import timedelta

import polars as pl

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.local_days import DAY, local_midnight
from ml_assets.domain.specs import FeatureGroupSpec, Inputs

# A movement counts only if it became known within this many days of the flight's scheduled day.
LATEST_DAYS = 2


def compute(events: Inputs) -> pl.LazyFrame:
    """One row at each departure and landing of an aircraft, with that movement's delay in minutes.

    Of several movements in one minute the one latest in the timetable counts, a landing after a departure.
    """
    flown = events["flights"].filter(pl.col("tailnum").is_not_null())
    left, landed = (
        flown.filter(
            pl.col(known_at) < local_midnight(pl.col(DAY) + pl.duration(days=LATEST_DAYS), FLIGHTS.timezone)
        ).select(
            "tailnum",
            "event_time",
            # A flight that left before its scheduled day counts from that day on: the day before does not read it.
            pl.max_horizontal(known_at, local_midnight(pl.col(DAY), FLIGHTS.timezone)).alias("known_at"),
            pl.col(delay).cast(pl.Float64).alias("last_delay"),
            pl.lit(is_landing).alias("landed"),
        )
        for known_at, delay, is_landing in (
            ("departed_at", "dep_delay", 0.0),
            ("arrived_at", "arr_delay", 1.0),
        )
    )
    return (
        pl.concat([left, landed])
        .sort("tailnum", "known_at", "event_time", "landed", "last_delay")
        .unique(["tailnum", "known_at"], keep="last", maintain_order=True)
        .with_columns(event_time="known_at")
    )


FEATURES = FeatureGroupSpec(
    name="inbound_aircraft",
    calendar=FLIGHTS,
    description=__doc__,
    entity=("tailnum",),
    inputs=("flights",),
    values=("last_delay", "landed"),
    described={
        "last_delay": "minutes late in the aircraft's last known movement",
        "landed": "1 when that movement was a landing, 0 a departure",
    },
    compute=compute,
    look_back_days=LATEST_DAYS,
    max_age=timedelta(hours=20),
    min_rows=100,
)
