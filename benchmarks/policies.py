"""What a policy of training is worth: the platform itself replays the year under each, over one lake's features.

Run it with `python benchmarks/policies.py` after the demo; `--home` names another home than `.ml_assets`, `--policies`
some of the policies, `--picture` a file to draw. A policy is the shipped model with other values in its declaration,
so the row of the shipped one is what the demo prints. Every label is used from the moment it was known, as everywhere
in the platform. Judged are the predictions of 1 February to 30 December, the last day with weather. Differences are to
the shipped policy, with 90% intervals of a bootstrap over days.

What belongs here: which policies, their replays side by side, the table and the picture.
What does not: training, judging, serving: those are the platform's.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

# The checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from resources.settings import prepare_process

MODEL, WORKLOAD = "disruption", "flights"
SHARED = ("events", "features", "outcomes")
FIRST, END = date(2013, 2, 1), date(2013, 12, 31)
ALL_DAYS = (date.min, date.max)
DRAWS = 1_000
SHIPPED = "shipped: trigger or 21 days"
NEVER = 10_000


@dataclass(frozen=True)
class Policy:
    """The shipped model with other values in its declaration."""

    name: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    triggers: bool = True
    gated: bool = True


POLICIES = (
    Policy(SHIPPED),
    Policy("never after the first", {"max_age_days": None}, triggers=False),
    Policy("monthly", {"max_age_days": 30}, triggers=False),
    Policy("two-weekly", {"max_age_days": 14}, triggers=False),
    Policy("triggered", {"max_age_days": None}),
    Policy("trigger or 28 days", {"max_age_days": 28}),
    Policy("shipped, ungated", gated=False),
    Policy("shipped, without refit", {"refit": False}),
    Policy("shipped, 120-day window", {"train_days": 120}),
    Policy("shipped, raw scores", {"calibration": None}),
)


def declared(policy: Policy) -> Any:
    """The shipped catalogue's flights with the model as the policy has it."""
    from ml_assets.catalog import load_catalog
    from ml_assets.domain.specs import Catalog

    catalog = load_catalog()
    model = catalog.models[MODEL]
    changed = dict(policy.changed)
    if not policy.triggers:
        never_drifts = replace(model.drift, max_weighted_drift=2.0)
        changed |= {"metric_triggers": (), "business_days": (), "drift": never_drifts}
    if not policy.gated:
        anything = {
            "min_rows": 1,
            "min_roc_auc": 0.0,
            "max_ece": 1.0,
            "max_brier_rise": 1.0,
            "max_segment_brier_rise": 1.0,
        }
        changed |= {"gate": replace(model.gate, **anything)}
    of_flights = [
        {name: spec for name, spec in kind.items() if spec.calendar.name == WORKLOAD}
        for kind in (catalog.sources, catalog.features, catalog.outcomes)
    ]
    return Catalog(*of_flights, {MODEL: replace(model, **changed)})


@dataclass(frozen=True)
class Played:
    """A year under a policy: its predictions with what came of them, how often was trained, how long it took."""

    rows: pl.DataFrame
    trainings: int
    promoted: int
    seconds: float


def play(policy: Policy, home: Path) -> Played:
    """The year under a policy, replayed in a home of its own that begins with the features of another."""
    prepare_process()
    from ml_assets.launch import Launcher
    from ml_assets.replay import Replay
    from resources.home import open_home

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ml-assets-policy-") as folder:
        place = open_home(Path(folder) / "home")
        for stage in (*SHARED, "refusals", "quarantine"):
            if (home / "lake" / stage).is_dir():
                shutil.copytree(home / "lake" / stage, place.path / "lake" / stage, ignore=_of_models)
        launcher = Launcher.of(place, declared(policy))
        with launcher.instance:
            Replay(launcher, lambda *_: None).run()
        lake = launcher.lake
        predictions = lake.read(f"predictions/{MODEL}", FIRST, END).rows.select(
            "partition_date", "row_key", "probability"
        )
        labels = lake.read("outcomes/disrupted", *ALL_DAYS).rows.select("row_key", "label")
        tried = lake.read(f"champions/{MODEL}", *ALL_DAYS).rows.filter(pl.col("evidence") != "{}").collect()
        rows = predictions.join(labels, on="row_key").sort("partition_date", "row_key").collect()
    promoted = tried.filter(pl.col("decision").is_in(["first", "promoted"])).height
    return Played(rows, tried.height, promoted, time.monotonic() - began)


def _of_models(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder).name == "refusals" and MODEL in name]


