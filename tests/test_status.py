"""The status of a calendar: judging days, joining them to ranges, saying what to do, and the three pictures of it."""

import datetime as dt
import html.parser
import itertools
import subprocess
import sys
from io import BytesIO, StringIO

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from ml_assets.domain.errors import StatusError
from ml_assets.domain.status import (
    ATTENTION,
    FACTS,
    DayState,
    StatusReport,
    attention_frame,
    shown_days,
    status_report,
)
from ml_assets.domain.status_picture import PAINTS, status_markdown, status_picture
from ml_assets.status_page import status_page
from ml_assets.status_terminal import TerminalStatus

LAST = dt.date(2031, 3, 2)
DAYS = shown_days(LAST)
TABLES = [
    ("events", "events/sales"),
    ("features", "features/baskets"),
    ("events", "events/prices"),
    ("features", "features/price_changes"),
    ("champions", "champions/demand"),
    ("predictions", "predictions/demand"),
]
NAMES = [table for _, table in TABLES]
WIDE = [(stage, f"{stage}/{stage[:3]}_{number}") for stage in ("events", "features", "models") for number in range(30)]


def day(number: int) -> dt.date:
    """A day of March 2031, or before it for numbers below 1."""
    return dt.date(2031, 2, 28) + dt.timedelta(days=number)


def report(*facts: tuple, good: bool = True, **options) -> StatusReport:
    """A report of the given (table, day, state, reason); days not spoken of are good, unless told otherwise."""
    tables, days = options.pop("tables", TABLES), options.pop("days", DAYS)
    rows = [(table, each, "good", None) for (_, table), each in itertools.product(tables, days)] if good else []
    frame = pl.DataFrame([*facts, *rows], schema=FACTS, orient="row")
    return status_report("shop", tables, days, frame, as_of="2031-03-02 07:10 UTC", **options)


def lines(shown: StatusReport) -> list[tuple]:
    return [(entry.table, str(entry.state), entry.first, entry.last, entry.reason) for entry in shown.attention]


def printed(shown: StatusReport, width: int = 80, *, colour: bool = False) -> str:
    out = StringIO()
    Console(file=out, width=width, force_terminal=colour, color_system="truecolor" if colour else None).print(
        TerminalStatus(shown)
    )
    return out.getvalue()


def troubled() -> StatusReport:
    """A red day and what it blocks, a repair half done, and a decision on what has changed."""
    red = f"events/prices of {day(1)} is rejected: 12 of 40 prices are negative"
    return report(
        ("events/prices", day(1), "red", "12 of 40 prices are negative"),
        ("features/price_changes", day(1), "blocked", red),
        ("predictions/demand", day(1), "blocked", f"features/price_changes of {day(1)} is rejected: {red}"),
        ("features/baskets", day(-9), "stale", f"events/sales of {day(-9)} has changed since"),
        ("features/baskets", day(-8), "stale", f"events/sales of {day(-9)} has changed since"),
        ("predictions/demand", day(-9), "in_work", "run 4f8e computes it"),
        ("champions/demand", day(-4), "warned", "2 of the days it was judged on have changed since"),
    )


# --- judging a day ---------------------------------------------------------------------------------------


def test_of_several_facts_of_a_day_the_gravest_holds() -> None:
    for first, second in itertools.combinations(DayState, 2):
        for states in ((first, second), (second, first)):
            shown = report(*[("events/sales", LAST, state, f"says {state}") for state in states], good=False)
            cell = shown.row("events/sales")[-1]
            assert cell.state is first
            assert cell.reason.startswith(f"says {first}")
    assert list(DayState).index(DayState.RED) < list(DayState).index(DayState.GOOD)


def test_a_day_that_nothing_speaks_of_was_never_asked_for() -> None:
    shown = report(("events/sales", LAST, "good", None), good=False)
    assert shown.row("events/sales")[-1].state is DayState.GOOD
    holes = [cell for cell in shown.cells.values() if cell.state is DayState.NOT_ASKED]
    assert len(holes) == len(shown.cells) - 1 == len(TABLES) * len(DAYS) - 1
    assert holes[0].next_step.commands == (f".venv/bin/ml-assets run events/sales {DAYS[0]}",)
    assert not shown.attention
    assert "209 never" not in shown.headline
    assert "1 are good, 209 not asked" in shown.headline
    assert report(good=False).headline == "Nothing was ever asked for: 35 days × 6 tables, none computed."


