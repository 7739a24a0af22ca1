"""The declarations a user writes, as frozen values.

What belongs here: what a source, a feature group, an outcome and a model *are*.
What does not: how Dagster runs them (`ml_assets/assets`), how names are cross-checked (`ml_assets/catalog`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Literal

import polars as pl
from pandera.polars import DataFrameModel

from ml_assets.domain.errors import CatalogError
from ml_assets.domain.origins import Origin

FEATURE_SEPARATOR = "__"
A_CENTURY = 36_500
"""How many days an expanding window of a live workload may reach back: all that will ever be."""
A_DAY = timedelta(days=1)
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)
Inputs = Mapping[str, pl.LazyFrame]
Instant = Annotated[pl.Datetime, "us", "UTC"]


def _no_limits() -> Mapping[str, float]:
    return MappingProxyType({})


def _no_days() -> Mapping[date, str]:
    return MappingProxyType({})


def _no_texts() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    """The days of a workload: local days in `timezone`, half-open `[first_day, end_day)`, or from `first_day` on.

    Without an `end_day` the workload is live: its days are those that are over. Labels may come up to `label_lag_days`
    after the event's day, so the workload runs that many days past `end_day`: on those days outcomes and performance
    reports may have rows, the rest has none. `owners` are who to ask: `team:<name>` or a mail address.
    """

    name: str
    timezone: str
    first_day: date
    end_day: date | None
    label_lag_days: int
    owners: tuple[str, ...] = ()

    @property
    def outcome_end_day(self) -> date | None:
        """The first day on which no label can arrive any more; None for a live workload."""
        return None if self.end_day is None else self.end_day + timedelta(days=self.label_lag_days)

    def is_past(self, day: date) -> bool:
        """Whether a day lies after the last event day."""
        return self.end_day is not None and day >= self.end_day

    def event_end(self, until: date) -> date:
        """The end of the event days before `until`, and of none after the last."""
        return max(self.first_day, until if self.end_day is None else min(until, self.end_day))

    def outcome_end(self, until: date) -> date:
        """The end of all days before `until`, those on which only labels can arrive included."""
        return max(self.first_day, until if self.outcome_end_day is None else min(until, self.outcome_end_day))


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """Columns of an event row that become known together, at the instant in column `known_at`."""

    known_at: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSpec:
    """Where events come from, what a good row is, and when each of its columns became known.

    `origin` is where each day's rows are delivered; what was delivered is kept as the day's extract. `parse` turns an
    extract into events (event_time, known_at and facts in UTC); it is pure. It makes one event of each delivered row,
    from that row alone and in the order they came, and keeps its `partition_date`; what it cannot make sense of it
    makes null, and the contract refuses the row. `delivered` names the columns `parse` reads and their types; it
    is handed no others. `keys` identify a row within its day and order the day. Empty text counts as null, except
    in the columns of `empty_text` (of the extract or of the events).

    A day's delivery is expected at the latest `delivered_within` that time after the end of the local day, or of the
    last day that its file holds; until it comes the day is late. Nothing is delivered for `holidays`, nor for weekdays
    that are not among `delivered_on` (1 Monday … 7 Sunday): such a day has no rows, and is good. So is any day without
    rows where `min_rows` is 0.

    `alarm_budget` is the share of healthy days on which the source may raise a false alarm; `cleared` are days with an
    alarm that somebody has looked at and found right, with who and why: they train models and teach later days.
    """

    name: str
    calendar: Calendar
    description: str
    origin: Origin
    delivered: Mapping[str, pl.DataType | type[pl.DataType]]
    parse: Callable[[pl.LazyFrame], pl.LazyFrame]
    contract: type[DataFrameModel]
    keys: tuple[str, ...]
    empty_text: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    delivered_within: timedelta = timedelta(0)
    delivered_on: tuple[int, ...] = EVERY_DAY
    holidays: tuple[date, ...] = ()
    min_rows: int = 1
    max_null_share: Mapping[str, float] = field(default_factory=_no_limits)
    max_bad_row_share: float = 0.0
    alarm_budget: float = 0.005
    cleared: Mapping[date, str] = field(default_factory=_no_days)

    def __post_init__(self) -> None:
        where = f"source {self.name!r}"
        within = self.delivered_within
        if not isinstance(within, timedelta) or within < timedelta(0):
            raise CatalogError(
                f"{where}: delivered_within is {within!r}, wanted a time of 0 or more, like timedelta(hours=6): a day "
                "is delivered after its end."
            )
        weekdays = self.delivered_on
        if not isinstance(weekdays, tuple) or not weekdays or any(each not in EVERY_DAY for each in weekdays):
            raise CatalogError(
                f"{where}: delivered_on is {weekdays!r}, wanted weekdays as numbers, (1,) for Mondays to "
                f"{EVERY_DAY} for every day; without one nothing would ever be delivered."
            )
        # An instant is a date to Python, and equal to none.
        if stray := [each for each in self.holidays if not isinstance(each, date) or isinstance(each, datetime)]:
            raise CatalogError(f"{where}: holidays name {stray[0]!r}, wanted days, like date(2025, 12, 25).")
        if not isinstance(self.min_rows, int) or self.min_rows < 0:
            raise CatalogError(f"{where}: min_rows is {self.min_rows!r}, wanted a number of 0 or more.")
        if not 0 < self.alarm_budget <= 1:
            raise CatalogError(
                f"{where}: alarm_budget is {self.alarm_budget}, wanted a share of days over 0 and up to 1."
            )
        if unsaid := sorted(day for day, why in self.cleared.items() if not why.strip()):
            raise CatalogError(f"{where}: cleared names {unsaid[0]} without a reason; say who and why.")

    def delivers(self, day: date) -> bool:
        """Whether anything is delivered for a day."""
        return day.isoweekday() in self.delivered_on and day not in self.holidays


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureGroupSpec:
    """Values of an entity over time, each with the instant from which it could have been known.

    A value that is new to a group that has been stored already is named in `added_values`: older days read null there.
    `compute` receives events of `[start - look_back_days, end)` and returns rows with the entity's keys,
    event_time, known_at and the values; the platform cuts them to the days asked for. `described` says of values what
    they are, for people.

    A group is joined in one of two ways. A *state* (delays of late, a price): of what is known at prediction time the
    newest counts; known longer than `max_age` before, it counts as absent. Without a limit of age, `max_age=None` (a
    customer's profile), each day also holds what is newest of before, carried over from day to day. With `valid_for` a
    row is *about* the time from its event_time on, for so long (a timetable, a forecast): of the row that describes the
    asking event's own instant the newest version known at prediction time counts. No way looks at what is about a later
    instant.

    `known_before` and `known_after` declare how long before and after its event_time a value can become known; a day
    with a row outside them is refused. From all these and a model's lead follow the days that are read to join the
    group, the same in training and in scoring. `min_rows` and `max_null_share` judge the rows about the day itself.
    """

    name: str
    calendar: Calendar
    description: str
    entity: tuple[str, ...]
    inputs: tuple[str, ...]
    values: tuple[str, ...]
    compute: Callable[[Inputs], pl.LazyFrame]
    described: Mapping[str, str] = field(default_factory=_no_texts)
    added_values: tuple[str, ...] = ()
    look_back_days: int = 0
    known_before: timedelta = timedelta(0)
    known_after: timedelta = timedelta(0)
    max_age: timedelta | None = A_DAY
    valid_for: timedelta | None = None
    min_rows: int = 1
    max_null_share: Mapping[str, float] = field(default_factory=_no_limits)

    def __post_init__(self) -> None:
        if self.look_back_days < 0:
            raise CatalogError(
                f"feature group {self.name!r}: look_back_days is {self.look_back_days}, wanted 0 or more."
            )
        for name in ("known_before", "known_after", "max_age"):
            if (span := getattr(self, name)) is not None and span < timedelta(0):
                raise CatalogError(f"feature group {self.name!r}: {name} is {span}, wanted a time of 0 or more.")
        if self.valid_for is not None and self.valid_for <= timedelta(0):
            raise CatalogError(f"feature group {self.name!r}: valid_for is {self.valid_for}, wanted more than 0.")
        # Told apart by identity: a max_age of a day that somebody wrote is a declaration like any other.
        if self.valid_for is not None and self.max_age is not None and self.max_age is not A_DAY:
            raise CatalogError(
                f"feature group {self.name!r}: it has a valid_for and a max_age, wanted one of them: a row that is "
                "about a time counts for that time, whenever it became known."
            )
        if stray := sorted(set(self.described) - set(self.values)):
            raise CatalogError(
                f"feature group {self.name!r}: described names {stray}, which are not among its values "
                f"{sorted(self.values)}."
            )
        if stray := sorted(set(self.added_values) - set(self.values)):
            raise CatalogError(
                f"feature group {self.name!r}: added_values names {stray}, which are not among its values "
                f"{sorted(self.values)}."
            )

    @property
    def carries_over(self) -> bool:
        """Whether a day of the group also holds what is newest of the days before it."""
        return self.max_age is None and self.valid_for is None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeSpec:
    """A label and the instant it became known.

    `compute` receives the source's events and returns row_key, event_time, known_at and a `label` that is 0 or 1, as an
    integer or a boolean.
    """

    name: str
    calendar: Calendar
    description: str
    source: str
    compute: Callable[[pl.LazyFrame], pl.LazyFrame]
    min_rows: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientBoosting:
    """Hyper-parameters of scikit-learn's HistGradientBoostingClassifier, under its own names."""

    learning_rate: float
    max_iter: int
    max_leaf_nodes: int
    min_samples_leaf: int
    l2_regularization: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GateLimits:
    """What a challenger must reach on the gate's rows; the first champion passes the absolute ones only.

    `max_brier_rise` is by how much the Brier score may be higher than the champion's in the middle of a bootstrap over
    days: what was learned from newer days is worth more than a week's noise.
    """

    min_rows: int
    min_roc_auc: float
    max_ece: float
    max_brier_rise: float
    max_segment_brier_rise: float
    min_segment_rows: int
    segments: tuple[str, ...]
    bootstrap_draws: int = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftLimits:
    """When a day's inputs count as drifted.

    `max_weighted_drift` is the share of the serving model's feature importance that may sit in drifted
    columns before the day's report is over its limit. `block_quantile` of the training days' own distances from one
    another is what a column must exceed: weather and weekdays differ between days without any drift.
    """

    alpha: float
    practical_psi: float
    block_quantile: float
    max_weighted_drift: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricTrigger:
    """Fire when `violations` or more of the last `cohorts` mature cohorts are worse than `target`, and the newest."""

    name: str
    metric: Literal["roc_auc", "brier", "ece", "log_loss"]
    target: float
    violations: int
    cohorts: int
    min_coverage: float = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Maturity:
    """When the labels of a day's events count as known: at an age of so many days, or once a share of them is known.

    Age 1 is the day after the event. Labels that come early are not like those that come late (a default is known
    before a repayment): a slice of cohorts that are only partly known has a base rate of its own. By share, a cohort
    counts at the latest when no label of it can come any more.
    """

    age_days: int | None = None
    label_share: float | None = None

    def __post_init__(self) -> None:
        if (self.age_days is None) == (self.label_share is None):
            raise CatalogError(
                f"a maturity has age_days {self.age_days} and label_share {self.label_share}, wanted one of the two."
            )
        if self.age_days is not None and self.age_days < 1:
            raise CatalogError(f"a maturity's age_days is {self.age_days}, wanted 1 (the day after the event) or more.")
        if self.label_share is not None and not 0 < self.label_share <= 1:
            raise CatalogError(f"a maturity's label_share is {self.label_share}, wanted more than 0 and at most 1.")

    def __str__(self) -> str:
        if self.age_days is not None:
            return f"{self.age_days} day{'s' if self.age_days > 1 else ''} after its events"
        return f"once {self.label_share:.0%} of its labels are known"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How the day's calibrator is fitted: Platt's map on the champion's log-odds, drawn towards the identity.

    A held-out row counts half as much for every `half_life_days` of age and not at all before `window_days`.
    `slope_ridge` and `offset_ridge` are penalties, in rows, on a slope other than 1 and an offset other than 0.
    """

    half_life_days: float = 7.0
    window_days: int = 28
    slope_ridge: float = 2_000.0
    offset_ridge: float = 200.0

    def __post_init__(self) -> None:
        for name in ("half_life_days", "window_days", "slope_ridge", "offset_ridge"):
            if getattr(self, name) <= 0:
                raise CatalogError(f"a calibration's {name} is {getattr(self, name)}, wanted more than 0.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Days on which a model is trained whatever else: weekdays (1 Monday … 7 Sunday) and days of the month (1 … 28)."""

    weekdays: tuple[int, ...] = ()
    days_of_month: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, most in (("weekdays", 7), ("days_of_month", 28)):
            if stray := sorted(each for each in getattr(self, name) if not 1 <= each <= most):
                raise CatalogError(f"a schedule's {name} names {stray}, wanted numbers from 1 to {most}.")
        if not self.weekdays and not self.days_of_month:
            raise CatalogError("a schedule names no day, wanted weekdays or days_of_month.")

    def asks_for(self, day: date) -> bool:
        """Whether a model is trained on the day."""
        return day.isoweekday() in self.weekdays or day.day in self.days_of_month

    @property
    def shortest_gap_days(self) -> int:
        """How near to one another two of its days come, over a cycle of the calendar's weeks and months."""
        asked = [day for day in range(366 * 28) if self.asks_for(date(2000, 1, 1) + timedelta(days=day))]
        return min(later - sooner for sooner, later in pairwise(asked))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A model: what it predicts, when the score is needed, from which features, and when to train anew.

    `spine` is the feature group with one row per event; a score is needed `prediction_lead` before its
    event_time. `features` are `group.column` names; those in `categorical` are encoded, the rest are numbers.
    The slices before a training day, by event date: train | held out | gate, ending where cohorts are mature. Without
    `train_days` the first of them begins with the calendar. What is fitted on `train` is judged on `gate`; when it
    passes and `refit` is set, the same candidate fitted on all of the slices serves. A champion older than
    `max_age_days` is a reason to train, and so is a day of its `schedule`. `calibration` None serves the score as it
    is. With `approval` what passes the gate is held until a person approves of it. `plausible_roc_auc` is the best that
    a person can believe of it: above it `ml-assets check` takes its features for a leak.
    """

    name: str
    calendar: Calendar
    description: str
    outcome: str
    spine: str
    prediction_lead: timedelta
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    estimator: GradientBoosting
    first_training_day: date
    train_days: int | None
    min_training_rows: int
    maturity: Maturity
    gate: GateLimits
    drift: DriftLimits
    metric_triggers: tuple[MetricTrigger, ...] = ()
    business_days: tuple[date, ...] = ()
    schedule: Schedule | None = None
    held_out_days: int = 7
    gate_days: int = 7
    cool_down_days: int = 14
    max_age_days: int | None = None
    refit: bool = True
    approval: bool = False
    calibration: Calibration | None = Calibration()
    plausible_roc_auc: float = 0.97

    def __post_init__(self) -> None:
        if self.cool_down_days < 1:
            raise CatalogError(f"model {self.name!r}: cool_down_days is {self.cool_down_days}, wanted 1 or more.")
        if self.max_age_days is not None and self.max_age_days < self.cool_down_days:
            raise CatalogError(
                f"model {self.name!r}: max_age_days is {self.max_age_days} and cool_down_days {self.cool_down_days}: "
                "no model may be trained that soon after the last. Wanted max_age_days of at least cool_down_days."
            )
        if self.schedule is not None and (gap := self.schedule.shortest_gap_days) < self.cool_down_days:
            raise CatalogError(
                f"model {self.name!r}: its schedule has days {gap} days apart and cool_down_days is "
                f"{self.cool_down_days}: no model may be trained that soon after the last. Wanted cool_down_days of at "
                f"most {gap}, or a schedule with fewer days."
            )
        doubled = sorted({feature for feature in self.features if self.features.count(feature) > 1})
        if doubled:
            raise CatalogError(f"model {self.name!r}: features names {doubled} more than once, wanted each once.")
        stray = sorted(set(self.categorical) - set(self.features))
        if stray:
            raise CatalogError(
                f"model {self.name!r}: categorical names {stray}, which are not among its features "
                f"{sorted(self.features)}."
            )

    @property
    def oldest_cohort_days(self) -> int:
        """The age at which every cohort counts as known, whatever came of its labels."""
        age = self.maturity.age_days
        return self.calendar.label_lag_days + 1 if age is None else age

    @property
    def training_window_days(self) -> int:
        """How many event days before a training day its slices may reach back."""
        calendar, train = self.calendar, self.train_days
        if train is None:
            train = A_CENTURY if calendar.end_day is None else (calendar.end_day - calendar.first_day).days
        return train + self.held_out_days + self.gate_days + self.oldest_cohort_days - 1

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The features as columns of a training set: `group__column`."""
        return tuple(column_of(feature) for feature in self.features)

    @property
    def categorical_columns(self) -> tuple[str, ...]:
        """The categorical features as columns of a training set."""
        return tuple(column_of(feature) for feature in self.categorical)

    @property
    def numeric_columns(self) -> tuple[str, ...]:
        """The numeric features as columns of a training set."""
        return tuple(column for column in self.feature_columns if column not in self.categorical_columns)


def column_of(feature: str) -> str:
    """The column a `group.column` feature has in training sets and at scoring: `group__column`."""
    return feature.replace(".", FEATURE_SEPARATOR, 1)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything declared, by name, cross-checked."""

    sources: Mapping[str, SourceSpec]
    features: Mapping[str, FeatureGroupSpec]
    outcomes: Mapping[str, OutcomeSpec]
    models: Mapping[str, ModelSpec]

    def model_named(self, name: str) -> ModelSpec:
        """The model of that name; CatalogError names those there are."""
        if name not in self.models:
            raise CatalogError(f"no model is named {name!r}; there are {', '.join(sorted(self.models)) or 'none'}.")
        return self.models[name]

    def groups_of(self, model: ModelSpec) -> dict[str, FeatureGroupSpec]:
        """The feature groups a model reads, the spine first, in the order its features name them."""
        names = [model.spine, *(feature.split(".", 1)[0] for feature in model.features)]
        return {name: self.features[name] for name in dict.fromkeys(names)}
