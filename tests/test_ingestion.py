"""Ingestion: whatever one day's extract holds, no other day is touched, and every row of it is accounted for."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import flights_archive
import pandera.polars as pa
import polars as pl
import pytest
from damages import Damage, damaged_by, damages, doubled, setting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.catalog import build_catalog
from ml_assets.catalog.sources.flights import at_local_time
from ml_assets.domain.errors import CatalogError, SourceError
from ml_assets.domain.ingestion import Ingested, as_json, delivered_types, ingest
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Instant, SourceSpec
from resources.extracts import Extracts

CATALOG = flights_archive.catalog()
FLIGHTS, WEATHER = CATALOG.sources["flights"], CATALOG.sources["weather"]
SOURCES = [FLIGHTS, WEATHER]
BAD = date(2013, 6, 12)
DAYS = [BAD + timedelta(days=offset) for offset in (-1, 0, 1)]
NOTHING: dict[date, str] = {}


def delivered(source: SourceSpec) -> dict[date, pl.DataFrame]:
    """Three days' extracts as they came."""
    return {day: flights_archive.extracts()[source.name].rows[day] for day in DAYS}


def of_day(ingested: Ingested, day: date) -> tuple[list, list, object]:
    """All that a day came to."""
    return (
        ingested.rows.filter(pl.col(DAY) == day).rows(),
        ingested.quarantined.filter(pl.col(DAY) == day).rows(),
        ingested.verdicts[day],
    )


def with_day(source: SourceSpec, frame: pl.DataFrame) -> Ingested:
    """The three days with another extract for the middle one, after what must hold whatever that is."""
    extracts = {**delivered(source), BAD: frame}
    together, healthy = ingest(source, extracts, NOTHING), ingest(source, delivered(source), NOTHING)
    for day in DAYS:
        assert of_day(together, day) == of_day(ingest(source, {day: extracts[day]}, NOTHING), day), day
        if day != BAD:
            assert of_day(together, day) == of_day(healthy, day), day
    assert together.rows.schema == healthy.rows.schema
    assert together.quarantined.schema == healthy.quarantined.schema
    rows, quarantined, verdict = of_day(together, BAD)
    assert len(rows) + len(quarantined) + verdict.measured.get("exact_duplicates", 0) == frame.height
    assert not rows or verdict.passed
    for *_, reasons, payload in quarantined:
        assert reasons
        json.loads(payload)
    return together


def test_the_healthy_days_lose_nothing():
    for source in SOURCES:
        healthy = ingest(source, delivered(source), NOTHING)
        assert healthy.quarantined.is_empty()
        assert all(verdict.passed and not verdict.notes for verdict in healthy.verdicts.values())
        assert healthy.rows.height == sum(extract.height for extract in delivered(source).values())


# --- one day's extract is not what it should be ----------------------------------------------------------


def changing(**columns: pl.Expr) -> Damage:
    return lambda rows: rows.with_columns(**columns)


def yesterdays(source: SourceSpec) -> pl.DataFrame:
    return delivered(source)[BAD - timedelta(days=1)]


def shifted(hours: int) -> Damage:
    at = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ") + pl.duration(hours=hours)
    return changing(time_hour=at.dt.to_string("%Y-%m-%dT%H:%M:%SZ"))