def test_a_red_day_under_repair_says_what_is_being_mended() -> None:
    shown = report(
        ("events/sales", LAST, "red", "all prices are zero"), ("events/sales", LAST, "in_work", "run 4f8e computes it")
    )
    cell = shown.row("events/sales")[-1]
    assert cell.state is DayState.IN_WORK
    assert cell.reason == "run 4f8e computes it; until it ends: red, all prices are zero"


def test_two_reasons_for_one_state_are_both_told_once() -> None:
    facts = [("features/baskets", LAST, "stale", why) for why in ("sales changed", "prices changed", "sales changed")]
    assert report(*facts).attention[0].reason == "sales changed; prices changed"


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (("events/sails", LAST, "good", None), "events/sails"),
        (("events/sales", LAST, "purple", None), "purple"),
        (("events/sales", None, "good", None), "'day': 1"),
        ((None, LAST, "good", None), "'table': 1"),
    ],
)
def test_facts_that_fit_nothing_are_refused_by_name(row: tuple, named: str) -> None:
    with pytest.raises(StatusError, match=named):
        report(row)


def test_facts_of_another_shape_are_refused() -> None:
    for facts in (pl.DataFrame(), pl.DataFrame(schema={**FACTS, "day": pl.String})):
        with pytest.raises(StatusError, match="wanted"):
            status_report("shop", TABLES, DAYS, facts, as_of="now")
    with pytest.raises(StatusError, match="events/sales"):
        report(tables=[*TABLES, TABLES[0]], good=False)
    for nothing in ({"tables": []}, {"days": []}):
        with pytest.raises(StatusError, match="one or more"):
            report(good=False, **nothing)


def test_five_weeks_are_shown_and_none_before_the_calendar() -> None:
    assert (len(DAYS), DAYS[0], DAYS[-1]) == (35, dt.date(2031, 1, 27), LAST)
    assert shown_days(LAST, first=day(1)) == (day(1), day(2))
    assert [len(week) for week in report(days=shown_days(day(4))).weeks()] == [5, 7, 7, 7, 7, 2]


def test_tables_of_a_stage_stand_together_in_graph_order() -> None:
    assert report().stages == [
        ("events", ["events/sales", "events/prices"]),
        ("features", ["features/baskets", "features/price_changes"]),
        ("champions", ["champions/demand"]),
        ("predictions", ["predictions/demand"]),
    ]


# --- what needs attention --------------------------------------------------------------------------------


def test_trouble_is_listed_gravest_first_then_upstream_first() -> None:
    said = [(entry.table, str(entry.state)) for entry in troubled().attention]
    assert said == [
        ("events/prices", "red"),
        ("features/price_changes", "blocked"),
        ("predictions/demand", "blocked"),
        ("features/baskets", "stale"),
        ("champions/demand", "warned"),
    ]


def test_days_in_a_row_with_one_reason_are_one_line_and_others_are_not() -> None:
    red = [("events/sales", day(number), "red", "too few rows") for number in (-9, -8, -7, -5)]
    other = ("events/sales", day(-6), "red", "too many rows")
    assert lines(report(*red)) == [
        ("events/sales", "red", day(-9), day(-7), "too few rows"),
        ("events/sales", "red", day(-5), day(-5), "too few rows"),
    ]
    assert [(first, last) for _, _, first, last, _ in lines(report(*red, other))] == [
        (day(-9), day(-7)),
        (day(-6), day(-6)),
        (day(-5), day(-5)),
    ]
    by_table = [(table, LAST, "red", "too few rows") for table in ("events/sales", "events/prices")]
    assert len(report(*by_table).attention) == 2


