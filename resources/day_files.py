"""Days of rows as Parquet files in a table's folder, written by Polars, ready to be committed.

What belongs here: one sink a day, file names and sizes, what the log is told about a file, cleaning up.
What does not: which days may be written and when they count (`delta_store.py`).

Delta's own writer works through a day in one thread and needed nine times the time of Polars' sink. A file that
no commit names does not exist for any reader, and upkeep deletes it. On a local disk Polars is given open files: a sink
that failed goes on in the background for a while, and by its name it would make a file anew that was taken back.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from threading import Event, Lock
from typing import IO, Any, Final
from uuid import uuid4

import polars as pl
from deltalake.transaction import AddAction
from polars.io.partition import FileProviderArgs

from ml_assets.domain.errors import StorageError
from resources.table_folder import TableFolder

DAY: Final = "partition_date"

# Delta-rs aims at 100 MB a file; a row group of Polars is 262,144 rows whatever the file's size.
_BYTES_A_FILE = 2**30
_SINKS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class DayFile:
    """One file of one day: `path` is relative to the table, `day` None for rows without one."""

    path: str
    day: date | None
    rows: int
    bytes: int

    def add_action(self) -> AddAction:
        """What the log says of it: its number of rows, no other statistics."""
        return AddAction(
            path=self.path,
            size=self.bytes,
            partition_values={DAY: str(self.day)},
            modification_time=time.time_ns() // 1_000_000,
            data_change=True,
            stats=json.dumps({"numRecords": self.rows}),
        )


@dataclass(frozen=True, slots=True)
class DayFiles:
    """Writes files of days into a folder and remembers them, so that what is not committed can be taken back."""

    folder: TableFolder
    begun: list[str] = field(default_factory=list)
    _over: Event = field(default_factory=Event, repr=False)
    _opening: Lock = field(default_factory=Lock, repr=False)

    def write(self, frame: pl.DataFrame, columns: Sequence[str]) -> list[DayFile]:
        """The files of a frame's days, each day's rows in the order given."""
        pieces = []
        rows_a_file = max(1, int(_BYTES_A_FILE * frame.height / max(1, frame.estimated_size())))
        for day, rows in _by_day(frame):
            for index, start in enumerate(range(0, rows.height, rows_a_file)):
                pieces.append((day, index, rows[start : start + rows_a_file].select(columns)))
        return self._sunk(pieces)

    def empty(self, days: Iterable[date], schema: pl.Schema) -> list[DayFile]:
        """One file without rows for each day."""
        none = pl.DataFrame(schema=schema).drop(DAY)
        return self._sunk([(day, 0, none) for day in days])

    def _sunk(self, pieces: Sequence[tuple[date, int, pl.DataFrame]]) -> list[DayFile]:
        files: list[tuple[str, date, int]] = []
        with self._taken_back_on_failure():
            for start in range(0, len(pieces), _SINKS_AT_ONCE):
                with ExitStack() as opened:
                    sinks = []
                    for day, index, rows in pieces[start : start + _SINKS_AT_ONCE]:
                        path = self._named(day, index)
                        sinks.append(self._sink(rows.lazy(), self._opened(path, opened)))
                        files.append((path, day, rows.height))
                    pl.collect_all(sinks)
        return [DayFile(path, day, rows, self.folder.size(path)) for path, day, rows in files]

    def stream(self, frame: pl.LazyFrame, columns: Sequence[str], days: Sequence[date]) -> list[DayFile]:
        """The files of a lazy frame's rows, without holding them; `days` are those expected.

        Rows of other days are among the result, for the caller to refuse.
        """
        with self._taken_back_on_failure():
            return self._streamed_day(frame, columns, days[0]) if len(days) == 1 else self._streamed(frame, columns)

    def _streamed_day(self, frame: pl.LazyFrame, columns: Sequence[str], day: date) -> list[DayFile]:
        # The partitioning sink holds half as much memory again, so a single day has a plain one, and its rows' days
        # are counted beside it, in one pass.
        path = self._named(day, 0)
        with ExitStack() as opened:
            sink = self._sink(frame.select(columns), self._opened(path, opened))
            _, days = pl.collect_all([sink, frame.group_by(DAY).len()], engine="streaming")
        found = dict(days.iter_rows())
        written = self._rows_in(path)
        if written != sum(found.values()):
            raise StorageError(
                f"{self.folder.uri}: the lazy frame gave {written} rows when it was written and {sum(found.values())} "
                "when they were counted: it must give the same at every evaluation, or be collected first"
            )
        if not written:
            self.folder.delete(path)
            return []
        return [DayFile(path, other, rows, self.folder.size(path)) for other, rows in found.items()]

    def _streamed(self, frame: pl.LazyFrame, columns: Sequence[str]) -> list[DayFile]:
        day_of: dict[str, date | None] = {}

        def named(args: FileProviderArgs) -> str | IO[bytes]:
            day = args.partition_keys[DAY][0]
            path = self._named(day, args.index_in_partition)
            day_of[path] = day
            # Polars holds it alone, and closes it when the file is complete.
            return self._target(path)

        target = pl.PartitionBy(
            self.folder.uri,
            file_path_provider=named,
            key=DAY,
            include_key=False,
            approximate_bytes_per_file=_BYTES_A_FILE,
        )
        self._sink(frame.select(DAY, *columns), target).collect()
        return [DayFile(path, day, self._rows_in(path), self.folder.size(path)) for path, day in sorted(day_of.items())]

    def take_back(self) -> None:
        """Deletes everything written: nothing of it was committed.

        What cannot be deleted now is left for upkeep: why the files are taken back is what has to be told.
        """
        with self._opening:
            self._over.set()
            for path in self.begun:
                with suppress(OSError):
                    self.folder.delete(path)
            self.begun.clear()

    @contextmanager
    def _taken_back_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.take_back()
            raise

    def _named(self, day: date | None, index: int) -> str:
        path = f"{DAY}={day}/part-{index:05}-{uuid4()}-c000.snappy.parquet"
        self.begun.append(path)
        return path

    def _opened(self, path: str, stack: ExitStack) -> str | IO[bytes]:
        target = self._target(path)
        return target if isinstance(target, str) else stack.enter_context(target)

    def _target(self, path: str) -> str | IO[bytes]:
        """The file, open for writing; its name in an object store, where nothing is seen of a file that failed."""
        local = self.folder.local
        if local is None:
            return self.folder.target(path)
        with self._opening:
            if self._over.is_set():
                raise StorageError(f"{self.folder.uri}: {path} was taken back before it was begun")
            (local / path).parent.mkdir(parents=True, exist_ok=True)
            return (local / path).open("wb")

    def _sink(self, rows: pl.LazyFrame, target: Any) -> pl.LazyFrame:
        return rows.sink_parquet(
            target,
            compression="snappy",
            maintain_order=True,
            mkdir=True,
            storage_options=dict(self.folder.storage_options) or None,
            lazy=True,
        )

    def _rows_in(self, path: str) -> int:
        options = dict(self.folder.storage_options) or None
        counted = pl.scan_parquet(self.folder.target(path), glob=False, storage_options=options).select(pl.len())
        return int(counted.collect().item())


def counted(files: Iterable[DayFile]) -> dict[date | None, int]:
    """Rows of each day of some files."""
    rows: Counter[date | None] = Counter()
    for each in files:
        rows[each.day] += each.rows
    return dict(rows)


def _by_day(frame: pl.DataFrame) -> Iterator[tuple[date, pl.DataFrame]]:
    """The rows of each day in day order; of a frame in day order they are cut out without a copy."""
    if not frame[DAY].is_sorted():
        frame = frame.sort(DAY, maintain_order=True)
    start = 0
    for day, height in frame.group_by(DAY).len().sort(DAY).iter_rows():
        yield day, frame[start : start + height]
        start += height
