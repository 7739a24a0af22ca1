"""Newest-first lists of a calendar that has ended: Dagster's defect, and that every process of ours has it mended.

When the stock half fails after an upgrade, the defect is mended upstream: `resources/dagster_partitions.py` can go.
"""

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dagster import DailyPartitionsDefinition, TimeWindowPartitionsDefinition
from dagster._core.definitions.partitions.context import PartitionLoadingContext
from dagster._core.definitions.temporal_context import TemporalContext

from resources.dagster_partitions import STOCK, _newest_of_the_calendar, end_calendars_where_they_end
from resources.home import open_home

NOW = PartitionLoadingContext(
    temporal_context=TemporalContext(effective_dt=datetime(2026, 11, 24, tzinfo=UTC), last_event_id=None),
    dynamic_partitions_store=None,
)
ENDED = DailyPartitionsDefinition("2013-01-01", end_date="2014-01-01", timezone="America/New_York")
LIVE = DailyPartitionsDefinition("2013-01-01", timezone="America/New_York")
NOT_YET = DailyPartitionsDefinition("2013-01-01", end_date="2030-01-01", timezone="America/New_York")
YEAR = [str(date(2013, 1, 1) + timedelta(days=at)) for at in range(365)]


def test_stock_lists_days_that_the_calendar_does_not_have() -> None:
    assert STOCK(ENDED, NOW, 3, ascending=False).results == ["2026-11-22", "2026-11-21", "2026-11-20"]


def test_an_ended_calendar_is_listed_from_its_end_page_by_page() -> None:
    for limit in (1, 7, 120, 365, 1000):
        pages, cursor, more = [], None, True
        while more:
            page = _newest_of_the_calendar(ENDED, NOW, limit, ascending=False, cursor=cursor)
            pages += page.results
            cursor, more = page.cursor, page.has_more
        assert pages == YEAR[::-1], limit


def test_nothing_else_is_changed() -> None:
    for calendar in (LIVE, NOT_YET, ENDED):
        for ascending in (True, False) if calendar is not ENDED else (True,):
            ours = _newest_of_the_calendar(calendar, NOW, 120, ascending)
            assert ours == STOCK(calendar, NOW, 120, ascending), (calendar, ascending)
            after = _newest_of_the_calendar(calendar, NOW, 120, ascending, ours.cursor)
            assert after == STOCK(calendar, NOW, 120, ascending, ours.cursor)


def test_twice_is_once() -> None:
    end_calendars_where_they_end()
    end_calendars_where_they_end()
    assert TimeWindowPartitionsDefinition.get_paginated_partition_keys is _newest_of_the_calendar
    assert STOCK is not _newest_of_the_calendar


def test_a_process_that_opens_the_instance_has_it(tmp_path: Path) -> None:
    """The web server is Dagster's own process; all it shares with ours is `dagster.yaml`."""
    home = open_home(tmp_path / "home")
    opened = subprocess.run(
        [sys.executable, "-c", OPENS_THE_INSTANCE, str(home.dagster)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert opened.stdout.split() == ["2013-12-31", "2013-12-30"], opened.stderr


OPENS_THE_INSTANCE = """
import sys
from dagster import DagsterInstance, DailyPartitionsDefinition
from dagster._core.definitions.partitions.context import partition_loading_context
with DagsterInstance.from_config(sys.argv[1]), partition_loading_context() as now:
    calendar = DailyPartitionsDefinition("2013-01-01", end_date="2014-01-01", timezone="America/New_York")
    print(*calendar.get_paginated_partition_keys(now, 2, ascending=False).results)
"""