def test_a_reason_that_names_its_own_day_joins_and_one_that_names_another_does_not() -> None:
    own = [("champions/demand", day(n), "blocked", f"features/baskets of {day(n)} is not there") for n in (-3, -2)]
    eves = [("champions/demand", day(n), "blocked", f"champions/demand of {day(n - 1)} is not there") for n in (-1, 0)]
    assert [entry.reason for entry in report(*own).attention] == ["features/baskets of that day is not there"]
    assert [entry.reason for entry in report(*eves).attention] == ["champions/demand of the day before is not there"]
    assert [entry.reason for entry in report(own[0]).attention] == [own[0][3]]
    fixed = [("features/baskets", day(n), "stale", f"events/sales of {day(-3)} has changed") for n in (-3, -2)]
    assert [entry.reason for entry in report(*fixed).attention] == [f"events/sales of {day(-3)} has changed"]
    mixed = [own[0], ("champions/demand", day(-2), "blocked", f"features/baskets of {day(-9)} is not there")]
    assert len(report(*mixed).attention) == 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.integers(-45, 2).map(day),
            st.sampled_from(DayState),
            st.sampled_from(["", "why", "because", f"events/sales of {day(0)} is rejected"]),
        ),
        max_size=120,
    )
)
def test_the_list_covers_each_day_in_trouble_once_and_no_other(facts: list[tuple]) -> None:
    shown = report(*facts, good=False)
    covered = [
        (entry.table, entry.first + dt.timedelta(days=each), entry.state)
        for entry in shown.attention
        for each in range(len(entry))
    ]
    order = list(DayState)
    gravest: dict[tuple, DayState] = {}
    for table, each, state, _ in facts:
        gravest[table, each] = min(gravest.get((table, each), state), state, key=order.index)
    wanted = [(table, each, state) for (table, each), state in gravest.items() if state in ATTENTION]
    assert len(covered) == len(set(covered))
    assert set(covered) == set(wanted)


def test_trouble_on_days_that_are_not_shown_is_listed_all_the_same() -> None:
    long_ago = day(-200)
    shown = report(("events/sales", long_ago, "red", "no rows"), ("events/prices", long_ago, "good", None))
    assert lines(shown) == [("events/sales", "red", long_ago, long_ago, "no rows")]
    assert shown.headline.startswith("1 day needs attention, 1 of them not among the days shown: events/sales")
    for drawn in (printed(shown), status_page(shown), status_markdown(shown)):
        assert str(long_ago) in drawn.replace("\\", "")


# --- what to do ------------------------------------------------------------------------------------------


def test_each_state_says_what_to_do_next() -> None:
    steps = {entry.table: entry.next_step for entry in troubled().attention}
    assert "quarantine/prices" in steps["events/prices"].sentence
    assert steps["events/prices"].commands == (f".venv/bin/ml-assets run events/prices {day(1)}",)
    assert f"Heal events/prices {day(1)} (red)" in steps["features/price_changes"].sentence
    assert steps["features/price_changes"] == steps["predictions/demand"]
    assert "keep_in_step" in steps["features/baskets"].sentence
    assert steps["features/baskets"].commands[-1] == ".venv/bin/ml-assets repair"
    assert "stays" in steps["champions/demand"].sentence
    for state in DayState:
        cell = report(("features/baskets", LAST, state, "why"), good=False).row("features/baskets")[-1]
        assert bool(cell.next_step.sentence) is (state is not DayState.GOOD)


def test_a_range_is_mended_by_one_command() -> None:
    shown = report(*[("events/sales", day(number), "red", "no rows") for number in (-2, -1, 0)])
    assert shown.attention[0].next_step.commands == (f".venv/bin/ml-assets run events/sales {day(-2)} {day(0)}",)
    own = [("features/baskets", day(n), "blocked", f"events/sales of {day(n)} is rejected") for n in (-2, -1, 0)]
    red = [("events/sales", day(number), "red", "no rows") for number in (-2, -1, 0)]
    blocked = report(*own, *red).attention[1]
    assert (blocked.first, blocked.last) == (day(-2), day(0))
    assert f"Heal events/sales {day(-2)} to {day(0)} (red)" in blocked.next_step.sentence


