"""The days a write names, and the days its rows are of: refusals and texts.

What belongs here: what `[start, end)` ranges some days make, in words and as a predicate; rows of days nobody named.
What does not: how the rows are written (`delta_store.py`), what is judged of them (`ml_assets/domain`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import polars as pl

from ml_assets.domain.errors import EmptyDayError, RowsOutsideDaysError, StorageError
from resources.day_files import DAY

_ONE_DAY = timedelta(days=1)


def named_days(uri: str, days: Sequence[date]) -> list[date]:
    """The days in order, each once. Raises StorageError for none, and for what is no day."""
    if not days:
        raise StorageError(f"{uri}: no day is named, so there is nothing to replace")
    if odd := [day for day in days if type(day) is not date]:
        raise StorageError(f"{uri}: {odd[0]!r} is no datetime.date")
    return sorted(set(days))


def _runs(days: Sequence[date]) -> list[tuple[date, date]]:
    """Half-open ranges that hold exactly the given days, which are sorted and distinct."""
    named = set(days)
    starts = [day for day in days if day - _ONE_DAY not in named]
    ends = [day + _ONE_DAY for day in days if day + _ONE_DAY not in named]
    return list(zip(starts, ends, strict=True))


def predicate_of(days: Sequence[date]) -> str:
    """The SQL that holds for rows of exactly these days, which are sorted and distinct."""
    ranges = (f"({DAY} >= '{start}' AND {DAY} < '{end}')" for start, end in _runs(days))
    return " OR ".join(ranges)


def days_text(days: Sequence[date]) -> str:
    """The days, which are sorted and distinct, for a sentence: ranges, at most five."""
    texts = [str(start) if end == start + _ONE_DAY else f"[{start}, {end})" for start, end in _runs(days)]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def day_counts(rows: pl.DataFrame) -> dict[date | None, int]:
    """How many rows each day has; None stands for rows without a day."""
    return dict(rows.group_by(DAY).len().iter_rows())


def check_days(uri: str, held: Mapping[date | None, int], wanted: Sequence[date], *, may_be_empty: bool) -> None:
    """Raises RowsOutsideDaysError for rows of days that are not wanted, EmptyDayError for a wanted day without rows.

    `held` counts the rows of each day, None standing for rows without one.
    """
    outside = {day: held[day] for day in held.keys() - set(wanted)}
    if outside:
        texts = [f"no day ({outside.pop(None)} rows)"] if None in outside else []
        texts += [f"{day} ({count} rows)" for day, count in sorted(outside.items())[:5]]
        texts += [f"{len(outside) - 5} more days"] if len(outside) > 5 else []
        raise RowsOutsideDaysError(
            f"{uri}: the write covers {days_text(wanted)}, the frame also holds {', '.join(texts)}; nothing "
            "was written. Cut the output to the days, or name them"
        )
    empty = [day for day in wanted if not held.get(day)]
    if empty and not may_be_empty:
        raise EmptyDayError(
            f"{uri}: no rows for {days_text(empty)}; nothing was written. Leave those days out, or say that "
            "they may be empty"
        )