NO_ZONE = "its day in America/New_York is unknown"
RED: dict[str, tuple[SourceSpec, Damage, str]] = {
    "a column is gone": (FLIGHTS, lambda rows: rows.drop("sched_dep_time"), "without sched_dep_time"),
    "columns are gone": (WEATHER, lambda rows: rows.drop("temp", "humid"), "without temp, humid"),
    "a column has another name": (FLIGHTS, lambda rows: rows.rename({"dest": "to"}), "without dest"),
    "numbers as text": (FLIGHTS, changing(distance=pl.col("distance").cast(pl.String)), "distance: String came"),
    "text as numbers": (FLIGHTS, changing(dest=pl.lit(7)), "dest: Int32 came, wanted String"),
    "the day as text": (WEATHER, changing(partition_date=pl.col(DAY).cast(pl.String)), "partition_date: String came"),
    "the day as an instant": (
        WEATHER,
        changing(partition_date=pl.col(DAY).cast(pl.Datetime)),
        "partition_date: Datetime",
    ),
    "no day": (WEATHER, lambda rows: rows.drop(DAY), "without partition_date"),
    "the day is null": (WEATHER, setting(DAY, None), "it holds rows of no day"),
    "one row has no day": (WEATHER, setting(DAY, None, 0.02), "it holds rows of no day"),
    "a day beyond the calendar": (FLIGHTS, setting(DAY, 2**30, 0.1, pl.Int32), "partition_date"),
    "no rows": (FLIGHTS, lambda rows: rows.clear(), "0 rows came, wanted at least 300"),
    "no columns": (FLIGHTS, lambda _: pl.DataFrame(), "without partition_date, carrier"),
    "no columns are right": (WEATHER, lambda _: pl.DataFrame({"a": [1]}), "without partition_date, origin"),
    "few rows": (FLIGHTS, lambda rows: rows.head(200), "200 rows came"),
    "yesterday's flights": (FLIGHTS, lambda _: yesterdays(FLIGHTS), "it holds rows of 2013-06-11"),
    "yesterday's rows among them": (
        FLIGHTS,
        lambda rows: pl.concat([rows, yesterdays(FLIGHTS).head(1)]),
        "it holds rows of 2013-06-11",
    ),
    "yesterday's weather, re-dated": (
        WEATHER,
        lambda _: yesterdays(WEATHER).with_columns(partition_date=pl.lit(BAD)),
        "100.0%",
    ),
    "weather an hour late": (WEATHER, shifted(1), "3 of 72 rows break the contract"),
    "weather in local time": (WEATHER, shifted(-4), "rows break the contract"),
    "weather a day late": (WEATHER, shifted(24), "72 of 72 rows break the contract"),
    "weather at no time": (WEATHER, setting("time_hour", "soon"), "72 of 72 rows break the contract"),
    "infinite temperatures": (WEATHER, setting("temp", float("inf"), 0.5), "36 of 72 rows break the contract"),
    "no temperature is a number": (WEATHER, setting("temp", float("nan")), "temp is 100.0% null"),
    "empty tail numbers": (FLIGHTS, setting("tailnum", ""), "tailnum is 100.0% null, wanted at most 50.0%"),
    "empty airports": (FLIGHTS, setting("origin", ""), "rows break the contract (100.0%)"),
    "clocks of no clock": (FLIGHTS, setting("sched_dep_time", 2460, 0.1), "rows break the contract (10.0%)"),
    "clocks beyond the day": (FLIGHTS, setting("sched_arr_time", 2401, 0.1), "rows break the contract (10.0%)"),
    "clocks before the day": (FLIGHTS, setting("sched_dep_time", -1, 0.1), "rows break the contract (10.0%)"),
    "clocks of 2^62": (FLIGHTS, setting("sched_dep_time", 2**62, 0.1), "rows break the contract (10.0%)"),
    "clocks of -2^62": (FLIGHTS, setting("sched_arr_time", -(2**62), 0.1), "rows break the contract (10.0%)"),
    "delays of 2^62": (FLIGHTS, setting("dep_delay", 2**62, 0.1), "rows break the contract (10.0%)"),
    "delays of -2^63": (FLIGHTS, setting("arr_delay", -(2**63), 0.1), "rows break the contract (10.0%)"),
    "circles": (FLIGHTS, changing(dest=pl.col("origin")), "rows break the contract (100.0%)"),
    "no such zone": (FLIGHTS, setting("dest_zone", "Mars/Olympus"), "rows break the contract (100.0%)"),
    "contradictions": (
        FLIGHTS,
        lambda rows: pl.concat([rows, rows.head(100).with_columns(pl.col("distance") + 1)]),
        "200 of 1083 rows break the contract",
    ),
    "halves": (WEATHER, changing(wind_dir=pl.col("wind_dir") + 0.5), "rows break the contract"),
}
GREEN: dict[str, tuple[SourceSpec, Damage]] = {
    "shuffled": (FLIGHTS, lambda rows: rows.sample(fraction=1, shuffle=True, seed=3)),
    "other columns too": (FLIGHTS, changing(note=pl.lit("x"), payload=pl.lit(None), reasons=pl.lit(1))),
    "columns in another order": (WEATHER, lambda rows: rows.select(reversed(rows.columns))),
    "whole numbers as floats": (FLIGHTS, lambda rows: rows.with_columns(pl.selectors.integer().cast(pl.Float64))),
    "narrow numbers": (FLIGHTS, lambda rows: rows.with_columns(pl.selectors.integer().cast(pl.Int32))),
    "categories": (FLIGHTS, lambda rows: rows.with_columns(pl.selectors.string().cast(pl.Categorical))),
    "an empty column of no type": (WEATHER, changing(wind_gust=pl.lit(None))),
    "empty text for no tail number": (FLIGHTS, changing(tailnum=pl.col("tailnum").fill_null(""))),
    "not a number for no delay": (
        FLIGHTS,
        changing(dep_delay=pl.col("dep_delay").cast(pl.Float64).fill_null(float("nan"))),
    ),
    "doubled": (FLIGHTS, doubled()),
    "a few doubled": (WEATHER, doubled(0.1)),
}


