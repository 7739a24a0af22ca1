"""Whether a customer buys again on another day within 30 days of a purchase.

A yes is known with that next purchase, a no at noon of the thirtieth day. Of the last month of the ledger neither is
said: it ends before the thirtieth day.
"""

from datetime import timedelta

import polars as pl

from ml_assets.catalog.calendars import PURCHASES
from ml_assets.catalog.sources.purchases import noon
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import OutcomeSpec

WITHIN_DAYS = PURCHASES.label_lag_days


def compute(purchases: pl.LazyFrame) -> pl.LazyFrame:
    """One row a purchase: 1 when the customer bought again in time, else 0, with the instant that was known."""
    days = purchases.select("customer", DAY).unique().sort("customer", DAY)
    following = days.with_columns(pl.col(DAY).shift(-1).over("customer").alias("next"))
    judged = (
        purchases
        if PURCHASES.end_day is None
        else purchases.filter(pl.col(DAY) < PURCHASES.end_day - timedelta(days=WITHIN_DAYS))
    )
    last = pl.col(DAY) + pl.duration(days=WITHIN_DAYS)
    again = (pl.col("next") <= last).fill_null(value=False)
    return judged.join(following, on=["customer", DAY], how="left", maintain_order="left").select(
        "row_key",
        "event_time",
        noon(pl.when(again).then(pl.col("next")).otherwise(last)).alias("known_at"),
        again.cast(pl.Int8).alias("label"),
    )


OUTCOME = OutcomeSpec(
    name="buys_again", calendar=PURCHASES, description=__doc__, source="purchases", compute=compute, min_rows=0
)
