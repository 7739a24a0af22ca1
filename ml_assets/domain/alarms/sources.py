"""The reports of a source's days: which rows and columns its declaration gives the rules.

What belongs here: from a source's declaration to the rows that rules count in. What does not: the rules.
"""

from collections.abc import Iterable
from datetime import date

import polars as pl

from ml_assets.domain.alarms.day_rows import DayRows
from ml_assets.domain.alarms.reports import day_reports, rules
from ml_assets.domain.specs import SourceSpec


def source_reports(source: SourceSpec, events: pl.DataFrame, past: pl.DataFrame, days: Iterable[date]) -> pl.DataFrame:
    """The reports of `days`, from accepted events of them and of the days before, and the reports before."""
    later = [column for fact in source.facts for column in fact.columns]
    wanted = list(days)
    rows = DayRows.of(events, source.keys, source.calendar.timezone, later, wanted)
    return day_reports(rows, past, wanted, watching=rules(), budget=source.alarm_budget, cleared=source.cleared)
