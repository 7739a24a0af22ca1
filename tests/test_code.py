"""Fingerprints of code: a change anywhere in what a function imports of ours is seen, a library's is not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType

import pytest

from ml_assets.assets import stages
from ml_assets.assets.stage import PLUMBING
from ml_assets.catalog import load_catalog
from ml_assets.domain import code
from ml_assets.domain.code import code_fingerprint, code_of
from ml_assets.domain.errors import CatalogError

ROOT = Path(__file__).parent.parent
FILES = {
    "__init__.py": "",
    "top.py": "import polars\nfrom typing import TYPE_CHECKING\nfrom acme_shop import near\nimport acme_shop.direct\n"
    "from .relative import limit\nif TYPE_CHECKING:\n    from acme_shop import only_for_types\n"
    "def f():\n    try:\n        from acme_shop.late import late\n    except ImportError:\n        late = None\n"
    "    return near, late, limit\n",
    "near.py": "from acme_shop.far import VALUE\n",
    "far.py": "VALUE = 1\n",
    "direct.py": "",
    "relative.py": "limit = 3\nfrom .inner import thing\n",
    "inner/__init__.py": "from .thing import VALUE\nfrom .. import far\n",
    "inner/thing.py": "VALUE = 2\n",
    "late.py": "import acme_shop.top\nlate = 1\n",
    "only_for_types.py": "",
    "stranger.py": "",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Somebody's own package, importable."""
    folder = tmp_path / "acme_shop"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "acme_shop"]:
        del sys.modules[name]
    forget()


def forget() -> None:
    invalidate_caches()
    for cached in (code._digest, code._imports, code._file_of, code._place_of):
        cached.cache_clear()


def top() -> ModuleType:
    return import_module("acme_shop.top")


def test_the_closure_is_every_module_of_ours_however_it_is_imported(project: Path) -> None:
    assert project.is_dir()
    assert list(code_of(top().f)) == [
        f"acme_shop.{name}" for name in ("direct", "far", "inner.thing", "late", "near", "relative", "top")
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_change_is_seen_exactly_where_it_is_imported(project: Path, name: str) -> None:
    before = code_fingerprint(top().f)
    (project / name).write_text(FILES[name] + "# another line\n")
    forget()
    seen = name not in ("__init__.py", "inner/__init__.py", "only_for_types.py", "stranger.py")
    assert (code_fingerprint(top().f) != before) == seen


def test_what_is_left_out_is_not_followed(project: Path) -> None:
    assert project.is_dir()
    assert list(code_of(top().f, without={"acme_shop.near", "acme_shop.relative"})) == [
        "acme_shop.direct",
        "acme_shop.late",
        "acme_shop.top",
    ]


def test_a_project_that_is_installed_beside_libraries_is_ours_and_they_are_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = project.parent / "lib" / "site-packages"
    shutil.copytree(project, site / "acme_shop")
    shutil.rmtree(project)
    (site / "acme_library.py").write_text("")
    (site / "acme_shop" / "far.py").write_text("import acme_library, json\nVALUE = 1\n")
    monkeypatch.syspath_prepend(site)
    forget()
    found = code_of(top().f)
    assert "acme_shop.far" in found
    assert {name.split(".")[0] for name in found} == {"acme_shop"}


def test_a_package_beside_the_project_is_ours_too(project: Path) -> None:
    (project.parent / "acme_shared.py").write_text("")
    (project / "far.py").write_text("import acme_shared\nVALUE = 1\n")
    assert "acme_shared" in code_of(top().f)


@pytest.mark.parametrize("function", [len, partial(print), 3])
def test_what_has_no_source_is_refused(function: Callable[..., object]) -> None:
    with pytest.raises(CatalogError, match="has no source file"):
        code_of(function)


def test_a_class_is_told_by_its_module() -> None:
    contract = load_catalog().sources["flights"].contract
    assert code_of(contract) == code_of(load_catalog().sources["flights"].parse)


def test_what_runs_a_stage_is_no_part_of_what_computes_it() -> None:
    for stage in stages():
        found = set(code_of(stage.body, without=PLUMBING))
        assert stage.body.__module__ in found
        assert not {name for name in found if name.split(".")[0] in ("resources", "sensors")}
        assert not found & {"ml_assets.assets.stage", "ml_assets.domain.planning"}


TELL = """
import json, sys
from pathlib import Path
from ml_assets.assets import stages
from ml_assets.assets.stage import code_version_of
from ml_assets.catalog import load_catalog
from ml_assets.domain import code

def told():
    code._digest.cache_clear()
    catalog = load_catalog()
    return {s.name: code_version_of(s, next(iter(getattr(catalog, s.of).values())), catalog) for s in stages()}

assert Path(code.__file__).is_relative_to(Path.cwd()), code.__file__
found = {"": told()}
for name in sys.argv[1:]:
    file = Path("ml_assets/domain") / name
    before = file.read_text()
    file.write_text(before + "# another line\\n")
    found[name] = told()
    file.write_text(before)
print(json.dumps(found))
"""
USED_BY = {
    "evaluation.py": {"calibrators", "champions", "models", "performance_reports", "predictions", "drift_reports"},
    "training.py": {"calibrators", "champions", "models", "predictions", "drift_reports"},
    "drift.py": {"models", "drift_reports"},
    "ingestion.py": {"events"},
    "planning.py": set(),
}


def test_a_changed_domain_module_changes_the_code_versions_of_the_stages_that_use_it(tmp_path: Path) -> None:
    for package in ("ml_assets", "partitions", "resources", "sensors"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", TELL, *USED_BY],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    before = found.pop("")
    changed = {
        name: {stage for stage, version in versions.items() if version != before[stage]}
        for name, versions in found.items()
    }
    assert {name: USED_BY[name] - changed[name] for name in USED_BY} == {name: set() for name in USED_BY}
    assert changed["ingestion.py"] == {"events"}
    assert changed["planning.py"] == set()
    assert changed["drift.py"] == USED_BY["drift.py"]
