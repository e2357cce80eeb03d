"""Arrays in files whose disk fills up."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from manifests.errors import StorageFailed
from manifests.files import new_mapped_array


def test_all_space_is_taken_before_anything_is_written(tmp_path: Path) -> None:
    array = new_mapped_array(tmp_path / "a.npy", np.float16, (1000, 700))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes
    array[3] = 2
    array.flush()
    assert np.load(tmp_path / "a.npy").sum() == 1400


def test_a_full_disk_is_an_error_and_not_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*told: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageFailed, match=r"a\.npy"):
        new_mapped_array(tmp_path / "a.npy", np.float16, (10, 10))
