"""Which days an asset reads: every instant that a row may look at lies in them, and none past the day."""

from datetime import date, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ml_assets.domain.errors import DayError
from partitions import DayRange, Window, clock_change, days_reaching, same_days, trailing_days, window_before
from partitions.days import midnight

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@settings(max_examples=150, deadline=None)
@given(
    timezone=st.sampled_from(sorted(name for name in available_timezones() if "/" in name)),
    day=st.dates(date(1975, 1, 1), date(2030, 1, 1)),
    span=st.timedeltas(timedelta(0), 90 * DAY),
)
@example(timezone="America/New_York", day=date(2013, 3, 11), span=24 * HOUR)
@example(timezone="America/New_York", day=date(2013, 11, 4), span=24 * HOUR)
@example(timezone="Pacific/Apia", day=date(2012, 1, 2), span=60 * HOUR)
def test_the_days_reach_back_as_far_as_the_span(timezone, day, span):
    change = clock_change(timezone, day - 120 * DAY, day)
    window = days_reaching(span, change)
    read = window.of(DayRange(day, day + DAY))
    assert read.end == day + DAY
    assert midnight(read.start, timezone) <= midnight(day, timezone) - span
    # No more than what changes of the clock and a day begun may ask for.
    assert len(read) - 1 <= (span + change) / DAY + 1
    assume(span > change)
    assert midnight(read.start, timezone) > midnight(day, timezone) - span - 2 * change - DAY


def test_nothing_is_read_of_other_days_for_a_span_of_nothing():
    assert days_reaching(timedelta(0), HOUR) == days_reaching(-DAY, HOUR) == same_days()


def test_clock_changes_are_those_between_the_days_given():
    assert clock_change("America/New_York", date(2013, 1, 1), date(2014, 1, 1)) == HOUR
    assert clock_change("America/New_York", date(2013, 1, 1), date(2013, 3, 10)) == timedelta(0)
    assert clock_change("America/New_York", date(2013, 1, 1), date(2013, 3, 11)) == HOUR
    assert clock_change("Australia/Lord_Howe", date(2013, 1, 1), date(2014, 1, 1)) == HOUR / 2
    assert clock_change("UTC", date(2013, 1, 1), date(2014, 1, 1)) == timedelta(0)
    assert clock_change("Pacific/Apia", date(2011, 12, 28), date(2012, 1, 2)) == DAY


windows = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: Window(max(ends), min(ends)))


@given(outer=windows, inner=windows, day=st.dates(date(2012, 1, 1), date(2014, 1, 1)), length=st.integers(1, 9))
def test_a_window_of_a_window_is_every_day_that_a_day_of_it_reads(outer, inner, day, length):
    run = DayRange(day, day + length * DAY)
    read = {far for near in outer.of(run) for far in inner.of(DayRange(near, near + DAY))}
    assert set(outer.then(inner).of(run)) == read


def test_the_window_of_a_training_ends_before_the_day():
    assert window_before(7).then(trailing_days(2)) == Window(9, 1)
    with pytest.raises(DayError):
        Window(1, -1)