@pytest.mark.parametrize(("source", "damage", "reason"), RED.values(), ids=list(RED))
def test_a_bad_extract_refuses_its_day_and_no_other(source: SourceSpec, damage: Damage, reason: str) -> None:
    ingested = with_day(source, damage(delivered(source)[BAD]))
    assert not ingested.verdicts[BAD].passed
    assert reason in "; ".join(ingested.verdicts[BAD].reasons)
    assert BAD not in ingested.rows[DAY]


@pytest.mark.parametrize(("source", "damage"), GREEN.values(), ids=list(GREEN))
def test_an_extract_that_says_the_same_otherwise_gives_the_same_events(source: SourceSpec, damage: Damage) -> None:
    came = delivered(source)
    frame = damage(came[BAD])
    if frame.width == came[BAD].width and "wind_gust" in frame.columns and frame.schema["wind_gust"] == pl.Null:
        came[BAD] = came[BAD].with_columns(wind_gust=pl.lit(None, pl.Float64))
    ingested = with_day(source, frame)
    assert_frame_equal(ingested.rows, ingest(source, came, NOTHING).rows)
    assert ingested.quarantined.is_empty()


def test_exact_doubles_are_kept_once_and_counted():
    verdict = with_day(FLIGHTS, doubled(9 / 983)(delivered(FLIGHTS)[BAD])).verdicts[BAD]
    assert verdict.passed
    assert (verdict.measured["rows"], verdict.measured["exact_duplicates"]) == (983, 9)
    assert verdict.notes == ("9 rows came that were there already, equal in every column; one of each was kept",)


def test_bad_rows_that_are_doubled_are_counted_once():
    spoilt = setting("distance", -5, 0.01)(delivered(FLIGHTS)[BAD])
    verdict = with_day(FLIGHTS, pl.concat([spoilt, spoilt])).verdicts[BAD]
    assert (verdict.measured["bad_rows"], verdict.measured["exact_duplicates"]) == (10, 983)
    assert verdict.passed


def test_bad_rows_that_differ_only_in_what_was_made_null_are_all_kept():
    rows = delivered(FLIGHTS)[BAD].with_row_index("at")
    first = rows.filter(at=0)
    several = [first.with_columns(sched_dep_time=pl.lit(clock, pl.Int64)) for clock in (2500, 2600, 2600)]
    ingested = with_day(FLIGHTS, pl.concat([rows.filter(pl.col("at") > 0), *several]).drop("at"))
    held = [json.loads(payload)["sched_dep_time"] for payload in ingested.quarantined["payload"]]
    assert held == [2500, 2600]
    assert ingested.verdicts[BAD].measured["exact_duplicates"] == 1


def test_a_row_that_contradicts_another_refuses_both_although_one_of_them_is_bad_anyway():
    rows = delivered(FLIGHTS)[BAD]
    ingested = with_day(FLIGHTS, pl.concat([rows, rows.head(1).with_columns(distance=pl.lit(-5, pl.Int64))]))
    key = "|".join(str(value) for value in (BAD, *rows.select("carrier", "flight", "origin").row(0)))
    wanted = f"{key} came more than once with different contents, wanted each row_key once a day"
    assert ingested.verdicts[BAD].passed
    assert ingested.quarantined["reasons"].to_list() == [
        [wanted],
        [wanted, "distance: -5 came, wanted greater_than_or_equal_to(10)"],
    ]


