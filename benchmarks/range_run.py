"""A year in one range run through Dagster against a bare script and against one run a partition.

Run it with `python benchmarks/range_run.py [--days 365] [--repeats 3]`. Everything happens in a temporary home.

The chain is events -> features -> predictions -> drift reports, with a champion that is given. Three figures:
- data work: what the platform spends on reading, computing, validating, hashing and writing, against a bare Polars +
  deltalake script with the same functions, contracts and tables, which keeps every frame in memory;
- the whole run, records and all;
- one run a partition, each a process of its own as Dagster's default launcher starts it, measured on a few partitions
  and scaled to all of them.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import polars as pl
from deltalake import DeltaTable, write_deltalake

from ml_assets.assets.drift_reports import LIMITS as DRIFT_LIMITS
from ml_assets.assets.models import best_candidate
from ml_assets.catalog import load_catalog
from ml_assets.domain.calibration import Calibrator, apply_calibrator
from ml_assets.domain.contracts import DayLimits, contract_failures, judge_days
from ml_assets.domain.drift import DriftReference, day_drift
from ml_assets.domain.local_days import DAY, local_day
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.promotion import Champion, fold_champions
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training import score
from ml_assets.launch import Launcher
from partitions import DayRange
from resources import delta_io_manager
from resources.delta_io_manager import DeltaDaysIOManager
from resources.extracts import Extracts
from resources.home import open_home
from resources.lake import Lake
from resources.settings import checkout, child_environment, prepare_process

MODEL = "disruption"
TRAINED = date(2013, 2, 1)
PARTITIONS_MEASURED = 3


@dataclass
class Clock:
    """Seconds spent inside the wrapped functions, counted once when they are nested."""

    seconds: float = 0.0
    depth: int = field(default=0, repr=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts the time of the block."""
        self.depth += 1
        began = time.perf_counter()
        try:
            yield
        finally:
            self.depth -= 1
            if self.depth == 0:
                self.seconds += time.perf_counter() - began

    def wrapped(self, function: Callable[..., object]) -> Callable[..., object]:
        """The function, timed."""

        def timed(*arguments: object, **named: object) -> object:
            with self.running():
                return function(*arguments, **named)

        return timed