def row_of(policy: str, played: Played, shipped: Played) -> dict[str, Any]:
    """What the table says of a policy."""
    from ml_assets.domain.evaluation import brier, ece, paired_bootstrap, roc_auc

    both = played.rows.join(shipped.rows.select("row_key", pl.col("probability").alias("shipped")), on="row_key")
    labels, probability = both["label"].to_numpy(), both["probability"].to_numpy()
    blocks = both["partition_date"].rank("dense").to_numpy().astype(np.int64)
    rise = paired_bootstrap(labels, both["shipped"].to_numpy(), probability, brier, blocks, seed=0, draws=DRAWS)
    by_month = both.with_columns(month=pl.col("partition_date").dt.month()).partition_by("month")
    months = [ece(part["label"].to_numpy(), part["probability"].to_numpy()) for part in by_month]
    return {
        "policy": policy,
        "trainings": played.trainings,
        "promoted": played.promoted,
        "brier": brier(labels, probability),
        "roc_auc": roc_auc(labels, probability),
        "ece": ece(labels, probability),
        "median": float(np.median(months)),
        "worst": max(months),
        "rise": (rise.p50, rise.p05, rise.p95),
        "seconds": played.seconds,
    }


HEADER = (
    "policy",
    "trainings",
    "promoted",
    "Brier",
    "ROC-AUC",
    "ECE",
    "months' ECE, median / worst",
    "Brier against shipped [90%]",
)


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row as the table shows it."""
    middle, low, high = row["rise"]
    against = "" if row["policy"] == SHIPPED else f"{middle:+.4f} [{low:+.4f}, {high:+.4f}]"
    return (
        row["policy"],
        str(row["trainings"]),
        str(row["promoted"]),
        f"{row['brier']:.4f}",
        f"{row['roc_auc']:.3f}",
        f"{row['ece']:.4f}",
        f"{row['median']:.3f} / {row['worst']:.3f}",
        against,
    )


def draw(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A line a policy, the best on top: its Brier score, the interval of its difference, its trainings."""
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: -row["brier"])
    base = next(row["brier"] for row in rows if row["policy"] == SHIPPED)
    figure = Figure(figsize=(8, 0.36 * len(ordered) + 0.9), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(base, color="0.85", linewidth=1, zorder=0)
    for place, row in enumerate(ordered):
        _, low, high = row["rise"]
        axes.plot([base + low, base + high], [place, place], color="0.7", linewidth=2, zorder=1)
        axes.plot(row["brier"], place, "o", color="C1" if row["policy"] == SHIPPED else "C0", zorder=2)
        axes.annotate(
            f"{row['trainings']} trainings" if row["trainings"] > 1 else "1 training",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color="0.35",
        )
    axes.set_yticks(range(len(ordered)), [row["policy"] for row in ordered])
    axes.set(xlabel="Brier score of the year, lower is better; lines: 90% of the difference to the shipped policy")
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Replays the policies side by side, prints the table, draws it when a file is named."""
    parsed = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parsed.add_argument("--home", type=Path, default=Path(".ml_assets"))
    parsed.add_argument("--policies", nargs="*", default=[policy.name for policy in POLICIES])
    parsed.add_argument("--picture", type=Path)
    parsed.add_argument("--jobs", type=int, default=2, help="replays side by side")
    chosen = parsed.parse_args(arguments)
    if not (chosen.home / "lake" / "features").is_dir():
        print(f"{chosen.home} holds no features; run the demo first, or name its home with --home.", file=sys.stderr)
        return 1
    wanted = [policy for policy in POLICIES if policy.name in {*chosen.policies, SHIPPED}]
    if unknown := set(chosen.policies) - {policy.name for policy in POLICIES}:
        print(f"unknown policies {sorted(unknown)}; known are {[policy.name for policy in POLICIES]}.", file=sys.stderr)
        return 1
    played: dict[str, Played] = {}
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        jobs = {policy.name: pool.submit(play, policy, chosen.home.resolve()) for policy in wanted}
        for name, job in jobs.items():
            played[name] = job.result()
            print(f"{name}: {played[name].trainings} trainings, replayed in {played[name].seconds:.0f} s", flush=True)
    rows = [row_of(name, each, played[SHIPPED]) for name, each in played.items()]
    shown = Table(title="the year under each policy of training")
    for name in HEADER:
        shown.add_column(name)
    for row in rows:
        shown.add_row(*cells(row))
    Console(width=150).print(shown)
    print("\n| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|")
    for row in rows:
        print("| " + " | ".join(cells(row)) + " |")
    if chosen.picture:
        draw(rows, chosen.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
