"""Whether a table's log still holds all that was committed: what commits say of themselves, what was seen last.

What belongs here: the statement each of our commits carries, the marks beside the lake, the judgement over both.
What does not: opening tables, committing, the message's remedy (`delta_store.py`).

A log that lost its newest commits is a well-formed log of an older table, and one that was cut at a line's end
is one of a table with fewer files. So each commit states how many lines it has and what the table holds after
it, and a mark outside the lake remembers the last commit this machine made. Marks are lower bounds: they may
lag behind the table (killed between commit and mark, another machine's commit), never run ahead of it.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import polars as pl
from deltalake import DeltaTable

from ml_assets.domain.errors import StorageError
from resources.day_files import DAY
from resources.table_folder import TableFolder

STATED: Final = "ml_assets."
_LINES = f"{STATED}lines"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a version of a table holds by its log: days, files, and a checksum of the files' names."""

    days: int
    files: int
    names: int

    @classmethod
    def of(cls, files: Iterable[tuple[str, Any]]) -> "Contents":
        """The contents that consist of the given files, each a path and its day."""
        listed = list(files)
        names = sum(crc32(path.encode()) for path, _ in listed)
        return cls(len({day for _, day in listed}), len(listed), names)

    def statement(self, lines: int) -> dict[str, int]:
        """What a commit of `lines` lines that leaves the table with these contents says of itself."""
        return {_LINES: lines, **{f"{STATED}{name}": value for name, value in asdict(self).items()}}

    @classmethod
    def stated(cls, commit_info: Mapping[str, Any]) -> "Contents | None":
        """The contents that a commit states; None for a commit that is not the store's."""
        if _LINES not in commit_info:
            return None
        return cls(*(commit_info[f"{STATED}{name}"] for name in ("days", "files", "names")))

    def __str__(self) -> str:
        return f"{self.days} days in {self.files} files"


def files_of(delta: DeltaTable) -> list[tuple[str, Any]]:
    """Path and day of each file of an opened table by day."""
    actions = pl.DataFrame(delta.get_add_actions(flatten=True))
    return list(actions.select("path", f"partition.{DAY}").iter_rows()) if actions.height else []


def log_file(version: int) -> str:
    """Where a commit lies, relative to the table."""
    return f"_delta_log/{version:020}.json"


@dataclass(frozen=True, slots=True)
class Mark:
    """The last commit seen of a table: Delta's id of the table, version, the log file's digest, the contents."""

    table_id: str
    version: int
    digest: str
    days: int
    files: int
    names: int

    @classmethod
    def of(cls, folder: TableFolder, table_id: str, version: int, contents: Contents) -> "Mark":
        """The mark of a commit that has just been made."""
        content = folder.content(log_file(version))
        if content is None:
            raise StorageError(f"{folder.uri}: {log_file(version)} has just been committed and is gone; restore it")
        return cls(table_id, version, _digest(content), **asdict(contents))


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of a lake's tables, one small file each, in a folder that is not part of the lake."""

    folder: Path

    def read(self, table: str) -> Mark | None:
        """The table's mark; None when nothing was recorded.

        Raises StorageError when it is there and cannot be read: what it recorded is not known then.
        """
        path = self._path(table)
        try:
            return Mark(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, OSError) as error:
            raise StorageError(
                f"the mark {path} of the table {table} cannot be read ({error}), so it is not known whether the "
                f"table lost anything. Restore the file, or look at the table and run `ml-assets accept-loss {table}`"
            ) from error

    def record(self, table: str, mark: Mark) -> None:
        """Puts the mark in place of an older one of the same table; a newer one stays, and another table's."""
        with self._alone():
            known = self.read(table)
            if known is None or (known.table_id == mark.table_id and known.version < mark.version):
                self._put(table, mark)

    def renew(self, table: str, mark: Mark | None) -> None:
        """Puts the mark in place of any, or removes it."""
        with self._alone():
            if mark is None:
                self._path(table).unlink(missing_ok=True)
            else:
                self._put(table, mark)

    def _put(self, table: str, mark: Mark) -> None:
        path = self._path(table)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        with fresh.open("w") as file:
            json.dump(asdict(mark), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _path(self, table: str) -> Path:
        return self.folder / f"{table}.json"


def what_is_lost(delta: DeltaTable, folder: TableFolder, mark: Mark | None) -> str | None:
    """What an opened table's log lacks, in words; None for a whole one.

    The mark has to be read before the table is opened: a writer at work may move both on.
    """
    version = delta.version()
    if mark is not None and mark.version > version:
        return f"its newest commit is version {version}, but version {mark.version} was recorded"
    if mark is not None and mark.table_id != delta.metadata().id:
        return f"another table stands in its place: recorded was {mark.table_id}, this is {delta.metadata().id}"
    newest = folder.content(log_file(version))
    if fault := _fault_of(newest, version):
        return fault
    if mark is not None:
        recorded = newest if mark.version == version else folder.content(log_file(mark.version))
        if recorded is None or _digest(recorded) != mark.digest:
            return f"the commit of version {mark.version} is not the one that was recorded"
    stated = Contents.stated(_commit_info(newest or b""))
    if stated is None and mark is not None and mark.version == version:
        stated = Contents(mark.days, mark.files, mark.names)
    if stated is None:
        return None
    held = Contents.of(files_of(delta))
    return None if held == stated else f"it holds {held}, but its newest commit, version {version}, left {stated}"


def cut_off(content: bytes) -> bool:
    """Whether a log file is empty, or its first or last line is no JSON."""
    lines = content.splitlines()
    try:
        return not lines or not all(json.loads(line) for line in (lines[0], lines[-1]))
    except ValueError:
        return True


def _fault_of(content: bytes | None, version: int) -> str | None:
    """Why the log file of a commit is no whole commit."""
    newest = f"its newest commit, version {version},"
    if content is None:
        return f"{newest} has no log file"
    lines = content.splitlines()
    if not lines:
        return f"{newest} is empty"
    if cut_off(content):
        return f"{newest} is cut off or garbage"
    told = _commit_info(content)
    stated = told.get(_LINES)
    if stated is None:
        # deltalake's own writer counts what it adds and removes.
        metrics = told.get("operationMetrics", {})
        counted = [metrics.get("num_added_files", 0), metrics.get("num_removed_files", 0)]
        found = [sum(line.startswith(kind) for line in lines) for kind in (b'{"add"', b'{"remove"')]
        short = any(has < says for has, says in zip(found, counted, strict=True))
        return f"{newest} has {found} files added and removed of {counted}" if short else None
    return f"{newest} has {len(lines)} of its {stated} lines" if len(lines) < stated else None


def _commit_info(content: bytes) -> dict[str, Any]:
    for line in content.splitlines():
        if line.startswith(b'{"commitInfo"'):
            return dict(json.loads(line)["commitInfo"])
    return {}


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
