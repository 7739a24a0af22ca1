"""A status as a picture: tables × days, small enough to live in Dagster's event log.

What belongs here: drawing a `StatusReport`, and its Markdown for an asset's metadata.
What does not: judging it (`status`). Pillow is imported inside functions, as in `pictures`; matplotlib would
take half a second for what Pillow draws in hundredths.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.domain.errors import StatusError
from ml_assets.domain.pictures import inline
from ml_assets.domain.status import COMMAND, DayState, Entry, StatusReport

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont


@dataclass(frozen=True, slots=True)
class Paint:
    """The colour of a state's cell and of the mark in it, as #rrggbb."""

    cell: str
    mark: str


# After Okabe and Ito, with lightness falling as trouble grows: also in grey, a red or blocked day is dark.
PAINTS: Mapping[DayState, Paint] = {
    DayState.GOOD: Paint("#bfe5d4", "#4f8f75"),
    DayState.EMPTY: Paint("#e4f3ec", "#6d9c89"),
    DayState.NOT_ASKED: Paint("#f1f1f1", "#9a9a9a"),
    DayState.IN_WORK: Paint("#7cc4ee", "#06334f"),
    DayState.WARNED: Paint("#f7e25a", "#443c00"),
    DayState.STALE: Paint("#ee9a00", "#2e1d00"),
    DayState.LATE: Paint("#9d7fc0", "#1c0f2e"),
    DayState.BLOCKED: Paint("#5d4a86", "#ffffff"),
    DayState.RED: Paint("#c22f00", "#ffffff"),
}
LEGEND = (
    DayState.GOOD,
    DayState.EMPTY,
    DayState.RED,
    DayState.BLOCKED,
    DayState.LATE,
    DayState.STALE,
    DayState.WARNED,
    DayState.IN_WORK,
    DayState.NOT_ASKED,
)
INK, FAINT = "#1f2328", "#6e7781"

# All lengths in pixels of the picture.
_WIDTH, _MARGIN, _GRID_AT, _ROW, _LINE = 920, 12, 272, 18, 18
_STAGE_GAP, _WEEK_GAP, _HEADER, _BETWEEN = 5, 4, 42, 10


def status_picture(report: StatusReport) -> bytes:
    """Tables × days as a PNG of 920 pixels width: a colour and a mark a cell, the headline above, a legend below."""
    from PIL import Image

    heading = _wrapped(report.headline, _font(14, bold=True), _WIDTH - 2 * _MARGIN)
    legend = _legend_places()
    top = _MARGIN + _LINE * (len(heading) + 1) + _HEADER
    foot = top + len(report.tables) * _ROW + (len(report.stages) - 1) * _STAGE_GAP + 14
    picture = Image.new("RGB", (_WIDTH, foot + _LINE * (legend[-1][1] + 1) + 6), "white")
    pen = _Pen.over(picture)
    for number, line in enumerate(heading):
        colour = PAINTS[DayState.RED].cell if report.alarming else INK
        pen.write(_MARGIN, _MARGIN + _LINE * (number + 0.5), line, 14, colour, bold=True)
    about = f"{report.calendar}, {report.days[0]} to {report.days[-1]}, as of {report.as_of}"
    pen.write(_MARGIN, _MARGIN + _LINE * (len(heading) + 0.5), about, 11, FAINT, within=_WIDTH - 2 * _MARGIN)
    columns = _columns(report)
    _draw_days(pen, report, columns, top)
    _draw_rows(pen, report, columns, top)
    for state, below, x in legend:
        y = foot + below * _LINE
        pen.box(x, y, 15, 14, PAINTS[state].cell)
        if state is not DayState.GOOD:
            pen.write(x + 7.5, y + 7, state.mark, 11, PAINTS[state].mark, bold=True, centred=True)
        pen.write(x + 21, y + 7, _told(state), 10, INK)
    drawn = BytesIO()
    picture.quantize(palette=_palette(), dither=Image.Dither.NONE).save(drawn, format="png", optimize=True)
    return drawn.getvalue()


def status_markdown(report: StatusReport, most: int = 40) -> str:
    """The picture and, below it, what needs attention with reason and next step, as Markdown; at most `most` ranges."""
    parts = [inline(status_picture(report), "status"), f"**{_escaped(report.headline)}**"]
    told = 0
    for entries in report.troubles:
        kept = entries[: most - told]
        told += len(kept)
        if kept:
            parts.append(_trouble(kept))
    if left := len(report.attention) - told:
        parts.append(f"… and {left} more; `{COMMAND} status` lists all.")
    return "\n\n".join([*parts, *map(_escaped, report.notes)])


