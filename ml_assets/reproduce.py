"""Rebuilds a training set and the models of a day from the recorded versions of what they read, and compares.

What belongs here: the rebuilding, in a folder of its own, and what is the same and what differs.
What does not: printing (`__main__.py`), what a record holds (`resources/records.py`).

Days, versions, slices and seed come from the record, so that what was repaired since changes nothing. Features,
functions and limits are those of today's catalogue and code: where they made something else of it, the differences say
which declaration or module is another one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ml_assets.domain.alarms.reports import suspect_days
from ml_assets.domain.candidates import candidates_of, code_of_candidates
from ml_assets.domain.content import content_hashes
from ml_assets.domain.day_frame import DayFrame
from ml_assets.domain.errors import ArtefactError, CatalogError, RecordsError
from ml_assets.domain.feature_version import feature_version
from ml_assets.domain.point_in_time import read_window, with_retired_features
from ml_assets.domain.slices import Slices
from ml_assets.domain.snapshots import rows_to_join
from ml_assets.domain.specs import FEATURE_SEPARATOR, Catalog, ModelSpec
from ml_assets.domain.training import TrainingError, libraries, score
from ml_assets.domain.training_rows import SLICES, alarms_of, sources_of, training_set
from resources.as_recorded import Recorded, as_read, holds, record_of, rows_of
from resources.delta_store import DeltaStore
from resources.lake import Lake

# What of a candidate is a result; the bytes of its artefact are compared by what they score.
RESULTS = ("training_content", "metrics", "importances", "reference", "slices", "seed")


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing as recorded and as rebuilt."""

    what: str
    recorded: str
    rebuilt: str
    same: bool


