"""Deliveries that come after the first: a corrected file handed over, an origin asked anew.

What belongs here: putting a delivery in the place of a day's extract, keeping what was there before, putting it back;
which days are late, or have another extract than their events were made from.
What does not: the first delivery of a day (`extracts.py`), asking an origin (`origins.py`).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from ml_assets.domain.errors import ExtractError, NotDeliveredError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.origins import Archive
from ml_assets.domain.specs import SourceSpec
from ml_assets.domain.verdict import LATE
from resources.extracts import Extracts, extract_hash, freeze, provenance
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


@dataclass(frozen=True, slots=True)
class Kept:
    """A delivery that is kept: 1 the oldest; `now` is the one that is the day's extract."""

    number: int
    file: Path
    now: bool
    said: Mapping[str, str]


def kept_deliveries(extracts: Extracts, source: SourceSpec, day: date) -> list[Kept]:
    """Every delivery of a day that is kept, the oldest first, with what each says of itself."""
    path = extracts.path(source.name, day)
    files = [*sorted((path.parent / BEFORE / str(day)).glob("*.parquet")), *([path] if path.is_file() else [])]
    return [Kept(at, file, file == path, provenance(file)) for at, file in enumerate(files, start=1)]


def put_back(extracts: Extracts, source: SourceSpec, day: date, number: int) -> Delivery:
    """An earlier delivery becomes the day's extract again, as it was; the one that is there is kept beside it.

    Raises ExtractError, and changes nothing, when there is none of that number.
    """
    kept = kept_deliveries(extracts, source, day)
    chosen = next((each for each in kept if each.number == number), None)
    if chosen is None:
        raise ExtractError(
            f"source {source.name!r}: there is no delivery {number} of {day}, wanted one of 1 to {len(kept)}; nothing "
            "was changed"
            if kept
            else f"source {source.name!r}: nothing is kept of {day}; nothing was changed"
        )
    if chosen.now:
        return Delivery(chosen.file, None, unchanged=True)
    path = extracts.path(source.name, day)
    before = _keep_beside(path, day)
    aside = path.with_name(f".{path.name}.back")
    shutil.copyfile(chosen.file, aside)
    aside.replace(path)
    return Delivery(path, before, unchanged=False)


@dataclass(frozen=True, slots=True)
class Changed:
    """A day whose extract is another file than its events were made from; `handed_over`: by a delivery."""

    day: date
    handed_over: bool
    why: str


def changed_extracts(extracts: Extracts, lake: Lake, source: str) -> list[Changed]:
    """The days of a source whose extract has another hash than the one that its events were made from.

    Only files are hashed that were written after the events were.
    """
    table = f"events/{source}"
    made = dict(lake.record(table).select(DAY, "computed").iter_rows())
    found = []
    for day, was in lake.deliveries(table).select(DAY, "extract_sha256").iter_rows():
        path = extracts.path(source, day)
        now = extract_hash(path) if day in made and _written_after(path, made[day]) else was
        if now is None or now == was:
            continue
        handed_over = "at" in provenance(path)
        how = "was delivered anew" if handed_over else "was changed, and not by a delivery"
        why = f"the extract {path} {how}: its SHA-256 is {now[:12]}…, and was {was[:12]}… when events were made of it"
        found.append(Changed(day, handed_over, why))
    return found


def _written_after(path: Path, moment: datetime) -> bool:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) > moment
    except OSError:
        return False


def _holds_something(source: SourceSpec, day: date) -> bool:
    try:
        return fetched(source.origin, source, day) is not None
    except NotDeliveredError:
        return False
    except ExtractError:
        return True


def _put(extracts: Extracts, source: SourceSpec, day: date, delivered: Delivered) -> Delivery:
    path = extracts.path(source.name, day)
    if not path.is_file():
        freeze(delivered, path)
        return Delivery(path, None, unchanged=False)
    told = provenance(path)
    if told.get("sha256") == delivered.sha256:
        return Delivery(path, None, unchanged=True)
    before = _keep_beside(path, day)
    freeze(delivered, path)
    return Delivery(path, before, unchanged=False)


def _keep_beside(path: Path, day: date) -> Path:
    """Keeps a day's extract among those before it, and says where."""
    kept = path.parent / BEFORE / str(day)
    kept.mkdir(parents=True, exist_ok=True)
    before = kept / f"{len(list(kept.glob('*.parquet'))) + 1:03}.parquet"
    # Killed after the copy, the day has its extract still, and one copy too many.
    shutil.copy2(path, before)
    return before
