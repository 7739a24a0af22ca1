"""The weather at the airport of departure, as far as it was published."""

from datetime import timedelta

import polars as pl

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.specs import FeatureGroupSpec, Inputs

VALUES = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def compute(events: Inputs) -> pl.LazyFrame:
    """One row an airport and hour, known when it was published."""
    return events["weather"].select("origin", "event_time", "known_at", *VALUES)


FEATURES = FeatureGroupSpec(
    name="weather",
    calendar=FLIGHTS,
    description=__doc__,
    entity=("origin",),
    inputs=("weather",),
    values=VALUES,
    described={
        "temp": "temperature, °F",
        "dewp": "dew point, °F",
        "humid": "relative humidity, %",
        "wind_speed": "wind, miles an hour",
        "wind_gust": "gusts, miles an hour",
        "precip": "precipitation, inches",
        "pressure": "sea-level pressure, hPa",
        "visib": "visibility, miles",
    },
    compute=compute,
    known_after=timedelta(hours=1),
    max_age=timedelta(hours=6),
    min_rows=24,
    max_null_share={"temp": 0.5, "visib": 0.5},
)
