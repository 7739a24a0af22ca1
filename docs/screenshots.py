"""Takes the README's pictures: Dagster's UI over a year that was replayed, with one file that was corrected.

    .venv/bin/python docs/screenshots.py [HOME]

HOME is a home that `make demo` has replayed (`.ml_assets` unless given); it is copied. Needs Chromium. Takes a minute.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "tests")]

from browser import HEIGHT, WIDTH, Mouse, mouse  # noqa: E402
from ui_session import SHIPPED, Processes, UiSession, answers, free_port  # noqa: E402

from resources.settings import child_environment  # noqa: E402

FLIGHTS, REPORT, STATUS = "events/flights", "performance_reports/disruption", "status/flights"
STAGES = ("training_sets", "models", "champions", "calibrators", "predictions", "performance_reports")
CORRECTED = date(2013, 12, 10)
COLOURS, SHOWN_WIDTH = 256, 1200


def main(source: Path) -> None:
    """Serves a copy of the home, mends a day by mouse, and takes four pictures on the way."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(source, home)
        with served(home) as session, mouse(session.url, Path(folder) / "shots") as hand:
            kept(lineage(hand), "lineage")
            mend(session, hand, home)
            kept(runs(hand), "runs")
            kept(status(hand), "status")
            kept(plots(hand), "plots")


@contextmanager
def served(home: Path) -> Iterator[UiSession]:
    """`ml-assets ui` over a home, once its sensors have looked."""
    session = UiSession(Processes(home, home, SHIPPED, free_port()))
    command = [sys.executable, "-m", "ml_assets", "ui", "--port", session.url.rsplit(":", 1)[1]]
    with subprocess.Popen(command, cwd=HERE.parent, env=child_environment(home)) as process:  # noqa: S603
        try:
            session.until("an answer", lambda: answers(session.url))
            session.until("the sensors' first look", lambda: all(session.ticks().values()))
            yield session
        finally:
            process.terminate()


def kept(shot: Path, name: str) -> None:
    """Puts a picture into this folder, small."""
    with Image.open(shot) as taken:
        picture = taken.convert("RGB")
    picture.thumbnail((SHOWN_WIDTH, SHOWN_WIDTH), Image.Resampling.LANCZOS)
    target = HERE / f"{name}.png"
    # This way of choosing colours keeps the few that are red.
    picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size // 1024} kB")  # noqa: T201


def lineage(hand: Mouse) -> Path:
    """The lineage, the model's box unfolded and moved into the middle."""
    hand.page.set_viewport_size({"width": 1800, "height": 900})
    hand.open("/asset-groups")
    hand.page.get_by_text("Hide navigation").click()
    hand.page.locator("button", has=hand.page.get_by_role("img", name="panel_show_right")).first.click()
    hand.unfold("disruption", STAGES)
    hand.page.mouse.move(900, 450)
    hand.page.mouse.wheel(-120, 220)
    shot = hand.shot("lineage", settle_ms=3000)
    hand.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    return shot


def mend(session: UiSession, hand: Mouse, home: Path) -> None:
    """Puts another file in place, materialises that one day, and waits for the rest to heal."""
    extract = home / "extracts" / "flights" / f"{CORRECTED}.parquet"
    later = pl.col("arr_delay") + 7
    pl.read_parquet(extract).with_columns(later.alias("arr_delay")).write_parquet(extract)
    hand.asset(FLIGHTS)
    hand.click("Materialize")
    hand.choose_days(str(CORRECTED))
    hand.launch()
    session.at_rest()


def runs(hand: Mouse) -> Path:
    """What a person began and the daemon finished."""
    hand.open("/runs")
    hand.page.get_by_text("keep_in_step").first.wait_for()
    return hand.shot("runs", settle_ms=3000)


def status(hand: Mouse) -> Path:
    """How the last five weeks stand."""
    hand.asset(STATUS)
    hand.page.get_by_text("Show Markdown").first.click()
    shot = hand.shots / "status.png"
    hand.dialog().locator("img").first.screenshot(path=str(shot))
    return shot


def plots(hand: Mouse) -> Path:
    """A report's numbers, by day."""
    hand.plots_by_day(REPORT)
    hand.page.get_by_text("ROC-AUC").last.scroll_into_view_if_needed()
    return hand.shot("plots", settle_ms=4000)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / ".ml_assets")
