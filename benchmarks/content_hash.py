"""Content hashes of one big day against Polars' own row hash, which depends on Polars' release.

Run it with `python benchmarks/content_hash.py [--rows 5000000] [--columns 32] [--repeats 5]`. The two take turns in one
process, so that a slow minute of the machine hits them alike. Aim: at most 2 x the time of two seeds of Polars' hash.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date

import polars as pl
from big_day import frame_of

from ml_assets.domain.content import content_hashes


def main() -> int:
    """Prints the medians and their ratio; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    frame = frame_of([date(2013, 1, 1)], chosen.rows, chosen.columns, seed=0)
    keys = pl.int_range(chosen.rows, eager=True).cast(pl.String).str.zfill(20).alias("row_key")
    print(f"{chosen.rows:,} rows x {chosen.columns} columns, medians of {chosen.repeats}")
    for name, rows in (("numbers and short texts", frame), ("and a key of 20 letters", frame.with_columns(keys))):
        ours, theirs = [], []
        for _ in range(chosen.repeats):
            theirs.append(_seconds(lambda rows=rows: [rows.hash_rows(seed) for seed in (1, 2)]))
            ours.append(_seconds(lambda rows=rows: content_hashes(rows)))
        mine, polars = statistics.median(ours), statistics.median(theirs)
        print(f"  {name:26} {mine:6.2f} s, polars {polars:6.2f} s, {mine / polars:.2f} x (aim 2)")
    return 0


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
