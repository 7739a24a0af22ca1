"""Range equals days: one run over a range stores what one run a day stores, row for row, for every stage."""

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from short_year import (
    ASSETS,
    END,
    FIRST,
    FIRST_TRAINING,
    LAST_LABEL_END,
    RETRAIN,
    TRAINING,
    Platform,
    days,
)

# Trainings stay as they are: what a decision asks for is not computed in one run with the decision.
CHAIN = [asset for asset in ASSETS if asset not in (*RETRAIN, *TRAINING)]


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


@pytest.mark.parametrize("asset", ASSETS)
def test_range_equals_days_of_one_asset(platform: Platform, replayed: Platform, asset: str) -> None:
    @few(2)
    @given(ranges(LAST_LABEL_END, 4))
    def range_equals_days(chosen: tuple[date, date]) -> None:
        first, last = chosen
        platform.withdraw([asset], first, last)
        platform.run([asset], first, last)
        in_one_run, versions = platform.rows(asset), platform.data_versions(asset)
        on_record = platform.on_record([asset])
        assert not platform.plan().steps, "what a run over a range read is not what it recorded"
        platform.withdraw([asset], first, last)
        for day in days(first, last):
            platform.run([asset], day)
        assert_frame_equal(in_one_run, platform.rows(asset), check_exact=True)
        assert versions == platform.data_versions(asset)
        assert on_record == platform.on_record([asset]) == replayed.on_record([asset])
        assert not platform.plan().steps
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
        platform.withdraw([*CHAIN, *RETRAIN], first, last)
    in_one_run.run(CHAIN, first, last)
    in_one_run.run(RETRAIN, first, last)
    for day in days(first, last):
        for asset in CHAIN:
            day_by_day.run([asset], day)
    for day in days(first, last):
        day_by_day.run(RETRAIN, day)
    for asset in ASSETS:
        assert_frame_equal(in_one_run.rows(asset), day_by_day.rows(asset), check_exact=True)
        assert in_one_run.data_versions(asset) == day_by_day.data_versions(asset), asset
    assert in_one_run.contents() == replayed.contents()
    assert in_one_run.on_record() == day_by_day.on_record() == replayed.on_record()
    for platform in (in_one_run, day_by_day):
        assert not platform.plan().steps
        assert not platform.plan().warnings


def test_a_withdrawn_day_is_gone(platform: Platform) -> None:
    """Without it the tests above would compare what was there before."""
    platform.withdraw(["events/flights"], FIRST, FIRST)
    assert platform.rows("events/flights", FIRST).is_empty()
    assert platform.rows("events/flights").filter(pl.col("partition_date") > FIRST).height


def test_days_beyond_the_last_event_hold_late_labels(replayed: Platform) -> None:
    late = replayed.rows("outcomes/disrupted", END, LAST_LABEL_END)
    assert late.height
    assert late["partition_date"].unique().to_list() == [END]
