"""The one value every judgement is made of.

What belongs here: `Verdict` and how verdicts combine.
What does not: who is told about it (`ml_assets/checks`), what is done about it (`resources`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Measured = Mapping[str, int | float | str | bool | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something passed, why not, what was measured and against which limits."""

    passed: bool
    reasons: tuple[str, ...] = ()
    measured: Measured = field(default_factory=lambda: MappingProxyType({}))
    limits: Measured = field(default_factory=lambda: MappingProxyType({}))


def passed(measured: Measured | None = None, limits: Measured | None = None) -> Verdict:
    """A verdict that passed, with what was measured."""
    return Verdict(passed=True, measured=measured or {}, limits=limits or {})


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict that passes when all pass; reasons, measurements and limits are joined in order."""
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
    )
