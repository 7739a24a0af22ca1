"""What the timetable says of a flight: one row a flight, known a day ahead.

The spine of flight models: the other groups are joined to it by carrier, airport, route or aircraft. `tailnum` is here
to join by, not to learn from: in the shipped data only cancelled flights lack one, which nobody knew at the time.
"""

from datetime import timedelta

import polars as pl

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.specs import FeatureGroupSpec, Inputs


def compute(events: Inputs) -> pl.LazyFrame:
    """One row a flight with the timetable's facts, in New York time where a clock is meant."""
    local = pl.col("event_time").dt.convert_time_zone(FLIGHTS.timezone)
    return events["flights"].select(
        "row_key",
        "event_time",
        "known_at",
        "carrier",
        "origin",
        "dest",
        "tailnum",
        pl.col("distance").cast(pl.Float64),
        (local.dt.hour().cast(pl.Float64) + local.dt.minute().cast(pl.Float64) / 60).alias("clock_hour"),
        local.dt.weekday().cast(pl.Float64).alias("weekday"),
        ((pl.col("sched_arrival") - pl.col("event_time")).dt.total_minutes().cast(pl.Float64)).alias("block_minutes"),
    )


FEATURES = FeatureGroupSpec(
    name="schedule",
    calendar=FLIGHTS,
    description=__doc__,
    entity=("row_key",),
    inputs=("flights",),
    values=("carrier", "origin", "dest", "tailnum", "distance", "clock_hour", "weekday", "block_minutes"),
    described={
        "carrier": "airline",
        "origin": "airport of departure",
        "dest": "destination",
        "tailnum": "aircraft, to join by",
        "distance": "miles between the airports",
        "clock_hour": "scheduled departure, New York clock, in hours",
        "weekday": "1 Monday to 7 Sunday",
        "block_minutes": "scheduled minutes from departure to arrival",
    },
    compute=compute,
    known_before=timedelta(hours=24),
    min_rows=300,
    max_null_share={"carrier": 0.0, "origin": 0.0, "dest": 0.0, "clock_hour": 0.0, "block_minutes": 0.0},
)
