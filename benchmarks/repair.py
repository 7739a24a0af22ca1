"""What a repair of one day costs against rebuilding the year, and what a plan costs.

    .venv/bin/python benchmarks/repair.py [HOME]

HOME is a home that `make demo` has replayed (`.ml_assets` unless given); it is copied. The facts of the year
are rebuilt in the same process as one day is repaired, after everything is imported, so that neither pays for that.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from ml_assets.catalog import load_catalog
from ml_assets.domain.declared import Nature
from ml_assets.launch import Launcher
from ml_assets.repair import repair
from partitions import DayRange
from resources.home import open_home
from resources.overview import plan_of

DAY = date(2013, 6, 12)
REPEATS = 3


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def correct(home: Path, minutes: int) -> None:
    """A corrected extract: one airline landed later than delivered before."""
    extract = home / "extracts" / "flights" / f"{DAY}.parquet"
    later = pl.when(pl.col("carrier") == "UA").then(pl.col("arr_delay") + minutes).otherwise(pl.col("arr_delay"))
    pl.read_parquet(extract).with_columns(later.alias("arr_delay")).write_parquet(extract)


def main(source: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(source, home)
        launcher = Launcher.of(open_home(home), load_catalog())
        one_day = DayRange(DAY, DAY + timedelta(days=1))
        # The first repair imports what all of them need.
        correct(home, 5)
        repair(launcher, ["events/flights"], one_day, lambda _: None)

        plans, repairs = [], []
        for attempt in range(REPEATS):
            correct(home, 7 + attempt)
            launcher.run(["events/flights"], one_day)
            plans.append(seconds(lambda: plan_of(launcher.lake, launcher.graph)))
            launcher.run(["events/flights"], one_day)
            correct(home, 1)
            repairs.append(seconds(lambda: repair(launcher, ["events/flights"], one_day, lambda _: None)))

        calendar = launcher.graph["events/flights"].calendar
        ours = [asset for asset in launcher.graph if asset.calendar == calendar]
        facts = [asset.table for asset in ours if asset.nature is Nature.FACT]
        year = seconds(lambda: launcher.run(facts, DayRange(calendar.first_day, calendar.outcome_end_day)))
        mended = statistics.median(repairs)
        print(f"plan after one day changed, {len(launcher.graph.assets)} assets: {statistics.median(plans):.3f} s")
        print(f"repair of one day and all that rests on it:              {mended:.2f} s")
        print(
            f"all facts of the year anew, models and decisions kept:   {year:.2f} s = {year / mended:.0f} x the repair"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / ".ml_assets")
