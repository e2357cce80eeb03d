"""The gates step learns from the training split alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from flows.run.folder import Job, RunFolder
from flows.settings import load_settings
from flows.steps.gates import fit_gates
from manifests.format.reading import open_manifest
from manifests.progress import no_progress
from tests.evaluate.report.drawn_manifests import COUNTS, Pair, drawn_pair, write_real

COUNTED = {"train": {"bkl": 8, "mel": 8, "nv": 14}, "validation": COUNTS["validation"], "test": COUNTS["test"]}


def judge_of(folder: Path, changed: tuple[str, ...]) -> tuple[str, dict[str, bytes]]:
    """The digest of a real manifest whose pairs of `changed` splits look otherwise, and the judge made from it."""
    splits = {dx: [split for split, by_dx in COUNTED.items() for _ in range(by_dx[dx])] for dx in COUNTED["train"]}

    def draw(dx: str, number: int, synthetic: bool) -> Pair:
        image, mask = drawn_pair(dx, number, synthetic)
        if splits[dx][number] in changed:
            return np.ascontiguousarray(255 - image), np.ascontiguousarray(np.roll(mask, 5, axis=0))
        return image, mask

    real = write_real(folder / "real", draw, COUNTED)
    job = Job(RunFolder(folder), folder, "tiny", load_settings("tiny", None, ["base.resolution=64"]))
    fit_gates(job, no_progress)
    files = sorted(path for path in job.folder.judge.rglob("*") if path.is_file())
    return real.digest, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_judge_does_not_see_validation_and_test_pairs(tmp_path: Path) -> None:
    before, judge = judge_of(tmp_path / "run", ())
    shutil.rmtree(tmp_path / "run")
    after, other = judge_of(tmp_path / "run", ("validation", "test"))
    assert before != after and open_manifest(tmp_path / "run" / "real").counts() == COUNTED
    assert judge == other and any(name.endswith(".safetensors") for name in judge)