@dataclass
class Reproduction:
    """What came of it: everything compared, why it may differ, and what it was rebuilt from."""

    table: str
    day: date
    compared: list[Compared] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether everything is as recorded."""
        return all(each.same for each in self.compared)

    def compare(self, what: str, recorded: object, rebuilt: object, *, same: bool | None = None) -> None:
        """Notes one thing as recorded and as rebuilt."""
        told = Compared(what, str(recorded), str(rebuilt), recorded == rebuilt if same is None else same)
        self.compared.append(told)


def reproduce(lake: Lake, catalog: Catalog, table: str, day: date, folder: Path) -> Reproduction:
    """The training set and the candidates of a day, made once more in a lake of their own in `folder`, compared.

    Raises CatalogError for what is no table of models, RecordsError when nothing was trained at the day or its record
    names nothing to rebuild from, TableUnreadableError when a version that was recorded can no longer be read.
    """
    model = model_of(catalog, table)
    trained = _record(lake, table, day)
    made_of = trained.reads["training_set"]
    prepared = record_of(lake, made_of.table, day, version=made_of.version)
    if prepared is None or not prepared.reads:
        raise RecordsError(f"{made_of.table} of {day} has no record at version {made_of.version}, which {table} names.")
    candidates = rows_of(lake, table, day, trained.commit.version).filter("best")
    stored = rows_of(lake, made_of.table, day, made_of.version)
    found = Reproduction(table, day)
    recorded = made_of.contents.get(day, "")
    found.compare("stored training set", recorded, _hash(stored, day), same=holds(stored, day, recorded))
    rebuild = _Rebuild(lake, catalog, model, found)
    rebuilt = _stored_aside(folder, made_of.table, rebuild.training_set(prepared, stored), day)
    found.compare("training set", _hash(stored, day), _hash(rebuilt, day))
    found.changed += _differing_columns(stored, rebuilt)
    rebuild.candidates(candidates, stored, rebuilt)
    found.changed += changed_since(catalog, model, candidates.row(0, named=True))
    return found


def model_of(catalog: Catalog, table: str, stage: str = "models") -> ModelSpec:
    """The model of a table `<stage>/<model>`; CatalogError lists the known ones."""
    given, _, name = table.partition("/")
    if given != stage or name not in catalog.models:
        known = ", ".join(f"{stage}/{each}" for each in sorted(catalog.models)) or "none"
        raise CatalogError(f"{table!r} is no {stage}/<model>; known are {known}.")
    return catalog.models[name]


def changed_since(catalog: Catalog, model: ModelSpec, candidate: Mapping[str, Any]) -> list[str]:
    """In which modules, declarations and libraries today differs from what made a stored candidate, in words."""
    said = []
    then, now = json.loads(candidate["code"]), code_of_candidates(model, catalog)
    modules = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    if modules:
        said.append(f"modules that are other ones than when it was trained: {', '.join(modules)}")
    elif candidate["feature_version"] != feature_version(model, catalog):
        said.append("the declarations of its features or their groups are other ones than when it was trained")
    used, installed = json.loads(candidate["libraries"]), libraries()
    said += [
        f"{name} was {used.get(name)} and is {installed.get(name)}"
        for name in sorted(used.keys() | installed.keys())
        if used.get(name) != installed.get(name)
    ]
    return said


def _record(lake: Lake, table: str, day: date) -> Recorded:
    found = record_of(lake, table, day)
    if found is None:
        why = lake.refused(table, day, date.fromordinal(day.toordinal() + 1)).get(day)
        said = f"it is refused: {why}" if why else "nothing is on record of that day"
        raise RecordsError(f"{table} of {day} cannot be rebuilt: {said}.")
    if found.empty or "training_set" not in found.reads:
        raise RecordsError(f"{table} of {day} holds no model: {found.empty or 'its record names no training set'}.")
    return found


@dataclass
class _Rebuild:
    """The rebuilding of one day's model; what is compared goes into `found`."""

    lake: Lake
    catalog: Catalog
    model: ModelSpec
    found: Reproduction

    def training_set(self, prepared: Recorded, stored: pl.DataFrame) -> pl.DataFrame:
        """The training set from the recorded versions of its reads, over the recorded slices."""
        groups = self.catalog.groups_of(self.model)
        slices = Slices.from_json(stored[SLICES][0])
        frames = {}
        for name, group in groups.items():
            read = self._read(prepared, name)
            window = read_window(group, self.model)
            frames[name] = rows_to_join(group, read, slices.window.start, window).collect()
        labels = self._read(prepared, "labels").rows.collect()
        reports = {name: self._read(prepared, alarms_of(name)) for name in sources_of(self.model, self.catalog)}
        suspect = suspect_days({name: read.rows.collect() for name, read in reports.items() if read.filled})
        made = training_set(self.model, groups, frames, labels, prepared.day, as_recorded=slices, suspect=suspect).rows
        return with_retired_features(made, stored.schema)

    def _read(self, prepared: Recorded, name: str) -> DayFrame:
        if name not in prepared.reads:
            raise RecordsError(
                f"{prepared.table} of {prepared.day} did not read {name!r}, which the model {self.model.name!r} "
                "declares now: it was made from another declaration."
            )
        read, differing = as_read(self.lake, prepared.reads[name], prepared.day)
        self.found.read.append(f"{read.table}@{read.version}, {len(read.days)} days")
        if differing:
            days = ", ".join(map(str, differing[:3])) + (f" and {len(differing) - 3} more" if differing[3:] else "")
            self.found.compare(f"what was read of {read.table}", "as recorded", f"another content of {days}")
        return read

    def candidates(self, recorded: pl.DataFrame, stored: pl.DataFrame, rebuilt: pl.DataFrame) -> None:
        """Compares the recorded candidates with those that the rebuilt training set gives."""
        first = recorded.row(0, named=True)
        try:
            made = candidates_of(
                self.model,
                rebuilt,
                self.found.day,
                seed=first["seed"],
                feature_version=first["feature_version"],
                code=json.loads(first["code"]),
            )
        except TrainingError as error:
            self.found.compare("fitting", "done", f"failed: {error}")
            return
        by_role = {row["role"]: row for row in made.iter_rows(named=True)}
        for row in recorded.iter_rows(named=True):
            name, twin = f"{row['role']} model", by_role.pop(row["role"], None)
            if twin is None:
                self.found.compare(name, row["model_version"], "none")
                continue
            self.found.compare(f"{name}: version", row["model_version"], twin["model_version"])
            for result in RESULTS:
                if row[result] != twin[result]:
                    self.found.compare(f"{name}: {result}", _short(row[result]), _short(twin[result]))
            self._scores(name, row["artefact"], twin["artefact"], stored)
        for role, row in by_role.items():
            self.found.compare(f"{role} model", "none", row["model_version"])

    def _scores(self, name: str, recorded: bytes, rebuilt: bytes, rows: pl.DataFrame) -> None:
        """Compares what both artefacts say of every row of the stored training set."""
        try:
            theirs, ours = (score(self.model, artefact, rows) for artefact in (recorded, rebuilt))
        except ArtefactError as error:
            self.found.compare(f"{name}: scores", "the stored artefact scores", str(error))
            return
        apart = float(np.max(np.abs(theirs - ours), initial=0.0))
        said = f"{int((theirs != ours).sum())} of {len(rows)} rows differ, by at most {apart:.3g}"
        self.found.compare(f"{name}: scores", f"{len(rows)} rows", said if apart else f"{len(rows)} rows")


def _stored_aside(folder: Path, table: str, rows: pl.DataFrame, day: date) -> pl.DataFrame:
    """The rows as a lake of their own stores them."""
    aside = DeltaStore(str(folder / "lake"))
    aside.replace_days(table, rows, [day], keep_empty_days=True)
    snapshot = aside.snapshot(table)
    assert snapshot  # noqa: S101  it was written above
    return snapshot.collect(snapshot.scan(day, date.fromordinal(day.toordinal() + 1)))


def _differing_columns(stored: pl.DataFrame, rebuilt: pl.DataFrame) -> list[str]:
    """Which columns, and how many rows, of two training sets differ, in words."""
    said = []
    for which, here, there in (("stored", stored, rebuilt), ("rebuilt", rebuilt, stored)):
        only = here.join(there, on="row_key", how="anti").height
        columns = [column for column in here.columns if column not in there.columns]
        said += [f"{only} rows are only in the {which} training set"] if only else []
        said += [f"columns only in the {which} training set: {', '.join(columns)}"] if columns else []
    shared = [column for column in stored.columns if column in rebuilt.columns and column != "row_key"]
    both = stored.join(rebuilt, on="row_key", suffix=":rebuilt")
    for column in shared:
        count = both.filter(pl.col(column).ne_missing(pl.col(f"{column}:rebuilt"))).height
        if count:
            feature = column.replace(FEATURE_SEPARATOR, ".", 1)
            said.append(f"{feature} differs in {count} of {both.height} rows")
    return said


def _hash(rows: pl.DataFrame, day: date) -> str:
    return content_hashes(rows, days=[day])[day]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
