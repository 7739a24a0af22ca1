"""A catalogue's facts over ranges of days, computed in memory from events, with the platform's own functions.

What belongs here: which rows the declared reads of a stage give a range, what was known of them at an instant.
What does not: the lake, Dagster, decisions (`ml_assets/assets`), what is shown with it (`proofs`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, TypeVar

import polars as pl
from polars.exceptions import PanicException

from ml_assets.domain.day_frame import DayFrame
from ml_assets.domain.declared import Graph, Read
from ml_assets.domain.errors import MlAssetsError, RehearsalError
from ml_assets.domain.feature_days import cut_to_days
from ml_assets.domain.ingestion import told_of
from ml_assets.domain.labels import labels_by_known_day
from ml_assets.domain.local_days import DAY, within
from ml_assets.domain.point_in_time import feature_rows, read_window
from ml_assets.domain.snapshots import rows_to_join, with_carried_over
from ml_assets.domain.specs import Calendar, Catalog, Fact, FeatureGroupSpec, ModelSpec, SourceSpec
from ml_assets.domain.stored_types import in_stored_types
from ml_assets.domain.training_rows import TrainingSet, first_event_day, training_set
from partitions import DayRange

KNOWN_AT = "known_at"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventsAtHand:
    """The good events of a source, in the order of their days, and the days that were accepted."""

    rows: pl.DataFrame
    days: frozenset[date]

    def of(self, days: DayRange) -> pl.DataFrame:
        """The events of a range of days."""
        order = self.rows[DAY]
        first = order.search_sorted(days.start, side="left")
        return self.rows.slice(first, order.search_sorted(days.end, side="left") - first)


@dataclass(frozen=True, slots=True)
class Censor:
    """What was known at `instant`; of only one kind of fact, when `only` names a source and it, or its rows (None)."""

    instant: datetime
    only: tuple[str, Fact | None] | None = None

    def seen(self, source: SourceSpec, events: pl.LazyFrame) -> pl.LazyFrame:
        """The events as they would have been seen: later rows are not there, later facts are null."""
        known = pl.col(KNOWN_AT) <= self.instant
        rows = events.filter(known) if self._takes(source, None) else events
        return rows.with_columns(
            pl.when(pl.col(fact.known_at) <= self.instant).then(pl.col(column)).alias(column)
            for fact in source.facts
            if self._takes(source, fact)
            for column in dict.fromkeys((*fact.columns, fact.known_at))
        )

    def _takes(self, source: SourceSpec, fact: Fact | None) -> bool:
        return self.only is None or self.only == (source.name, fact)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The facts of a catalogue over the days whose events are at hand, each computed as a run over a range would.

    `graph` holds the declared reads, from which the days that a range reads follow. `kept` are the ranges of days of
    each group without limit of age that are taken for stored: the first of a range carries nothing over. With `censor`
    everything is computed from what was known at an instant.
    """

    catalog: Catalog
    graph: Graph
    events: Mapping[str, EventsAtHand]
    kept: Mapping[str, Sequence[DayRange]] = field(default_factory=dict)
    censor: Censor | None = None
    _made: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    def seen_at(self, instant: datetime, only: tuple[str, Fact | None] | None = None) -> "Rehearsal":
        """The same days with what was known at the instant."""
        return replace(self, censor=Censor(instant, only), _made={})

    def can_compute(self, table: str, day: date) -> bool:
        """Whether all that a table needs of its own day was accepted, down to the events."""
        stage, name = table.split("/", 1)
        declared = self.graph[table]
        if day not in all_days(declared.calendar):
            return False
        if stage == "events":
            return day in self.events[name].days
        return declared.calendar.is_past(day) or all(
            self.can_compute(read.table, day)
            for read in declared.reads.values()
            if read.needed and read.table.split("/", 1)[0] in {"events", "features"}
        )

    def features(self, group: str, days: DayRange) -> pl.DataFrame:
        """The rows of `features/<group>` that one run over the range computes."""
        spec, table = self.catalog.features[group], f"features/{group}"

        def make() -> pl.DataFrame:
            own = self.own_rows(spec, days)
            return self._carried_over(spec, own, days, self._stored(spec)) if spec.carries_over else own

        return self._once((table, days), f"{table} over {days}", make)

    def outcomes(self, outcome: str, days: DayRange) -> pl.DataFrame:
        """The rows of `outcomes/<label>` that one run over the range computes."""
        spec, table = self.catalog.outcomes[outcome], f"outcomes/{outcome}"

        def make() -> pl.DataFrame:
            labels = labels_by_known_day(spec, self._events(self.graph[table].reads[spec.source], days)).rows
            return labels.filter(pl.col(DAY).is_in(self._days(table, days))).sort(DAY, "row_key")

        return self._once((table, days), f"{table} over {days}", make)

    def refused_labels(self, outcome: str, days: DayRange) -> pl.DataFrame:
        """The labels that one run over the range sets aside, for they come later than declared."""
        spec, table = self.catalog.outcomes[outcome], f"outcomes/{outcome}"

        def make() -> pl.DataFrame:
            refused = labels_by_known_day(spec, self._events(self.graph[table].reads[spec.source], days)).refused
            return refused.filter(pl.col(DAY).is_in(self._days(table, days)))

        return self._once((table, days, "refused"), f"{table} over {days}", make)

    def scoring_rows(self, model: ModelSpec, days: DayRange) -> pl.DataFrame:
        """The feature rows that one run over the range scores."""
        table = f"predictions/{model.name}"

        def make() -> pl.DataFrame:
            asked = self._days(table, days)
            frames = self.frames(table, model, days, asked[0] if asked else days.start)
            rows = feature_rows(model, self.catalog.groups_of(model), frames, (days.start, days.end))
            return rows.filter(pl.col(DAY).is_in(asked))

        return self._once((table, days), f"{table} over {days}", make)

    def training_set(self, model: ModelSpec, day: date, run: DayRange) -> TrainingSet:
        """The training set of a day, in one run that trains on every day of `run`."""
        table = f"training_sets/{model.name}"

        def make() -> TrainingSet:
            frames = self.training_frames(model, run)
            return training_set(model, self.catalog.groups_of(model), frames, self.labels(model, run), day)

        return self._once((table, day, run), f"{table} of {day}", make)

    def training_frames(self, model: ModelSpec, run: DayRange) -> dict[str, pl.DataFrame]:
        """The rows of every feature group that the training sets of the days of `run` are joined from."""
        return self.frames(f"training_sets/{model.name}", model, run, first_event_day(model, run.start))

    def frames(self, table: str, model: ModelSpec, run: DayRange, first_asked: date) -> dict[str, pl.DataFrame]:
        """The rows of every feature group that a run over `run` of the table joins to events from `first_asked` on."""
        reads = self.graph[table].reads
        return {
            name: rows_to_join(
                group,
                self._read(group, clamped(reads[name], run, model.calendar)),
                first_asked,
                read_window(group, model),
            ).collect()
            for name, group in self.catalog.groups_of(model).items()
        }

    def labels(self, model: ModelSpec, run: DayRange) -> pl.DataFrame:
        """The labels that training sets of the days of `run` read."""
        read = self.graph[f"training_sets/{model.name}"].reads["labels"]
        return self.outcomes(model.outcome, clamped(read, run, model.calendar))

    def own_rows(self, group: FeatureGroupSpec, days: DayRange) -> pl.DataFrame:
        """The rows of a group that are about the days of a range, without what is carried over."""
        reads = self.graph[f"features/{group.name}"].reads
        events = {name: self._events(reads[name], days) for name in group.inputs}
        rows = cut_to_days(group, group.compute(events), self._days(f"features/{group.name}", days))
        return in_stored_types(f"features/{group.name}", rows)

    def _read(self, group: FeatureGroupSpec, days: DayRange) -> DayFrame:
        """What a run reads of a group: days as they are stored."""
        if group.carries_over:
            stored = self._stored(group)
            rows = stored.rows.filter(within(days.start, days.end))
            there = frozenset(day for day in stored.days if day in days)
        else:
            rows, there = self.features(group.name, days).lazy(), frozenset(self._days(f"features/{group.name}", days))
        return DayFrame(f"features/{group.name}", rows, there, there, {}, 0)

    def _stored(self, group: FeatureGroupSpec) -> DayFrame:
        """The days of a group without limit of age, each with what it carries over."""
        table, kept = f"features/{group.name}", self.kept.get(group.name, ())

        def make() -> pl.DataFrame:
            nothing = DayFrame(table, pl.LazyFrame(), frozenset(), frozenset(), {}, None)
            made = [self._carried_over(group, self.own_rows(group, days), days, nothing) for days in kept]
            return pl.concat(made) if made else self.own_rows(group, DayRange(date.min, date.min))

        rows = self._once((table, "stored"), table, make)
        days = frozenset(day for each in kept for day in self._days(table, each))
        return DayFrame(table, rows.lazy(), days, days, {}, 0)

    def _carried_over(
        self, group: FeatureGroupSpec, own: pl.DataFrame, days: DayRange, before: DayFrame
    ) -> pl.DataFrame:
        there = self._days(f"features/{group.name}", days)
        begins = next((each.start for each in self.kept.get(group.name, ()) if days.start in each), days.start)
        begun = replace(group, calendar=replace(group.calendar, first_day=begins))
        rows, _ = with_carried_over(begun, own, there, set(days) - set(there), before)
        return rows

    def _events(self, read: Read, run: DayRange) -> pl.LazyFrame:
        source = self.catalog.sources[read.table.split("/", 1)[1]]
        events = self.events[source.name].of(clamped(read, run, source.calendar)).lazy()
        return self.censor.seen(source, events) if self.censor else events

    def _days(self, table: str, days: DayRange) -> list[date]:
        return [day for day in days if self.can_compute(table, day)]

    def _once(self, key: object, what: str, make: Callable[[], T]) -> T:
        if key not in self._made:
            as_known = f", as it was known at {self.censor.instant}" if self.censor else ""
            try:
                self._made[key] = make()
            except MlAssetsError:
                raise
            except (Exception, PanicException) as error:
                raise RehearsalError(f"{what}{as_known} cannot be computed ({told_of(error)})") from error
        made: T = self._made[key]
        return made


def event_days(calendar: Calendar) -> DayRange:
    """The event days of a calendar that ends."""
    return DayRange(calendar.first_day, calendar.event_end(date.max))


def all_days(calendar: Calendar) -> DayRange:
    """The days of a calendar that ends, those on which only labels can arrive included."""
    return DayRange(calendar.first_day, calendar.outcome_end(date.max))


def clamped(read: Read, run: DayRange, calendar: Calendar) -> DayRange:
    """The days a run reads, as far as there are such days."""
    days, there = read.window.of(run), all_days(calendar)
    start = max(days.start, there.start)
    return DayRange(start, max(start, min(days.end, there.end)))
