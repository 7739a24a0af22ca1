"""What is on record of every day: its content, what it rests on, from the metadata of the commits that wrote it.

What belongs here: what a commit records of its days, and the index over it that costs what is new, not what is old.
What does not: what follows from it (`ml_assets/domain/planning.py`).

The commits are the truth; the index beside the lake is a copy of it that anybody may delete.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import polars as pl

from ml_assets.domain.errors import StorageError
from ml_assets.domain.local_days import DAY
from resources.delta_store import CommitRecord, DeltaStore

DAYS_KEY: Final = "days"
VERSIONS_KEY: Final = "versions"
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


def as_metadata(days: Mapping[date, DayNote], versions: Mapping[str, int | None]) -> dict[str, str]:
    """The notes of a commit's days and the versions it read, as Delta commit metadata."""
    notes = {
        day.isoformat(): [note.content, int(note.empty), note.why, dict(note.inputs)] for day, note in days.items()
    }
    held = {name: version for name, version in versions.items() if version is not None}
    return {
        DAYS_KEY: json.dumps(notes, separators=(",", ":")),
        VERSIONS_KEY: json.dumps(held, separators=(",", ":")),
    }


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
        for text in _json(commit, WITHDRAWN_KEY, []):
            held.pop(date.fromisoformat(text), None)
        versions = commit.metadata.get(VERSIONS_KEY, "{}")
        for text, (content, empty, why, inputs) in _json(commit, DAYS_KEY, {}).items():
            day = date.fromisoformat(text)
            before = held.get(day)
            same = before is not None and before["content"] == content
            held[day] = {
                DAY: day,
                "content": content,
                "empty": bool(empty),
                "why": why,
                "changed_at": before["changed_at"] if before and same else commit.version,
                "recorded_at": commit.version,
                "computed": commit.timestamp,
                "run_id": commit.metadata.get("run_id", ""),
                "code_version": commit.metadata.get("code_version", ""),
                "inputs": json.dumps(inputs, separators=(",", ":")),
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
