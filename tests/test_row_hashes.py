"""Row hashes against a slow twin in plain Python, which states what every type's words are."""

import math
import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b, sha256

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.domain.content import content_hashes
from ml_assets.domain.errors import ContentError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.row_hashes import row_hashes

ALL = 2**64 - 1


def spread(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & ALL
    return word ^ (word >> 31)


def drawn(column: str, place: object) -> tuple[int, ...]:
    return struct.unpack("<4Q", sha256(f"{column}|{place}".encode()).digest())


def words_of(value: object) -> list[int]:
    """The words of a value, in order; `None` for a null is the caller's."""
    if isinstance(value, bool | int):
        return [int(value) & ALL]
    if isinstance(value, float):
        plain = math.nan if math.isnan(value) else value + 0.0
        return [struct.unpack("<Q", struct.pack("<d", plain))[0]]
    if isinstance(value, datetime):
        return [(value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) & ALL]
    if isinstance(value, date):
        return [(value - date(1970, 1, 1)).days & ALL]
    if isinstance(value, timedelta):
        return [value // timedelta(microseconds=1) & ALL]
    if isinstance(value, time):
        return [((value.hour * 60 + value.minute) * 60 + value.second) * 10**9 + value.microsecond * 1000]
    if isinstance(value, Decimal):
        return words_of(str(value))
    if isinstance(value, str | bytes):
        held = value.encode() if isinstance(value, str) else value
        head = struct.unpack("<Q", struct.pack("<I", len(held)) + held[:4].ljust(4, b"\0"))[0]
        rest = held[4:] if len(held) <= 64 else blake2b(held, digest_size=16).digest()
        count = max(1, -(-len(rest) // 8))
        return [head, *struct.unpack(f"<{count}Q", rest.ljust(8 * count, b"\0"))]
    if isinstance(value, list):
        sums = [0, 0]
        for place, element in enumerate(value):
            for at, each in enumerate(hash_of({"": element})):
                sums[at] = (sums[at] + spread((each + place * 0x9E3779B97F4A7C15) & ALL)) & ALL
        return [len(value), *sums]
    if isinstance(value, dict):
        return list(hash_of(value))
    raise TypeError(type(value))


def hash_of(row: dict[str, object]) -> tuple[int, int]:
    """The two hashes of a row, slowly."""
    sums = [0, 0]
    for column, value in row.items():
        if value is None:
            sums = [(total + null) & ALL for total, null in zip(sums, drawn(column, "null"), strict=False)]
            continue
        for place, word in enumerate(words_of(value)):
            low, high, keys = word & (2**32 - 1), word >> 32, drawn(column, place)
            for at in (0, 1):
                sums[at] = (sums[at] + (low + keys[2 * at]) * (high + keys[2 * at + 1])) & ALL
    first, second = sums
    return spread(first ^ (second >> 32)), spread(second ^ (first >> 32))


def by_twin(frame: pl.DataFrame) -> list[tuple[int, int]]:
    return [hash_of(row) for row in frame.iter_rows(named=True)]


def by_ours(frame: pl.DataFrame) -> list[tuple[int, int]]:
    return list(zip(*(each.tolist() for each in row_hashes(frame)), strict=True))


SHAPES = {
    "truth": (pl.Boolean, st.booleans()),
    "small": (pl.Int8, st.integers(-128, 127)),
    "whole": (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    "large": (pl.UInt64, st.integers(0, 2**64 - 1)),
    "single": (pl.Float32, st.floats(width=32)),
    "double": (pl.Float64, st.floats()),
    "word": (pl.String, st.text(max_size=6)),
    "text": (pl.String, st.text(max_size=90)),
    "bytes": (pl.Binary, st.binary(max_size=90)),
    "day": (pl.Date, st.dates()),
    "instant": (pl.Datetime("us", "UTC"), st.datetimes().map(lambda at: at.replace(tzinfo=UTC))),
    "lasts": (pl.Duration("us"), st.timedeltas(timedelta(days=-999), timedelta(days=999))),
    "clock": (pl.Time, st.times()),
    "list": (pl.List(pl.String), st.lists(st.one_of(st.none(), st.text(max_size=15)), max_size=4)),
    "array": (pl.Array(pl.Int32, 2), st.lists(st.integers(-9, 9), min_size=2, max_size=2)),
    "struct": (
        pl.Struct({"a": pl.Int64, "b": pl.String}),
        st.fixed_dictionaries({"a": st.one_of(st.none(), st.integers(-9, 9)), "b": st.text(max_size=15)}),
    ),
    "money": (pl.Decimal(12, 2), st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents).scaleb(-2))),
    "nothing": (pl.Null, st.none()),
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    names = draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=4, unique=True))
    height = draw(st.integers(0, 6))
    columns = {
        name: draw(st.lists(st.one_of(st.none(), SHAPES[name][1]), min_size=height, max_size=height)) for name in names
    }
    return pl.DataFrame(columns, schema={name: SHAPES[name][0] for name in names})


@settings(max_examples=300, deadline=None)
@given(frame=frames())
def test_every_type_hashes_like_the_slow_twin(frame):
    assert by_ours(frame) == by_twin(frame)


@settings(max_examples=60, deadline=None)
@given(frame=frames(), cut=st.integers(0, 6))
def test_neither_chunks_nor_slices_nor_the_company_of_other_rows_count(frame, cut):
    chunked = pl.concat([frame[:cut], frame[cut:]], rechunk=False)
    assert by_ours(chunked) == by_ours(frame)
    assert by_ours(frame[:cut]) + by_ours(frame[cut:]) == by_ours(frame)


def test_blocks_and_threads_change_nothing():
    chance = np.random.default_rng(7)
    rows = 40_000
    frame = pl.DataFrame(
        {
            "word": pl.Series(chance.integers(0, 99, rows)).cast(pl.String),
            "text": pl.int_range(rows, eager=True).cast(pl.String) + "-a longer text",
            "long": pl.Series(["x" * int(length) for length in chance.integers(0, 80, rows)]),
            "value": chance.normal(size=rows),
            "null": pl.Series([None, 1] * (rows // 2)),
        }
    )
    ours = by_ours(frame)
    sampled = sorted(chance.integers(0, rows, 300).tolist())
    assert [ours[at] for at in sampled] == by_twin(frame[sampled])
    assert len(set(ours)) == rows


def test_zero_has_no_sign_and_nan_is_one_value():
    negative_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    frame = pl.DataFrame({"value": [0.0, -0.0, math.nan, negative_nan, None]})
    hashes = by_ours(frame)
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[3]
    assert len(set(hashes)) == 3


def test_categories_hash_as_their_texts():
    texts = pl.DataFrame({"carrier": ["UA", None, "AA"]})
    for dtype in (pl.Categorical, pl.Enum(["AA", "UA"])):
        assert by_ours(texts.cast(dtype)) == by_ours(texts)


@pytest.mark.parametrize("length", [0, 3, 4, 5, 11, 12, 13, 20, 63, 64, 65, 200])
def test_texts_of_every_length_are_told_apart_from_those_with_zeros_after_them(length):
    frame = pl.DataFrame({"text": [b"a" * length, b"a" * length + b"\0", b"a" * length + b"\0\0", None]})
    assert by_ours(frame) == by_twin(frame)
    assert len(set(by_ours(frame))) == 4


def test_python_objects_are_refused():
    with pytest.raises(ContentError, match="'thing' holds Python objects"):
        row_hashes(pl.DataFrame({"thing": pl.Series([object()], dtype=pl.Object)}))


def test_these_hashes_are_for_ever():
    """Recorded once: whatever library is upgraded, content on record keeps its name."""
    frame = pl.DataFrame(
        {
            DAY: [date(2013, 4, 1), date(2013, 4, 1), date(2013, 4, 2)],
            "row_key": ["2013-04-01 UA 1545 EWR", None, ""],
            "delay": [2, None, -7],
            "wind": [10.35702, math.nan, -0.0],
            "known_at": [datetime(2013, 4, 1, 9, 15, tzinfo=UTC), None, datetime(1969, 1, 1, tzinfo=UTC)],
            "cancelled": [False, True, None],
        },
        schema_overrides={"known_at": pl.Datetime("us", "UTC")},
    )
    assert content_hashes(frame) == {
        date(2013, 4, 1): "41488ba300000002993977cb7a1c5e7dd646771b5a493997",
        date(2013, 4, 2): "41488ba3000000012e2b7ad3ab1c04286941fcfe41fc9ff6",
    }
