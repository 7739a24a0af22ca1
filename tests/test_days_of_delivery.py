"""When a day of a source is delivered, in which files, and what a day without any is: empty, late, or never due."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_origins import PARQUET, TWO
from toy import CALENDAR, FIRST, loans

from ml_assets.domain.due import due_end, expected_by
from ml_assets.domain.errors import CatalogError
from ml_assets.domain.ingestion import Ingested, ingest
from ml_assets.domain.origins import DeltaTable, DropFolder, Origin, SqlQuery
from ml_assets.domain.specs import SourceSpec
from partitions.days import hours_of, midnight
from resources.extracts import Extracts, ReadExtracts

A_DAY = timedelta(days=1)
HEADER = TWO.splitlines(keepends=True)[0]
Read = Callable[..., ReadExtracts]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """What days of an origin are read as, from the extracts of an empty home."""

    def run(origin: Origin, *days: date, **changed: Any) -> ReadExtracts:
        return Extracts(tmp_path / "extracts").read(loans(origin, **changed), days or [FIRST])

    return run


def of(origin: Origin, found: ReadExtracts, **changed: Any) -> Ingested:
    """What was read as events; late days are none of them."""
    return ingest(loans(origin, **changed), found.rows, found.unreadable)


# --- when ------------------------------------------------------------------------------------------------

ORIGINS = st.sampled_from(
    (DropFolder("{day}.csv"), DropFolder("{day:%G_W%V}.csv", day_column="d"), DropFolder("{hour:%Y%m%d_%H}.csv"))
)
SOURCES = st.builds(
    lambda origin, hours, weekdays, holidays: loans(
        origin,
        delivered_within=timedelta(hours=hours),
        delivered_on=tuple(sorted(weekdays)),
        holidays=tuple(FIRST + at * A_DAY for at in holidays),
    ),
    ORIGINS,
    st.integers(0, 100),
    st.sets(st.integers(1, 7), min_size=1),
    st.sets(st.integers(0, 60), max_size=20),
)


def last_beside(source: SourceSpec, day: date) -> date:
    """The last day that the file of a day holds, by the calendar's own weeks."""
    weekly = isinstance(source.origin, DropFolder) and source.origin.day_column
    return day + (7 - day.isoweekday()) * A_DAY if weekly else day


@given(st.lists(SOURCES, min_size=1, max_size=3), st.datetimes(datetime(2025, 3, 2), datetime(2025, 5, 20)))  # noqa: DTZ001
def test_the_first_day_that_is_not_due_is_the_first_that_somebody_may_still_deliver(
    sources: list[SourceSpec], moment: datetime
) -> None:
    now = moment.replace(tzinfo=UTC)
    zone = CALENDAR.timezone

    def may_come(day: date) -> bool:
        if midnight(day + A_DAY, zone) > now:
            return True
        late = [
            midnight(last_beside(source, day) + A_DAY, zone) + source.delivered_within
            for source in sources
            if day.isoweekday() in source.delivered_on and day not in source.holidays
        ]
        return any(at > now for at in late)

    days = [FIRST + at * A_DAY for at in range(120)]
    assert due_end(CALENDAR, sources, now) == next(day for day in days if may_come(day))


def test_a_file_of_a_week_is_expected_at_its_end() -> None:
    weekly = loans(DropFolder("{day:%G_W%V}.csv", day_column="asked_at"), delivered_within=timedelta(hours=6))
    monday = date(2025, 3, 24)
    # The clocks are put forward in that week's last night: hours pass, whatever they show.
    for day in (monday, monday + 6 * A_DAY):
        assert expected_by(weekly, day) == datetime(2025, 3, 31, 4, tzinfo=UTC)
    assert expected_by(weekly, monday + 7 * A_DAY) == datetime(2025, 4, 7, 4, tzinfo=UTC)


# --- no file, and no row -----------------------------------------------------------------------------------


