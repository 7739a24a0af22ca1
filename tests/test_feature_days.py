"""A group's days: what is stored of them, and that a row known outside what the group declares makes its day red."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import flights_archive
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.domain.feature_days import cut_to_days, judge_feature_days
from ml_assets.domain.local_days import DAY

CATALOG = flights_archive.catalog()
DAYS = [date(2013, 3, 9), date(2013, 3, 10), date(2013, 3, 11)]
MINUTE = timedelta(minutes=1)
GROUP = replace(
    CATALOG.features["weather"],
    name="readings",
    entity=("meter",),
    values=("level",),
    described={},
    max_null_share={},
    min_rows=0,
    known_before=2 * MINUTE,
    known_after=3 * MINUTE,
)
# One row a minute from New York's noon of each day: the day, how many minutes after its event_time it is known.
lags = st.lists(st.tuples(st.sampled_from(DAYS), st.integers(-5, 6)), max_size=9)


def rows_of(known: list[tuple[date, int]]) -> pl.DataFrame:
    at = [
        datetime(day.year, day.month, day.day, 17, tzinfo=UTC) + place * MINUTE for place, (day, _) in enumerate(known)
    ]
    return pl.DataFrame(
        {
            "meter": ["m"] * len(known),
            "event_time": at,
            "known_at": [instant + lag * MINUTE for instant, (_, lag) in zip(at, known, strict=True)],
            "level": [1.0] * len(known),
        },
        schema={
            "meter": pl.String,
            "event_time": pl.Datetime("us", "UTC"),
            "known_at": pl.Datetime("us", "UTC"),
            "level": pl.Float64,
        },
    )


@settings(max_examples=100, deadline=None)
@given(lags)
def test_a_day_is_red_exactly_when_a_row_of_it_is_known_outside_what_is_declared(known):
    verdicts = judge_feature_days(GROUP, cut_to_days(GROUP, rows_of(known).lazy(), DAYS), DAYS)
    for day in DAYS:
        of_day = [lag for own, lag in known if own == day]
        early, late = [lag for lag in of_day if lag < -2], [lag for lag in of_day if lag > 3]
        assert verdicts[day].passed == (not early and not late)
        said = " ".join(verdicts[day].reasons)
        if late:
            assert f"{len(late)} of {len(of_day)} rows become known up to {max(late) * MINUTE} after their" in said
            assert "'readings' declares known_after=0:03:00: declare what is true, or mend known_at" in said
        if early:
            assert f"{len(early)} of {len(of_day)} rows become known up to {-min(early) * MINUTE} before their" in said
            assert "known_before=0:02:00" in said


def test_a_group_that_declares_nothing_is_known_at_its_event_time_alone():
    silent = replace(GROUP, known_before=timedelta(0), known_after=timedelta(0))
    for lag, passed in ((-1, False), (0, True), (1, False)):
        rows = cut_to_days(silent, rows_of([(DAYS[0], lag)]).lazy(), DAYS)
        assert judge_feature_days(silent, rows, DAYS[:1])[DAYS[0]].passed == passed


def test_rows_lie_on_the_local_day_of_their_event_and_no_other():
    rows = rows_of([(day, 0) for day in DAYS])
    assert cut_to_days(GROUP, rows.lazy(), DAYS[1:])[DAY].to_list() == DAYS[1:]


@pytest.mark.parametrize("name", sorted(CATALOG.features))
def test_what_the_shipped_groups_declare_is_as_tight_as_their_year(name):
    group, rows = CATALOG.features[name], flights_archive.features_of_the_year(name)
    after = rows["known_at"] - rows["event_time"]
    assert (max(timedelta(0), -after.min()), max(timedelta(0), after.max())) == (group.known_before, group.known_after)
