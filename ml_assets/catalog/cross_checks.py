"""What is wrong with declarations taken together, found when the catalogue is loaded.

What belongs here: names that nobody declared, types that do not fit, calendars that differ; each one sentence that
says where, what came, what was wanted and what to do.
What does not: finding declarations (`__init__.py`), what only data can show (`ml_assets/domain/proofs`).

The functions of declarations are asked what they would give for events without rows: no row is computed.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from polars.exceptions import PanicException

from ml_assets.domain.contracts import joint_checks
from ml_assets.domain.errors import CatalogError, StorageError
from ml_assets.domain.feature_types import CATEGORIES, unfit_features
from ml_assets.domain.ingestion import EVENT_TIME, delivered_types, event_types, misfits, told_of
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import (
    FEATURE_SEPARATOR,
    Calendar,
    Catalog,
    FeatureGroupSpec,
    MetricTrigger,
    ModelSpec,
    OutcomeSpec,
    SourceSpec,
)
from ml_assets.domain.stored_types import in_stored_types

INSTANT = pl.Datetime("us", "UTC")
LABELS = frozenset({pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32})
# What is asked instead: docs/decisions/yes-or-no.md.
A_QUANTITY = (
    "a quantity; models here give the probability of a yes, not a number: ask a question of it, "
    "(amount >= 100).cast(pl.Int8), or cast what is 0 or 1 already to Int8"
)
A_CLASS = (
    "one of several classes; models here give the probability of a yes: declare an outcome and a model a class, "
    "(kind == 'a').cast(pl.Int8)"
)
OTHER_LABELS = {
    **dict.fromkeys((pl.Float32, pl.Float64, pl.Decimal, pl.Duration), A_QUANTITY),
    **dict.fromkeys((pl.String, pl.Categorical, pl.Enum), A_CLASS),
}
# Columns that the platform itself adds to a group's rows or to a training set's.
TAKEN = (DAY, EVENT_TIME, "known_at", "prediction_time")


def cross_check(catalog: Catalog) -> None:
    """Raises CatalogError for the first declaration that does not fit the others."""
    for source in catalog.sources.values():
        check_source(source)
    types = {group.name: check_group(group, catalog) for group in catalog.features.values()}
    for outcome in catalog.outcomes.values():
        check_outcome(outcome, catalog)
    for model in catalog.models.values():
        check_model(model, catalog, types)


def check_source(source: SourceSpec) -> None:
    """Contract, keys, facts and limits of a source name columns that are there, and parse gives them."""
    where = f"source {source.name!r}"
    _check_calendar(where, source.calendar)
    columns = source.contract.to_schema().columns
    for name in (DAY, EVENT_TIME, *source.keys):
        known(name, columns, f"{where}, contract {source.contract.__name__}", "column")
        if columns[name].nullable:
            raise CatalogError(f"{where}: its contract lets {name} be null, wanted a value in every row.")
    # The contract judges the rows of all days of a run together.
    alone = [name for name, column in columns.items() if column.unique]
    if alone or source.contract.to_schema().unique:
        raise CatalogError(
            f"{where}: its contract wants {', '.join(alone) or 'columns'} unique over all days, so one day could "
            "refuse another's rows. Name what is unique within a day in `keys` instead."
        )
    if joint := joint_checks(source.contract):
        raise CatalogError(
            f"{where}: its contract judges rows together in {', '.join(joint)}, wanted an answer for each row from "
            "that row alone, for the rows of all days of a run are judged at once."
        )
    types = event_types(source)
    for name in source.max_null_share:
        known(name, columns, f"{where}, max_null_share", "column")
    for name in source.empty_text:
        known(name, {**columns, **source.delivered}, f"{where}, empty_text", "column")
    _check_facts(where, source, types)
    given = source.parse(pl.LazyFrame(schema=delivered_types(source))).collect_schema()
    if found := misfits(given, types):
        raise CatalogError(f"{where}: parse does not give what its contract names: {'; '.join(found)}.")
    _check_stored(where, types)


def _check_facts(where: str, source: SourceSpec, types: Mapping[str, pl.DataType]) -> None:
    for fact in source.facts:
        for name in (fact.known_at, *fact.columns):
            known(name, types, f"{where}, facts", "column")
        _instants(f"{where}, facts", types, (fact.known_at,))
    if doubled := _doubled(column for fact in source.facts for column in fact.columns):
        raise CatalogError(
            f"{where}: facts name {doubled} more than once, wanted one instant at which each becomes known."
        )
    facts = {column for fact in source.facts for column in fact.columns}
    if early := sorted(facts & {DAY, EVENT_TIME, "known_at", *source.keys}):
        raise CatalogError(
            f"{where}: facts name {early}, which a row has from its own known_at on; take them out of `facts`."
        )


def check_group(group: FeatureGroupSpec, catalog: Catalog) -> Mapping[str, pl.DataType]:
    """The types of the group's columns, after its sources, calendar, names and function were checked."""
    where = f"feature group {group.name!r}"
    _check_calendar(where, group.calendar)
    for source in group.inputs:
        known(source, catalog.sources, where, "source")
        _same_calendar(where, group.calendar, f"source {source!r}", catalog.sources[source].calendar)
    if taken := sorted({*group.entity, *group.values} & set(TAKEN)):
        raise CatalogError(f"{where}: entity and values name {taken}, which the platform adds itself; rename them.")
    if doubled := _doubled((*group.entity, *group.values)):
        raise CatalogError(f"{where}: entity and values name {doubled} more than once, wanted each once.")
    columns = (*group.entity, EVENT_TIME, "known_at", *group.values)
    for name in group.max_null_share:
        known(name, dict.fromkeys(columns), f"{where}, max_null_share", "column")
    events = _Events(where, {source: _no_events(catalog.sources[source]) for source in group.inputs})
    given = _given(where, lambda: group.compute(events), columns)
    _instants(where, given, (EVENT_TIME, "known_at"))
    _check_stored(where, {name: given[name] for name in columns})
    return given


