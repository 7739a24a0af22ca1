"""Replays a workload's whole calendar: what days of operation would have done, in ranges.

What belongs here: the order of runs, where a decision to train cuts a range.
What does not: any computation; every step is an ordinary Dagster run of ordinary assets. Nor any memory of how far it
has come: that is what the lake has on record, so a killed replay goes on where the records end.

A champion never serves a day whose evidence caused it: decisions made after a decision to train are taken back once it
has been carried out, and made anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from ml_assets.assets import declared_graph, stages
from ml_assets.assets.stage import code_version_of
from ml_assets.domain.local_days import DAY
from ml_assets.domain.planning import plan
from ml_assets.domain.promotion import ATTEMPTED
from ml_assets.domain.specs import Calendar, Catalog, ModelSpec
from ml_assets.launch import Launcher
from ml_assets.repair import tell_what_is_untold
from partitions import DayRange, today_in
from resources.lake import Lake
from resources.overview import untold_of

SEGMENT_DAYS = 30
SHARED = ("events", "source_reports", "features", "outcomes")
TRAINING = ("training_sets", "models")
SERVING = ("champions", "calibrators", "predictions", "drift_reports", "performance_reports")
CAUSE = "replay"

Progress = Callable[[str, int, int], None]
Replayed = Callable[[ModelSpec, date], None]


def _to_nobody(_model: ModelSpec, _before: date) -> None:
    """Nobody wants to hear how far a model has come."""


@dataclass
class Replay:
    """A replay of everything in a catalogue, over a home: of the days that are over, before `until` by calendar.

    `replayed` is told, as it goes, before which day a model's event days are done.
    """

    launcher: Launcher
    progress: Progress
    until: Mapping[str, date] = field(default_factory=dict)
    replayed: Replayed = _to_nobody

    def __post_init__(self) -> None:
        self._graph = declared_graph(self.launcher.catalog)

    @property
    def finished(self) -> bool:
        """Whether every day of every asset is on record, here and in Dagster, and every decision was carried out."""
        lake, catalog = self.launcher.lake, self.launcher.catalog
        due = {asset.table: self._whole(asset.calendar) for asset in self._graph}
        missing = [
            step
            for step in plan(self._graph, lake.records(self._graph.assets), due=due).steps
            if step.reason == "missing"
        ]
        return (
            not missing
            and all(not _untrained(lake, model) for model in catalog.models.values())
            and not untold_of(lake, self._graph, self.launcher.instance)
        )

    @property
    def made_from_other_code(self) -> bool:
        """Whether days on record were computed by other declarations than today's."""
        lake, catalog = self.launcher.lake, self.launcher.catalog
        predictions = next(stage for stage in stages() if stage.name == "predictions")
        return any(
            set(lake.record(f"predictions/{model.name}")["code_version"])
            - {"", code_version_of(predictions, model, catalog)}
            for model in catalog.models.values()
        )

    def run(self) -> None:
        """Replays what is not on record yet."""
        tell_what_is_untold(self.launcher)
        for calendar in _calendars(self.launcher.catalog):
            for stage in SHARED:
                name = f"{calendar.name}: {stage}"
                self.progress(name, 0, 1)
                tables = [asset.table for asset in self._graph if asset.stage == stage and asset.calendar == calendar]
                self._compute_missing(tables, DayRange(*self._whole(calendar)))
                self.progress(name, 1, 1)
        for model in self.launcher.catalog.models.values():
            self._run_model(model)

    def _run_model(self, model: ModelSpec) -> None:
        calendar, lake = model.calendar, self.launcher.lake
        event_end = self._event_end(calendar)
        year = DayRange(calendar.first_day, event_end)
        decisions = f"retrain_decisions/{model.name}"
        training = [f"{stage}/{model.name}" for stage in TRAINING]
        serving = [f"{stage}/{model.name}" for stage in SERVING]
        settled = calendar.first_day
        # What people decided is read by champions: a day that is on record after them would be news to them.
        self._compute_missing([f"interventions/{model.name}"], year)
        day = self._resume(model)
        while day < event_end:
            self.progress(f"{model.name}: replaying", (day - calendar.first_day).days, len(year))
            self._compute_missing([decisions], DayRange(day, day + timedelta(days=1)))
            # Days up to here were decided: what was trained on them, if anything, goes on record.
            self._compute(training, DayRange(settled, day + timedelta(days=1)))
            settled = day + timedelta(days=1)
            end = min(day + timedelta(days=SEGMENT_DAYS), event_end)
            self._compute(serving, DayRange(day, end))
            until = min(end + timedelta(days=1), event_end)
            if until > day + timedelta(days=1):
                self._compute_missing([decisions], DayRange(day + timedelta(days=1), until))
            cut = _first_decision(lake, model, day + timedelta(days=1), until)
            if cut:
                self._take_back(model, cut)
            day = cut or end
            self.replayed(model, day)
        self._compute_missing(training, DayRange(settled, max(settled, event_end)))
        every = [asset.table for asset in self._graph if asset.name == model.name and asset.stage not in SHARED]
        self._compute_missing(every, DayRange(*self._whole(calendar)))
        self.progress(f"{model.name}: replaying", len(year), len(year))

    def _resume(self, model: ModelSpec) -> date:
        """The first day that is not replayed to its end: a decision not carried out, or a day not on record."""
        calendar, lake = model.calendar, self.launcher.lake
        untrained = _untrained(lake, model)
        if untrained:
            self._take_back(model, untrained)
            return untrained
        event_end = self._event_end(calendar)
        first = event_end
        for stage in ("retrain_decisions", *TRAINING, *SERVING):
            on_record = set(lake.record(f"{stage}/{model.name}")[DAY])
            missing = (day for day in DayRange(calendar.first_day, event_end) if day not in on_record)
            first = min(first, next(missing, event_end))
        return first

    def _take_back(self, model: ModelSpec, cut: date) -> None:
        """Decisions after `cut` were made as if nothing had been trained there: they are made anew."""
        lake = self.launcher.lake
        for table, first in (("retrain_decisions", cut + timedelta(days=1)), ("champions", cut), ("calibrators", cut)):
            on_record = lake.record(f"{table}/{model.name}")[DAY]
            lake.withdraw(f"{table}/{model.name}", [day for day in on_record if day >= first])

    def _event_end(self, calendar: Calendar) -> date:
        return calendar.event_end(self._until(calendar))

    def _whole(self, calendar: Calendar) -> tuple[date, date]:
        return calendar.first_day, calendar.outcome_end(self._until(calendar))

    def _until(self, calendar: Calendar) -> date:
        over = today_in(calendar.timezone)
        return min(self.until.get(calendar.name, over), over)

    def _compute(self, tables: Sequence[str], days: DayRange) -> None:
        """Computes what of the days is missing or out of step."""
        if len(days):
            self.launcher.run(tables, days, cause=CAUSE, by=CAUSE, only_stale=True)

    def _compute_missing(self, tables: Sequence[str], days: DayRange) -> None:
        """Computes the days that are not on record, in one run over the range that holds them."""
        due = dict.fromkeys(tables, (days.start, days.end))
        lake = self.launcher.lake
        found = plan(self._graph, lake.records(self._graph.assets), due=due, only=tables)
        missing = [step for step in found.steps if step.reason == "missing"]
        if missing:
            hull = DayRange(min(step.days.start for step in missing), max(step.days.end for step in missing))
            self._compute([table for table in tables if any(step.table == table for step in missing)], hull)


def _calendars(catalog: Catalog) -> Iterator[Calendar]:
    yield from dict.fromkeys(source.calendar for source in catalog.sources.values())


def _untrained(lake: Lake, model: ModelSpec) -> date | None:
    """The first day whose decision to train was not carried out."""
    champions = lake.read(f"champions/{model.name}", date.min, date.max)
    judged = pl.col("decision").is_in(ATTEMPTED) | (pl.col("evidence") != "{}")
    tried = champions.rows.filter(judged).collect()[DAY] if champions.filled else []
    asked = _decisions_to_train(lake, model, date.min, date.max)
    return min(set(asked) - set(tried), default=None)


def _first_decision(lake: Lake, model: ModelSpec, start: date, end: date) -> date | None:
    return min(_decisions_to_train(lake, model, start, end), default=None)


def _decisions_to_train(lake: Lake, model: ModelSpec, start: date, end: date) -> list[date]:
    read = lake.read(f"retrain_decisions/{model.name}", start, end)
    return list(read.rows.filter(pl.col("decision") == "train").collect()[DAY]) if read.filled else []
