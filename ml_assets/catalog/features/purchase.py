"""What a purchase says of itself: one row a purchase, the spine of models that are asked at each.

`customer` is here to join by, not to learn from.
"""

import polars as pl

from ml_assets.catalog.calendars import PURCHASES
from ml_assets.domain.specs import FeatureGroupSpec, Inputs


def compute(events: Inputs) -> pl.LazyFrame:
    """One row a purchase with its size and its day of the week."""
    return events["purchases"].select(
        "row_key",
        "event_time",
        "known_at",
        "customer",
        pl.col("items").cast(pl.Float64),
        (pl.col("cents") / 100).alias("dollars"),
        (pl.col("cents") / 100 / pl.col("items")).alias("dollars_an_item"),
        pl.col("partition_date").dt.weekday().cast(pl.Float64).alias("weekday"),
    )


FEATURES = FeatureGroupSpec(
    name="purchase",
    calendar=PURCHASES,
    description=__doc__,
    entity=("row_key",),
    inputs=("purchases",),
    values=("customer", "items", "dollars", "dollars_an_item", "weekday"),
    described={
        "customer": "who bought, to join by",
        "items": "CDs bought",
        "dollars": "what they cost",
        "dollars_an_item": "what one of them cost",
        "weekday": "1 Monday to 7 Sunday",
    },
    compute=compute,
    min_rows=20,
    max_null_share={"customer": 0.0, "items": 0.0, "dollars": 0.0},
)
