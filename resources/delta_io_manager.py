"""Dagster's IO manager over the lake: one commit a run and table, one record a day that was accepted.

What belongs here: the translation between Dagster's partitions and days of the lake, what one run keeps in memory.
What does not: arithmetic, verdicts, retries (`lake.py`, `delta_store.py`).

dagster-deltalake's own manager is not used: over several days it writes and reads only the first, takes any error
while opening a table for a missing one and then overwrites every partition, fails to count rows, and shows its
storage options in the UI. `tests/test_stock_delta_defects.py` shows each.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from dagster import (
    AssetKey,
    AssetMaterialization,
    ConfigurableIOManagerFactory,
    InitResourceContext,
    InputContext,
    IOManager,
    MetadataValue,
    OutputContext,
    TableColumn,
    TableSchema,
)
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from pydantic import Field

from ml_assets.domain.day_frame import DayBatch, DayFrame
from ml_assets.domain.errors import RowsOutsideDaysError, ToolError
from ml_assets.domain.local_days import DAY
from partitions import DayRange
from partitions.days import days_between, key_of_day
from resources.handles import HOME_FIELD, lake_of
from resources.home import open_home
from resources.lake import Lake, Read, Stored
from resources.pool_watch import owned
from resources.run_failures import noted

# Dagster's internal tag: with it a run records only the materialisations its code yields. Without it a range
# run marks every day of the range materialised, rejected ones too, and gives all of them one data version.
DEFER_EVENTS = "dagster/defer_asset_events"


def table_of(key: AssetKey) -> str:
    """The lake's table of an asset: its key's path."""
    return "/".join(key.path)


@dataclass(frozen=True, slots=True)
class Computed:
    """What an asset's step hands over: the batch, what it read, the days it left as they are on record.

    `kept` are the good ones of those left, with the reason; `standing` the refused ones, with state and reasons.
    """

    batch: DayBatch
    read: Read = field(default_factory=Read)
    kept: Mapping[date, str] = field(default_factory=dict)
    standing: Mapping[date, tuple[str, str]] = field(default_factory=dict)
    kept_notes: Mapping[date, Mapping[str, object]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """Rows this run has just written, so that its own later steps need not read them back.

    `days` are those that were accepted; the rows may be those of refused days as well, which are never handed on.
    """

    version: int
    days: frozenset[date]
    rows: pl.DataFrame

    def instead_of(self, frame: DayFrame) -> DayFrame:
        """The frame with these rows in place of stored ones; the frame itself unless they are the same.

        They are when nobody has written since, every day the frame holds was written here, and no type was changed
        by storing it.
        """
        stored = frame.rows.collect_schema()
        if frame.version != self.version or not frame.days <= self.days or dict(stored) != dict(self.rows.schema):
            return frame
        whole = frame.days.issuperset(self.rows[DAY].unique())
        rows = self.rows if whole else self.rows.filter(pl.col(DAY).is_in(list(frame.days)))
        return replace(frame, rows=rows.lazy().select(stored.names()))


class DeltaDaysIOManager(IOManager):
    """Stores what a step `Computed`; the door through which steps of one run read the lake."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.refused: dict[str, dict[date, str]] = {}
        self._read_at: dict[str, int] = {}
        self._written: dict[str, Written] = {}
        self._made: dict[object, object] = {}

    def read(self, table: str, days: DayRange) -> DayFrame:
        """The accepted rows of days of a table; those this run has just written come from memory."""
        frame = self.lake.read(table, days.start, days.end)
        written = self._written.get(table)
        return written.instead_of(frame) if written else frame

    def once(self, key: object, make: Callable[[], object]) -> object:
        """What `make` gives, made once for all steps of this run that ask for the same key; the last one is kept."""
        if key not in self._made:
            self._made = {key: make()}
        return self._made[key]

    def begin(self, step: str, newest_record: int) -> None:
        """Remembers which record was the newest when a step began to read."""
        self._read_at[step] = newest_record

    def load_input(self, context: InputContext) -> DayFrame:
        """The accepted rows of the upstream days that somebody's own asset reads; no upstream days means zero rows."""
        return self.read(table_of(context.asset_key), days_between(context.asset_partition_keys))

    def handle_output(self, context: OutputContext, obj: Computed | DayBatch) -> Iterator[AssetMaterialization]:
        """Writes the accepted days in one commit and yields one materialisation for each day that is in order.

        Somebody's own asset may return a plain `DayBatch`.
        """
        with noted():
            yield from self._stored(context, Computed(obj) if isinstance(obj, DayBatch) else obj)

    def _stored(self, context: OutputContext, obj: Computed) -> Iterator[AssetMaterialization]:
        run = days_between(context.asset_partition_keys)
        batch = obj.batch
        strays = sorted(day for day in batch.judged if day not in run)
        if strays:
            raise RowsOutsideDaysError(
                f"{context.asset_key.to_user_string()}: judged {strays} outside the run's {run}; nothing was written"
            )
        _record_days_ourselves(context)
        node = context.step_context.job_def.asset_layer.get(context.asset_key)
        table, code_version = table_of(context.asset_key), node.code_version or ""
        stored = self.lake.write(table, batch, obj.read, _provenance(context, batch, obj.read, code_version))
        if stored and len(run) > 1:
            self._written[table] = Written(stored.snapshot.version, frozenset(batch.accepted), batch.rows)
        read_at = self._read_at.pop(context.step_context.step.key, None)
        if read_at is None:
            read_at = context.step_context.instance.event_log_storage.get_maximum_record_id() or 0
        yield from self._materializations(
            context.asset_key, obj, stored, _dagster_lineage(code_version, node.parent_keys, read_at)
        )

    def _materializations(
        self, key: AssetKey, obj: Computed, stored: Stored | None, lineage: Mapping[str, str]
    ) -> Iterator[AssetMaterialization]:
        batch, table = obj.batch, table_of(key)
        snapshot = stored.snapshot if stored else self.lake.store.snapshot(table)
        if snapshot is None:
            return
        hashes = dict(stored.hashes) if stored else {}
        on_record = dict(self.lake.index.of(table).select(DAY, "content").iter_rows()) if obj.kept else {}
        rows, sizes = snapshot.rows_by_day(), snapshot.bytes_by_day()
        days = sorted({*batch.accepted, *obj.kept})
        for day in days:
            metadata: dict[str, Any] = {
                "dagster/partition_row_count": rows.get(day, 0),
                "bytes": sizes.get(day, 0),
                "delta_version": snapshot.version,
                **({"inputs": _versions(obj.read)} if obj.read.reads else {}),
                **batch.notes.get(day, {}),
            }
            if day in obj.kept:
                metadata |= {"kept": obj.kept[day], **obj.kept_notes.get(day, {})}
            elif stored and day not in stored.changed:
                metadata["unchanged"] = "the content is what was stored before; nothing was written"
            if day in batch.empty:
                metadata["empty"] = batch.empty[day]
            if day == days[-1]:
                # A schema is long and the same for all days of a commit: once is enough.
                columns = [
                    TableColumn(name, str(kind), description=obj.columns.get(name))
                    for name, kind in snapshot.schema().items()
                ]
                metadata |= {
                    "dagster/column_schema": MetadataValue.table_schema(TableSchema(columns=columns)),
                    "dagster/table_name": table,
                }
            yield AssetMaterialization(
                asset_key=key,
                partition=key_of_day(day),
                metadata=metadata,
                tags={
                    DATA_VERSION_TAG: hashes.get(day) or on_record[day],
                    DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
                    **lineage,
                },
            )


