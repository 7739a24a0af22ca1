"""Dagster's own code server whose runs begin at once, as a process: `python fast_code.py grpc --module-name ...`.

What belongs here: how the processes of runs are made. What does not: anything that changes what they do.

`dagster api grpc` starts a new interpreter for each run, which imports everything again for five seconds; here each is
forked from one that has imported what is slow, and is as much a process of its own: its own memory, and dies alone.
"""

import multiprocessing
from multiprocessing.context import BaseContext

from dagster._cli.api import api_cli

# Nothing that imports Polars: a process that is forked from its threads waits for them for ever.
IMPORTED = [
    "dagster._grpc.server",
    "dagster._core.storage.sqlite_storage",
    "alembic.command",
    "deltalake",
    "pandas",
    "pandera",
    "pydantic_settings",
    "sklearn.ensemble",
]

stock = multiprocessing.get_context


def forked(method: str | None = None) -> BaseContext:
    """The context asked for, and a server of forks in place of new interpreters."""
    return stock("forkserver" if method == "spawn" else method)


if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(IMPORTED)
    multiprocessing.get_context = forked
    api_cli()
