"""A table at one version: its days from the log, its rows from the files, and which file is to blame.

What belongs here: pruned reads of one version; failures of data files put into words.
What does not: opening and writing tables (`delta_store.py`).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from itertools import takewhile
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from polars.exceptions import PanicException, PolarsError

from ml_assets.domain.errors import StorageError, TableUnreadableError
from resources.day_files import DAY
from resources.redaction import without_secrets
from resources.table_folder import TableFolder

_ONE_DAY = timedelta(days=1)
_COLOURS, _STACK_LINE = re.compile(r"\x1b\[\d*m"), re.compile(r"\s*\d+: ")
# A damaged Parquet file makes Polars panic as well.
READ_FAILURES = (PolarsError, OSError, PanicException)


@dataclass(frozen=True)
class TableSnapshot:
    """A table opened at one version: everything read from it is of that version.

    Attributes:
        table: its name in the store, such as `features/weather`.
        version: the Delta version.
        uri: where it lies.
        table_id: Delta's own name of it, another one for a table that was made anew.

    A lazy frame of it fails with an error of Polars where a file is damaged, or where `DeltaStore.maintain` has
    meanwhile deleted the files of a version this old: collect it with `collect`, or inside `reading`.
    """

    table: str
    version: int
    uri: str
    table_id: str
    _delta: DeltaTable = field(repr=False, compare=False)
    _storage_options: Mapping[str, str] = field(repr=False, compare=False)

    def days(self) -> frozenset[date]:
        """The days that have a file, from the log alone."""
        return frozenset(self._files["day"].to_list())

    def rows_by_day(self) -> dict[date, int]:
        """Rows of each day, in day order, from the log; data is scanned only where the log has no count."""
        counted = {
            day: rows if uncounted == 0 else self._count(day)
            for day, rows, uncounted in self._files.group_by("day", maintain_order=True)
            .agg(pl.col("rows").sum(), pl.col("rows").null_count().alias("uncounted"))
            .iter_rows()
        }
        return dict(counted)

    def bytes_by_day(self) -> dict[date, int]:
        """Stored bytes of each day, in day order, from the log."""
        return dict(self._files.group_by("day", maintain_order=True).agg(pl.col("bytes").sum()).iter_rows())

    def schema(self) -> pl.Schema:
        """The stored columns and their types, in stored order."""
        return pl.Schema(self._delta.schema())

    def scan(self, start: date, end: date) -> pl.LazyFrame:
        """Rows of the days in `[start, end)`, in day order and within a day in the order written.

        Only files of those days are opened; a range without rows is a frame without rows. Columns that a day
        was written without are null.

        Raises:
            StorageError: the range ends before it starts.
        """
        if start > end:
            raise StorageError(f"{self.uri}: the range [{start}, {end}) ends before it starts")
        schema = self.schema()
        paths = self._files.filter(pl.col("day").is_between(start, end, closed="left"))["path"].to_list()
        if not paths:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(
            [path if "://" in path else f"{self.uri}/{unquote(path)}" for path in paths],
            schema=schema,
            hive_partitioning=True,
            hive_schema={DAY: pl.Date},
            missing_columns="insert",
            glob=False,
            storage_options=dict(self._storage_options) or None,
        ).select(schema.names())

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """The result of a query over rows of this table.

        Raises:
            TableUnreadableError: a data file is missing or damaged; it names the day.
        """
        with self.reading():
            return query.collect()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While rows of the table are read: a failure that a damaged file explains says which and what to do.

        Raises:
            TableUnreadableError: a data file is missing or damaged; it names the day.
        """
        try:
            yield
        except READ_FAILURES as error:
            if (damage := self.damage()) is None:
                raise
            raise TableUnreadableError(damage) from error

    def damage(self) -> str | None:
        """The first data file that is not what was written, in words; None when all can be read.

        Reads every file.
        """
        folder = TableFolder(self.uri, self._storage_options)
        for path, day, size in self._files.select("path", "day", "bytes").iter_rows():
            if fault := self._fault_of(folder, unquote(path), size):
                return (
                    f"{self.uri}: the file of {day}, {path}, {fault}. Restore it, or compute the day anew with "
                    f"`ml-assets run {self.table} {day}`"
                )
        return None

    def _fault_of(self, folder: TableFolder, path: str, size: int) -> str | None:
        try:
            found = folder.size(path)
            if found != size:
                return f"has {found} bytes of {size}"
            options = dict(self._storage_options) or None
            pl.read_parquet(folder.target(path), glob=False, storage_options=options, hive_partitioning=False)
        except FileNotFoundError:
            return "is gone (upkeep deletes what only old versions need)"
        except READ_FAILURES as error:
            return f"cannot be read: {said(error)}"
        return None

    @cached_property
    def _files(self) -> pl.DataFrame:
        actions = pl.DataFrame(self._delta.get_add_actions(flatten=True))
        shape = {"path": pl.String, "day": pl.Date, "rows": pl.Int64, "bytes": pl.Int64}
        if actions.is_empty():
            return pl.DataFrame(schema=shape)
        counts = pl.col("num_records") if "num_records" in actions.columns else pl.lit(None, pl.Int64)
        return actions.select(
            "path",
            pl.col(f"partition.{DAY}").alias("day"),
            counts.alias("rows"),
            pl.col("size_bytes").alias("bytes"),
        ).sort("day", "path")

    def _count(self, day: date) -> int:
        return int(self.collect(self.scan(day, day + _ONE_DAY).select(pl.len())).item())


def said(error: BaseException | None) -> str:
    """The error's own words in one line, without secrets, terminal colours and the native stack."""
    lines = _COLOURS.sub("", without_secrets(str(error))).splitlines()
    return " ".join(line.strip() for line in takewhile(lambda line: not _STACK_LINE.match(line), lines))
