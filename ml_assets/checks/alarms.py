"""The check of a report: nothing about the day looks wrong, though it passed.

What belongs here: the check's declaration, an alarm as Dagster's record of it.
What does not: what raises an alarm (`ml_assets/domain/alarms`), refusing a day (`days.py`).

It warns and stops nothing: the day is stored and what reads it goes on, and people are told on the day itself.
"""

from collections.abc import Iterator, Mapping
from datetime import date

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    DagsterInstance,
    DailyPartitionsDefinition,
)

from ml_assets.checks.days import evaluations
from ml_assets.domain.verdict import ALARM_CHECK, Verdict


def alarm_check_spec(key: AssetKey, days: DailyPartitionsDefinition) -> AssetCheckSpec:
    """The check of a report, recorded per day."""
    return AssetCheckSpec(
        ALARM_CHECK,
        asset=key,
        partitions_def=days,
        blocking=False,
        description="Nothing about the day is further from usual than its limit; a warning stops nothing.",
    )


def alarm_events(
    key: AssetKey, verdicts: Mapping[date, Verdict], instance: DagsterInstance, run_id: str, now: float
) -> Iterator[AssetCheckEvaluation]:
    """One evaluation a day, a warning where there is an alarm."""
    yield from evaluations(AssetCheckKey(key, ALARM_CHECK), verdicts, AssetCheckSeverity.WARN, instance, run_id, now)


__all__ = ["ALARM_CHECK", "alarm_check_spec", "alarm_events"]
