"""`training_sets/<model>`: point-in-time joined labelled rows known before the day begins.

What belongs here: the stage. What does not: the join (`ml_assets/domain/point_in_time.py`), the slices
(`ml_assets/domain/training_rows.py`).
"""

from collections.abc import Iterator

import polars as pl
from dagster import AssetKey, AssetMaterialization
from pydantic import Field

from ml_assets.assets.feature_join import joined_rows
from ml_assets.assets.stage import Body, Ready, Stage, Step, Wish
from ml_assets.domain.alarms.reports import suspect_days
from ml_assets.domain.content import content_hashes
from ml_assets.domain.contracts import DayLimits, judge_days
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature, Read
from ml_assets.domain.feature_version import feature_version
from ml_assets.domain.local_days import DAY
from ml_assets.domain.point_in_time import read_window, with_retired_features
from ml_assets.domain.retraining import decision_rows, requested
from ml_assets.domain.specs import Catalog, ModelSpec
from ml_assets.domain.training_rows import (
    ABOUT_ROWS,
    TrainingSet,
    alarms_of,
    first_event_day,
    sources_of,
    training_set,
)
from ml_assets.domain.verdict import Verdict, combine, passed
from partitions import key_of_day, same_days, window_before


class RetrainRequest(Wish):
    """Why a person asks for a model; empty when a decision asks for it."""

    reason: str = Field(
        default="",
        description="Fill this in to train although no trigger fired; it is recorded as the day's decision.",
    )


def record_request(step: Step, config: RetrainRequest) -> Iterator[AssetMaterialization]:
    """Records a person's request as the decision of the run's days, before anything is read."""
    if not config.reason:
        return
    table = f"retrain_decisions/{step.declared.name}"
    rows = decision_rows([requested(day, config.reason) for day in step.run])
    batch = DayBatch(rows=rows, verdicts={day: passed() for day in step.run})
    step.write_aside(table, batch)
    for day, content in content_hashes(rows).items():
        yield AssetMaterialization(
            AssetKey(table.split("/")),
            partition=key_of_day(day),
            metadata={"decision": "train", "trigger": "manual", "reasons": config.reason},
            tags=step.content_tags(content),
        )


def _body(model: ModelSpec, catalog: Catalog) -> Body:
    groups = catalog.groups_of(model)
    limits = DayLimits(
        min_rows=model.min_training_rows, key=("row_key",), required=("row_key", "prediction_time", "label")
    )

    def body(ready: Ready) -> DayBatch:
        decisions = ready.inputs["decisions"].rows
        asked = (
            set(decisions.filter(pl.col("decision") == "train").collect()[DAY])
            if ready.inputs["decisions"].filled
            else set()
        )
        trained = [day for day in ready.days if day in asked]
        empty = {day: "there is no decision to train" for day in ready.days if day not in asked}
        if not trained and ready.stored:
            return DayBatch(rows=pl.DataFrame(), verdicts={}, empty=empty)
        limit = None if trained else 0
        first_asked = first_event_day(model, min(trained or ready.days))
        read = joined_rows(model, groups, ready, first_asked)
        frames = {name: _up_to(rows, limit) for name, rows in read.items()}
        labels = _up_to(ready.inputs["labels"].rows, limit)
        if not trained:
            # The first days of a table: no rows yet, and the columns that training sets will have.
            known = all(frame.columns != [DAY] for frame in (*frames.values(), labels))
            rows = training_set(model, groups, frames, labels, ready.run.start).rows if known else pl.DataFrame()
            return DayBatch(rows=rows, verdicts={}, empty=empty)
        reports = {name: ready.inputs[alarms_of(name)] for name in sources_of(model, catalog)}
        suspect = suspect_days({name: read.rows.collect() for name, read in reports.items() if read.filled})
        sets = {day: training_set(model, groups, frames, labels, day, suspect=suspect) for day in trained}
        rows = with_retired_features(pl.concat([each.rows for each in sets.values()]), ready.stored)
        counted = judge_days(rows, trained, limits)
        return DayBatch(
            rows=rows,
            verdicts={day: combine((counted[day], _sliced(each))) for day, each in sets.items()},
            empty=empty,
            add_columns=frozenset(model.feature_columns) - set(ready.stored) if ready.stored else frozenset(),
            notes={
                day: {f"slice {name}": str(part) for name, part in each.slices.named().items()}
                for day, each in sets.items()
            },
        )

    return body


def _sliced(made: TrainingSet) -> Verdict:
    return Verdict(passed=not made.faults, reasons=made.faults, notes=made.findings)


def _up_to(rows: pl.LazyFrame, limit: int | None) -> pl.DataFrame:
    return (rows if limit is None else rows.limit(limit)).collect()


def _reads(model: ModelSpec, catalog: Catalog) -> dict[str, Read]:
    window = model.training_window_days
    return {
        # The one open place of the asset graph: a decision is carried over to training by the sensor or the replay.
        "decisions": Read(f"retrain_decisions/{model.name}", same_days(), edge=False, follows=True),
        **{
            name: Read(f"features/{name}", window_before(window).then(read_window(group, model)))
            for name, group in catalog.groups_of(model).items()
        },
        "labels": Read(f"outcomes/{model.outcome}", window_before(window)),
        **{
            alarms_of(name): Read(f"source_reports/{name}", window_before(window))
            for name in sources_of(model, catalog)
        },
    }


STAGE = Stage(
    name="training_sets",
    of="models",
    nature=Nature.DECISION,
    holds="point-in-time joined labelled rows known before D; no rows on a day without a decision to train",
    describe=lambda model: f"Labelled rows for {model.name}, as they were known at the day's beginning.",
    reads=_reads,
    code_version=feature_version,
    body=_body,
    wish=RetrainRequest,
    before=record_request,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda model, catalog: {
        "row_key": "what is predicted",
        "prediction_time": "when the score was needed (UTC)",
        "label": "what came true",
        **dict(
            zip(
                ABOUT_ROWS,
                ("the event's day", "train, held_out or gate", "the bounds of all slices, as JSON"),
                strict=True,
            )
        ),
        **{
            column: catalog.features[feature.split(".", 1)[0]].described.get(feature.split(".", 1)[1], feature)
            for feature, column in zip(model.features, model.feature_columns, strict=True)
        },
    },
)
