"""`predictions/<model>`: one scored row per event of the day, by the day's champion and calibrator.

What belongs here: the stage. What does not: the join, the pipeline, the calibrator (`ml_assets/domain`).
"""

import polars as pl

from ml_assets.assets.feature_join import feature_reads, features_of_days
from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.feature_version import feature_version
from ml_assets.domain.local_days import DAY
from ml_assets.domain.serving import PREDICTIONS, probabilities, scored
from ml_assets.domain.specs import Catalog, ModelSpec
from partitions import same_days

VERSIONS = ("model_version", "calibrator_version")


def _body(model: ModelSpec, catalog: Catalog) -> Body:
    version = feature_version(model, catalog)
    limits = DayLimits(
        min_rows=catalog.features[model.spine].min_rows,
        key=("row_key",),
        required=("row_key", "prediction_time", "score", "probability", *VERSIONS),
    )

    def body(ready: Ready) -> DayBatch:
        serving = ready.inputs["calibrators"].rows.select(DAY, *VERSIONS, "calibrator").collect()
        served = serving.filter(pl.col(DAY).is_in(list(ready.days)))
        nobody = dict.fromkeys(sorted(set(ready.days) - set(served[DAY])), "no champion serves this day yet")
        days = [day for day in ready.days if day not in nobody]
        if not days:
            return DayBatch(rows=pl.DataFrame(schema=PREDICTIONS), verdicts={}, empty=nobody)
        rows = features_of_days(model, catalog, ready).join(
            served.select(DAY, *VERSIONS), on=DAY, maintain_order="left"
        )
        by_champion = [
            of_champion.with_columns(scored(model, ready.named("models", str(champion), "model_version"), of_champion))
            for (champion,), of_champion in rows.partition_by("model_version", as_dict=True).items()
        ]
        frame = pl.DataFrame(schema=PREDICTIONS)
        if by_champion:
            made = pl.concat(by_champion)
            calibrators = dict(served.select(DAY, "calibrator").iter_rows())
            frame = (
                made.with_columns(probabilities(made, calibrators), pl.lit(version).alias("feature_version"))
                .select(*PREDICTIONS)
                .sort(DAY, "row_key")
            )
        return DayBatch(rows=frame, verdicts=judge_days(frame, days, limits, hollow=ready.hollow), empty=nobody)

    return body


STAGE = Stage(
    name="predictions",
    of="models",
    nature=Nature.FACT,
    holds="score and probability of every event of D",
    describe=lambda model: f"The score and probability of {model.name} for every event of the day.",
    reads=lambda model, catalog: {
        **feature_reads(model, catalog),
        "calibrators": Read(f"calibrators/{model.name}", same_days(), needed=True),
        "models": Read(f"models/{model.name}", same_days(), edge=False, by_version=True),
    },
    code_version=feature_version,
    body=_body,
    kinds=frozenset({"scikitlearn", "polars", "deltalake"}),
    columns=lambda _model, _catalog: {
        "row_key": "what is predicted",
        "prediction_time": "when the score was needed (UTC)",
        "score": "the model's raw score",
        "probability": "the calibrated probability",
        "model_version": "which model scored the row",
        "calibrator_version": "which calibrator turned the score into the probability",
        "feature_version": "fingerprint of everything that shapes the features",
    },
    empty=PREDICTIONS,
)
