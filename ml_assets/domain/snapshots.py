"""Groups without a limit of age: each day holds what is needed to answer any row that asks on it.

A customer's profile of years ago may still be the newest. Instead of all history, a day of such a group holds its own
rows and what it carries over from the day before: of each entity the newest row known when the day began, and the rows
about earlier days that were not known by then. A score needed before its event's day begins is answered by the day on
which it is needed, and the own rows of the days after that.

What belongs here: what is carried over and from which day, and which rows of the days read a join looks at.
What does not: the join (`point_in_time.py`), writing the days (`ml_assets/assets/features.py`).
"""

from collections.abc import Collection, Sequence
from datetime import date, timedelta

import polars as pl

from ml_assets.domain.day_frame import DayFrame
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.specs import FeatureGroupSpec
from partitions import DayRange, Window, trailing_days, window_before

CARRY_BACK_DAYS = 28
"""How far back the day may lie from which is carried over: with no accepted day among these, a day is blocked."""


def carried_from() -> Window:
    """The days of its own from which a day may carry over: the newest accepted one counts."""
    return window_before(CARRY_BACK_DAYS)


def snapshots_answering(asked: Window) -> Window:
    """The days read where scores are needed on the days of `asked`: its first may be refused, an earlier one serves."""
    return trailing_days(asked.first + CARRY_BACK_DAYS)


def rows_to_join(group: FeatureGroupSpec, read: DayFrame, first_asked: date, window: Window) -> pl.LazyFrame:
    """The rows that a join for events from `first_asked` on looks at, of the days that `window` names for them.

    Of a group without limit of age those are the newest day that tells what was known when the first score was needed,
    and of the days after it the rows about themselves: what they carry over is in that day already.
    """
    if not group.carries_over or not read.days:
        return read.rows
    first_needed = first_asked - timedelta(days=window.first - CARRY_BACK_DAYS)
    base = max((day for day in read.days if day <= first_needed), default=min(read.days))
    own = local_day(pl.col("event_time"), group.calendar.timezone) == pl.col(DAY)
    return read.rows.filter((pl.col(DAY) == base) | ((pl.col(DAY) > base) & own))


def with_carried_over(
    group: FeatureGroupSpec, own: pl.DataFrame, days: Sequence[date], refused: Collection[date], before: DayFrame
) -> tuple[pl.DataFrame, dict[date, str]]:
    """The rows of the days with what each carries over, and why other days cannot be made.

    `own` holds the rows about the days themselves, `refused` are the run's red and blocked days, `before` is what is
    stored of the group. A refused day is carried over; one that was never made is not, for nobody knows what it holds.
    """
    newest: tuple[date, pl.DataFrame] | None = None
    made = [own.clear()]
    blocked: dict[date, str] = {}
    about = own.partition_by(DAY, as_dict=True)
    for day in sorted(set(days) - set(refused)):
        eve = _carried_from(group, day, newest[0] if newest else None, {*days, *refused}, before)
        if isinstance(eve, str):
            blocked[day] = eve
            continue
        if newest and eve == newest[0]:
            held = newest[1]
        else:
            held = _in_schema(before.of(eve), own.schema) if eve else own.clear()
        rows = pl.concat([_carried_over(group, held, day), about.get((day,), own.clear())])
        newest = day, rows.sort(*group.entity, "known_at", "event_time")
        made.append(newest[1])
    return pl.concat(made), blocked


def _carried_from(
    group: FeatureGroupSpec, day: date, newest: date | None, run: Collection[date], before: DayFrame
) -> date | str | None:
    """The day to carry over from, None at the calendar's beginning, or why there is none."""
    for back in range(1, CARRY_BACK_DAYS + 1):
        eve = day - timedelta(days=back)
        if eve < group.calendar.first_day:
            return None
        if eve == newest:
            return eve
        if eve in run or eve in before.refused:
            continue
        if eve in before.days:
            return eve
        return (
            f"features/{group.name} of {eve} is not there, and what was known is carried over from the day before; "
            f"materialise features/{group.name} up to {eve} first"
        )
    return (
        f"none of the {CARRY_BACK_DAYS} days of features/{group.name} before {day} is accepted, and what was known "
        "is carried over from them; mend the last of them first"
    )


def _carried_over(group: FeatureGroupSpec, held: pl.DataFrame, day: date) -> pl.DataFrame:
    """Of what the day before holds, the newest known row of each entity and what is not known yet, as rows of `day`."""
    began, _ = DayRange(day, day).instants(group.calendar.timezone)
    known = pl.col("known_at") <= began
    newest = held.filter(known).sort("known_at", "event_time").unique(group.entity, keep="last", maintain_order=True)
    return pl.concat([newest, held.filter(~known)]).with_columns(pl.lit(day).alias(DAY))


def _in_schema(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Stored rows in the columns of new ones; a value that is new to the group is null in them."""
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in schema.items()
    )
