"""How long the code location takes to load, and what it must not import.

Run it with `python benchmarks/code_location.py`. Each figure is the median of fresh processes.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

REPEATS = 7
HEAVY = ("torch", "mlflow", "sklearn", "skops", "matplotlib", "scipy")
LOAD = f"import ml_assets.definitions, sys; print(*(m for m in {HEAVY!r} if m in sys.modules))"
DAGSTER_ALONE = "import dagster, polars, deltalake, pandera.polars, dagster_deltalake"


def main() -> int:
    """Prints the figures; exit status 1 when a heavy library was imported."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ML_ASSETS_HOME": f"{folder}/home"}
        _seconds(LOAD, environment)
        ours, alone, heavy = [], [], set()
        for _ in range(REPEATS):
            alone.append(_seconds(DAGSTER_ALONE, environment)[0])
            seconds, imported = _seconds(LOAD, environment)
            ours.append(seconds)
            heavy.update(imported.split())
    load, floor = statistics.median(ours), statistics.median(alone)
    print(f"medians of {REPEATS} fresh processes, interpreter start included")
    print(f"  ml_assets.definitions                {load:6.2f} s   (aim 2)")
    print(f"  its libraries alone                  {floor:6.2f} s   {load / floor:.2f} x")
    print(f"  of {', '.join(HEAVY)} imported: {', '.join(sorted(heavy)) or 'none'}")
    return 1 if heavy else 0


def _seconds(code: str, environment: dict[str, str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, check=True
    )
    return time.perf_counter() - began, done.stdout.decode()


if __name__ == "__main__":
    sys.exit(main())
