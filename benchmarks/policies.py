"""What a policy of training is worth: the year replayed under each, with the platform's own fit, gate and calibrator.

Run it with `python benchmarks/policies.py` after the demo; `--home` names another home than `.ml_assets`, `--policies`
some of them, `--picture` a file. It reads features and outcomes from the home's lake and goes through no Dagster. Every
label is used only from the day it was known on; served rows are those of 1 February to 30 December. Differences are to
the shipped policy, with 90% intervals of a bootstrap over days.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ml_assets.catalog import load_catalog
from ml_assets.domain.calibration import HeldOut, apply_calibrator, calibrator_of_day
from ml_assets.domain.content import seed_of
from ml_assets.domain.evaluation import brier, ece, paired_bootstrap, roc_auc
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.promotion import gate
from ml_assets.domain.specs import ModelSpec
from ml_assets.domain.training import TrainingError, fit_candidate, refitted, score
from partitions import DayRange, training_slices
from resources.handles import lake_of
from resources.settings import prepare_process

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
MODEL = "disruption"
ALL_DAYS = (date.min, date.max)
DRAWS = 1_000
SHIPPED = "trigger or 21 days"


@dataclass(frozen=True)
class Policy:
    """When models are trained and what of them serves."""

    name: str
    every: int | None = None
    only_first: bool = False
    triggered: bool = False
    max_age: int | None = None
    gated: bool = True
    refit: bool = True
    window: int | None = None


POLICIES = (
    Policy("never after the first", only_first=True),
    Policy("monthly", every=30),
    Policy("two-weekly", every=14),
    Policy("triggered", triggered=True),
    Policy(SHIPPED, triggered=True, max_age=21),
    Policy("trigger or 28 days", triggered=True, max_age=28),
    Policy("shipped, ungated", triggered=True, max_age=21, gated=False),
    Policy("shipped, without refit", triggered=True, max_age=21, refit=False),
    Policy("shipped, 120-day window", triggered=True, max_age=21, window=120),
)


@dataclass
class Year:
    """Every event of the workload with its features, label, event day and the day its label became known."""

    model: ModelSpec
    rows: pl.DataFrame
    triggers: frozenset[date]
    fits: dict[object, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, home: Path) -> "Year":
        """The year as it lies in a home's lake, with the days on which a trigger fired there."""
        catalog, lake = load_catalog(), lake_of(home)
        model = catalog.models[MODEL]
        groups = catalog.groups_of(model)
        frames = {name: lake.read(f"features/{name}", *ALL_DAYS).rows.collect() for name in groups}
        labels = lake.read(f"outcomes/{model.outcome}", *ALL_DAYS).rows.select("row_key", "label", "known_at").collect()
        known = local_day(pl.col("known_at"), model.calendar.timezone).alias("known_day")
        rows = feature_rows(model, groups, frames).join(labels, on="row_key").with_columns(known).sort(DAY, "row_key")
        decided = lake.read(f"retrain_decisions/{model.name}", *ALL_DAYS).rows
        fired = decided.filter(pl.col("decision") == "train", ~pl.col("trigger").is_in(["age", "first champion"]))
        return cls(model, rows, frozenset(fired.collect()[DAY]))

    @cached_property
    def day_codes(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """The event day of each row, as days since 1970."""
        return self.rows[DAY].to_physical().to_numpy()

    def before(self, days: DayRange, day: date) -> pl.DataFrame:
        """The rows of event days whose label was known before `day`."""
        return self.rows.filter(pl.col(DAY) >= days.start, pl.col(DAY) < days.end, pl.col("known_day") < day)


@dataclass(frozen=True)
class Played:
    """A year under a policy: raw scores and probabilities of served rows, and the days of its trainings."""

    raw: Floats
    probability: Floats
    trainings: Sequence[date]


def play(year: Year, policy: Policy) -> Played:
    """The year under a policy, day by day as the platform would have lived it."""
    model = replace(year.model, train_days=policy.window)
    raw = np.full(year.rows.height, np.nan)
    trainings: list[date] = []
    serving: bytes | None = None
    unseen_from: date | None = None
    for day, end in _spans(year, policy):
        slices = training_slices(
            day,
            first_day=model.calendar.first_day,
            train_days=model.train_days,
            held_out_days=model.held_out_days,
            gate_days=model.gate_days,
        )
        candidate = _candidate(year, model, policy, day, slices.train, slices.held_out)
        trainings.append(day)
        allowed = True
        if serving is not None and policy.gated and unseen_from is not None and unseen_from <= slices.gate.start:
            rows = year.before(slices.gate, day)
            theirs = score(model, serving, rows)
            ours = score(model, candidate[0], rows)
            allowed = gate(rows, ours, theirs, model.gate, seed=seed_of(MODEL, day.isoformat(), "gate")).passed
        if serving is None:
            _put(raw, year, DayRange(slices.held_out.start, day), score_of(model, candidate[0]))
        if allowed:
            serving = candidate[1]
            unseen_from = day if policy.refit else slices.train.end
        _put(raw, year, DayRange(day, end), score_of(model, serving))
    return Played(raw, _calibrated(year, raw), trainings)


def score_of(model: ModelSpec, artefact: bytes | None) -> Callable[[pl.DataFrame], Floats]:
    """Scores rows by a stored pipeline."""
    if artefact is None:
        raise TrainingError("nothing serves yet")
    return lambda rows: score(model, artefact, rows)


def _spans(year: Year, policy: Policy) -> Iterator[tuple[date, date]]:
    """Each training day and the end of what it serves."""
    model, end = year.model, date(2013, 12, 31)
    days = [model.first_training_day]
    for day in DayRange(model.first_training_day + timedelta(days=1), end):
        since = (day - days[-1]).days
        if policy.only_first or since < model.cool_down_days:
            continue
        due = policy.every is not None and since >= policy.every
        old = policy.max_age is not None and since >= policy.max_age
        if due or old or (policy.triggered and day in year.triggers):
            days.append(day)
    yield from zip(days, [*days[1:], end], strict=True)


def _candidate(
    year: Year, model: ModelSpec, policy: Policy, day: date, train: DayRange, held_out: DayRange
) -> tuple[bytes, bytes]:
    """What is judged and what would serve; fits are shared by the policies that ask for the same."""
    key = (day, train, policy.refit)
    if key not in year.fits:
        seed = seed_of(MODEL, day.isoformat())
        judged = fit_candidate(model, year.before(train, day), year.before(held_out, day), seed=seed)
        year.fits[day, train, False] = judged.artefact
        if policy.refit:
            whole = year.before(DayRange(train.start, day), day)
            year.fits[key] = refitted(model, whole, judged, seed=seed).artefact
    return year.fits[day, train, False], year.fits[key]


def _put(raw: Floats, year: Year, days: DayRange, scores: Callable[[pl.DataFrame], Floats]) -> None:
    epoch = date(1970, 1, 1)
    start, stop = np.searchsorted(year.day_codes, [(days.start - epoch).days, (days.end - epoch).days])
    if stop > start:
        raw[start:stop] = scores(year.rows[start:stop])


def _calibrated(year: Year, raw: Floats) -> Floats:
    """The probability of each served row by its day's calibrator, from scores served before it."""
    spec = year.model.calibration
    labels = year.rows["label"].to_numpy().astype(np.float64)
    known = year.rows["known_day"].to_physical().to_numpy()
    codes = year.day_codes
    made = np.full(raw.size, np.nan)
    window = spec.window_days if spec else 1
    for day in np.unique(codes[~np.isnan(raw)]):
        start, stop = np.searchsorted(codes, [day - window, day])
        inside = np.arange(start, stop)
        inside = inside[(known[inside] < day) & ~np.isnan(raw[inside])]
        held_out = HeldOut(raw[inside], labels[inside], (day - codes[inside]).astype(np.int64))
        first, last = np.searchsorted(codes, [day, day + 1])
        made[first:last] = apply_calibrator(calibrator_of_day(held_out, spec).calibrator, raw[first:last])
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, and draws it when a file is named."""
    parsed = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parsed.add_argument("--home", type=Path, default=Path(".ml_assets"))
    parsed.add_argument("--policies", nargs="*", default=[policy.name for policy in POLICIES])
    parsed.add_argument("--picture", type=Path, default=None)
    chosen = parsed.parse_args(arguments)
    prepare_process()
    year = Year.of(chosen.home)
    wanted = [policy for policy in POLICIES if policy.name in {*chosen.policies, SHIPPED}]
    served = (year.rows[DAY] >= date(2013, 2, 1)).to_numpy() & (year.rows[DAY] < date(2013, 12, 31)).to_numpy()
    labels, blocks = year.rows["label"].to_numpy()[served], year.day_codes[served]
    played: dict[str, Played] = {}
    for policy in wanted:
        began = time.monotonic()
        played[policy.name] = play(year, policy)
        print(f"{policy.name}: {len(played[policy.name].trainings)} trainings, {time.monotonic() - began:.0f} s")
    table = [_row(name, each, labels, served, blocks, played[SHIPPED]) for name, each in played.items()]
    print("\n| policy | trainings | Brier | ROC-AUC | ECE | Brier against the shipped one |\n|---|---|---|---|---|---|")
    for row in table:
        print(
            f"| {row['policy']} | {row['trainings']} | {row['brier']:.4f} | {row['roc_auc']:.3f} | {row['ece']:.4f} "
            f"| {row['rise']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}] |"
        )
    if chosen.picture:
        _draw(table, chosen.picture)
    return 0


def _row(
    name: str, played: Played, labels: np.ndarray, served: np.ndarray, blocks: np.ndarray, shipped: Played
) -> dict[str, object]:
    probability, theirs = played.probability[served], shipped.probability[served]
    rise = paired_bootstrap(labels, theirs, probability, brier, blocks, seed=0, draws=DRAWS)
    return {
        "policy": name,
        "trainings": len(played.trainings),
        "brier": brier(labels, probability),
        "roc_auc": roc_auc(labels, probability),
        "ece": ece(labels, probability),
        "rise": rise.estimate,
        "low": rise.p05,
        "high": rise.p95,
    }


def _draw(table: Sequence[dict[str, object]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for row in table:
        axes.plot(row["trainings"], row["brier"], "o", color="C1" if row["policy"] == SHIPPED else "C0")
        axes.annotate(
            str(row["policy"]), (row["trainings"], row["brier"]), xytext=(5, 4), textcoords="offset points", fontsize=8
        )
    axes.set(xlabel="trainings in eleven months", ylabel="Brier score (lower is better)")
    axes.margins(x=0.2, y=0.15)
    figure.savefig(file)


if __name__ == "__main__":
    sys.exit(main())