def test_a_red_day_past_the_boundary_is_no_matter_of_an_extract() -> None:
    step = report(("features/baskets", LAST, "red", "a basket of −1 items")).attention[0].next_step
    assert "extract" not in step.sentence
    assert step.commands == (f".venv/bin/ml-assets run features/baskets {LAST}",)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, f"Materialise events/prices {day(0)}, which is missing"),
        ("in_work", f"Wait for the run that is computing events/prices {day(0)}"),
        ("stale", f"Heal events/prices {day(0)} (stale)"),
        ("good", f"events/prices {day(0)} is good again"),
    ],
)
def test_what_unblocks_a_day_depends_on_what_blocks_it(state: str | None, said: str) -> None:
    blocked = ("features/price_changes", day(0), "blocked", f"events/prices of {day(0)} is not there")
    facts = [blocked] if state is None else [blocked, ("events/prices", day(0), state, None)]
    entries = {entry.table: entry for entry in report(*facts, good=False).attention}
    assert said in entries["features/price_changes"].next_step.sentence


def test_a_blocked_day_whose_reason_names_no_day_of_ours_says_so() -> None:
    for why in ("", "no idea", f"rumours/prices of {day(0)} is rejected", "events/prices of 2031-02-30 is rejected"):
        (entry,) = report(("features/price_changes", day(0), "blocked", why)).attention
        assert "what the reason names" in entry.next_step.sentence
    unknown = ("features/price_changes", day(0), "blocked", f"events/prices of {day(-300)} is not there")
    assert f"Look at events/prices {day(-300)}" in report(unknown).attention[0].next_step.sentence


def test_days_that_name_one_another_as_their_cause_end() -> None:
    facts = [
        ("features/baskets", day(0), "blocked", f"champions/demand of {day(0)} is not there"),
        ("champions/demand", day(0), "blocked", f"features/baskets of {day(0)} is not there"),
    ]
    assert len(report(*facts).attention) == 2


def test_a_long_chain_of_blocked_days_leads_to_its_one_root() -> None:
    days = [day(-number) for number in range(400)]
    chain = [("champions/demand", each, "blocked", f"champions/demand of {eve} is not there") for each, eve in
             itertools.pairwise(days)]  # fmt: skip
    shown = report(*chain, ("champions/demand", days[-1], "red", "no rows"), good=False)
    assert [(entry.first, entry.last) for entry in shown.attention] == [(days[-1], days[-1]), (days[-2], days[0])]
    assert f"Heal champions/demand {days[-1]} (red)" in shown.attention[1].next_step.sentence


def test_the_headline_says_it_in_one_sentence() -> None:
    assert report().headline == "All 35 days × 6 tables are good."
    assert report(("events/sales", LAST, "empty", "a holiday")).headline == "All 35 days × 6 tables are good."
    assert troubled().headline == (
        f"4 days need attention: events/prices {day(1)} is red; 2 tables of {day(1)} are blocked by it; "
        "2 days of features/baskets are stale; 1 decision rests on what has changed since."
    )
    one_day = [("events/sales", day(1), "red", ""), *((name, day(1), "stale", "") for name in NAMES[1:3])]
    assert report(*one_day).headline == f"1 day needs attention: events/sales {day(1)} is red; 2 tables are stale."
    working = report(("events/sales", LAST, "in_work", "run 4f8e computes it"))
    assert working.headline == "Nothing needs attention: of 35 days × 6 tables, 209 are good, 1 in work."
    many = report(*[("events/sales", day(-number), "red", f"fault {number}") for number in range(0, 6, 2)])
    assert many.headline == f"3 days need attention: events/sales {day(-4)} and 2 more are red."
    missing = report(("features/baskets", day(0), "blocked", f"events/sales of {day(-300)} is not there"))
    assert missing.headline.endswith(f"features/baskets {day(0)} is blocked by events/sales {day(-300)}.")


def test_the_list_is_also_a_frame() -> None:
    frame = attention_frame(troubled())
    assert frame.columns == ["state", "table", "days", "reason", "next step"]
    assert frame.height == 5
    assert frame["days"][3] == f"{day(-9)} to {day(-8)} (2 days)"
    assert "`.venv/bin/ml-assets repair`" in frame["next step"][3]
    assert attention_frame(report()).is_empty()


# --- the picture -----------------------------------------------------------------------------------------


def motley() -> StatusReport:
    """Every state, each with a long reason."""
    places = enumerate(itertools.product(NAMES, DAYS))
    return report(*[(name, each, list(DayState)[at % 8], "x" * 900) for at, (name, each) in places])


LONG = [("a" * 300, "a/$x$"), ("b", f"b/{'long_name_' * 40}")]


