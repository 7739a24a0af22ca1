"""The command line: `init`, `add`, `check`, `demo`, `run`, `plan`, `repair`, `status`, `retrain`, `ui` and others.

What belongs here: arguments in, one call, an exit status out. What does not: what the commands do.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from ml_assets.domain.errors import SettingsError
from ml_assets.sentences import WithoutEchoes, is_interruption, sentence_of
from resources.home import Home, open_home
from resources.project import this_project
from resources.settings import prepare_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from rich.progress import TaskID

    from ml_assets.domain.planning import DecisionWarning
    from ml_assets.domain.specs import SourceSpec
    from ml_assets.launch import Launcher, RunReport
    from resources.deliveries import Delivery
    from resources.extracts import Extracts

PORT = 3000
KEEP_HOURS = 168
INTERRUPTED, CUT_SHORT = 130, 141
FAILED, SHORT = 1, 2
CHECKED_DAYS = 8
PAGE_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of a command: 0; 1 after one clear sentence; 2 when not all is good; 130 after Ctrl-C."""
    chosen = parser().parse_args(arguments)
    try:
        with redirect_stderr(WithoutEchoes(sys.stderr)):
            return COMMANDS[chosen.command](chosen)
    except BrokenPipeError:
        # Whoever read has enough (`| head`); what is still in the buffer must not be told as an error at the exit.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  it lives as long as the process
        return CUT_SHORT
    except BaseException as error:
        status = _said(error)
        if status is not None:
            return status
        raise


def _said(error: BaseException) -> int | None:
    """The exit status of an error that has been told in a sentence; None for a bug, which shows its traceback."""
    from resources.redaction import without_secrets

    if is_interruption(error):
        return INTERRUPTED
    said = sentence_of(error, _home_at_hand())
    if said is None:
        sys.excepthook = lambda *raised: print(  # noqa: T201  this is the command line
            without_secrets("".join(traceback.format_exception(*raised))), end="", file=sys.stderr
        )
        return None
    print(f"ml-assets: {without_secrets(said)}", file=sys.stderr)  # noqa: T201
    return FAILED


def _home_at_hand() -> Path | None:
    """The home of the project at work; None where there is no project, which is told by then."""
    try:
        return this_project().home
    except SettingsError:
        return None


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    shown = argparse.ArgumentParser(prog="ml-assets", description="A production ML platform on Dagster.")
    commands = shown.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="make a project of your own, which runs before anything is edited")
    init.add_argument("folder", type=Path, help="a new folder")
    init.add_argument("--package", help="name of the catalogue's package; the folder's when left out")
    add = commands.add_parser("add", help="write a file to begin with: a source, feature group, outcome or model")
    add.add_argument("kind", choices=("source", "features", "outcome", "model"))
    add.add_argument("name")
    demo = commands.add_parser("demo", help="replay every day that is over; a second time it is a no-op")
    demo.add_argument("--until", metavar="DAY", help="replay the days before this one, YYYY-MM-DD")
    commands.add_parser("summary", help="print what the replay found")
    ui = commands.add_parser("ui", help="serve Dagster's UI and daemon over the home")
    ui.add_argument("--port", type=int, default=PORT)
    run = commands.add_parser("run", help="compute days of assets, in one run")
    run.add_argument("assets", help="<stage>/<name>, several joined by commas")
    run.add_argument("first", help="first day, YYYY-MM-DD")
    run.add_argument("last", nargs="?", help="last day, included; the first day when left out")
    run.add_argument("--anew", action="store_true", help="decide decisions that are on record anew")
    commands.add_parser("plan", help="print what is out of step, in order, and why; run nothing")
    operate = commands.add_parser("operate", help="bring everything that is due up to date, late deliveries included")
    operate.add_argument("--until", metavar="DAY", help="only the days before this one, YYYY-MM-DD")
    _add_deliveries(commands)
    repair = commands.add_parser("repair", help="compute days of assets, then all that rests on what changed")
    repair.add_argument("assets", nargs="?", help="<stage>/<name>, several joined by commas; nothing: what is planned")
    repair.add_argument("first", nargs="?", help="first day, YYYY-MM-DD")
    repair.add_argument("last", nargs="?", help="last day, included; the first day when left out")
    status = commands.add_parser("status", help="show how the last five weeks stand, and what to do about it")
    status.add_argument("--html", type=Path, metavar="FILE", help="write it as one self-contained page instead")
    _add_deciding(commands)
    _add_looking_back(commands)
    upkeep = commands.add_parser("upkeep", help="delete files of the lake that no record and no recent reader needs")
    upkeep.add_argument("--keep-hours", type=int, default=KEEP_HOURS, help="how long every version stays readable")
    upkeep.add_argument("--dry-run", action="store_true", help="tell what would be deleted, delete nothing")
    loss = commands.add_parser(
        "accept-loss", help="declare that what a table lost is lost: what is left counts from now on"
    )
    loss.add_argument("table", help="<stage>/<name>")
    _add_check(commands)
    return shown


