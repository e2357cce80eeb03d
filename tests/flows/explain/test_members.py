"""Who diagnoses: the benchmark's own classifiers, or members trained for it where there are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluate.downstream.classifier import Classifier
from flows.explain.explain import fit_ensemble
from flows.run.folder import Job, open_job
from tests.flows.conftest import FinishedRun

FEW = ["explain.classifier.members=2", "explain.classifier.training.updates=3", "explain.classifier.training.size=32"]


@pytest.fixture
def job(tiny_run: FinishedRun, tmp_path: Path) -> Job:
    shutil.copytree(tiny_run.out, tmp_path / "run", ignore=shutil.ignore_patterns("prefect"))
    return open_job(tmp_path / "run", FEW)


def test_the_classifiers_of_the_arm_that_is_best_on_validation_diagnose(job: Job) -> None:
    ensemble = fit_ensemble(job)
    arms = [arm for arm in json.loads(job.folder.results.read_text())["arms"] if arm["task"] == "classification"]
    best = max(arms, key=lambda arm: arm["validation"]["mean"])
    assert ensemble.record["arm"] == best["name"] and len(ensemble.members) == len(best["seeds"])
    image = np.full((1, 64, 64, 3), 128, np.uint8)
    for seed, member in zip(best["seeds"], ensemble.members, strict=True):
        own = Classifier.load(job.folder.work / "benchmark" / "models" / f"{best['name']}-classification-{seed}")
        assert (own.probabilities(image) == member.probabilities(image)).all()


def test_where_a_model_of_the_benchmark_is_gone_members_are_trained(job: Job) -> None:
    shutil.rmtree(job.folder.work / "benchmark" / "models")
    ensemble = fit_ensemble(job)
    assert ensemble.record["arm"] is None and len(ensemble.members) == 2
    assert fit_ensemble(job).record == ensemble.record