@pytest.mark.parametrize(
    "shown",
    [
        report(),
        report(good=False),
        troubled(),
        motley(),
        report(tables=WIDE, good=False),
        report(tables=LONG, days=DAYS[-1:], good=False),
        report(days=[day(-n) for n in range(200)], good=False),
    ],
    ids=["good", "fresh", "troubled", "every state", "90 tables", "long names, 1 day", "200 days"],
)
def test_the_picture_is_a_small_png_of_one_width(shown: StatusReport) -> None:
    drawn = status_picture(shown)
    assert len(drawn) < 60_000
    with Image.open(BytesIO(drawn)) as picture:
        picture.verify()
        assert picture.format == "PNG"
        assert picture.width == 920
        assert picture.height > 17 * len(shown.tables)
    assert status_picture(shown) == drawn


def test_each_state_has_its_colour_in_the_picture_and_a_mark_of_its_own() -> None:
    def colours(shown: StatusReport) -> dict[str, int]:
        with Image.open(BytesIO(status_picture(shown))) as picture:
            found = picture.convert("RGB").getcolors(maxcolors=1 << 16) or []
        return {"#{:02x}{:02x}{:02x}".format(*colour): count for count, colour in found}

    good = colours(report())
    assert {paint.cell for paint in PAINTS.values()} <= set(good)  # the legend
    for state in set(DayState) - {DayState.GOOD}:
        cells = [(name, each, state if name == NAMES[0] else "good", None) for name in NAMES for each in DAYS]
        drawn = colours(report(*cells, good=False))
        assert drawn[PAINTS[state].cell] > good.get(PAINTS[state].cell, 0) + 35 * 60
    assert len({state.mark for state in DayState}) == len({paint.cell for paint in PAINTS.values()}) == len(DayState)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_what_needs_attention_is_legible_and_differs_from_good_without_colour() -> None:
    for state in ATTENTION:
        assert contrast(PAINTS[state].cell, PAINTS[state].mark) > 4.5
    for state in (DayState.RED, DayState.BLOCKED):
        assert contrast(PAINTS[state].cell, PAINTS[DayState.GOOD].cell) > 3


def test_markdown_of_the_list_is_bounded_and_shows_text_as_text() -> None:
    shown = report(("events/sales", LAST, "red", "<script>alert(1)</script> *bold* | `code` [link](x)"))
    markdown = status_markdown(shown)
    assert markdown.startswith("![status](data:image/png;base64,")
    assert "<script>" not in markdown.replace("\\<", "")
    assert r"\*bold\*" in markdown
    assert r"\`code\`" in markdown
    many = report(*[("events/sales", day(-2 * number), "red", f"fault {number}") for number in range(100)])
    assert "60 more" in status_markdown(many)
    assert len(status_markdown(many)) < 100_000


def test_the_status_is_imported_without_the_libraries_that_draw_it() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, ml_assets.domain.status_picture; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "ml_assets.domain.status" in loaded
    assert not {"PIL", "matplotlib"} & set(loaded)


# --- the terminal ----------------------------------------------------------------------------------------


def test_eighty_columns_hold_thirty_five_days() -> None:
    out = printed(troubled())
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    row = next(line for line in out.splitlines() if line.startswith("features") and "baskets" in line)
    marks = row.split("baskets")[1].replace(" ", "")
    assert len(marks) == 35
    assert marks == "." * 23 + "SS" + "." * 10
    assert DAYS[23] == day(-9)
    for said in ("12 of 40 prices are negative", ".venv/bin/ml-assets repair", "run events/prices 2031-03-01"):
        assert said in out


@pytest.mark.parametrize("width", [40, 60, 79, 80, 81, 120, 200])
@pytest.mark.parametrize("tables", [TABLES, WIDE, [("s" * 60, f"{'s' * 60}/{'t' * 60}")]], ids=["6", "90", "long"])
def test_the_terminal_keeps_to_its_width(width: int, tables: list[tuple[str, str]]) -> None:
    shown = report(*[(tables[0][1], each, "red", "why " * 60) for each in DAYS], tables=tables, good=False)
    out = printed(shown, width)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= width
    if "the last" in out:
        assert len(out.splitlines()) > len(tables)
    else:
        assert "X" * 7 in out