def test_a_day_whose_file_has_not_come_is_late_and_says_until_when_it_was_expected(tmp_path: Path, read: Read) -> None:
    origin = DropFolder(str(tmp_path / "{day}.csv"))
    found = read(origin, delivered_within=timedelta(hours=6))
    assert found.unreadable == {}
    assert found.late == {
        FIRST: f"nothing was delivered for 2025-03-01 ({tmp_path}/2025-03-01.csv), expected by 2025-03-02 06:00 "
        "(Europe/Berlin); it is computed once it comes"
    }
    (tmp_path / "2025-03-01.csv").write_text(TWO)
    found = read(origin, delivered_within=timedelta(hours=6))
    assert found.late == {}
    assert of(origin, found).rows.height == 2


@pytest.mark.parametrize(
    "declared", [{"holidays": (FIRST,)}, {"delivered_on": (1, 2, 3, 4, 5)}], ids=["a holiday", "a Saturday"]
)
def test_nobody_is_asked_for_a_day_without_delivery_and_it_is_good(read: Read, declared: dict[str, Any]) -> None:
    """The database is nowhere: asking it would be an error."""
    nowhere = SqlQuery("NO_SUCH_VARIABLE", "select :day")
    came = of(nowhere, read(nowhere, **declared), **declared)
    assert came.rows.is_empty()
    assert came.verdicts[FIRST].passed
    assert came.verdicts[FIRST].notes == ("nothing is delivered for this day",)


def test_what_is_handed_over_for_a_holiday_counts(tmp_path: Path, read: Read) -> None:
    origin = DropFolder(str(tmp_path / "nowhere" / "{day}.csv"))
    (tmp_path / "extracts" / "loans").mkdir(parents=True)
    PARQUET.with_columns(pl.lit(FIRST).alias("partition_date")).write_parquet(
        tmp_path / "extracts" / "loans" / f"{FIRST}.parquet"
    )
    found = read(origin, holidays=(FIRST,))
    assert of(origin, found, holidays=(FIRST,)).rows.height == 2


