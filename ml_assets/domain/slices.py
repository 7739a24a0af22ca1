"""Which event days a model is trained, chosen and judged on, and how much of them was known.

What belongs here: when a cohort counts as known, where the slices before a training day end, the record of them that
travels with a training set and is read back, whether their base rates differ by more than chance.
What does not: the rows of a slice (`training_rows.py`), fitting, judging.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.specs import Calendar, Maturity, ModelSpec
from partitions import DayRange, training_slices

TRAIN, HELD_OUT, GATE = "train", "held_out", "gate"
NAMES = (TRAIN, HELD_OUT, GATE)
COHORTS = {"event_day": pl.Date, "events": pl.Int64, "known": pl.Int64, "positives": pl.Int64}
WEATHER_DAYS = 7
"""How many days apart two days' base rates may still move together."""
BEYOND_CHANCE = 3.5


@dataclass(frozen=True, slots=True)
class Slice:
    """The event days `[days)` of a slice: events, those whose label was known, the positives among these."""

    days: DayRange
    events: int
    rows: int
    positives: int

    @property
    def coverage(self) -> float | None:
        """The share of events whose label was known; None without events."""
        return self.rows / self.events if self.events else None

    @property
    def base_rate(self) -> float | None:
        """The share of positives among known labels; None without any."""
        return self.positives / self.rows if self.rows else None

    def __str__(self) -> str:
        if not self.rows:
            return f"{self.days}: no labelled rows of {self.events} events"
        return f"{self.days}: {self.rows} rows, {self.coverage:.1%} of labels known, base rate {self.base_rate:.1%}"


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices of a training set, as they were when it was made."""

    train: Slice
    held_out: Slice
    gate: Slice

    @property
    def window(self) -> DayRange:
        """All event days from the first of `train` to the last of `gate`."""
        return DayRange(self.train.days.start, self.gate.days.end)

    def named(self) -> dict[str, Slice]:
        """The slices by name, in order of time."""
        return {TRAIN: self.train, HELD_OUT: self.held_out, GATE: self.gate}

    def to_json(self) -> str:
        """The slices as JSON: bounds, counts, and what follows from them."""
        return json.dumps(
            {
                name: {
                    "start": part.days.start.isoformat(),
                    "end": part.days.end.isoformat(),
                    "events": part.events,
                    "rows": part.rows,
                    "positives": part.positives,
                    "coverage": part.coverage,
                    "base_rate": part.base_rate,
                }
                for name, part in self.named().items()
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The slices that `to_json` wrote."""
        held = json.loads(text)
        return cls(
            **{
                name: Slice(
                    DayRange(date.fromisoformat(held[name]["start"]), date.fromisoformat(held[name]["end"])),
                    held[name]["events"],
                    held[name]["rows"],
                    held[name]["positives"],
                )
                for name in NAMES
            }
        )


def mature(maturity: Maturity, calendar: Calendar, day: date) -> pl.Expr:
    """Whether a cohort (`event_day`, `events`, `known`) counts as known when `day` begins.

    A cohort too old for any label to come counts, whatever share is known: what has not come by then never will.
    """
    age = (pl.lit(day) - pl.col("event_day")).dt.total_days()
    if maturity.age_days is not None:
        return age >= maturity.age_days
    complete = age > calendar.label_lag_days
    return complete | ((age > 0) & (pl.col("known") >= maturity.label_share * pl.col("events")))


def mature_end(model: ModelSpec, cohorts: pl.DataFrame, day: date) -> date:
    """The day after the newest event day that counts as known when `day` begins."""
    latest = day - timedelta(days=model.oldest_cohort_days - 1)
    if model.maturity.age_days is not None:
        return latest
    known = cohorts.filter(mature(model.maturity, model.calendar, day))["event_day"]
    newest = known.max()
    return max(latest, newest + timedelta(days=1)) if isinstance(newest, date) else latest


def slices_before(model: ModelSpec, cohorts: pl.DataFrame, day: date) -> Slices:
    """The slices of a training at `day`; cohorts that do not count as known have events in them, but no rows.

    `cohorts` holds one row an event day (`COHORTS`): its events, those whose label was known before `day` began, and
    the positives among these.
    """
    bounds = training_slices(
        mature_end(model, cohorts, day),
        first_day=model.calendar.first_day,
        train_days=model.train_days,
        held_out_days=model.held_out_days,
        gate_days=model.gate_days,
    )
    usable = pl.when(mature(model.maturity, model.calendar, day))
    counted = cohorts.select(
        "event_day",
        "events",
        usable.then("known").otherwise(0).alias("rows"),
        usable.then("positives").otherwise(0).alias("positives"),
    )

    def part(days: DayRange) -> Slice:
        inside = counted.filter(pl.col("event_day") >= days.start, pl.col("event_day") < days.end)
        return Slice(days, *(int(inside[column].sum()) for column in ("events", "rows", "positives")))

    return Slices(part(bounds.train), part(bounds.held_out), part(bounds.gate))


