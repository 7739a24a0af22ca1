"""Carries decisions to train over to training: the one place where the asset graph is open.

What belongs here: finding decisions nobody acted on, the jobs that people launch. What does not: deciding
(`retrain_decisions` did).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

import polars as pl
from dagster import (
    AssetKey,
    AssetSelection,
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    define_asset_job,
    sensor,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from partitions import DayRange, day_of_key, key_of_day
from resources.handles import LakeHandle
from resources.lake import Lake
from resources.run_tags import CAUSE, DAYS, LAUNCHED_BY, spoken

TRAINING_STAGES = ("training_sets", "models", "champions", "calibrators")
SENSOR = "retrain_on_decision"
NEVER = date(1, 1, 1)


def retrain_job(model: str, owners: Sequence[str] = ()) -> UnresolvedAssetJobDefinition:
    """The job that trains a model for one day: training set, candidates, champion, calibrator.

    A person launches it with a reason in the training set's configuration; the sensor launches it for a
    decision.
    """
    return define_asset_job(
        name=f"retrain_{model}",
        selection=AssetSelection.assets(*(AssetKey([stage, model]) for stage in TRAINING_STAGES)),
        description=f"Trains {model} for one day. Give a reason to ask for it although no trigger fired.",
        owners=list(owners) or None,
    )


def intervene_job(model: str, owners: Sequence[str] = ()) -> UnresolvedAssetJobDefinition:
    """The job in which a person decides who serves from a day on; the days after it follow by themselves."""
    return define_asset_job(
        name=f"intervene_{model}",
        selection=AssetSelection.assets(AssetKey(["interventions", model])),
        description=f"Pin a model as {model} from one day on, end a pin, roll back, approve or refuse a promotion: "
        "choose the day and fill in action, by and reason.",
        owners=list(owners) or None,
    )


def retrain_sensor(jobs: Mapping[str, UnresolvedAssetJobDefinition]) -> SensorDefinition:
    """Launches the retrain job for decisions to train that are new and have no training set yet, for every model.

    On its first evaluation everything decided so far is history and starts nothing. The cursor holds, by model, the
    version of its decisions and the newest day seen: a tick reads only days after it, and only of tables that have a
    new version. The run key names model, day and the evidence's version.
    """

    @sensor(
        name=SENSOR,
        jobs=list(jobs.values()),
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake"},
        description="Trains a model when a decision of a new day asks for it.",
    )
    def on_decision(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        handle: LakeHandle = context.resources.lake
        lake = handle.lake()
        cursor = json.loads(context.cursor) if context.cursor else {}
        requests: list[RunRequest] = []
        said: list[str] = []
        for model in jobs:
            version, seen = cursor.get(model, (-1, None))
            if version >= 0 and not lake.store.moved_on(f"retrain_decisions/{model}", version):
                continue
            newest = lake.store.snapshot(f"retrain_decisions/{model}")
            if newest is None:
                cursor[model] = (-1, seen)
                continue
            last = max(newest.days(), default=NEVER)
            if seen is None and not context.cursor:
                said.append(f"the decisions on {model} up to {last} are history; watching from here on")
            else:
                requests += due_trainings(lake, model, day_of_key(seen) if seen else NEVER)
            cursor[model] = (newest.version, key_of_day(max(last, day_of_key(seen) if seen else last)))
        context.update_cursor(json.dumps(cursor))
        if requests:
            yield from requests
        else:
            yield SkipReason("; ".join(said) or "no decision to train that nobody acted on")

    return on_decision


def due_trainings(lake: Lake, model: str, seen: date) -> list[RunRequest]:
    """One request for each decision to train after the day `seen` that has no training set yet."""
    decisions = lake.read(f"retrain_decisions/{model}", seen + timedelta(days=1), date.max)
    if not decisions.filled:
        return []
    asked = (
        decisions.rows.filter(pl.col("decision") == "train")
        .select("partition_date", "evidence_version", "trigger")
        .collect()
    )
    trained = lake.read(f"training_sets/{model}", seen + timedelta(days=1), date.max).filled
    return [
        RunRequest(
            run_key=f"{model}|{day}|{version}",
            job_name=f"retrain_{model}",
            partition_key=key_of_day(day),
            tags={
                DAYS: spoken(DayRange(day, day + timedelta(days=1))),
                CAUSE: f"decision to train {model} ({trigger})",
                LAUNCHED_BY: SENSOR,
            },
        )
        for day, version, trigger in asked.sort("partition_date").iter_rows()
        if day not in trained
    ]
