"""A run that waits for a table looks for dead owners meanwhile, and says whom it waits for.

What belongs here: owning a run while it is computed, the thread that looks who holds its pools. What does not: what an
owner is (`run_owner.py`), how many writers a table has (`home.py`).

Dagster hands a pool's place over when the step that holds it ends. The step of a killed process never does, and a run
that waits for it would wait until some other command happened to start.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dagster import DagsterInstance, DagsterRun, InitResourceContext
from sqlalchemy.exc import SQLAlchemyError

from resources.home import Home
from resources.run_owner import RunOwner, close_abandoned_runs, is_alive

LOOK_EVERY_S = 3.0
SAY_AGAIN_S = 60.0
OF_HOLDER = {
    True: "its process is alive, so this run goes on when that one ends.",
    False: "its process is gone; its place is about to be freed.",
    None: "no process says that it computes that run. If none does, terminate it in the UI (Runs), then free its place "
    "(Deployment, Concurrency).",
}


@contextmanager
def owned(context: InitResourceContext, home: Home) -> Iterator[None]:
    """Inside, the context's run is this process's own, and whoever it waits for is looked after."""
    run, instance = context.run, context.instance
    # An instance that ends with its process leaves nothing behind that could wait.
    if run is None or instance is None or instance.is_ephemeral:
        yield
        return
    owner = RunOwner.of(home)
    owner.adopt(run.run_id)
    watch = PoolWatch(instance, home, run, context.log.warning if context.log else lambda _: None)
    ended = threading.Event()
    thread = threading.Thread(target=watch.until, args=(ended,), name="pool watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass
class PoolWatch:
    """Looks now and then whether a run waits for a pool, and for whom."""

    instance: DagsterInstance
    home: Home
    run: DagsterRun
    record: Callable[[str], object]
    _told: dict[tuple[str, str, bool | None], float] = field(default_factory=dict)

    def until(self, ended: threading.Event) -> None:
        """Looks until the event is set."""
        while not ended.wait(LOOK_EVERY_S):
            try:
                self.look()
            except SQLAlchemyError as error:
                self._say(f"cannot see who holds the pools of run {self.run.run_id} ({error}); looking again")

    def look(self) -> None:
        """Closes what dead owners left, and says who else holds a pool that the run waits for."""
        if not self._held():
            return
        close_abandoned_runs(self.instance, self.home)
        for pool, holder in self._held():
            self._tell(pool, holder)

    def _held(self) -> list[tuple[str, str]]:
        """Pools in which a step of the run waits, with each other run that has a place there."""
        storage = self.instance.event_log_storage
        pools = storage.get_concurrency_infos(sorted(storage.get_concurrency_keys()))
        return sorted(
            {
                (pool, slot.run_id)
                for pool, info in pools.items()
                if any(
                    step.run_id == self.run.run_id and step.assigned_timestamp is None for step in info.pending_steps
                )
                for slot in info.claimed_slots
                if slot.run_id != self.run.run_id
            }
        )

    def _tell(self, pool: str, holder: str) -> None:
        record = self.instance.get_run_record_by_id(holder)
        alive = is_alive(self.home, record.dagster_run) if record else None
        now = time.monotonic()
        if now - self._told.get((pool, holder, alive), -SAY_AGAIN_S) < SAY_AGAIN_S:
            return
        self._told[pool, holder, alive] = now
        begun = record.start_time if record else None
        since = f"{datetime.fromtimestamp(begun, UTC):%Y-%m-%d %H:%M:%S} UTC" if begun else "an unknown time"
        self._say(
            f"run {self.run.run_id} waits for the pool {pool}, held by run {holder} since {since}; {OF_HOLDER[alive]}"
        )

    def _say(self, said: str) -> None:
        print(f"ml-assets: {said}", file=sys.stderr, flush=True)  # noqa: T201  whoever waits reads it there
        self.record(said)
