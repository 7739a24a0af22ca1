"""Proofs of a toy catalogue, without files: what a check does after it has read what was delivered.

What belongs here: from a shape and declarations to a rehearsal and its proofs. What does not: assertions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import toy_catalog as toy

from ml_assets.assets import declared_graph
from ml_assets.domain.ingestion import ingest
from ml_assets.domain.proofs.days import LookedAt, days_read, looked_at, shortened
from ml_assets.domain.proofs.programme import programme
from ml_assets.domain.proofs.proof import Proof
from ml_assets.domain.rehearsal import EventsAtHand, Rehearsal
from ml_assets.domain.specs import Catalog


@dataclass(frozen=True)
class Rehearsed:
    """A catalogue's rehearsal, and at which days it is looked at."""

    rehearsal: Rehearsal
    at: LookedAt
    shape: toy.Shape

    def proofs(self, *subjects: str) -> Iterator[Proof]:
        """The proofs of tables and models, of all when none is named."""
        for step in programme(self.rehearsal, toy.extracts(self.shape), self.at):
            if not subjects or step.subject in subjects:
                yield step.prove()


def rehearsed(shape: toy.Shape = toy.SHAPE, days: int = 4, **changed: Any) -> Rehearsed:
    """The toy catalogue with declarations put in place of its own, over its extracts."""
    return rehearsal_of(toy.catalog(shape, **changed), shape, days)


def rehearsal_of(catalog: Catalog, shape: toy.Shape, days: int = 4) -> Rehearsed:
    """A catalogue over the extracts of a shape of the toy."""
    chosen = shortened(catalog)
    graph = declared_graph(chosen)
    at = looked_at(chosen, graph, {}, days)
    reach = days_read(chosen, graph, at)
    events = {}
    for name, source in chosen.sources.items():
        extracts = toy.extracts(shape)[name]
        made = ingest(source, extracts, {}) if source != toy.source(name, shape) else toy.ingested(shape)[name]
        accepted = frozenset(day for day, verdict in made.verdicts.items() if verdict.passed)
        events[name] = EventsAtHand(made.rows, accepted)
    kept = {name: reach[f"features/{name}"] for name, group in chosen.features.items() if group.carries_over}
    return Rehearsed(Rehearsal(chosen, graph, events, kept), at, shape)


def without_facts(shape: toy.Shape = toy.SHAPE) -> Any:
    """The source of parcels as it is when nobody says what becomes known later."""
    return replace(toy.source("parcels", shape), facts=())
