"""A day's file harms no neighbour: whatever it holds, in every table, the day run alone or in a range.

What belongs here: damages drawn at random to one day of one source, and all tables of the toy platform after them.
What does not: what a chosen damage is answered with (`test_bad_days.py`), what becomes of the file itself
(`test_ingestion.py`).
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import toy_catalog as toy
from damages import damaged_by, damages
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from polars.exceptions import PanicException, PolarsError
from polars.testing import assert_frame_equal
from short_year import Platform, opened

from ml_assets.assets import declared_graph
from ml_assets.domain.ingestion import ingest
from ml_assets.domain.local_days import DAY
from ml_assets.domain.rehearsal import EventsAtHand, Rehearsal
from partitions import DayRange

ONE_DAY = timedelta(days=1)
SHAPE = replace(toy.SHAPE, days=12)
BAD = SHAPE.first_day + timedelta(days=5)
DAYS = DayRange(SHAPE.first_day, SHAPE.first_day + timedelta(days=SHAPE.days))
AROUND = DayRange(BAD - ONE_DAY, BAD + timedelta(days=3))
CATALOG = toy.catalog(SHAPE)
GRAPH = declared_graph(CATALOG)
FACTS = [
    *(f"events/{name}" for name in CATALOG.sources),
    *(f"features/{name}" for name in CATALOG.features),
    *(f"outcomes/{name}" for name in CATALOG.outcomes),
]
Contents = dict[str, dict[date, str]]
sources = st.sampled_from(sorted(CATALOG.sources))


def with_damage(source: str, chosen: list[tuple]) -> pl.DataFrame:
    """The bad day's extract after what was chosen."""
    came = toy.extracts(SHAPE)[source]
    return damaged_by(chosen, came[BAD], came[BAD - ONE_DAY], BAD)


# --- in memory, many -----------------------------------------------------------------------------------------


def rehearsal(**extracts: pl.DataFrame) -> Rehearsal:
    """The facts of the toy with another extract of the bad day for the named sources."""
    events = {}
    for name, source in CATALOG.sources.items():
        days = toy.extracts(SHAPE)[name] | ({BAD: extracts[name]} if name in extracts else {})
        made = ingest(source, days, {}) if name in extracts else toy.ingested(SHAPE)[name]
        accepted = frozenset(day for day, verdict in made.verdicts.items() if verdict.passed)
        events[name] = EventsAtHand(made.rows, accepted)
    return Rehearsal(CATALOG, GRAPH, events)


@cache
def healthy() -> Rehearsal:
    return rehearsal()


def rows_of(facts: Rehearsal, table: str, days: DayRange) -> pl.DataFrame:
    """What one run over the days computes of a table, in one order."""
    stage, name = table.split("/")
    if stage == "events":
        held = facts.events[name]
        return held.of(days).filter(pl.col(DAY).is_in(list(held.days))).sort(DAY, "row_key")
    made = facts.features(name, days) if stage == "features" else facts.outcomes(name, days)
    return made.sort(pl.all())


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(sources, damages())
def test_alone_or_in_a_range_no_row_of_a_day_that_does_not_read_the_bad_one_changes(
    source: str, chosen: list[tuple]
) -> None:
    harmed = rehearsal(**{source: with_damage(source, chosen)})
    for table in FACTS:
        together = rows_of(harmed, table, AROUND)
        reads = [read for read in GRAPH[table].reads.values() if read.table == f"events/{source}"]
        for day in AROUND:
            only = DayRange(day, day + ONE_DAY)
            alone = rows_of(harmed, table, only)
            assert_frame_equal(alone, together.filter(pl.col(DAY) == day), check_row_order=False)
            follows = table == f"events/{source}" and day == BAD
            if not follows and not any(BAD in read.window.of(only) for read in reads):
                assert_frame_equal(alone, rows_of(healthy(), table, only))


# --- on disk, a few ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The toy's facts, as Dagster computes them."""
    with opened(tmp_path_factory.mktemp("neighbours") / "home", CATALOG) as platform:
        toy.write_extracts(platform.launcher.home.extracts, SHAPE)
        platform.run(FACTS, DAYS.start, DAYS.last)
        yield platform


def unchanged(before: Contents, after: Contents, apart_from: set[date]) -> None:
    """Fails at the first table and day whose content is another, on whatever days there are but the given ones."""
    for table in FACTS:
        for day in sorted((before[table].keys() | after[table].keys()) - apart_from):
            assert after[table].get(day) == before[table].get(day), (table, day)


def written_or_passed_over(rows: pl.DataFrame, extract: Path) -> None:
    """Puts the rows in place of the extract; an example whose rows no Parquet file can hold is none."""
    try:
        rows.write_parquet(extract)
    except (PolarsError, PanicException):
        reject()


@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(source=sources, chosen=damages())
def test_a_run_of_the_bad_day_changes_no_row_of_another_and_a_refused_day_no_row_at_all(
    filled: Platform, source: str, chosen: list[tuple]
) -> None:
    damaged = with_damage(source, chosen)
    assume(not damaged.equals(toy.extracts(SHAPE)[source][BAD]))
    extract = filled.extract(source, BAD)
    good, before = extract.read_bytes(), filled.contents(FACTS)
    try:
        written_or_passed_over(damaged, extract)
        filled.run(FACTS, BAD)
        after = filled.contents(FACTS)
        unchanged(before, after, {BAD})
        if filled.lake.refused(f"events/{source}", BAD, BAD + ONE_DAY):
            assert after == before
        filled.run(FACTS, AROUND.start, AROUND.last)
        unchanged(before, filled.contents(FACTS), set(AROUND) - {AROUND.start})
        together = filled.on_record(FACTS)
        filled.run(FACTS, BAD + ONE_DAY, anew=True)
        assert filled.on_record(FACTS) == together
    finally:
        extract.write_bytes(good)
        filled.run(FACTS, BAD, DAYS.last)
    assert filled.contents(FACTS) == before
