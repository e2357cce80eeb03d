"""Fixtures of the flow tests: one finished tiny run for all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows import whole_run
from tests.shared import shared_folder


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

    def make(folder: Path) -> None:
        folder.mkdir()
        output = whole_run.finish(whole_run.command(phantom_folder, folder / "run"))
        (folder / "output.txt").write_text(output, encoding="utf-8")

    folder = shared_folder(tmp_path_factory, "tiny", make)
    output = (folder / "output.txt").read_text(encoding="utf-8")
    return FinishedRun(folder / "run", phantom_folder, whole_run.command(phantom_folder, folder / "run"), output)


@pytest.fixture
def unfinished(tiny_run: FinishedRun, tmp_path: Path) -> Callable[[str], Path]:
    """Copies the finished run as it stood before the named step, to go on from there."""

    def copy(step: str) -> Path:
        out = tmp_path / "run"
        # With its server's SQLite file, which takes five seconds to make.
        shutil.copytree(tiny_run.out, out)
        undone = {
            "adapt": ("adapters", "synthetic", "results.json", "work"),
            # One task of each class.
            "some of synthesise": ("synthetic", "results.json", "work/candidates/*/*/part-00000.*", "work/benchmark"),
            "synthesise": ("synthetic", "results.json", "work/candidates", "work/benchmark"),
            "benchmark": ("results.json", "work/benchmark"),
        }[step]
        for path in (path for pattern in undone for path in list(out.glob(pattern))):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return out

    return copy
