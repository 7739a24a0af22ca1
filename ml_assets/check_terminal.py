"""What came of a check in the terminal: a table of promises, then each finding with what to do.

What belongs here: laying out `Checked` for rich. What does not: proving anything.
"""

from collections.abc import Iterator, Sequence
from datetime import date

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ml_assets.check import Checked
from ml_assets.domain.proofs.proof import Proof

HOLDS, BROKEN, NOT_SHOWN = "holds", "broken", "not shown"
STYLES = {HOLDS: "green", BROKEN: "bold white on red", NOT_SHOWN: "bold black on yellow"}
MOST_DAYS = 12


class TerminalCheck:
    """A check for rich: every promise on a line, then what stands against any of them, then a line that sums it up."""

    def __init__(self, checked: Checked, seconds: float) -> None:
        self.checked, self.seconds = checked, seconds

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        checked = self.checked
        for calendar, days in checked.at.days.items():
            yield Text(f"{calendar}: looked at {_days(days)}")
        for model, day in checked.at.training.items():
            yield Text(f"{model}: training set of {day}")
        yield _table(checked.proofs)
        yield from _findings(checked.broken)
        for proof in checked.unshown:
            yield Text.assemble((f" {NOT_SHOWN} ", STYLES[NOT_SHOWN]), f" {proof.name}: {proof.verdict.reasons[0]}")
        for proof in checked.proofs:
            for note in proof.notes:
                yield Text(f"note: {proof.subject}: {note}", style="dim")
        for source, refused in checked.refused.items():
            day, why = next(iter(refused.items()))
            more = f" (and {len(refused) - 1} more days)" if len(refused) > 1 else ""
            yield Text(f"note: {source} of {day}{more} is refused, so nothing was computed from it: {why}", style="dim")
        yield _sum(checked, self.seconds)


def state_of(proof: Proof) -> str:
    """Whether a promise holds, is broken, or could not be shown."""
    if proof.findings:
        return BROKEN
    return HOLDS if proof.verdict.passed else NOT_SHOWN


def _table(proofs: Sequence[Proof]) -> Table:
    shown = Table(box=None, pad_edge=False)
    for name in ("promise", "of", "days", "rows", ""):
        shown.add_column(name, justify="right" if name in {"days", "rows"} else "left", overflow="fold")
    for proof in sorted(proofs, key=lambda proof: [each.name for each in proofs].index(proof.name)):
        state = state_of(proof)
        shown.add_row(
            proof.name, proof.subject, str(len(proof.days)), f"{proof.rows:,}", Text(state, style=STYLES[state])
        )
    return shown


def _findings(broken: Sequence[Proof]) -> Iterator[Text]:
    for proof in broken:
        yield Text.assemble((f" {BROKEN} ", STYLES[BROKEN]), f" {proof.name}")
        for finding in proof.findings:
            lines = (
                ("where ", finding.where),
                ("came  ", finding.came),
                ("wanted", finding.wanted),
                ("do    ", finding.remedy),
            )
            for name, said in lines:
                # Padding would cut a line off at the width of the page.
                yield Text.assemble("  ", (name, "dim"), f"  {said}")


def _days(days: Sequence[date]) -> str:
    told = ", ".join(map(str, days[:MOST_DAYS]))
    return f"{told} and {len(days) - MOST_DAYS} more days" if len(days) > MOST_DAYS else told or "no day"


def _sum(checked: Checked, seconds: float) -> Text:
    total, broken, unshown = len(checked.proofs), len(checked.broken), len(checked.unshown)
    if not broken and not unshown:
        return Text(f"All {total} promises hold, in {seconds:.0f} s.", style="green")
    told = [f"{number} {what}" for number, what in ((broken, BROKEN), (unshown, NOT_SHOWN)) if number]
    return Text(f"{total - broken - unshown} of {total} promises hold, {', '.join(told)}, in {seconds:.0f} s.")
