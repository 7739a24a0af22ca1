"""Carries a decision to train over to training: the one place where the asset graph is open.

What belongs here: finding decisions nobody acted on, the retrain job. What does not: deciding
(`retrain_decisions` did).
"""

from collections.abc import Iterator, Mapping
from datetime import date

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

from partitions import day_of_key, key_of_day
from resources.handles import LakeHandle

TRAINING_STAGES = ("training_sets", "models", "calibrators", "champions")
NEVER = "0001-01-01"


def retrain_job(model: str) -> UnresolvedAssetJobDefinition:
    """The job that trains a model for one day: training set, candidates, calibrator, champion.

    A person launches it with a reason in the training set's configuration; the sensor launches it for a
    decision.
    """
    return define_asset_job(
        name=f"retrain_{model}",
        selection=AssetSelection.assets(*(AssetKey([stage, model]) for stage in TRAINING_STAGES)),
        description=f"Trains {model} for one day. Give a reason to ask for it although no trigger fired.",
    )


def retrain_sensor(model: str, job: UnresolvedAssetJobDefinition) -> SensorDefinition:
    """Launches the retrain job for decisions to train that are new and have no training set yet.

    On its first evaluation everything decided so far is history and starts nothing. The cursor is the newest
    decision day seen; the run key names model, day and the evidence's version.
    """

    @sensor(
        name=f"retrain_{model}_on_decision",
        job=job,
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake"},
        description=f"Trains {model} when a decision of a new day asks for it.",
    )
    def on_decision(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        handle: LakeHandle = context.resources.lake
        lake = handle.lake()
        decisions = decisions_by_day(handle, model)
        newest = max(decisions, default=None)
        if context.cursor is None:
            context.update_cursor(key_of_day(newest) if newest else NEVER)
            yield SkipReason(f"the {len(decisions)} decisions so far are history; watching from here on")
            return
        seen = day_of_key(context.cursor)
        trained = lake.days(f"training_sets/{model}")
        due = sorted(
            (day, version)
            for day, (decision, version) in decisions.items()
            if decision == "train" and day > seen and day not in trained
        )
        if newest and newest > seen:
            context.update_cursor(key_of_day(newest))
        if not due:
            yield SkipReason(f"no decision to train after {seen}")
        for day, version in due:
            yield RunRequest(run_key=f"{model}|{day}|{version}", partition_key=key_of_day(day))

    return on_decision


def decisions_by_day(handle: LakeHandle, model: str) -> Mapping[date, tuple[str, str]]:
    """Every stored decision of a model: what it was and the version of its evidence."""
    snapshot = handle.lake().store.snapshot(f"retrain_decisions/{model}")
    if snapshot is None or not snapshot.days():
        return {}
    rows = snapshot.scan(date.min, date.max).select("partition_date", "decision", "evidence_version").collect()
    return {day: (decision, version) for day, decision, version in rows.iter_rows()}
