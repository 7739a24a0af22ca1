"""What a tick of each sensor costs, over histories of one, five and ten years of the shipped catalogue.

    .venv/bin/python benchmarks/sensor_ticks.py [--years 1 5 10] [--repeats 5]

The tables are made up, two rows a day, in step with one another, and lie in a temporary home. Three ticks are timed:
when nothing is new, after a day of flights has changed, after a decision to train. The last line of each kind is the
ratio of the longest history to the shortest.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from dagster import SensorDefinition, build_sensor_context
from dagster._core.definitions.sensor_definition import SensorExecutionData

from ml_assets.catalog import load_catalog
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.day_records import window_fingerprints
from ml_assets.domain.local_days import DAY
from ml_assets.domain.retraining import Decision, decision_rows
from ml_assets.domain.specs import Catalog
from ml_assets.domain.verdict import passed
from ml_assets.launch import Launcher
from resources.handles import LakeHandle
from resources.home import open_home
from resources.lake import Read

FLIGHTS, DECISIONS, TRAINING_SETS = "events/flights", "retrain_decisions/disruption", "training_sets/disruption"
FIRST = date(2013, 1, 1)


@dataclass
class Watched:
    """A home with a history, and the sensors that watch it."""

    launcher: Launcher
    cursors: dict[str, str | None]

    def tick(self, name: str) -> tuple[float, SensorExecutionData]:
        """The milliseconds of a tick of a sensor, and what came of it."""
        context = build_sensor_context(
            instance=self.launcher.instance,
            cursor=self.cursors.get(name),
            resources={"lake": LakeHandle(home=str(self.launcher.home.path))},
            definitions=self.launcher.defs,
        )
        sensor: SensorDefinition = self.launcher.defs.get_repository_def().get_sensor_def(name)
        began = time.perf_counter()
        came = sensor.evaluate_tick(context)
        took = time.perf_counter() - began
        self.cursors[name] = came.cursor
        return took * 1000, came

    def write(self, table: str, rows: pl.DataFrame, days: Sequence[date]) -> None:
        """Puts days of a table on record, as computed from what their reads hold now."""
        lake, asset = self.launcher.lake, self.launcher.graph[table]
        fingerprints = {
            name: dict(
                zip(
                    days,
                    window_fingerprints(
                        lake.records([read.table])[read.table], days, read.window, presence=read.needed
                    ).tolist(),
                    strict=True,
                )
            )
            for name, read in asset.reads.items()
            if not read.by_version
        }
        lake.write(table, DayBatch(rows, {day: passed() for day in days}), Read(fingerprints), {"run_id": "benchmark"})


def main(years: Sequence[int], repeats: int) -> None:
    """Prints the milliseconds of each tick at each length of history, and how they grow."""
    found = {length: ticks_of(365 * length, repeats) for length in years}
    for kind in found[years[0]]:
        for length in years:
            print(f"{kind:50} {length:3} years {found[length][kind]:8.1f} ms")
        print(f"{'':50} {found[years[-1]][kind] / found[years[0]][kind]:9.2f} x")


def ticks_of(days: int, repeats: int) -> dict[str, float]:
    """The median milliseconds of each kind of tick over a history of so many days."""
    with tempfile.TemporaryDirectory() as folder:
        launcher = Launcher.of(open_home(Path(folder) / "home"), over(load_catalog(), days))
        with launcher.instance:
            return timed(Watched(launcher, {}), [FIRST + timedelta(days=at) for at in range(days)], repeats)


def timed(watched: Watched, days: list[date], repeats: int) -> dict[str, float]:
    """The median milliseconds of each kind of tick."""
    decided, to_decide = days[:-repeats], days[-repeats:]
    waits = decision_rows([Decision(day, False, "none", ("nothing",)) for day in decided])
    # Once for the contents, once more for what they rest on: some read what is written after them.
    for _ in range(2):
        for table in watched.launcher.graph.assets:
            held = decided if table in (DECISIONS, TRAINING_SETS) else days
            watched.write(table, waits if table == DECISIONS else made_up(held, 1.0), held)
    for name in ("keep_in_step", "retrain_on_decision"):
        watched.tick(name)
    # What the sensor had asked for is done by nobody here: its runs are never made, and it looks again.
    nothing = {name: [watched.tick(name)[0] for _ in range(repeats)] for name in watched.cursors}
    changed, decided_ms = [], []
    for attempt, last in enumerate(to_decide):
        day = days[-100 - attempt]
        watched.write(FLIGHTS, made_up([day], 2.0), [day])
        took, came = watched.tick("keep_in_step")
        assert came.run_requests, came.skip_message
        changed.append(took)
        watched.write(DECISIONS, decision_rows([Decision(last, True, "drift", ("moved",))]), [last])
        took, came = watched.tick("retrain_on_decision")
        assert came.run_requests, came.skip_message
        decided_ms.append(took)
    return {
        **{f"{name}, nothing new": statistics.median(took) for name, took in nothing.items()},
        "keep_in_step, one day changed": statistics.median(changed),
        "retrain_on_decision, one decision to train": statistics.median(decided_ms),
    }


def made_up(days: Sequence[date], value: float) -> pl.DataFrame:
    """Two rows a day."""
    return pl.DataFrame({DAY: [day for day in days for _ in range(2)], "value": value}, schema_overrides={DAY: pl.Date})


def over(catalog: Catalog, days: int) -> Catalog:
    """The catalogue over so many days."""

    def cut(specs: Any) -> Any:
        end = FIRST + timedelta(days=days)
        return {
            name: replace(spec, calendar=replace(spec.calendar, first_day=FIRST, end_day=end))
            for name, spec in specs.items()
        }

    return Catalog(
        sources=cut(catalog.sources),
        features=cut(catalog.features),
        outcomes=cut(catalog.outcomes),
        models=cut(catalog.models),
    )


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("--years", type=int, nargs="+", default=[1, 5, 10])
    asked.add_argument("--repeats", type=int, default=5)
    options = asked.parse_args()
    main(options.years, options.repeats)
