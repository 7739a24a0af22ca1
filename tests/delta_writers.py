"""What the storage tests run in processes of their own: writers that race, and one that waits to be killed.

What belongs here: functions a spawned process can import, light on imports.
What does not: assertions.
"""

import os
import random
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import polars as pl

from ml_assets.domain.errors import SchemaChangeRefusedError
from resources.delta_store import DAY, DeltaStore

FIRST = date(2013, 1, 1)
KILLED_ROWS = 400
KILLED_DAYS = 8

_barriers: list[Barrier] = []


def join_barrier(barrier: Barrier) -> None:
    """Remembers the barrier at which the writers of one pool meet."""
    _barriers.append(barrier)


def rows_of(days: Sequence[date], rows: int, write: int) -> pl.DataFrame:
    """`rows` numbered rows a day that all carry the number of their write, in columns of several types."""
    frame = pl.DataFrame({DAY: days}).select(pl.col(DAY).repeat_by(rows).explode())
    number = pl.int_range(pl.len()).over(DAY)
    return frame.with_columns(
        number.alias("number"), (number / 7).alias("share"), number.cast(pl.String).alias("text"), write=write
    ).with_columns(pl.col("write").cast(pl.Int64))


def overwrite(
    root: str, table: str, days: Sequence[date], writer: int, times: int, marks: Path | None = None
) -> list[tuple[int, int]]:
    """Version and number of each of `times` writes of the days, begun when every writer is ready."""
    store = DeltaStore(root, marks=marks)
    _barriers[0].wait(60)
    done = []
    for turn in range(times):
        write = writer * 1000 + turn
        commit = store.replace_days(
            table, rows_of(days, 5 + write % 3, write), days, commit_metadata={"write": str(write)}
        )
        done.append((commit.version, write))
    return done


def create_all(root: str, tables: Sequence[str], writer: int, dtypes: Sequence[pl.DataType]) -> list[bool]:
    """Whether this writer's own day went into each table, each table begun by all writers at once.

    The writer stores its column `number` in its own type, and is refused when another's type won.
    """
    store = DeltaStore(root)
    day = FIRST + timedelta(writer)
    frame = rows_of([day], 3, writer).with_columns(pl.col("number").cast(dtypes[writer]))
    written = []
    for table in tables:
        _barriers[0].wait(60)
        try:
            store.replace_days(table, frame, [day])
        except SchemaChangeRefusedError:
            written.append(False)
        else:
            written.append(True)
    return written


def days_of_write(write: int) -> list[date]:
    """The days that the killed writer's write of this number replaces: some, by its number alone."""
    chance = random.Random(write)
    return sorted(FIRST + timedelta(at) for at in chance.sample(range(KILLED_DAYS), chance.randint(1, KILLED_DAYS)))


def child_environment() -> dict[str, str]:
    """The environment for a process that imports what this one does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def write_until_killed(root: str, table: str, first_write: int, marks: Path | None = None) -> None:
    """Announces each write on standard output before it begins and after it ends, for ever."""
    store = DeltaStore(root, marks=marks)
    sys.stdin.readline()
    write = first_write
    while True:
        days = days_of_write(write)
        frame = rows_of(days, KILLED_ROWS + write % 3, write)
        print("begins", write, flush=True)
        store.replace_days(table, frame, days)
        print("ended", write, flush=True)
        write += 1


if __name__ == "__main__":
    write_until_killed(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(Path, sys.argv[4:]))
