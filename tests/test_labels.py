"""Labels by day: each is stored once, on a day that reads its event; what comes too late is set aside with a reason."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import toy_catalog as toy
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.catalog.outcomes.disrupted import OUTCOME
from ml_assets.domain.labels import judge_label_days, labels_by_known_day, refused_by_day
from ml_assets.domain.local_days import DAY, local_day, within

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
    kept = [lag for lag in lags if lag <= LAG]
    assert found.rows[DAY].to_list() == [NOON.date() + timedelta(days=max(lag, 0)) for lag in kept]
    aside = [lag for lag in lags if lag > LAG]
    assert found.refused[DAY].to_list() == [NOON.date() + timedelta(days=LAG)] * len(aside)
    assert all("label_lag_days = 3 days after" in reason for (reason,) in found.refused["reasons"])
    assert all(payload.startswith('{"row_key":"row ') for payload in found.refused["payload"])


def test_they_are_counted_by_day():
    found = labels_by_known_day(SPEC, labels(9, 8, 1, -1))
    days = [NOON.date(), NOON.date() + timedelta(days=LAG), date(2024, 5, 1)]
    assert refused_by_day(found, days) == {days[1]: 2}


def test_a_day_with_a_label_that_is_no_yes_or_no_is_red_and_no_other():
    """A count, or a class's number, used to pass until the first training."""
    rows = labels_by_known_day(SPEC, labels(0, 1, 1).with_columns(label=pl.Series([1, 0, 7]))).rows
    days = [NOON.date(), NOON.date() + timedelta(days=1)]
    verdicts = judge_label_days(SPEC, rows, days)
    assert [verdicts[day].passed for day in days] == [True, False]
    assert verdicts[days[1]].reasons == (
        "1 labels are neither 0 nor 1, first 7 of 'row 2': give 1 for what the model is to predict",
    )


def test_a_yes_or_no_passes_as_a_boolean_too():
    rows = labels_by_known_day(SPEC, labels(0, 0).with_columns(pl.col("label").cast(pl.Boolean))).rows
    assert judge_label_days(SPEC, rows, [NOON.date()])[NOON.date()].passed


PARCELS = toy.ingested()["parcels"].rows
PROMISED = toy.outcome()


def of_days(first: date, last: date) -> pl.DataFrame:
    """The labels that one run over the days stores, from the days of events that it reads."""
    end = last + timedelta(days=1)
    read = within(first - timedelta(days=PROMISED.calendar.label_lag_days), end)
    return labels_by_known_day(PROMISED, PARCELS.lazy().filter(read)).rows.filter(within(first, end))


def test_a_label_known_before_its_events_day_is_stored_on_that_day_by_every_run():
    """A parcel promised for shortly after midnight may be delivered before: no run of the day before reads it."""
    zone = PROMISED.calendar.timezone
    known_day, event_day = (local_day(pl.col(name), zone) for name in ("known_at", "event_time"))
    whole = labels_by_known_day(PROMISED, PARCELS.lazy()).rows
    assert whole.filter(known_day < event_day).height > 3
    assert whole.filter(pl.col(DAY) != pl.max_horizontal(known_day, event_day)).is_empty()
    one_by_one = pl.concat([of_days(day, day) for day in sorted(set(whole[DAY]))])
    assert_frame_equal(one_by_one.sort("row_key"), whole.sort("row_key"))


def test_what_has_no_instant_at_which_it_is_known_has_no_day():
    unknown = PARCELS.with_columns(pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("ended_at")).lazy()
    found = labels_by_known_day(PROMISED, unknown)
    assert found.rows[DAY].null_count() == PARCELS.height
    assert found.refused.is_empty()