def test_events_of_the_next_day_are_bad_rows():
    """Flights moved on by five hours: those past midnight belong to another day."""
    moved = with_day(FLIGHTS, changing(sched_dep_time=pl.col("sched_dep_time") + 500)(delivered(FLIGHTS)[BAD]))
    assert not moved.verdicts[BAD].passed
    late = [json.loads(payload)["sched_dep_time"] for payload in moved.quarantined["payload"]]
    assert sum(clock > 2400 for clock in late) > 100
    for reasons, payload in moved.quarantined.select("reasons", "payload").iter_rows():
        if json.loads(payload)["sched_dep_time"] > 2400:
            assert any(NO_ZONE in reason for reason in reasons)


def test_a_reason_names_the_value_and_the_day():
    ingested = with_day(WEATHER, shifted(1)(delivered(WEATHER)[BAD]))
    strays = ingested.quarantined.filter(pl.col("payload").str.contains("2013-06-13T04"))
    assert (
        strays["reasons"].to_list()
        == [["event_time: its day in America/New_York is 2013-06-13, wanted 2013-06-12"]] * 3
    )
    halves = with_day(WEATHER, changing(wind_dir=pl.lit(10.5))(delivered(WEATHER)[BAD])).quarantined
    assert halves["reasons"].to_list()[0] == ["wind_dir: 10.5 came, wanted Int64"]
    infinite = with_day(WEATHER, setting("temp", float("-inf"), 0.014)(delivered(WEATHER)[BAD]))
    assert infinite.quarantined["reasons"].to_list() == [["temp: -inf came, wanted a finite number"]]
    assert infinite.verdicts[BAD].passed


def test_an_unreadable_day_has_its_reason():
    ingested = ingest(WEATHER, {}, {BAD: "it burnt"})
    assert ingested.verdicts[BAD].reasons == ("it burnt",)
    assert ingested.rows.is_empty()
    assert ingested.rows.schema == ingest(WEATHER, delivered(WEATHER), NOTHING).rows.schema


# --- anything at all -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SOURCES), damages())
def test_whatever_one_extract_holds_no_other_day_changes(source: SourceSpec, chosen: list[tuple]) -> None:
    came = delivered(source)
    with_day(source, damaged_by(chosen, came[BAD], yesterdays(source), BAD))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SOURCES), st.lists(damages(), min_size=3, max_size=3))
def test_a_range_comes_to_what_its_days_come_to_however_many_are_bad(
    source: SourceSpec, chosen: list[list[tuple]]
) -> None:
    extracts = delivered(source)
    for day, several in zip(DAYS, chosen, strict=True):
        extracts[day] = damaged_by(several, extracts[day], yesterdays(source), BAD)
    together = ingest(source, extracts, NOTHING)
    for day in DAYS:
        assert of_day(together, day) == of_day(ingest(source, {day: extracts[day]}, NOTHING), day), day


# --- files -----------------------------------------------------------------------------------------------


@pytest.fixture
def landed(tmp_path: Path) -> Extracts:
    for source in SOURCES:
        (tmp_path / source.name).mkdir()
        for day, rows in delivered(source).items():
            rows.write_parquet(tmp_path / source.name / f"{day}.parquet")
    return Extracts(tmp_path)


def read(extracts: Extracts, source: SourceSpec) -> Ingested:
    came = extracts.read(source, DAYS)
    return ingest(source, came.rows, came.unreadable)


def damaged(content: bytes, seed: int) -> bytes:
    draw, broken = random.Random(seed), bytearray(content)
    at = draw.randrange(len(broken))
    kind = seed % 5
    if kind == 0:
        broken[at] ^= draw.randrange(1, 256)
    elif kind == 1:
        broken[len(broken) - 1 - draw.randrange(2000)] ^= draw.randrange(1, 256)
    elif kind == 2:
        del broken[at : at + draw.randrange(1, 2000)]
    elif kind == 3:
        broken[at:at] = draw.randbytes(draw.randrange(1, 200))
    else:
        del broken[at:]
    return bytes(broken)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_damaged_files_cost_their_day_at_most(landed: Extracts, source: SourceSpec) -> None:
    """Over some of them Polars' reader panics, and over the 600th of weather it aborts the process."""
    path = landed.path(source.name, BAD)
    healthy, good = read(landed, source), path.read_bytes()
    refused = readable = 0
    for seed in range(1_000):
        path.write_bytes(damaged(good, seed))
        alone = landed.read(source, [BAD])
        refused += BAD in alone.unreadable
        if alone.rows and (readable := readable + 1) % 5 == 0:
            in_range, by_itself = read(landed, source), ingest(source, alone.rows, NOTHING)
            assert of_day(in_range, BAD) == of_day(by_itself, BAD), seed
            for day in set(DAYS) - {BAD}:
                assert of_day(in_range, day) == of_day(healthy, day), (seed, day)
    assert refused > 600
    assert readable > 50


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_folder_of_files(path: Path) -> None:
    content = path.read_bytes()
    a_folder(path)
    (path / "part.parquet").write_bytes(content)