def _add_deliveries(commands: Any) -> None:
    deliver = commands.add_parser("deliver", help="put a corrected file in the place of what a source delivered")
    deliver.add_argument("source")
    deliver.add_argument("day", help="YYYY-MM-DD")
    deliver.add_argument("file", type=Path, help="in the form of the source's origin, or Parquet")
    kept = commands.add_parser("deliveries", help="show what was delivered for a day, and put an earlier one back")
    kept.add_argument("source")
    kept.add_argument("day", help="YYYY-MM-DD")
    kept.add_argument("--put-back", type=int, metavar="NUMBER", help="make this one the day's extract again")
    pull = commands.add_parser("pull", help="ask a source's origin anew for days that were delivered before")
    pull.add_argument("source")
    pull.add_argument("first", help="first day, YYYY-MM-DD")
    pull.add_argument("last", nargs="?", help="last day, included; the first day when left out")


def _add_looking_back(commands: Any) -> None:
    again = commands.add_parser("reproduce", help="make a training set and its models once more, and compare")
    again.add_argument("table", help="models/<model>")
    again.add_argument("day", help="the day of the training, YYYY-MM-DD")
    why = commands.add_parser("explain", help="tell why a prediction is what it is, from what it was made")
    why.add_argument("table", help="predictions/<model>")
    why.add_argument("row_key")
    why.add_argument("day", nargs="?", help="YYYY-MM-DD; the newest day with the row when left out")
    why.add_argument("--version", type=int, help="as it was at this version of the table")
    why.add_argument("--json", action="store_true", help="everything as JSON")
    scores = commands.add_parser("score", help="score rows now, by the champion that serves, from what is known")
    scores.add_argument("model")
    scores.add_argument("--rows", type=Path, metavar="FILE", help="CSV, Parquet or JSON lines; the spine's newest day")
    scores.add_argument("--as-of", metavar="INSTANT", help="with its offset (2013-06-12T09:00:00-04:00); else now")
    scores.add_argument("--out", type=Path, metavar="FILE", help="write all scores, in the form that its name says")
    scores.add_argument("--json", action="store_true", help="print the scores as JSON lines")


def _add_deciding(commands: Any) -> None:
    retrain = commands.add_parser("retrain", help="train a model for a day although no trigger fired")
    retrain.add_argument("model")
    retrain.add_argument("day", help="YYYY-MM-DD")
    retrain.add_argument("--reason", required=True, help="why; it is recorded as the day's decision")
    intervene = commands.add_parser("intervene", help="decide as a person who serves from a day on")
    intervene.add_argument("action", choices=("pin", "unpin", "rollback", "approve", "refuse"))
    intervene.add_argument("model")
    intervene.add_argument("day", help="from which day on, YYYY-MM-DD")
    intervene.add_argument("--version", default="", help="which model; rollback and unpin find it by themselves")
    intervene.add_argument("--by", required=True, help="the name of who decides")
    intervene.add_argument("--reason", required=True, help="why; both are recorded on the day")
    intervene.add_argument(
        "--accept-changed-features", action="store_true", help="although its features are computed otherwise by now"
    )


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help="show on the catalogue's own data what the platform promises of it")
    check.add_argument("--days", type=int, default=CHECKED_DAYS, metavar="N", help="how many days to look at")
    check.add_argument("--model", metavar="NAME", help="one model and all it reads, instead of the whole catalogue")


