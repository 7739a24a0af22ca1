"""Contracts: every broken row names the check it broke, every bad day the limit it missed."""

from datetime import date, timedelta
from typing import NamedTuple

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ml_assets.domain.contracts import DayLimits, contract_failures, judge_days
from ml_assets.domain.local_days import DAY

MONDAY = date(2013, 4, 1)
WEEK = [MONDAY + timedelta(days=day) for day in range(7)]


class Parcel(pa.DataFrameModel):
    """A row with one of every kind of rule."""

    partition_date: date
    label: str = pa.Field(unique=True)
    light: int = pa.Field(nullable=True, ge=0, le=10)
    heavy: int = pa.Field(nullable=True, ge=0)
    price: float
    size: str = pa.Field(nullable=True, isin=("S", "L"))

    @pa.dataframe_check(name="light_below_heavy")
    def light_below_heavy(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805  pandera's protocol
        """A light parcel weighs no more than a heavy one."""
        unknown = pl.col("light").is_null() | pl.col("heavy").is_null()
        return data.lazyframe.select((unknown | (pl.col("light") <= pl.col("heavy"))).fill_null(value=False))


def parcels() -> pl.DataFrame:
    return pl.DataFrame(
        {
            DAY: [MONDAY] * 4,
            "label": ["w", "x", "y", "z"],
            "light": [1, 2, None, 4],
            "heavy": [5, 6, 7, None],
            "price": [1.0, 2.0, 3.0, 4.0],
            "size": ["S", "L", None, "S"],
        }
    )


class Split(NamedTuple):
    good: pl.DataFrame
    bad: pl.DataFrame


def split_rows(frame: pl.DataFrame, contract: type[pa.DataFrameModel]) -> Split:
    """The rows without a failure and those with one, with their reasons; a failure without a row is every row's."""
    failures = contract_failures(frame, contract)
    assert failures.schema == {"index": pl.UInt32, "reason": pl.String}
    of_all = failures.filter(pl.col("index").is_null())["reason"].to_list()
    of_rows = failures.drop_nulls("index").group_by("index").agg(pl.col("reason"))
    told = {index: sorted({*of_all, *reasons}) for index, reasons in of_rows.iter_rows()}
    reasons = [told.get(index, of_all) for index in range(frame.height)]
    judged = frame.with_columns(pl.Series("reasons", reasons, dtype=pl.List(pl.String)))
    broken = pl.col("reasons").list.len() > 0
    return Split(judged.filter(~broken).drop("reasons"), judged.filter(broken))


# --- rows -------------------------------------------------------------------------------------------------


def test_rows_that_keep_the_contract_are_handed_on_as_they_came():
    split = split_rows(parcels(), Parcel)
    assert_frame_equal(split.good, parcels())
    assert split.bad.is_empty()
    assert split.bad.schema == {**parcels().schema, "reasons": pl.List(pl.String)}


@pytest.mark.parametrize(
    ("column", "values", "reasons"),
    [
        (
            "light",
            [11, 2, None, 4],
            {"w": ["light: 11 came, wanted less_than_or_equal_to(10)", "row: it breaks light_below_heavy"]},
        ),
        ("light", [0, -1, None, 4], {"x": ["light: -1 came, wanted greater_than_or_equal_to(0)"]}),
        ("light", [6, 2, None, 4], {"w": ["row: it breaks light_below_heavy"]}),
        ("price", [None, 2.0, 3.0, 4.0], {"w": ["price: null came, wanted not_nullable"]}),
        ("price", [1.0, float("nan"), 3.0, 4.0], {"x": ["price: NaN came, wanted not_nullable"]}),
        ("size", ["S", "XL", None, "S"], {"x": ["size: XL came, wanted isin(('S', 'L'))"]}),
        (
            "label",
            ["w", "v", "y", "w"],
            {"w": ["label: w came, wanted field_uniqueness"]},
        ),
        (
            "label",
            [None, "x", "y", "z"],
            {None: ["label: null came, wanted not_nullable"]},
        ),
    ],
)
def test_a_broken_row_is_set_aside_and_names_the_check(column, values, reasons):
    came = parcels().with_columns(pl.Series(column, values, parcels().schema[column]))
    split = split_rows(came, Parcel)
    assert dict(split.bad.select("label", "reasons").iter_rows()) == reasons
    broken = pl.col("label").is_in(list(reasons), nulls_equal=True)
    assert_frame_equal(split.good, came.filter(~broken))
    assert_frame_equal(split.bad.drop("reasons"), came.filter(broken))


def test_several_failures_of_one_row_are_all_named_once():
    came = parcels().with_columns(
        light=pl.Series([99, 2, None, -4]),
        size=pl.Series(["?", "L", None, "S"]),
        price=pl.Series([None, 2.0, 3.0, 4.0]),
    )
    reasons = dict(split_rows(came, Parcel).bad.select("label", "reasons").iter_rows())
    assert reasons == {
        "w": [
            "light: 99 came, wanted less_than_or_equal_to(10)",
            "price: null came, wanted not_nullable",
            "row: it breaks light_below_heavy",
            "size: ? came, wanted isin(('S', 'L'))",
        ],
        "z": ["light: -4 came, wanted greater_than_or_equal_to(0)"],
    }


@pytest.mark.parametrize(
    ("came", "reason"),
    [
        (parcels().drop("price"), "column price is missing"),
        (parcels().with_columns(price=pl.lit("much")), "price: String came, wanted dtype('Float64')"),
        (parcels().with_columns(pl.col("light").cast(pl.Float64)), "light: Float64 came, wanted dtype('Int64')"),
        (parcels().with_columns(pl.col("light").cast(pl.String)), "light: String came, wanted dtype('Int64')"),
    ],
)
def test_a_failure_of_the_whole_frame_is_every_rows_failure(came, reason):
    split = split_rows(came, Parcel)
    assert split.good.is_empty()
    assert split.bad.height == 4
    assert all(reason in reasons for reasons in split.bad["reasons"])
    assert all("\n" not in text for reasons in split.bad["reasons"] for text in reasons)
    assert_frame_equal(split.bad.drop("reasons"), came)


def test_no_rows_keep_any_contract():
    split = split_rows(parcels().clear(), Parcel)
    assert split.good.is_empty()
    assert split.bad.is_empty()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-3, 13)),
            st.one_of(st.none(), st.integers(-3, 13)),
            st.sampled_from(["S", "L", "?", None]),
        ),
        max_size=12,
    )
)
def test_a_row_is_bad_exactly_when_a_rule_says_so(rows):
    came = pl.DataFrame(
        [(MONDAY, f"p{number}", light, heavy, 1.0, size) for number, (light, heavy, size) in enumerate(rows)],
        schema=parcels().schema,
        orient="row",
    )
    good = [
        f"p{number}"
        for number, (light, heavy, size) in enumerate(rows)
        if (light is None or 0 <= light <= 10)
        and (heavy is None or heavy >= 0)
        and (light is None or heavy is None or light <= heavy)
        and size in ("S", "L", None)
    ]
    split = split_rows(came, Parcel)
    assert split.good["label"].to_list() == good
    assert split.bad.height + split.good.height == came.height
    assert all(len(reasons) >= 1 for reasons in split.bad["reasons"])


