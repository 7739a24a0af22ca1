"""The feature rows of a model's days: what predictions and drift reports both read and join.

What belongs here: those reads and that join over a run's inputs. What does not: the join itself
(`ml_assets/domain/point_in_time.py`), a stage of its own.
"""

from collections.abc import Mapping
from datetime import date

import polars as pl

from ml_assets.assets.stage import Ready
from ml_assets.domain.declared import Read
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import feature_rows, read_window
from ml_assets.domain.snapshots import rows_to_join
from ml_assets.domain.specs import Catalog, FeatureGroupSpec, ModelSpec


def feature_reads(model: ModelSpec, catalog: Catalog) -> dict[str, Read]:
    """The feature groups of a model over the days that the join looks at for a day's rows."""
    return {
        name: Read(f"features/{name}", read_window(group, model), needed=True)
        for name, group in catalog.groups_of(model).items()
    }


def joined_rows(
    model: ModelSpec, groups: Mapping[str, FeatureGroupSpec], ready: Ready, first_asked: date
) -> dict[str, pl.LazyFrame]:
    """The rows of every group that a join for events from `first_asked` on looks at."""
    return {
        name: rows_to_join(group, ready.inputs[name], first_asked, read_window(group, model))
        for name, group in groups.items()
    }


def features_of_days(model: ModelSpec, catalog: Catalog, ready: Ready) -> pl.DataFrame:
    """The feature rows of the days to compute: the same join, on the same declaration, as in training.

    Predictions and drift reports of one run ask for the same rows; the join is made once.
    """
    groups = catalog.groups_of(model)

    def join() -> pl.DataFrame:
        frames = {name: rows.collect() for name, rows in joined_rows(model, groups, ready, ready.days[0]).items()}
        rows = feature_rows(model, groups, frames, (ready.run.start, ready.run.end))
        return rows.filter(pl.col(DAY).is_in(list(ready.days)))

    versions = tuple((name, ready.inputs[name].version) for name in groups)
    return ready.once(("features", model.name, versions, ready.days), join)
