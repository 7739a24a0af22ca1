"""Dagster's IO manager over the lake: one commit a run and table, one record a day that was accepted.

What belongs here: the translation between Dagster's partitions and days of the lake.
What does not: arithmetic, verdicts, retries (`lake.py`, `delta_store.py`).

dagster-deltalake supplies the configuration (root, storage options of the object stores). Its handler is not
used: over several days it writes and reads only the first, takes any error while opening a table for a missing
one and then overwrites every partition, and fails to count rows. `tests/test_stock_delta_defects.py` shows each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import polars as pl
from dagster import (
    AssetKey,
    AssetMaterialization,
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
from dagster_deltalake import DeltaLakeIOManager
from dagster_deltalake.config import LocalConfig
from pydantic import Field

from ml_assets.domain.content import content_hashes
from ml_assets.domain.day_frame import DayBatch, DayFrame
from ml_assets.domain.local_days import DAY
from partitions.days import days_between, key_of_day
from resources.delta_store import Commit, DeltaStore
from resources.lake import Lake
from resources.settings import marks_folder

# Dagster's internal tag: with it a run records only the materialisations its code yields. Without it a range
# run marks every day of the range materialised, rejected ones too, and gives all of them one data version.
DEFER_EVENTS = "dagster/defer_asset_events"
NEVER_OUT_OF_SYNC = 2**62


def table_of(key: AssetKey) -> str:
    """The lake's table of an asset: its key's path."""
    return "/".join(key.path)


@dataclass(frozen=True, slots=True)
class Lineage:
    """What Dagster needs to tell whether a day is out of sync: code, parents, the newest record when they were read."""

    code_version: str
    parents: frozenset[AssetKey]
    read_at: int

    def tags(self, key: AssetKey, *, first_of_run: bool) -> dict[str, str]:
        """The tags by which a parent's day that changed since makes this day out of sync, and no other does.

        A parent that is the asset itself is written in the same run from the second day on.
        """
        pointers = {
            parent: self.read_at if parent != key or first_of_run else NEVER_OUT_OF_SYNC for parent in self.parents
        }
        return {
            CODE_VERSION_TAG: self.code_version,
            **{get_input_data_version_tag(parent): "" for parent in pointers},
            **{get_input_event_pointer_tag(parent): str(pointer) for parent, pointer in pointers.items()},
        }


@dataclass(frozen=True, slots=True)
class Written:
    """Rows this run has just written, so that its own later steps need not read them back."""

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
        held = self.rows[DAY].n_unique() == len(frame.days) and frame.days == self.days
        rows = self.rows if held else self.rows.filter(pl.col(DAY).is_in(list(frame.days)))
        return replace(frame, rows=rows.lazy().select(stored.names()))


class DeltaDaysIOManager(IOManager):
    """Stores a `DayBatch`, loads a `DayFrame`."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._read_at: dict[str, int] = {}
        self._written: dict[str, Written] = {}

    def load_input(self, context: InputContext) -> DayFrame:
        """The accepted rows of the upstream days this run reads; no upstream days means zero rows."""
        self._read_at.setdefault(context.step_context.step.key, _newest_record(context))
        days = days_between(context.asset_partition_keys)
        frame = self._lake.read(table_of(context.asset_key), days.start, days.end)
        written = self._written.get(frame.table)
        return written.instead_of(frame) if written else frame

    def handle_output(self, context: OutputContext, obj: DayBatch) -> Iterator[AssetMaterialization]:
        """Writes the accepted days in one commit and yields one materialisation for each of them."""
        run = days_between(context.asset_partition_keys)
        strays = sorted(day for day in obj.verdicts if day not in run)
        if strays:
            raise ValueError(f"{context.asset_key.to_user_string()}: judged {strays} outside the run's {run}")
        _record_days_ourselves(context)
        node = context.step_context.job_def.asset_layer.get(context.asset_key)
        code_version = node.code_version or ""
        read_at = self._read_at.pop(context.step_context.step.key, None)
        lineage = Lineage(code_version, frozenset(node.parent_keys), read_at or _newest_record(context))
        commit = self._lake.write(table_of(context.asset_key), obj, _provenance(context, obj, code_version))
        if commit is None:
            return
        if len(run) > 1:
            self._written[commit.table] = Written(commit.version, frozenset(obj.accepted), obj.rows)
        yield from _materializations(context.asset_key, obj, commit, lineage)


class DeltaDaysIO(DeltaLakeIOManager):
    """dagster-deltalake's configuration with this platform's reading and writing behind it."""

    object_store_options: dict[str, str] = Field(
        default={},
        description="Further storage options, passed on untouched: endpoint, credentials and the like.",
    )

    @staticmethod
    def type_handlers() -> list[Any]:
        """None: the stock handlers are what this class replaces."""
        return []

    def create_io_manager(self, context: InitResourceContext) -> DeltaDaysIOManager:  # noqa: ARG002
        """The IO manager of a run; the context is part of Dagster's signature."""
        options = self.storage_options
        chosen = {} if isinstance(options, LocalConfig) else options.str_dict()
        client = self.client_options.str_dict() if self.client_options else {}
        merged = {**chosen, **client, **self.object_store_options}
        return DeltaDaysIOManager(Lake(DeltaStore(self.root_uri, merged, marks_folder(self.root_uri))))


def _newest_record(context: InputContext | OutputContext) -> int:
    return context.step_context.instance.event_log_storage.get_maximum_record_id() or 0


def _record_days_ourselves(context: OutputContext) -> None:
    # The tag is read from the run object at hand when Dagster would record the days itself; a run created
    # elsewhere (UI, daemon, CLI) gets it here, so that its planned records exist and a crash shows as failed.
    tags = context.step_context.dagster_run.tags
    if not isinstance(tags, dict):
        raise TypeError("the run's tags cannot be amended; rejected days would be marked materialised")
    tags[DEFER_EVENTS] = "true"


def _provenance(context: OutputContext, batch: DayBatch, code_version: str) -> dict[str, str]:
    accepted = batch.accepted
    versions = {f"input:{table}": str(version) for table, version in sorted(batch.inputs.items())}
    return {
        "run_id": context.run_id,
        "partitions": f"{accepted[0]}..{accepted[-1]}" if accepted else "",
        "code_version": code_version,
        **versions,
    }


def _materializations(
    key: AssetKey, batch: DayBatch, commit: Commit, lineage: Lineage
) -> Iterator[AssetMaterialization]:
    hashes = content_hashes(batch.rows, leave_out=batch.leave_out)
    columns = TableSchema(columns=[TableColumn(name, kind) for name, kind in commit.schema.items()])
    accepted = batch.accepted
    for day in accepted:
        metadata: dict[str, Any] = {
            "dagster/partition_row_count": commit.rows_by_day[day],
            "bytes": commit.bytes_by_day[day],
            "delta_version": commit.version,
            **_inputs(batch.inputs),
            **batch.notes.get(day, {}),
        }
        if day == accepted[-1]:
            # A schema is long and the same for all days of a commit: once is enough.
            metadata |= {
                "dagster/column_schema": MetadataValue.table_schema(columns),
                "dagster/table_name": commit.table,
            }
        yield AssetMaterialization(
            asset_key=key,
            partition=key_of_day(day),
            metadata=metadata,
            tags={
                DATA_VERSION_TAG: hashes[day],
                DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
                **lineage.tags(key, first_of_run=day == accepted[0]),
            },
        )


def _inputs(inputs: Mapping[str, int | None]) -> dict[str, str]:
    versions = ", ".join(f"{table}@{version}" for table, version in sorted(inputs.items()))
    return {"inputs": versions} if versions else {}
