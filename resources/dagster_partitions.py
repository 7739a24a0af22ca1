"""A calendar that has ended ends for Dagster's newest-first lists too, so that numbers are plotted by day.

What belongs here: the one correction of Dagster's partitions. What does not: which days exist (`partitions`).

Metadata → Plots → Partitions asks for the newest 120 partitions. Dagster 1.13.27 counts them backwards from now,
whatever the calendar's end, so the days of a year that is over are not among them and nothing is drawn. The web server
is Dagster's process; of ours it loads the storages that `dagster.yaml` names, and `dagster_storage.py` calls this.
"""

from dagster._core.definitions.partitions.context import PartitionLoadingContext
from dagster._core.definitions.partitions.definition import TimeWindowPartitionsDefinition
from dagster._core.definitions.partitions.definition.time_window import TimeWindowCursor
from dagster._core.types.pagination import PaginatedResults

STOCK = TimeWindowPartitionsDefinition.get_paginated_partition_keys


def _newest_of_the_calendar(
    self: TimeWindowPartitionsDefinition,
    context: PartitionLoadingContext,
    limit: int,
    ascending: bool,
    cursor: str | None = None,
) -> PaginatedResults[str]:
    """The page that Dagster gives, with the newest partitions counted from the calendar's end once it is past."""
    end, now = self.end_timestamp, context.effective_dt.timestamp()
    if not ascending and cursor is None and end is not None and end < now and self.end_offset == 0:
        at_the_end = TimeWindowCursor(
            start_timestamp=int(self.start_timestamp), end_timestamp=int(end), offset_partition_count=0
        )
        cursor = str(at_the_end)
    return STOCK(self, context, limit, ascending, cursor)


def end_calendars_where_they_end() -> None:
    """Corrects Dagster in this process; a second time changes nothing."""
    TimeWindowPartitionsDefinition.get_paginated_partition_keys = _newest_of_the_calendar
