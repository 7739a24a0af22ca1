"""The README's code and commands are true: examples are built, commands and paths exist."""

import re
from pathlib import Path

import polars as pl
import pytest

from ml_assets.assets import declared_graph, stages
from ml_assets.catalog import build_catalog, load_catalog
from ml_assets.domain.declared import Read
from ml_assets.domain.specs import FeatureGroupSpec
from partitions import same_days

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_feature_example_is_a_feature_group(tmp_path: Path) -> None:
    example = next(block for block in blocks("python") if "FEATURES =" in block)
    file = tmp_path / "timetable.py"
    file.write_text(example)
    written: dict[str, object] = {"__name__": "timetable", "__doc__": "x", "__file__": str(file)}
    exec(compile(example, str(file), "exec"), written)
    group = written["FEATURES"]
    assert isinstance(group, FeatureGroupSpec)
    shipped = load_catalog()
    catalog = build_catalog(
        sources=[("here", spec) for spec in shipped.sources.values()],
        features=[("here", spec) for spec in (*shipped.features.values(), group)],
        outcomes=[("here", spec) for spec in shipped.outcomes.values()],
        models=[("here", spec) for spec in shipped.models.values()],
    )
    assert "timetable" in catalog.features
    instant = pl.datetime(2013, 3, 5, 14, 30, time_zone="UTC")
    flights = pl.select(origin=pl.lit("EWR"), event_time=instant, known_at=instant - pl.duration(hours=24)).lazy()
    rows = group.compute({"flights": flights}).collect()
    assert set(rows.columns) == {"origin", "event_time", "known_at", "departures"}


PATHS = set(re.findall(r"`((?:ml_assets|partitions|sensors|resources|benchmarks)/[^`*<]*)`", README))


@pytest.mark.parametrize("name", sorted(PATHS))
def test_paths_exist(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README))))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_table_of_stages_is_the_declarations() -> None:
    """One line a stage: fact or decision, what its day holds, what it reads. A failure shows the table to put there."""
    table = stages_told()
    assert table in README, f"the README's table of stages is not what is declared; put this there:\n{table}"


def stages_told() -> str:
    """The README's table of stages, from the declarations of the shipped catalogue, parents first."""
    graph = declared_graph(load_catalog())
    by_name = {stage.name: stage for stage in stages()}
    lines = ["| asset | | partition D holds | reads |", "|---|---|---|---|"]
    for name in dict.fromkeys(asset.stage for asset in graph):
        stage = by_name[name]
        reads = {words_of(read): None for asset in graph if asset.stage == name for read in asset.reads.values()}
        reads = {words: None for words in reads if f"{words} up to D" not in reads}
        kind = {"models": "model", "sources": "source", "features": "group", "outcomes": "label"}[stage.of]
        lines.append(
            f"| `{name}/<{kind}>` | {stage.nature} | {stage.holds} | {', '.join(reads) or 'the extract of D'} |"
        )
    return "\n".join(lines)


def words_of(read: Read) -> str:
    """The stage read and which days of it, as the table says it."""
    stage = f"`{read.table.split('/')[0]}`"
    if read.by_version:
        return f"{stage} (by version)"
    return stage if read.window == same_days() else f"{stage} {'before D' if read.window.last else 'up to D'}"


def test_the_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).exists() for picture in pictures)


def blocks(language: str) -> list[str]:
    """The README's fenced code of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
