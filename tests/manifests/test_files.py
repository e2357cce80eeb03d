"""Files that appear whole or not at all, on disks that fill up and in programs that are killed."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from manifests.errors import StorageFailed
from manifests.files import is_leftover, new_mapped_array, replace_file, write_json, written_in_pieces


def _full(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_all_space_is_taken_before_anything_is_written(tmp_path: Path) -> None:
    array = new_mapped_array(tmp_path / "a.npy", np.float16, (1000, 700))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes
    array[3] = 2
    array.flush()
    assert np.load(tmp_path / "a.npy").sum() == 1400


def test_a_full_disk_is_an_error_and_not_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _full)
    with pytest.raises(StorageFailed, match=r"a\.npy"):
        new_mapped_array(tmp_path / "a.npy", np.float16, (10, 10))


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.bin"
    replace_file(path, b"old")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(StorageFailed, match=r"a\.bin: could not write it, the disk is full"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


def test_a_file_in_pieces_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(KeyboardInterrupt), written_in_pieces(path) as unfinished:
        unfinished.write_bytes(b"half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with written_in_pieces(path) as unfinished:
        unfinished.write_bytes(b"whole")
        assert is_leftover(unfinished.name) and not path.exists()
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


def test_json_keeps_any_path_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"b": "na\u00efve", "a": os.fsdecode(b"/data/\xe9")}
    write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert path.read_bytes() == b'{\n "b": "na\xc3\xafve",\n "a": "/data/\\udce9"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, math.nan)
    assert json.loads(path.read_text(encoding="utf-8")) == content
