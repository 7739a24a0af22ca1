"""Dagster's daily partitions of a workload's calendar.

What belongs here: the only two PartitionsDefinitions of a workload.
What does not: look-backs and label lags of assets (`windows.py`).
"""

from datetime import date

from dagster import DailyPartitionsDefinition


def event_days(timezone: str, first_day: date, end_day: date) -> DailyPartitionsDefinition:
    """The local days on which events happen, half-open `[first_day, end_day)`."""
    return DailyPartitionsDefinition(start_date=first_day.isoformat(), end_date=end_day.isoformat(), timezone=timezone)


def outcome_days(timezone: str, first_day: date, outcome_end_day: date) -> DailyPartitionsDefinition:
    """The local days on which labels may become known: the event days and the label lag after them."""
    return event_days(timezone, first_day, outcome_end_day)
