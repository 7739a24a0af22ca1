"""Dagster's daily partitions of a workload's calendar.

What belongs here: the only PartitionsDefinition of a workload.
What does not: the windows that assets read (`windows.py`).
"""

from datetime import date

from dagster import DailyPartitionsDefinition


def workload_days(timezone: str, first_day: date, end_day: date | None) -> DailyPartitionsDefinition:
    """The local days of a workload, half-open `[first_day, end_day)`: its event days and the label lag after them.

    Without an end they are the days that are over.

    One definition for all assets: Dagster launches one day of several assets only if they share it.
    """
    end = end_day.isoformat() if end_day else None
    return DailyPartitionsDefinition(start_date=first_day.isoformat(), end_date=end, timezone=timezone)
