"""Scores during the day, for what cannot wait for midnight: rows that are given, by the daily predictions' functions.

What belongs here: what is asked, of what is stored by then, and what was lacking. What does not: the join, the
pipeline, the calibrator (`ml_assets/domain`), reading files and laying out (`scoring_terminal.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from ml_assets.catalog import load_catalog
from ml_assets.domain.contracts import REASON
from ml_assets.domain.day_frame import DayFrame
from ml_assets.domain.errors import MissingPartitionError, ScoringError
from ml_assets.domain.feature_version import feature_version
from ml_assets.domain.ingestion import in_types, misfits
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.point_in_time import joined_to, read_window
from ml_assets.domain.serving import PREDICTIONS, SCORE, probabilities, scored
from ml_assets.domain.snapshots import CARRY_BACK_DAYS, rows_to_join
from ml_assets.domain.specs import FEATURE_SEPARATOR, Catalog, FeatureGroupSpec, ModelSpec
from partitions import DayRange
from resources.handles import lake_of
from resources.lake import Lake
from resources.project import this_project
from resources.settings import prepare_process

ROW_KEY, EVENT_TIME, KNOWN_AT, SERVED_BY = "row_key", "event_time", "known_at", "served_by"
INSTANT = pl.Datetime("us", "UTC")
ONE_DAY = timedelta(days=1)
NAMED = 3


@dataclass(frozen=True, slots=True)
class Lacking:
    """A group that could not answer for every row: how many features were null, and the newest day that was there."""

    group: str
    rows: int
    of: int
    newest: date | None

    def __str__(self) -> str:
        held = f"its newest day that was read is {self.newest}" if self.newest else "none of the days it needs is there"
        return f"features/{self.group} has no value for {self.rows} of {self.of} rows; {held}"


@dataclass(frozen=True, slots=True)
class Scores:
    """Scored rows in the order they were given, the model's features of each, and what a reader must know of them.

    `rows` have the columns of `predictions/<model>`; `features` the row's key and the model's columns.
    """

    rows: pl.DataFrame
    features: pl.DataFrame
    lacking: tuple[Lacking, ...]
    served_by: Mapping[date, date]
    missing: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """What is not as in the daily run: days that are not there, groups without values, an earlier champion."""
        earlier = [
            f"events of {day} are scored by the champion and calibrator of {served}, the newest there are"
            for day, served in self.served_by.items()
            if served < day
        ]
        return [*earlier, *self.missing, *map(str, self.lacking)]


def columns_needed(model: ModelSpec, catalog: Catalog) -> tuple[str, ...]:
    """The columns that rows to be scored need: key and instant of the event, entities, the spine's own features."""
    groups = catalog.groups_of(model)
    entities = [key for name, group in groups.items() if name != model.spine for key in group.entity]
    own = [feature.split(".", 1)[1] for feature in model.features if feature.startswith(f"{model.spine}.")]
    return tuple(dict.fromkeys([ROW_KEY, EVENT_TIME, *entities, *own]))


def score_rows(lake: Lake, catalog: Catalog, name: str, rows: pl.DataFrame, as_of: datetime | None = None) -> Scores:
    """What the model says of rows of its spine, from what was known at `as_of` (now, when left out).

    A row is scored as of its event_time less the model's lead, as in the daily run, or of `as_of` where that is
    earlier. Rows need `columns_needed`, in the types of the spine's table; `known_at` is optional. The champion and
    calibrator are those of the event's day, or the newest of before.

    Raises CatalogError for an unknown model, ScoringError for rows that cannot be scored, MissingPartitionError when
    nothing serves or a group was never computed.
    """
    model = catalog.model_named(name)
    at = datetime.now(UTC) if as_of is None else as_of
    if at.tzinfo is None:
        raise ScoringError(f"as_of is {at.isoformat()}, which says no time zone; wanted an instant with its offset.")
    asking = _asking(lake, catalog, model, rows, at)
    if asking.is_empty():
        empty = pl.DataFrame(schema=PREDICTIONS)
        return Scores(empty, pl.DataFrame(schema={ROW_KEY: pl.String}), (), {})
    served = _served(lake, model, asking, at)
    groups = catalog.groups_of(model)
    frames, newest, missing = _frames(lake, model, groups, asking, at)
    joined = joined_to(asking, model, groups, frames).join(served, on=ROW_KEY, how="left", maintain_order="left")
    made = _by_champion(lake, model, joined).with_columns(
        pl.lit(feature_version(model, catalog)).alias("feature_version")
    )
    by_day = dict(made.select(DAY, SERVED_BY).unique().sort(DAY).iter_rows())
    features = made.select(ROW_KEY, *model.feature_columns)
    return Scores(made.select(*PREDICTIONS), features, tuple(_lacking(groups, features, newest)), by_day, missing)


