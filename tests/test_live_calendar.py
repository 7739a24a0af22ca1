"""A workload without an end: its days are those that are over, wherever days are counted."""

from datetime import date, timedelta

import pytest
from dagster import AssetKey
from hypothesis import given
from hypothesis import strategies as st
from toy import CALENDAR

from ml_assets.assets.stage import days_of
from ml_assets.domain.specs import Calendar
from partitions import today_in

DAYS = st.dates(date(2020, 1, 1), date(2030, 1, 1))
LIVE = Calendar(name="live", timezone="UTC", first_day=date(2025, 3, 1), end_day=None, label_lag_days=5)


@given(DAYS, DAYS)
def test_a_live_calendar_has_every_day_before_until_and_none_past_its_end(day: date, until: date) -> None:
    assert not LIVE.is_past(day)
    assert LIVE.event_end(until) == LIVE.outcome_end(until) == max(LIVE.first_day, until)
    assert LIVE.outcome_end_day is None


@given(DAYS, DAYS)
def test_a_closed_calendar_ends_where_it_says(day: date, until: date) -> None:
    assert CALENDAR.end_day is not None
    assert CALENDAR.is_past(day) == (day >= CALENDAR.end_day)
    days = [CALENDAR.first_day + timedelta(days=offset) for offset in range(200)]
    events = [day for day in days if day < until and not CALENDAR.is_past(day)]
    assert CALENDAR.event_end(until) == (events[-1] + timedelta(days=1) if events else CALENDAR.first_day)
    labels = [day for day in days if day < until and not CALENDAR.is_past(day - timedelta(days=5))]
    assert CALENDAR.outcome_end(until) == (labels[-1] + timedelta(days=1) if labels else CALENDAR.first_day)


def test_dagsters_days_of_a_live_calendar_end_yesterday() -> None:
    keys = days_of(LIVE).get_partition_keys()
    assert keys[0] == "2025-03-01"
    assert keys[-1] == str(today_in("UTC") - timedelta(days=1))
    assert len(keys) == (today_in("UTC") - LIVE.first_day).days


@pytest.mark.parametrize("calendar", [LIVE, CALENDAR], ids=["live", "closed"])
def test_a_day_that_is_not_over_is_refused(calendar: Calendar, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from ml_assets.domain.errors import CalendarError
    from ml_assets.launch import Launcher
    from partitions import DayRange

    monkeypatch.setattr("ml_assets.launch.today_in", lambda _: date(2025, 3, 20))
    launcher = SimpleNamespace(graph={"events/loans": SimpleNamespace(calendar=calendar)})
    key = AssetKey(["events", "loans"])
    Launcher.check_calendar(launcher, key, DayRange(date(2025, 3, 1), date(2025, 3, 20)))  # type: ignore[arg-type]
    with pytest.raises(CalendarError, match="the last day that is over, 2025-03-19"):
        Launcher.check_calendar(launcher, key, DayRange(date(2025, 3, 1), date(2025, 3, 21)))  # type: ignore[arg-type]
