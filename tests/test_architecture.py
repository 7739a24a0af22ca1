"""The house rules that can be read off the source: who imports whom, what each module says it is for."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.domain.errors import MlAssetsError

ROOT = Path(__file__).parent.parent
OURS = ("ml_assets", "partitions", "resources", "sensors")
MODULES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))

# What each part may import of ours, itself and the tree of errors aside. The most specific prefix counts.
ERRORS = "ml_assets.domain.errors"
ALLOWED = {
    "partitions": set(),
    "ml_assets.domain": {"partitions"},
    "ml_assets.domain.errors": set(),
    "ml_assets.catalog": {"ml_assets.domain"},
    "resources": {"ml_assets.domain", "partitions"},
    "ml_assets.checks": {"ml_assets.domain", "partitions", "resources"},
    "ml_assets.assets": {"ml_assets.domain", "ml_assets.checks", "partitions", "resources"},
    "sensors": {"ml_assets.domain", "partitions", "resources"},
    "ml_assets.definitions": {
        "ml_assets.assets",
        "ml_assets.catalog",
        "ml_assets.checks",
        "ml_assets.domain",
        "partitions",
        "resources",
        "sensors",
    },
    # Programs over the finished platform; nothing of the platform imports them.
    "ml_assets.launch": {"ml_assets.assets", "ml_assets.definitions", "ml_assets.domain", "partitions", "resources"},
    "ml_assets.repair": {"ml_assets.domain", "ml_assets.launch", "partitions", "resources"},
    "ml_assets.replay": {
        "ml_assets.assets",
        "ml_assets.domain",
        "ml_assets.launch",
        "ml_assets.repair",
        "partitions",
        "resources",
    },
    "ml_assets.operate": {
        "ml_assets.domain",
        "ml_assets.launch",
        "ml_assets.repair",
        "ml_assets.replay",
        "partitions",
        "resources",
    },
    "ml_assets.reproduce": {"ml_assets.domain", "resources"},
    "ml_assets.explain": {"ml_assets.domain", "ml_assets.reproduce", "resources"},
    "ml_assets.explain_terminal": {"ml_assets.explain"},
    "ml_assets.scoring": {"ml_assets.catalog", "ml_assets.domain", "partitions", "resources"},
    "ml_assets.scoring_terminal": {"ml_assets.domain", "ml_assets.scoring"},
    "ml_assets.check": {"ml_assets.assets", "ml_assets.domain", "resources"},
    "ml_assets.check_terminal": {"ml_assets.check", "ml_assets.domain"},
    "ml_assets.summary": {"ml_assets.assets", "ml_assets.domain", "resources"},
    "ml_assets.status_page": {"ml_assets.domain"},
    "ml_assets.status_terminal": {"ml_assets.domain"},
    "ml_assets.serve": {"ml_assets.domain", "resources"},
    "ml_assets.sentences": set(),
    "ml_assets.begin": {"ml_assets.catalog", "ml_assets.domain", "partitions", "resources"},
    "ml_assets.__main__": {
        "ml_assets.begin",
        "ml_assets.catalog",
        "ml_assets.check",
        "ml_assets.check_terminal",
        "ml_assets.domain",
        "ml_assets.launch",
        "ml_assets.operate",
        "ml_assets.repair",
        "ml_assets.replay",
        "ml_assets.reproduce",
        "ml_assets.explain",
        "ml_assets.explain_terminal",
        "ml_assets.scoring",
        "ml_assets.scoring_terminal",
        "ml_assets.sentences",
        "ml_assets.serve",
        "ml_assets.status_page",
        "ml_assets.status_terminal",
        "ml_assets.summary",
        "resources",
    },
}
# What the package itself offers to programs of one's own.
OFFERED = {"ml_assets": {"ml_assets.scoring"}}


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


def part_of(module: str) -> str:
    """The part of the house a module of ours belongs to, "" for what is not ours."""
    fitting = [part for part in ALLOWED if module == part or module.startswith(f"{part}.")]
    return max(fitting, key=len, default="")


def imports_of(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in it; `from a import b` also counts as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 40
    assert not {name_of(path) for path in MODULES if not part_of(name_of(path))} - {"ml_assets"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(name_of(path))
    came = {part_of(module) for module in imports_of(path)} - {"", part, ERRORS}
    allowed = ALLOWED.get(part, set()) | OFFERED.get(name_of(path), set())
    assert came <= allowed, f"{name_of(path)} imports {came - allowed}"


def test_the_rule_of_imports_notices_a_breach(tmp_path: Path) -> None:
    breach = tmp_path / "breach.py"
    breach.write_text("def late():\n    from resources import lake\n    import sensors.retrain\n")
    assert {part_of(module) for module in imports_of(breach)} == {"resources", "sensors"}
    assert part_of("ml_assets.domain.drift") == "ml_assets.domain"
    assert part_of("ml_assets.launcher") == part_of("dagster") == ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_dagster_stays_out_of_domain_and_catalog(path: Path) -> None:
    if part_of(name_of(path)) in {"ml_assets.domain", "ml_assets.catalog"}:
        foreign = {module.split(".")[0] for module in imports_of(path)}
        assert not foreign & {"dagster", "dagster_deltalake", "dagster_mlflow", "deltalake", "mlflow", "os"}


STAGES = [path for path in MODULES if path.parent == ROOT / "ml_assets" / "assets" and "STAGE = " in path.read_text()]


@pytest.mark.parametrize("path", STAGES, ids=name_of)
def test_stages_do_not_import_one_another(path: Path) -> None:
    """What stages share is declared (their reads) or has a module of its own: a stage can be taken away alone."""
    others = {name_of(other) for other in STAGES} - {name_of(path)}
    met = {other for other in others for module in imports_of(path) if f"{module}.".startswith(f"{other}.")}
    assert not met


def test_there_are_stages_to_look_at() -> None:
    from ml_assets.assets import stages

    assert {path.stem for path in STAGES} == {stage.name for stage in stages()}


def test_what_stages_share_imports_no_stage() -> None:
    of_stages = {name_of(path) for path in STAGES}
    shared = [path for path in MODULES if path.parent == ROOT / "ml_assets" / "assets" and path not in STAGES]
    assert {path.name for path in shared} == {"__init__.py", "feature_join.py", "stage.py", "table.py"}
    for path in shared:
        assert not {module for module in imports_of(path) if any(f"{module}.".startswith(f"{s}.") for s in of_stages)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_imports_a_stage_by_name(path: Path) -> None:
    """Stages are found, never registered: a module that names one would have to be changed to add the next."""
    if part_of(name_of(path)) == "ml_assets.assets":
        return
    of_stages = {name_of(stage) for stage in STAGES}
    assert not {module for module in imports_of(path) if any(f"{module}.".startswith(f"{s}.") for s in of_stages)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_environment_is_read_in_one_file(path: Path) -> None:
    if name_of(path) == "resources.settings":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"}:
            assert not (isinstance(node.value, ast.Name) and node.value.id == "os"), f"line {node.lineno}"
    assert not {"os.environ", "os.getenv", "os.putenv"} & set(imports_of(path))


def is_declaration(path: Path) -> bool:
    """Whether a file is one of the catalogue's, whose docstring is its description in the UI."""
    return path.parent.parent == ROOT / "ml_assets" / "catalog"