def _init(chosen: argparse.Namespace) -> int:
    from ml_assets.begin import make_project

    made = make_project(chosen.folder, chosen.package)
    _console().print(
        f"{made} is a project that runs as it is. Next: cd {made}; ml-assets demo; ml-assets ui. Its README says what "
        "is where, and how to make it yours.",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _add(chosen: argparse.Namespace) -> int:
    from ml_assets.begin import add_declaration

    file = add_declaration(this_project(), chosen.kind, chosen.name)
    _console().print(f"{file} is there to be edited; it is found as it is.", highlight=False, soft_wrap=True)
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    from ml_assets.launch import parse_days
    from ml_assets.replay import Replay
    from ml_assets.summary import MonthsAsTheyCome, render

    console = _console()
    until = parse_days(chosen.until, None).start if chosen.until else None
    began = time.monotonic()
    launcher = _launcher()
    if not launcher.graph.assets:
        console.print("The catalogue is empty: there is nothing to replay.")
        return FAILED
    with _progress(console) as progress:
        ends = {source.calendar.name: until for source in launcher.catalog.sources.values()} if until else {}
        replay = Replay(launcher, progress, ends, MonthsAsTheyCome(launcher.lake, console.print))
        finished = replay.finished
        if not finished:
            replay.run()
    console.print(render(launcher.home, launcher.catalog, launcher.lake))
    if finished:
        console.print("Nothing to do: this home has been replayed to the end already.")
    else:
        console.print(f"Replayed in {time.monotonic() - began:.0f} s.")
    if replay.made_from_other_code:
        console.print(
            "Days on record were computed by other declarations than today's. Rebuild what changed in the UI, or "
            "replay into a new home: ML_ASSETS_HOME=<new folder> make demo"
        )
    return 0


def _check(chosen: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    project = this_project()
    prepare_process()
    from ml_assets.catalog import load_catalog
    from ml_assets.check import check
    from ml_assets.check_terminal import TerminalCheck

    project.make_importable()
    catalog, console = load_catalog(project.catalog), _console()
    kept, now, began = Home(project.home).extracts, datetime.now(UTC), time.monotonic()
    with _progress(console) as progress:
        checked = check(catalog, kept, now, progress, days=chosen.days, model=chosen.model)
    console.print(TerminalCheck(checked, time.monotonic() - began), highlight=False, soft_wrap=True)
    return SHORT if checked.broken or checked.unshown else 0


def _console() -> Console:
    """The terminal; where there is none, a page that is wide enough for tables."""
    return Console(width=None if sys.stdout.isatty() else shutil.get_terminal_size((PAGE_WIDTH, 50)).columns)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Bars in the terminal, one a step, moved on by calling what it gives."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as shown:
        tasks: dict[str, TaskID] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = shown.add_task(step, total=total)
            shown.update(tasks[step], completed=done)

        yield progress


def _summary(_: argparse.Namespace) -> int:
    from ml_assets.summary import render

    launcher = _launcher()
    _console().print(render(launcher.home, launcher.catalog, launcher.lake))
    return 0


def _run(chosen: argparse.Namespace) -> int:
    from ml_assets.launch import parse_days

    days = parse_days(chosen.first, chosen.last)
    assets = chosen.assets.split(",")
    began = time.monotonic()
    report = _launcher().run(assets, days, anew=chosen.anew)
    return _told(f"{', '.join(assets)} over {days}", report, began)


def _plan(_: argparse.Namespace) -> int:
    from resources.overview import plan_of
    from resources.run_tags import spoken

    launcher = _launcher()
    found = plan_of(launcher.lake, launcher.graph)
    console = _console()
    for line in _late_lines(launcher):
        console.print(line, highlight=False, soft_wrap=True)
    if not found.steps and not found.warnings:
        console.print("Everything is in step: no day on record rests on content that has changed.")
        return 0
    if found.steps:
        shown = Table(title="out of step, in the order in which it is computed anew")
        for name in ("table", "days", "because"):
            shown.add_column(name, overflow="fold")
        for step in found.steps:
            shown.add_row(step.table, spoken(step.days), step.reason)
        console.print(shown)
        days = sum(len(step.days) for step in found.steps)
        tables = len({step.table for step in found.steps})
        console.print(f"{days} days of {tables} tables; run them with: ml-assets repair")
    if found.warnings:
        console.print(_warnings(found.warnings))
    return 0


def _warnings(warnings: "Sequence[DecisionWarning]") -> Table:
    """Decisions on record that rest on content which has changed since, a line a table and read."""
    shown = Table(title="decisions that are kept, though what they rest on has changed since")
    for name in ("table", "days", "newest"):
        shown.add_column(name, overflow="fold")
    by_read = dict.fromkeys((warning.table, warning.parent) for warning in warnings)
    for table, parent in by_read:
        found = [warning for warning in warnings if (warning.table, warning.parent) == (table, parent)]
        last = found[-1]
        days = f"{len(found)} days, {found[0].day} to {last.day}" if len(found) > 1 else str(last.day)
        shown.add_row(table, days, f"{last.day}: {last}")
    return shown


def _repair(chosen: argparse.Namespace) -> int:
    from ml_assets.launch import parse_days
    from ml_assets.repair import repair

    launcher = _launcher()
    console = _console()
    asked = chosen.assets.split(",") if chosen.assets else []
    days = parse_days(chosen.first, chosen.last) if chosen.first else None
    began = time.monotonic()
    report = repair(launcher, asked, days, console.print)
    return _told("repair", report, began)


def _status(chosen: argparse.Namespace) -> int:
    from ml_assets.status_page import status_page
    from ml_assets.status_terminal import TerminalStatus
    from resources.extracts import Extracts
    from resources.overview import statuses_of, work_of

    launcher = _launcher()
    extracts = Extracts(launcher.home.extracts)
    reports = statuses_of(launcher.lake, launcher.graph, work_of(launcher.instance), extracts=extracts)
    console = _console()
    if not reports:
        console.print(
            "No day of any table is on record yet: run `ml-assets demo`, or `ml-assets run` for days of assets."
        )
        return 0
    if chosen.html:
        for report in reports:
            page = chosen.html if len(reports) == 1 else chosen.html.with_stem(f"{chosen.html.stem}_{report.calendar}")
            page.write_text(status_page(report), encoding="utf-8")
            console.print(f"{report.headline}\nwritten to {page}")
        return 0
    for report in reports:
        console.print(TerminalStatus(report))
    return 0


def _operate(chosen: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from ml_assets.launch import parse_days
    from ml_assets.operate import operate

    console = _console()
    until = parse_days(chosen.until, None).start if chosen.until else None
    launcher = _launcher()
    operated = operate(launcher, datetime.now(UTC), console.print, until)
    for calendar, end in operated.ends.items():
        console.print(f"{calendar}: every day before {end} has been computed.", highlight=False)
    for line in _late_lines(launcher):
        console.print(line, highlight=False, soft_wrap=True)
    return SHORT if operated.late else 0


def _late_lines(launcher: "Launcher") -> list[str]:
    """What was due and has not been delivered, and what lies there that events were not made from, a line a day."""
    from resources.deliveries import changed_extracts, late_days
    from resources.extracts import Extracts

    sources, extracts = launcher.catalog.sources.values(), Extracts(launcher.home.extracts)
    late = [f"late: {source.name}: {why}" for source in sources for why in late_days(launcher.lake, source).values()]
    return late + [
        f"changed: {source.name} of {changed.day}: {changed.why}. Take it in: ml-assets repair events/{source.name} "
        f"{changed.day}"
        for source in sources
        for changed in changed_extracts(extracts, launcher.lake, source.name)
    ]


def _deliver(chosen: argparse.Namespace) -> int:
    from resources.deliveries import deliver

    return _delivered(chosen.source, chosen.day, None, lambda *at: deliver(*at, chosen.file))


def _pull(chosen: argparse.Namespace) -> int:
    from resources.deliveries import pull

    return _delivered(chosen.source, chosen.first, chosen.last, pull)


def _delivered(
    name: str, first: str, last: str | None, take: "Callable[[Extracts, SourceSpec, date], Delivery]"
) -> int:
    """Takes a delivery for each day and says what is to be done next."""
    from ml_assets.launch import parse_days
    from resources.extracts import Extracts

    days = parse_days(first, last)
    launcher = _launcher()
    launcher.check_calendar(launcher.known_asset(f"events/{name}"), days)
    source = launcher.catalog.sources[name]
    console = _console()
    for day in days:
        delivery = take(Extracts(launcher.home.extracts), source, day)
        kept = f"; what was there before is kept at {delivery.before}" if delivery.before else ""
        said = "the same was delivered before; nothing was changed" if delivery.unchanged else f"delivered{kept}"
        console.print(f"{name} {day}: {said}.", highlight=False, soft_wrap=True)
    asked = f"{first} {last}" if last else first
    console.print(f"Then compute what rests on it: ml-assets repair events/{name} {asked}", highlight=False)
    return 0


def _deliveries(chosen: argparse.Namespace) -> int:
    from ml_assets.launch import parse_days
    from resources.deliveries import kept_deliveries, put_back
    from resources.extracts import Extracts

    if chosen.put_back is not None:
        return _delivered(chosen.source, chosen.day, None, lambda *at: put_back(*at, chosen.put_back))
    days, launcher, console = parse_days(chosen.day, None), _launcher(), _console()
    launcher.check_calendar(launcher.known_asset(f"events/{chosen.source}"), days)
    source, extracts = launcher.catalog.sources[chosen.source], Extracts(launcher.home.extracts)
    kept = kept_deliveries(extracts, source, days.start)
    if not kept:
        console.print(f"Nothing was delivered for {chosen.source} of {chosen.day} so far.", highlight=False)
        return FAILED
    shown = Table(title=f"what was delivered for {chosen.source} of {chosen.day}, the oldest first")
    for name in ("", "delivered", "from", "bytes", "SHA-256", "file"):
        shown.add_column(name, overflow="fold")
    for each in kept:
        about = (each.said.get(name, "–") for name in ("at", "from", "size"))
        number = f"{each.number}{' now' if each.now else ''}"
        shown.add_row(number, *about, each.said.get("sha256", "")[:12], str(each.file))
    console.print(shown)
    console.print(
        f"Put one back: ml-assets deliveries {chosen.source} {chosen.day} --put-back <number>", highlight=False
    )
    return 0


def _retrain(chosen: argparse.Namespace) -> int:
    from ml_assets.launch import parse_days

    began = time.monotonic()
    day = parse_days(chosen.day, None).start
    report = _launcher().retrain(chosen.model, day, chosen.reason)
    return _told(f"retrain {chosen.model} {day}", report, began)


def _intervene(chosen: argparse.Namespace) -> int:
    from ml_assets.launch import parse_days
    from ml_assets.repair import repair

    began = time.monotonic()
    day, launcher = parse_days(chosen.day, None).start, _launcher()
    request = {
        "action": chosen.action,
        "model_version": chosen.version,
        "by": chosen.by,
        "reason": chosen.reason,
        "accept_changed_features": chosen.accept_changed_features,
    }
    launcher.intervene(chosen.model, day, request)
    console = _console()
    console.print(f"{chosen.action} of {chosen.model} from {day} on, by {chosen.by}: on record.", highlight=False)
    report = repair(launcher, [], None, lambda line: console.print(line, highlight=False, soft_wrap=True))
    return _told(f"{chosen.action} {chosen.model} {day}", report, began)


def _reproduce(chosen: argparse.Namespace) -> int:
    from ml_assets.launch import parse_days
    from ml_assets.reproduce import reproduce

    began = time.monotonic()
    launcher, day = _launcher(), parse_days(chosen.day, None).start
    with tempfile.TemporaryDirectory(prefix="ml-assets-reproduce-") as folder:
        found = reproduce(launcher.lake, launcher.catalog, chosen.table, day, Path(folder))
    console = _console()
    shown = Table(title=f"{found.table} of {found.day}, made once more from {len(found.read)} recorded tables")
    for name in ("what", "as recorded", "made once more", ""):
        shown.add_column(name, overflow="fold")
    for each in found.compared:
        shown.add_row(each.what, each.recorded, each.rebuilt, "same" if each.same else "DIFFERS")
    console.print(shown)
    for line in found.changed:
        console.print(f"- {line}", highlight=False, soft_wrap=True)
    verdict = "identical" if found.identical else "not what is on record"
    console.print(f"{found.table} {found.day}: {verdict} ({time.monotonic() - began:.1f} s).", highlight=False)
    return 0 if found.identical else FAILED


def _explain(chosen: argparse.Namespace) -> int:
    from ml_assets.explain import explain
    from ml_assets.explain_terminal import TerminalExplanation
    from ml_assets.launch import parse_days

    day = parse_days(chosen.day, None).start if chosen.day else None
    launcher = _launcher()
    found = explain(launcher.lake, launcher.catalog, chosen.table, chosen.row_key, day, version=chosen.version)
    if chosen.json:
        print(found.to_json())  # noqa: T201  another program reads it
    else:
        _console().print(TerminalExplanation(found), highlight=False)
    return 0 if found.identical else FAILED


def _score(chosen: argparse.Namespace) -> int:
    from ml_assets.scoring import score_here, spine_rows_here
    from ml_assets.scoring_terminal import TerminalScores, instant, rows_of_file, write_rows

    at = instant(chosen.as_of) if chosen.as_of else None
    rows = rows_of_file(chosen.rows) if chosen.rows else spine_rows_here(chosen.model, at)
    found = score_here(chosen.model, rows, at)
    if chosen.out:
        write_rows(found.rows, chosen.out)
    if chosen.json:
        print(found.rows.write_ndjson(), end="")  # noqa: T201  another program reads it
        for remark in found.remarks:
            print(remark, file=sys.stderr)  # noqa: T201
    else:
        _console().print(TerminalScores(chosen.model, found), highlight=False)
    return 0


def _upkeep(chosen: argparse.Namespace) -> int:
    from resources.upkeep import upkeep

    launcher = _launcher()
    told = upkeep(launcher.lake, launcher.graph, keep_hours=chosen.keep_hours, remove=not chosen.dry_run)
    deleted = "would be deleted" if chosen.dry_run else "deleted"
    shown = Table(title="upkeep of the lake")
    for name in ("table", f"files {deleted}", "MB", "old files kept", "versions kept", "because these rest on them"):
        shown.add_column(name, overflow="fold")
    for each in told:
        done, by = each.done, sorted(set().union(*each.needed_by.values()))
        figures = (done.files, f"{done.bytes / 1e6:.1f}", done.kept, len(each.needed_by))
        if done.files or done.kept:
            shown.add_row(done.table, *map(str, figures), ", ".join(by))
    console = _console()
    if shown.rows:
        console.print(shown)
    files, size = sum(each.done.files for each in told), sum(each.done.bytes for each in told)
    console.print(f"{files} files of {len(told)} tables, {size / 1e6:.1f} MB, {deleted}.", highlight=False)
    return 0


def _accept_loss(chosen: argparse.Namespace) -> int:
    launcher = _launcher()
    launcher.known_asset(chosen.table)
    left = launcher.lake.store.declare_loss(chosen.table)
    counts = f"the {len(left.days())} days it holds count" if left else "it is gone, and begins anew"
    _console().print(f"{chosen.table}: {counts} from here on. See what rests on it: ml-assets plan", highlight=False)
    return 0


def _ui(chosen: argparse.Namespace) -> int:
    from ml_assets.serve import serve

    project = this_project()
    return serve(open_home(project.home), project, chosen.port, print)


def _told(what: str, report: "RunReport", began: float) -> int:
    """Prints what became of the days; the exit status."""
    console = _console()
    for line in report.lines():
        console.print(line, highlight=False, soft_wrap=True)
    verdict = "not all days are good" if report.short else "done"
    console.print(f"{what}: {verdict} in {time.monotonic() - began:.1f} s.")
    return SHORT if report.short else 0


def _launcher() -> "Launcher":
    project = this_project()
    home = open_home(project.home)
    prepare_process(home.path)
    from ml_assets.catalog import load_catalog
    from ml_assets.launch import Launcher

    project.make_importable()
    return Launcher.of(home, load_catalog(project.catalog))


COMMANDS = {
    "accept-loss": _accept_loss,
    "add": _add,
    "check": _check,
    "deliver": _deliver,
    "deliveries": _deliveries,
    "demo": _demo,
    "explain": _explain,
    "init": _init,
    "intervene": _intervene,
    "operate": _operate,
    "plan": _plan,
    "pull": _pull,
    "repair": _repair,
    "reproduce": _reproduce,
    "retrain": _retrain,
    "run": _run,
    "score": _score,
    "status": _status,
    "summary": _summary,
    "ui": _ui,
    "upkeep": _upkeep,
}

if __name__ == "__main__":
    sys.exit(main())
