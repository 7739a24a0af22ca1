"""Orders of a shop that does not exist, for a project to begin with.

What belongs here: what `ml-assets init` makes up, the same for the same days. What does not: files.

An order is likelier to be sent back when it is clothes or shoes, expensive, or one of many of its customer; whether it
was is known after one to four days, and that it was kept after five.
"""

import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from ml_assets.domain.local_days import DAY, local_day, within

CUSTOMERS, ORDERS_A_DAY = 300, 80
CATEGORIES = ("books", "clothes", "shoes")
OFTEN_RETURNED = (-2.2, -0.4, 0.2)
KEPT_AFTER = timedelta(days=5)


def made_up_orders(first: date, end: date, timezone: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The orders placed on local days of `[first, end)`, and what had become of them by then, each with its day."""
    drawn = pl.concat(_placed(day, timezone) for day in _days(first, end))
    orders = drawn.filter(within(first, end)).sort(DAY, "placed_at")
    settled = orders.with_columns(local_day(pl.col("settled_at"), timezone).alias(DAY)).filter(pl.col(DAY) < end)
    return (
        orders.select(DAY, "order", "placed_at", "customer", "category", "price"),
        settled.sort(DAY, "settled_at").select(DAY, "order", "placed_at", "settled_at", "returned"),
    )


def _placed(day: date, timezone: str) -> pl.DataFrame:
    random = np.random.default_rng(zlib.crc32(f"orders of {day}".encode()))
    number = int(random.poisson(ORDERS_A_DAY))
    # Some customers order often: the square of a uniform number crowds them at the low ones.
    customer = (random.random(number) ** 2 * CUSTOMERS).astype(int)
    category = random.integers(0, len(CATEGORIES), number)
    price = np.round(np.exp(random.normal(3.6, 0.6, number)), 2)
    likely = np.array(OFTEN_RETURNED)[category] + 0.7 * (np.log(price) - 3.6) + 0.8 * (customer < CUSTOMERS // 10)
    returned = random.random(number) < 1 / (1 + np.exp(-likely))
    # Between 00:30 and 23:30 of a day of 24 hours in UTC: which local day that is, the column says.
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    placed = [midnight + timedelta(minutes=float(minute)) for minute in random.uniform(30, 23.5 * 60, number).round()]
    waits = [timedelta(hours=float(hours)) for hours in random.uniform(24, 96, number).round()]
    settled = [at + (wait if back else KEPT_AFTER) for at, wait, back in zip(placed, waits, returned, strict=True)]
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "order": [f"{day:%Y%m%d}-{index:04}" for index in range(number)],
            "placed_at": pl.Series(placed, dtype=instant),
            "settled_at": pl.Series(settled, dtype=instant),
            "customer": [f"C{index:03}" for index in customer],
            "category": [CATEGORIES[index] for index in category],
            "price": price,
            "returned": returned,
        }
    ).with_columns(local_day(pl.col("placed_at"), timezone).alias(DAY))


def _days(first: date, end: date) -> Iterator[date]:
    # A day on both sides: days in UTC are not the local ones.
    return (first + timedelta(days=offset) for offset in range(-1, (end - first).days + 1))
