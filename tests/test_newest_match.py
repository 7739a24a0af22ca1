"""The search under the point-in-time join, and its coding of entities, against loops over the rows."""

from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml_assets.domain import newest_match
from ml_assets.domain.entity_codes import entity_codes
from ml_assets.domain.errors import PointInTimeError
from ml_assets.domain.newest_match import last_at_or_below, minima_of, newest_within

rows_given = st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9), st.integers(-9, 9)), max_size=20)
asking_given = st.lists(st.tuples(st.integers(-1, 4), st.integers(-12, 12), st.integers(-12, 12)), max_size=9)
reaches = st.one_of(st.none(), st.integers(0, 30))


def columns(rows: list[tuple[int, ...]]) -> list[np.ndarray]:
    return [np.array([row[part] for row in rows], dtype=np.int64) for part in range(3)]


def slowly(rows: list[tuple], asking: list[tuple], reach: int | None) -> list[int]:
    """Row by row: the last given of those with the greatest times."""
    answers = []
    for code, limit, second_limit in asking:
        best = -1
        for place, (owner, first, second) in enumerate(rows):
            inside = first <= limit and second <= second_limit and (reach is None or first >= limit - reach)
            if code >= 0 and owner == code and inside and (best < 0 or (first, second) >= rows[best][1:]):
                best = place
        answers.append(best)
    return answers


@settings(max_examples=400, deadline=None)
@given(rows=rows_given, asking=asking_given, reach=reaches, stretch=st.sampled_from([1, 2**16 + 1, 2**57]))
@example(rows=[(0, 0, 0)], asking=[(0, -1, 0), (0, 0, -1), (1, 0, 0), (-1, 9, 9)], reach=None, stretch=1)
@example(rows=[(0, 1, 9), (0, 2, 9), (1, 0, 0)], asking=[(0, 5, 5), (1, 5, 5)], reach=None, stretch=1)
def test_newest_within_equals_a_loop_over_the_rows(rows, asking, reach, stretch):
    """Codes far apart ask for more than one round of the sort, and then for instants by their order."""
    (codes, first, second), (asking_codes, limits, second_limits) = columns(rows), columns(asking)
    far = [np.where(each >= 0, each * stretch, each) for each in (codes, asking_codes)]
    found = newest_within(far[0], (first, second), far[1], (limits, second_limits), reach)
    assert found.tolist() == slowly(rows, asking, reach)


@settings(max_examples=200, deadline=None)
@given(rows=rows_given, asking=asking_given, reach=reaches)
def test_the_same_comes_of_instants_counted_and_ranked(rows, asking, reach):
    (codes, first, second), (asking_codes, limits, second_limits) = columns(rows), columns(asking)
    with patch.object(newest_match, "_LARGEST_KEY", 1), patch.object(newest_match, "_BLOCK", 3):
        found = newest_within(codes, (first, second), asking_codes, (limits, second_limits), reach)
    assert found.tolist() == slowly(rows, asking, reach)


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=70),
    asked=st.lists(st.tuples(st.integers(0, 69), st.integers(-6, 6)), max_size=9),
)
def test_last_at_or_below_equals_a_loop_backwards(values, asked):
    asked = [(place % len(values), limit) for place, limit in asked]
    before, limits = (np.array([each[part] for each in asked], dtype=np.int64) for part in (0, 1))
    found = last_at_or_below(minima_of(np.array(values, dtype=np.int64)), before, limits)
    for (place, limit), answer in zip(asked, found.tolist(), strict=True):
        assert answer == next((at for at in range(place - 1, -1, -1) if values[at] <= limit), -1)


# --- entities ---------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "ab", "", None])
numbers = st.sampled_from([1, 2, -1, None])
flags = st.sampled_from([True, False, None])
entities = st.lists(st.tuples(names, numbers, flags), max_size=12)
KEYS = {"plane": pl.String, "line": pl.Int32, "day_flight": pl.Boolean}


def entity_frame(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=KEYS, orient="row")


@settings(max_examples=200, deadline=None)
@given(rows=entities, asking=entities, keys=st.permutations(list(KEYS)), number=st.integers(1, 3))
def test_equal_codes_are_equal_entities_and_null_is_none(rows, asking, keys, number):
    entity = keys[:number]
    codes, asked = entity_codes(entity_frame(rows), entity_frame(asking), entity)
    owners = entity_frame(rows).select(entity).rows()
    askers = entity_frame(asking).select(entity).rows()
    assert codes.shape == (len(rows),)
    assert (codes >= 0).all()
    for code, owner in zip(codes, owners, strict=True):
        for other_code, other in zip(codes, owners, strict=True):
            assert (code == other_code) == (owner == other or (None in owner and None in other))
    for code, asker in zip(asked, askers, strict=True):
        alike = {owner for owner, own in zip(owners, codes, strict=True) if own == code}
        assert alike == ({asker} if None not in asker and asker in owners else set())


def test_many_values_of_several_keys_keep_their_codes_small():
    numbers_ = list(range(300))
    rows = pl.DataFrame({"one": numbers_, "two": numbers_[::-1], "three": numbers_})
    codes, asked = entity_codes(rows, rows.reverse(), ("one", "two", "three"))
    assert sorted(codes.tolist()) == numbers_
    assert codes.tolist() == asked.tolist()[::-1]


def test_a_key_of_two_types_is_refused_with_both():
    rows, asking = pl.DataFrame({"line": [1]}), pl.DataFrame({"line": ["1"]})
    with pytest.raises(PointInTimeError, match="'line' is Int64 in the group and String in the rows that ask"):
        entity_codes(rows, asking, ("line",))