def a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone.parquet"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "no extract at"),
        (a_link_to_nothing, "no extract at"),
        (a_folder, "is no file"),
        (a_folder_of_files, "is no file"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_text("a,b\n1,2\n"), "cannot be read"),
    ],
)
def test_what_is_no_parquet_file_is_told_so(landed: Extracts, damage: Callable[[Path], None], reason: str) -> None:
    healthy = read(landed, WEATHER)
    damage(landed.path("weather", BAD))
    came = read(landed, WEATHER)
    (told,) = came.verdicts[BAD].reasons
    assert reason in told
    assert str(landed.path("weather", BAD)) in told
    assert_frame_equal(came.rows, healthy.rows.filter(pl.col(DAY) != BAD))


def test_an_extract_that_may_not_be_read_is_told_so(landed: Extracts) -> None:
    """Read by another user where the tests run as root, who may read everything."""
    open_to_all = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(landed.root, open_to_all, dirs_exist_ok=True)
        open_to_all.chmod(0o755)
        _assert_one_day_is_denied(Extracts(open_to_all))
    finally:
        shutil.rmtree(open_to_all)


def _assert_one_day_is_denied(landed: Extracts) -> None:
    path = landed.path("weather", BAD)
    path.chmod(0)
    code = (
        "import os, sys, datetime, pathlib;"
        "from resources.extracts import Extracts;"
        "from ml_assets.catalog.sources.weather import SOURCE;"
        "days = [datetime.date.fromisoformat(day) for day in sys.argv[2:]];"
        "extracts = Extracts(pathlib.Path(sys.argv[1]));"
        # Once before, so that nothing has to be imported by a user who may not read it.
        "extracts.read(SOURCE, days);"
        "os.geteuid() or os.seteuid(65534);"
        "print(extracts.read(SOURCE, days).unreadable)"
    )
    if os.geteuid() == 0:
        for folder in [landed.root, *landed.root.parents]:
            if not folder.stat().st_mode & 0o001:
                pytest.skip(f"another user cannot come to {folder}")
    done_by_another = subprocess.run(
        [sys.executable, "-c", code, str(landed.root), *map(str, DAYS)], capture_output=True, text=True, check=True
    )
    assert f"the extract {path} cannot be read (" in done_by_another.stdout
    assert "ermission denied" in done_by_another.stdout
    assert done_by_another.stdout.count("cannot be read") == 1


# --- sources that do not keep the rules -----------------------------------------------------------------


class Reading(pa.DataFrameModel):
    """A row of a meter."""

    partition_date: date
    meter: str
    event_time: Instant
    value: float = pa.Field(nullable=True, ge=0)
    remark: str = pa.Field(nullable=True)


