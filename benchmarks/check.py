"""`ml-assets check` on the shipped catalogue: how long it takes, against one plain pass over the year.

Run it with `python benchmarks/check.py [--days 8]`. The extracts are landed once beforehand, as they are in any home. A
plain pass reads and ingests the year's extracts and computes every feature group over them, once, in memory.
"""

import argparse
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

from ml_assets.catalog import load_catalog
from ml_assets.check import check
from ml_assets.domain.feature_days import cut_to_days
from ml_assets.domain.ingestion import ingest
from ml_assets.domain.rehearsal import event_days
from ml_assets.domain.specs import Catalog
from resources.extracts import Extracts
from resources.settings import prepare_process

LIMIT_S = 120.0


def main() -> int:
    """Prints the figures; exit status 1 when the check exceeds its limit or a promise does not hold."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--days", type=int, default=8)
    days = asked.parse_args().days
    prepare_process()
    catalog = load_catalog()
    with tempfile.TemporaryDirectory() as folder:
        plain = plain_pass(catalog, Extracts(Path(folder)))
        began = time.perf_counter()
        found = check(catalog, Path(folder), datetime.now(UTC), lambda *_: None, days=days)
        seconds = time.perf_counter() - began
    rows = sum(proof.rows for proof in found.proofs)
    print(f"a plain pass over the year: {plain:.1f} s")
    print(f"check of {days} days: {seconds:.1f} s (limit {LIMIT_S:.0f} s), {seconds / plain:.1f} times a plain pass")
    print(f"{len(found.proofs)} promises on {rows:,} rows: {len(found.broken)} broken, {len(found.unshown)} not shown")
    return int(seconds > LIMIT_S or bool(found.broken or found.unshown))


def plain_pass(catalog: Catalog, extracts: Extracts) -> float:
    """Seconds for ingesting every event day and computing every group over them, after the extracts were landed."""
    for source in catalog.sources.values():
        extracts.read(source, [source.calendar.first_day])
    began = time.perf_counter()
    events = {}
    for name, source in catalog.sources.items():
        read = extracts.read(source, event_days(source.calendar))
        events[name] = ingest(source, read.rows, read.unreadable).rows
    for group in catalog.features.values():
        days: list[date] = list(event_days(group.calendar))
        cut_to_days(group, group.compute({name: events[name].lazy() for name in group.inputs}), days)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
