"""Where local days begin, against the standard library's clock, in zones that do it strangely too."""

from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_series_equal

from ml_assets.domain.local_days import local_day, local_midnight
from partitions import DayRange
from partitions.days import midnight

INSTANT = pl.Datetime("us", "UTC")
# Midnight is left out, comes twice, is at half past an hour, or a whole day is left out (Apia, 30 December 2011).
ZONES = {
    "America/New_York": 2013,
    "America/Sao_Paulo": 2018,
    "America/Havana": 2024,
    "Asia/Beirut": 2022,
    "Asia/Kolkata": 2024,
    "Australia/Lord_Howe": 2024,
    "Pacific/Apia": 2011,
    "Africa/Casablanca": 2024,
    "UTC": 2024,
}


@pytest.mark.parametrize(("timezone", "year"), ZONES.items(), ids=list(ZONES))
def test_a_local_day_begins_when_the_clock_first_shows_it(timezone: str, year: int) -> None:
    days = pl.Series("day", list(DayRange(date(year, 1, 1), date(year + 1, 2, 1))))
    begins = days.to_frame().select(local_midnight(pl.col("day"), timezone)).to_series()
    assert_series_equal(begins, pl.Series("day", [midnight(day, timezone) for day in days], dtype=INSTANT))
    around = pl.DataFrame({"day": days, "at": begins, "before": begins - timedelta(microseconds=1)})
    shown = around.select("day", at=local_day(pl.col("at"), timezone), before=local_day(pl.col("before"), timezone))
    skipped = shown.filter(pl.col("at") != pl.col("day"))
    assert skipped["day"].to_list() == ([date(2011, 12, 30)] if timezone == "Pacific/Apia" else [])
    assert shown.filter(pl.col("before") >= pl.col("day")).is_empty()
