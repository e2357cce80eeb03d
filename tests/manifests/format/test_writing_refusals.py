"""What cannot be written, or not there, is refused in one sentence, and the committed manifest stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from manifests.errors import BadInput, StorageFailed
from manifests.format.reading import open_manifest
from manifests.png import encode_mask
from tests.manifests.format.written_folder import writer_at


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pair_id": ""}, "its id must have"),
        ({"pair_id": "a\nb"}, "control characters"),
        ({"split": "training"}, "none of train, validation, test"),
        ({"dx": "mel"}, "is not the shard's"),
        ({"image_png": b"\xff\xd8 jpeg"}, "not a PNG"),
        ({"mask_png": None, "image_png": b""}, "not a PNG"),
        ({"accepted": True}, "no prompt, seed, scores or acceptance"),
        ({"scores": {"mask_plausibility": 1.0}}, "no prompt, seed, scores or acceptance"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named(tmp_path: Path, row: Any, changes: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        writer_at(tmp_path).write_shard("nv", 0, [row(1), row(2, **changes)])
    assert "\n" not in str(error.value)


def test_a_mask_of_another_size_is_refused(tmp_path: Path, row: Any) -> None:
    import numpy as np

    small = encode_mask(np.zeros((5, 5), bool))
    with pytest.raises(BadInput, match="not of the image's size"):
        writer_at(tmp_path).write_shard("nv", 0, [row(1, mask_png=small)])


@pytest.mark.parametrize("changes", [{"split": "test"}, {"accepted": None}, {"scores": {"beauty": 1.0}}])
def test_a_synthetic_row_must_be_trained_on_and_judged(tmp_path: Path, generated_row: Any, changes: Any) -> None:
    with pytest.raises(BadInput):
        writer_at(tmp_path, kind="synthetic").write_shard("nv", 0, [generated_row(1, **changes)])


def test_an_id_that_stands_twice_is_refused(tmp_path: Path, row: Any) -> None:
    writer = writer_at(tmp_path)
    with pytest.raises(BadInput, match="stands twice"):
        writer.write_shard("nv", 0, [row(1), row(1)])
    writer.write_shard("nv", 0, [row(1)])
    writer.write_shard("mel", 0, [row(1, "mel")])
    with pytest.raises(BadInput, match="two classes or shards"):
        writer.commit()


def test_an_empty_or_unknown_commit_is_refused(tmp_path: Path, row: Any) -> None:
    writer = writer_at(tmp_path)
    with pytest.raises(BadInput, match="no pairs to commit"):
        writer.commit()
    with pytest.raises(BadInput, match="none of nv, mel"):
        writer.write_shard("bcc", 0, [row(1, "bcc")])


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_place_that_cannot_be_written_is_bad_input(
    number: int, tmp_path: Path, row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_at(tmp_path, "new")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BadInput, match=r"read-only disk; choose another place|check its permissions"):
        writer.write_shard("nv", 0, [row(1)])


def test_a_full_disk_leaves_the_committed_manifest_intact(
    tmp_path: Path, manifest_at: Any, row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = manifest_at(tmp_path).digest
    writer = writer_at(tmp_path, "new")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed, match="the disk is full: free some space"):
        writer.write_shard("nv", 0, [row(1)])
    monkeypatch.undo()
    assert open_manifest(tmp_path).digest == before
    assert not list(tmp_path.rglob(".part-of-*"))


def test_a_location_inside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="not a folder"):
        writer_at(tmp_path / "file" / "manifest")
