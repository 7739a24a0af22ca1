"""Every promise for every part of a catalogue, in the order in which a defect is best told.

What belongs here: that list. What does not: any particular promise (the modules beside this one).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial

import polars as pl

from ml_assets.domain.proofs.censoring import (
    features_from_the_past,
    labels_from_the_past,
    scoring_from_the_past,
    training_from_the_past,
)
from ml_assets.domain.proofs.days import LookedAt
from ml_assets.domain.proofs.declared import group_as_declared, model_as_declared, outcome_as_declared
from ml_assets.domain.proofs.leak import a_planted_label, too_good_to_be_true
from ml_assets.domain.proofs.proof import CENSORING, DECLARED, PLANTED, RANGE, SERVING, Proof
from ml_assets.domain.proofs.ranges import (
    events_of_a_range,
    features_of_a_range,
    labels_of_a_range,
    scoring_of_a_range,
    training_of_a_range,
)
from ml_assets.domain.proofs.serving import training_equals_serving
from ml_assets.domain.rehearsal import Rehearsal

Extracts = Mapping[str, Mapping[date, pl.DataFrame]]


@dataclass(frozen=True, slots=True)
class Step:
    """One proof that can be had: of what promise, for which table or model."""

    name: str
    subject: str
    prove: Callable[[], Proof]


def programme(rehearsal: Rehearsal, extracts: Extracts, at: LookedAt) -> list[Step]:
    """The steps, each to be taken when the caller is ready."""
    return [*_of_facts(rehearsal, extracts, at), *_of_models(rehearsal, at)]


def _of_facts(rehearsal: Rehearsal, extracts: Extracts, at: LookedAt) -> Iterator[Step]:
    catalog = rehearsal.catalog
    for name, source in catalog.sources.items():
        days = at.days[source.calendar.name]
        yield Step(RANGE, f"events/{name}", partial(events_of_a_range, source, extracts[name], days))
    for name, group in catalog.features.items():
        days = at.days[group.calendar.name]
        table = f"features/{name}"
        yield Step(DECLARED, table, partial(group_as_declared, rehearsal, name, days))
        yield Step(CENSORING, table, partial(features_from_the_past, rehearsal, name, days))
        yield Step(RANGE, table, partial(features_of_a_range, rehearsal, name, days))
    for name, outcome in catalog.outcomes.items():
        days, table = at.days[outcome.calendar.name], f"outcomes/{name}"
        yield Step(DECLARED, table, partial(outcome_as_declared, rehearsal, name, days))
        yield Step(CENSORING, table, partial(labels_from_the_past, rehearsal, name, days))
        yield Step(RANGE, table, partial(labels_of_a_range, rehearsal, name, days))


def _of_models(rehearsal: Rehearsal, at: LookedAt) -> Iterator[Step]:
    for name, model in rehearsal.catalog.models.items():
        days, day = at.days[model.calendar.name], at.training[name]
        training_set, model_itself, scored = f"training_sets/{name}", f"models/{name}", f"predictions/{name}"
        yield Step(DECLARED, model_itself, partial(model_as_declared, rehearsal, model, day))
        yield Step(CENSORING, scored, partial(scoring_from_the_past, rehearsal, model, days))
        yield Step(CENSORING, training_set, partial(training_from_the_past, rehearsal, model, day))
        yield Step(PLANTED, model_itself, partial(a_planted_label, rehearsal, model, day))
        yield Step(PLANTED, training_set, partial(too_good_to_be_true, rehearsal, model, day))
        yield Step(RANGE, scored, partial(scoring_of_a_range, rehearsal, model, days))
        yield Step(RANGE, training_set, partial(training_of_a_range, rehearsal, model, day))
        yield Step(SERVING, training_set, partial(training_equals_serving, rehearsal, model, day, max(len(days), 3)))