def score_here(name: str, rows: pl.DataFrame, as_of: datetime | None = None) -> Scores:
    """`score_rows` in the home of the project at work."""
    return score_rows(*_at_work(), name, rows, as_of)


def spine_rows_here(name: str, as_of: datetime | None = None) -> pl.DataFrame:
    """The rows of the newest day of a model's spine up to the day of `as_of`, without those not known in time."""
    lake, catalog = _at_work()
    model = catalog.model_named(name)
    at = pl.lit(datetime.now(UTC) if as_of is None else as_of).cast(INSTANT)
    today = pl.select(local_day(at, model.calendar.timezone)).item()
    table = f"features/{model.spine}"
    days = [day for day in lake.days(table) if day <= today]
    if not days:
        raise MissingPartitionError(f"{table} holds no day up to {today}; name rows to score with --rows.")
    rows = lake.read(table, max(days), max(days) + ONE_DAY).rows
    needed_by = pl.min_horizontal(pl.col(EVENT_TIME) - model.prediction_lead, at)
    return rows.filter(pl.col(KNOWN_AT) <= needed_by).collect()


def _at_work() -> tuple[Lake, Catalog]:
    """The lake and the catalogue of the project at work."""
    project = this_project()
    prepare_process(project.home)
    project.make_importable()
    return lake_of(project.home), load_catalog(project.catalog)


