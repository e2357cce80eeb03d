"""A writer that is killed and started again leaves what an uninterrupted one leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.errors import BadInput
from manifests.format.claim import CLAIM_NAME
from manifests.format.reading import open_manifest
from manifests.format.schema import PairRow
from manifests.format.writing import ManifestWriter
from manifests.png import encode_mask, encode_png
from manifests.storage import storage_at
from manifests.storage.base import Storage
from tests.manifests.format.written_folder import contents

SHARDS, PAIRS = 6, 20


def write(folder: str | Storage, announce: bool = False) -> None:
    """The same small manifest each time, one shard after another; announce: a line is printed before each."""
    writer = ManifestWriter(folder, classes=("nv",), provenance={"note": "test"})
    for shard in range(SHARDS):
        if announce:
            print(shard, flush=True)
        if not writer.has_shard("nv", shard):
            writer.write_shard("nv", shard, [_row(shard * PAIRS + i) for i in range(PAIRS)])
    writer.commit()


def _row(number: int) -> PairRow:
    image = np.random.default_rng(number).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    png, mask = encode_png(image), encode_mask(image[..., 0] > 127)
    return PairRow(f"pair-{number:05d}", png, mask, "nv", "train", f"{number}", "test", "CC-0")


@pytest.mark.parametrize("shard", [0, 2, SHARDS - 1])
def test_killed_at_any_moment_and_started_again_the_bytes_are_the_same(tmp_path: Path, shard: int) -> None:
    write(str(tmp_path / "whole"))
    killed = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path / "killed")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert killed.stdout is not None
    while int(killed.stdout.readline()) < shard:
        pass
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    write(str(tmp_path / "killed"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(open_manifest(tmp_path / "killed").arrays()) == SHARDS * PAIRS


class Killed(BaseException):
    """What ends a writer between two changes of its storage."""


def dying(storage: Storage, changes: int, before: bool) -> Storage:
    """The storage, whose user is killed before or after the change of this number."""
    left = [changes]

    def mortal(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if before and left[0] < 0:
                raise Killed
            outcome = change(*arguments, **named)
            if left[0] < 0:
                raise Killed
            return outcome

        return changed

    for name in ("write", "create", "move", "delete"):
        setattr(storage, name, mortal(getattr(storage, name)))
    return storage


def replace_manifest(storage: Storage) -> str:
    """Writes another manifest over the one that is there; its digest."""
    writer = ManifestWriter(storage, classes=("nv",), provenance={"note": "new"})
    for shard in range(2):
        writer.write_shard("nv", shard, [_row(100 + shard * PAIRS + i) for i in range(PAIRS)])
    return writer.commit(beside={"rejected.csv": b"none\n"}).digest


def files_of(storage: Storage) -> dict[str, bytes]:
    return {name: storage.read(name) for name in storage.sizes("") if name != CLAIM_NAME}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("place", ["disk", "objects"])
def test_killed_while_it_replaces_a_manifest_the_old_or_the_new_one_is_there_or_the_same_command_repairs_it(
    tmp_path: Path, place: str, before: bool
) -> None:
    def storage(name: str) -> Storage:
        return storage_at(tmp_path / name if place == "disk" else f"memory://{tmp_path.name}-{before}/{name}")

    write(storage("whole"))
    old, new = open_manifest(storage("whole")).digest, replace_manifest(storage("whole"))
    seen = []
    for changes in range(100):
        write(storage(f"{changes}"))
        try:
            replace_manifest(dying(storage(f"{changes}"), changes, before))
        except Killed:
            try:
                manifest = open_manifest(storage(f"{changes}"))
                seen.append({old: "old", new: "new"}[manifest.digest])
                assert len(manifest.arrays()) == {"old": SHARDS * PAIRS, "new": 2 * PAIRS}[seen[-1]]
                assert seen[-1] == "old" or storage(f"{changes}").read("rejected.csv") == b"none\n"
            except BadInput as error:
                assert "holds no committed manifest" in str(error)
                seen.append("none")
        else:
            break
        assert replace_manifest(storage(f"{changes}")) == new
        assert files_of(storage(f"{changes}")) == files_of(storage("whole"))
    assert seen == sorted(seen, key=["old", "none", "new"].index) and set(seen) == {"old", "none", "new"}


if __name__ == "__main__":
    write(sys.argv[1], announce=True)
