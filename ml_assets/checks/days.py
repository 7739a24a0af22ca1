"""One check an asset: rows and nulls of a day are within their limits, and nothing it needs is refused.

What belongs here: the check's declaration, a day's verdict as Dagster's record of it.
What does not: the limits and the judgement (`ml_assets/domain/contracts.py`).

Rows, nulls, keys and contract share one record a day, because records are the largest cost of a range run.
The check is evaluated inside the asset's step, on the rows that would be written: a bad day must be known
before it overwrites a good one, and a rejected day has no stored rows that a later check could read. It never blocks:
what reads the asset looks at the day itself, so that good days pass and the refused day says why on each asset.
"""

from collections.abc import Iterator, Mapping
from datetime import date

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    AssetObservation,
    DagsterEventType,
    DagsterInstance,
    DailyPartitionsDefinition,
)
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from ml_assets.domain.verdict import DAY_CHECK as CHECK_NAME
from ml_assets.domain.verdict import LATE, Verdict, why_not
from partitions import key_of_day


def day_check_spec(key: AssetKey, days: DailyPartitionsDefinition, description: str) -> AssetCheckSpec:
    """The check of an asset, recorded per day."""
    return AssetCheckSpec(CHECK_NAME, asset=key, partitions_def=days, blocking=False, description=description)


def refusal_notes(key: AssetKey, verdicts: Mapping[date, Verdict]) -> Iterator[AssetObservation]:
    """Of each refused day why it is: shown on the day's own page and, of the last one, on the asset's."""
    for day, verdict in sorted(verdicts.items()):
        if verdict.passed:
            continue
        why = "; ".join(verdict.reasons)
        state, reason = why_not(why)
        yield AssetObservation(
            key,
            partition=key_of_day(day),
            description=why,
            metadata={state or "refused": f"{day}: {reason}"},
        )


def day_check_events(
    key: AssetKey, verdicts: Mapping[date, Verdict], instance: DagsterInstance, run_id: str, now: float
) -> Iterator[AssetCheckEvaluation]:
    """One evaluation a day, each naming the day's newest materialisation: otherwise Dagster shows it as missing.

    Refused days come last: an asset's badge shows its newest evaluation, whichever day it is of. A late day is a
    warning: nothing is wrong with it but that it has not come.
    """
    yield from evaluations(AssetCheckKey(key, CHECK_NAME), verdicts, AssetCheckSeverity.ERROR, instance, run_id, now)


def evaluations(  # noqa: PLR0917  what Dagster records
    check: AssetCheckKey,
    verdicts: Mapping[date, Verdict],
    severity: AssetCheckSeverity,
    instance: DagsterInstance,
    run_id: str,
    now: float,
) -> Iterator[AssetCheckEvaluation]:
    """The verdicts of days as evaluations of a check, those that failed last."""
    partitions = {key_of_day(day) for day in verdicts}
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(
        check.asset_key, DagsterEventType.ASSET_MATERIALIZATION, partitions
    )
    for day, verdict in sorted(verdicts.items(), key=lambda each: (_weight(each[1]), each[0])):
        storage_id = newest.get(key_of_day(day))
        yield AssetCheckEvaluation(
            asset_key=check.asset_key,
            check_name=check.name,
            passed=verdict.passed,
            severity=AssetCheckSeverity.WARN if _is_late(verdict) else severity,
            description="; ".join((*verdict.reasons, *verdict.notes)) or None,
            metadata={
                **{name: value for name, value in verdict.measured.items() if value not in (None, "")},
                **({f"limit: {name}": value for name, value in verdict.limits.items()} if verdict.reasons else {}),
            },
            target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                storage_id=storage_id, run_id=run_id, timestamp=now
            )
            if storage_id is not None
            else None,
            partition=key_of_day(day),
            blocking=False,
        )


def _is_late(verdict: Verdict) -> bool:
    return any(why_not(reason)[0] == LATE for reason in verdict.reasons)


def _weight(verdict: Verdict) -> int:
    return 0 if verdict.passed else 1 if _is_late(verdict) else 2