# --- days -------------------------------------------------------------------------------------------------


def day_rows(number: int, day: date = MONDAY, **columns: list) -> pl.DataFrame:
    return pl.DataFrame({DAY: [day] * number, "key": list(range(number)), **columns})


def verdict_of(frame: pl.DataFrame, limits: DayLimits, **more: object):
    return judge_days(frame, [MONDAY], limits, **more)[MONDAY]


def test_too_few_rows():
    limits = DayLimits(min_rows=5)
    assert verdict_of(day_rows(5), limits).passed
    verdict = verdict_of(day_rows(4), limits)
    assert not verdict.passed
    assert verdict.reasons == ("4 rows came, wanted at least 5",)
    assert (verdict.measured["rows"], verdict.limits["min_rows"]) == (4, 5)


def test_a_day_that_is_absent_has_no_rows():
    verdicts = judge_days(day_rows(3), WEEK[:2], DayLimits(required=("key",)))
    assert verdicts[WEEK[0]].passed
    assert verdicts[WEEK[1]].reasons == ("0 rows came, wanted at least 1",)
    assert verdicts[WEEK[1]].measured["rows"] == 0


def test_days_that_nobody_asked_about_are_not_judged():
    assert list(judge_days(pl.concat([day_rows(3), day_rows(3, WEEK[1])]), [WEEK[1]], DayLimits())) == [WEEK[1]]


def test_a_day_that_may_be_empty_passes_empty():
    assert verdict_of(day_rows(0, key2=[]), DayLimits(min_rows=0, key=("key",), required=("key",))).passed


