"""The point-in-time join: what was known of an entity when a score was needed.

What belongs here: the join, the spine it starts from, and the days that hold what it looks at. Training and scoring
call the same functions.
What does not: reading the frames (`resources`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from ml_assets.domain.entity_codes import entity_codes
from ml_assets.domain.errors import PointInTimeError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.newest_match import Integers, newest_within
from ml_assets.domain.snapshots import snapshots_answering
from ml_assets.domain.specs import FEATURE_SEPARATOR, FeatureGroupSpec, ModelSpec
from partitions import Window, clock_change, days_reaching, same_days


def read_window(group: FeatureGroupSpec, model: ModelSpec) -> Window:
    """The days of a group that hold all that can be joined to the model's rows of a day, never past that day.

    A state of `max_age` at prediction time, and known as late as the group declares, lies the sum of both and the
    model's lead before the asking event; a row about its instant lies less than `valid_for` before it. No row about a
    later instant is looked at. Whoever reads the group for the model reads these days: of one day, of a range, or of
    the days of a training window (`Window.then`).
    """
    if group.name == model.spine:
        return same_days()
    calendar = group.calendar
    change = clock_change(calendar.timezone, calendar.first_day, calendar.end_day)
    if group.valid_for is not None:
        return days_reaching(group.valid_for - timedelta(microseconds=1), change)
    if group.max_age is None:
        return snapshots_answering(days_reaching(model.prediction_lead, change))
    return days_reaching(model.prediction_lead + group.max_age + group.known_after, change)


def feature_rows(
    model: ModelSpec,
    groups: Mapping[str, FeatureGroupSpec],
    frames: Mapping[str, pl.DataFrame],
    days: tuple[date, date] | None = None,
) -> pl.DataFrame:
    """One row per event of the spine: row_key, prediction_time, event_time, partition_date, the features.

    `frames` holds the rows of every group; only spine rows whose day lies in the half-open `days` (all, when
    None) are asked for. A value enters a row only as `as_of` says; otherwise it is null.
    """
    return joined_to(asked_for(model, frames[model.spine], days), model, groups, frames)


def joined_to(
    asking: pl.DataFrame, model: ModelSpec, groups: Mapping[str, FeatureGroupSpec], frames: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """The columns of `feature_rows` for rows of the spine that say themselves by when they are needed.

    `asking` has the spine's columns and `prediction_time`, in any order, which is kept; the spine needs no frame.
    """
    wanted = {name: [f.split(".", 1)[1] for f in model.features if f.startswith(f"{name}.")] for name in groups}
    columns = [asking.select("row_key", "prediction_time", "event_time", DAY)]
    for name, group in groups.items():
        if name == model.spine:
            values = asking.select(pl.col(column).alias(f"{name}__{column}") for column in wanted[name])
        else:
            values = as_of(asking, frames[name], group, wanted[name], prefix=f"{name}__")
        columns.append(values)
    return pl.concat(columns, how="horizontal").select(
        DAY, "row_key", "event_time", "prediction_time", *model.feature_columns
    )


def with_retired_features(rows: pl.DataFrame, stored: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Training rows with nulls in the features that earlier training sets have and the model no longer names.

    Features of older training sets stay readable, and a model may drop one without a change to their table.
    """
    retired = [name for name in stored if FEATURE_SEPARATOR in name and name not in rows.columns]
    return rows.with_columns(pl.lit(None, dtype=stored[name]).alias(name) for name in retired)


def asked_for(model: ModelSpec, spine: pl.DataFrame, days: tuple[date, date] | None = None) -> pl.DataFrame:
    """The spine's rows with their prediction_time, without those not yet known by then, in row_key order."""
    lead = pl.lit(model.prediction_lead)
    rows = spine.lazy().with_columns(prediction_time=pl.col("event_time") - lead)
    if days is not None:
        rows = rows.filter(pl.col(DAY) >= days[0], pl.col(DAY) < days[1])
    return rows.filter(pl.col("known_at") <= pl.col("prediction_time")).sort(DAY, "row_key").collect()


def as_of(
    asking: pl.DataFrame, rows: pl.DataFrame, group: FeatureGroupSpec, values: Sequence[str], *, prefix: str = ""
) -> pl.DataFrame:
    """For every asking row the values of the group that it may know, null where there is none.

    `asking` has the group's entity, `prediction_time` and `event_time`, `rows` are the group's. Nothing known after the
    prediction time counts, nothing about an instant after the asking event, and nothing of a null entity. Of the rest
    the entity's newest known row counts, unless it was known longer than `max_age` before; or, for a group with
    `valid_for`, the newest known version of the row that describes the asking event's instant. Which other rows of
    other days are given changes nothing.

    Raises PointInTimeError for a row known outside what the group declares, for which other days are read.
    """
    known_at, event_time = _microseconds(rows["known_at"]), _microseconds(rows["event_time"])
    asked_at, asked_about = _microseconds(asking["prediction_time"]), _microseconds(asking["event_time"])
    _refuse_undeclared(group, event_time, known_at)
    codes, asking_codes = entity_codes(rows, asking, group.entity)
    if group.valid_for is None:
        reach = None if group.max_age is None else _in_microseconds(group.max_age)
        place = newest_within(codes, (known_at, event_time), asking_codes, (asked_at, asked_about), reach)
    else:
        reach = _in_microseconds(group.valid_for) - 1
        place = newest_within(codes, (event_time, known_at), asking_codes, (asked_about, asked_at), reach)
    return _taken(rows.select(values), place).rename(lambda value: f"{prefix}{value}")


def _refuse_undeclared(group: FeatureGroupSpec, event_time: Integers, known_at: Integers) -> None:
    after = known_at - event_time
    ends = {"known_before": -int(after.min()), "known_after": int(after.max())} if len(after) else {}
    for field, most in ends.items():
        declared = getattr(group, field)
        if most > _in_microseconds(declared):
            raise PointInTimeError(
                f"features/{group.name} holds a row that became known {timedelta(microseconds=most)} "
                f"{field.removeprefix('known_')} its event_time, but the group declares {field}={declared}, and from "
                "that follow the days that are read. Declare what is true, or materialise the group's days anew."
            )


def _taken(values: pl.DataFrame, place: Integers) -> pl.DataFrame:
    """The values at each place, nulls at -1."""
    if values.is_empty():
        return values.clear(len(place))
    taken = values[pl.Series(np.maximum(place, 0).astype(np.uint32))]
    return taken.select(pl.when(pl.Series(place >= 0)).then(pl.all()))


def _in_microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _microseconds(times: pl.Series) -> Integers:
    if times.null_count():
        raise PointInTimeError(f"{times.name} has {times.null_count()} nulls; a time is needed on every row")
    return times.cast(pl.Datetime("us", "UTC")).to_physical().to_numpy()
