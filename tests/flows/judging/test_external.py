"""Other hospitals' pairs in a run: prepared once, tested by the models that are there, and refused in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from flows.execution import execute
from flows.run.folder import Job, open_job
from flows.run.log import read_events
from flows.steps import JUDGING_STEPS
from manifests.errors import BadInput
from manifests.phantom.draw import write_phantom
from tests.flows.conftest import FinishedRun


@pytest.fixture
def out(tiny_run: FinishedRun, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(tiny_run.out, tmp_path / "run", ignore=shutil.ignore_patterns("prefect")))


def with_external(out: Path, place: Path) -> Job:
    return open_job(out, ("engine.name=plain", f"benchmark.external={json.dumps({'away': str(place)})}"))


def started(out: Path) -> list[str]:
    return [str(event["task"]) for event in read_events(out / "log.jsonl") if event["event"] == "started"]


def test_a_set_that_is_added_later_is_tested_by_the_models_that_are_there(out: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "away", 24, 7)
    before, told = json.loads((out / "results.json").read_text()), len(started(out))
    assert execute(with_external(out, tmp_path / "away"), JUDGING_STEPS) == 0
    after, tasks = json.loads((out / "results.json").read_text()), started(out)[told:]
    assert tasks[0] == "external away"
    assert not [task for task in tasks if task.startswith(("benchmark classification", "benchmark segmentation"))]
    assert after["arms"] == before["arms"]
    (away,) = after["external"]
    assert {verdict["task"] for verdict in away["verdicts"]} == {"classification", "segmentation"}
    assert sum(away["counts"].values()) == 24
    assert str(tmp_path) not in (out / "report.html").read_text() + (out / "results.json").read_text()
    told = len(started(out))
    (tmp_path / "away").rename(tmp_path / "gone")
    assert execute(with_external(out, tmp_path / "away"), JUDGING_STEPS) == 0
    assert len(started(out)) == told, "its pairs are admitted, whatever became of the folder"
    with pytest.raises(BadInput, match="elsewhere: no such dataset or manifest"):
        execute(with_external(out, tmp_path / "elsewhere"), JUDGING_STEPS)
    (out / "external" / "away" / "manifest.json").unlink()
    with pytest.raises(BadInput, match="away: no such dataset or manifest"):
        execute(with_external(out, tmp_path / "away"), JUDGING_STEPS)


def test_a_set_that_cannot_be_tested_is_refused_before_anything_is_done(out: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"benchmark\.external away: .*nowhere: no such dataset or manifest; check"):
        execute(with_external(out, tmp_path / "nowhere"), JUDGING_STEPS)
