"""A writer that is killed and started again leaves what an uninterrupted one leaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from manifests.images import encode_mask, encode_png
from manifests.reading import open_manifest
from manifests.schema import PairRow
from manifests.writing import ManifestWriter

SHARDS, PAIRS = 6, 20


def write(folder: str, announce: bool = False) -> None:
    """The same small manifest each time, one shard after another."""
    writer = ManifestWriter(folder, classes=("nv",), provenance={"note": "test"})
    if announce:
        print("started", flush=True)
    for shard in range(SHARDS):
        if not writer.has_shard("nv", shard):
            writer.write_shard("nv", shard, [_row(shard * PAIRS + i) for i in range(PAIRS)])
    writer.commit()


def _row(number: int) -> PairRow:
    image = np.random.default_rng(number).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    png, mask = encode_png(image), encode_mask(image[..., 0] > 127)
    return PairRow(f"pair-{number:05d}", png, mask, "nv", "train", f"{number}", "test", "CC-0")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("attempt", range(3))
def test_killed_at_any_moment_and_started_again_the_bytes_are_the_same(tmp_path: Path, attempt: int) -> None:
    write(str(tmp_path / "whole"))
    killed = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path / "killed")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert killed.stdout is not None
    killed.stdout.readline()
    time.sleep(random.uniform(0, 0.2) * attempt)
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    write(str(tmp_path / "killed"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(open_manifest(tmp_path / "killed").arrays()) == SHARDS * PAIRS


if __name__ == "__main__":
    write(sys.argv[1], announce=True)
