"""Fixtures of the flow tests: one finished tiny run for all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows import whole_run


@dataclass(frozen=True)
class FinishedRun:
    """A finished run that no test may change, the command that made it and what that printed."""

    out: Path
    data: Path
    words: list[str]
    output: str


@pytest.fixture(scope="session")
def tiny_run(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The whole job on the drawn dataset, under Prefect, from the command line."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    words = whole_run.command(phantom_folder, out)
    return FinishedRun(out, phantom_folder, words, whole_run.finish(words))


@pytest.fixture
def unfinished(tiny_run: FinishedRun, tmp_path: Path) -> Callable[[str], Path]:
    """Copies the finished run as it stood before the named step, to go on from there."""

    def copy(step: str) -> Path:
        out = tmp_path / "run"
        shutil.copytree(tiny_run.out, out, ignore=shutil.ignore_patterns("prefect"))
        undone = {
            "adapt": ("adapters", "synthetic", "results.json", "work"),
            "synthesise": ("synthetic", "results.json", "work/candidates", "work/benchmark"),
            "benchmark": ("results.json", "work/benchmark"),
        }[step]
        for name in undone:
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return out

    return copy
