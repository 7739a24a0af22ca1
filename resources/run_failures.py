"""The errors that steps of a run in this process raised, as they were raised: Dagster hands on only their text.

What belongs here: keeping them for the time of a run. What does not: what is said of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FAILURES: ContextVar[list[BaseException] | None] = ContextVar("failures of a run in this process", default=None)


@contextmanager
def gathered() -> Iterator[list[BaseException]]:
    """Inside, every error that passes through `noted` is gathered."""
    failures: list[BaseException] = []
    token = _FAILURES.set(failures)
    try:
        yield failures
    finally:
        _FAILURES.reset(token)


@contextmanager
def noted() -> Iterator[None]:
    """An error that leaves the block is noted for whoever gathers."""
    try:
        yield
    except BaseException as error:
        failures = _FAILURES.get()
        if failures is not None and not isinstance(error, GeneratorExit):
            failures.append(error)
        raise
