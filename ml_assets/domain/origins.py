"""Where a source's rows come from, as declared values: an archive, files somebody drops, a query, a Delta table.

What belongs here: what each kind of origin is told, and what of it cannot be. What does not: files, databases, the
environment (`resources/origins.py`); what a good row is (the source's contract).
"""

import codecs
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Literal

import polars as pl

from ml_assets.domain.errors import CatalogError

Format = Literal["csv", "parquet", "jsonl"]
FORMATS: Mapping[str, Format] = MappingProxyType(
    {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
)
PACKED = ".gz"
A_DAY = timedelta(days=1)
TRIED = tuple(date(2001, 1, 1) + at * A_DAY for at in range(800))
"""Days for which a pattern's names are looked at: leap years apart, what a calendar has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """A file, or a member of a zip, that an installed distribution ships.

    `prepare` turns it into rows with a `partition_date`; it is pure. `references` names further CSV files of the same
    distribution that `prepare` joins. `sha256` pins the content: the file's bytes, then those of its references in the
    order of their names.
    """

    distribution: str
    path: str
    sha256: str
    prepare: Callable[[Mapping[str, pl.LazyFrame]], pl.LazyFrame]
    references: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    # Types are the archive's own: text does not stand for numbers.
    text: Literal[False] = False


@dataclass(frozen=True, slots=True)
class DropFolder:
    """Files that somebody drops, one a day: `data/loans_{day:%Y%m%d}.csv`, or the same on an object store.

    `pattern` is a path, taken from the project's folder unless absolute, or a URI (`s3://bucket/…`, with the options of
    the lake's object store); `{day:…}` stands for the local day in strftime's notation, and `*` for anything in the
    file's name. The ending says the format: CSV (`.csv`, `.tsv`, `.txt`), Parquet (`.parquet`) or JSON lines (`.jsonl`,
    `.ndjson`), packed as well (`.gz`). Text takes the types that the source has `delivered`; a value that cannot makes
    its row a bad one. `separator`, `quote`, `encoding`, `decimal_comma` and `nulls` are the dialect of a CSV.

    Files an hour are named by `{hour:%Y%m%d_%H}`, the local hour's beginning: the files of all hours of a day make the
    day. A file of a week or a month (`{day:%G_W%V}`) has a `day_column`, a day or an instant, that says of which day a
    row is.
    """

    pattern: str
    separator: str = ""
    quote: str = '"'
    encoding: str = "utf-8"
    decimal_comma: bool = False
    nulls: tuple[str, ...] = ("",)
    day_column: str = ""

    def __post_init__(self) -> None:
        where = f"DropFolder({self.pattern!r})"
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(self.pattern) if name is not None]
            named = set(names) <= {"day", "hour"} and [self.of(day) for day in TRIED]
        except ValueError as error:
            raise CatalogError(f"{where}: the pattern cannot be read ({error}).") from error
        if not names or not named or len(set(named)) == 1:
            raise CatalogError(
                f"{where}: the pattern must name each day's own file, with {{day:%Y%m%d}} or the like in it."
            )
        self._check_names(where, named)
        if "*" in self.pattern.rsplit("/", 1)[0]:
            raise CatalogError(f"{where}: * may stand in the name of the file, not in its folder.")
        _ = self.format
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise CatalogError(f"{where}: {self.encoding!r} is no encoding; wanted one like 'utf-8'.") from error
        if len(self.separator) > 1 or len(self.quote) > 1:
            raise CatalogError(f"{where}: separator and quote are one character each.")

    def _check_names(self, where: str, named: list[str]) -> None:
        """Raises CatalogError when days share a file and nothing tells their rows apart, or come to one by turns."""
        first: dict[str, int] = {}
        for at, name in enumerate(named):
            if name in first and named[at - 1] != name:
                raise CatalogError(
                    f"{where}: the pattern names one file for {TRIED[first[name]]} and for {TRIED[at]}; wanted the "
                    "year in it too, as in {day:%Y%m%d}."
                )
            first.setdefault(name, at)
        if len(first) < len(named) and (self.hourly or not self.day_column):
            raise CatalogError(
                f"{where}: the pattern must name each day's own file, with {{day:%Y%m%d}} or the like in it; for a "
                "file of several days name the column that says of which day a row is, as day_column."
            )
        hours = [datetime(2001, 1, 1, hour, tzinfo=UTC) for hour in range(24)]
        if self.hourly and len(self.of_hours(TRIED[0], hours)) < len(hours):
            raise CatalogError(f"{where}: the pattern must name each hour's own file, as in {{hour:%Y%m%d_%H}}.")

    @property
    def hourly(self) -> bool:
        """Whether a day is delivered in files an hour."""
        return "{hour" in self.pattern

    def of(self, day: date) -> str:
        """The pattern of one day's file; of an hourly one, of its first hour's."""
        return self.pattern.format(day=day, hour=datetime(day.year, day.month, day.day, tzinfo=UTC))

    def of_hours(self, day: date, hours: Iterable[datetime]) -> list[str]:
        """The patterns of a day's files: one, or of an hourly one that of each of its local hours."""
        if not self.hourly:
            return [self.of(day)]
        # The hour that comes twice when clocks are put back has one name, and so one file.
        return list(dict.fromkeys(self.pattern.format(day=day, hour=hour) for hour in hours))

    def last_day_of(self, day: date) -> date:
        """The last day that the file of a day holds; the day itself unless files hold several days."""
        while self.day_column and self.of(day + A_DAY) == self.of(day):
            day += A_DAY
        return day

    @property
    def format(self) -> Format:
        """The format that the ending says; CatalogError for an ending nobody knows."""
        name = self.pattern.removesuffix(PACKED)
        for ending, format_ in FORMATS.items():
            if name.endswith(ending):
                return format_
        raise CatalogError(
            f"DropFolder({self.pattern!r}): the ending says no format; known are {', '.join(FORMATS)}, and each with "
            f"{PACKED}."
        )

    @property
    def packed(self) -> bool:
        """Whether the files are packed with gzip."""
        return self.pattern.endswith(PACKED)

    @property
    def separators(self) -> str:
        """What stands between two values: the one declared, or what the ending suggests."""
        return self.separator or ("\t" if self.pattern.removesuffix(PACKED).endswith(".tsv") else ",")

    @property
    def text(self) -> bool:
        """Whether text may stand for values of other types: a Parquet file says its types itself."""
        return self.format != "parquet"


