"""What becomes of generated pairs that repeat each other across classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from augment.sampling import Drawn
from augment.synthesis import draw_shard
from flows.steps import synthesise
from manifests.storage import storage_at
from tests.augment.test_synthesis import JOB, SeededNoise


class OneForAll(SeededNoise):
    """Draws the same pictures for every class."""

    def draw(self, prompts: Any, seeds: Any, known: Any = None, tidy: bool = True) -> Drawn:
        return super().draw(prompts, range(len(seeds)))


class Seen:
    """Remembers pictures by their bytes."""

    def __init__(self, earlier: Sequence[Seen]) -> None:
        self.own: set[bytes] = set()
        self.earlier = list(earlier)

    def add(self, images: np.ndarray) -> list[bool]:
        contents = [image.tobytes() for image in images]
        repeats = [any(content in seen.own for seen in (self, *self.earlier)) for content in contents]
        self.own |= {content for content, repeat in zip(contents, repeats, strict=True) if not repeat}
        return repeats


def test_a_pair_that_repeats_one_of_another_class_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job: Any = SimpleNamespace(folder=SimpleNamespace(work=tmp_path))
    storage = storage_at(tmp_path)
    monkeypatch.setattr(synthesise, "class_job", lambda job, dx: replace(JOB, dx=dx, wanted=4, limit=8))
    monkeypatch.setattr(synthesise, "_candidates", lambda job: storage)
    monkeypatch.setattr(synthesise, "readers_of", lambda job: None)
    monkeypatch.setattr(synthesise, "_seen", lambda job, earlier: Seen(earlier))
    draw_shard(synthesise.class_job(job, "nv"), 0, OneForAll(), None, storage)  # type: ignore[arg-type]
    first = synthesise.class_outcomes(job, ["nv", "mel"])
    assert first["nv"].accepted == 4 and first["mel"].missing_shards, "the class before it has nothing yet"
    draw_shard(synthesise.class_job(job, "mel"), 0, OneForAll(), None, storage)  # type: ignore[arg-type]
    then = synthesise.class_outcomes(job, {"mel", "nv"})
    assert (then["mel"].accepted, then["nv"].accepted) == (4, 0)
    assert set(then["nv"].rejected) == {"generated_duplicate"}, "settled anew, now that mel has these pictures"
