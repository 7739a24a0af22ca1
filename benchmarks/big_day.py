"""One big day written by the store against Polars' bare snappy sink of the same frame, and small days too.

Run it with `python benchmarks/big_day.py [--rows 10000000] [--columns 30] [--repeats 3]`. Each contender runs in a
process of its own, because a process's peak memory never falls; the files go to a temporary folder on the same disk.

- frame: the sink of a frame in memory, and the store given that frame;
- lazy: the sink of a scan of Parquet files, and the store given that scan, so that nobody holds the rows;
- small days: 365 days of 1,000 rows in one commit and one day of 1,000 rows, by the store and by deltalake's writer.

Aims: at most 2 x the sink in time and 1.5 x in peak memory; small days no slower than deltalake's writer.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from deltalake import WriterProperties, write_deltalake

from resources.delta_store import DAY, DeltaStore

FIRST = date(2013, 1, 1)
PART_ROWS = 500_000
CONTENDERS = ("sink", "store", "lazy sink", "lazy store")
SMALL = ("store, 365 days", "deltalake, 365 days", "store, 1 day", "deltalake, 1 day")


def main() -> int:
    """Prints the table; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.contender:
        print(json.dumps(_contend(chosen.contender, chosen.folder, chosen.columns)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "given").mkdir()
        for at, start in enumerate(range(0, chosen.rows, PART_ROWS)):
            rows = frame_of([FIRST], min(PART_ROWS, chosen.rows - start), chosen.columns, seed=at)
            rows.write_parquet(folder / "given" / f"{at:04}.parquet")
        # The contenders take turns, so that a slow minute of the machine hits them alike.
        measured = {name: [] for name in (*CONTENDERS, *SMALL)}
        for _ in range(chosen.repeats):
            for contender, figures in measured.items():
                figures.append(_in_a_process(contender, folder, chosen.columns))
    _report(chosen.rows, chosen.columns, chosen.repeats, measured)
    return 0


def frame_of(days: Sequence[date], rows: int, columns: int, seed: int) -> pl.DataFrame:
    """`rows` rows a day: two thirds floats, then integers, a tenth text, besides the day."""
    chance, height = np.random.default_rng(seed), rows * len(days)
    day = pl.Series(DAY, days, dtype=pl.Date).gather(pl.int_range(height, eager=True) // rows)
    texts, integers = columns // 10, columns // 5
    values = {f"f{at}": chance.standard_normal(height) for at in range(columns - 1 - texts - integers)}
    numbers = {f"i{at}": chance.integers(0, 1000, height) for at in range(integers)}
    words = {f"t{at}": pl.Series(chance.integers(0, 5000, height)).cast(pl.String) for at in range(texts)}
    return pl.DataFrame({DAY: day, **values, **numbers, **words})


def _contend(contender: str, folder: Path, columns: int) -> tuple[float, float]:
    """Seconds and peak megabytes of one contender."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        act = _act(contender, folder / "given", Path(target), columns)
        began = time.perf_counter()
        act()
        seconds = time.perf_counter() - began
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _act(contender: str, given: Path, target: Path, columns: int) -> Callable[[], object]:
    if contender in CONTENDERS:
        lazy = pl.scan_parquet(given / "*.parquet")
        rows = lazy if contender.startswith("lazy") else lazy.collect()
        if contender.endswith("sink"):
            return lambda: rows.lazy().sink_parquet(target / "day.parquet", compression="snappy")
        return lambda: DeltaStore(str(target)).replace_days("events/big", rows, [FIRST])
    days = [FIRST + timedelta(at) for at in range(365 if "365" in contender else 1)]
    year = [FIRST + timedelta(at) for at in range(365)]
    before, frame = frame_of(year, 1000, columns, seed=1), frame_of(days, 1000, columns, seed=2)
    store = DeltaStore(str(target))
    store.replace_days("events/small", before, year)
    if contender.startswith("store"):
        return lambda: store.replace_days("events/small", frame, days)
    predicate = f"{DAY} >= '{days[0]}' AND {DAY} <= '{days[-1]}'"
    properties = WriterProperties(compression="SNAPPY")
    return lambda: write_deltalake(
        store.uri("events/small"), frame, mode="overwrite", predicate=predicate, writer_properties=properties
    )


def _in_a_process(contender: str, folder: Path, columns: int) -> tuple[float, float]:
    command = [sys.executable, __file__, "--contender", contender, "--folder", str(folder), "--columns", str(columns)]
    child = subprocess.run(command, check=True, capture_output=True, text=True)
    if child.stderr:
        print(child.stderr, file=sys.stderr)
    seconds, megabytes = json.loads(child.stdout)
    return seconds, megabytes


def _report(rows: int, columns: int, repeats: int, measured: dict[str, list[tuple[float, float]]]) -> None:
    seconds = {name: statistics.median(took for took, _ in figures) for name, figures in measured.items()}
    memory = {name: statistics.median(peak for _, peak in figures) for name, figures in measured.items()}
    print(f"one day of {rows:,} rows x {columns} columns, medians of {repeats} runs, each in a process of its own")
    for name, against in (("sink", ""), ("store", "sink"), ("lazy sink", ""), ("lazy store", "lazy sink")):
        figures = f"  {name:22} {seconds[name]:8.2f} s {memory[name]:8,.0f} MB"
        ratio = (
            f"   {seconds[name] / seconds[against]:.2f} x the time (aim 2), "
            f"{memory[name] / memory[against]:.2f} x the memory (aim 1.5)"
            if against
            else ""
        )
        print(figures + ratio)
    print(f"1,000 rows x {columns} columns a day, in a table of a year")
    for name in SMALL:
        other = name.replace("store", "deltalake")
        ratio = f"   {seconds[name] / seconds[other]:.2f} x deltalake's writer (aim 1)" if name != other else ""
        print(f"  {name:22} {1000 * seconds[name]:8.0f} ms{ratio}")


if __name__ == "__main__":
    sys.exit(main())
