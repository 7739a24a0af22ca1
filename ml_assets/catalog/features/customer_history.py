"""What a customer has bought in the last half year: how often, how lately, for how much.

A row stands at every day on which the customer buys, and counts that day's purchases with those before it.
"""

import polars as pl

from ml_assets.catalog.calendars import PURCHASES
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import FeatureGroupSpec, Inputs

WINDOW_DAYS = 180


def compute(events: Inputs) -> pl.LazyFrame:
    """One row a customer and day of a purchase; sums are kept in integers, so every range gives the same."""
    days = (
        events["purchases"]
        .group_by("customer", DAY)
        .agg(pl.col("event_time", "known_at").first(), pl.col("items", "cents").sum())
        .sort("customer", DAY)
    )
    window = days.rolling(DAY, period=f"{WINDOW_DAYS}d", group_by="customer").agg(
        pl.len().alias("visits"),
        pl.col("items", "cents").sum(),
        pl.col("event_time", "known_at").last(),
        pl.col(DAY).first().alias("first"),
        pl.col(DAY).get(-2, null_on_oob=True).alias("before"),
    )
    return window.select(
        "customer",
        "event_time",
        "known_at",
        pl.when(pl.col("visits") == 1)
        .then(pl.lit("first"))
        .when(pl.col("visits") == 2)
        .then(pl.lit("second"))
        .otherwise(pl.lit("regular"))
        .alias("visit"),
        pl.col("visits").cast(pl.Float64),
        pl.col("items").cast(pl.Float64),
        (pl.col("cents") / 100).alias("dollars"),
        (pl.col(DAY) - pl.col("first")).dt.total_days().cast(pl.Float64).alias("days_since_first"),
        (pl.col(DAY) - pl.col("before")).dt.total_days().cast(pl.Float64).alias("days_since_last"),
    )


FEATURES = FeatureGroupSpec(
    name="customer_history",
    calendar=PURCHASES,
    description=__doc__,
    entity=("customer",),
    inputs=("purchases",),
    values=("visit", "visits", "items", "dollars", "days_since_first", "days_since_last"),
    described={
        "visit": f"first, second or a later day with a purchase in {WINDOW_DAYS} days",
        "visits": f"days with a purchase in {WINDOW_DAYS} days",
        "items": f"CDs bought in {WINDOW_DAYS} days",
        "dollars": f"what they cost in {WINDOW_DAYS} days",
        "days_since_first": f"days since the first of these days, at most {WINDOW_DAYS}",
        "days_since_last": "days since the day before with a purchase; none on the first",
    },
    compute=compute,
    look_back_days=WINDOW_DAYS,
    min_rows=20,
)
