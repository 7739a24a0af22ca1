"""A replay that ends before the calendar does, as every replay of a live one: what it leaves is in step.

What belongs here: replays of the toy. What does not: a replay to the end (`test_replay.py`).
"""

from datetime import timedelta
from pathlib import Path

import toy_catalog as toy
from short_year import opened, quiet

from ml_assets.replay import Replay

SHAPE = toy.Shape(seed=1, days=16, parcels_a_day=25)


def test_after_a_replay_of_the_first_days_everything_is_in_step(tmp_path: Path) -> None:
    """Champions used to be stale from the start: what people decided came on record after them."""
    until = SHAPE.first_day + timedelta(days=13)
    with opened(tmp_path / "home", toy.catalog(SHAPE)) as platform:
        toy.write_extracts(platform.launcher.home.extracts, SHAPE)
        Replay(platform.launcher, quiet, {SHAPE.calendar.name: until}).run()
        assert platform.rows("predictions/delay").height
        assert not platform.plan().steps
