"""The command line: `demo`, `ui`, `run`, `summary`.

What belongs here: arguments in, one call, an exit status out. What does not: what the commands do.
"""

import argparse
import sys
import time
from collections.abc import Sequence
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

from ml_assets.domain.errors import MlAssetsError
from resources.home import open_home
from resources.settings import home_path, prepare_process

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ml_assets.launch import Launcher

PORT = 3000


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of a command: 0, or 1 after one clear sentence on what is wrong."""
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
        return COMMANDS[chosen.command](chosen)
    except MlAssetsError as error:
        print(f"ml-assets: {error}", file=sys.stderr)  # noqa: T201  this is the command line
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
