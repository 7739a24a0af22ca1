"""The one value every judgement is made of.

What belongs here: `Verdict` and how verdicts combine.
What does not: who is told about it (`ml_assets/checks`), what is done about it (`resources`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

BLOCKED, LATE = "blocked", "late"
"""What a day is that was not judged: something it needs is refused or missing, or has not been delivered yet."""

DAY_CHECK = "rows_and_nulls"
"""The name of the check that every asset has, and that shows the verdict on each of its days."""

ALARM_CHECK = "no_alarm"
"""The name of the check that warns of a day which passed and yet looks wrong; reports have it."""

TOLD_AGAIN = "refused by an earlier run"
"""What is measured of a day that another run refused and that this one tells of again."""

Measured = Mapping[str, int | float | str | bool | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something passed, why not, what was measured and against which limits.

    `notes` say what was put right without refusing anything; they are told of a verdict that passed, too.
    """

    passed: bool
    reasons: tuple[str, ...] = ()
    measured: Measured = field(default_factory=lambda: MappingProxyType({}))
    limits: Measured = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()


def passed(measured: Measured | None = None, limits: Measured | None = None) -> Verdict:
    """A verdict that passed, with what was measured."""
    return Verdict(passed=True, measured=measured or {}, limits=limits or {})


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict that passes when all pass; reasons, measurements, limits and notes are joined in order."""
    joined = tuple(verdicts)
    measured: dict[str, int | float | str | bool | None] = {}
    limits: dict[str, int | float | str | bool | None] = {}
    for verdict in joined:
        measured.update(verdict.measured)
        limits.update(verdict.limits)
    return Verdict(
        passed=all(verdict.passed for verdict in joined),
        reasons=tuple(reason for verdict in joined for reason in verdict.reasons),
        measured=measured,
        limits=limits,
        notes=tuple(note for verdict in joined for note in verdict.notes),
    )


def said(state: str, why: str) -> str:
    """The reason of a day that stands refused in a state: red, or not judged for want of something (blocked, late)."""
    return f"{state}: {why}" if state in (BLOCKED, LATE) else why


def why_not(reason: str) -> tuple[str, str]:
    """The state that a reason begins with, "" for none: a day was not judged, for want of something; and why."""
    state, _, why = reason.partition(": ")
    return (state, why) if state in (BLOCKED, LATE) else ("", reason)
