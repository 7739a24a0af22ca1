"""Tables as a record saw them: the record of a day as of any version, and the rows that it says were read.

What belongs here: time travel through recorded versions, and whether what lies there is what was recorded.
What does not: what a record holds (`records.py`), computing anything from it.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ml_assets.domain.content import content_hashes
from ml_assets.domain.day_frame import DayFrame
from ml_assets.domain.errors import MissingPartitionError
from ml_assets.domain.local_days import DAY
from resources.delta_store import CommitRecord
from resources.lake import Lake
from resources.records import WasRead, notes_of, reads_of, withdrawn_in

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is on record of a day of a table: the commit, the content's hash, what it was computed from."""

    table: str
    day: date
    commit: CommitRecord
    content: str
    empty: str
    reads: dict[str, WasRead]

    @property
    def code_version(self) -> str:
        """The fingerprint of the code that computed the day."""
        return str(self.commit.metadata.get("code_version", ""))


def record_of(lake: Lake, table: str, day: date, *, version: int | None = None) -> Recorded | None:
    """The record of a day now, or as it was at a version of the table; None when it had none.

    A day that is red or blocked has none now. `empty` says why a day holds no rows.
    """
    commit = lake.commit_of(table, day) if version is None else _commit_at(lake, table, day, version)
    if commit is None:
        return None
    note = notes_of(commit)[day]
    return Recorded(table, day, commit, note.content, note.why if note.empty else "", reads_of(commit))


def rows_of(lake: Lake, table: str, day: date, version: int | None) -> pl.DataFrame:
    """The rows of a day that a version of a table holds.

    Raises MissingPartitionError when there is no such table any more.
    """
    snapshot = lake.store.snapshot(table, version=version)
    if snapshot is None:
        raise MissingPartitionError(f"{table} is not there, but a record rests on version {version} of it; restore it.")
    return snapshot.collect(snapshot.scan(day, day + ONE_DAY))


def as_read(lake: Lake, read: WasRead, day: date) -> tuple[DayFrame, list[date]]:
    """What the window of a day held when it was read, and the days of it whose rows are not what was recorded.

    Raises MissingPartitionError when the table is gone, TableUnreadableError when a file of that version is.
    """
    of_day = read.for_days([day])
    if read.version is None or not of_day.contents:
        return DayFrame(read.table, pl.LazyFrame(schema={DAY: pl.Date}), frozenset(), frozenset(), {}, None), []
    snapshot = lake.store.snapshot(read.table, version=read.version)
    if snapshot is None:
        raise MissingPartitionError(
            f"{read.table} is not there, but a record rests on version {read.version} of it; restore it."
        )
    days = sorted(of_day.contents)
    rows = snapshot.collect(snapshot.scan(days[0], days[-1] + ONE_DAY).filter(pl.col(DAY).is_in(days)))
    by_day, none = rows.partition_by(DAY, as_dict=True), rows.clear()
    differing = [each for each in days if not holds(by_day.get((each,), none), each, of_day.contents[each])]
    return DayFrame(read.table, rows.lazy(), frozenset(days), frozenset(rows[DAY]), {}, read.version), differing


def holds(rows: pl.DataFrame, day: date, content: str) -> bool:
    """Whether a day's rows are what a record says, columns that the table has been given since apart."""
    while content_hashes(rows, days=[day])[day] != content:
        newest = rows.columns[-1]
        if newest == DAY or rows[newest].null_count() < rows.height:
            return False
        rows = rows.drop(newest)
    return True


def _commit_at(lake: Lake, table: str, day: date, version: int) -> CommitRecord | None:
    """The newest commit up to a version that records a day; None when it was taken off the record since."""
    for at in range(version, -1, -1):
        commit = lake.store.commit(table, at)
        if day in notes_of(commit):
            return commit
        if day in withdrawn_in(commit):
            return None
    return None
