"""Date-locked extracts: what a source delivered for a day, one file a day, never read as "the latest".

What belongs here: landing a shipped archive once, reading the extracts of days.
What does not: what a good row is (`ml_assets/domain/contracts.py`).
"""

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import polars as pl
from pandera.errors import SchemaError

from ml_assets.domain.errors import SourceError
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Archive, SourceSpec

NULLS = ["", "NA"]


@dataclass(frozen=True, slots=True)
class ReadExtracts:
    """Rows as delivered, None when no day could be read; and the days that could not, with the reason."""

    rows: pl.DataFrame | None
    unreadable: dict[date, str]


@dataclass(frozen=True, slots=True)
class Extracts:
    """The extracts in a folder: `<root>/<source>/<day>.parquet`."""

    root: Path

    def path(self, source: str, day: date) -> Path:
        """Where the extract of a day lies."""
        return self.root / source / f"{day}.parquet"

    def land(self, source: SourceSpec) -> None:
        """The source's archive is split into one file a day, once; a landed source is left alone.

        All days appear together: they are written aside and moved in one rename. Raises SourceError when
        the archive is missing, truncated, or not the pinned one.
        """
        if (self.root / source.name).is_dir():
            return
        rows = source.prepare(_tables(source.archive, source.name)).collect()
        self.root.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{source.name}-", dir=self.root))
        try:
            for (day,), of_day in rows.partition_by(DAY, as_dict=True).items():
                of_day.write_parquet(aside / f"{day}.parquet")
            aside.chmod(0o755)
            aside.replace(self.root / source.name)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            if not (self.root / source.name).is_dir():
                raise

    def read(self, source: SourceSpec, days: Iterable[date]) -> ReadExtracts:
        """The parsed events of the given days; a missing or unreadable day is named, not fatal.

        Raises SourceError when the archive they are cut from is missing or not the pinned one.
        """
        self.land(source)
        wanted = list(days)
        missing = {
            day: f"no extract at {self.path(source.name, day)}; deliver it and rerun this day"
            for day in wanted
            if not self.path(source.name, day).is_file()
        }
        present = [day for day in wanted if day not in missing]
        try:
            rows = _parsed(source, [self.path(source.name, day) for day in present])
            unreadable: dict[date, str] = {}
        except (pl.exceptions.PolarsError, OSError):
            rows, unreadable = self._one_by_one(source, present)
        return ReadExtracts(rows, missing | unreadable)

    def _one_by_one(self, source: SourceSpec, days: list[date]) -> tuple[pl.DataFrame | None, dict[date, str]]:
        readable: list[pl.DataFrame] = []
        unreadable: dict[date, str] = {}
        for day in days:
            path = self.path(source.name, day)
            try:
                rows = _parsed(source, [path])
                # One retyped column must not cost the other days: days are joined only if their types agree.
                source.contract.validate(rows.clear())
                readable.append(rows)
            except (pl.exceptions.PolarsError, OSError, SchemaError) as error:
                first_line = str(error).splitlines()[0]
                unreadable[day] = f"the extract {path} cannot be read ({first_line}); deliver it again"
        return (pl.concat(readable) if readable else None), unreadable


def _parsed(source: SourceSpec, paths: list[Path]) -> pl.DataFrame:
    if not paths:
        raise FileNotFoundError(2, "no extract of these days")
    locked = pl.scan_parquet(paths, glob=False, include_file_paths="path").select("path", DAY).unique().collect()
    for path, day in locked.iter_rows():
        if Path(path).stem != str(day):
            raise pl.exceptions.InvalidOperationError(f"it holds rows of {day}")
    return source.parse(pl.scan_parquet(paths, glob=False)).sort(DAY, *source.keys).collect()


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
            f"source {source!r}: the distribution {archive.distribution!r} is not installed; run `make install`."
        ) from error
    return Path(os.fspath(installed.locate_file(archive.distribution)))


def _unpacked(path: Path) -> bytes:
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as packed:
        return packed.read(packed.namelist()[0])


def _csv(content: bytes) -> pl.LazyFrame:
    return pl.read_csv(content, null_values=NULLS, infer_schema_length=None).lazy()
