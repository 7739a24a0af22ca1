"""Homes to test on: one short year replayed once for all, copies of it to write in.

What belongs here: fixtures more than one file uses, and an environment no test can leak into.
What does not: what a short year is (`short_year.py`).
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from resources.settings import DEVELOPERS_NOTES, prepare_process

if TYPE_CHECKING:
    from short_year import Platform

_homes: list[tempfile.TemporaryDirectory[str]] = []


# How long an example takes depends on who else computes; a limit on it would fail healthy code.
settings.register_profile("platform", deadline=None)
settings.load_profile("platform")


def pytest_configure(config: pytest.Config) -> None:
    """Names a home that is nobody's, should a test forget its own; quiets Dagster's preview notes."""
    # Before scikit-learn is imported: its threads would wait by spinning, several times slower on a busy machine.
    prepare_process()
    _homes.append(tempfile.TemporaryDirectory(prefix="ml-assets-tests-"))
    os.environ["ML_ASSETS_HOME"] = str(Path(_homes[0].name) / "home")
    for note in DEVELOPERS_NOTES:
        config.addinivalue_line("filterwarnings", f"ignore:{note}")


def pytest_unconfigure() -> None:
    """Removes that home."""
    while _homes:
        _homes.pop().cleanup()


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Puts the environment back: opening a launcher names its home there."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def replayed_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A home in which the short year has been replayed, once for all xdist workers: copy it, never open it."""
    from short_year import opened, quiet

    from ml_assets.replay import Replay

    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    home, done = base / "replayed", base / "replayed.done"
    with (base / "replayed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(home, ignore_errors=True)
            with opened(home) as platform:
                Replay(platform.launcher, quiet).run()
            done.touch()
    return home


@pytest.fixture(scope="session")
def replayed(replayed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Platform"]:
    """The platform over a copy of the replayed home that all tests of a worker share: for reading only."""
    from short_year import opened

    path = tmp_path_factory.mktemp("reading") / "home"
    shutil.copytree(replayed_home, path)
    with opened(path) as platform:
        yield platform


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of a live shop, replayed to the day of its first training: copy it, never open it."""
    from live_shop import made_shop

    return made_shop(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="session")
def corrected(replayed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Platform"]:
    """The twin that had the corrected file from the start, its facts all computed anew: for reading only."""
    from short_year import CORRECTED, FACTS, FIRST, LAST_LABEL_END, correct, opened

    path = tmp_path_factory.mktemp("corrected") / "home"
    shutil.copytree(replayed_home, path)
    with opened(path) as platform:
        correct(platform.extract("flights", CORRECTED))
        platform.run(FACTS, FIRST, LAST_LABEL_END - timedelta(days=1))
        yield platform


@pytest.fixture
def copied(replayed_home: Path, tmp_path: Path) -> Iterator[Callable[[], "Platform"]]:
    """Makes copies of the replayed home to write in, each with a launcher of its own."""
    from short_year import opened

    with ExitStack() as stack:

        def copy() -> "Platform":
            path = tmp_path / f"copy{len(list(tmp_path.glob('copy*')))}"
            shutil.copytree(replayed_home, path)
            made: AbstractContextManager[Platform] = opened(path)
            return stack.enter_context(made)

        yield copy


@pytest.fixture
def platform(copied: Callable[[], "Platform"]) -> "Platform":
    """The platform over a copy of the replayed home."""
    return copied()