def _trouble(entries: Sequence[Entry]) -> str:
    lines = [
        f"- **{entry.state.label}** {_escaped(f'{entry.table} {entry.days}')}"
        + (f": {_escaped(entry.reason)}" if entry.reason else "")
        for entry in entries
    ]
    step = entries[-1].next_step
    commands = " · ".join(f"`{command}`" for command in step.commands)
    return "\n".join([*lines, f"- → {_escaped(step.sentence)} {commands}".rstrip()])


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, HTML in it included."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&-])", r"\\\1", text)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Boxes and text over a picture."""

    draw: "ImageDraw.ImageDraw"

    @classmethod
    def over(cls, picture: "Image.Image") -> "_Pen":
        from PIL import ImageDraw

        return cls(ImageDraw.Draw(picture))

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.draw.rectangle((round(x), round(y), round(x + width) - 1, round(y + height) - 1), fill=colour)

    def write(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        colour: str,
        *,
        bold: bool = False,
        centred: bool = False,
        within: float = _WIDTH,
    ) -> None:
        """Text whose middle lies at `y`; what is longer than `within` ends with an ellipsis."""
        font = _font(size, bold)
        shown = text
        while font.getlength(shown) > within:
            shown = f"{shown.removesuffix('…')[:-1]}…"
        self.draw.text((x, y), shown, fill=colour, font=font, anchor="mm" if centred else "lm")


@cache
def _font(size: int, bold: bool) -> "ImageFont.FreeTypeFont":
    """DejaVu Sans, as matplotlib brings it along: the same on every machine. matplotlib itself is not imported."""
    from PIL import ImageFont

    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise StatusError("The fonts of the status picture come with matplotlib, and it is not installed: install it.")
    fonts = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    layout = ImageFont.Layout.BASIC
    return ImageFont.truetype(fonts / f"DejaVuSans{'-Bold' if bold else ''}.ttf", size, layout_engine=layout)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where each day begins, and how wide one is."""

    begins: tuple[float, ...]
    width: float


def _columns(report: StatusReport) -> _Columns:
    weeks = report.weeks()
    width = (_WIDTH - _MARGIN - _GRID_AT - _WEEK_GAP * (len(weeks) - 1)) / len(report.days)
    week_of = [number for number, week in enumerate(weeks) for _ in week]
    return _Columns(tuple(_GRID_AT + at * width + week * _WEEK_GAP for at, week in enumerate(week_of)), width)


def _draw_days(pen: _Pen, report: StatusReport, columns: _Columns, top: float) -> None:
    """The first day of each week by date, where there is room, and the day of the month of all."""
    font, at = _font(11, bold=False), 0
    for week in report.weeks():
        begins, at = columns.begins[at], at + len(week)
        room = (columns.begins[at] if at < len(columns.begins) else _WIDTH) - begins
        spelt = (text for text in (f"{week[0]}", f"{week[0]:%m-%d}") if font.getlength(text) <= room)
        pen.write(begins, top - 27, next(spelt, ""), 11, INK)
    if columns.width >= 14:
        for day, begins in zip(report.days, columns.begins, strict=True):
            pen.write(begins + columns.width / 2 - 0.5, top - 10, str(day.day), 10, FAINT, centred=True)


def _draw_rows(pen: _Pen, report: StatusReport, columns: _Columns, top: float) -> None:
    troubled = {entry.table for entry in report.attention}
    names_at = min(
        0.6 * _GRID_AT, _MARGIN + _BETWEEN + max(_font(11, bold=True).getlength(s) for s, _ in report.stages)
    )
    y = top
    for stage, tables in report.stages:
        pen.write(_MARGIN, y + _ROW / 2, stage, 11, INK, bold=True, within=names_at - _MARGIN - 4)
        for table in tables:
            bold, within = table in troubled, _GRID_AT - names_at - 6
            pen.write(names_at, y + _ROW / 2, table.split("/", 1)[-1], 11, INK, bold=bold, within=within)
            for cell, x in zip(report.row(table), columns.begins, strict=True):
                pen.box(x, y, columns.width - 1, _ROW - 1, PAINTS[cell.state].cell)
                if cell.state is not DayState.GOOD:
                    centre, size = x + (columns.width - 1) / 2, int(min(12, columns.width))
                    pen.write(
                        centre, y + _ROW / 2, cell.state.mark, size, PAINTS[cell.state].mark, bold=True, centred=True
                    )
            y += _ROW
        y += _STAGE_GAP


@cache
def _palette() -> "Image.Image":
    """Every colour of the picture, and between text and its ground the blends that smooth letters need."""
    from PIL import Image

    grounds = [(paint.cell, paint.mark) for paint in PAINTS.values()]
    grounds += [("#ffffff", INK), ("#ffffff", FAINT), ("#ffffff", PAINTS[DayState.RED].cell)]
    shades = [
        round(int(ground[at : at + 2], 16) * (1 - share / 8) + int(ink[at : at + 2], 16) * share / 8)
        for ground, ink in grounds
        for share in range(9)
        for at in (1, 3, 5)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette(shades)
    return palette


def _wrapped(text: str, font: "ImageFont.FreeTypeFont", width: float) -> list[str]:
    """The text in lines that are no wider than `width`, where words allow it."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _told(state: DayState) -> str:
    return f"{state.label}: {state.meaning}"


def _legend_places() -> list[tuple[DayState, int, float]]:
    """Each state with its line and where it begins on it."""
    places, line, x = [], 0, float(_MARGIN)
    for state in LEGEND:
        width = 21 + _font(10, bold=False).getlength(_told(state))
        if x + width > _WIDTH - _MARGIN:
            line, x = line + 1, float(_MARGIN)
        places.append((state, line, x))
        x += width + 18
    return places