def test_a_narrow_terminal_shows_the_newest_days_and_says_so() -> None:
    out = printed(report(("events/sales", LAST, "red", "no rows")), 44)
    assert "of 35 days; a wider" in " ".join(out.split())
    assert next(line for line in out.splitlines() if line.startswith("events")).rstrip().endswith("X")


def test_the_terminal_reads_the_same_without_colour() -> None:
    plain, coloured = printed(troubled()), printed(troubled(), colour=True)
    assert "\x1b[" in coloured
    assert "\x1b" not in plain
    out = "".join(part if not at else part.split("m", 1)[1] for at, part in enumerate(coloured.split("\x1b[")))
    assert [line.rstrip() for line in out.splitlines()] == [line.rstrip() for line in plain.splitlines()]


def test_reasons_cannot_steer_the_terminal() -> None:
    shown = report(("events/sales", LAST, "red", "\x1b[2J[bold red]gone[/]\nnew\r\x07line"))
    assert shown.attention[0].reason == "[2J[bold red]gone[/] new line"
    assert "[bold red]gone[/] new line" in printed(shown)


def test_a_long_list_is_cut_and_says_how_much_is_left() -> None:
    many = report(*[("events/sales", day(-2 * number), "red", f"fault {number}") for number in range(100)])
    assert "… and 70 more ranges" in printed(many)


# --- the page --------------------------------------------------------------------------------------------


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and whether each is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def test_the_page_is_one_table_of_all_days_with_headers_and_reasons() -> None:
    reader = read(status_page(troubled()))
    cells = [each for each in reader.all("td") if "day" in each.get("class", "").split()]
    assert len(cells) == 6 * 35
    assert [each["class"].split()[1] for each in cells[35 * 1 + 33 : 35 * 1 + 35]] == ["red", "good"]
    assert cells[35 * 1 + 33]["title"] == f"events/prices {day(1)} red: 12 of 40 prices are negative"
    scopes = [each["scope"] for each in reader.all("th")]
    assert (scopes.count("row"), scopes.count("rowgroup"), scopes.count("col")) == (6, 4, 35 + 2)


def test_every_day_in_trouble_links_to_its_line() -> None:
    reader = read(status_page(troubled()))
    lines = [each["id"] for each in reader.all("li") if "id" in each]
    targets = [each["href"].removeprefix("#") for each in reader.all("a")]
    assert len(lines) == len(set(lines)) == 5
    assert sorted(targets) == sorted([*lines, lines[3]])


def test_the_page_asks_for_nothing_from_outside() -> None:
    page = status_page(troubled())
    reader = read(page)
    assert not reader.all("script")
    assert not reader.all("img")
    assert all(each["href"].startswith(("#", "data:")) for each in reader.all("a") + reader.all("link"))
    assert "://" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


def test_what_came_from_outside_is_escaped_everywhere() -> None:
    evil = "<script>alert('x')</script>\"><img src=x onerror=y>"
    tables = [("<b>s</b>", '<b>s</b>/"><i>t')]
    frame = pl.DataFrame([(tables[0][1], LAST, "red", evil)], schema=FACTS, orient="row")
    shown = status_report("<u>shop", tables, DAYS, frame, as_of="<s>now", notes=["<em>note"])
    reader = read(status_page(shown))
    assert not {"script", "img", "i", "u", "s", "em"} & {tag for tag, _ in reader.tags}
    assert evil in next(each["title"] for each in reader.all("td") if "red" in each.get("class", "").split())


def test_commands_are_on_the_page_to_copy() -> None:
    page = status_page(troubled())
    assert f"<pre><code>.venv/bin/ml-assets run events/prices {day(1)}</code></pre>" in page
    assert page.count("<pre><code>.venv/bin/ml-assets repair</code></pre>") == 1


def test_all_renderings_are_the_same_every_time() -> None:
    facts = [(t, d, list(DayState)[n % 8], f"why {n % 5}") for n, (t, d) in enumerate(itertools.product(NAMES, DAYS))]
    one, other = report(*facts), report(*reversed(facts))
    for rendering in (status_picture, status_page, status_markdown, printed):
        assert rendering(one) == rendering(other)
