"""A person with a mouse: headless Chromium on Dagster's UI, and the clicks that journeys are made of.

What belongs here: starting the browser, finding what a person would click, screenshots, the GraphQL it sent.
What does not: which journeys there are (`test_ui_journeys_mouse.py`).
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS = "ML_ASSETS_TEST_SCREENSHOTS"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTH, HEIGHT = 1500, 1000
# It ends as soon as the thing is there; a machine may be busy with other things.
PATIENCE_MS = 120_000
STEPS_BACK, STEP_MS = 8, 2_000
POLL_MS = 250


def missing() -> str | None:
    """What a mouse needs and this machine lacks, with the remedy; None when nothing does."""
    if not _chromium():
        return f"no {' or '.join(CHROMIUM)} on the path: apt-get install chromium"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError as error:
        return f"playwright cannot be imported ({error}): pip install '.[dev]'"
    return None


def _chromium() -> str | None:
    return next((found for name in CHROMIUM if (found := shutil.which(name))), None)


@dataclass
class Mouse:
    """One tab of a browser, and what it has asked of the server."""

    url: str
    page: "Page" = field(repr=False)
    shots: Path
    too_late: type[Exception]
    sent: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def open(self, path: str) -> None:
        """Goes to a page of the UI."""
        self.page.goto(f"{self.url}{path}")

    def shot(self, name: str, settle_ms: int = 600) -> Path:
        """A picture of what is seen."""
        self.page.wait_for_timeout(settle_ms)
        path = self.shots / f"{name}.png"
        self.page.screenshot(path=str(path))
        return path

    def text(self) -> str:
        """Everything that is written on the page."""
        return self.page.locator("body").inner_text()

    def click(self, name: str, kind: str = "button", exact: bool = False) -> None:
        """Clicks the first visible button (link, tab, …) of that name."""
        self.page.get_by_role(kind, name=name, exact=exact).locator("visible=true").first.click()  # type: ignore[arg-type]

    def asset(self, asset: str, tab: str | None = None) -> None:
        """An asset's page, and a tab of it by click."""
        self.open(f"/assets/{asset}")
        self.page.get_by_role("tab", name="Overview").first.wait_for()
        if tab:
            self.page.locator(f"a[role=tab][href*='/assets/{asset}']", has_text=re.compile(rf"^{tab}$")).first.click()

    def box(self, group: str) -> "Locator":
        """The box of a group in the lineage, whose name may be cut in its middle."""
        named = re.compile(rf"^({group}|{group[:4]}\w*…\w*{group[-4:]})$")
        return self.page.locator("svg").get_by_text(named).locator("visible=true").first

    def unfold(self, group: str, held: Iterable[str]) -> None:
        """Opens the box of a group in the lineage, and steps back until all that it holds is in sight."""
        self.box(group).click()
        further = self.page.locator("button", has=self.page.get_by_role("img", name="zoom_out"))
        for box in held:
            # Dagster draws what is in sight.
            for _ in range(STEPS_BACK):
                with suppress(self.too_late):
                    self.box(box).wait_for(timeout=STEP_MS)
                    break
                further.click()
            self.box(box).wait_for()

    def whole_downstream(self, asset: str) -> None:
        """Lineage → Downstream → all depths."""
        self.asset(asset, "Lineage")
        self.click("Downstream")
        self.click("All", exact=True)
        self.page.get_by_text("Increase the depth").wait_for(state="hidden")

    def tick(self, assets: Sequence[str]) -> None:
        """Ticks assets in the catalogue."""
        self.open("/assets")
        for asset in assets:
            box = self.page.get_by_test_id(f"checkbox-{asset}")
            box.locator("xpath=..").click()

    def dialog(self) -> "Locator":
        """The dialog that lies on top."""
        return self.page.get_by_role("dialog").last

    def choose_days(self, days: str) -> "Locator":
        """Types days into the open dialog: `2013-03-21`, or `[2013-03-21...2013-03-22]`."""
        dialog = self.dialog()
        box = dialog.get_by_placeholder("ex:")
        box.fill(days)
        box.press("Enter")
        dialog.get_by_text(re.compile(r"[1-9]\d* partition")).first.wait_for()
        return dialog

    def previewed(self, wanted: dict[str, str]) -> dict[str, str]:
        """What the dialog's preview says it would launch, once it is what is wanted: the days of each asset."""
        self.dialog().get_by_role("button", name="Preview").click()
        preview = self.page.get_by_role("dialog").filter(has_text="Backfill preview")
        days = re.compile(r"\d{4}-\d\d-\d\d\.\.\.\d{4}-\d\d-\d\d")

        def read() -> dict[str, str]:
            rows = preview.locator("a[href^='/assets/']").evaluate_all(
                """links => links.map(link => {
                    let row = link;
                    while (row && !/\\d{4}-\\d\\d-\\d\\d\\.\\.\\./.test(row.textContent)) row = row.parentElement;
                    return [link.getAttribute("href").slice("/assets/".length), row ? row.textContent : ""];
                })"""
            )
            return {asset: days.findall(row)[-1] for asset, row in rows if row}

        found: dict[str, str] = self.comes(read, wanted)
        preview.get_by_role("button", name="OK").click()
        preview.wait_for(state="hidden")
        return found

    def launch(self) -> dict[str, Any]:
        """Presses the dialog's Launch; the mutation's variables, or an AssertionError with the error box's text."""
        before = len(self.mutations())
        self.dialog().get_by_role("button", name=re.compile("^Launch")).click()
        error = self.page.get_by_role("dialog").filter(has_text="Copy error")
        for _ in range(PATIENCE_MS // 100):
            if error.count():
                raise AssertionError(error.first.inner_text())
            if len(self.mutations()) > before:
                return dict(self.mutations()[-1]["variables"])
            self.page.wait_for_timeout(100)
        raise AssertionError(f"nothing was launched; the page says:\n{self.text()[-3000:]}")

    def configure(self, config: dict[str, Any]) -> None:
        """Config → Add config → types it → Save, in the open dialog."""
        dialog = self.dialog()
        dialog.get_by_text("Config", exact=True).click()
        dialog.get_by_text(re.compile("^(Add|Edit) config$")).click()
        editor = self.dialog()
        # JSON is YAML, and in one piece the editor completes and indents nothing by itself.
        editor.locator(".CodeMirror").first.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(json.dumps(config))
        editor.get_by_text("No errors").wait_for()
        editor.get_by_role("button", name="Save config").click()
        self.page.get_by_role("dialog").filter(has_text="Config Editor").wait_for(state="hidden")

    def shows(self, text: str) -> bool:
        """Whether a text is on the page, or comes to be."""
        return bool(self.comes(lambda: text in " ".join(self.text().split()), True))

    def comes(self, read: Callable[[], Any], wanted: Any) -> Any:
        """What `read` gives once it is what is wanted; what it gives at last when it never is."""
        for _ in range(PATIENCE_MS // POLL_MS):
            found = read()
            if found == wanted:
                break
            self.page.wait_for_timeout(POLL_MS)
        return found

    def counted(self, *colours: str) -> list[int | None]:
        """How many days of each colour a bar of days counts; None before it is drawn."""
        found = dict(re.findall(r"^([A-Z][A-Za-z ]+) \((\d+)\)$", self.text(), flags=re.MULTILINE))
        return [int(found[colour]) if colour in found else None for colour in colours]

    def check_bar(self, asset: str) -> None:
        """Checks → Partitions of an asset."""
        self.asset(asset, "Checks")
        # The asset has a tab of that name too; the check's own come later, and last.
        self.page.get_by_role("tab", name="Execution history").wait_for()
        self.page.get_by_role("tab", name="Partitions").last.click()
        self.page.get_by_text("Passed (").wait_for()

    def check(self, asset: str) -> None:
        """Checks of an asset: the first click shows the newest evaluation."""
        self.asset(asset, "Checks")
        self.page.get_by_text("Latest execution").wait_for()

    def failed_in_catalogue(self, asset: str) -> int | None:
        """How many days of an asset its line in the catalogue shows as failed; None before that is known."""
        _, _, after = self.text().partition(asset.replace("/", " / "))
        # Materialised, missing, failed, being materialised, all of them; a dash until they are known.
        counted = re.findall(r"^(?:All|\d+)$", after.split("partitions", 1)[0], flags=re.MULTILINE)
        return int(counted[2]) if len(counted) > 2 else None

    def partition_bar(self, asset: str) -> None:
        """Partitions of an asset."""
        self.asset(asset, "Partitions")
        self.page.get_by_text("Materialized (").wait_for()

    def day(self, asset: str, day: str) -> None:
        """The page of one day of an asset: where the first click on that day leads."""
        self.open(f"/assets/{asset}?view=partitions&partition={day}")

    def plots_by_day(self, asset: str) -> None:
        """Overview → Metadata → Plots → Partitions of an asset."""
        self.asset(asset)
        section = self.page.get_by_text("Plots", exact=True)
        section.scroll_into_view_if_needed()
        section.click()
        self.page.locator("button", has_text=re.compile("^Partitions$")).click()

    def mutations(self) -> list[dict[str, Any]]:
        """The mutations sent and answered so far: name, variables."""
        return [request for request in self.sent if request["query"].lstrip().startswith("mutation")]


@contextmanager
def mouse(url: str, shots: Path) -> Iterator[Mouse]:
    """A browser of its own on the UI at `url`, with a new and empty profile.

    Screenshots go to the folder that `$ML_ASSETS_TEST_SCREENSHOTS` names, else to `shots`.
    """
    from playwright.sync_api import Request, sync_playwright
    from playwright.sync_api import TimeoutError as TooLate

    shots = Path(os.environ.get(SCREENSHOTS) or shots)
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver, tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        context = driver.chromium.launch_persistent_context(
            profile,
            executable_path=_chromium(),
            headless=True,
            args=list(FLAGS),
            viewport={"width": WIDTH, "height": HEIGHT},
            timezone_id="America/New_York",
        )
        context.set_default_timeout(PATIENCE_MS)
        held = Mouse(url, context.pages[0], shots, TooLate)

        def heard(request: Request) -> None:
            if request.method == "POST" and "/graphql" in request.url and request.post_data:
                sent = json.loads(request.post_data)
                held.sent.append(
                    {"name": sent.get("operationName"), "variables": sent.get("variables"), "query": sent["query"]}
                )

        # Once it is answered: what a mutation asks for is there then.
        held.page.on("requestfinished", heard)
        try:
            yield held
        finally:
            context.close()
