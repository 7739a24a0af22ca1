"""The identity of code: the source of a function's module and of every module of ours that it imports.

What belongs here: which modules those are, and their fingerprint.
What does not: the identity of rows (`content.py`), what a stage's code is made of (`ml_assets/assets`).

Ours are this platform's modules and those of the project that declares a function, wherever they are installed; a
library is not: which release computed something is recorded beside it. Whole files count, because a function's helpers
and limits stand beside it: a change too many costs a rerun, a change too few is a silent error.
"""

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ml_assets.domain.content import fingerprint
from ml_assets.domain.errors import CatalogError

PLATFORM: Final = frozenset({"ml_assets", "partitions", "resources", "sensors"})
_INSTALLED: Final = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_SITE_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})


def code_fingerprint(function: Callable[..., Any], *, without: Collection[str] = ()) -> str:
    """Twelve hexadecimal digits that change when a module of `code_of` does."""
    return fingerprint(code_of(function, without=without))


def code_of(function: Callable[..., Any], *, without: Collection[str] = ()) -> dict[str, str]:
    """The digest of the source of a function's module and of each module of ours that it imports, by name.

    Imports inside functions count, and so on from module to module; imports for type checkers alone do not, nor those
    made by a computed name. `without` names modules and packages that are neither counted nor followed.

    Raises CatalogError for a function without a source file.
    """
    path = _source_file(function)
    start = getattr(function, "__module__", None) or path.stem
    found = {start: _digest(path)}
    ours = PLATFORM | {start.split(".", maxsplit=1)[0]}
    pending = list(_imports(path, start))
    while pending:
        name = pending.pop()
        if name in found or any(name == cut or name.startswith(f"{cut}.") for cut in without):
            continue
        file = _file_of(name, name.split(".", maxsplit=1)[0] in ours)
        if file is not None:
            found[name] = _digest(file)
            pending += _imports(file, name)
    return dict(sorted(found.items()))


def _source_file(function: Callable[..., Any]) -> Path:
    try:
        source = inspect.getsourcefile(function)
    except TypeError:
        source = None
    if source is None or not Path(source).is_file():
        raise CatalogError(
            f"{function!r} has no source file, so changes to it could not be noticed; declare a function (or class) "
            "that is written in a module."
        )
    return Path(source)


@cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


@cache
def _imports(file: Path, name: str) -> tuple[str, ...]:
    """Every module that a file may import, as far as its name is written there."""
    tree = ast.parse(file.read_bytes(), str(file))
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found: dict[str, None] = {}
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            found |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            origin = ".".join(part for part in (above, node.module) if part)
            for alias in node.names:
                # A module in a package, or what a module holds.
                inner = f"{origin}.{alias.name}"
                found[inner if _file_of(inner, ours=True) else origin] = None
    return tuple(found)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of all bodies in it, those for type checkers alone left out."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and _for_type_checkers(node.test):
            yield from _statements(node.orelse)
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, part, []))
        for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _statements(inner.body)


def _for_type_checkers(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


@cache
def _file_of(name: str, ours: bool) -> Path | None:
    """The source file of a module, found without importing it; None for a library's, and for what is no module."""
    top, *parts = name.split(".")
    if top in sys.stdlib_module_names or (place := _place_of(top)) is None:
        return None
    if not ours and _is_installed(place):
        return None
    if place.is_file():
        return None if parts else place
    inside = place.joinpath(*parts)
    return next((file for file in (inside.with_suffix(".py"), inside / "__init__.py") if file.is_file()), None)


@cache
def _place_of(top: str) -> Path | None:
    """The folder of a package or the file of a module that stands in no package; None when there is none."""
    try:
        spec = find_spec(top)
    except ValueError:
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and Path(spec.origin).suffix == ".py" else None


def _is_installed(place: Path) -> bool:
    return bool(_SITE_FOLDERS & set(place.parts)) or any(place.resolve().is_relative_to(each) for each in _INSTALLED)