@dataclass(frozen=True, slots=True)
class SqlQuery:
    """A day's rows of a database: `SqlQuery("LOANS_URL", "select … where t >= :start and t < :end")`.

    `url_from` names the environment variable that holds the database's SQLAlchemy URL. In the query `:start` and `:end`
    are the UTC instants at which the local day begins and ends, `:day` is the day itself; at least one is used.
    SQLite, which has no instants, is given text such as `2025-03-01 05:00:00`.
    """

    url_from: str
    query: str
    # SQLite keeps instants and others keep much else as text.
    text: Literal[True] = True

    def __post_init__(self) -> None:
        where = f"SqlQuery({self.url_from!r})"
        if not self.url_from.isidentifier():
            raise CatalogError(
                f"{where}: url_from is the name of an environment variable, which holds the URL; a URL itself is a "
                "secret and must not be declared."
                if "://" not in self.url_from
                else "SqlQuery: url_from came as a URL; name the environment variable that holds it instead."
            )
        if not any(f":{name}" in self.query for name in ("start", "end", "day")):
            raise CatalogError(
                f"{where}: the query uses none of :start, :end and :day, so every day would be the same."
            )


@dataclass(frozen=True, slots=True)
class DeltaTable:
    """The rows of a Delta table whose date in `day_column` is the day: a path, or a URI of an object store."""

    uri: str
    day_column: str = "partition_date"
    text: Literal[False] = False


Origin = Archive | DropFolder | SqlQuery | DeltaTable
