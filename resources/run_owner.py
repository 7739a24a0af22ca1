"""Which process computes a run in itself, so that a run whose process was killed does not stay "started" for ever.

What belongs here: a lock that dies with its process, closing the runs of the dead. What does not: starting runs, when
to look (`pool_watch.py`).

Every run is computed in one process, whoever started it. A run that a command executes has nobody else to look after
it, and one that the UI launched has nobody once the UI is gone: it would be shown as running, and hold its place in the
pool of each table it was writing, until somebody noticed.
"""

import fcntl
import os
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from resources.home import Home
from resources.run_tags import MAX_RETRIES, OWNER

UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class RunOwner:
    """This process as the owner of runs; its lock is held as long as the process lives and this is referenced.

    The locked file holds the ids of the runs it has adopted. A tag would be copied to a later attempt at the same run.
    """

    name: str
    _lock: TextIO = field(repr=False)

    @classmethod
    def of(cls, home: Home) -> "RunOwner":
        """This process's owner over a home: the one it has, or a new one, locked before others can see it."""
        held = _owners.get((os.getpid(), home.path))
        if held is not None:
            return held
        name = uuid.uuid4().hex
        folder = _folder(home)
        folder.mkdir(exist_ok=True)
        unseen = folder / f".{name}"
        lock = unseen.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        unseen.rename(folder / name)
        owner = cls(name, lock)
        weakref.finalize(owner, lock.close)
        _owners[os.getpid(), home.path] = owner
        return owner

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a run that is executed in this process: it is owned before it has begun, and never retried."""
        return {OWNER: self.name, MAX_RETRIES: "0"}

    def adopt(self, run_id: str) -> None:
        """Makes a run this process's own, whoever created it."""
        self._lock.write(f"{run_id}\n")
        self._lock.flush()


_owners: weakref.WeakValueDictionary[tuple[int, Path], RunOwner] = weakref.WeakValueDictionary()


def close_abandoned_runs(instance: DagsterInstance, home: Home) -> list[str]:
    """The runs that were left unfinished by a process that is gone: they are failed now, their pools free.

    Any number of processes may do so at once; each dead owner is dealt with by one of them.
    """
    closed = []
    for path in sorted(_folder(home).glob("[!.]*")):
        with _dead(path) as left:
            if left is None:
                continue
            for run in _runs_of(instance, path.name, left.read().split()):
                if run.status in UNFINISHED:
                    instance.report_run_failed(run, "The process that computed this run is gone; rerun its days.")
                    closed.append(run.run_id)
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            path.unlink()
    return closed


def is_alive(home: Home, run: DagsterRun) -> bool | None:
    """Whether the process that computes a run lives; None when it has not said that the run is its own."""
    for path in sorted(_folder(home).glob("[!.]*")):
        try:
            adopted = path.read_text().split()
        except FileNotFoundError:
            continue
        if run.run_id in adopted or _is_tagged(run, path.name):
            with _dead(path) as left:
                return left is None and path.exists()
    return None


def _runs_of(instance: DagsterInstance, owner: str, adopted: list[str]) -> list[DagsterRun]:
    tagged = [run for run in instance.get_runs(RunsFilter(tags={OWNER: owner})) if _is_tagged(run, owner)]
    known = {run.run_id for run in tagged}
    others = [run_id for run_id in adopted if run_id not in known]
    return [*tagged, *(instance.get_runs(RunsFilter(run_ids=others)) if others else [])]


def _is_tagged(run: DagsterRun, owner: str) -> bool:
    # Another attempt at a run carries its tags, but is computed by whoever adopts it.
    return run.tags.get(OWNER) == owner and run.parent_run_id is None


def _folder(home: Home) -> Path:
    return home.dagster / "owners"


@contextmanager
def _dead(path: Path) -> Iterator[TextIO | None]:
    """The file of an owner that is gone, locked; None when it lives, or another process has dealt with it."""
    try:
        lock = path.open("r+")
    except FileNotFoundError:
        yield None
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # Between opening and locking another process may have locked it, dealt with it and removed it.
        yield lock if os.fstat(lock.fileno()).st_nlink else None
