"""Labels that come when none may are set aside with the reason; the others are as if there were none of these."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.catalog.outcomes.disrupted import OUTCOME
from ml_assets.domain.labels import labels_by_known_day, refused_by_day
from ml_assets.domain.local_days import DAY

LAG = 3
NOON = datetime(2024, 3, 20, 12, tzinfo=UTC)
SPEC = replace(OUTCOME, calendar=replace(FLIGHTS, timezone="UTC", label_lag_days=LAG), compute=lambda events: events)


def labels(*lags: int) -> pl.LazyFrame:
    """One event a lag, all of one day, whose label comes so many days after it."""
    instant = pl.Datetime("us", "UTC")
    return pl.LazyFrame(
        {
            "row_key": [f"row {place}" for place in range(len(lags))],
            "event_time": pl.Series([NOON] * len(lags), dtype=instant),
            "known_at": pl.Series([NOON + timedelta(days=lag) for lag in lags], dtype=instant),
            "label": [place % 2 for place in range(len(lags))],
        }
    )


@given(st.lists(st.integers(-3, 9), max_size=20))
def test_what_comes_in_time_is_kept_and_the_rest_set_aside_on_a_day_that_reads_its_event(lags):
    found = labels_by_known_day(SPEC, labels(*lags))
    kept = [lag for lag in lags if 0 <= lag <= LAG]
    assert found.rows[DAY].to_list() == [NOON.date() + timedelta(days=lag) for lag in kept]
    aside = [lag for lag in lags if not 0 <= lag <= LAG]
    assert found.refused[DAY].to_list() == [NOON.date() + timedelta(days=LAG if lag > 0 else 0) for lag in aside]
    said = ["label_lag_days = 3 days after" if lag > 0 else "before the day of its event" for lag in aside]
    assert all(part in reasons[0] for part, reasons in zip(said, found.refused["reasons"], strict=True))
    assert all(payload.startswith('{"row_key":"row ') for payload in found.refused["payload"])


def test_they_are_counted_by_day():
    found = labels_by_known_day(SPEC, labels(9, 8, 1, -1))
    days = [NOON.date(), NOON.date() + timedelta(days=LAG), date(2024, 5, 1)]
    assert refused_by_day(found, days) == {days[0]: 1, days[1]: 2}
