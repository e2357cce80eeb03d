"""The house: which package may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("manifests", "augment", "evaluate", "flows")
"""From the ground up: each may import itself and those before it."""


def _files(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def _imported(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere, inside functions and for typing too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
