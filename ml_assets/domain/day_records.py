"""What is on record of a table's days, and the fingerprint of a window of them.

What belongs here: records as arrays, keys of content, fingerprints of what a day read.
What does not: how commits keep records (`resources`), what follows from them (`planning.py`).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.errors import RecordsError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.row_hashes import spread
from ml_assets.domain.verdict import BLOCKED, LATE
from partitions import Window

UNRECORDED: Final = 2**64 - 1
"""The fingerprint of a read that a day's record does not name: it was computed before the read was declared."""
UNKNOWN_VERSION: Final = -1
GOOD, REFUSED = "good", "refused"

Ordinals = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]
Versions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Days = Collection[date] | Ordinals

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_REFUSED_KEY = np.uint64(0x5EF05EDDA15EF05E)


@dataclass(frozen=True, slots=True)
class DayRecords:
    """What is on record of a table's days: those that were asked for at least once.

    `days` are proleptic ordinals, ascending and distinct; every other array has one value for each. `content` is the
    key of the day's content as children see it, 0 where they leave the day out; `refused` says that it is red or
    blocked. `inputs` holds, by the name of a read, the fingerprint of its window as the day was computed, UNRECORDED
    where the record names none. `changed_at` is the table's version at which the content last changed and `versions`
    the version of the parent that a read saw; UNKNOWN_VERSION where nobody knows. `empty` days are accepted and hold no
    rows; `blocked` are those of the refused ones that were not judged, for want of something they need or wait for.
    """

    days: Ordinals
    content: Hashes
    refused: Mask
    inputs: Mapping[str, Hashes] = field(default_factory=dict)
    changed_at: Versions | None = None
    versions: Mapping[str, Versions] = field(default_factory=dict)
    empty: Mask | None = None
    blocked: Mask | None = None

    def __post_init__(self) -> None:
        if np.any(np.diff(self.days) <= 0):
            raise RecordsError("records of days must be in day order, one a day")
        columns: dict[str, npt.NDArray[Any] | None] = {
            "content": self.content,
            "refused": self.refused,
            "changed_at": self.changed_at,
            "empty": self.empty,
            "blocked": self.blocked,
            **{f"inputs of {name}": values for name, values in self.inputs.items()},
            **{f"versions of {name}": values for name, values in self.versions.items()},
        }
        for name, values in columns.items():
            if values is not None and len(values) != len(self.days):
                raise RecordsError(f"{name}: {len(values)} values for {len(self.days)} days; wanted one a day")
        if np.any(self.content[self.refused] != 0):
            raise RecordsError("a refused day has content that children see; wanted key 0")

    @classmethod
    def none(cls) -> "DayRecords":
        """The records of a table of which no day was ever asked for."""
        return cls(np.empty(0, np.int32), np.empty(0, np.uint64), np.empty(0, np.bool_))

    def rows_of(self, days: Days) -> tuple[npt.NDArray[np.int64], Mask]:
        """For each day its row, and whether it is on record; the row means nothing where it is not."""
        wanted = ordinals(days)
        rows = np.searchsorted(self.days, wanted).astype(np.int64)
        held = rows < len(self.days)
        held[held] = self.days[rows[held]] == wanted[held]
        return np.where(held, rows, 0), held

    def state_of(self, days: Days) -> list[str]:
        """For each day "good", "refused" or, when it is not on record, ""."""
        rows, held = self.rows_of(days)
        return [
            (REFUSED if self.refused[row] else GOOD) if there else ""
            for row, there in zip(rows.tolist(), held.tolist(), strict=True)
        ]

    def with_content(self, days: Days, content: Hashes, empty: Mask) -> "DayRecords":
        """The records once these days, in day order, have this content (0: refused), as later days of a run see them.

        `empty` are those without rows. What days that are new were computed from is not known.
        """
        asked = DayRecords(ordinals(days), content, content == 0, empty=empty)
        union = np.union1d(self.days, asked.days).astype(np.int32)
        old, was_held = self.rows_of(union)
        new, is_asked = asked.rows_of(union)

        def kept(values: npt.NDArray[Any], otherwise: int) -> npt.NDArray[Any]:
            out = np.full(len(union), otherwise, values.dtype)
            out[was_held] = values[old[was_held]]
            return out

        now = kept(self.content, 0)
        now[is_asked] = content[new[is_asked]]
        refused = kept(self.refused, 0)
        refused[is_asked] = asked.refused[new[is_asked]]
        changed_at = self.changed_at

        def flags(own: Mask | None) -> Mask:
            return np.zeros(len(union), np.bool_) if own is None else kept(own, 0) & ~is_asked

        without_rows = flags(self.empty)
        without_rows[is_asked] = empty[new[is_asked]]
        return replace(
            self,
            days=union,
            content=now,
            refused=refused,
            inputs={name: kept(values, UNRECORDED) for name, values in self.inputs.items()},
            changed_at=None if changed_at is None else kept(changed_at, UNKNOWN_VERSION),
            empty=without_rows,
            blocked=flags(self.blocked),
            versions={name: kept(values, UNKNOWN_VERSION) for name, values in self.versions.items()},
        )


