"""A source of loans for tests that are not about flights: a contract, a parse, a calendar in another zone.

What belongs here: declarations a test varies. What does not: assertions, files.
"""

from datetime import date
from typing import Any

import pandera.polars as pa
import polars as pl

from ml_assets.domain.origins import Origin
from ml_assets.domain.specs import Calendar, Instant, SourceSpec

FIRST = date(2025, 3, 1)
CALENDAR = Calendar(name="loans", timezone="Europe/Berlin", first_day=FIRST, end_day=date(2025, 6, 1), label_lag_days=5)


class Loan(pa.DataFrameModel):
    """A good loan."""

    partition_date: date
    row_key: str
    event_time: Instant
    known_at: Instant
    amount: float = pa.Field(ge=0)
    term: int = pa.Field(nullable=True)
    first: bool = pa.Field(nullable=True)


def parse(extract: pl.LazyFrame) -> pl.LazyFrame:
    """Loans as events, known when they were asked for."""
    return extract.select(
        "partition_date",
        pl.col("loan").alias("row_key"),
        pl.col("asked_at").alias("event_time"),
        pl.col("asked_at").alias("known_at"),
        "amount",
        "term",
        "first",
    )


def loans(origin: Origin, **changed: Any) -> SourceSpec:
    """The source of loans with an origin."""
    declared: dict[str, Any] = {
        "name": "loans",
        "calendar": CALENDAR,
        "description": "Loans asked for.",
        "origin": origin,
        "delivered": {
            "loan": pl.String,
            "asked_at": pl.Datetime("us", "UTC"),
            "amount": pl.Float64,
            "term": pl.Int64,
            "first": pl.Boolean,
        },
        "parse": parse,
        "contract": Loan,
        "keys": ("row_key",),
        "max_bad_row_share": 0.5,
    }
    return SourceSpec(**(declared | changed))
