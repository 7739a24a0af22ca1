"""What is on record of every day: its content, what it rests on, from the metadata of the commits that wrote it.

What belongs here: what a commit records of its days, and the index over it that costs what is new, not what is old.
What does not: what follows from it (`ml_assets/domain/planning.py`).

The commits are the truth; the index beside the lake is a copy of it that anybody may delete.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import uuid4

import polars as pl

from ml_assets.domain.errors import StorageError
from ml_assets.domain.local_days import DAY
from partitions import DayRange, Window
from resources.delta_store import CommitRecord, DeltaStore

DAYS_KEY: Final = "days"
VERSIONS_KEY: Final = "versions"
READ_KEY: Final = "read"
DELIVERED_KEY: Final = "delivered"
WITHDRAWN_KEY: Final = "withdrawn"
_SCHEMA: Final = {
    DAY: pl.Date,
    "content": pl.String,
    "empty": pl.Boolean,
    "why": pl.String,
    "changed_at": pl.Int64,
    "recorded_at": pl.Int64,
    "computed": pl.Datetime("us", "UTC"),
    "run_id": pl.String,
    "code_version": pl.String,
    "inputs": pl.String,
    "versions": pl.String,
}


@dataclass(frozen=True, slots=True)
class DayNote:
    """What a commit records of one day: its content's hash, whether it is empty and why, what it was computed from.

    `inputs` are the fingerprints of the windows read, by the name of the read.
    """

    content: str
    empty: bool = False
    why: str = ""
    inputs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WasRead:
    """What was read of a table: its version, and the content hash of each day that the days of a commit rest on.

    `window` says which days a day reads; without one the rows were chosen by versions that they name (`named`). A day
    that readers leave out (absent, red, blocked) has no content.
    """

    table: str
    version: int | None
    window: Window | None = None
    contents: Mapping[date, str] = field(default_factory=dict)
    named: Collection[str] = ()

    def for_days(self, days: Collection[date]) -> "WasRead":
        """The same, of the days that the windows of some days hold."""
        if self.window is None:
            return self
        held = {read for day in days for read in self.window.of(DayRange(day, day + timedelta(days=1)))}
        return replace(self, contents={day: text for day, text in self.contents.items() if day in held})


def as_metadata(
    days: Mapping[date, DayNote],
    reads: Mapping[str, WasRead] = MappingProxyType({}),
    delivered: Mapping[date, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The notes of a commit's days and what they rest on, as Delta commit metadata.

    `reads`, by name, are told of the days that hold rows; `delivered` is the hash of the extract of each day.
    """
    notes = {
        day.isoformat(): [note.content, int(note.empty), note.why, dict(note.inputs)] for day, note in days.items()
    }
    versions = {name: each.version for name, each in reads.items() if each.version is not None}
    computed = [day for day, note in days.items() if note.content and not note.empty]
    read = {name: _told(each.for_days(computed)) for name, each in reads.items()} if computed else {}
    hashes = {day.isoformat(): delivered[day] for day in days if day in delivered}
    told = {DAYS_KEY: notes, VERSIONS_KEY: versions, READ_KEY: read, DELIVERED_KEY: hashes}
    return {key: json.dumps(value, separators=(",", ":")) for key, value in told.items() if value or key == DAYS_KEY}


def notes_of(commit: CommitRecord) -> dict[date, DayNote]:
    """What a commit records of its days."""
    return {
        date.fromisoformat(text): DayNote(content, bool(empty), why, inputs)
        for text, (content, empty, why, inputs) in _json(commit, DAYS_KEY, {}).items()
    }


def withdrawn_in(commit: CommitRecord) -> set[date]:
    """The days that a commit takes off the record."""
    return {date.fromisoformat(text) for text in _json(commit, WITHDRAWN_KEY, [])}


def reads_of(commit: CommitRecord) -> dict[str, WasRead]:
    """What the days of a commit that hold rows were computed from, by the name of the read."""
    return {name: _understood(told) for name, told in _json(commit, READ_KEY, {}).items()}


def delivered_in(commit: CommitRecord) -> dict[date, str]:
    """The hash of the extract from which each day of a commit was made."""
    return {date.fromisoformat(day): told for day, told in _json(commit, DELIVERED_KEY, {}).items()}


