"""Days of all feature groups in one range run, against one run a day, each a process as Dagster's launcher starts it.

Run it with `python benchmarks/range_run.py [--days 90] [--repeats 3]`. Everything happens in a temporary home. Of the
runs of a day a few are measured and scaled to all of them.

What belongs here: what a range costs more or less than its days. What does not: what an event record costs
(`event_records.py`), what a repair costs (`repair.py`).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

# The checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ml_assets.catalog import load_catalog
from ml_assets.launch import Launcher
from partitions import DayRange
from resources.home import open_home
from resources.settings import checkout, child_environment, prepare_process

WORKLOAD = "flights"


def main() -> int:
    """Prints both times and their ratio; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    prepare_process()
    catalog = load_catalog()
    sources = [spec for spec in catalog.sources.values() if spec.calendar.name == WORKLOAD]
    groups = [f"features/{spec.name}" for spec in catalog.features.values() if spec.calendar.name == WORKLOAD]
    first = sources[0].calendar.first_day
    days = DayRange(first, first + timedelta(days=chosen.days))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        launcher = Launcher.of(open_home(home), catalog)
        launcher.run([f"events/{source.name}" for source in sources], days)
        launcher.run(groups, days)
        ranges, alone = [], []
        for turn in range(chosen.repeats):
            began = time.perf_counter()
            launcher.run(groups, days)
            ranges.append(time.perf_counter() - began)
            day = first + timedelta(days=chosen.days // 2 + turn)
            command = [sys.executable, "-m", "ml_assets", "run", ",".join(groups), str(day)]
            began = time.perf_counter()
            subprocess.run(command, cwd=checkout(), env=child_environment(home), stdout=subprocess.DEVNULL, check=True)
            alone.append(time.perf_counter() - began)
    whole, single = statistics.median(ranges), statistics.median(alone) * chosen.days
    print(f"{chosen.days} days of {len(groups)} groups, medians of {chosen.repeats}:")
    print(
        f"  one range run            {whole:8.1f} s   {1000 * whole / chosen.days / len(groups):.1f} ms a day and group"
    )
    print(f"  a run a day, scaled      {single:8.1f} s   {single / whole:.0f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
