"""A status in the terminal: one character a day, then what needs attention.

What belongs here: laying out a `StatusReport` for rich. What does not: judging it, finding its facts.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import zip_longest

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.padding import Padding
from rich.text import Text

from ml_assets.domain.status import DayState, StatusReport
from ml_assets.domain.status_picture import LEGEND

# Marks tell the states apart without colour; these only help.
STYLES: Mapping[DayState, str] = {
    DayState.GOOD: "green",
    DayState.EMPTY: "dim green",
    DayState.RED: "bold white on red",
    DayState.BLOCKED: "bold white on magenta",
    DayState.LATE: "bold magenta",
    DayState.STALE: "bold black on yellow",
    DayState.WARNED: "bold yellow",
    DayState.IN_WORK: "bold cyan",
    DayState.NOT_ASKED: "dim",
}
MOST_SHOWN = 30
_LEAST_NAMES = 16


class TerminalStatus:
    """The report for rich, kept to the console's width: where not all days fit, the newest are shown."""

    def __init__(self, report: StatusReport) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report, width = self.report, options.max_width
        stage = max(len(name) for name, _ in report.stages)
        name = max(len(_name(table)) for _, table in report.tables)
        names = min(stage + 1 + name, max(_LEAST_NAMES, width - _breadth(report, len(report.days)) - 1))
        shown = max(
            (count for count in range(1, len(report.days) + 1) if names + 1 + _breadth(report, count) <= width),
            default=1,
        )
        yield _headline(report)
        yield _about(report, shown)
        yield Text()
        yield from _grid(report, names, stage, shown, width - names - 1)
        yield Text()
        yield from _legend(report, width)
        for note in report.notes:
            yield Text(f"note: {note}", style="dim")
        if report.attention:
            yield Text()
            yield Group(*_attention(report))


def _headline(report: StatusReport) -> Text:
    if report.alarming:
        style = "bold red"
    elif report.attention:
        style = "bold yellow"
    else:
        style = "bold green" if report.all_good else "bold"
    return Text(report.headline, style=style, overflow="fold")


def _about(report: StatusReport, shown: int) -> Text:
    first, last, days = report.days[-shown], report.days[-1], len(report.days)
    cut = f" (the last {shown} of {days} days; a wider terminal shows all)" if shown < days else ""
    return Text(f"{report.calendar}, {first} to {last}{cut}, as of {report.as_of}", style="dim", overflow="fold")


def _grid(report: StatusReport, names: int, stage_width: int, shown: int, room: int) -> list[Text]:
    """The header of weeks and weekdays, then a line a table, the stage named at its first."""
    weeks = _weeks(report, shown)
    dates, letters = "", ""
    for week in weeks:
        begins = len(letters) + bool(letters)
        letters += " " * bool(letters) + "".join(f"{day:%a}"[0] for day in week)
        label = f"{week[0]:%m-%d}"
        if (len(week) >= len(label) or week is weeks[-1]) and begins + len(label) <= room:
            dates = dates.ljust(begins) + label
    lines = [_line("", names).append(text, style="dim") for text in (dates, letters)]
    troubled = {entry.table for entry in report.attention}
    for stage, tables in report.stages:
        for table in tables:
            heading = stage if table == tables[0] else ""
            if stage_width + 1 + len(_name(table)) <= names:
                label = f"{heading.ljust(stage_width)} {_name(table)}"
            else:
                label = table
            line = _line(label, names, style="bold" if table in troubled else "")
            lines.append(line.append(_marks(report, table, weeks)))
    return lines


def _line(label: str, names: int, style: str = "") -> Text:
    cut = label if len(label) <= names else f"{label[: names - 1]}…"
    return Text(f"{cut.ljust(names)} ", style=style, no_wrap=True)


def _marks(report: StatusReport, table: str, weeks: list[list[date]]) -> Text:
    cells = {cell.day: cell for cell in report.row(table)}
    marks = Text()
    for number, week in enumerate(weeks):
        marks.append(" " * bool(number))
        for day in week:
            marks.append(cells[day].state.mark, style=STYLES[cells[day].state])
    return marks


def _weeks(report: StatusReport, shown: int) -> list[list[date]]:
    """The last `shown` days, in weeks."""
    kept = set(report.days[-shown:])
    weeks = [[day for day in week if day in kept] for week in report.weeks()]
    return [week for week in weeks if week]


def _breadth(report: StatusReport, shown: int) -> int:
    """The characters that the last `shown` days take, with a gap between weeks."""
    return shown + len(_weeks(report, shown)) - 1


def _name(table: str) -> str:
    return table.split("/", 1)[-1]


def _legend(report: StatusReport, width: int) -> list[Text]:
    """The marks that occur and what they mean, as many a line as fit."""
    lines: list[Text] = []
    for state in LEGEND:
        if not report.counts[state] and state not in {entry.state for entry in report.attention}:
            continue
        told = Text(state.mark, style=STYLES[state]).append(f" {state.label}: ", style="not dim")
        told.append(state.meaning, style="dim")
        if lines and len(lines[-1]) + 3 + len(told) <= width:
            lines[-1].append("   ").append(told)
        else:
            lines.append(Text(overflow="fold").append(told))
    return lines


def _attention(report: StatusReport) -> Iterator[Text | Padding]:
    left = len(report.attention)
    for entries in report.troubles:
        for entry, following in zip_longest(entries, entries[1:]):
            if len(report.attention) - left >= MOST_SHOWN:
                yield Text(f"… and {left} more ranges of days; the HTML page lists all.", style="bold")
                return
            left -= 1
            line = Text(entry.state.mark, style=STYLES[entry.state]).append(f" {entry.state.label:8}", style="bold")
            yield line.append(f"{entry.table}  {entry.days}", style="bold")
            if entry.reason and (following is None or following.reason != entry.reason):
                yield Padding(Text(entry.reason, overflow="fold"), (0, 0, 0, 4), expand=False)
        step = entries[-1].next_step
        yield Padding(Text(f"→ {step.sentence}", overflow="fold"), (0, 0, 0, 4), expand=False)
        yield from (
            Padding(Text(command, style="bold", overflow="fold"), (0, 0, 0, 6), expand=False)
            for command in step.commands
        )
        yield Text()
