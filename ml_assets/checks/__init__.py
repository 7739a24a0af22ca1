"""The only place where a verdict becomes a check result.

What belongs here: one factory per kind of check. What does not: the judgement itself (`ml_assets/domain`).
"""

from ml_assets.checks.alarms import ALARM_CHECK, alarm_check_spec, alarm_events
from ml_assets.checks.days import CHECK_NAME, day_check_events, day_check_spec, refusal_notes

__all__ = [
    "ALARM_CHECK",
    "CHECK_NAME",
    "alarm_check_spec",
    "alarm_events",
    "day_check_events",
    "day_check_spec",
    "refusal_notes",
]
