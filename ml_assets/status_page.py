"""A status as one HTML page that needs nothing else: no script, no font, no request.

What belongs here: laying out a `StatusReport` as HTML (`templates/status.html`).
What does not: judging it, finding its facts.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ml_assets.domain.status import Entry, StatusReport, TableDay
from ml_assets.domain.status_picture import LEGEND, PAINTS


def status_page(report: StatusReport) -> str:
    """The report as one HTML document; every name and reason in it is escaped."""
    anchors = {entry: f"a{number}" for number, entry in enumerate(report.attention)}
    weeks = report.weeks()
    return _template().render(
        report=report,
        legend=LEGEND,
        paints=PAINTS,
        weeks=weeks,
        mondays={week[0] for week in weeks[1:]},
        mood=_mood(report),
        troubled={entry.table for entry in report.attention},
        anchors=anchors,
        links=_links(report, anchors),
        at=lambda cell: TableDay(cell.table, cell.day),
    )


@cache
def _template() -> Template:
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined).get_template("status.html")


def _links(report: StatusReport, anchors: dict[Entry, str]) -> dict[TableDay, str]:
    """The anchor of the entry that speaks of each shown day in trouble."""
    return {
        TableDay(entry.table, day): anchor
        for entry, anchor in anchors.items()
        for day in report.days
        if entry.first <= day <= entry.last
    }


def _mood(report: StatusReport) -> str:
    if report.alarming:
        return "alarm"
    return "fine" if report.all_good else ""
