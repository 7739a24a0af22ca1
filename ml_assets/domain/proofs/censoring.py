"""Nothing that became known after an instant is in a row that says it was known by then.

What belongs here: features, labels, scoring rows and training sets, computed with and without what became known later.
What does not: whether a fact's own instant is true; nobody but its source can know that.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial

import polars as pl

from ml_assets.domain.content import seed_of
from ml_assets.domain.proofs.comparison import difference
from ml_assets.domain.proofs.proof import CENSORING, Finding, Proof, first_found, found, shown
from ml_assets.domain.rehearsal import KNOWN_AT, Rehearsal
from ml_assets.domain.specs import Fact, ModelSpec
from partitions import DayRange
from partitions.days import midnight

INSTANTS = 6
ONE_DAY, JUST_BEFORE = timedelta(days=1), timedelta(microseconds=1)
WITH, WITHOUT = "with what became known later", "without it"


@dataclass(frozen=True, slots=True)
class _Watched:
    """A table: how a run computes it, the sources it rests on, the column that says when a row is known, its key.

    `versions_of` names what a row is a version of: one that was known may be followed by another, known later.
    `begun` says that a day holds what was known when it began, so that no earlier instant can tell of it.
    """

    table: str
    sources: tuple[str, ...]
    compute: Callable[[Rehearsal, DayRange], pl.DataFrame]
    key: tuple[str, ...]
    dated_by: str | None = None
    versions_of: tuple[str, ...] = ()
    begun: bool = False

    def known(self, of: Rehearsal, run: DayRange, instant: datetime) -> pl.DataFrame:
        """The rows of a run that are known at an instant; all of them where no column says so."""
        rows = self.compute(of, run)
        return rows if self.dated_by is None else rows.filter(pl.col(self.dated_by) <= instant)


def features_from_the_past(rehearsal: Rehearsal, group: str, days: Sequence[date]) -> Proof:
    """No row of a group changes when what became known after its `known_at` is taken away.

    A row that only later rows of the same entity and event_time replace is no finding here: whether anybody asked in
    between, the rows to be scored tell.
    """
    spec = rehearsal.catalog.features[group]
    key = (*spec.entity, "event_time", KNOWN_AT)
    watched = _Watched(
        f"features/{group}",
        spec.inputs,
        lambda of, run: of.features(group, run),
        key,
        KNOWN_AT,
        versions_of=(*spec.entity, "event_time"),
        begun=spec.carries_over,
    )
    return _of_days(rehearsal, watched, days)


def labels_from_the_past(rehearsal: Rehearsal, outcome: str, days: Sequence[date]) -> Proof:
    """No label changes when what became known after its `known_at` is taken away."""
    sources, key = (rehearsal.catalog.outcomes[outcome].source,), ("row_key", KNOWN_AT)
    watched = _Watched(f"outcomes/{outcome}", sources, lambda of, run: of.outcomes(outcome, run), key, KNOWN_AT)
    return _of_days(rehearsal, watched, days)


def scoring_from_the_past(rehearsal: Rehearsal, model: ModelSpec, days: Sequence[date]) -> Proof:
    """No row to be scored changes when what became known after its prediction time is taken away."""
    watched = _Watched(
        f"predictions/{model.name}",
        _sources(rehearsal, model),
        lambda of, run: of.scoring_rows(model, run),
        ("row_key",),
        "prediction_time",
    )
    return _of_days(rehearsal, watched, days)


def training_from_the_past(rehearsal: Rehearsal, model: ModelSpec, day: date) -> Proof:
    """A training set is the same when what became known after its day began is taken away."""
    run, instant = DayRange(day, day + ONE_DAY), midnight(day, model.calendar.timezone) - JUST_BEFORE
    watched = _Watched(
        f"training_sets/{model.name}",
        _sources(rehearsal, model),
        lambda of, asked: of.training_set(model, day, asked).rows,
        ("row_key",),
    )
    findings = found(watched.table, lambda: _looked(rehearsal, watched, run, instant))
    rows = 0 if findings else rehearsal.training_set(model, day, run).rows.height
    none = f"no label of the days before {day} was known when it began"
    return shown(CENSORING, watched.table, [day], rows, findings=findings, without_rows=none)


def _sources(rehearsal: Rehearsal, model: ModelSpec) -> tuple[str, ...]:
    of_groups = [source for group in rehearsal.catalog.groups_of(model).values() for source in group.inputs]
    return tuple(dict.fromkeys((*of_groups, rehearsal.catalog.outcomes[model.outcome].source)))


def _of_days(rehearsal: Rehearsal, watched: _Watched, days: Sequence[date]) -> Proof:
    """The proof over single days, each at some instants; the first finding is told."""
    looked_at: set[date] = set()
    rows = 0

    def look(day: date) -> Iterator[Finding]:
        nonlocal rows
        run = DayRange(day, day + ONE_DAY)
        for instant in _instants_of(rehearsal, watched, day):
            yield from _looked(rehearsal, watched, run, instant)
            rows += watched.known(rehearsal, run, instant).height
            looked_at.add(day)

    findings = first_found(watched.table, [partial(look, day) for day in days])
    none = "none of the days looked at has a row that is known"
    return shown(CENSORING, watched.table, looked_at, rows, findings=findings, without_rows=none)


def _looked(rehearsal: Rehearsal, watched: _Watched, run: DayRange, instant: datetime) -> Iterator[Finding]:
    whole, seen = watched.known(rehearsal, run, instant), _seen(rehearsal, watched, run, instant)
    if differs := difference(whole, seen, watched.key, came_from=WITH, wanted_from=WITHOUT):
        used = _used(rehearsal, watched, run, instant, whole)
        yield Finding(
            f"{watched.table}, {differs.key}",
            f"as of {instant:%Y-%m-%d %H:%M:%S.%f} UTC, {differs.came} ({differs.rows} such rows)",
            "the same, for what became known later cannot have been in it",
            f"{used}Let a row use a fact only from the fact's own instant on, and date the row's {KNOWN_AT} by the "
            "newest of what it uses.",
        )


def _seen(
    rehearsal: Rehearsal,
    watched: _Watched,
    run: DayRange,
    instant: datetime,
    *,
    only: tuple[str, Fact | None] | None = None,
) -> pl.DataFrame:
    """The rows known at an instant, of what was known at it, without those that a later version has replaced since."""
    seen = watched.known(rehearsal.seen_at(instant, only), run, instant)
    if not watched.versions_of or watched.dated_by is None:
        return seen
    whole = watched.compute(rehearsal, run)
    later = whole.filter(pl.col(watched.dated_by) > instant)
    gone = seen.join(whole, on=seen.columns, how="anti", nulls_equal=True)
    replaced = gone.join(later, on=watched.versions_of, how="semi", nulls_equal=True)
    return seen.join(replaced, on=seen.columns, how="anti", nulls_equal=True) if replaced.height else seen


def _used(rehearsal: Rehearsal, watched: _Watched, run: DayRange, instant: datetime, whole: pl.DataFrame) -> str:
    """Which facts change the rows when each is taken away alone, in words."""
    used = []
    for source in watched.sources:
        for fact in (None, *rehearsal.catalog.sources[source].facts):
            without = _seen(rehearsal, watched, run, instant, only=(source, fact))
            if difference(whole, without, watched.key, came_from=WITH, wanted_from=WITHOUT):
                used.append(_named(source, fact))
    return f"It uses {' and '.join(used)}. " if used else ""


def _named(source: str, fact: Fact | None) -> str:
    if fact is None:
        return f"rows of {source} that come after"
    return f"{', '.join(fact.columns)} of {source}, known from {fact.known_at} on"


def _instants_of(rehearsal: Rehearsal, watched: _Watched, day: date) -> list[datetime]:
    """Instants of a day at which to look: those that its rows are dated by, and just before facts became known.

    Half of them are of each kind, spread over the day's rows and the same whenever they are asked for.
    """
    rows = watched.compute(rehearsal, DayRange(day, day + ONE_DAY))
    dated = rows[watched.dated_by or KNOWN_AT].drop_nulls().unique().sort()
    if watched.begun:
        began = midnight(day, rehearsal.graph[watched.table].calendar.timezone)
        dated = dated.filter(dated >= began)
    if dated.is_empty():
        return []
    shift = seed_of(watched.table, day.isoformat())
    facts = _facts_known(rehearsal, watched.sources, dated[0], dated[-1], day)
    return sorted({*_spread(dated, INSTANTS // 2, shift), *_spread(facts, INSTANTS - INSTANTS // 2, shift)})


def _facts_known(rehearsal: Rehearsal, sources: Sequence[str], first: datetime, last: datetime, day: date) -> pl.Series:
    """The instants just before something of the sources became known, between two instants around a day."""
    near = DayRange(day - ONE_DAY, day + 2 * ONE_DAY)
    known = [
        rehearsal.events[source].of(near)[column]
        for source in sources
        for column in dict.fromkeys((KNOWN_AT, *(fact.known_at for fact in rehearsal.catalog.sources[source].facts)))
    ]
    instants = pl.concat([series.alias("instant") for series in known]).drop_nulls() - JUST_BEFORE
    return instants.filter((instants >= first) & (instants < last)).unique().sort()


def _spread(instants: pl.Series, number: int, shift: int) -> list[datetime]:
    if len(instants) <= number:
        return list(instants)
    return [
        instants[(place * len(instants) + shift % len(instants)) // number % len(instants)] for place in range(number)
    ]