def test_doubled_keys_are_counted_within_the_day():
    limits = DayLimits(key=("key", "line"))
    rows = day_rows(3, line=["a", "a", "a"]).with_columns(key=pl.Series([1, 1, 2]))
    verdict = verdict_of(rows, limits)
    assert verdict.reasons == ("2 rows share their key (key, line), wanted unique keys",)
    other_day = pl.concat([day_rows(2, line=["a", "b"]), day_rows(2, WEEK[1], line=["a", "b"])])
    assert all(verdict.passed for verdict in judge_days(other_day, WEEK[:2], limits).values())


def test_nulls_up_to_the_limit_pass_and_one_more_does_not():
    limits = DayLimits(max_null_share={"wind": 0.5})
    assert verdict_of(day_rows(4, wind=[None, None, 1, 2]), limits).passed
    verdict = verdict_of(day_rows(4, wind=[None, None, None, 2]), limits)
    assert verdict.reasons == ("wind is 75.0% null, wanted at most 50.0%",)
    assert (verdict.measured["most_null_column"], verdict.measured["most_null_share"]) == ("wind", 0.75)


def test_a_required_column_may_not_be_null_whatever_its_limit_says():
    limits = DayLimits(required=("wind",), max_null_share={"wind": 0.9})
    assert verdict_of(day_rows(4, wind=[1, None, 1, 2]), limits).reasons == ("wind is 25.0% null, wanted at most 0.0%",)


def test_bad_rows_up_to_the_tolerance_pass_and_one_more_does_not():
    limits = DayLimits()
    assert verdict_of(day_rows(98), limits, bad_rows={MONDAY: 2}, max_bad_row_share=0.02).passed
    verdict = verdict_of(day_rows(97), limits, bad_rows={MONDAY: 3}, max_bad_row_share=0.02)
    assert verdict.reasons == ("3 of 100 rows break the contract (3.0%), wanted at most 2.0%",)
    assert verdict.measured["bad_rows"] == 3
    assert verdict_of(day_rows(3), limits, bad_rows={WEEK[1]: 9}).passed


def test_a_day_of_bad_rows_only_is_judged_by_both_limits():
    verdict = verdict_of(day_rows(3).clear(), DayLimits(), bad_rows={MONDAY: 3})
    assert len(verdict.reasons) == 2


def test_every_limit_that_is_missed_is_named():
    rows = day_rows(2, wind=[None, None]).with_columns(key=pl.lit(1))
    limits = DayLimits(min_rows=3, key=("key",), required=("wind",))
    assert len(verdict_of(rows, limits, bad_rows={MONDAY: 1}).reasons) == 4


table = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.one_of(st.none(), st.just(1)), st.one_of(st.none(), st.just(2))),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    rows=table,
    bad=st.dictionaries(st.integers(0, 3), st.integers(0, 3)),
    min_rows=st.integers(0, 3),
    share=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    tolerance=st.sampled_from([0.0, 0.5]),
)
def test_all_days_at_once_are_judged_like_one_after_the_other(rows, bad, min_rows, share, tolerance):
    frame = pl.DataFrame(
        [(WEEK[day], key, wind, rain) for day, key, wind, rain in rows],
        schema={DAY: pl.Date, "key": pl.Int64, "wind": pl.Int64, "rain": pl.Int64},
        orient="row",
    )
    limits = DayLimits(min_rows=min_rows, key=("key",), required=("rain",), max_null_share={"wind": share})
    bad_rows = {WEEK[day]: number for day, number in bad.items()}
    verdicts = judge_days(frame, WEEK[:5], limits, bad_rows=bad_rows, max_bad_row_share=tolerance)
    assert list(verdicts) == WEEK[:5]
    for number, day in enumerate(WEEK[:5]):
        mine = [row for row in rows if row[0] == number]
        keys = [row[1] for row in mine]
        broken = bad.get(number, 0)
        wanted = (
            len(mine) >= min_rows
            and len(set(keys)) == len(keys)
            and all(row[3] is not None for row in mine)
            and (not mine or sum(row[2] is None for row in mine) / len(mine) <= share)
            and (not broken or broken / (broken + len(mine)) <= tolerance)
        )
        assert verdicts[day].passed == wanted, verdicts[day]
        assert verdicts[day].measured["rows"] == len(mine)
        alone = judge_days(
            frame.filter(pl.col(DAY) == day), [day], limits, bad_rows=bad_rows, max_bad_row_share=tolerance
        )
        assert alone[day] == verdicts[day]
