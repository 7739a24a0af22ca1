"""`predictions/<model>`: one scored row per event of the day, by the day's champion.

What belongs here: the factory. What does not: the join, the pipeline, the calibrator (`ml_assets/domain`).
"""

from collections.abc import Mapping

import polars as pl
from dagster import AssetsDefinition

from ml_assets.assets.champions import probabilities
from ml_assets.assets.keys import key
from ml_assets.assets.partitioned import Frame, Parent, Ready, parent, partitioned_asset
from ml_assets.assets.training_sets import feature_version
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import feature_rows
from ml_assets.domain.promotion import Champion
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import same_days, trailing_days

_LAST_JOIN: list[tuple[tuple[object, ...], pl.DataFrame]] = []
VERSIONS = ("model_version", "calibrator_version")


def predictions_asset(model: ModelSpec, catalog: Catalog) -> AssetsDefinition:
    """The predictions of a model; days nobody serves stay unmaterialised, with the reason."""
    version = feature_version(model, catalog)
    limits = DayLimits(
        min_rows=catalog.features[model.spine].min_rows,
        key=("row_key",),
        required=("row_key", "prediction_time", "score", "probability", *VERSIONS),
    )

    def body(ready: Ready) -> DayBatch:
        serving = ready.inputs["champions"].rows.select(DAY, *VERSIONS).collect()
        served = serving.filter(pl.col("model_version").is_not_null(), pl.col(DAY).is_in(list(ready.days)))
        skipped = dict.fromkeys(set(ready.days) - set(served[DAY]), "no champion serves this day yet")
        days = [day for day in ready.days if day not in skipped]
        if not days:
            return DayBatch(rows=pl.DataFrame(), verdicts={}, skipped=skipped)
        rows = features_of_days(model, catalog, ready).join(served, on=DAY, maintain_order="left")
        scored = [
            of_champion.hstack(probabilities(model, ready.lake, Champion(*versions), of_champion))
            for versions, of_champion in rows.partition_by(*VERSIONS, as_dict=True).items()
        ]
        frame = (
            pl.concat(scored)
            .with_columns(pl.lit(version).alias("feature_version"))
            .select(DAY, "row_key", "prediction_time", "score", "probability", *VERSIONS, "feature_version")
            .sort(DAY, "row_key")
        )
        return DayBatch(rows=frame, verdicts=judge_days(frame, days, limits), skipped=skipped)

    return partitioned_asset(
        Frame(
            key=key("predictions", model.name),
            calendar=model.calendar,
            group="predictions",
            kinds=frozenset({"scikitlearn", "polars", "deltalake"}),
            description=f"The score and probability of {model.name} for every event of the day.",
            code_version=version,
            parents={
                **feature_parents(model, catalog),
                "champions": parent(key("champions", model.name), same_days(), model.calendar, same_day=True),
            },
        ),
        body,
    )


def feature_parents(model: ModelSpec, catalog: Catalog) -> Mapping[str, Parent]:
    """The feature groups of a model over the day and as far back as a value may be old."""
    return {
        name: parent(
            key("features", name),
            trailing_days(-(-int(group.max_age.total_seconds()) // 86_400)),
            model.calendar,
            same_day=True,
        )
        for name, group in catalog.groups_of(model).items()
    }


def features_of_days(model: ModelSpec, catalog: Catalog, ready: Ready) -> pl.DataFrame:
    """The feature rows of the run's days: the same join, on the same declaration, as in training.

    Predictions and drift reports of one run ask for the same rows; asked again for the same days of the same
    table versions, the rows of the last join are given.
    """
    groups = catalog.groups_of(model)
    asked = (
        model,
        ready.run,
        ready.lake.store.root,
        tuple((name, ready.inputs[name].version, ready.inputs[name].days) for name in groups),
    )
    if _LAST_JOIN and _LAST_JOIN[0][0] == asked:
        return _LAST_JOIN[0][1]
    frames = {name: ready.inputs[name].rows.collect() for name in groups}
    rows = feature_rows(model, groups, frames, (ready.run.start, ready.run.end))
    _LAST_JOIN[:] = [(asked, rows)]
    return rows