def check_outcome(outcome: OutcomeSpec, catalog: Catalog) -> None:
    """The outcome's source, calendar and function fit: a key, two instants and a number."""
    where = f"outcome {outcome.name!r}"
    _check_calendar(where, outcome.calendar)
    known(outcome.source, catalog.sources, where, "source")
    source = catalog.sources[outcome.source]
    _same_calendar(where, outcome.calendar, f"source {outcome.source!r}", source.calendar)
    columns = ("row_key", EVENT_TIME, "known_at", "label")
    given = _given(where, lambda: outcome.compute(_no_events(source)), columns)
    _instants(where, given, (EVENT_TIME, "known_at"))
    if given["label"].base_type() not in LABELS:
        told = OTHER_LABELS.get(given["label"].base_type(), "wanted 0 or 1: cast it to Int8")
        raise CatalogError(f"{where}: its label is {given['label']}, {told}.")


def check_model(model: ModelSpec, catalog: Catalog, types: Mapping[str, Mapping[str, pl.DataType]]) -> None:
    """All that a model names is declared, of its workload, and of types its family can take."""
    where = f"model {model.name!r}"
    _check_calendar(where, model.calendar)
    known(model.outcome, catalog.outcomes, where, "outcome")
    known(model.spine, catalog.features, where, "feature group")
    for feature in model.features:
        group, _, column = feature.partition(".")
        known(group, catalog.features, where, "feature group")
        known(column, dict.fromkeys(catalog.features[group].values), f"{where}, group {group!r}", "feature")
    if doubled := _doubled(model.feature_columns):
        raise CatalogError(
            f"{where}: two of its features are the column {doubled[0]!r} of a training set; rename a group or a "
            f"value that holds {FEATURE_SEPARATOR!r}."
        )
    _check_entities(where, model, catalog, types)
    of_features = {feature: types[feature.split(".", 1)[0]][feature.split(".", 1)[1]] for feature in model.features}
    if unfit := unfit_features(model, of_features):
        raise CatalogError(f"{where}: {'; '.join(unfit)}.")
    for segment in model.gate.segments:
        known(segment, dict.fromkeys(model.feature_columns), f"{where}, segments of its gate", "feature column")
        _check_segment(where, segment, dict(zip(model.feature_columns, of_features.values(), strict=True))[segment])
    _same_calendar(where, model.calendar, f"outcome {model.outcome!r}", catalog.outcomes[model.outcome].calendar)
    _check_days(where, model)
    metrics = get_args(get_type_hints(MetricTrigger)["metric"])
    for trigger in model.metric_triggers:
        known(trigger.metric, dict.fromkeys(metrics), f"{where}, trigger {trigger.name!r}", "metric")


def _check_segment(where: str, segment: str, dtype: pl.DataType) -> None:
    # Every value of a fraction would be a segment of its own, too small for the gate to judge.
    if dtype.base_type() not in CATEGORIES:
        raise CatalogError(
            f"{where}, segments of its gate: {segment} is {dtype}, wanted a text, a boolean or an integer: name a "
            "feature that puts rows into few groups, such as (amount >= 100)."
        )


def _check_entities(
    where: str, model: ModelSpec, catalog: Catalog, types: Mapping[str, Mapping[str, pl.DataType]]
) -> None:
    spine = catalog.features[model.spine]
    if spine.entity != ("row_key",):
        raise CatalogError(
            f"{where}: its spine {spine.name!r} has the entity {spine.entity}, wanted ('row_key',): one row "
            "per event. Name a feature group with one row per event as the spine."
        )
    if spine.carries_over:
        raise CatalogError(
            f"{where}: its spine {spine.name!r} has no max_age, so its days would hold the events of all days before "
            "them; leave max_age out, a spine is read of its own day."
        )
    offered = dict.fromkeys((*spine.entity, *spine.values))
    for name, group in catalog.groups_of(model).items():
        _same_calendar(where, model.calendar, f"feature group {name!r}", group.calendar)
        for key in group.entity:
            known(key, offered, f"{where}, entity of group {name!r}", "spine column")
            if types[name][key] != types[model.spine][key]:
                raise CatalogError(
                    f"{where}, entity of group {name!r}: {key} is {types[name][key]} there and "
                    f"{types[model.spine][key]} in the spine {model.spine!r}, wanted one type; cast one of them."
                )


