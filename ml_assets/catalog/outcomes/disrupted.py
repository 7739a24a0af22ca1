"""Whether a flight was disrupted: 30 or more minutes late on arrival, cancelled or diverted.

Known when the aircraft lands; for a cancelled or diverted flight when the day's operations report closes.
"""

import polars as pl

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.specs import OutcomeSpec

LATE_MINUTES = 30


def compute(flights: pl.LazyFrame) -> pl.LazyFrame:
    """One row a flight: 1 when disrupted, else 0, with the instant at which that was known."""
    disrupted = (pl.col("fate") != "arrived") | (pl.col("arr_delay") >= LATE_MINUTES)
    return flights.select(
        "row_key",
        "event_time",
        pl.col("fate_known_at").alias("known_at"),
        disrupted.cast(pl.Int8).alias("label"),
    )


OUTCOME = OutcomeSpec(name="disrupted", calendar=FLIGHTS, description=__doc__, source="flights", compute=compute)