def _told(read: WasRead) -> dict[str, object]:
    if read.window is None:
        return {"table": read.table, "version": read.version, "named": sorted(read.named)}
    days = DayRange(min(read.contents), max(read.contents) + timedelta(days=1)) if read.contents else ()
    return {
        "table": read.table,
        "version": read.version,
        "window": [read.window.first, read.window.last],
        "since": min(read.contents).isoformat() if read.contents else None,
        "contents": [read.contents.get(day, "") for day in days],
    }


def _understood(told: Mapping[str, Any]) -> WasRead:
    if "window" not in told:
        return WasRead(told["table"], told["version"], named=frozenset(told["named"]))
    since = date.fromisoformat(told["since"]) if told["since"] else None
    contents = {since + timedelta(days=at): text for at, text in enumerate(told["contents"]) if text} if since else {}
    return WasRead(told["table"], told["version"], Window(*told["window"]), contents)


def withdrawal(days: Sequence[date]) -> dict[str, str]:
    """Commit metadata that takes days off the record."""
    return {WITHDRAWN_KEY: json.dumps([day.isoformat() for day in days])}


@dataclass
class RecordIndex:
    """The records of tables, kept up to date from their commits.

    `folder` keeps what was read between processes; without one every process reads the commits anew.
    """

    store: DeltaStore
    folder: Path | None = None
    _held: dict[str, tuple[str, int, pl.DataFrame]] = field(default_factory=dict, repr=False)

    def of(self, table: str) -> pl.DataFrame:
        """One row a day on record, in day order; none for a table that is not there."""
        held = self._held.get(table) or self._stored(table)
        if held and not self.store.moved_on(table, held[1]):
            self._held[table] = held
            return held[2]
        snapshot = self.store.snapshot(table)
        if snapshot is None:
            return pl.DataFrame(schema=_SCHEMA)
        if held is None or held[0] != snapshot.table_id or held[1] > snapshot.version:
            held = (snapshot.table_id, -1, pl.DataFrame(schema=_SCHEMA))
        if held[1] < snapshot.version:
            commits = [c for c in self.store.commits_after(table, held[1]) if c.version <= snapshot.version]
            held = (snapshot.table_id, snapshot.version, folded(held[2], commits))
            self._keep(table, held)
        self._held[table] = held
        return held[2]

    def _path(self, table: str) -> Path | None:
        return self.folder / f"{table.replace('/', '__')}.parquet" if self.folder else None

    def _stored(self, table: str) -> tuple[str, int, pl.DataFrame] | None:
        path = self._path(table)
        if path is None or not path.is_file():
            return None
        try:
            rows = pl.read_parquet(path, glob=False)
            about = pl.read_parquet_metadata(path)
            return about["table_id"], int(about["version"]), rows.select(*_SCHEMA)
        except (pl.exceptions.PolarsError, OSError, KeyError, ValueError):
            # A copy that cannot be read is no loss: it is made anew from the commits.
            return None

    def _keep(self, table: str, held: tuple[str, int, pl.DataFrame]) -> None:
        path = self._path(table)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{uuid4().hex}")
        held[2].write_parquet(fresh, metadata={"table_id": held[0], "version": str(held[1])})
        fresh.replace(path)


def folded(rows: pl.DataFrame, commits: Sequence[CommitRecord]) -> pl.DataFrame:
    """The records after further commits, the oldest first."""
    held: dict[date, dict[str, Any]] = {row[DAY]: row for row in rows.iter_rows(named=True)}
    for commit in commits:
        for day in withdrawn_in(commit):
            held.pop(day, None)
        versions = commit.metadata.get(VERSIONS_KEY, "{}")
        for day, note in notes_of(commit).items():
            before = held.get(day)
            same = before is not None and before["content"] == note.content
            held[day] = {
                DAY: day,
                "content": note.content,
                "empty": note.empty,
                "why": note.why,
                "changed_at": before["changed_at"] if before and same else commit.version,
                "recorded_at": commit.version,
                "computed": commit.timestamp,
                "run_id": commit.metadata.get("run_id", ""),
                "code_version": commit.metadata.get("code_version", ""),
                "inputs": json.dumps(dict(note.inputs), separators=(",", ":")),
                "versions": versions,
            }
    return pl.DataFrame([held[day] for day in sorted(held)], schema=_SCHEMA)


def _json(commit: CommitRecord, key: str, absent: Any) -> Any:
    text = commit.metadata.get(key)
    if text is None:
        return absent
    try:
        return json.loads(text)
    except ValueError as error:
        raise StorageError(
            f"commit {commit.version}: its metadata {key!r} is no JSON ({error}); restore the log"
        ) from error
