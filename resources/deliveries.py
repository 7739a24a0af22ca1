"""Deliveries that come after the first: a corrected file handed over, an origin asked anew.

What belongs here: putting a delivery in the place of a day's extract, keeping what was there before; which days are
late.
What does not: the first delivery of a day (`extracts.py`), asking an origin (`origins.py`).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from polars import read_parquet_metadata
from polars.exceptions import PanicException, PolarsError

from ml_assets.domain.errors import ExtractError, NotDeliveredError
from ml_assets.domain.origins import Archive
from ml_assets.domain.specs import SourceSpec
from ml_assets.domain.verdict import LATE
from resources.extracts import Extracts, freeze
from resources.lake import Lake
from resources.origins import Delivered, fetched, rows_of_file

BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a delivery: its extract, where the one before is kept, whether it is what was there."""

    extract: Path
    before: Path | None
    unchanged: bool


def deliver(extracts: Extracts, source: SourceSpec, day: date, file: Path) -> Delivery:
    """A file that a person hands over becomes the day's extract; what was delivered before is kept beside it.

    The file is in the form of the source's origin, or Parquet. Raises ExtractError, and changes nothing, when it is
    neither.
    """
    return _put(extracts, source, day, rows_of_file(source, day, file))


def pull(extracts: Extracts, source: SourceSpec, day: date) -> Delivery:
    """What the source's origin holds now becomes the day's extract; what was delivered before is kept beside it.

    Raises ExtractError, and changes nothing, when it holds nothing for the day.
    """
    origin = source.origin
    delivered = extracts.cut(source, origin, day) if isinstance(origin, Archive) else fetched(origin, source, day)
    if delivered is None:
        raise ExtractError(f"source {source.name!r}: its origin holds nothing for {day}; nothing was changed")
    return _put(extracts, source, day, delivered)


def late_days(lake: Lake, source: SourceSpec) -> dict[date, str]:
    """The days of a source that were due and not delivered when they were computed, with what is waited for."""
    held = lake.refusals(f"events/{source.name}", date.min, date.max)
    return {day: why for day, (state, why) in sorted(held.items()) if state == LATE}


def come_by_now(extracts: Extracts, lake: Lake, source: SourceSpec) -> list[date]:
    """The late days for which something is there by now; of use or not, their run says.

    Raises SourceError when the origin cannot be asked.
    """
    return [
        day
        for day in late_days(lake, source)
        if extracts.path(source.name, day).exists() or _holds_something(source, day)
    ]


def _holds_something(source: SourceSpec, day: date) -> bool:
    try:
        return fetched(source.origin, source, day) is not None
    except NotDeliveredError:
        return False
    except ExtractError:
        return True


def provenance(extract: Path) -> Mapping[str, str]:
    """What an extract says of its delivery: when, from where, hash and size of what came; nothing when it does not."""
    told = read_parquet_metadata(extract)
    return {name.removeprefix("delivered "): said for name, said in told.items() if name.startswith("delivered ")}


def _put(extracts: Extracts, source: SourceSpec, day: date, delivered: Delivered) -> Delivery:
    path = extracts.path(source.name, day)
    if not path.is_file():
        freeze(delivered, path)
        return Delivery(path, None, unchanged=False)
    told = _told_by(path)
    if told.get("sha256") == delivered.sha256:
        return Delivery(path, None, unchanged=True)
    kept = path.parent / BEFORE / str(day)
    kept.mkdir(parents=True, exist_ok=True)
    before = kept / f"{len(list(kept.glob('*.parquet'))) + 1:03}.parquet"
    # Killed after the copy, the day has its extract still, and one copy too many.
    shutil.copy2(path, before)
    freeze(delivered, path)
    return Delivery(path, before, unchanged=False)


def _told_by(extract: Path) -> Mapping[str, str]:
    try:
        return provenance(extract)
    except (PolarsError, PanicException, OSError):
        # A damaged extract says nothing; it is kept as it is.
        return {}
