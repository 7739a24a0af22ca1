"""Runs assets over ranges of days in this process, on the instance of a home.

What belongs here: opening the instance, one range run, turning a failed run into one clear error.
What does not: which runs make a year (`replay.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dagster import AssetKey, DagsterInstance, Definitions
from dagster._core.errors import DagsterError

from ml_assets.definitions import build_defs, resources_of
from ml_assets.domain.errors import CalendarError, CatalogError, MlAssetsError
from ml_assets.domain.specs import Catalog
from partitions import DayRange, day_of_key, key_of_day
from resources.delta_io_manager import DEFER_EVENTS
from resources.home import IN_PROCESS, Home
from resources.lake import Lake
from resources.run_owner import RunOwner, close_abandoned_runs
from resources.settings import prepare_process

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Launcher:
    """The platform over a home, ready to run."""

    home: Home
    catalog: Catalog
    instance: DagsterInstance
    defs: Definitions = field(repr=False)
    owner: RunOwner = field(repr=False)

    @classmethod
    def of(cls, home: Home, catalog: Catalog) -> "Launcher":
        """A launcher on the home's own Dagster instance."""
        prepare_process(home.path)
        instance = DagsterInstance.from_config(str(home.dagster), IN_PROCESS)
        close_abandoned_runs(instance, home)
        return cls(home, catalog, instance, build_defs(catalog, resources_of(home)), RunOwner.of(home))

    @property
    def lake(self) -> Lake:
        """The lake of the home."""
        handle = resources_of(self.home)["lake"]
        return handle.lake()

    def run(self, assets: Sequence[str], days: DayRange) -> None:
        """Computes the assets over a range in one run; raises the platform's own error when it fails."""
        keys = [self.known_asset(name) for name in assets]
        for asset_key in keys:
            self.check_calendar(asset_key, days)
        tags = {
            **self.owner.tags,
            "dagster/asset_partition_range_start": key_of_day(days.start),
            "dagster/asset_partition_range_end": key_of_day(days.last),
            # Set from the start, no planned record is written: two records a day and asset instead of three.
            DEFER_EVENTS: "true",
        }
        job = self.defs.resolve_implicit_global_asset_job_def()
        _in_process(job, instance=self.instance, asset_selection=keys, tags=tags, run_config=QUIET)

    def retrain(self, model: str, day: date) -> None:
        """Runs the retrain job of a model for one day, as the sensor would."""
        job = self.defs.resolve_job_def(f"retrain_{model}")
        _in_process(job, instance=self.instance, partition_key=key_of_day(day), tags=self.owner.tags, run_config=QUIET)

    def known_asset(self, name: str) -> AssetKey:
        """The key of an asset named `<stage>/<name>`; CatalogError lists the known ones."""
        known = {asset_key.to_user_string(): asset_key for asset_key in self._graph().get_all_asset_keys()}
        if name not in known:
            raise CatalogError(f"unknown asset {name!r}; known are {', '.join(sorted(known))}.")
        return known[name]

    def check_calendar(self, asset_key: AssetKey, days: DayRange) -> None:
        """Raises CalendarError unless every day of the range is a partition of the asset."""
        partitions_def = self._graph().get(asset_key).partitions_def
        keys = partitions_def.get_partition_keys() if partitions_def else []
        for day in (days.start, days.last):
            if key_of_day(day) not in keys:
                raise CalendarError(
                    f"{asset_key.to_user_string()} has no partition {day}; its calendar runs from {keys[0]} to "
                    f"{keys[-1]}. Nothing was run."
                )

    def _graph(self) -> Any:
        return self.defs.resolve_asset_graph()


def parse_days(first: str, last: str | None) -> DayRange:
    """The range from `first` to `last`, both included; CalendarError for what is no day."""
    try:
        start = day_of_key(first)
        end = day_of_key(last) if last else start
    except ValueError as error:
        raise CalendarError(str(error)) from error
    if end < start:
        raise CalendarError(f"the last day {end} lies before the first day {start}.")
    return DayRange(start, date.fromordinal(end.toordinal() + 1))


def _in_process(job: Any, **arguments: Any) -> None:
    try:
        result = job.execute_in_process(raise_on_error=True, **arguments)
    except DagsterError as error:
        raise our_error(error) or error from error
    if not result.success:
        raise MlAssetsError(f"run {result.run_id} failed; see it in the UI (make ui).")


def our_error(error: BaseException) -> MlAssetsError | None:
    """The platform's own error in an exception's chain of causes, if there is one."""
    seen: Iterable[BaseException] = _chain(error)
    return next((cause for cause in seen if isinstance(cause, MlAssetsError)), None)


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
