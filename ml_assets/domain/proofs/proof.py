"""A promise, on what it was shown, and what stands against it.

What belongs here: the value, the text of a finding. What does not: any particular promise.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from ml_assets.domain.errors import MlAssetsError
from ml_assets.domain.verdict import Verdict

CENSORING = "nothing from the future"
PLANTED = "a planted leak stays out"
RANGE = "a range equals its days"
SERVING = "training equals serving"
DECLARED = "data is as declared"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that stands against a promise: where, what came, what was wanted, what to do about it."""

    where: str
    came: str
    wanted: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.came}; wanted {self.wanted}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of one promise for one part of a catalogue, on which days and how many rows.

    `lacking` says why nothing was shown, though nothing stands against the promise. `notes` stand against nothing.
    """

    name: str
    subject: str
    days: tuple[date, ...] = ()
    rows: int = 0
    findings: tuple[Finding, ...] = ()
    lacking: str = ""
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The proof as a verdict: passed when it was shown and nothing stands against it."""
        reasons = tuple(map(str, self.findings)) or ((f"{self.subject}: {self.lacking}",) if self.lacking else ())
        return Verdict(
            passed=not reasons,
            reasons=reasons,
            measured={"rows": self.rows, "days": len(self.days)},
            notes=self.notes,
        )


def shown(
    name: str, subject: str, days: Iterable[date], rows: int, *, findings: Sequence[Finding], without_rows: str
) -> Proof:
    """The proof with its first finding, or why nothing was shown when there was no row to look at."""
    lacking = "" if rows or findings else without_rows
    return Proof(name, subject, tuple(sorted(days)), rows, tuple(findings[:1]), lacking)


def fault(where: str, error: MlAssetsError) -> Finding:
    """The finding of a declaration that cannot be computed at all."""
    return Finding(where, str(error).rstrip("."), "rows on every day that has events", "Mend what it names.")


def found(where: str, look: Callable[[], Iterable[Finding]]) -> tuple[Finding, ...]:
    """The findings of a look, or the one that it could not be had."""
    try:
        return tuple(look())
    except MlAssetsError as error:
        return (fault(where, error),)


def first_found(where: str, looks: Iterable[Callable[[], Iterable[Finding]]]) -> tuple[Finding, ...]:
    """The findings of the first of the looks that has any; those after it are not taken."""
    return next((findings for findings in (found(where, look) for look in looks) if findings), ())
