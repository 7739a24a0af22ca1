"""What a source's origin holds for a day: files, queries and tables, asked as declared.

What belongs here: fetching a day's delivery, what of it fails in one sentence.
What does not: keeping it (`extracts.py`), its types and rows (`ml_assets/domain/ingestion.py`).
"""

import fnmatch
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import singledispatch
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from polars.exceptions import PanicException, PolarsError

from ml_assets.domain.errors import ExtractError, NotDeliveredError, SourceError
from ml_assets.domain.ingestion import read_text, told_of
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.origins import DeltaTable, DropFolder, SqlQuery
from ml_assets.domain.specs import SourceSpec
from partitions.days import hours_of, midnight
from resources.project import this_project
from resources.redaction import without_secrets
from resources.settings import settings, variable

A_DAY = timedelta(days=1)
SHOWN = 3
INSTANT_TEXT = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Delivered:
    """A day's rows as delivered, `partition_date` added; the hash and size of what came, and from where."""

    rows: pl.DataFrame
    sha256: str
    size: int
    where: str


@singledispatch
def fetched(origin: Any, source: SourceSpec, day: date) -> Delivered | None:  # noqa: ARG001
    """What the origin holds for a day; None when nothing was delivered for it.

    Raises SourceError when the origin cannot be asked at all, ExtractError when what it holds for the day is of no use.
    """
    raise SourceError(f"source {source.name!r}: nothing is known of an origin {type(origin).__name__}.")


@fetched.register
def _(origin: DropFolder, source: SourceSpec, day: date) -> Delivered | None:
    patterns = origin.of_hours(day, hours_of(day, source.calendar.timezone))
    found = {pattern: _file(pattern, source, day) for pattern in patterns}
    there = [file for file in found.values() if file]
    if not there:
        return None
    if lacking := [pattern for pattern, file in found.items() if not file]:
        raise NotDeliveredError(
            f"{len(there)} of the {len(found)} files of {day} have come, without {', '.join(lacking[:SHOWN])}"
            f"{f' and {len(lacking) - SHOWN} more' if lacking[SHOWN:] else ''}; it is computed once all are there"
        )
    contents = [_content(*file, source) for file in there]
    rows = [
        _rows_of_file(origin, source, day, content, "/".join(file))
        for file, content in zip(there, contents, strict=True)
    ]
    where = "/".join(there[0]) + (f" and {len(there) - 1} more" if there[1:] else "")
    whole = b"".join(contents)
    return Delivered(pl.concat(rows, how="diagonal_relaxed"), _sha256(whole), len(whole), where)


def _file(pattern: str, source: SourceSpec, day: date) -> tuple[str, str] | None:
    """Folder and name of the one file that a pattern fits; None where there is none."""
    folder, name = _located(pattern)
    found = _files(folder, name, source)
    if len(found) > 1:
        raise ExtractError(
            f"{len(found)} files were dropped for {day}: {', '.join(sorted(found))} in {folder}; leave the right one "
            "and rerun this day"
        )
    return (folder, found[0]) if found else None


