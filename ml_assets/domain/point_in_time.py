"""The point-in-time join: what was known of an entity when a score was needed.

What belongs here: the join, the spine it starts from, and the days that hold what it looks at. Training and scoring
call the same functions.
What does not: reading the frames (`resources`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from ml_assets.domain.errors import PointInTimeError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import FEATURE_SEPARATOR, FeatureGroupSpec, ModelSpec
from partitions import Window, clock_change, days_reaching, same_days

Microseconds = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Matches:
    """For each asking row the position of the row known to it, or -1."""

    position: Microseconds

    @property
    def found(self) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Which asking rows have a match."""
        return self.position >= 0


def read_window(group: FeatureGroupSpec, model: ModelSpec) -> Window:
    """The days of a group that hold all that can be joined to the model's rows of a day, never past that day.

    A value of `max_age` at prediction time, and known as late as the group declares, lies the sum of both and the
    model's lead before the asking event; no value about an instant after it is looked at. Whoever reads the group for
    the model reads these days: of one day, of a range, or of the days of a training window (`Window.then`).
    """
    if group.name == model.spine:
        return same_days()
    calendar = group.calendar
    reach = model.prediction_lead + group.max_age + group.known_after
    return days_reaching(reach, clock_change(calendar.timezone, calendar.first_day, calendar.end_day))


def feature_rows(
    model: ModelSpec,
    groups: Mapping[str, FeatureGroupSpec],
    frames: Mapping[str, pl.DataFrame],
    days: tuple[date, date] | None = None,
) -> pl.DataFrame:
    """One row per event of the spine: row_key, prediction_time, event_time, partition_date, the features.

    `frames` holds the rows of every group; only spine rows whose day lies in the half-open `days` (all, when
    None) are asked for. A value enters a row only if its `known_at` is at or before the row's prediction
    time and it is not older than the group's max_age; otherwise it is null.
    """
    spine = asked_for(model, frames[model.spine], days)
    wanted = {name: [f.split(".", 1)[1] for f in model.features if f.startswith(f"{name}.")] for name in groups}
    columns = [spine.select("row_key", "prediction_time", "event_time", DAY)]
    for name, group in groups.items():
        if name == model.spine:
            values = spine.select(pl.col(column).alias(f"{name}__{column}") for column in wanted[name])
        else:
            values = as_of(spine, frames[name], group.entity, wanted[name], group.max_age, prefix=f"{name}__")
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
    asking: pl.DataFrame,
    rows: pl.DataFrame,
    entity: Sequence[str],
    values: Sequence[str],
    max_age: timedelta,
    *,
    prefix: str = "",
) -> pl.DataFrame:
    """For every asking row the values of the newest row of its entity known at its prediction_time.

    Rows known later, or known longer than `max_age` before, give nulls; so does a null entity.
    """
    codes, asking_codes = _entity_codes(rows, asking, entity)
    known_at = _microseconds(rows["known_at"])
    asked_at = _microseconds(asking["prediction_time"])
    order, matches = newest_known(codes, known_at, asking_codes, asked_at, max_age // timedelta(microseconds=1))
    index = pl.Series(np.where(matches.found, order[matches.position], 0)) if len(order) else None
    found = pl.Series(matches.found)
    return pl.DataFrame([_taken(rows[value], index, found).alias(f"{prefix}{value}") for value in values])


def newest_known(
    codes: Microseconds,
    known_at: Microseconds,
    asking_codes: Microseconds,
    asked_at: Microseconds,
    max_age: int,
) -> tuple[Microseconds, Matches]:
    """The order of the rows by (entity, known_at), and for each asking row its match's place in that order.

    Entity and time are packed into one integer, so that one sort and one binary search answer everything:
    several times faster than an as-of join by group. Ties in known_at go to the last row given.
    """
    if len(known_at) == 0 or len(asked_at) == 0:
        return np.arange(len(known_at)), Matches(np.full(len(asked_at), -1))
    origin = min(int(known_at.min()), int(asked_at.min()))
    span = max(int(known_at.max()), int(asked_at.max())) - origin + 1
    if (int(codes.max(initial=0)) + 1) > (2**62) // span:
        raise PointInTimeError(f"{int(codes.max()) + 1} entities over {span} µs do not fit one 63-bit key")
    packed = codes * span + (known_at - origin)
    order = np.arange(len(packed)) if bool(np.all(packed[:-1] <= packed[1:])) else np.argsort(packed, kind="stable")
    in_order = packed[order]
    place = np.searchsorted(in_order, asking_codes * span + (asked_at - origin), side="right") - 1
    candidate = order[np.maximum(place, 0)]
    same = (place >= 0) & (asking_codes >= 0) & (codes[candidate] == asking_codes)
    fresh = asked_at - known_at[candidate] <= max_age
    return order, Matches(np.where(same & fresh, place, -1))


def _entity_codes(rows: pl.DataFrame, asking: pl.DataFrame, entity: Sequence[str]) -> tuple[Microseconds, Microseconds]:
    known = rows.lazy().select(entity).unique().sort(entity).with_row_index("code").collect()
    codes = [
        frame.select(entity)
        .join(known, on=list(entity), how="left", maintain_order="left")["code"]
        .cast(pl.Int64)
        .fill_null(-1)
        .to_numpy()
        for frame in (rows, asking)
    ]
    return codes[0], codes[1]


def _microseconds(times: pl.Series) -> Microseconds:
    if times.null_count():
        raise PointInTimeError(f"{times.name} has {times.null_count()} nulls; a time is needed on every row")
    return times.cast(pl.Datetime("us", "UTC")).to_physical().to_numpy()


def _taken(values: pl.Series, index: pl.Series | None, found: pl.Series) -> pl.Series:
    if index is None:
        return pl.Series(values.name, [None] * found.len(), dtype=values.dtype)
    taken = values.gather(index)
    return pl.select(pl.when(found).then(taken)).to_series()
