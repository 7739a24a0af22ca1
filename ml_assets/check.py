"""`ml-assets check`: what the platform promises of a catalogue, shown on its own data, in a place of its own.

What belongs here: which declarations and days are looked at, reading their extracts, the proofs in order.
What does not: the proofs (`ml_assets/domain/proofs`), how they are told (`check_terminal.py`).

The home's extracts are read where they lie and its lake is not opened; what a source delivers for other days is kept in
a folder that is gone afterwards.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import polars as pl

from ml_assets.assets import declared_graph
from ml_assets.domain.due import due_end
from ml_assets.domain.errors import CatalogError, NothingToDoError
from ml_assets.domain.ingestion import Ingested, ingest
from ml_assets.domain.origins import Archive
from ml_assets.domain.proofs.days import LookedAt, closed, days_read, looked_at, shortened
from ml_assets.domain.proofs.programme import programme
from ml_assets.domain.proofs.proof import Proof
from ml_assets.domain.rehearsal import EventsAtHand, Rehearsal, event_days
from ml_assets.domain.specs import Catalog
from ml_assets.domain.stored_types import in_stored_types
from resources.extract_profiles import profile_of
from resources.extracts import Extracts, ReadExtracts

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """Every proof, the days looked at, and the days of sources that were refused, with the reason."""

    proofs: tuple[Proof, ...]
    at: LookedAt
    refused: Mapping[str, Mapping[date, str]]

    @property
    def broken(self) -> tuple[Proof, ...]:
        """The proofs with findings."""
        return tuple(proof for proof in self.proofs if proof.findings)

    @property
    def unshown(self) -> tuple[Proof, ...]:
        """The proofs that lacked something to be shown on."""
        return tuple(proof for proof in self.proofs if not proof.findings and not proof.verdict.passed)


def check(
    catalog: Catalog, extracts: Path, now: datetime, progress: Progress, *, days: int, model: str | None = None
) -> Checked:
    """What came of every promise for the catalogue, or for one model and all it reads, at so many days.

    `extracts` is the folder of a home's extracts, read and never written to; it need not be there. Of a live workload
    the days are looked at that are due at the instant `now`. Raises CatalogError for an unknown model, NothingToDoError
    when there is nothing to look at, and SourceError when a source cannot be asked.
    """
    chosen = _looked_into(catalog, now, days, model)
    graph = declared_graph(chosen)
    with _place_of_its_own(extracts, chosen) as delivered:
        at = looked_at(chosen, graph, _profiles(chosen, delivered), days)
        reach = days_read(chosen, graph, at)
        read: dict[str, ReadExtracts] = {}
        for place, (name, source) in enumerate(chosen.sources.items()):
            progress("reading", place, len(chosen.sources))
            needed = [day for run in reach[f"events/{name}"] for day in run if day in event_days(source.calendar)]
            read[name] = _told_of(delivered.read(source, needed), delivered.root, extracts)
    ingested = {name: ingest(source, read[name].rows, read[name].unreadable) for name, source in chosen.sources.items()}
    progress("reading", len(chosen.sources), len(chosen.sources))
    _refuse_nothing(ingested)
    events = {name: _at_hand(name, each) for name, each in ingested.items()}
    kept = {name: reach[f"features/{name}"] for name, group in chosen.features.items() if group.carries_over}
    steps = programme(Rehearsal(chosen, graph, events, kept), {name: each.rows for name, each in read.items()}, at)
    proofs = []
    for place, step in enumerate(steps):
        progress("proving", place, len(steps))
        proofs.append(step.prove())
    progress("proving", len(steps), len(steps))
    refused = {name: _refused(each) for name, each in ingested.items()}
    return Checked(tuple(proofs), at, {name: of_source for name, of_source in refused.items() if of_source})


def of_model(catalog: Catalog, name: str) -> Catalog:
    """The part of a catalogue that one model rests on; CatalogError, with the names that are known, for another."""
    if name not in catalog.models:
        raise CatalogError(f"unknown model {name!r}; known are {', '.join(sorted(catalog.models)) or 'none'}.")
    model = catalog.models[name]
    groups, outcome = catalog.groups_of(model), catalog.outcomes[model.outcome]
    sources = {source for group in groups.values() for source in group.inputs} | {outcome.source}
    return Catalog(
        sources={source: catalog.sources[source] for source in sorted(sources)},
        features=dict(sorted(groups.items())),
        outcomes={outcome.name: outcome},
        models={name: model},
    )


def _looked_into(catalog: Catalog, now: datetime, days: int, model: str | None) -> Catalog:
    """The part of the catalogue that is looked at, with calendars that end and short training windows."""
    if days < 1:
        raise NothingToDoError(f"{days} days are to be looked at, wanted 1 or more: --days 8.")
    chosen = catalog if model is None else of_model(catalog, model)
    if not chosen.sources:
        raise NothingToDoError("the catalogue declares no source, so there is nothing to check. Declare one first.")
    sources = chosen.sources.values()
    ends = {calendar.name: due_end(calendar, sources, now) for calendar in (source.calendar for source in sources)}
    for calendar in (source.calendar for source in sources):
        if ends[calendar.name] <= calendar.first_day:
            raise NothingToDoError(
                f"the calendar {calendar.name!r} begins on {calendar.first_day}, and that day is not over yet, or not "
                "delivered, so there is nothing to check. Try again when it is."
            )
    return shortened(closed(chosen, ends))


@contextmanager
def _place_of_its_own(extracts: Path, catalog: Catalog) -> Iterator[Extracts]:
    """A folder in which the kept extracts are linked, so that what is delivered besides is not kept among them."""
    with tempfile.TemporaryDirectory(prefix="ml-assets-check-") as folder:
        for name in catalog.sources:
            if (extracts / name).is_dir():
                (Path(folder) / name).mkdir()
                for kept in (extracts / name).glob("*.parquet"):
                    (Path(folder) / name / kept.name).symlink_to(kept.resolve())
        yield Extracts(Path(folder))


def _told_of(read: ReadExtracts, place: Path, extracts: Path) -> ReadExtracts:
    """What was read, with reasons that name the folder in which a person may put an extract."""
    whys = {**read.unreadable, **read.late}
    return replace(read, unreadable={day: why.replace(str(place), str(extracts)) for day, why in whys.items()})


def _profiles(catalog: Catalog, delivered: Extracts) -> dict[str, list[pl.DataFrame]]:
    """By calendar, what is known of the days of each of its sources before they are read."""
    profiles: dict[str, list[pl.DataFrame]] = {}
    for name, source in catalog.sources.items():
        if isinstance(source.origin, Archive):
            delivered.land(source, source.origin)
        profiles.setdefault(source.calendar.name, []).append(profile_of(delivered.root / name))
    return profiles


def _refuse_nothing(ingested: Mapping[str, Ingested]) -> None:
    if any(_accepted(each) for each in ingested.values()):
        return
    first = next((why for each in ingested.values() for why in _refused(each).values()), "no day was delivered")
    raise NothingToDoError(
        f"no day of any source is good, so there is nothing to check. The first reason: {first}. Deliver good days."
    )


def _at_hand(source: str, ingested: Ingested) -> EventsAtHand:
    """The events as the lake would hold them."""
    return EventsAtHand(in_stored_types(f"events/{source}", ingested.rows), _accepted(ingested))


def _accepted(ingested: Ingested) -> frozenset[date]:
    return frozenset(day for day, verdict in ingested.verdicts.items() if verdict.passed)


def _refused(ingested: Ingested) -> dict[date, str]:
    return {day: "; ".join(verdict.reasons) for day, verdict in ingested.verdicts.items() if not verdict.passed}
