"""The house: which package may import which, no circle of modules, and no room too full to walk into."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("manifests", "augment", "evaluate", "flows")
"""From the ground up: each may import itself and those before it."""
MOST_LOOSE, MOST_IN_A_ROOM = 13, 12
SHELVES = {"manifests/sources"}
"""One reader per layout stands there, and there may be many."""


def _files(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path) -> Iterator[str]:
    """What a file imports anywhere, inside functions and for typing too; a name with its module before it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _circle(imports: dict[str, set[str]]) -> list[str]:
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def _module_imports() -> dict[str, set[str]]:
    paths = {_module(path): path for package in PACKAGES for path in _files(package)}
    imports: dict[str, set[str]] = {}
    for module, path in paths.items():
        named = {name if name in paths else name.rpartition(".")[0] for name in _imported(path)}
        imports[module] = (named & paths.keys()) - {module}
    return imports


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    forbidden = {*PACKAGES[PACKAGES.index(package) + 1 :], "tests"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _files(package)
        for name in _imported(path)
        if name.partition(".")[0] in forbidden
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_nothing_below_flows_imports_prefect(package: str) -> None:
    assert not [path for path in _files(package) for name in _imported(path) if name.partition(".")[0] == "prefect"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not _circle(_module_imports())


def test_no_file_is_named_as_what_prefect_puts_its_folder_in_front_of() -> None:
    names = {path.stem for path in (ROOT / "flows/orchestration").glob("*.py")}
    assert not names & {*PACKAGES, "prefect"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_room_is_too_full(package: str) -> None:
    for folder in {path.parent for path in _files(package)}:
        name = folder.relative_to(ROOT).as_posix()
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert name in SHELVES or len(files) <= (MOST_LOOSE if "/" not in name else MOST_IN_A_ROOM), name


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_in_one_sentence_what_it_is_for(package: str) -> None:
    for folder in {path.parent for path in _files(package)}:
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert docstring and docstring.endswith(".") and ". " not in docstring, folder
