"""The table of stages, for people: what each holds and reads, as the README shows it.

What belongs here: words made of declarations. What does not: the declarations.
"""

from ml_assets.assets.stage import Stage
from ml_assets.domain.declared import Declared, Graph

HEADER = ("| asset | | partition D holds | reads |", "|---|---|---|---|")
PLACEHOLDERS = {"sources": "source", "features": "group", "outcomes": "label", "models": "model"}


def stage_table(stages: tuple[Stage, ...], graph: Graph) -> str:
    """One Markdown row a stage, parents first: its name, its nature, what a day holds, which days of which it reads."""
    by_name = {stage.name: stage for stage in stages}
    rows = [
        f"| `{name}/<{PLACEHOLDERS[by_name[name].of]}>` | {by_name[name].nature} | {by_name[name].holds} "
        f"| {_reads([asset for asset in graph if asset.stage == name])} |"
        for name in dict.fromkeys(asset.stage for asset in graph)
    ]
    return "\n".join((*HEADER, *rows))


def _reads(assets: list[Declared]) -> str:
    """The stages read and the days of each: the longest window that one of the assets has."""
    windows: dict[str, tuple[int, int]] = {}
    by_version: dict[str, None] = {}
    for asset in assets:
        for read in asset.reads.values():
            stage = read.table.split("/")[0]
            if read.by_version:
                by_version[stage] = None
                continue
            first, last = windows.get(stage, (0, read.window.last))
            windows[stage] = (max(first, read.window.first), min(last, read.window.last))
    said = [f"`{stage}` {_days(*window)}" for stage, window in windows.items()]
    said += [f"`{stage}` by version" for stage in by_version if stage not in windows]
    return ", ".join(said) or "its extract"


def _days(first: int, last: int) -> str:
    newest = f"D−{last}" if last else "D"
    return newest if first == last else f"D−{first} … {newest}"
