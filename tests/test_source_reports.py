"""Reports of a source's days: a healthy day is quiet, a broken one alarms on its day, a range says what its days say.

What belongs here: rules and limits over the real flights and weather of some weeks. What does not: the stage in
Dagster (`test_range_equals_days.py`), how many of all kinds are caught (`benchmarks/alarms.py`).
"""

from dataclasses import replace
from datetime import date, timedelta

import flights_archive
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from incidents_of_extracts import INCIDENTS, Incident
from polars.testing import assert_frame_equal
from test_range_equals_days import few

from ml_assets.domain.alarms.limits import expected, scale, score_limit
from ml_assets.domain.alarms.reports import (
    ALARM,
    CLEARED,
    REMEMBERED_DAYS,
    REPORTS,
    alarm_verdicts,
    alarms_by_day,
    look_back,
    rules,
    suspect_days,
)
from ml_assets.domain.alarms.rule import Usual
from ml_assets.domain.alarms.sources import source_reports
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.ingestion import ingest
from ml_assets.domain.local_days import DAY

FIRST, END = date(2013, 9, 1), date(2013, 11, 1)
ONE_DAY = timedelta(days=1)
NONE = pl.DataFrame(schema=REPORTS)
STRUCK = date(2013, 10, 23)


def rows_of(source: str) -> pl.DataFrame:
    return flights_archive.events(FIRST, END)[source].collect()


@pytest.fixture(scope="module")
def reports() -> dict[str, pl.DataFrame]:
    """Two months of each source, as one run over all of them stores it."""
    catalog = flights_archive.catalog()
    return {
        name: source_reports(catalog.sources[name], rows_of(name), NONE, rows_of(name)[DAY].unique())
        for name in ("flights", "weather")
    }


def one_day(source: str, rows: pl.DataFrame, past: pl.DataFrame, day: date) -> pl.DataFrame:
    """What a run of that day alone stores: it reads a window of rows, and of the reports of the days before."""
    window = pl.col(DAY).is_between(day - look_back(rules()) * ONE_DAY, day)
    remembered = pl.col(DAY).is_between(day - REMEMBERED_DAYS * ONE_DAY, day - ONE_DAY)
    return source_reports(
        flights_archive.catalog().sources[source], rows.filter(window), past.filter(remembered), [day]
    )


@pytest.mark.parametrize("source", ["flights", "weather"])
def test_a_range_says_what_its_days_say(reports: dict[str, pl.DataFrame], source: str) -> None:
    whole = reports[source]

    @few(8)
    @given(st.integers(0, (END - FIRST).days - 1))
    def the_same(offset: int) -> None:
        day = FIRST + offset * ONE_DAY
        assert_frame_equal(one_day(source, rows_of(source), whole, day), whole.filter(pl.col(DAY) == day))

    the_same()


def test_what_comes_after_a_day_changes_nothing_of_it(reports: dict[str, pl.DataFrame]) -> None:
    rows = rows_of("flights")
    cut = date(2013, 10, 10)
    after = pl.col(DAY) > cut
    # All that is later comes twice as often, half of it shuffled: a column that holds nulls, names that nobody knows.
    broken = rows.filter(after).with_columns(
        carrier=pl.lit("XX"), distance=pl.lit(None, dtype=pl.Int64), dest=pl.col("dest").reverse()
    )
    spec = flights_archive.catalog().sources["flights"]
    other = source_reports(spec, pl.concat([rows.filter(~after), broken]), NONE, rows[DAY].unique())
    assert_frame_equal(other.filter(~after), reports["flights"].filter(~after))
    assert alarms_by_day(other.filter(after))


def test_two_healthy_months_are_quiet_and_have_limits(reports: dict[str, pl.DataFrame]) -> None:
    for source, report in reports.items():
        # The budget is half a percent of days; limits of so short a past are still rough.
        assert len(alarms_by_day(report)) <= 1, source
        assert report.filter(pl.col(DAY) >= STRUCK)["limit"].is_not_null().mean() > 0.8


KINDS = [
    ("flights", "half the rows"),
    ("flights", "the feed dies at noon"),
    ("flights", "one airline missing"),
    ("flights", "yesterday's file re-dated"),
    ("flights", "last month's file re-dated"),
    ("flights", "arrival delays mostly null"),
    ("flights", "distance in kilometres"),
    ("flights", "late flights on time"),
    ("flights", "an airline renamed"),
    ("flights", "both delays 0"),
    ("flights", "arrivals in New York time"),
    ("weather", "temperature in Celsius"),
    ("weather", "humidity all null"),
    ("weather", "every value frozen"),
    ("weather", "one airport missing"),
    ("weather", "temperature and humidity swapped"),
]


@pytest.mark.parametrize(("source", "name"), KINDS)
def test_what_is_broken_is_told_on_its_day(reports: dict[str, pl.DataFrame], source: str, name: str) -> None:
    (incident,) = (each for each in INCIDENTS if (each.table, each.name) == (source, name))
    struck = _struck(incident)
    rows = pl.concat([rows_of(source).filter(pl.col(DAY) < STRUCK), struck])
    report = one_day(source, rows, reports[source], STRUCK)
    verdict = alarm_verdicts(report, [STRUCK])[STRUCK]
    assert not verdict.passed
    assert "is usual" in verdict.reasons[0]
    assert "away from it" in verdict.reasons[0]