def rows_of_file(source: SourceSpec, day: date, file: Path) -> Delivered:
    """What a person hands over as a day's delivery: a file in the form of the source's origin, or Parquet.

    Raises ExtractError when nothing can be made of it.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ExtractError(f"{file} cannot be read ({error.strerror or error}); nothing was delivered") from error
    parquet = DropFolder("{day}.parquet")
    origin = parquet if file.suffix == ".parquet" or not isinstance(source.origin, DropFolder) else source.origin
    rows = _rows_of_file(origin, source, day, content, str(file))
    return Delivered(rows, _sha256(content), len(content), str(file))


@fetched.register
def _(origin: SqlQuery, source: SourceSpec, day: date) -> Delivered | None:
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    where = f"source {source.name!r}: the database in {origin.url_from}"
    chosen = variable(origin.url_from)
    if chosen is None:
        raise SourceError(
            f"source {source.name!r}: the variable {origin.url_from} is not set, wanted an SQLAlchemy URL in it "
            "(postgresql+psycopg2://user:password@host/database)."
        )
    try:
        url = sqlalchemy.make_url(chosen)
        options = {"options": "-c timezone=utc"} if url.get_backend_name() == "postgresql" else {}
        engine = sqlalchemy.create_engine(url, connect_args=options, poolclass=sqlalchemy.pool.NullPool)
    except (ArgumentError, NoSuchModuleError):
        # What came may hold a password, and so may the text of the error: neither is repeated.
        raise SourceError(f"{where}: what the variable holds is no SQLAlchemy URL of a known database.") from None
    except ModuleNotFoundError as error:
        raise SourceError(f"{where}: its driver {error.name!r} is not installed; install it.") from None
    try:
        with engine.connect() as connection:
            answer = connection.execute(sqlalchemy.text(origin.query), _bounds(origin, source, day, url))
            names, rows = list(answer.keys()), [tuple(row) for row in answer]
    except SQLAlchemyError as error:
        said = without_secrets(_first_line(getattr(error, "orig", None) or error))
        raise SourceError(
            f"{where} cannot be asked for {day} ({said}). See to it, then rerun; nothing was lost."
        ) from None
    if not rows and source.min_rows:
        return None
    frame = _of_day(_frame(names, rows), day)
    content = frame.write_ndjson().encode()
    return Delivered(frame, _sha256(content), len(content), f"query of the database in {origin.url_from}")


@fetched.register
def _(origin: DeltaTable, source: SourceSpec, day: date) -> Delivered | None:
    from deltalake import DeltaTable as Table
    from deltalake.exceptions import DeltaError

    uri = origin.uri if "://" in origin.uri else str(_from_project(origin.uri))
    where = f"source {source.name!r}: the Delta table {uri}"
    try:
        table = Table(uri, storage_options=dict(settings().storage) or None)
        rows = pl.scan_delta(table).filter(pl.col(origin.day_column).cast(pl.Date) == day).collect()
    except (DeltaError, OSError, PolarsError) as error:
        said = without_secrets(_first_line(error))
        raise SourceError(f"{where} cannot be read for {day} ({said}). See to it, then rerun.") from None
    if rows.is_empty() and source.min_rows:
        return None
    frame = _of_day(rows, day)
    content = frame.write_ndjson().encode()
    return Delivered(frame, _sha256(content), len(content), f"{uri}@{table.version()}")


def _bounds(origin: SqlQuery, source: SourceSpec, day: date, url: Any) -> dict[str, object]:
    zone = source.calendar.timezone
    bounds: dict[str, Any] = {"start": midnight(day, zone), "end": midnight(day + timedelta(days=1), zone), "day": day}
    if url.get_backend_name() == "sqlite":
        bounds = {
            name: value.isoformat() if name == "day" else value.astimezone(ZoneInfo("UTC")).strftime(INSTANT_TEXT)
            for name, value in bounds.items()
        }
    return {name: value for name, value in bounds.items() if f":{name}" in origin.query}


def _frame(names: list[str], rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """The rows of a query; of values Polars has no type for (UUIDs), their text."""
    frame = pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None, strict=False)
    objects = [name for name, kind in frame.schema.items() if kind == pl.Object]
    return frame.with_columns(
        pl.Series(name, [None if value is None else str(value) for value in frame[name]], dtype=pl.String)
        for name in objects
    )


def _located(pattern: str) -> tuple[str, str]:
    """The folder and the name's pattern of a day's file."""
    folder, _, name = pattern.rpartition("/")
    return (folder if "://" in pattern else str(_from_project(folder))), name


def _from_project(path: str) -> Path:
    given = Path(path).expanduser()
    return given if given.is_absolute() else this_project().root / given


def _files(folder: str, name: str, source: SourceSpec) -> list[str]:
    """The names in a folder that a pattern fits; a folder that is not there has none."""
    try:
        if "://" in folder:
            return [each for each in _listed(folder) if fnmatch.fnmatchcase(each, name)]
        if "*" not in name:
            return [name] if (Path(folder) / name).is_file() else []
        if not Path(folder).is_dir():
            return []
        return [each.name for each in Path(folder).iterdir() if fnmatch.fnmatchcase(each.name, name)]
    except OSError as error:
        said = without_secrets(error.strerror or _first_line(error))
        raise SourceError(
            f"source {source.name!r}: {folder} cannot be looked at ({said}). See to it, then rerun."
        ) from None


def _store(folder: str) -> Any:
    from deltalake.fs import DeltaStorageHandler

    return DeltaStorageHandler(folder, dict(settings().storage))


def _listed(folder: str) -> list[str]:
    from pyarrow.fs import FileSelector, FileType, PyFileSystem

    found = PyFileSystem(_store(folder)).get_file_info(FileSelector("", allow_not_found=True))
    return [Path(info.path).name for info in found if info.type == FileType.File]


def _content(folder: str, name: str, source: SourceSpec) -> bytes:
    try:
        if "://" not in folder:
            return (Path(folder) / name).read_bytes()
        from pyarrow.fs import PyFileSystem

        with PyFileSystem(_store(folder)).open_input_file(name) as file:
            return bytes(file.read())
    except OSError as error:
        said = without_secrets(error.strerror or _first_line(error))
        raise SourceError(
            f"source {source.name!r}: {folder}/{name} cannot be read ({said}). See to it, then rerun."
        ) from None


def _rows_of_file(origin: DropFolder, source: SourceSpec, day: date, content: bytes, where: str) -> pl.DataFrame:
    try:
        unpacked = gzip.decompress(content) if origin.packed else content
        rows = READERS[origin.format](origin, source, unpacked)
    except UnicodeDecodeError as error:
        raise ExtractError(
            f"{where} is no {origin.encoding} text (byte {error.start}); deliver it again, or declare its encoding"
        ) from error
    except (PolarsError, PanicException, OSError, EOFError, zlib.error, ValueError) as error:
        raise ExtractError(f"{where} cannot be read ({told_of(error)}); deliver it again") from error
    return _of_day(_days_own(origin, source, day, rows, where) if origin.day_column else rows, day)


def _days_own(origin: DropFolder, source: SourceSpec, day: date, rows: pl.DataFrame, where: str) -> pl.DataFrame:
    """The rows of one day in a file of several; ExtractError unless every row is of one of the file's days."""
    name = origin.day_column
    if name not in rows.columns:
        raise ExtractError(
            f"{where} has no column {name!r} that says of which day a row is, only {', '.join(rows.columns)}; deliver "
            "it again"
        )
    of_rows = _days_in(rows[name], source.calendar.timezone)
    first = day
    while origin.of(first - A_DAY) == origin.of(day):
        first -= A_DAY
    last = origin.last_day_of(day)
    strays = rows[name].filter((of_rows.is_between(first, last)).fill_null(value=False).not_())
    if len(strays):
        raise ExtractError(
            f"{where}: {name} is {strays[0]!r} in {len(strays)} of {rows.height} rows, wanted days from {first} to "
            f"{last}; deliver it again"
        )
    return rows.filter(of_rows == day)


