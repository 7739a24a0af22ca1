"""What the files of a source's extracts say of their days, without a row being read.

What belongs here: the figures in the files' footers. What does not: reading rows (`extracts.py`), choosing days.
"""

from pathlib import Path

import polars as pl

from ml_assets.domain.errors import DayError
from ml_assets.domain.local_days import DAY
from partitions import day_of_key


def profile_of(folder: Path) -> pl.DataFrame:
    """Rows and the share of nulls by column of each day that a folder of extracts holds, from the files' footers.

    Files that are named after no day, and those whose footer cannot be read, are left out.
    """
    seen = [_figures_of(path) for path in sorted(folder.glob("*.parquet"))]
    rows = [figures for figures in seen if figures is not None]
    return pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema={DAY: pl.Date})


def _figures_of(path: Path) -> dict[str, object] | None:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        day, footer = day_of_key(path.stem), read_metadata(path)
    except (DayError, ArrowException, OSError):
        return None
    nulls: dict[str, int] = {}
    for place in range(footer.num_row_groups):
        group = footer.row_group(place)
        for column in map(group.column, range(group.num_columns)):
            counted = column.statistics.null_count if column.statistics is not None else None
            nulls[column.path_in_schema] = nulls.get(column.path_in_schema, 0) + (counted or 0)
    rows = max(1, footer.num_rows)
    shares = {f"null share of {name}": count / rows for name, count in nulls.items() if name != DAY}
    return {DAY: day, "rows": float(footer.num_rows), **shares}