def ordinals(days: Days) -> Ordinals:
    """Days as proleptic ordinals."""
    if isinstance(days, np.ndarray):
        return days.astype(np.int32, copy=False)
    return np.fromiter((day.toordinal() for day in days), np.int32, count=len(days))


def content_keys(hashes: Sequence[str] | pl.Series) -> Hashes:
    """The 64-bit key, never 0, of each content hash's text."""
    texts = [text.encode() for text in hashes]
    width = max([1, *(-(-len(text) // 8) for text in texts)])
    words = np.array(texts, dtype=f"S{width * 8}").view("<u8").reshape(len(texts), width).astype(np.uint64)
    keys = np.zeros(len(texts), np.uint64)
    for word in words.T:
        # A word of padding changes nothing, so that a key does not depend on its neighbours' lengths.
        keys = np.where(word == 0, keys, spread((keys ^ word) + _GOLDEN))
    return np.where(keys == 0, np.uint64(1), keys)


def content_key(text: str) -> int:
    """The 64-bit key, never 0, of a content hash's text."""
    return int(content_keys([text])[0])


def window_fingerprints(parent: DayRecords, days: Days, window: Window, *, presence: bool = False) -> Hashes:
    """For each day the fingerprint of what its window of the parent holds: the same content, the same fingerprint.

    It is the sum, modulo 2^64, of a mixed hash of day and content over the window's days, 0 for those that children
    leave out: absent, red and blocked days are alike, order is nothing, and a content that comes back brings its
    fingerprint back. So is an empty day, which adds no row to what is read. With `presence`, for readers to whom it
    matters whether the day is there, absent, refused and empty days all differ.
    """
    wanted = ordinals(days)
    if presence:
        content = np.where(parent.refused, _REFUSED_KEY, parent.content)
    else:
        content = parent.content if parent.empty is None else np.where(parent.empty, np.uint64(0), parent.content)
    mixed = spread(content + parent.days.astype(np.uint64) * _GOLDEN)
    mixed[content == 0] = 0
    sums = np.zeros(len(mixed) + 1, np.uint64)
    np.cumsum(mixed, out=sums[1:])
    until = np.searchsorted(parent.days, wanted - np.int32(window.last), side="right")
    since = np.searchsorted(parent.days, wanted - np.int32(window.first), side="left")
    return sums[until] - sums[since]


def day_records(rows: pl.DataFrame) -> DayRecords:
    """The records of a table from one row a day.

    Columns: the day, `content` (the hash's text), `state` ("good", or else refused), `changed_at` (the version at which
    the content last changed), `empty`, and as JSON by the name of each read `inputs` (fingerprints) and `versions`.
    """
    rows = rows.sort(DAY)
    good = rows["state"].to_numpy() == GOOD
    inputs, versions = _by_name(rows["inputs"], pl.UInt64), _by_name(rows["versions"], pl.Int64)
    return DayRecords(
        days=(rows[DAY].to_physical() + date(1970, 1, 1).toordinal()).cast(pl.Int32).to_numpy(),
        content=np.where(good, content_keys(rows["content"]), np.uint64(0)),
        refused=~good,
        inputs={name: values.fill_null(UNRECORDED).to_numpy() for name, values in inputs.items()},
        # A red or blocked day's version is one of the table of refusals, which no reader's version can be held against.
        changed_at=np.where(good, rows["changed_at"].to_numpy(), UNKNOWN_VERSION),
        versions={name: values.fill_null(UNKNOWN_VERSION).to_numpy() for name, values in versions.items()},
        empty=good & rows["empty"].to_numpy(),
        blocked=rows["state"].is_in([BLOCKED, LATE]).to_numpy(),
    )


def _by_name(texts: pl.Series, dtype: type[pl.DataType]) -> dict[str, pl.Series]:
    shapes = texts.str.replace_all(r":\s*\d+", ":0").unique()
    names = sorted({name for shape in shapes for name in json.loads(shape)})
    if not names:
        return {}
    return {each.name: each for each in texts.str.json_decode(pl.Struct(dict.fromkeys(names, dtype))).struct.unnest()}