def test_an_answer_without_rows_is_an_empty_day_or_none_as_the_source_says(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database cannot say that it has been filled: where days have rows, one without any is asked for again."""
    with closing(sqlite3.connect(tmp_path / "loans.db")) as held, held:
        held.execute("create table loans (loan text, asked_at text, amount real, term int, first text)")
    monkeypatch.setenv("LOANS_URL", f"sqlite:///{tmp_path / 'loans.db'}")
    PARQUET.with_columns(pl.lit(date(2025, 1, 1)).alias("d")).write_delta(str(tmp_path / "table"))
    query = SqlQuery("LOANS_URL", "select * from loans where loans.asked_at >= :start and loans.asked_at < :end")
    for origin in (query, DeltaTable(str(tmp_path / "table"), "d")):
        assert set(read(origin).late) == {FIRST}
        came = of(origin, read(origin, min_rows=0), min_rows=0)
        assert came.verdicts[FIRST].passed
        assert came.verdicts[FIRST].notes == ("a day may have no rows",)
        (tmp_path / "extracts" / "loans" / f"{FIRST}.parquet").unlink()


# --- files an hour, files a week ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "hours"), [(FIRST, 24), (date(2025, 3, 30), 23), (date(2025, 10, 26), 24)], ids=["", "spring", "autumn"]
)
def test_the_files_of_all_hours_of_a_day_make_the_day(tmp_path: Path, read: Read, day: date, hours: int) -> None:
    """The hour that comes twice in autumn has one file."""
    origin = DropFolder(str(tmp_path / "{hour:%Y%m%d_%H}.csv"))
    names = [f"{hour:%Y%m%d_%H}.csv" for hour in hours_of(day, "Europe/Berlin")]
    assert len(set(names)) == hours
    begins = midnight(day, "Europe/Berlin")
    for at, name in enumerate(dict.fromkeys(names)):
        assert set(read(origin, day).late) == {day}
        (tmp_path / name).write_text(f"{HEADER}L{at},{begins + timedelta(hours=at):%Y-%m-%dT%H:%M}Z,1,1,true\n")
    found = read(origin, day)
    assert found.late == {}
    came = of(origin, found)
    assert came.rows["row_key"].to_list() == sorted(f"L{at}" for at in range(hours))
    assert came.verdicts[day].passed


def test_hours_that_have_not_come_are_named(tmp_path: Path, read: Read) -> None:
    origin = DropFolder("{hour:%Y%m%d_%H}.csv")
    origin = DropFolder(str(tmp_path / origin.pattern))
    for hour in range(3, 20):
        (tmp_path / f"20250301_{hour:02}.csv").write_text(HEADER)
    said = read(origin).late[FIRST]
    assert said.startswith("17 of the 24 files of 2025-03-01 have come, without ")
    assert "20250301_00.csv" in said
    assert "and 4 more" in said


def test_a_file_of_a_week_gives_each_day_its_own_rows(tmp_path: Path, read: Read) -> None:
    origin = DropFolder(str(tmp_path / "{day:%G_W%V}.csv"), day_column="asked_at")
    monday = date(2025, 3, 3)
    week = [monday + at * A_DAY for at in range(7)]
    # An instant of a day in Berlin that is another day's in UTC.
    rows = [f"L{at},{day - A_DAY}T23:30:00Z,1,1,true\n" for at, day in enumerate(week) if at != 2]
    (tmp_path / "2025_W10.csv").write_text(HEADER + "".join(rows))
    came = of(origin, read(origin, *week, min_rows=0), min_rows=0)
    assert came.quarantined.is_empty()
    assert dict(came.rows.select("row_key", "partition_date").iter_rows()) == {
        f"L{at}": day for at, day in enumerate(week) if at != 2
    }
    assert all(verdict.passed for verdict in came.verdicts.values())


@pytest.mark.parametrize("stray", ["2025-03-10T12:00:00Z", "2025-03-02T12:00:00Z", "sometime", ""])
def test_a_row_of_no_day_of_its_week_is_not_lost_in_silence(tmp_path: Path, read: Read, stray: str) -> None:
    origin = DropFolder(str(tmp_path / "{day:%G_W%V}.csv"), day_column="asked_at")
    monday = date(2025, 3, 3)
    (tmp_path / "2025_W10.csv").write_text(f"{HEADER}L1,{monday}T12:00:00Z,1,1,true\nL2,{stray},1,1,true\n")
    said = read(origin, monday).unreadable[monday]
    assert "in 1 of 2 rows, wanted days from 2025-03-03 to 2025-03-09; deliver it again" in said


def test_a_file_of_a_week_without_its_day_column_is_told(tmp_path: Path, read: Read) -> None:
    origin = DropFolder(str(tmp_path / "{day:%G_W%V}.csv"), day_column="day")
    (tmp_path / "2025_W09.csv").write_text(TWO)
    assert "has no column 'day' that says of which day a row is" in read(origin).unreadable[FIRST]


# --- what cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"delivered_within": timedelta(hours=-1)}, "delivered_within is .* wanted a time of 0 or more"),
        ({"delivered_within": 6}, "delivered_within is 6, wanted a time"),
        ({"delivered_on": ()}, r"delivered_on is \(\), wanted weekdays as numbers"),
        ({"delivered_on": (0,)}, r"delivered_on is \(0,\), wanted weekdays as numbers"),
        ({"delivered_on": ("monday",)}, r"delivered_on is \('monday',\), wanted weekdays as numbers"),
        ({"holidays": ("2025-12-25",)}, "holidays name '2025-12-25', wanted days"),
        ({"holidays": (datetime(2025, 12, 25, tzinfo=UTC),)}, "holidays name .* wanted days"),
        ({"min_rows": -1}, "min_rows is -1, wanted a number of 0 or more"),
        ({"min_rows": "1"}, "min_rows is '1', wanted a number of 0 or more"),
    ],
)
def test_a_schedule_that_cannot_be_met_is_refused_at_load(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(CatalogError, match=f"source 'loans': {said}"):
        loans(DropFolder("{day}.csv"), **declared)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("loans.csv", "must name each day's own file"),
        ("{day:x}.csv", "must name each day's own file"),
        ("{day:%G_W%V}.csv", "name the column that says of which day a row is, as day_column"),
        ("{day:%d}.csv", "one file for 2001-01-01 and for 2001-02-01; wanted the year in it too"),
        ("{hour:%Y%m%d}.csv", "must name each hour's own file"),
        ("{hour:%H}.csv", "must name each day's own file"),
        ("{week}.csv", "must name each day's own file"),
        ("{day", "the pattern cannot be read"),
    ],
)
def test_a_pattern_that_names_no_file_a_day_is_refused_at_load(pattern: str, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        DropFolder(pattern)