class DeltaDaysIO(ConfigurableIOManagerFactory):
    """Stores days of assets as days of Delta tables in the lake of a home."""

    home: str = Field(description=HOME_FIELD)

    def create_io_manager(self, context: InitResourceContext) -> DeltaDaysIOManager:  # noqa: ARG002
        """The IO manager of a run; the context is part of Dagster's signature."""
        return DeltaDaysIOManager(lake_of(Path(self.home)))

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator[DeltaDaysIOManager]:
        """The IO manager for the time of a run, which is this process's own as long; the home is made if need be."""
        with owned(context, open_home(Path(self.home))):
            yield self.create_io_manager(context)


def _dagster_lineage(code_version: str, parents: Any, read_at: int) -> dict[str, str]:
    """The tags by which Dagster marks a day out of sync when a same-day parent changed since, and no other."""
    return {
        CODE_VERSION_TAG: code_version,
        **{get_input_data_version_tag(parent): "" for parent in parents},
        **{get_input_event_pointer_tag(parent): str(read_at) for parent in parents},
    }


def _record_days_ourselves(context: OutputContext) -> None:
    # The tag is read from the run object at hand when Dagster would record the days itself; a run created
    # elsewhere (UI, daemon, CLI) gets it here, so that its planned records exist and a crash shows as failed.
    tags = context.step_context.dagster_run.tags
    if not isinstance(tags, dict):
        raise ToolError(
            "the run's tags cannot be amended, so refused days would be marked materialised; nothing was written. "
            "This Dagster release is not one the platform knows: install the pinned one."
        )
    tags[DEFER_EVENTS] = "true"


def _provenance(context: OutputContext, batch: DayBatch, read: Read, code_version: str) -> dict[str, str]:
    accepted = batch.accepted
    return {
        "run_id": context.run_id,
        "partitions": f"{accepted[0]}..{accepted[-1]}" if accepted else "",
        "code_version": code_version,
        **{f"input:{table}": str(version) for table, version in _versions_by_table(read).items()},
        **{f"input:{table}:named": ", ".join(versions) for table, versions in _named_by_table(read).items()},
    }


def _versions(read: Read) -> str:
    versions = [f"{table}@{version}" for table, version in _versions_by_table(read).items()]
    return ", ".join(versions + [f"{table}:{name}" for table, names in _named_by_table(read).items() for name in names])


def _versions_by_table(read: Read) -> dict[str, int | None]:
    return dict(sorted({each.table: each.version for each in read.reads.values()}.items()))


def _named_by_table(read: Read) -> dict[str, list[str]]:
    named: dict[str, set[str]] = {}
    for each in read.reads.values():
        if each.named:
            named.setdefault(each.table, set()).update(each.named)
    return {table: sorted(names) for table, names in sorted(named.items())}
