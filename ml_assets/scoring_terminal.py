"""Rows to score from a file, and their scores in the terminal.

What belongs here: reading CSV, Parquet and JSON lines, laying out `Scores` for rich. What does not: scoring
(`scoring.py`).
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ml_assets.domain.errors import ScoringError
from ml_assets.scoring import Scores

SHOWN_ROWS = 40
READERS = {".csv": "CSV", ".parquet": "Parquet", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}


def rows_of_file(file: Path) -> pl.DataFrame:
    """The rows of a file; those of a CSV are all text, which is read by the types of the spine's table.

    Raises ScoringError for a file that is not there, of another kind or damaged.
    """
    kind = READERS.get(file.suffix.lower())
    if kind is None:
        raise ScoringError(f"{file} ends with {file.suffix!r}; wanted one of {', '.join(READERS)}.")
    try:
        if kind == "CSV":
            return pl.read_csv(file, infer_schema=False)
        return (
            pl.read_parquet(file, glob=False) if kind == "Parquet" else pl.read_ndjson(file, infer_schema_length=None)
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ScoringError(f"{file} cannot be read as {kind}: {str(error).splitlines()[0]}.") from error


def write_rows(rows: pl.DataFrame, file: Path) -> None:
    """Writes scored rows in the form that the file's name says; ScoringError where it cannot be written."""
    kind = READERS.get(file.suffix.lower())
    if kind is None:
        raise ScoringError(f"{file} ends with {file.suffix!r}; wanted one of {', '.join(READERS)}.")
    try:
        if kind == "CSV":
            rows.write_csv(file)
        elif kind == "Parquet":
            rows.write_parquet(file)
        else:
            rows.write_ndjson(file)
    except OSError as error:
        raise ScoringError(f"{file} cannot be written: {error.strerror or error}.") from error


def instant(text: str) -> datetime:
    """The instant that a text names; ScoringError when it is none or says no offset."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise ScoringError(f"{text!r} is no instant; wanted one with its offset, as in 2013-06-12T09:00:00-04:00.")
    return read


class TerminalScores:
    """Scores for rich: the first rows as a table, how many there are, and what a reader must know of them."""

    def __init__(self, model: str, found: Scores) -> None:
        self.model, self.found = model, found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = self.found.rows
        shown = Table(title=f"{self.model}: scores")
        for name, justify in (
            ("row_key", "left"),
            ("needed by (UTC)", "left"),
            ("probability", "right"),
            ("score", "right"),
        ):
            shown.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in rows.head(SHOWN_ROWS).iter_rows(named=True):
            at = f"{row['prediction_time']:%Y-%m-%d %H:%M}"
            shown.add_row(row["row_key"], at, f"{row['probability']:.4f}", f"{row['score']:.4f}")
        yield shown
        for line in self._lines():
            yield Text(line)

    def _lines(self) -> Iterator[str]:
        rows = self.found.rows
        more = f", the first {SHOWN_ROWS} shown (--out FILE for all)" if rows.height > SHOWN_ROWS else ""
        yield f"{rows.height:,} rows scored{more}."
        for model, calibrator in (
            rows.select("model_version", "calibrator_version").unique(maintain_order=True).iter_rows()
        ):
            yield f"champion {model}, calibrator {calibrator}"
        yield from (f"- {remark}" for remark in self.found.remarks)
