"""The documentation is true: the tutorial runs block by block, links lead somewhere, lists are those of the code.

What belongs here: `docs/`. What does not: the README (`test_readme.py`).
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ml_assets.__main__ import COMMANDS, parser

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def typed(page: Path) -> list[str]:
    """Every command that a page says to type."""
    consoles = (text for kind, _, text in BLOCK.findall(page.read_text()) if kind == "console")
    return [line.removeprefix("$ ") for text in consoles for line in text.splitlines() if line.startswith("$ ")]


def test_the_tutorial_runs_block_by_block(tmp_path: Path) -> None:
    clean = {name: held for name, held in os.environ.items() if not name.startswith("ML_ASSETS_")}
    place, said = tmp_path, ""
    environment = {
        **clean,
        "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "150",
    }
    for kind, file, text in BLOCK.findall((DOCS / "tutorial.md").read_text()):
        if kind == "python":
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_text(text)
            continue
        for line in (each.removeprefix("$ ") for each in text.splitlines()):
            if line.startswith("cd "):
                place /= line.removeprefix("cd ")
                continue
            ran = subprocess.run(
                line, shell=True, cwd=place, env=environment, capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"
            said += ran.stdout
    assert re.search(r"All \d+ promises hold", said)
    assert "late  Apr 2025" in said or "Apr 2025" in said
    assert "to the last bit" in said
    assert not list(place.glob(".ml_assets/lake/quarantine/*"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_what_a_page_says_to_type_can_be_typed(page: Path) -> None:
    for line in typed(page):
        for part in re.split(r"\s*(?:;|&&)\s*", line):
            words = shlex.split(part, comments=True)
            if words and words[0].endswith("ml-assets"):
                parser().parse_args([re.sub(r"^<\w+>$", "x", word) for word in words[1:]])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_operators_page_names_every_command() -> None:
    told = (DOCS / "operator.md").read_text()
    assert {name for name in COMMANDS if f"`{name}`" not in told and f"ml-assets {name}" not in told} == set()


def test_the_dictionary_of_columns_is_made_of_the_declarations() -> None:
    from ml_assets.assets import stages
    from ml_assets.assets.table import column_dictionary
    from ml_assets.catalog import load_catalog

    wanted = column_dictionary(stages(), load_catalog())
    assert (DOCS / "columns.md").read_text() == wanted, "write what column_dictionary gives"
