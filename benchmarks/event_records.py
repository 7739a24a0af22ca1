"""What one Dagster event record costs, on Dagster's SQLite storages and on the pooled one.

What belongs here: one year of a trivial daily asset in one range run, in process, timed as a whole.
What does not: correctness (`tests/test_dagster_storage.py`).

Run as `python benchmarks/event_records.py`; the variants take turns, so a slow minute hurts all alike.
"""

import contextlib
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSpec,
    AssetsDefinition,
    BackfillPolicy,
    BetaWarning,
    DagsterInstance,
    DailyPartitionsDefinition,
    InMemoryIOManager,
    Output,
    PreviewWarning,
    asset,
    materialize,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from rich.console import Console
from rich.table import Table

# The checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from resources.dagster_storage import PooledSqliteEventLogStorage, PooledSqliteRunStorage

REPEATS = 3
YEAR = DailyPartitionsDefinition("2013-01-01", end_date="2014-01-01")
LAST_DAY = "2013-12-31"
DEFAULT = "stock SqliteEventLogStorage (the default)"


@dataclass(frozen=True)
class Variant:
    """A `dagster.yaml` and the environment a run has under it."""

    name: str
    storages: tuple[tuple[str, str, str], ...] = ()
    batch_size: int = 0


POOLED = (
    ("event_log_storage", PooledSqliteEventLogStorage.__module__, PooledSqliteEventLogStorage.__name__),
    ("run_storage", PooledSqliteRunStorage.__module__, PooledSqliteRunStorage.__name__),
    ("schedule_storage", "dagster._core.storage.schedules", "SqliteScheduleStorage"),
)
VARIANTS = (
    Variant(DEFAULT),
    Variant(
        "stock ConsolidatedSqliteEventLogStorage",
        (("event_log_storage", "dagster._core.storage.event_log", "ConsolidatedSqliteEventLogStorage"),),
    ),
    Variant("pooled event log", POOLED[:1]),
    Variant("pooled event log and runs", POOLED),
    Variant("the same, DAGSTER_EVENT_BATCH_SIZE=500", POOLED, batch_size=500),
)


def daily_asset(*, checked: bool) -> AssetsDefinition:
    """A year of a trivial asset, with or without one check record a day."""
    specs = [AssetCheckSpec("rows", asset="daily", partitions_def=YEAR)] if checked else []

    @asset(partitions_def=YEAR, backfill_policy=BackfillPolicy.single_run(), check_specs=specs)
    def daily(context):
        yield Output(None, output_name="result")
        if not checked:
            return
        for day in context.partition_keys:
            yield AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name="rows",
                passed=True,
                metadata={"rows": 900, "nulls": 0},
                partition=day,
                blocking=False,
            )
        yield Output(None, output_name="daily_rows")

    return daily


@contextlib.contextmanager
def instance_of(variant: Variant) -> Iterator[DagsterInstance]:
    """A fresh instance loaded from a `dagster.yaml`, as the webserver or a run would load it."""
    with tempfile.TemporaryDirectory() as home:
        config: dict[str, object] = {"telemetry": {"enabled": False}}
        for setting, module, name in variant.storages:
            config[setting] = {"module": module, "class": name, "config": {"base_dir": f"{home}/{setting}"}}
        (Path(home) / "dagster.yaml").write_text(yaml.safe_dump(config))
        with DagsterInstance.from_config(home) as instance:
            yield instance


def seconds_and_events(variant: Variant, daily: AssetsDefinition) -> tuple[float, int]:
    """Wall seconds of one range run over the year, and how many events it left."""
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = str(variant.batch_size)
    with instance_of(variant) as instance:
        began = time.perf_counter()
        result = materialize(
            [daily],
            instance=instance,
            resources={"io_manager": InMemoryIOManager()},
            tags={
                ASSET_PARTITION_RANGE_START_TAG: YEAR.get_first_partition_key(),
                ASSET_PARTITION_RANGE_END_TAG: LAST_DAY,
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        seconds = time.perf_counter() - began
        if len(instance.get_materialized_partitions(daily.key)) != 365:
            raise RuntimeError(f"{variant.name}: the year is not there, so its time means nothing")
        return seconds, len(instance.all_logs(result.run_id))


def main() -> None:
    """Print the table."""
    table = Table(title=f"365 days in one range run, in process; medians of {REPEATS}")
    for heading in ("storage", "a day's records", "events", "seconds", "ms per event", "default ÷ this"):
        table.add_column(heading, justify="left" if heading == "storage" else "right")
    for checked in (False, True):
        daily = daily_asset(checked=checked)
        measured: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
        events = 0
        seconds_and_events(VARIANTS[-1], daily)
        for _ in range(REPEATS):
            for variant in VARIANTS:
                seconds, events = seconds_and_events(variant, daily)
                measured[variant.name].append(seconds)
        medians = {name: statistics.median(times) for name, times in measured.items()}
        for name, seconds in medians.items():
            table.add_row(
                name,
                "2 + check" if checked else "2",
                str(events),
                f"{seconds:.2f}",
                f"{1e3 * seconds / events:.2f}",
                f"{medians[DEFAULT] / seconds:.1f}",
            )
        table.add_section()
    Console(width=120).print(table)


if __name__ == "__main__":
    warnings.simplefilter("ignore", PreviewWarning)
    warnings.simplefilter("ignore", BetaWarning)
    main()
