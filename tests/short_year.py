"""The shipped catalogue with a short calendar, and what tests ask of a home: tables, events, check records.

What belongs here: nothing that asserts; a spawned process imports it as well.
What does not: fixtures (`conftest.py`).

The 25 days hold a snow storm, a change of the clocks (10 March), days before the first champion, two trainings
and days after the second.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import flights_archive
import polars as pl
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
)
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from ml_assets.checks import CHECK_NAME
from ml_assets.domain.content import content_hashes
from ml_assets.domain.local_days import DAY
from ml_assets.domain.planning import Plan
from ml_assets.domain.specs import Catalog, GradientBoosting, ModelSpec
from ml_assets.launch import Launcher, RunReport
from ml_assets.repair import repair
from partitions import DayRange
from resources.home import open_home
from resources.lake import Lake
from resources.overview import plan_of

FIRST, END = date(2013, 3, 2), date(2013, 3, 27)
FIRST_TRAINING, SECOND_TRAINING = date(2013, 3, 12), date(2013, 3, 19)
LAST_LABEL_END = END + timedelta(days=2)
ALL_DAYS = (date(2000, 1, 1), date(2100, 1, 1))

SOURCES = ["events/flights", "events/weather"]
SOURCE_REPORTS = ["source_reports/flights", "source_reports/weather"]
FEATURES = [
    "features/carrier_delays",
    "features/inbound_aircraft",
    "features/origin_delays",
    "features/route_delays",
    "features/schedule",
    "features/weather",
]
OUTCOMES = ["outcomes/disrupted"]
TRAINING = ["training_sets/disruption", "models/disruption"]
INTERVENTIONS = ["interventions/disruption"]
SERVING = [
    "champions/disruption",
    "calibrators/disruption",
    "predictions/disruption",
    "drift_reports/disruption",
]
REPORTS = ["performance_reports/disruption"]
RETRAIN = ["retrain_decisions/disruption"]
ASSETS = [*SOURCES, *SOURCE_REPORTS, *FEATURES, *OUTCOMES, *RETRAIN, *TRAINING, *INTERVENTIONS, *SERVING, *REPORTS]
DECISIONS = [*RETRAIN, *TRAINING, *INTERVENTIONS, "champions/disruption", "calibrators/disruption"]
FACTS = [asset for asset in ASSETS if asset not in DECISIONS]
# What a champion and its reports rest on of a day, decisions to train apart.
CHAIN = [asset for asset in ASSETS if asset not in RETRAIN]
# A day of which a corrected extract comes: a champion serves it and the days after it, the second training reads it.
CORRECTED = date(2013, 3, 15)
# Columns of `models` that differ from run to run for the same fitted model (ml_assets/assets/models.py).
NOT_CONTENT = frozenset({"artefact", "mlflow_run_id", "libraries", "code"})


def short_catalog() -> Catalog:
    """The flights of the shipped catalogue over 25 days, with slices, gate and trees cut down to them."""
    full = flights_archive.catalog()
    return Catalog(
        sources={name: _cut(spec) for name, spec in full.sources.items()},
        features={name: _cut(spec) for name, spec in full.features.items()},
        outcomes={name: _cut(spec) for name, spec in full.outcomes.items()},
        models={name: _small(_cut(spec)) for name, spec in full.models.items()},
    )


def _cut(spec: Any) -> Any:
    return replace(spec, calendar=replace(spec.calendar, first_day=FIRST, end_day=END))


def _small(model: ModelSpec) -> ModelSpec:
    return replace(
        model,
        first_training_day=FIRST_TRAINING,
        # The second of them is overruled by the cool-down once the first is carried out.
        business_days=(SECOND_TRAINING, SECOND_TRAINING + timedelta(days=1)),
        held_out_days=3,
        gate_days=3,
        cool_down_days=7,
        min_training_rows=1_000,
        estimator=GradientBoosting(
            learning_rate=0.1, max_iter=12, max_leaf_nodes=8, min_samples_leaf=60, l2_regularization=1.0
        ),
        # Anything is promoted that is not worse in the middle: two champions are wanted, not good ones.
        gate=replace(
            model.gate,
            min_rows=500,
            min_roc_auc=0.5,
            max_ece=1.0,
            max_brier_rise=1.0,
            max_segment_brier_rise=1.0,
            bootstrap_draws=50,
        ),
    )


@dataclass(frozen=True)
class Platform:
    """A launcher over a home, and what its tables and its Dagster instance hold."""

    launcher: Launcher = field(repr=False)

    @property
    def path(self) -> Path:
        return self.launcher.home.path

    @property
    def lake(self) -> Lake:
        return self.launcher.lake

    @property
    def instance(self) -> DagsterInstance:
        return self.launcher.instance

    def run(self, assets: Sequence[str], first: date, last: date | None = None, *, anew: bool = False) -> RunReport:
        """What became of the days `first` to `last`, both included, computed in one run."""
        return self.launcher.run(assets, DayRange(first, (last or first) + timedelta(days=1)), anew=anew)

    def repair(self, assets: Sequence[str] = (), first: date | None = None, last: date | None = None) -> RunReport:
        """What became of the days after a repair, in silence."""
        asked = DayRange(first, (last or first) + timedelta(days=1)) if first else None
        return repair(self.launcher, assets, asked, lambda _: None)

    def plan(self) -> Plan:
        """What is out of step."""
        return plan_of(self.lake, self.launcher.graph)

    def extract(self, source: str, day: date) -> Path:
        return self.launcher.home.extracts / source / f"{day}.parquet"

    def tables(self) -> list[str]:
        """Every table of the lake, whoever wrote it."""
        root = self.path / "lake"
        return sorted(str(log.parent.relative_to(root)) for log in root.glob("*/*/_delta_log"))

    def rows(self, table: str, first: date | None = None, last: date | None = None) -> pl.DataFrame:
        """What a table stores, rejected days included, in stored order, without what is not content."""
        snapshot = self.lake.store.snapshot(table)
        if snapshot is None:
            return pl.DataFrame()
        start, end = first or ALL_DAYS[0], (last or first or ALL_DAYS[1]) + timedelta(days=1)
        stored = snapshot.scan(start, end).collect()
        return stored.drop(NOT_CONTENT, strict=False) if table.startswith("models/") else stored

    def contents(self, tables: Sequence[str] | None = None) -> dict[str, dict[date, str]]:
        """The content hash of every day of the tables; of all tables when none are named."""
        found = {table: self.rows(table) for table in (self.tables() if tables is None else tables)}
        return {table: content_hashes(rows) for table, rows in found.items() if rows.height}

    def on_record(self, tables: Sequence[str] | None = None) -> dict[str, dict[date, tuple[str, str, bool, str]]]:
        """State, content hash, whether it is empty and the reason of every day on record, refused ones too."""
        return {
            table: {
                row[0]: row[1:]
                for row in self.lake.record(table).select(DAY, "state", "content", "empty", "why").iter_rows()
            }
            for table in (self.launcher.graph.assets if tables is None else tables)
        }

    def files(self) -> set[str]:
        """Every file of rows that the lake holds: a rewrite of a day adds one."""
        root = self.path / "lake"
        return {str(file.relative_to(root)) for file in root.rglob("*.parquet") if "_delta_log" not in file.parts}

    def withdraw(self, tables: Sequence[str], first: date, last: date) -> None:
        """Empties days of tables, so that what a run leaves there it has written."""
        for table in tables:
            self.lake.withdraw(table, days(first, last))

    def versions(self) -> dict[str, int]:
        """The Delta version of every table."""
        found = {table: self.lake.store.snapshot(table) for table in self.tables()}
        return {table: snapshot.version for table, snapshot in found.items() if snapshot}

    def data_versions(self, asset: str) -> dict[str, str]:
        """The data version of the latest materialisation of each partition."""
        tags = self.instance.event_log_storage.get_latest_tags_by_partition(
            key_of(asset), DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
        )
        return {partition: held[DATA_VERSION_TAG] for partition, held in tags.items()}

    def materializations(self, asset: str, partition: str) -> list[AssetMaterialization]:
        """Every materialisation of a partition, the newest first."""
        wanted = AssetRecordsFilter(key_of(asset), asset_partitions=[partition])
        records = self.instance.fetch_materializations(wanted, limit=1000).records
        return [record.asset_materialization for record in records if record.asset_materialization]

    def materialized(self, asset: str) -> set[str]:
        """The partitions that Dagster shows as materialised."""
        return set(self.instance.get_materialized_partitions(key_of(asset)))

    def checks(self, asset: str, run_id: str | None = None) -> list[AssetCheckExecutionRecord]:
        """Every record of the asset's check, the newest first; those of one run when it is named."""
        held = self.instance.event_log_storage.get_asset_check_execution_history(
            AssetCheckKey(key_of(asset), CHECK_NAME), limit=10_000
        )
        return [record for record in held if run_id in (None, record.run_id)]

    def newest_checks(self, asset: str) -> dict[str, AssetCheckExecutionRecord]:
        """The newest record of the asset's check of each partition."""
        newest: dict[str, AssetCheckExecutionRecord] = {}
        for record in self.checks(asset):
            newest.setdefault(str(record.partition), record)
        return newest

    def failed(self, asset: str) -> set[str]:
        """The partitions that a failed run planned last and nothing materialised since, as the UI shows them."""
        storage = self.instance.event_log_storage
        attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(key_of(asset))
        runs = {partition: self.instance.get_run_by_id(run_id) for partition, (run_id, _) in attempts.items()}
        return {partition for partition, run in runs.items() if run and run.status == DagsterRunStatus.FAILURE}

    def last_run(self) -> DagsterRun:
        """The run created last."""
        return self.instance.get_runs(limit=1)[0]


def key_of(asset: str) -> AssetKey:
    return AssetKey(asset.split("/"))


@contextmanager
def opened(path: Path, catalog: Catalog | None = None) -> Iterator[Platform]:
    """The platform over the home at `path`, made first if there is none."""
    launcher = Launcher.of(open_home(path), catalog or short_catalog())
    with launcher.instance:
        yield Platform(launcher)


def correct(extract: Path) -> None:
    """Puts another file in place of an extract: every flight left five minutes later."""
    pl.read_parquet(extract).with_columns(pl.col("dep_delay") + 5).write_parquet(extract)


def quiet(_step: str, _done: int, _total: int) -> None:
    """A replay's progress, unheard."""


def days(first: date, last: date) -> list[date]:
    """The days `first` to `last`, both included."""
    return list(DayRange(first, last + timedelta(days=1)))
