"""Content hashes: the same rows give the same hash in any order and process, any change gives another."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.catalog import load_catalog
from ml_assets.catalog.models.disruption import MODEL
from ml_assets.domain.code import code_fingerprint
from ml_assets.domain.content import content_hashes, fingerprint, seed_of
from ml_assets.domain.feature_version import feature_version
from ml_assets.domain.local_days import DAY

MONDAY, TUESDAY = date(2013, 4, 1), date(2013, 4, 2)
NOON = datetime(2013, 4, 1, 12, tzinfo=UTC)


def frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            DAY: [MONDAY, MONDAY, MONDAY, TUESDAY, TUESDAY],
            "plane": ["N1", "N2", None, "N1", "N1"],
            "delay": [1, None, 3, 4, 4],
            "wind": [0.5, None, math.nan, 2.5, 2.5],
            "known_at": [NOON + timedelta(minutes=minute) for minute in range(5)],
        },
        schema_overrides={"known_at": pl.Datetime("us", "UTC")},
    )


records = st.lists(
    st.tuples(
        st.sampled_from([MONDAY, TUESDAY]),
        st.one_of(st.none(), st.sampled_from(["", "a", "b"])),
        st.one_of(st.none(), st.integers(-3, 3)),
    ),
    max_size=8,
)


def of_records(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={DAY: pl.Date, "plane": pl.String, "delay": pl.Int64}, orient="row")


@settings(max_examples=150, deadline=None)
@given(one=records, other=records)
def test_days_hash_alike_exactly_when_they_hold_the_same_rows(one, other):
    hashes = [content_hashes(of_records(rows)) for rows in (one, other)]
    for day in (MONDAY, TUESDAY):
        of_day = [sorted((row for row in rows if row[0] == day), key=repr) for rows in (one, other)]
        assert (hashes[0].get(day) == hashes[1].get(day)) == (of_day[0] == of_day[1])
        assert (day in hashes[0]) == bool(of_day[0])


def test_neither_the_order_of_rows_nor_of_columns_counts():
    assert content_hashes(frame().sample(fraction=1.0, shuffle=True, seed=3)) == content_hashes(frame())
    assert content_hashes(frame().select(frame().columns[::-1])) == content_hashes(frame())
    chunked = pl.concat([frame()[:1], frame()[1:4], frame()[4:]], rechunk=False)
    assert content_hashes(chunked) == content_hashes(frame())


def changed(column: str, place: int, value: object) -> pl.DataFrame:
    rows = frame().to_dicts()
    rows[place][column] = value
    return pl.DataFrame(rows, schema=frame().schema)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("plane", "N3"),
        ("plane", None),
        ("plane", ""),
        ("delay", 0),
        ("delay", None),
        ("wind", 0.0),
        ("wind", None),
        ("wind", math.nan),
        ("wind", 0.5000000000000001),
        ("known_at", NOON + timedelta(microseconds=1)),
        ("known_at", None),
    ],
)
def test_one_changed_value_changes_its_days_hash_and_no_other(column, value):
    before, after = content_hashes(frame()), content_hashes(changed(column, 0, value))
    assert after[MONDAY] != before[MONDAY]
    assert after[TUESDAY] == before[TUESDAY]


def test_a_null_filled_in_changes_the_hash():
    assert content_hashes(changed("delay", 1, 0))[MONDAY] != content_hashes(frame())[MONDAY]


def test_values_that_swap_rows_or_columns_change_the_hash():
    swapped = frame().with_columns(plane=pl.Series(["N2", "N1", None, "N1", "N1"]))
    assert content_hashes(swapped)[MONDAY] != content_hashes(frame())[MONDAY]
    two = pl.DataFrame({DAY: [MONDAY], "a": [1], "b": [2]})
    assert content_hashes(two) != content_hashes(two.select(DAY, a="b", b="a"))


def test_a_row_fewer_a_row_doubled_and_a_row_moved_change_the_hash():
    rows = frame()
    assert content_hashes(rows[1:])[MONDAY] != content_hashes(rows)[MONDAY]
    assert content_hashes(pl.concat([rows, rows[:1]]))[MONDAY] != content_hashes(rows)[MONDAY]
    assert content_hashes(pl.concat([rows, rows[:1], rows[:1]]))[MONDAY] != content_hashes(rows)[MONDAY]
    moved = content_hashes(changed(DAY, 0, TUESDAY))
    assert moved[MONDAY] != content_hashes(rows)[MONDAY]
    assert moved[TUESDAY] != content_hashes(rows)[TUESDAY]


def test_the_same_rows_on_another_day_hash_differently():
    one, other = (pl.DataFrame({DAY: [day], "a": [1]}) for day in (MONDAY, TUESDAY))
    assert content_hashes(one)[MONDAY] != content_hashes(other)[TUESDAY]


@pytest.mark.parametrize("dtype", [pl.Int32, pl.Float64, pl.UInt64, pl.String])
def test_another_type_changes_the_hash(dtype):
    retyped = frame().with_columns(pl.col("delay").cast(dtype))
    assert content_hashes(retyped)[TUESDAY] != content_hashes(frame())[TUESDAY]


def test_a_renamed_and_a_new_column_change_the_hash():
    assert content_hashes(frame().rename({"wind": "gust"}))[MONDAY] != content_hashes(frame())[MONDAY]
    assert content_hashes(frame().with_columns(new=pl.lit(None)))[MONDAY] != content_hashes(frame())[MONDAY]


def test_columns_left_out_do_not_count():
    other = frame().with_columns(known_at=pl.lit(NOON))
    assert content_hashes(other, leave_out={"known_at"}) == content_hashes(frame(), leave_out={"known_at"})
    assert content_hashes(frame(), leave_out={"known_at"}) == content_hashes(frame().drop("known_at"))


def test_no_rows_have_no_hashes():
    assert content_hashes(frame().clear()) == {}


def told() -> dict:
    catalog = load_catalog()
    return {
        "hashes": {str(day): told_hash for day, told_hash in content_hashes(frame()).items()},
        "seed": seed_of("disruption", "2013-02-01"),
        "fingerprint": fingerprint("a", {"b": 1, "a": 2}, MONDAY, timedelta(hours=2), MODEL.gate),
        "features": feature_version(MODEL, catalog),
        "code": {name: code_fingerprint(group.compute) for name, group in catalog.features.items()},
    }


def test_another_process_with_another_hash_seed_says_the_same():
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONHASHSEED": "99", "PYTHONPATH": path, "POLARS_MAX_THREADS": "1"}
    code = "import json, test_content; print(json.dumps(test_content.told()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == told()


def test_a_seed_depends_on_its_names_only_and_fits_31_bits():
    assert seed_of("disruption", "2013-02-01") == 1637892456
    seeds = {seed_of("disruption", str(MONDAY + timedelta(days=day))) for day in range(2000)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of("a", "b") != seed_of("b", "a")


@settings(max_examples=100, deadline=None)
@given(
    one=st.lists(st.one_of(st.integers(), st.text(max_size=4), st.none(), st.booleans()), max_size=4),
    place=st.integers(0, 9),
)
def test_a_fingerprint_changes_with_any_part(one, place):
    assert fingerprint(*one) == fingerprint(*one)
    assert len(fingerprint(*one)) == 12
    assert fingerprint(*one) != fingerprint(*one, None)
    if one:
        other = list(one)
        other[place % len(one)] = "something else entirely"
        assert fingerprint(*other) != fingerprint(*one)


def test_the_order_of_a_mappings_keys_does_not_change_a_fingerprint():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_code_is_told_apart_by_its_file():
    catalog = load_catalog()
    of = {name: code_fingerprint(group.compute) for name, group in catalog.features.items()}
    assert of["carrier_delays"] == of["route_delays"]
    assert len({of["carrier_delays"], of["weather"], of["schedule"], of["inbound_aircraft"]}) == 4


def test_a_changed_declaration_changes_the_feature_version():
    catalog = load_catalog()
    same = feature_version(replace(MODEL, train_days=99), catalog)
    assert same == feature_version(MODEL, catalog)
    assert feature_version(replace(MODEL, prediction_lead=timedelta(hours=3)), catalog) != same
    groups = {**catalog.features, "weather": replace(catalog.features["weather"], max_age=timedelta(hours=5))}
    assert feature_version(MODEL, replace(catalog, features=groups)) != same
