"""The identity of content: hashes of days of rows, and of declarations.

What belongs here: hashes that say whether two things are the same.
What does not: run ids, Delta versions, times of writing; they never enter a content hash.
"""

import hashlib
import json
import zlib
from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Final

import numpy as np
import polars as pl

from ml_assets.domain.local_days import DAY
from ml_assets.domain.row_hashes import row_hashes, type_name

_EPOCH: Final = date(1970, 1, 1)


def content_hashes(
    frame: pl.DataFrame, *, leave_out: Collection[str] = (), days: Collection[date] = ()
) -> dict[date, str]:
    """A hash of each day's rows, independent of row order: the same rows give the same hash, whatever computes it.

    `days` names days that have a hash though they hold no rows. It tells the schema (8 hexadecimal digits), the number
    of rows (8) and two sums, modulo 2^64, of the rows' hashes (16 each).
    """
    columns = sorted(column for column in frame.columns if column not in leave_out)
    schema = ",".join(f"{column}:{type_name(frame.schema[column])}" for column in columns)
    told = hashlib.sha256(schema.encode()).hexdigest()[:8]
    nothing = dict.fromkeys(days, told + "0" * 40)
    # A row without a day belongs to no day; the store refuses it.
    dated = frame.filter(pl.col(DAY).is_not_null()) if frame[DAY].null_count() else frame
    if dated.is_empty():
        return nothing
    ordinals = dated[DAY].to_physical().to_numpy()
    hashes = row_hashes(dated.select(columns))
    if np.any(np.diff(ordinals) < 0):
        order = np.argsort(ordinals, kind="stable")
        ordinals, hashes = ordinals[order], (hashes[0][order], hashes[1][order])
    starts = np.flatnonzero(np.diff(ordinals, prepend=ordinals[0] - 1))
    rows = np.diff(starts, append=len(ordinals))
    sums = [np.add.reduceat(each, starts).tolist() for each in hashes]
    found = zip(ordinals[starts].tolist(), rows.tolist(), *sums, strict=True)
    return nothing | {
        _EPOCH + timedelta(days=day): f"{told}{count:08x}{first:016x}{second:016x}"
        for day, count, first, second in found
    }


def fingerprint(*parts: object) -> str:
    """Twelve hexadecimal digits that change when any of the parts' text changes."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def seed_of(*names: str) -> int:
    """A seed in [0, 2^31) that depends on the names only, never on the process."""
    return zlib.crc32("|".join(names).encode()) & 0x7FFFFFFF


def _plain(part: object) -> object:
    return dict(part) if isinstance(part, Mapping) else part
