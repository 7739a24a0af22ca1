"""A made-up shop that is live: its project, its clock, what its home comes to.

What belongs here: nothing that asserts; a spawned process imports it as well. What does not: fixtures (`conftest.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from short_year import Platform, opened, quiet

from ml_assets.begin import FIRST_TRAINING, make_project
from ml_assets.catalog import load_catalog
from ml_assets.domain.specs import Catalog
from ml_assets.replay import Replay

TODAY = date(2025, 6, 2)
TRAINED = TODAY - timedelta(days=90 - FIRST_TRAINING)
A_DAY = timedelta(days=1)
END = TRAINED + 5 * A_DAY
PACKAGE = "shop_under_operation"

OnRecord = dict[str, dict[date, tuple[str, str, bool, str]]]


def made_shop(folder: Path) -> Path:
    """A project replayed to the day of its first training."""
    project = make_project(folder / "shop", PACKAGE, TODAY)
    with at_work(project) as platform:
        Replay(platform.launcher, quiet, {PACKAGE: TRAINED}).run()
    return project


@contextmanager
def at_work(project: Path, catalog: Catalog | None = None) -> Iterator[Platform]:
    """The platform over a project's home, as commands typed in it find it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ML_ASSETS_PROJECT", str(project))
        environment.syspath_prepend(str(project))
        with opened(project / ".ml_assets", catalog or load_catalog(PACKAGE)) as platform:
            yield platform


def with_sources(project: Path, **changed: dict[str, Any]) -> Catalog:
    """The shop's catalogue, sources changed by name."""
    with pytest.MonkeyPatch.context() as environment:
        environment.syspath_prepend(str(project))
        catalog = load_catalog(PACKAGE)
    sources = {name: replace(spec, **changed.get(name, {})) for name, spec in catalog.sources.items()}
    return replace(catalog, sources=sources)


def dropped(project: Path, source: str, day: date) -> Path:
    """The file that is dropped for a day of a source."""
    return project / "data" / f"{source}_{day:%Y%m%d}.csv"


def at(day: date, hour: int = 1) -> datetime:
    """A clock an hour after a day began."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
