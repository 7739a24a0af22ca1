"""The point-in-time join against DuckDB's ASOF join, group by group, on the rows of a replayed home.

    .venv/bin/python benchmarks/point_in_time.py [HOME]

HOME is a home that `make demo` has replayed (`.ml_assets` unless given); it is only read. Both start from rows in
memory and give one row for every event of the lake; they take turns, and the figures are medians. Exit status 1 when a
row differs or the join is not twice as fast.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb
import polars as pl

from ml_assets.catalog import load_catalog
from ml_assets.domain.point_in_time import as_of, asked_for
from ml_assets.domain.specs import FeatureGroupSpec

REPEATS = 7
AIM = 2.0
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """How long one call takes, and what it gives."""
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def asof_query(group: FeatureGroupSpec, values: list[str]) -> str:
    """The same join in SQL: the entity's newest row known at the prediction time, null when it is too old."""
    same = " and ".join(f"asking.{key} = known.{key}" for key in group.entity)
    fresh = "true"
    if group.max_age is not None:
        oldest = f"asking.prediction_time - interval {group.max_age.total_seconds():.0f} second"
        fresh = f"known.known_at >= {oldest}"
    columns = ", ".join(f"case when {fresh} then known.{value} end as {value}" for value in values)
    return (
        f"select {columns}, place from asking asof left join known "
        f"on {same} and asking.prediction_time >= known.known_at"
    )


def main(home: Path) -> int:
    if not (home / "lake" / "features").is_dir():
        sys.exit(f"{home} is no replayed home: run `make demo` first, or name another one.")
    catalog = load_catalog()
    failed = False
    for model in catalog.models.values():
        groups = catalog.groups_of(model)
        spine = asked_for(model, pl.read_delta(str(home / "lake" / "features" / model.spine)))
        spine = spine.rechunk().with_row_index("place")
        print(f"{model.name}: {spine.height} asking rows, DuckDB {duckdb.__version__}, Polars {pl.__version__}")
        for name, group in groups.items():
            values = [feature.split(".", 1)[1] for feature in model.features if feature.startswith(f"{name}.")]
            if name == model.spine or group.valid_for is not None or not values:
                continue
            rows = pl.read_delta(str(home / "lake" / "features" / name)).rechunk()
            failed |= not compared(group, spine, rows, values)
    return 1 if failed else 0


def compared(group: FeatureGroupSpec, spine: pl.DataFrame, rows: pl.DataFrame, values: list[str]) -> bool:
    """Prints a group's figures; whether rows are equal and the aim is met."""
    with duckdb.connect() as connection:
        for table, frame in (
            ("asking", spine.select("place", "prediction_time", *group.entity)),
            ("known", rows.select("known_at", *group.entity, *values)),
        ):
            connection.register("given", frame.to_arrow())
            connection.execute(f"create table {table} as select * from given")
        query = asof_query(group, values)
        ours, theirs = [], []
        for _ in range(REPEATS):
            took, joined = timed(lambda: as_of(spine, rows, group, values))
            ours.append(took)
            took, answered = timed(lambda: connection.sql(query).to_arrow_table())
            theirs.append(took)
    expected = pl.DataFrame(pl.from_arrow(answered)).sort("place").select(joined.columns)
    equal = joined.equals(expected, null_equal=True)
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"  {group.name:18} {rows.height:9,} rows  {mine * 1000:7.0f} ms  DuckDB {other * 1000:7.0f} ms  "
        f"{other / mine:4.1f} ×  {'rows equal' if equal else 'ROWS DIFFER'}"
    )
    return equal and other / mine >= AIM


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".ml_assets")))