@pytest.mark.parametrize("path", [path for path in MODULES if path.read_text().strip()], ids=name_of)
def test_every_module_opens_with_its_charter(path: Path) -> None:
    charter = ast.get_docstring(ast.parse(path.read_text()))
    assert charter
    first_line = charter.splitlines()[0]
    assert len(first_line) > 20
    if not is_declaration(path):
        assert "What belongs here:" in charter
        assert "hat does not:" in charter


def test_only_empty_files_have_no_charter() -> None:
    empty = {path.name for path in MODULES if not path.read_text().strip()}
    assert empty == {"__init__.py"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_broad_except_decides(path: Path) -> None:
    """A bare or broad except may only translate: its last word is a raise."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)} if node.type else {"Exception"}
        if caught & {"Exception", "BaseException"}:
            assert isinstance(node.body[-1], ast.Raise), f"line {node.lineno} swallows what it cannot know"


# Raised outside the tree: where, what, and why.
OUTSIDE_THE_TREE = {
    # How an import is refused.
    ("ml_assets.domain.training", "ImportError"),
    # A signal, not an error.
    ("ml_assets.launch", "KeyboardInterrupt"),
    ("ml_assets.serve", "KeyboardInterrupt"),
}


def raised_in(tree: ast.AST) -> Iterator[str]:
    """The name of every class of which a new exception is raised; not what is caught and raised again."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")
            if name[:1].isupper():
                yield name


def tree_of(kind: type[BaseException]) -> set[str]:
    """The names of a class and all its subclasses."""
    return {kind.__name__}.union(*map(tree_of, kind.__subclasses__()))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_error_is_of_the_tree(path: Path) -> None:
    if name_of(path) != "ml_assets.__main__":
        importlib.import_module(name_of(path))
    foreign = {name for name in raised_in(ast.parse(path.read_text())) if name not in tree_of(MlAssetsError)}
    assert foreign <= {name for module, name in OUTSIDE_THE_TREE if module == name_of(path)}


def test_the_rule_of_errors_notices_a_breach() -> None:
    code = "def f(e):\n raise ValueError('x')\n raise pl.exceptions.ComputeError\n raise e\n raise\n raise DayError(1)"
    assert list(raised_in(ast.parse(code))) == ["ValueError", "ComputeError", "DayError"]
    assert {"DayError", "DriftError", "StorageError"} <= tree_of(MlAssetsError)
    assert "ValueError" not in tree_of(MlAssetsError)


def test_definitions_stay_short() -> None:
    """`build_defs` and the resources it is given; imports and docstrings aside."""
    tree = ast.parse((ROOT / "ml_assets" / "definitions.py").read_text())
    code = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
    lines = sum((node.end_lineno or 0) - node.lineno + 1 for node in code)
    assert lines < 60


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_postpones_annotations(path: Path) -> None:
    assert "__future__.annotations" not in set(imports_of(path)), "it breaks Dagster's factories"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_named_after_what_they_hold(path: Path) -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "manager", "data", "process", "misc"}
    assert path.stem not in vague
