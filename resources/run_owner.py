"""Which process computes a run in itself, so that a run whose process was killed does not stay "started" for ever.

What belongs here: a lock that dies with its process, closing the runs of the dead. What does not: starting runs.

Dagster's monitoring looks after runs that a launcher started elsewhere. A run executed in process has nobody: it
would be shown as running, and hold its place in the pool of each table it was writing, until somebody noticed.
"""

import fcntl
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from resources.home import Home

OWNER = "ml_assets/owner"
UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class RunOwner:
    """This process as the owner of runs; its lock is held as long as the process lives and this is referenced."""

    name: str
    _lock: TextIO = field(repr=False)

    @classmethod
    def of(cls, home: Home) -> "RunOwner":
        """An owner of a name of its own, locked before others can see it."""
        name = uuid.uuid4().hex
        folder = _folder(home)
        folder.mkdir(exist_ok=True)
        unseen = folder / f".{name}"
        lock = unseen.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        unseen.rename(folder / name)
        owner = cls(name, lock)
        weakref.finalize(owner, lock.close)
        return owner

    @property
    def tags(self) -> dict[str, str]:
        """The tag of a run that is executed in this process."""
        return {OWNER: self.name}


def close_abandoned_runs(instance: DagsterInstance, home: Home) -> list[str]:
    """The runs that were left unfinished by a process that is gone: they are failed now, their pools free."""
    closed = []
    for path in sorted(_folder(home).glob("[!.]*")):
        with _dead(path) as dead:
            if not dead:
                continue
            for run in instance.get_runs(RunsFilter(tags={OWNER: path.name}, statuses=UNFINISHED)):
                instance.report_run_failed(run, "The process that computed this run is gone; rerun its days.")
                closed.append(run.run_id)
            for run_id in instance.get_run_ids(RunsFilter(tags={OWNER: path.name})):
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            path.unlink()
    return closed


def _folder(home: Home) -> Path:
    return home.dagster / "owners"


@contextmanager
def _dead(path: Path) -> Iterator[bool]:
    with path.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
