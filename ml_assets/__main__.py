"""The command line: `demo`, `ui`, `run`, `summary`.

What belongs here: arguments in, one call, an exit status out. What does not: what the commands do.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from ml_assets.sentences import WithoutEchoes, is_interruption, sentence_of
from resources.home import open_home
from resources.settings import home_path, prepare_process

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ml_assets.launch import Launcher

PORT = 3000
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of a command: 0, 1 after one clear sentence on what is wrong, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="ml-assets", description="A production ML platform on Dagster.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="replay the whole shipped year; a second time it is a no-op")
    commands.add_parser("summary", help="print what the replay found")
    ui = commands.add_parser("ui", help="serve Dagster's UI and daemon over the home")
    ui.add_argument("--port", type=int, default=PORT)
    run = commands.add_parser("run", help="compute days of assets, in one run")
    run.add_argument("assets", help="<stage>/<name>, several joined by commas")
    run.add_argument("first", help="first day, YYYY-MM-DD")
    run.add_argument("last", nargs="?", help="last day, included; the first day when left out")
    chosen = parser.parse_args(arguments)
    try:
        with redirect_stderr(WithoutEchoes(sys.stderr)):
            return COMMANDS[chosen.command](chosen)
    except BaseException as error:
        status = _told(error)
        if status is not None:
            return status
        raise


def _told(error: BaseException) -> int | None:
    """The exit status of an error that has been told in a sentence; None for a bug, which shows its traceback."""
    from resources.redaction import without_secrets

    if is_interruption(error):
        return INTERRUPTED
    said = sentence_of(error, home_path())
    if said is None:
        sys.excepthook = lambda *raised: print(  # noqa: T201  this is the command line
            without_secrets("".join(traceback.format_exception(*raised))), end="", file=sys.stderr
        )
        return None
    print(f"ml-assets: {without_secrets(said)}", file=sys.stderr)  # noqa: T201
    return 1


def _demo(_: argparse.Namespace) -> int:
    from ml_assets.replay import Replay
    from ml_assets.summary import render

    console = Console()
    began = time.monotonic()
    launcher = _launcher()
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
                if not console.is_terminal:
                    console.print(f"{time.monotonic() - began:6.1f} s  {step}")
            elif not console.is_terminal and done < total:
                console.print(f"{time.monotonic() - began:6.1f} s  {step}, {done} of {total} days")
            shown.update(tasks[step], completed=done)

        replay = Replay(launcher, progress)
        finished = replay.finished
        if not finished:
            replay.run()
    console.print(render(launcher.home, launcher.catalog, launcher.lake))
    if finished:
        console.print("Nothing to do: this home has been replayed to the end already.")
    else:
        console.print(f"Replayed in {time.monotonic() - began:.0f} s.")
    if replay.made_from_other_declarations:
        console.print(
            "The catalogue has changed since this home was replayed. Rebuild what changed in the UI, or "
            "replay into a new home: ML_ASSETS_HOME=<new folder> make demo"
        )
    return 0


def _summary(_: argparse.Namespace) -> int:
    from ml_assets.summary import render

    launcher = _launcher()
    Console().print(render(launcher.home, launcher.catalog, launcher.lake))
    return 0


def _run(chosen: argparse.Namespace) -> int:
    from ml_assets.launch import parse_days

    days = parse_days(chosen.first, chosen.last)
    assets = chosen.assets.split(",")
    began = time.monotonic()
    _launcher().run(assets, days)
    Console().print(f"{', '.join(assets)} over {days}: done in {time.monotonic() - began:.1f} s.")
    return 0


def _ui(chosen: argparse.Namespace) -> int:
    from ml_assets.serve import serve

    return serve(open_home(home_path()), chosen.port)


def _launcher() -> "Launcher":
    home = open_home(home_path())
    prepare_process(home.path)
    from ml_assets.catalog import load_catalog
    from ml_assets.launch import Launcher

    return Launcher.of(home, load_catalog())


COMMANDS = {"demo": _demo, "summary": _summary, "run": _run, "ui": _ui}

if __name__ == "__main__":
    sys.exit(main())
