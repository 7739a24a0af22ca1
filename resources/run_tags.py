"""The tags of runs: what a person reads in the list of runs, and what the platform keeps there for itself.

What belongs here: names of tags. What does not: who sets them.

Dagster shows every tag but those that begin with `.dagster/`, which can still be filtered by.
"""

from partitions import DayRange

DAYS, CAUSE, LAUNCHED_BY = "days", "cause", "user"
ONLY_STALE = ".dagster/ml_assets_only_stale"
OWNER = ".dagster/ml_assets_owner"
PLAN = ".dagster/ml_assets_plan"
MAX_RETRIES = "dagster/max_retries"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def spoken(days: DayRange) -> str:
    """A range of days as people say it: the first and the last, or the only one."""
    return str(days.start) if len(days) == 1 else f"{days.start} to {days.last}"


def range_tags(days: DayRange, *, cause: str, by: str, only_stale: bool = False) -> dict[str, str]:
    """The tags of a run over a range of days: what it covers, why, who asked."""
    return {
        RANGE_START: days.start.isoformat(),
        RANGE_END: days.last.isoformat(),
        DAYS: spoken(days),
        CAUSE: cause,
        LAUNCHED_BY: by,
        **({ONLY_STALE: "true"} if only_stale else {}),
    }
