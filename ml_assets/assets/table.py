"""Stages and their columns in tables for people, as the README and the documentation show them.

What belongs here: words made of declarations. What does not: the declarations.
"""

from ml_assets.assets.stage import Stage, graph_of
from ml_assets.domain.declared import Declared, Graph
from ml_assets.domain.specs import Catalog

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


def column_dictionary(stages: tuple[Stage, ...], catalog: Catalog) -> str:
    """Every stored column of every table of a catalogue with what it is, as a page of Markdown."""
    lines = [
        "# Columns",
        "",
        "Every table lies in the lake as `<stage>/<name>`, a plain Delta table partitioned by `partition_date`, the",
        "local day of its workload; instants are UTC. This page is made from contracts and declarations: the words",
        "that the UI shows beside a table.",
    ]
    by_name = {stage.name: stage for stage in stages}
    for name in dict.fromkeys(asset.stage for asset in graph_of(stages, catalog)):
        stage = by_name[name]
        lines += ["", f"## {name}", "", f"Partition D holds {stage.holds}."]
        for spec in getattr(catalog, stage.of).values():
            columns = stage.columns(spec, catalog)
            lines += ["", f"### {name}/{spec.name}", "", "| column | what it is |", "|---|---|"]
            lines += [f"| `{column}` | {said} |" for column, said in columns.items()]
    return "\n".join((*lines, ""))


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
