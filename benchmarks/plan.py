"""How long the planner takes once the records lie in memory: one changed day of a year, and of ten years of 40 assets.

Run it with `python benchmarks/plan.py`. Each figure is the median of several plans.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import numpy as np

from ml_assets.domain.declared import Declared, Graph, Nature, Read
from ml_assets.domain.planning import DayRecords, ordinals, plan, window_fingerprints
from ml_assets.domain.specs import Calendar
from partitions import DayRange, same_days, trailing_days, window_before

REPEATS = 9
FIRST = date(2013, 1, 1)
SIZES = ((365, 1, 0.3), (3650, 4, 1.0))


def main() -> int:
    """Prints the figures; exit status 1 when a plan of one changed day is not within its aim."""
    slow = False
    for days, models, aim in SIZES:
        graph = declared(models, days)
        records = on_record(graph, days)
        middle = changed(records, "events/flights", days // 2)
        everything = {table: (FIRST, FIRST + timedelta(days=days)) for table in graph.assets}
        nothing = {table: DayRecords.none() for table in graph.assets}
        print(f"{days} days × {len(graph.assets)} assets, medians of {REPEATS}")
        rewritten = changed(records, "features/schedule")
        made = plan(graph, middle)
        for name, seconds in (
            ("nothing changed", median(partial(plan, graph, records))),
            (f"one day changed: {len(made.steps)} steps", one := median(partial(plan, graph, middle))),
            (f"  and its {len(made.runs())} runs", median(made.runs)),
            ("every day of a feature group changed", median(partial(plan, graph, rewritten))),
            ("everything due, nothing there", median(partial(plan, graph, nothing, due=everything))),
        ):
            print(f"  {name:36} {seconds * 1000:9.1f} ms")
        print(f"  {'aim for one day changed':36} {aim * 1000:9.1f} ms")
        slow |= one > aim
    return 1 if slow else 0


def declared(models: int, days: int) -> Graph:
    """Workloads of the shipped shape: sources, outcomes, features and, for each model, what is decided and reported."""
    calendar = Calendar(
        name="w", timezone="UTC", first_day=FIRST, end_day=FIRST + timedelta(days=days), label_lag_days=2
    )

    def fact(table: str, **reads: Read) -> Declared:
        return Declared(*table.split("/"), Nature.FACT, calendar, reads)

    def decision(table: str, **reads: Read) -> Declared:
        return Declared(*table.split("/"), Nature.DECISION, calendar, reads)

    assets = [
        fact("events/flights"),
        fact("events/weather"),
        fact("outcomes/late", events=Read("events/flights", trailing_days(3))),
        fact("features/schedule", events=Read("events/flights", same_days(), needed=True)),
    ]
    groups = ["features/schedule"]
    for number in range(4 if models > 1 else 0):
        group = f"features/recent{number}"
        assets.append(
            fact(
                group,
                flights=Read("events/flights", trailing_days(7), needed=True),
                weather=Read("events/weather", trailing_days(3)),
            )
        )
        groups.append(group)
    for number in range(models):
        m = f"m{number}"
        features = {f"features{at}": Read(group, same_days(), needed=True) for at, group in enumerate(groups)}
        before = {f"features{at}": Read(group, window_before(120)) for at, group in enumerate(groups)}
        labels = Read("outcomes/late", window_before(120))
        champions = Read(f"champions/{m}", same_days())
        assets += [
            decision(
                f"retrain_decisions/{m}",
                drift=Read(f"drift_reports/{m}", window_before(35), edge=False),
                performance=Read(f"performance_reports/{m}", window_before(35), edge=False),
                champions=Read(f"champions/{m}", window_before(1), edge=False),
            ),
            decision(
                f"training_sets/{m}", asked=Read(f"retrain_decisions/{m}", same_days()), outcomes=labels, **before
            ),
            decision(f"models/{m}", rows=Read(f"training_sets/{m}", same_days(), follows=True)),
            decision(
                f"champions/{m}",
                yesterday=Read(f"champions/{m}", window_before(1), edge=False),
                models=Read(f"models/{m}", same_days(), follows=True),
            ),
            decision(f"calibrators/{m}", champions=Read(f"champions/{m}", same_days(), follows=True), outcomes=labels),
            fact(f"predictions/{m}", champions=champions, **features),
            fact(
                f"drift_reports/{m}",
                champions=champions,
                scores=Read(f"predictions/{m}", trailing_days(7)),
                **features,
            ),
            fact(
                f"performance_reports/{m}",
                outcomes=Read("outcomes/late", same_days()),
                scores=Read(f"predictions/{m}", trailing_days(3)),
            ),
        ]
    return Graph.of(assets)


def on_record(graph: Graph, days: int) -> dict[str, DayRecords]:
    """Records of a lake in step, every day of every table on record."""
    random = np.random.default_rng(7)
    every = ordinals(DayRange(FIRST, FIRST + timedelta(days=days)))
    contents = {
        table: DayRecords(
            every,
            random.integers(1, 2**63, days).astype(np.uint64),
            np.zeros(days, np.bool_),
            changed_at=np.arange(days),
        )
        for table in graph.assets
    }
    return {
        asset.table: replace(
            contents[asset.table],
            inputs={
                name: window_fingerprints(contents[read.table], every, read.window, presence=read.needed)
                for name, read in asset.reads.items()
            },
            versions={name: np.full(days, days) for name in asset.reads},
        )
        for asset in graph
    }


def changed(records: Mapping[str, DayRecords], table: str, number: int | None = None) -> dict[str, DayRecords]:
    """The records after one day of a table, or every day, has changed its content."""
    held = records[table]
    assert held.changed_at is not None
    which = slice(None) if number is None else slice(number, number + 1)
    content, changed_at = held.content.copy(), held.changed_at.copy()
    content[which] += np.uint64(1)
    changed_at[which] = len(content) + 1
    return {**records, table: replace(held, content=content, changed_at=changed_at)}


def median(call: Callable[[], object]) -> float:
    """The median of the seconds that a call takes."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
