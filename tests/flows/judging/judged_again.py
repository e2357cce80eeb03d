"""A finished run that is judged again by other settings."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from flows.execution import execute
from flows.run.folder import open_job
from flows.steps import JUDGING_STEPS
from tests.flows.conftest import FinishedRun


def judged_again(run: FinishedRun, out: Path, overrides: Sequence[str]) -> Path:
    """A copy of `run` at `out` after its judging steps with `overrides`."""
    shutil.copytree(run.out, out, ignore=shutil.ignore_patterns("prefect"))
    assert execute(open_job(out, tuple(overrides)), JUDGING_STEPS) == 0
    return out
