"""What only data can show of a declaration: days within their limits, keys that are single, labels that are labels.

What belongs here: those looks, before the first training has to find out.
What does not: names and types (`ml_assets/catalog/cross_checks.py`), what the lake stores (`resources`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from ml_assets.domain.drift import day_drift, drift_reference
from ml_assets.domain.feature_days import judge_feature_days
from ml_assets.domain.feature_types import MOST_CATEGORIES, unfit_features
from ml_assets.domain.local_days import DAY
from ml_assets.domain.proofs.proof import DECLARED, Finding, Proof, found, shown
from ml_assets.domain.rehearsal import KNOWN_AT, Rehearsal
from ml_assets.domain.specs import ModelSpec
from ml_assets.domain.training_rows import EVENT_DAY
from partitions import DayRange

ONE_DAY = timedelta(days=1)


def group_as_declared(rehearsal: Rehearsal, group: str, days: Sequence[date]) -> Proof:
    """The days of a group would be accepted: rows, nulls, keys and the times at which values become known."""
    table, spec = f"features/{group}", rehearsal.catalog.features[group]
    there = [day for day in days if rehearsal.can_compute(table, day)]
    rows = 0

    def look() -> Iterator[Finding]:
        nonlocal rows
        for day in there:
            of_day = rehearsal.own_rows(spec, DayRange(day, day + ONE_DAY))
            verdict = judge_feature_days(spec, of_day, [day])[day]
            rows += of_day.height
            if not verdict.passed:
                yield Finding(
                    f"{table} of {day}",
                    "; ".join(verdict.reasons),
                    "a day that is accepted",
                    "Change what the group declares, or what it computes: no model would be trained or served on the "
                    "day.",
                )

    findings = found(table, look)
    return shown(DECLARED, table, there, rows, findings=findings, without_rows="none of the days looked at has a row")


def outcome_as_declared(rehearsal: Rehearsal, outcome: str, days: Sequence[date]) -> Proof:
    """Labels are 0 or 1, each event has one, and none comes later than declared."""
    table = f"outcomes/{outcome}"
    there = [day for day in days if rehearsal.can_compute(table, day)]
    rows = 0

    def look() -> Iterator[Finding]:
        nonlocal rows
        seen = [rehearsal.outcomes(outcome, DayRange(day, day + ONE_DAY)) for day in there]
        labels = pl.concat(seen) if seen else pl.DataFrame()
        rows = labels.height
        yield from _too_late(table, [rehearsal.refused_labels(outcome, DayRange(day, day + ONE_DAY)) for day in there])
        if not rows:
            return
        strange = labels.filter(~pl.col("label").cast(pl.Float64).is_in([0.0, 1.0]).fill_null(value=False))
        if strange.height:
            first = strange.row(0, named=True)
            yield Finding(
                f"{table} of {first[DAY]}, row_key {first['row_key']}",
                f"the label is {first['label']} ({strange.height} of {rows} rows are neither 0 nor 1)",
                "0 or 1, and no label at all of what is not known",
                "Mend compute: give 1 for what the model is to predict, and leave out rows without a label.",
            )
        yield from _doubled(table, labels, "an event has one label; leave out all but the one that counts")

    findings = found(table, look)
    return shown(DECLARED, table, there, rows, findings=findings, without_rows="no label became known on these days")


def _too_late(table: str, refused: Sequence[pl.DataFrame]) -> Iterator[Finding]:
    set_aside = sum(each.height for each in refused)
    if set_aside:
        first = next(each for each in refused if each.height).row(0, named=True)
        yield Finding(
            f"{table} of {first[DAY]}, {first['payload']}",
            f"{first['reasons'][0]} ({set_aside} such labels)",
            "no label later than declared",
            "Raise label_lag_days of the calendar, or mend known_at where the outcome is computed.",
        )


def model_as_declared(rehearsal: Rehearsal, model: ModelSpec, day: date) -> Proof:
    """A training set can be made, fitted and watched: single keys, labels of its events, types and categories."""
    subject, run = f"models/{model.name}", DayRange(day, day + ONE_DAY)
    notes: list[str] = []
    rows = 0

    def look() -> Iterator[Finding]:
        nonlocal rows
        spine = rehearsal.training_frames(model, run)[model.spine]
        keys = "the spine has one row an event; name another group as the spine, or mend its compute"
        if doubled := list(_doubled(f"features/{model.spine}", spine, keys)):
            yield doubled[0]
            return
        labels = rehearsal.labels(model, run)
        if labels.height and labels.join(spine, on="row_key", how="semi").is_empty():
            yield Finding(
                f"{subject}, training set of {day}",
                f"none of {labels.height} labels of {model.outcome!r} is of a row_key of its spine {model.spine!r}: "
                f"{labels['row_key'][0]!r} there, {spine['row_key'][0] if spine.height else 'none'!r} here",
                "one row_key for an event, the same everywhere",
                "Give the event's key in the outcome's compute as the spine does.",
            )
            return
        made = rehearsal.training_set(model, day, run)
        trained, rows = made.rows, made.rows.height
        notes.extend(made.findings)
        if rows and made.faults:
            what, _, remedy = made.faults[0].rpartition(". ")
            yield Finding(subject, what, "labelled rows in every slice", f"{remedy}.")
        judged, wanted = made.slices.gate.rows, model.gate.min_rows
        if rows and judged < wanted:
            yield Finding(
                f"{subject}, training set of {day}",
                f"the gate's {model.gate_days} days hold {judged} labelled rows",
                f"the {wanted} that its limits ask for (min_rows), or no model is ever promoted",
                "Raise gate_days, or lower min_rows of the gate.",
            )
        yield from _unfit(subject, model, trained)
        notes.extend(_never_valued(model, trained))
        if rows:
            watched = trained.with_columns(pl.col(EVENT_DAY).alias(DAY))
            reference = drift_reference(watched, model.feature_columns, day=DAY, categorical=model.categorical_columns)
            day_drift(reference, watched, day=DAY, alpha=model.drift.alpha)

    findings = found(subject, look)
    none = f"no label of the days before {day} was known when it began"
    proof = shown(DECLARED, subject, [day], rows, findings=findings, without_rows=none)
    return replace(proof, notes=tuple(notes))


def _doubled(table: str, rows: pl.DataFrame, rule: str) -> Iterator[Finding]:
    doubled = rows.filter(pl.col("row_key").is_duplicated()).sort("row_key", DAY, KNOWN_AT)
    if doubled.height:
        first = doubled.row(0, named=True)
        times = doubled.filter(pl.col("row_key") == first["row_key"]).height
        yield Finding(
            f"{table}, row_key {first['row_key']}",
            f"it is there {times} times ({doubled['row_key'].n_unique()} such keys), first on {first[DAY]}",
            "each row_key once",
            f"{rule[0].upper()}{rule[1:]}.",
        )


def _unfit(subject: str, model: ModelSpec, rows: pl.DataFrame) -> Iterator[Finding]:
    types = {
        feature: rows.schema[column] for feature, column in zip(model.features, model.feature_columns, strict=True)
    }
    for told in unfit_features(model, types):
        what, _, remedy = told.rpartition(": ")
        came, _, wanted = what.partition(", wanted ")
        yield Finding(subject, came, wanted, f"{remedy[0].upper()}{remedy[1:]}.")
    for column in model.categorical_columns:
        if (categories := rows[column].n_unique()) > MOST_CATEGORIES:
            yield Finding(
                f"{subject}, feature column {column}",
                f"it has {categories} categories in {rows.height} rows, an absent value being one",
                f"at most {MOST_CATEGORIES}, which is what the family takes",
                "Put rare ones together where they are computed, or leave the feature out.",
            )


def _never_valued(model: ModelSpec, rows: pl.DataFrame) -> list[str]:
    return [
        f"{feature} has no value in any of {rows.height} rows: see whether its group's keys are written as the "
        "spine's, and whether max_age is long enough"
        for feature, column in zip(model.features, model.feature_columns, strict=True)
        if rows.height and rows[column].null_count() == rows.height
    ]