class Steady(Reading):
    """A contract that judges its rows together."""

    @pa.dataframe_check(name="steady")
    def steady(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805  pandera's protocol
        """The readings of a frame lie close together."""
        return data.lazyframe.select(pl.col("value").max() - pl.col("value").min() < 10)


class Narrow(Reading):
    """A contract that fails over large numbers."""

    @pa.dataframe_check(name="narrow")
    def narrow(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805  pandera's protocol
        """Readings fit eight bits."""
        return data.lazyframe.select(pl.col("value").cast(pl.Int8) >= 0)


def read_meters(extract: pl.LazyFrame) -> pl.LazyFrame:
    return extract.select(
        DAY, "meter", event_time=pl.col("at").dt.replace_time_zone("UTC"), value="value", remark="said"
    )


# Beyond the calendar its JSON is a panic.
as_date = pl.struct(pl.col("value").cast(pl.Int32).cast(pl.Date))

METERS = replace(
    WEATHER,
    name="meters",
    delivered={"meter": pl.String, "at": pl.Datetime("us"), "value": pl.Float64, "said": pl.String},
    parse=read_meters,
    contract=Reading,
    keys=("meter",),
    min_rows=1,
    max_null_share={},
)


def meters(day: date, values: list[float | None], said: str = "") -> pl.DataFrame:
    number = len(values)
    noon = datetime(day.year, day.month, day.day, 16)  # noqa: DTZ001  zoned by parse
    return pl.DataFrame(
        {DAY: [day] * number, "meter": [f"m{n}" for n in range(number)], "at": [noon] * number, "value": values},
        schema_overrides={"value": pl.Float64},
    ).with_columns(said=pl.lit(said))


def test_empty_text_is_null_unless_the_source_says_otherwise():
    rows = {BAD: meters(BAD, [1.0])}
    assert ingest(METERS, rows, NOTHING).rows["remark"].to_list() == [None]
    for kept in ("said", "remark"):
        both = replace(METERS, empty_text=("said", "remark"))
        assert ingest(both, rows, NOTHING).rows["remark"].to_list() == [""]
        assert ingest(replace(METERS, empty_text=(kept,)), rows, NOTHING).rows["remark"].to_list() == [None]
    assert ingest(METERS, {BAD: meters(BAD, [1.0], " ")}, NOTHING).rows["remark"].to_list() == [" "]


def test_a_contract_that_fails_over_one_day_refuses_that_day():
    """A check that raises can blame no row, so the days are judged one by one."""
    extracts = {day: meters(day, [1.0, 2.0]) for day in DAYS}
    extracts[BAD] = meters(BAD, [1.0, 999.0])
    ingested = ingest(replace(METERS, contract=Narrow), extracts, NOTHING)
    assert [verdict.passed for verdict in ingested.verdicts.values()] == [True, False, True]
    assert ingested.quarantined.height == 2
    assert of_day(ingested, DAYS[0]) == of_day(ingest(METERS, extracts, NOTHING), DAYS[0])


@pytest.mark.parametrize(
    ("parse", "reason"),
    [
        (
            lambda came: read_meters(came.with_columns(said=as_date.struct.json_encode())),
            "its rows cannot be judged (Polars panics over it)",
        ),
        (lambda came: read_meters(came.filter(pl.col("value") < 5)), "makes 1 events of 2 rows, wanted one of each"),
        (lambda came: read_meters(pl.concat([came, came.filter(pl.col("value") > 5)])), "makes 3 events of 2 rows"),
        (lambda came: read_meters(came.with_columns(pl.col("value").cast(pl.Int8))), "its rows cannot be judged"),
        (
            lambda came: read_meters(
                came.with_columns(pl.col("value").map_batches(lambda v: v if v.max() < 5 else 1 / 0, pl.Float64))
            ),
            "cann",
        ),
    ],
)
def test_a_parse_that_fails_over_one_day_refuses_that_day(parse: Callable, reason: str) -> None:
    extracts = {day: meters(day, [1.0, 2.0]) for day in DAYS}
    extracts[BAD] = meters(BAD, [1.0, 2.0**30])
    ingested = ingest(replace(METERS, parse=parse), extracts, NOTHING)
    assert [day for day, verdict in ingested.verdicts.items() if verdict.passed] == [DAYS[0], DAYS[2]]
    assert reason in ingested.verdicts[BAD].reasons[0]
    assert ingested.quarantined.height == 2
    assert set(ingested.rows[DAY]) == {DAYS[0], DAYS[2]}


def test_a_parse_that_mixes_days_up_is_refused():
    extracts = {day: meters(day, [1.0]) for day in DAYS}
    by_value = replace(METERS, parse=lambda came: read_meters(came.sort(DAY, descending=True)))
    assert_frame_equal(ingest(by_value, extracts, NOTHING).rows, ingest(METERS, extracts, NOTHING).rows)
    tomorrows = replace(METERS, parse=lambda came: read_meters(came.with_columns(pl.col(DAY).dt.offset_by("1d"))))
    reasons = [verdict.reasons[0] for verdict in ingest(tomorrows, extracts, NOTHING).verdicts.values()]
    assert all("parse changes partition_date" in reason for reason in reasons)
    assert len(reasons) == 3


class DoubledKeys(Reading):
    """A contract with a key of its own."""

    meter: str = pa.Field(unique=True)


class MaybeNever(Reading):
    """A contract that lets an event have no instant."""

    event_time: Instant = pa.Field(nullable=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contract": DoubledKeys}, "its contract wants meter unique over all days"),
        ({"contract": Steady}, "its contract judges rows together in steady"),
        ({"contract": MaybeNever}, "its contract lets event_time be null"),
        ({"keys": ("metre",)}, "contract Reading: unknown column 'metre'; known are .* Did you mean 'meter'"),
        (
            {"parse": lambda came: read_meters(came).drop("value")},
            "parse does not give what its contract names: without value",
        ),
        ({"parse": lambda came: came}, "without event_time, remark"),
    ],
)
def test_a_source_that_could_not_be_ingested_is_refused_when_the_catalogue_loads(
    changes: Mapping, message: str
) -> None:
    build_catalog([("meters.py", METERS)], [], [], [])
    with pytest.raises(CatalogError, match=message):
        build_catalog([("meters.py", replace(METERS, **changes))], [], [], [])


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_shipped_parses_make_each_event_of_its_row_alone(source: SourceSpec) -> None:
    rows = pl.concat(delivered(source).values()).select(*delivered_types(source))
    chosen = rows.with_row_index("at").sample(200, shuffle=True, seed=5)
    whole = source.parse(rows.lazy()).collect()
    assert_frame_equal(source.parse(chosen.drop("at").lazy()).collect(), whole[chosen["at"]])


# --- clocks and payloads ---------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.integers(-10, 2500), st.integers(-(2**63), 2**63 - 1)), st.sampled_from([BAD, date(2013, 3, 10)]))
def test_a_clock_reading_is_an_instant_only_if_a_clock_can_show_it(hhmm: int, day: date) -> None:
    row = pl.DataFrame({"day": [day], "hhmm": [hhmm]}, schema={"day": pl.Date, "hhmm": pl.Int64})
    read_as = row.select(at_local_time(pl.col("day"), pl.col("hhmm"), "America/New_York")).item()
    left_out = day == date(2013, 3, 10) and 200 <= hhmm < 300
    if 0 <= hhmm <= 2400 and hhmm % 100 < 60 and not left_out:
        midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("America/New_York"))
        assert read_as == midnight + timedelta(hours=hhmm // 100, minutes=hhmm % 100)
    else:
        assert read_as is None


def test_a_payload_is_json_whatever_the_types():
    frame = pl.DataFrame(
        {
            'quo"te\n': ['a"\\\x00', None],
            "bytes": [b"\xff\x00", None],
            "nested bytes": [{"a": [b"\xff"]}, None],
            "float": [float("nan"), float("inf")],
            "time": [time(1, 2), None],
            "duration": [timedelta(1), None],
            "decimal": [Decimal("1.10"), None],
            "instants": pl.Series([2**62, 0]).cast(pl.Datetime("ms")),
            "days": pl.Series([2**30, 0], dtype=pl.Int32).cast(pl.Date),
            "wide": pl.Series([2**100, None], dtype=pl.Int128),
            "category": pl.Series(["a", None], dtype=pl.Categorical),
            "nothing": [None, None],
        }
    )
    first, second = (json.loads(payload) for payload in as_json(frame))
    assert first['quo"te\n'] == 'a"\\\x00'
    assert first["bytes"] == "/wA="
    assert "Struct" in first["nested bytes"]
    assert (first["instants"], first["days"], first["wide"]) == (2**62, 2**30, 2**100)
    assert second.keys() == first.keys()
    assert as_json(pl.DataFrame()).to_list() == []


def test_the_folder_of_a_source_that_cannot_be_looked_at_is_a_source_error(tmp_path: Path) -> None:
    shutil.copytree(tmp_path, tmp_path / "x", dirs_exist_ok=True)
    with pytest.raises(SourceError, match="cannot be looked at"):
        Extracts(tmp_path / ("n" * 300)).read(WEATHER, DAYS)