def _days_in(came: pl.Series, zone: str) -> pl.Series:
    """The local day of each value: a day, or an instant; null for what is neither."""
    if came.dtype == pl.String:
        days = read_text(came, pl.Date())
        instants = read_text(came, pl.Datetime("us", "UTC"))
        return pl.select(pl.coalesce(days, local_day(pl.lit(instants), zone))).to_series()
    if isinstance(came.dtype, pl.Datetime) and came.dtype.time_zone is not None:
        return pl.select(local_day(pl.lit(came), zone)).to_series()
    return came.cast(pl.Date, strict=False)


def _csv(origin: DropFolder, source: SourceSpec, content: bytes) -> pl.DataFrame:
    # Everything as text: what a value is, the source declares, and one that is not makes its row a bad one.
    text = content.decode(origin.encoding).removeprefix("\ufeff")
    rows = pl.read_csv(
        io.StringIO(text),
        infer_schema=False,
        separator=origin.separators,
        quote_char=origin.quote or None,
        null_values=list(origin.nulls),
    )
    if not origin.decimal_comma:
        return rows
    numbers = [name for name, kind in source.delivered.items() if name in rows.columns and kind in _FRACTIONS]
    return rows.with_columns(pl.col(numbers).str.replace(",", ".", literal=True))


_FRACTIONS = (pl.Float32, pl.Float64)


def _parquet(origin: DropFolder, source: SourceSpec, content: bytes) -> pl.DataFrame:  # noqa: ARG001
    return parquet_rows(content)


def _jsonl(origin: DropFolder, source: SourceSpec, content: bytes) -> pl.DataFrame:
    text = content.decode(origin.encoding).removeprefix("\ufeff")
    rows = pl.read_ndjson(io.StringIO(text), infer_schema_length=None) if text.strip() else pl.DataFrame()
    # A key that no row of the day has is null in all of them.
    absent = [pl.lit(None).alias(name) for name in source.delivered if name not in rows.columns]
    return rows.with_columns(absent) if rows.height else rows.clear().with_columns(absent).clear()


READERS = {"csv": _csv, "parquet": _parquet, "jsonl": _jsonl}


def parquet_rows(content: bytes | Path) -> pl.DataFrame:
    """The rows of a Parquet file; raises an error of Arrow's when it is damaged."""
    # Over damaged files Polars' own reader panics, and aborts the process where a length asks for more memory than
    # there is; Arrow's raises.
    from pyarrow.parquet import ParquetFile

    with ParquetFile(io.BytesIO(content) if isinstance(content, bytes) else content) as file:
        table = file.read()
    # Arrow does not look at text while reading it, and Polars takes it for valid.
    table.validate(full=True)
    rows = pl.from_arrow(table)
    if not isinstance(rows, pl.DataFrame):
        raise ExtractError("it is no table; deliver it again")
    return rows


def _of_day(rows: pl.DataFrame, day: date) -> pl.DataFrame:
    return rows.with_columns(pl.lit(day, dtype=pl.Date).alias(DAY))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