def _check_days(where: str, model: ModelSpec) -> None:
    calendar = model.calendar
    for name in ("train_days", "held_out_days", "gate_days"):
        if (days := getattr(model, name)) is not None and days < 1:
            raise CatalogError(f"{where}: {name} is {days}, wanted 1 or more.")
    for name, days in (("first_training_day", (model.first_training_day,)), ("business_days", model.business_days)):
        for day in days:
            if day < calendar.first_day or calendar.is_past(day):
                raise CatalogError(
                    f"{where}: {name} names {day}, wanted a day of the calendar {calendar.name!r}, from "
                    f"{calendar.first_day} {f'to before {calendar.end_day}' if calendar.end_day else 'on'}."
                )
    needed = model.held_out_days + model.gate_days + model.oldest_cohort_days
    if (before := (model.first_training_day - calendar.first_day).days) < needed:
        raise CatalogError(
            f"{where}: first_training_day comes {before} days after the calendar's first day, wanted {needed} or more: "
            f"{model.held_out_days} held out, {model.gate_days} for the gate, {model.oldest_cohort_days - 1} until a "
            "cohort counts as known, and one to train on. Train later, or shorten the slices."
        )


def _check_calendar(where: str, calendar: Calendar) -> None:
    of = f"{where}, calendar {calendar.name!r}"
    try:
        ZoneInfo(calendar.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CatalogError(
            f"{of}: the time zone {calendar.timezone!r} is not known, wanted a name such as 'Europe/Berlin' or 'UTC'."
        ) from error
    if calendar.is_past(calendar.first_day):
        raise CatalogError(
            f"{of}: it ends before {calendar.end_day} and begins on {calendar.first_day}, wanted a day or more."
        )
    if calendar.label_lag_days < 0:
        raise CatalogError(f"{of}: label_lag_days is {calendar.label_lag_days}, wanted 0 or more.")


def _same_calendar(where: str, calendar: Calendar, other: str, theirs: Calendar) -> None:
    if calendar != theirs:
        raise CatalogError(
            f"{where}: its calendar {calendar.name!r} is not the calendar {theirs.name!r} of {other} that it reads, "
            "wanted one and the same: a day must mean the same instants to both."
        )


class _Events(dict[str, pl.LazyFrame]):
    """Events without rows of the sources that a feature group names; another is an error with the names."""

    def __init__(self, where: str, events: Mapping[str, pl.LazyFrame]) -> None:
        super().__init__(events)
        self.where = where

    def __missing__(self, source: str) -> pl.LazyFrame:
        raise CatalogError(
            f"{self.where}: compute reads the events of {source!r}, which `inputs` does not name; it names "
            f"{', '.join(sorted(self)) or 'none'}. Add it to `inputs`."
        )


def _no_events(source: SourceSpec) -> pl.LazyFrame:
    return pl.LazyFrame(schema=event_types(source))


def _given(where: str, compute: Callable[[], pl.LazyFrame], wanted: Sequence[str]) -> pl.Schema:
    """The columns that a declaration's function gives, the wanted ones among them."""
    try:
        rows = compute()
        given = rows.collect_schema() if isinstance(rows, pl.LazyFrame) else None
    except CatalogError:
        raise
    except (Exception, PanicException) as error:
        raise CatalogError(
            f"{where}: compute cannot be applied to events with the columns of their contract ({told_of(error)}); "
            "mend it."
        ) from error
    if given is None:
        raise CatalogError(f"{where}: compute gives a {type(rows).__name__}, wanted a LazyFrame: end with .lazy().")
    if missing := [name for name in wanted if name not in given]:
        raise CatalogError(
            f"{where}: compute gives {', '.join(given)}, without {', '.join(missing)}; add what is missing, or take it "
            "out of the declaration."
        )
    return given


def _check_stored(where: str, types: Mapping[str, pl.DataType]) -> None:
    try:
        in_stored_types(where, pl.LazyFrame(schema={**types, DAY: pl.Date}))
    except StorageError as error:
        raise CatalogError(f"{error}.") from error


def _instants(where: str, types: Mapping[str, pl.DataType], names: Iterable[str]) -> None:
    for name in names:
        if types[name] != INSTANT:
            raise CatalogError(
                f"{where}: {name} is {types[name]}, wanted {INSTANT}, an instant in UTC: use "
                ".dt.convert_time_zone('UTC') (or .dt.replace_time_zone) and .dt.cast_time_unit('us')."
            )


def _doubled(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def known(name: str, declared: Mapping[str, object], where: str, kind: str) -> None:
    """Raises CatalogError, with the names that are known and the nearest of them, for one that is not."""
    if name in declared:
        return
    close = difflib.get_close_matches(name, declared, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise CatalogError(f"{where}: unknown {kind} {name!r}; known are {', '.join(sorted(declared))}.{hint}")
