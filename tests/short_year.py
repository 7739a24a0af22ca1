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

import polars as pl
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
)
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from ml_assets.catalog import load_catalog
from ml_assets.checks import CHECK_NAME
from ml_assets.domain.content import content_hashes
from ml_assets.domain.specs import Catalog, GradientBoosting, ModelSpec
from ml_assets.launch import Launcher
from partitions import DayRange
from resources.home import open_home
from resources.lake import Lake

FIRST, END = date(2013, 3, 2), date(2013, 3, 27)
FIRST_TRAINING, SECOND_TRAINING = date(2013, 3, 12), date(2013, 3, 19)
LAST_LABEL_END = END + timedelta(days=2)
ALL_DAYS = (date(2000, 1, 1), date(2100, 1, 1))

SOURCES = ["events/flights", "events/weather"]
FEATURES = [
    "features/carrier_delays",
    "features/inbound_aircraft",
    "features/origin_delays",
    "features/route_delays",
    "features/schedule",
    "features/weather",
]
OUTCOMES = ["outcomes/disrupted"]
TRAINING = ["training_sets/disruption", "models/disruption", "calibrators/disruption"]
SERVING = ["champions/disruption", "predictions/disruption", "drift_reports/disruption"]
REPORTS = ["performance_reports/disruption"]
DECISIONS = ["retrain_decisions/disruption"]
DENSE = [*SOURCES, *FEATURES, *OUTCOMES, *SERVING, *REPORTS, *DECISIONS]
ASSETS = [*DENSE, *TRAINING]
# Columns of `models` that differ from run to run for the same fitted model (ml_assets/assets/models.py).
NOT_CONTENT = frozenset({"artefact", "mlflow_run_id"})


def short_catalog() -> Catalog:
    """The shipped catalogue over 25 days, with slices, gate and trees cut down to them."""
    full = load_catalog()
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
        calibration_days=3,
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

    def run(self, assets: Sequence[str], first: date, last: date | None = None) -> None:
        """Computes the days `first` to `last`, both included, in one run."""
        self.launcher.run(assets, DayRange(first, (last or first) + timedelta(days=1)))

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


def quiet(_step: str, _done: int, _total: int) -> None:
    """A replay's progress, unheard."""


def days(first: date, last: date) -> list[date]:
    """The days `first` to `last`, both included."""
    return list(DayRange(first, last + timedelta(days=1)))
