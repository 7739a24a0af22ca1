"""The second shipped workload: purchases, a month until a label is known, counted once more with plain Python.

What belongs here: the ledger, its labels and its histories against an obvious twin read from the file itself.
What does not: what holds for every catalogue (`test_random_catalogues.py`, `ml-assets check`).
"""

import tempfile
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ml_assets.catalog.calendars import PURCHASES
from ml_assets.catalog.features import customer_history
from ml_assets.catalog.outcomes import buys_again
from ml_assets.catalog.sources.purchases import SOURCE
from ml_assets.domain.ingestion import Ingested, ingest
from ml_assets.domain.local_days import DAY
from partitions import DayRange
from resources.extracts import Extracts

NEW_YORK = ZoneInfo("America/New_York")
FIRST, LAST = date(1997, 1, 1), date(1998, 6, 30)
MONTH = timedelta(days=30)


@cache
def ledger() -> list[tuple[int, str, date, int, float]]:
    """The file's lines, read here: line, customer, day, CDs, dollars."""
    file = Path(str(distribution("lifetimes").locate_file("lifetimes/datasets/CDNOW_master.txt")))
    lines = [line.split() for line in file.read_text().splitlines()[1:]]
    return [
        (at, customer, datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date(), int(items), float(dollars))
        for at, (customer, day, items, dollars) in enumerate(lines, start=1)
    ]


@cache
def days_of() -> dict[str, list[date]]:
    """On which days each customer bought."""
    found: dict[str, set[date]] = defaultdict(set)
    for _, customer, day, _, _ in ledger():
        found[customer].add(day)
    return {customer: sorted(days) for customer, days in found.items()}


@cache
def ingested() -> Ingested:
    """The ledger as the platform takes it in."""
    with tempfile.TemporaryDirectory() as folder:
        read = Extracts(Path(folder)).read(SOURCE, DayRange(FIRST, LAST + timedelta(days=1)))
    return ingest(SOURCE, read.rows, read.unreadable)


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=NEW_YORK).astimezone(UTC)


def test_every_line_of_the_ledger_is_a_purchase_and_no_day_is_refused() -> None:
    rows = ingested().rows
    assert (rows.height, rows["customer"].n_unique(), rows[DAY].n_unique()) == (69_659, 23_570, 546)
    assert all(verdict.passed for verdict in ingested().verdicts.values())
    read = {
        key: (day, at, items, cents)
        for key, day, at, items, cents in rows.select("row_key", DAY, "event_time", "items", "cents").iter_rows()
    }
    assert read == {
        f"{customer}|{line}": (day, noon(day), items, round(dollars * 100))
        for line, customer, day, items, dollars in ledger()
    }


def test_a_label_is_what_the_ledger_says_and_known_no_sooner() -> None:
    found = buys_again.compute(ingested().rows.lazy()).collect()
    labels = {key: (label, known) for key, label, known in found.select("row_key", "label", "known_at").iter_rows()}
    wanted = {}
    for line, customer, day, _, _ in ledger():
        # The ledger ends before the thirtieth day of a purchase in its last month.
        if day + MONTH > LAST:
            continue
        again = next((later for later in days_of()[customer] if day < later <= day + MONTH), None)
        wanted[f"{customer}|{line}"] = (int(again is not None), noon(again or day + MONTH))
    assert labels == wanted


def test_base_rates_are_those_that_were_counted_in_the_ledger() -> None:
    labelled = ingested().rows.join(buys_again.compute(ingested().rows.lazy()).collect(), on="row_key")
    assert labelled["label"].mean() == pytest.approx(0.3155, abs=1e-4)
    by_month = dict(labelled.group_by(pl.col(DAY).dt.strftime("%Y-%m")).agg(pl.col("label").mean()).iter_rows())
    # Before acquisition stops most who buy are new, and most of those never come back.
    assert by_month["1997-01"] == pytest.approx(0.205, abs=1e-3)
    assert by_month["1997-04"] == pytest.approx(0.385, abs=1e-3)


def test_a_label_that_is_asked_for_early_says_nothing_yet() -> None:
    """A day's outcomes are made from the events of the 31 days that end with it."""
    day = date(1997, 2, 20)
    seen = ingested().rows.filter(pl.col(DAY).is_between(day - MONTH, day)).lazy()
    whole = buys_again.compute(ingested().rows.lazy()).filter(pl.col("known_at") == noon(day)).collect()
    alone = buys_again.compute(seen).filter(pl.col("known_at") == noon(day)).collect()
    assert alone.sort("row_key").equals(whole.sort("row_key"))
    assert set(alone["label"]) == {0, 1}


def test_a_history_is_counted_from_the_half_year_that_ends_with_the_purchase() -> None:
    found = customer_history.compute({"purchases": ingested().rows.lazy()}).collect()
    busy = sorted(days_of(), key=lambda customer: (-len(days_of()[customer]), customer))[::400]
    own = defaultdict(list)
    for _, customer, day, items, dollars in ledger():
        own[customer].append((day, items, dollars))
    for customer in busy:
        rows = found.filter(pl.col("customer") == customer).sort("event_time")
        assert rows["event_time"].to_list() == [noon(day) for day in days_of()[customer]]
        for row in rows.iter_rows(named=True):
            day = row["event_time"].astimezone(NEW_YORK).date()
            counted = [each for each in own[customer] if timedelta(0) <= day - each[0] < timedelta(days=180)]
            days = sorted({each[0] for each in counted})
            assert row["known_at"] == row["event_time"]
            assert row["visits"] == len(days)
            assert row["visit"] == {1: "first", 2: "second"}.get(len(days), "regular")
            assert row["items"] == sum(items for _, items, _ in counted)
            assert row["dollars"] == pytest.approx(sum(dollars for *_, dollars in counted), abs=1e-9)
            assert row["days_since_first"] == (day - days[0]).days
            assert row["days_since_last"] == ((day - days[-2]).days if len(days) > 1 else None)


def test_the_calendar_is_the_ledgers_and_leaves_a_month_for_labels() -> None:
    assert (PURCHASES.first_day, PURCHASES.end_day) == (FIRST, LAST + timedelta(days=1))
    assert PURCHASES.outcome_end_day == LAST + timedelta(days=1) + MONTH
