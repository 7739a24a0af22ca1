"""Replays a workload's whole calendar: what days of operation would have done, in ranges.

What belongs here: the order of runs, where a decision to train cuts a range, resuming a killed replay.
What does not: any computation; every step is an ordinary Dagster run of ordinary assets.

A champion never serves a day whose evidence caused it: later days are computed anew once a decision to train
has been carried out.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from ml_assets.assets.keys import table
from ml_assets.domain.content import fingerprint
from ml_assets.domain.errors import HomeError
from ml_assets.domain.specs import Calendar, Catalog, ModelSpec
from ml_assets.launch import Launcher
from partitions import DayRange
from resources.lake import Lake

SEGMENT_DAYS = 30
JOURNAL = "replay.json"
SERVING = ("predictions", "drift_reports", "performance_reports")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Journal:
    """How far a replay has come: finished steps, the next day of each model, the versions they left behind."""

    declarations: str
    steps: tuple[str, ...] = ()
    next_day: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, int], ...] = ()

    @classmethod
    def read(cls, path: Path, declarations: str) -> "Journal":
        """The journal at `path`, or an empty one."""
        if not path.exists():
            return cls(declarations)
        try:
            held = json.loads(path.read_text())
            return cls(
                declarations=held["declarations"],
                steps=tuple(held["steps"]),
                next_day=tuple(held["next_day"].items()),
                versions=tuple(held["versions"].items()),
            )
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise HomeError(f"{path} is damaged ({error!r}). Remove it to replay from the beginning.") from error

    def write(self, path: Path) -> None:
        """Replaces the journal at `path` in one rename."""
        fresh = path.with_suffix(".new")
        held = {
            "declarations": self.declarations,
            "steps": self.steps,
            "next_day": dict(self.next_day),
            "versions": dict(self.versions),
        }
        fresh.write_text(json.dumps(held, indent=1))
        fresh.replace(path)

    def day_of(self, model: ModelSpec) -> date:
        """The first day of a model that is still to be replayed."""
        held = dict(self.next_day).get(model.name)
        return date.fromisoformat(held) if held else model.calendar.first_day


@dataclass
class Replay:
    """A replay of everything in a catalogue, over a home."""

    launcher: Launcher
    progress: Progress

    def __post_init__(self) -> None:
        self._path = self.launcher.home.path / JOURNAL
        self._journal = Journal.read(self._path, declarations_of(self.launcher.catalog))
        self._check_versions()

    @property
    def made_from_other_declarations(self) -> bool:
        """Whether the home was replayed from a catalogue that has changed since."""
        return self._journal.declarations != declarations_of(self.launcher.catalog)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to replay."""
        models = self.launcher.catalog.models.values()
        steps = {name for name, _, _ in self._shared_steps()} | {_last_labels_step(model) for model in models}
        replayed = all(self._journal.day_of(model) >= model.calendar.end_day for model in models)
        return replayed and steps <= set(self._journal.steps)

    def run(self) -> None:
        """Replays what is left; every finished step is where a killed replay resumes."""
        for name, assets, days in self._shared_steps():
            if name not in self._journal.steps:
                self.progress(name, 0, 1)
                self.launcher.run(assets, days)
                self._finish(assets, step=name)
            self.progress(name, 1, 1)
        for model in self.launcher.catalog.models.values():
            self._run_model(model)

    def _shared_steps(self) -> Iterator[tuple[str, list[str], DayRange]]:
        catalog = self.launcher.catalog
        for calendar in _calendars(catalog):
            year = DayRange(calendar.first_day, calendar.end_day)
            to_last_label = DayRange(calendar.first_day, calendar.outcome_end_day)
            for stage, specs, days in (
                ("events", catalog.sources, year),
                ("features", catalog.features, year),
                ("outcomes", catalog.outcomes, to_last_label),
            ):
                names = [table(stage, name) for name, spec in specs.items() if spec.calendar == calendar]
                yield f"{calendar.name}: {stage}", names, days

    def _run_model(self, model: ModelSpec) -> None:
        calendar, lake = model.calendar, self.launcher.lake
        decisions, champions = table("retrain_decisions", model.name), table("champions", model.name)
        day = self._journal.day_of(model)
        total = (calendar.end_day - calendar.first_day).days
        if day == calendar.first_day:
            quiet = DayRange(calendar.first_day, model.first_training_day)
            self.launcher.run([champions], quiet)
            self.launcher.run([decisions], DayRange(quiet.start, quiet.end + timedelta(days=1)))
            day = self._next(model, quiet.end, [champions, decisions])
        while day < calendar.end_day:
            self.progress(f"{model.name}: replaying", (day - calendar.first_day).days, total)
            end = min(day + timedelta(days=SEGMENT_DAYS), calendar.end_day)
            following = day
            if _decided_to_train(lake, model, day):
                self.launcher.retrain(model.name, day)
                following = day + timedelta(days=1)
            if following < end:
                self.launcher.run([champions], DayRange(following, end))
            serving = [table(stage, model.name) for stage in SERVING]
            self.launcher.run(serving, DayRange(day, end))
            until = min(end + timedelta(days=1), calendar.end_day)
            if until > day + timedelta(days=1):
                self.launcher.run([decisions], DayRange(day + timedelta(days=1), until))
            cut = _first_decision(lake, model, day + timedelta(days=1), until)
            if cut:
                # Decided as if nothing had been trained at the cut: the champions computed anew must not see them.
                lake.withdraw(decisions, DayRange(cut + timedelta(days=1), until))
            day = self._next(model, cut or end, [champions, *serving, decisions])
        self._last_labels(model)
        self.progress(f"{model.name}: replaying", total, total)

    def _last_labels(self, model: ModelSpec) -> None:
        step = _last_labels_step(model)
        calendar = model.calendar
        if step in self._journal.steps:
            return
        reports = [table("performance_reports", model.name)]
        if calendar.label_lag_days:
            self.launcher.run(reports, DayRange(calendar.end_day, calendar.outcome_end_day))
        self._finish(reports, step=step)

    def _next(self, model: ModelSpec, day: date, assets: list[str]) -> date:
        next_days = {**dict(self._journal.next_day), model.name: day.isoformat()}
        self._journal = replace(self._journal, next_day=tuple(next_days.items()))
        self._finish(assets)
        return day

    def _finish(self, assets: list[str], step: str | None = None) -> None:
        found = {name: self.launcher.lake.store.snapshot(name) for name in assets}
        versions = {**dict(self._journal.versions), **{name: s.version for name, s in found.items() if s}}
        steps = (*self._journal.steps, step) if step else self._journal.steps
        self._journal = replace(self._journal, versions=tuple(versions.items()), steps=steps)
        self._journal.write(self._path)

    def _check_versions(self) -> None:
        for name, version in self._journal.versions:
            found = self.launcher.lake.store.snapshot(name)
            if found is None or found.version < version:
                came = "is gone" if found is None else f"stands at version {found.version}"
                raise HomeError(
                    f"{self._path} says that {name} reached version {version}, but the table {came}. Restore the "
                    "table, or remove the file to replay from the beginning."
                )


def declarations_of(catalog: Catalog) -> str:
    """A fingerprint of the catalogue's names and code, to notice that a home was made from another one."""
    from ml_assets.assets.training_sets import feature_version

    return fingerprint([(name, feature_version(model, catalog)) for name, model in catalog.models.items()])


def _last_labels_step(model: ModelSpec) -> str:
    return f"{model.name}: last labels"


def _calendars(catalog: Catalog) -> list[Calendar]:
    return list(dict.fromkeys(source.calendar for source in catalog.sources.values()))


def _decided_to_train(lake: Lake, model: ModelSpec, day: date) -> bool:
    return _first_decision(lake, model, day, day + timedelta(days=1)) == day


def _first_decision(lake: Lake, model: ModelSpec, start: date, end: date) -> date | None:
    read = lake.read(table("retrain_decisions", model.name), start, end)
    if not read.days:
        return None
    days: pl.Series = read.rows.filter(pl.col("decision") == "train").collect()["partition_date"]
    first = days.min()
    return first if isinstance(first, date) else None
