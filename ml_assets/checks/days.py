"""One check an asset: rows and nulls of a day are within their limits.

What belongs here: the check's declaration, a day's verdict as Dagster's record of it.
What does not: the limits and the judgement (`ml_assets/domain/contracts.py`).

Rows, nulls, keys and contract share one record a day, because records are the largest cost of a range run.
The check is evaluated inside the asset's step, on the rows that would be written: a bad day must be known
before it overwrites a good one, and a rejected day has no stored rows that a later check could read.
"""

from collections.abc import Iterator, Mapping
from datetime import date

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    DailyPartitionsDefinition,
)

from ml_assets.domain.verdict import Verdict
from partitions import key_of_day

CHECK_NAME = "rows_and_nulls"


def day_check_spec(key: AssetKey, days: DailyPartitionsDefinition, description: str) -> AssetCheckSpec:
    """The check of an asset, recorded per day, blocking what follows in a one-day run."""
    return AssetCheckSpec(CHECK_NAME, asset=key, partitions_def=days, blocking=True, description=description)


def day_check_events(
    key: AssetKey, verdicts: Mapping[date, Verdict], *, one_day: bool
) -> Iterator[AssetCheckEvaluation]:
    """One evaluation a day. In a range run none blocks: good days pass, and children leave out the bad ones."""
    for day, verdict in sorted(verdicts.items()):
        yield AssetCheckEvaluation(
            asset_key=key,
            check_name=CHECK_NAME,
            passed=verdict.passed,
            severity=AssetCheckSeverity.ERROR,
            description="; ".join((*verdict.reasons, *verdict.notes)) or None,
            metadata={
                **{name: value for name, value in verdict.measured.items() if value not in (None, "")},
                **({f"limit: {name}": value for name, value in verdict.limits.items()} if verdict.reasons else {}),
            },
            partition=key_of_day(day),
            blocking=one_day,
        )
