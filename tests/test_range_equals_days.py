"""Range equals days: one run over a range stores what one run a day stores, row for row, for every dense stage."""

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from short_year import DECISIONS, DENSE, END, FIRST, FIRST_TRAINING, LAST_LABEL_END, Platform, days

LATE = {"outcomes/disrupted", "performance_reports/disruption"}
CHAIN = [asset for asset in DENSE if asset not in DECISIONS]


def ranges(end: date, longest: int) -> st.SearchStrategy[tuple[date, date]]:
    """First and last day of ranges of two days or more that end before `end`."""
    last = (end - FIRST).days - 1
    return st.integers(2, longest).flatmap(
        lambda length: st.integers(0, last - length + 1).map(
            lambda offset: (FIRST + timedelta(days=offset), FIRST + timedelta(days=offset + length - 1))
        )
    )


def few(examples: int) -> Callable[..., Callable[..., None]]:
    """Hypothesis without what wastes runs: the same few examples every time, no shrinking."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("asset", DENSE)
def test_range_equals_days_of_one_asset(platform: Platform, replayed: Platform, asset: str) -> None:
    @few(2)
    @given(ranges(LAST_LABEL_END if asset in LATE else END, 4))
    def range_equals_days(chosen: tuple[date, date]) -> None:
        first, last = chosen
        platform.withdraw([asset], first, last)
        platform.run([asset], first, last)
        in_one_run, versions = platform.rows(asset), platform.data_versions(asset)
        platform.withdraw([asset], first, last)
        for day in days(first, last):
            platform.run([asset], day)
        assert_frame_equal(in_one_run, platform.rows(asset), check_exact=True)
        assert versions == platform.data_versions(asset)
        assert_frame_equal(in_one_run, replayed.rows(asset), check_exact=True)
        assert versions == replayed.data_versions(asset)

    range_equals_days()


@few(1)
@example(chosen=(FIRST_TRAINING - timedelta(days=1), FIRST_TRAINING + timedelta(days=1)))
@given(chosen=ranges(END, 3))
def test_range_equals_days_of_the_whole_chain(
    copied: Callable[[], Platform], replayed: Platform, chosen: tuple[date, date]
) -> None:
    first, last = chosen
    in_one_run, day_by_day = copied(), copied()
    for platform in (in_one_run, day_by_day):
        platform.withdraw(DENSE, first, last)
    in_one_run.run(CHAIN, first, last)
    in_one_run.run(DECISIONS, first, last)
    for day in days(first, last):
        for asset in CHAIN:
            day_by_day.run([asset], day)
    for day in days(first, last):
        day_by_day.run(DECISIONS, day)
    for asset in DENSE:
        assert_frame_equal(in_one_run.rows(asset), day_by_day.rows(asset), check_exact=True)
        assert in_one_run.data_versions(asset) == day_by_day.data_versions(asset), asset
    assert in_one_run.contents() == replayed.contents()


def test_a_withdrawn_day_is_gone(platform: Platform) -> None:
    """Without it the tests above would compare what was there before."""
    platform.withdraw(["events/flights"], FIRST, FIRST)
    assert platform.rows("events/flights", FIRST).is_empty()
    assert platform.rows("events/flights").filter(pl.col("partition_date") > FIRST).height


def test_dense_days_beyond_the_last_event_hold_late_labels(replayed: Platform) -> None:
    late = replayed.rows("outcomes/disrupted", END, LAST_LABEL_END)
    assert late.height
    assert late["partition_date"].unique().to_list() == [END]