def _asking(lake: Lake, catalog: Catalog, model: ModelSpec, rows: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """The rows in the spine's types, with their day and prediction time; ScoringError for what cannot be scored."""
    snapshot = lake.store.snapshot(f"features/{model.spine}")
    if snapshot is None:
        raise MissingPartitionError(f"features/{model.spine} was never computed; replay the workload first.")
    needed = columns_needed(model, catalog)
    if absent := [column for column in needed if column not in rows.columns]:
        raise ScoringError(
            f"the rows have no column {absent[0]!r}; to score {model.name} they need {', '.join(needed)}."
        )
    stored = snapshot.schema()
    kinds = {column: stored[column] for column in needed} | ({KNOWN_AT: INSTANT} if KNOWN_AT in rows.columns else {})
    typed = _in_types(rows, pl.Schema(kinds))
    for column in (ROW_KEY, EVENT_TIME):
        if nulls := typed[column].null_count():
            raise ScoringError(f"{column} is null in {nulls} of {typed.height} rows; every row needs one.")
    if doubled := typed.filter(typed[ROW_KEY].is_duplicated())[ROW_KEY].unique(maintain_order=True).to_list():
        raise ScoringError(f"{len(doubled)} row_keys come more than once, first {doubled[0]!r}; a row is scored once.")
    needed_by = pl.min_horizontal(pl.col(EVENT_TIME) - model.prediction_lead, pl.lit(at).cast(INSTANT))
    known_at = pl.col(KNOWN_AT) if KNOWN_AT in kinds else needed_by
    asking = typed.with_columns(
        needed_by.alias("prediction_time"),
        known_at.alias(KNOWN_AT),
        local_day(pl.col(EVENT_TIME), model.calendar.timezone).alias(DAY),
    )
    if (late := asking.filter(pl.col(KNOWN_AT) > pl.col("prediction_time"))).height:
        first = late.row(0, named=True)
        raise ScoringError(
            f"{late.height} rows became known after their score is needed, first {first[ROW_KEY]!r}: known at "
            f"{first[KNOWN_AT]:%Y-%m-%d %H:%M} UTC, needed at {first['prediction_time']:%Y-%m-%d %H:%M}; leave them "
            "out, or ask as of a later instant."
        )
    return asking


def _in_types(rows: pl.DataFrame, kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The columns in the types that are stored, read as a source's are; ScoringError for what is no such value."""
    if found := misfits(rows.schema, kinds, text=True):
        raise ScoringError(f"{'; '.join(found)}, as features/ of the model's spine holds it.")
    typed, failures = in_types(rows.select(*kinds), kinds)
    if failures:
        places, reason = failures[0]["index"], failures[0][REASON][0]
        more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        raise ScoringError(f"row {places[0] + 1}{more}: {reason}, as features/ of the model's spine holds it.")
    return typed


def _day_of(at: datetime, model: ModelSpec) -> date:
    """The model's local day of an instant."""
    return at.astimezone(ZoneInfo(model.calendar.timezone)).date()


def _served(lake: Lake, model: ModelSpec, asking: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """For each row, by `row_key`, the newest day up to its event's and `as_of`'s whose calibrator is there."""
    today = _day_of(at, model)
    last = min(asking[DAY].max(), today)  # type: ignore[type-var]
    read = lake.read(f"calibrators/{model.name}", model.calendar.first_day, last + ONE_DAY)
    made = read.rows.select(DAY, "model_version", "calibrator_version", "calibrator").collect() if read.filled else None
    if made is None or made.is_empty():
        raise MissingPartitionError(
            f"no champion of {model.name} serves on {last} or before; train one first: replay its workload "
            "(`ml-assets demo`), bring it up to date (`ml-assets operate`), or see `ml-assets status`."
        )
    asked = asking.select(ROW_KEY, pl.min_horizontal(DAY, pl.lit(last)).alias("until")).sort("until")
    found = asked.join_asof(
        made.rename({DAY: SERVED_BY}).sort(SERVED_BY), left_on="until", right_on=SERVED_BY, strategy="backward"
    )
    if found[SERVED_BY].null_count():
        first = found.filter(pl.col(SERVED_BY).is_null()).row(0, named=True)
        raise MissingPartitionError(
            f"no champion of {model.name} serves on {first['until']} or before, as the row {first[ROW_KEY]!r} asks."
        )
    return found.drop("until")


def _frames(
    lake: Lake, model: ModelSpec, groups: Mapping[str, FeatureGroupSpec], asking: pl.DataFrame, at: datetime
) -> tuple[dict[str, pl.DataFrame], dict[str, date | None], tuple[str, ...]]:
    """The rows of every group that the join looks at, the newest day of each, and which days are not there."""
    first, last = asking[DAY].min(), asking[DAY].max()
    ahead = asking.select((pl.col(EVENT_TIME) - pl.col("prediction_time")).max()).item()
    reaching = replace(model, prediction_lead=max(ahead, model.prediction_lead))
    frames, missing = {}, []
    newest: dict[str, date | None] = {}
    today = _day_of(at, model)
    for name, group in groups.items():
        if name == model.spine:
            continue
        window = read_window(group, reaching)
        days = window.of(DayRange(first, last + ONE_DAY))  # type: ignore[arg-type, operator]
        read = lake.read(f"features/{name}", days.start, days.end)
        if read.version is None:
            raise MissingPartitionError(f"features/{name} was never computed; replay the workload first.")
        frames[name] = rows_to_join(group, read, first, window).collect()  # type: ignore[arg-type]
        newest[name] = max(read.filled, default=None)
        # What a day without limit of age carries over stands in it: the days before count only in its place.
        back = CARRY_BACK_DAYS if group.carries_over else 0
        missing += _missing(group, read, DayRange(days.start + back * ONE_DAY, days.end), today)
    return frames, newest, tuple(missing)


def _missing(group: FeatureGroupSpec, read: DayFrame, days: DayRange, today: date) -> Iterator[str]:
    """Which days up to today that are looked at are not there: a daily run would wait for them."""
    first = max(group.calendar.first_day, days.start)
    end = max(first, group.calendar.event_end(min(days.end, today + ONE_DAY)))
    gone = [day for day in DayRange(first, end) if day not in read.days]
    if gone:
        told = [f"{day} ({read.refused[day]})" if day in read.refused else str(day) for day in gone[:NAMED]]
        more = f" and {len(gone) - NAMED} more" if gone[NAMED:] else ""
        yield f"{read.table} of {', '.join(told)}{more} is not there; what was known before it counts"


def _by_champion(lake: Lake, model: ModelSpec, joined: pl.DataFrame) -> pl.DataFrame:
    """The rows with score and probability, in the order they came."""
    placed = joined.with_row_index("place")
    by_champion = [
        rows.with_columns(scored(model, _stored(lake, model, str(version)), rows))
        for (version,), rows in placed.partition_by("model_version", as_dict=True, maintain_order=True).items()
    ]
    made = pl.concat(by_champion).sort("place")
    calibrators = dict(made.select(SERVED_BY, "calibrator").iter_rows())
    by_served = made.select(pl.col(SERVED_BY).alias(DAY), SCORE)
    return made.with_columns(probabilities(by_served, calibrators))


def _stored(lake: Lake, model: ModelSpec, version: str) -> dict[str, object]:
    table, day = f"models/{model.name}", date.fromisoformat(version[:10])
    snapshot = lake.store.snapshot(table)
    rows = snapshot.collect(snapshot.scan(day, day + ONE_DAY)) if snapshot else pl.DataFrame({"model_version": []})
    held = rows.filter(pl.col("model_version") == version)
    if held.is_empty():
        raise MissingPartitionError(f"{table} of {day} does not hold {version}, which serves; restore the table.")
    return held.row(0, named=True)


def _lacking(
    groups: Mapping[str, FeatureGroupSpec], features: pl.DataFrame, newest: Mapping[str, date | None]
) -> Iterator[Lacking]:
    for name in groups:
        columns = [column for column in features.columns if column.startswith(f"{name}{FEATURE_SEPARATOR}")]
        if name not in newest or not columns:
            continue
        nothing = int(features.select(pl.all_horizontal(pl.col(columns).is_null()).sum()).item())
        if nothing:
            yield Lacking(name, nothing, features.height, newest[name])