def _struck(incident: Incident) -> pl.DataFrame:
    landed = flights_archive.extracts()[incident.table].rows
    broken = incident.strike(STRUCK, landed[STRUCK], lambda day: landed[day])
    came = ingest(flights_archive.catalog().sources[incident.table], {STRUCK: broken}, {})
    assert came.verdicts[STRUCK].passed, came.verdicts[STRUCK].reasons
    return came.rows


def test_a_suspect_day_teaches_nothing(reports: dict[str, pl.DataFrame]) -> None:
    """The same breakage a day later alarms again: what was expected of the day has not moved towards it."""
    half = rows_of("flights").filter(pl.int_range(pl.len()).over(DAY) % 2 == 0)
    rows = pl.concat([rows_of("flights").filter(pl.col(DAY) < STRUCK), half.filter(pl.col(DAY) >= STRUCK)])
    days = [STRUCK + index * ONE_DAY for index in range(6)]
    past = reports["flights"].filter(pl.col(DAY) < STRUCK)
    report = source_reports(flights_archive.catalog().sources["flights"], rows, past, days)
    assert sorted(alarms_by_day(report)) == days


def test_an_empty_day_infinite_and_constant_columns_are_stated_values(reports: dict[str, pl.DataFrame]) -> None:
    rows = rows_of("weather")
    spec = flights_archive.catalog().sources["weather"]
    nothing = source_reports(spec, rows.filter(pl.col(DAY) < STRUCK), reports["weather"], [STRUCK])
    assert nothing.filter(pl.col("rule") == "rows")["value"].to_list() == [0.0]
    assert "rows" in alarms_by_day(nothing)[STRUCK]
    odd = rows.filter(pl.col(DAY) == STRUCK).with_columns(
        temp=pl.lit(np.inf), dewp=pl.lit(np.nan), humid=pl.lit(None, dtype=pl.Float64), pressure=pl.lit(1e300)
    )
    report = source_reports(spec, pl.concat([rows.filter(pl.col(DAY) < STRUCK), odd]), reports["weather"], [STRUCK])
    assert {"temp", "dewp", "humid"} <= set(
        report.filter(pl.col("verdict") == ALARM, pl.col("rule") == "nulls")["subject"]
    )
    assert report["value"].is_finite().all()


@few(40)
@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=40), st.data())
def test_usual_is_the_median_of_the_newest_days(values: list[float], data: st.DataObject) -> None:
    weekday = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    column = np.array(values)[:, None]
    assert expected(column, weekday, Usual.RECENT)[0] == pytest.approx(np.median(values[-14:]))
    same = [value for value, is_same in zip(values, weekday, strict=True) if is_same][-4:]
    wanted = np.median(same) if len(same) >= 2 else np.median(values[-14:])
    assert expected(column, weekday, Usual.WEEKDAY)[0] == pytest.approx(wanted)


def test_one_outlier_that_was_let_pass_widens_nothing_for_long() -> None:
    calm = np.abs(np.random.default_rng(1).normal(size=60))
    with_storm = np.concatenate([calm, [500.0]])
    assert scale(with_storm[:, None], 0.1)[0] <= 2 * scale(calm[:, None], 0.1)[0]
    assert score_limit(with_storm, 0.001) <= 1.5 * score_limit(np.append(calm, 2.0), 0.001)


def test_a_limit_is_exceeded_as_often_as_the_budget_says() -> None:
    rng = np.random.default_rng(7)
    past, healthy = rng.exponential(0.35, 400), rng.exponential(0.35, 200_000)
    exceeded = float(np.mean(np.expm1(healthy) > score_limit(np.minimum(np.expm1(past), 1.9), 0.02)))
    assert 0.0 < exceeded < 0.04


def test_a_cleared_day_is_told_as_cleared_and_teaches_again(reports: dict[str, pl.DataFrame]) -> None:
    half = rows_of("flights").filter(pl.int_range(pl.len()).over(DAY) % 2 == 0)
    rows = pl.concat([rows_of("flights").filter(pl.col(DAY) < STRUCK), half.filter(pl.col(DAY) == STRUCK)])
    spec = replace(flights_archive.catalog().sources["flights"], cleared={STRUCK: "ops: a strike, the rows are right"})
    report = source_reports(spec, rows, reports["flights"].filter(pl.col(DAY) < STRUCK), [STRUCK])
    assert alarm_verdicts(report, [STRUCK])[STRUCK].passed
    assert suspect_days({"flights": report}) == {}
    told = report.filter(pl.col("verdict") == CLEARED)["reason"]
    assert len(told)
    assert told.str.starts_with("cleared (ops: a strike, the rows are right): ").all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alarm_budget": 0.0}, "alarm_budget is 0.0, wanted a share of days over 0 and up to 1"),
        ({"cleared": {STRUCK: " "}}, "cleared names 2013-10-23 without a reason; say who and why"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        replace(flights_archive.catalog().sources["flights"], **given)
