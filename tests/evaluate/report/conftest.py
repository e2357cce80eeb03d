"""Runs to report on, which tests of the report share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evaluate.report.page import write_report
from tests.evaluate.report.report_fixture import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reported run with everything; not to be written to."""
    folder = tmp_path_factory.mktemp("report") / "run"
    folder.mkdir()
    write_run(folder, audited=True, extra_arms=("hybrid@2", "real%25", "hybrid%25"))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without its report, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    folder.mkdir()
    write_run(folder)
    return folder


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run for one test to change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
