"""Why a prediction is what it is: its score rebuilt from the recorded versions of all that it was made from.

What belongs here: gathering one row's explanation from the records. What does not: laying it out
(`explain_terminal.py`), what a record holds (`resources/records.py`), a training once more (`reproduce.py`).

Everything is read as the record of the prediction's day names it, so whatever was repaired since changes nothing; what
has another content by now is said.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from ml_assets.domain.calibration import Calibrator, apply_calibrator
from ml_assets.domain.day_records import GOOD
from ml_assets.domain.errors import RecordsError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import as_of, asked_for, feature_rows, read_window
from ml_assets.domain.serving import scored
from ml_assets.domain.slices import Slices
from ml_assets.domain.snapshots import rows_to_join
from ml_assets.domain.specs import FEATURE_SEPARATOR, Catalog, FeatureGroupSpec, ModelSpec
from ml_assets.domain.training_rows import SLICES
from ml_assets.reproduce import changed_since, model_of
from resources.as_recorded import Recorded, as_read, record_of, rows_of
from resources.lake import Lake

STAGE = "predictions"
ROW_KEY = "row_key"
ONE_DAY = timedelta(days=1)
NEAREST = 4


@dataclass(frozen=True, slots=True)
class Value:
    """A feature's value: when it became known, what it is about, which row of which day holds it, or why it is null.

    `sources` are the days of events that its day was computed from, each with the version that was read.
    """

    feature: str
    value: Any
    importance: float | None
    known_at: datetime | None
    event_time: datetime | None
    table: str
    version: int | None
    day: date | None
    sources: tuple[str, ...]
    why_null: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One prediction: what was said, by whom, from what, and whether all of that gives the same once more."""

    table: str
    day: date
    row_key: str
    prediction_time: datetime
    event_time: datetime
    score: float
    probability: float
    score_again: float
    probability_again: float
    label: int | None
    label_known_at: datetime | None
    calibrator: Mapping[str, Any]
    model: Mapping[str, Any]
    decision: Mapping[str, Any]
    slices: Mapping[str, str]
    values: tuple[Value, ...]
    record: Mapping[str, Any]
    changed: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether the recorded inputs give the recorded score and probability to the last bit."""
        return (self.score, self.probability) == (self.score_again, self.probability_again)

    def to_json(self) -> str:
        """Everything as JSON, instants in UTC."""
        return json.dumps({**asdict(self), "identical": self.identical}, indent=2, default=str)


def explain(
    lake: Lake, catalog: Catalog, table: str, row_key: str, day: date | None = None, *, version: int | None = None
) -> Explanation:
    """The explanation of a row of predictions, of its newest day unless one is given, now or at a version of the table.

    Raises CatalogError for what is no table of predictions, RecordsError when there is no such row or its day is not on
    record, TableUnreadableError when a version that was recorded can no longer be read.
    """
    model = model_of(catalog, table, STAGE)
    at = day or _newest_day(lake, table, row_key, version)
    made = record_of(lake, table, at, version=version)
    if made is None or made.empty:
        refused = lake.refused(table, at, at + ONE_DAY).get(at)
        why = f"it is refused: {refused}" if refused else (made.empty if made else "nothing is on record of that day")
        raise RecordsError(f"{table} of {at} cannot be explained: {why}.")
    rows = rows_of(lake, table, at, made.commit.version)
    row = rows.filter(pl.col(ROW_KEY) == row_key)
    if row.is_empty():
        raise RecordsError(f"{table} of {at} has no row {row_key!r}.{_nearest(rows[ROW_KEY], row_key)}")
    return _Explaining(lake, catalog, model, made).of(row.row(0, named=True))


def _newest_day(lake: Lake, table: str, row_key: str, version: int | None) -> date:
    snapshot = lake.store.snapshot(table, version=version)
    if snapshot is None:
        raise RecordsError(f"{table} holds nothing yet: run `ml-assets demo`, or the stages of its model.")
    keys = snapshot.collect(snapshot.scan(date.min, date.max).select(DAY, ROW_KEY))
    days = keys.filter(pl.col(ROW_KEY) == row_key)[DAY]
    if days.is_empty():
        raise RecordsError(f"{table} has no row {row_key!r}.{_nearest(keys[ROW_KEY], row_key)}")
    newest = days.max()
    assert isinstance(newest, date)  # noqa: S101  there is one
    return newest


def _nearest(keys: pl.Series, row_key: str) -> str:
    """The keys around the place where one would stand in their order."""
    ordered = keys.unique().sort()
    place = int(ordered.search_sorted(row_key))
    near = ordered.slice(max(0, place - NEAREST // 2), NEAREST).to_list()
    return f" Near it are {', '.join(map(repr, near))}." if near else " It has no rows."


@dataclass
class _Explaining:
    """One row's explanation from the record of its day."""

    lake: Lake
    catalog: Catalog
    model: ModelSpec
    made: Recorded

    def of(self, row: Mapping[str, Any]) -> Explanation:
        groups = self.catalog.groups_of(self.model)
        day, key = self.made.day, row[ROW_KEY]
        frames = {name: self._rows(name, group) for name, group in groups.items()}
        frames[self.model.spine] = frames[self.model.spine].filter(pl.col(ROW_KEY) == key)
        asking = asked_for(self.model, frames[self.model.spine], (day, day + ONE_DAY))
        features = feature_rows(self.model, groups, frames, (day, day + ONE_DAY))
        if features.height != 1:
            raise RecordsError(
                f"{self.made.table} of {day}: features/{self.model.spine} as recorded holds {features.height} rows "
                f"{key!r} that were known when the score was needed, wanted one."
            )
        model = self._model(row["model_version"])
        calibrator = self._calibrator()
        again = scored(self.model, model, features).to_numpy()
        mapped = apply_calibrator(Calibrator.from_json(calibrator["calibrator"]), again)
        label = self._label(key)
        return Explanation(
            table=self.made.table,
            day=day,
            row_key=key,
            prediction_time=row["prediction_time"],
            event_time=asking["event_time"][0],
            score=row["score"],
            probability=row["probability"],
            score_again=float(again[0]),
            probability_again=float(mapped[0]),
            label=label["label"] if label else None,
            label_known_at=label["known_at"] if label else None,
            calibrator={
                "version": calibrator["calibrator_version"],
                "method": calibrator["method"],
                "map": json.loads(calibrator["calibrator"]),
                "why": calibrator["reason"],
                "held-out rows": calibrator["rows"],
            },
            model={
                name: model[name] for name in ("model_version", "role", "judged_by", DAY, "training_content", "seed")
            },
            decision=self._decision(model[DAY]),
            slices={name: str(part) for name, part in Slices.from_json(model[SLICES]).named().items()},
            values=self._values(groups, frames, asking, features, json.loads(model["importances"])),
            record={
                "version": self.made.commit.version,
                "run": self.made.commit.metadata.get("run_id"),
                "code version": self.made.code_version,
                "feature version": row["feature_version"],
            },
            changed=(*self._inputs_changed(), *changed_since(self.catalog, self.model, model)),
        )

    def _rows(self, name: str, group: FeatureGroupSpec) -> pl.DataFrame:
        if name not in self.made.reads:
            raise RecordsError(
                f"{self.made.table} of {self.made.day} did not read {name!r}, which the model {self.model.name!r} "
                "declares now: it was made from another declaration."
            )
        read, _ = as_read(self.lake, self.made.reads[name], self.made.day)
        return rows_to_join(group, read, self.made.day, read_window(group, self.model)).collect()

    def _model(self, version: str) -> Mapping[str, Any]:
        table = f"models/{self.model.name}"
        read = self.made.reads.get("models")
        snapshot = self.lake.store.snapshot(table, version=read.version if read else None)
        found = (
            snapshot.collect(snapshot.scan(date.min, date.max).filter(pl.col("model_version") == version))
            if snapshot
            else None
        )
        if found is None or found.is_empty():
            raise RecordsError(f"{table} does not hold {version}, which {self.made.table} of {self.made.day} names.")
        return found.row(0, named=True)

    def _calibrator(self) -> Mapping[str, Any]:
        read, _ = as_read(self.lake, self.made.reads["calibrators"], self.made.day)
        found = read.rows.filter(pl.col(DAY) == self.made.day).collect()
        if found.is_empty():
            raise RecordsError(f"{self.made.table} of {self.made.day} names no calibrator of its day.")
        return found.row(0, named=True)

    def _label(self, key: str) -> Mapping[str, Any] | None:
        end = self.made.day + timedelta(days=self.model.calendar.label_lag_days + 2)
        labels = self.lake.read(f"outcomes/{self.model.outcome}", self.made.day - ONE_DAY * 2, end)
        found = labels.rows.filter(pl.col(ROW_KEY) == key).collect() if labels.filled else None
        return found.row(0, named=True) if found is not None and found.height else None

    def _decision(self, trained: date) -> dict[str, Any]:
        """Why a model was trained on a day, and why it serves."""
        told: dict[str, Any] = {"day": trained}
        for stage, columns in (("retrain_decisions", ("trigger", "reasons")), ("champions", ("decision", "reason"))):
            read = self.lake.read(f"{stage}/{self.model.name}", trained, trained + ONE_DAY)
            row = read.rows.collect().row(0, named=True) if read.filled else {}
            told |= {column: row.get(column) for column in columns}
        told["reasons"] = json.loads(told["reasons"]) if told["reasons"] else []
        return told

    def _values(
        self,
        groups: Mapping[str, FeatureGroupSpec],
        frames: Mapping[str, pl.DataFrame],
        asking: pl.DataFrame,
        features: pl.DataFrame,
        importances: Mapping[str, float],
    ) -> tuple[Value, ...]:
        origin = {
            name: frames[name].row(0, named=True)
            if name == self.model.spine
            else as_of(asking, frames[name], group, ["known_at", "event_time", DAY]).row(0, named=True)
            for name, group in groups.items()
        }
        values = []
        for column in self.model.feature_columns:
            name = column.split(FEATURE_SEPARATOR, 1)[0]
            of_row, value = origin[name], features[column][0]
            read = self.made.reads[name]
            values.append(
                Value(
                    feature=column.replace(FEATURE_SEPARATOR, ".", 1),
                    value=value,
                    importance=importances.get(column),
                    known_at=of_row["known_at"],
                    event_time=of_row["event_time"],
                    table=read.table,
                    version=read.version,
                    day=of_row[DAY],
                    sources=self._sources(read.table, read.version, of_row[DAY]),
                    why_null="" if value is not None else _why_null(groups[name], frames[name], asking, of_row[DAY]),
                )
            )
        return tuple(sorted(values, key=lambda value: -(value.importance or 0.0)))

    def _sources(self, table: str, version: int | None, day: date | None) -> tuple[str, ...]:
        made = record_of(self.lake, table, day, version=version) if day and version is not None else None
        said = []
        for read in made.reads.values() if made and day else ():
            days = sorted(each for each, content in read.for_days([day]).contents.items() if content)
            if days and read.table != table:
                span = str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"
                said.append(f"{read.table} {span} (version {read.version})")
        return tuple(said)

    def _inputs_changed(self) -> list[str]:
        """Which days that were read have another content by now."""
        said = []
        for read in self.made.reads.values():
            then = read.for_days([self.made.day]).contents
            if not then:
                continue
            record = self.lake.record(read.table).filter(pl.col(DAY).is_in(list(then)))
            now = dict(record.filter(pl.col("state") == GOOD).select(DAY, "content").iter_rows())
            days = sorted(day for day, content in then.items() if now.get(day) != content)
            if days:
                more = f" and {len(days) - 1} more days" if days[1:] else ""
                said.append(f"{read.table} of {days[0]}{more} has another content by now than when this was predicted")
        return said


def _why_null(group: FeatureGroupSpec, rows: pl.DataFrame, asking: pl.DataFrame, day: date | None) -> str:
    """Why a value is null: its row says so, or no row of the entity counts."""
    if day is not None:
        return "the row that counts holds no value"
    entity = {name: asking[name][0] for name in group.entity}
    if lacking := [name for name, value in entity.items() if value is None]:
        return f"the row that asks has no {', '.join(lacking)}"
    own = rows.filter(*(pl.col(name) == value for name, value in entity.items()))
    of = ", ".join(f"{name} {value}" for name, value in entity.items())
    known = own.filter(pl.col("known_at") <= asking["prediction_time"][0])
    if known.is_empty():
        return f"nothing was known of {of} by then in the {rows[DAY].n_unique()} days that are looked at"
    if group.valid_for is not None:
        return f"no row of {of} is about that instant (each holds for {group.valid_for})"
    newest = known["known_at"].max()
    return f"the newest known of {of} is of {newest:%Y-%m-%d %H:%M}, older than {group.max_age}"
