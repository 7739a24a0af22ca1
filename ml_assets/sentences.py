"""What to say of an error that comes from outside: one sentence that names the place and what to do.

What belongs here: known families of errors (files, databases, tables, MLflow). What does not: the platform's own
errors, which say it themselves, and anything unknown: that is a bug, and a bug shows its traceback.
"""

import errno
import io
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

from ml_assets.domain.errors import MlAssetsError

DATABASES = (
    "dagster/storage/event_log.db",
    "dagster/storage/runs.db",
    "dagster/storage/schedules.db",
    "mlflow/mlflow.db",
)
NO_ROOM = "Free some space, then run the command again; nothing that was stored before is touched."
REMEDIES = {
    errno.ENOSPC: NO_ROOM,
    errno.EDQUOT: NO_ROOM,
    errno.EFBIG: "This process may not write files of that size: raise the limit (`ulimit -f unlimited`) and run the "
    "command again.",
    errno.EACCES: "Give this user access to it, then run the command again.",
    errno.EPERM: "Give this user access to it, then run the command again.",
    errno.EROFS: "Make it writable, or set ML_ASSETS_HOME to a folder that can be written.",
    errno.ENOTDIR: "Something that is no folder stands where a folder is wanted: move it away.",
    errno.EISDIR: "A folder stands where a file is wanted: move it away.",
    errno.EEXIST: "Something stands in the way: move it away.",
    errno.ENOTEMPTY: "Something stands in the way: move it away.",
    errno.ENOENT: "Restore it, or rebuild what wrote it, then run the command again.",
    errno.EMFILE: "This process may not open so many files: raise the limit (`ulimit -n 4096`).",
    errno.EIO: "The disk failed; see to it before anything else.",
}
REMARK = "Exception while writing logger call to event log"
AGAIN = "Mend that and run the command again."


def sentence_of(error: BaseException, home: Path | None) -> str | None:
    """The sentence of an error of a known family, or of the first such error among its causes; None for any other."""
    for cause in _chain(error):
        said = _of_family(cause, home)
        if said is not None:
            return " ".join(f"{_step(error)}{said}".split())
    return None


class WithoutEchoes(io.TextIOBase):
    """Standard error without Dagster's remark on every record it could not store: the error is raised and told too."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes the text on, unless it is such a remark."""
        return len(text) if text.startswith(REMARK) else self._stream.write(text)

    def flush(self) -> None:
        """Flushes the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._stream.fileno()


def is_interruption(error: BaseException) -> bool:
    """Whether somebody pressed Ctrl-C, as Python or as Dagster says it."""
    return any(
        type(cause).__name__ in ("KeyboardInterrupt", "DagsterExecutionInterruptedError") for cause in _chain(error)
    )


def _of_family(error: BaseException, home: Path | None) -> str | None:
    # Told by the names of their modules: none of them is imported for a command that does not need it.
    family = type(error).__module__.split(".")[0]
    said = None
    if isinstance(error, MlAssetsError):
        said = str(error)
    elif isinstance(error, sqlite3.Error) or (family == "sqlalchemy" and _is_of(error, "DBAPIError")):
        said = _of_database(error, home)
    elif family == "mlflow":
        said = _damaged(home) or f"MLflow: {_first_line(error)}. {AGAIN}"
    elif isinstance(error, OSError):
        said = _of_file(error)
    elif _is_of(error, "PolarsError") or _is_of(error, "PanicException") or _is_of(error, "DeltaError"):
        said = f"reading or writing a table failed: {_first_line(error)}. {_remedy_in(error)}"
    return said


def _of_file(error: OSError) -> str:
    place = error.filename2 or error.filename
    what = os.strerror(error.errno) if error.errno else _first_line(error)
    remedy = REMEDIES.get(error.errno or 0) or _remedy_in(error)
    return f"{os.fsdecode(place)}: {what}. {remedy}" if place else f"{what}. {remedy}"


def _of_database(error: BaseException, home: Path | None) -> str:
    said = _first_line(getattr(error, "orig", None) or error)
    damaged = _damaged(home)
    if damaged:
        return damaged
    if "locked" in said:
        remedy = "Another process has kept it busy: let that end, or stop it, then run the command again."
    elif "full" in said or "disk I/O" in said or "readonly" in said or "unable to open" in said:
        remedy = (
            "See that the disk has room and the folder can be written (also `ulimit -f`), then run the command again."
        )
    else:
        remedy = "See to the databases named, or move the home away and replay."
    return f"{said}, in one of the databases {', '.join(DATABASES[:2])} and {DATABASES[-1]} of {home}. {remedy}"


def _damaged(home: Path | None) -> str | None:
    """What is wrong with the first database of the home that cannot be read."""
    for path in [home / name for name in DATABASES] if home else []:
        if not path.is_file():
            continue
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as held:
                found = held.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError:
            # The disk or a lock is in the way; that is said of the error at hand, and tells nothing of the file.
            continue
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found != "ok":
            return (
                f"{path} is damaged ({' '.join(found.split())}). Restore it from a copy. To do without, move it and "
                f"{path.name}-wal and {path.name}-shm beside it away: the lake keeps every row, but {LOST[path.name]}."
            )
    return None


LOST = {
    "event_log.db": "the UI forgets what was materialised",
    "runs.db": "the UI forgets its runs",
    "schedules.db": "the sensors begin anew",
    "mlflow.db": "MLflow forgets its runs",
}


def _remedy_in(error: BaseException) -> str:
    """The remedy for what a native library says in words only."""
    said = str(error).casefold()
    for number in (errno.ENOSPC, errno.EFBIG, errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        if f"os error {number})" in said or os.strerror(number).casefold() in said:
            return REMEDIES[number]
    return "If it names a damaged file, restore that file, or rebuild the day it holds; then run the command again."


def _is_of(error: BaseException, name: str) -> bool:
    return any(each.__name__ == name for each in type(error).__mro__)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")[:300]


def _step(error: BaseException) -> str:
    steps = (getattr(cause, "step_key", None) for cause in _chain(error))
    step = next((step for step in steps if isinstance(step, str)), None)
    return f"{step.replace('__', '/')}: " if step else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