def main() -> int:
    """Prints the table; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    catalog = load_catalog()
    model = catalog.models[MODEL]
    first = model.calendar.first_day
    days = DayRange(first, min(first + timedelta(days=chosen.days), model.calendar.end_day))
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        launcher = _prepared(Path(folder) / "home", catalog, clock)
        champion = _champion(launcher.lake, model)
        _given_champion(launcher.lake, model, champion)
        ours, whole, bare = [], [], []
        # Once untimed: from then on both replace a year that is there, which is what a rerun does.
        target = Path(folder) / "bare"
        _bare(catalog, model, days, launcher, champion, str(target))
        launcher.run(_chain(catalog), days)
        for _ in range(chosen.repeats):
            began = time.perf_counter()
            _bare(catalog, model, days, launcher, champion, str(target))
            bare.append(time.perf_counter() - began)
            clock.seconds = 0.0
            began = time.perf_counter()
            launcher.run(_chain(catalog), days)
            whole.append(time.perf_counter() - began)
            ours.append(clock.seconds)
        singles = []
        for offset in range(PARTITIONS_MEASURED):
            day = TRAINED + timedelta(days=20 + offset)
            began = time.perf_counter()
            _one_run(launcher, catalog, day)
            singles.append(time.perf_counter() - began)
    _report(len(days), len(_chain(catalog)), ours, whole, bare, singles)
    return 0


def _one_run(launcher: Launcher, catalog: Catalog, day: date) -> None:
    command = [sys.executable, "-m", "ml_assets", "run", ",".join(_chain(catalog)), str(day)]
    environment = child_environment(launcher.home.path)
    subprocess.run(command, env=environment, cwd=checkout(), check=True, stdout=subprocess.DEVNULL)


def _chain(catalog: Catalog) -> list[str]:
    return [
        *(f"events/{name}" for name in catalog.sources),
        *(f"features/{name}" for name in catalog.features),
        f"predictions/{MODEL}",
        f"drift_reports/{MODEL}",
    ]


def _prepared(path: Path, catalog: Catalog, clock: Clock) -> Launcher:
    home = open_home(path)
    prepare_process(home.path)
    _time_bodies(clock)
    launcher = Launcher.of(home, catalog)
    model = catalog.models[MODEL]
    until_trained = DayRange(model.calendar.first_day, TRAINED + timedelta(days=1))
    launcher.run([f"events/{name}" for name in catalog.sources], until_trained)
    launcher.run([f"features/{name}" for name in catalog.features], until_trained)
    launcher.run([f"outcomes/{model.outcome}"], until_trained)
    launcher.run([f"champions/{MODEL}"], DayRange(model.calendar.first_day, TRAINED))
    launcher.run([f"retrain_decisions/{MODEL}"], DayRange(TRAINED, TRAINED + timedelta(days=1)))
    launcher.retrain(MODEL, TRAINED)
    return launcher


def _time_bodies(clock: Clock) -> None:
    from ml_assets.assets import (
        calibrators,
        champions,
        drift_reports,
        events,
        features,
        models,
        outcomes,
        performance_reports,
        predictions,
        retrain_decisions,
        training_sets,
    )

    modules = (calibrators, champions, drift_reports, events, features, models, outcomes)
    for module in (*modules, performance_reports, predictions, retrain_decisions, training_sets):
        original = module.partitioned_asset

        def timed(
            frame: object, body: Callable[..., object], *, _original: object = original, **more: object
        ) -> object:
            return _original(frame, clock.wrapped(body), **more)

        module.partitioned_asset = timed
    Lake.write = clock.wrapped(Lake.write)
    DeltaDaysIOManager.load_input = clock.wrapped(DeltaDaysIOManager.load_input)
    delta_io_manager.content_hashes = clock.wrapped(delta_io_manager.content_hashes)


def _champion(lake: Lake, model: ModelSpec) -> Champion:
    served = lake.read(f"champions/{model.name}", TRAINED, TRAINED + timedelta(days=1)).rows.collect()
    return Champion(served["model_version"][0], served["calibrator_version"][0])


def _given_champion(lake: Lake, model: ModelSpec, champion: Champion) -> None:
    year = DayRange(model.calendar.first_day, model.calendar.end_day)
    lake.store.replace_days(f"champions/{model.name}", fold_champions(champion, year, {}, set()), list(year))


def _bare(
    catalog: Catalog, model: ModelSpec, days: DayRange, launcher: Launcher, champion: Champion, target: str
) -> None:
    """The same work as a script: no Dagster, no verdict tables, no hashes, every frame kept in memory."""
    extracts = Extracts(launcher.home.extracts)
    events = {}
    for source in catalog.sources.values():
        paths = [path for day in days if (path := extracts.path(source.name, day)).exists()]
        rows = source.parse(pl.scan_parquet(paths, glob=False)).sort(DAY, *source.keys).collect()
        failed = contract_failures(rows, source.contract)["index"].to_list()
        good = rows.with_row_index().filter(~pl.col("index").is_in(failed)).drop("index")
        judge_days(good, list(days), DayLimits(source.min_rows, source.keys, (), source.max_null_share))
        _overwrite(f"{target}/events/{source.name}", good)
        events[source.name] = good.lazy()
    frames = {}
    for group in catalog.features.values():
        rows = (
            group.compute(events)
            .with_columns(local_day(pl.col("event_time"), group.calendar.timezone).alias(DAY))
            .filter((pl.col(DAY) >= days.start) & (pl.col(DAY) < days.end))
            .select(DAY, *group.entity, "event_time", "known_at", *group.values)
            .sort(DAY, *group.entity, "known_at")
            .collect()
        )
        required = (*group.entity, "event_time", "known_at")
        judge_days(rows, list(days), DayLimits(group.min_rows, (*group.entity, "known_at"), required, {}))
        _overwrite(f"{target}/features/{group.name}", rows)
        frames[group.name] = rows
    stored = best_candidate(launcher.lake, model, str(champion.model_version))
    calibrators = launcher.lake.read(f"calibrators/{model.name}", TRAINED, TRAINED + timedelta(days=1))
    calibrator = Calibrator.from_json(calibrators.rows.collect()["calibrator"][0])
    inputs = feature_rows(model, catalog.groups_of(model), frames, (days.start, days.end))
    scores = score(model, stored["artefact"], inputs)
    predictions = inputs.select(DAY, "row_key", "prediction_time").with_columns(
        pl.Series("score", scores), pl.Series("probability", apply_calibrator(calibrator, scores))
    )
    required = ("row_key", "prediction_time", "score", "probability")
    judge_days(predictions, list(days), DayLimits(300, ("row_key",), required, {}))
    _overwrite(f"{target}/predictions/{model.name}", predictions)
    report = day_drift(
        DriftReference.from_json(str(stored["reference"])),
        inputs.with_columns(predictions["score"]),
        day=DAY,
        alpha=model.drift.alpha,
        practical_psi=model.drift.practical_psi,
    ).rename({"name": "column"})
    judge_days(report, list(days), DayLimits(1, ("column",), ("column", "psi"), DRIFT_LIMITS.max_null_share))
    _overwrite(f"{target}/drift_reports/{model.name}", report)


def _overwrite(uri: str, rows: pl.DataFrame) -> None:
    first, last = rows[DAY].min(), rows[DAY].max()
    if DeltaTable.is_deltatable(uri):
        predicate = f"{DAY} >= '{first}' AND {DAY} <= '{last}'"
        write_deltalake(uri, rows, mode="overwrite", predicate=predicate)
    else:
        write_deltalake(uri, rows, mode="overwrite", partition_by=[DAY])


def _report(
    days: int, assets: int, ours: list[float], whole: list[float], bare: list[float], singles: list[float]
) -> None:
    data, total, script, single = map(statistics.median, (ours, whole, bare, singles))
    records = 2 * days * assets
    scaled = single * days
    rows = (
        ("bare Polars + deltalake script", f"{script:8.2f} s", ""),
        ("platform, data work", f"{data:8.2f} s", f"{data / script:.2f} x the script (aim 1.3)"),
        ("platform, whole range run", f"{total:8.2f} s", f"{total / script:.2f} x the script"),
        (f"Dagster's own, per record of {records}", f"{1000 * (total - data) / records:8.2f} ms", "(aim 2)"),
        ("one run a partition, scaled", f"{scaled:8.0f} s", f"{scaled / total:.0f} x the range run (aim 50)"),
    )
    print(f"{days} days, {assets} assets, medians of {len(whole)} runs; one run a partition on {len(singles)} days")
    for name, figure, remark in rows:
        print(f"  {name:40} {figure}   {remark}")


if __name__ == "__main__":
    sys.exit(main())
