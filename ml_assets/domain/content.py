"""The identity of content: hashes of rows, days and declarations.

What belongs here: hashes that say whether two things are the same.
What does not: run ids, Delta versions, times of writing; they never enter a content hash.
"""

import hashlib
import inspect
import json
import zlib
from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Any

import polars as pl

from ml_assets.domain.local_days import DAY

_SEEDS = (0x6D6C, 0x6173)


def content_hashes(
    frame: pl.DataFrame, *, leave_out: Collection[str] = (), days: Collection[date] = ()
) -> dict[date, str]:
    """A hash of each day's rows, independent of row order: the same rows give the same hash.

    `days` names days that have a hash though they hold no rows.

    Two 64-bit row hashes are summed over the day, beside the number of rows and the schema. Polars keeps its
    row hash stable within a version, and the version is pinned, so its name is part of the hash.
    """
    columns = sorted(column for column in frame.columns if column not in leave_out)
    schema = ",".join(f"{column}:{frame.schema[column]}" for column in columns)
    salt = zlib.crc32(f"{pl.__version__}|{schema}".encode())
    kept = frame.select(columns)
    hashed = pl.DataFrame([frame[DAY], *(kept.hash_rows(seed).alias(str(seed)) for seed in _SEEDS)])
    sums = hashed.group_by(DAY).agg(pl.len(), *(pl.col(str(seed)).sum() for seed in _SEEDS))
    nothing = dict.fromkeys(days, f"{salt:08x}" + "0" * 40)
    return nothing | {
        day: f"{salt:08x}{rows:08x}" + "".join(f"{part & (2**64 - 1):016x}" for part in parts)
        for day, rows, *parts in sums.iter_rows()
    }


def fingerprint(*parts: object) -> str:
    """Twelve hexadecimal digits that change when any of the parts' text changes."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def code_fingerprint(function: Callable[..., Any]) -> str:
    """The fingerprint of the source file that a declaration's function is written in.

    The whole file, because a function's helpers and limits stand beside it: a change too many costs a rerun,
    a change too few is a silent error.
    """
    source = inspect.getsourcefile(function)
    if source is None:
        raise ValueError(f"{function!r} has no source file, so changes to it could not be noticed")
    return fingerprint(inspect.getsource(inspect.getmodule(function) or function))


def seed_of(*names: str) -> int:
    """A seed in [0, 2^31) that depends on the names only, never on the process."""
    return zlib.crc32("|".join(names).encode()) & 0x7FFFFFFF


def _plain(part: object) -> object:
    return dict(part) if isinstance(part, Mapping) else part