def empty_slices(model: ModelSpec, slices: Slices, day: date) -> list[str]:
    """For each slice without rows, why: the lag of the labels, or too few days before `day`."""
    calendar, reasons = model.calendar, []
    for name, part in slices.named().items():
        if part.rows:
            continue
        came = f"none of its {part.events} events has a label that counts as known" if part.events else "no events"
        reasons.append(
            f"the slice {name} {part.days} of {model.name!r} has {came} at the beginning of {day}: labels of "
            f"outcomes/{model.outcome} come up to {calendar.label_lag_days} days after the event, a cohort counts as "
            f"known {model.maturity}, and events begin on {calendar.first_day}. Train later, or shorten the slices"
        )
    return reasons


def base_rates_that_differ(slices: Slices, cohorts: pl.DataFrame) -> list[str]:
    """For each slice whose base rate differs from that of `train` by more than chance explains, by how much.

    The test: the difference over its standard error, where days are the units and days up to a week apart move
    together (Newey and West 1987, Bartlett weights, autocovariances pooled over the slices). Such errors are a little
    too small where days move together, hence the limit of 3.5.
    """
    parts = [_daily(part, cohorts) for part in slices.named().values()]
    if slices.train.base_rate is None:
        return []
    moved = _autocovariance(parts)
    variances = [_variance(part, counts, moved) for part, counts in zip(slices.named().values(), parts, strict=True)]
    said = []
    for (name, part), variance in list(zip(slices.named().items(), variances, strict=True))[1:]:
        spread = float(np.sqrt(variance + variances[0]))
        if part.base_rate is None or spread == 0:
            continue
        z = (part.base_rate - slices.train.base_rate) / spread
        if abs(z) > BEYOND_CHANCE:
            said.append(
                f"the base rate of slice {name}, {part.base_rate:.1%}, differs from {slices.train.base_rate:.1%} in "
                f"train by more than chance explains (z = {z:.1f} over correlated days, limit {BEYOND_CHANCE})"
            )
    return said


Counts = npt.NDArray[np.float64]


def _daily(part: Slice, cohorts: pl.DataFrame) -> Counts:
    """Known labels and positives of each day of a slice, 0 on days without any: days × 2."""
    counts = np.zeros((len(part.days), 2))
    for event_day, known, positives in cohorts.select("event_day", "known", "positives").iter_rows():
        if event_day in part.days:
            counts[(event_day - part.days.start).days] = known, positives
    return counts


def _autocovariance(parts: Sequence[Counts]) -> Counts:
    """How a day's base rate moves with that of the day h later, h = 0 … a week, weighted down, pooled over slices."""
    moved = np.zeros(WEATHER_DAYS + 1)
    pairs = np.zeros(WEATHER_DAYS + 1)
    for known, positives in (each.T for each in parts):
        held = known > 0
        rate = positives.sum() / max(known.sum(), 1)
        surplus = np.where(held, positives / np.maximum(known, 1) - rate, 0.0)
        for apart in range(min(WEATHER_DAYS + 1, len(known))):
            moved[apart] += float(np.sum(surplus[: len(known) - apart] * surplus[apart:]))
            pairs[apart] += np.count_nonzero(held[: len(known) - apart] & held[apart:])
    weights: Counts = 1 - np.arange(WEATHER_DAYS + 1) / (WEATHER_DAYS + 1)
    return weights * moved / np.maximum(pairs, 1)


def _variance(part: Slice, counts: Counts, moved: Counts) -> float:
    """The variance of a slice's base rate; never below that of independent rows."""
    if part.base_rate is None:
        return 0.0
    rows = counts[:, 0]
    total = moved[0] * float(np.sum(rows * rows))
    for apart in range(1, min(WEATHER_DAYS + 1, len(rows))):
        total += 2 * moved[apart] * float(np.sum(rows[:-apart] * rows[apart:]))
    independent = part.rows * part.base_rate * (1 - part.base_rate)
    return float(max(total, independent)) / part.rows**2
