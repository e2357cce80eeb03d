"""Datasets in the form that people have them are read as their owners would, where such a collection is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.manifests.sources.trials import FOLDER, problems

TRIALS = sorted(path.parent for path in FOLDER.glob("*/expected.json"))


@pytest.mark.parametrize("trial", [pytest.param(path, id=path.name) for path in TRIALS])
def test_a_dataset_as_people_have_it_is_read_as_they_mean_it(trial: Path, tmp_path: Path) -> None:
    assert problems(trial, tmp_path) == []
