"""Purchases at CDNOW, a music shop on the web, by customers who came in early 1997: one row a purchase (Fader, Hardie).

The shop's ledger holds days, not hours: every purchase counts as made, and as known, at noon of its day. Customers of
the ledger made their first purchase from January to March 1997; from April on no new ones come, and volume falls to a
third.
"""

from datetime import date

import pandera.polars as pa
import polars as pl

from ml_assets.catalog.calendars import PURCHASES
from ml_assets.domain.origins import Archive
from ml_assets.domain.specs import Inputs, Instant, SourceSpec


class Purchase(pa.DataFrameModel):
    """A good purchase row."""

    partition_date: date
    row_key: str = pa.Field(description="customer and line of the ledger")
    customer: str = pa.Field(str_matches=r"^[0-9]{5}$", description="customer number")
    event_time: Instant = pa.Field(description="noon of the day of the purchase (UTC)")
    known_at: Instant = pa.Field(description="when it was known: at that noon (UTC)")
    items: int = pa.Field(ge=1, le=500, description="CDs bought")
    cents: int = pa.Field(ge=0, le=1_000_000, description="what they cost, US cents; 0 for a gift")


def prepare(tables: Inputs) -> pl.LazyFrame:
    """The ledger's lines in columns, with their day, otherwise as they came."""
    values = pl.first().str.strip_chars().str.extract_all(r"\S+")
    return (
        tables["archive"]
        .select(values.alias("line_values"))
        .with_row_index("line", offset=1)
        .select(
            pl.col("line").cast(pl.Int64),
            *(pl.col("line_values").list.get(at).alias(name) for at, name in enumerate(("customer", "day"))),
            pl.col("line_values").list.get(2).cast(pl.Int64).alias("items"),
            pl.col("line_values").list.get(3).cast(pl.Float64).alias("dollars"),
        )
        .with_columns(partition_date=pl.col("day").str.to_date("%Y%m%d"))
        .drop("day")
    )


def parse(extract: pl.LazyFrame) -> pl.LazyFrame:
    """Purchases in UTC."""
    return extract.select(
        "partition_date",
        pl.format("{}|{}", "customer", "line").alias("row_key"),
        "customer",
        noon(pl.col("partition_date")).alias("event_time"),
        noon(pl.col("partition_date")).alias("known_at"),
        "items",
        (pl.col("dollars") * 100).round().cast(pl.Int64, strict=False).alias("cents"),
    )


def noon(day: pl.Expr) -> pl.Expr:
    """The UTC instant of noon of a local day."""
    local = day.cast(pl.Datetime("us")) + pl.duration(hours=12)
    return local.dt.replace_time_zone(PURCHASES.timezone).dt.convert_time_zone("UTC")


SOURCE = SourceSpec(
    name="purchases",
    calendar=PURCHASES,
    description=__doc__,
    origin=Archive(
        distribution="lifetimes",
        path="datasets/CDNOW_master.txt",
        sha256="eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef",
        prepare=prepare,
    ),
    delivered={"line": pl.Int64, "customer": pl.String, "items": pl.Int64, "dollars": pl.Float64},
    parse=parse,
    contract=Purchase,
    keys=("row_key",),
    min_rows=20,
)
