"""Whatever happens to the files of a manifest: reading gives what was committed or one sentence, never more,
and verification notices."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import EvendermError
from manifests.format.reading import open_manifest
from manifests.format.verify import verify_manifest
from manifests.pairs import PairArrays

KINDS = ("cut", "flip", "grow", "zero", "empty", "remove", "replace", "text", "swap bytes")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, manifest_at: Any) -> Any:
    folder = tmp_path_factory.mktemp("original")
    return folder, manifest_at(folder).arrays()


def damage(content: bytes, kind: str, other: bytes, data: st.DataObject) -> bytes | None:
    """What becomes of a file; None for no file at all."""
    at = data.draw(st.integers(0, len(content) - 1), label="at")
    changed = bytearray(content)
    if kind == "cut":
        return content[:at]
    if kind == "flip":
        changed[at] ^= data.draw(st.integers(1, 255), label="bits")
    elif kind == "grow":
        changed[at:at] = b"surplus"
    elif kind == "zero":
        changed[at : at + 64] = bytes(len(changed[at : at + 64]))
    elif kind == "text":
        changed = bytearray(b"not what you think it is")
    elif kind == "swap bytes":
        changed[at : at + 2] = changed[at : at + 2][::-1]
    return {"empty": b"", "remove": None, "replace": other}.get(kind, bytes(changed))


def same(one: PairArrays, other: PairArrays) -> bool:
    return (
        one.pair_ids == other.pair_ids
        and one.group_ids == other.group_ids
        and np.array_equal(one.images, other.images)
        and np.array_equal(one.masks, other.masks)
        and np.array_equal(one.labels, other.labels)
    )


@settings(max_examples=250)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_damage_is_noticed_or_harmless(original: Any, data: st.DataObject, kind: str) -> None:
    source, arrays = original
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "manifest"
        shutil.copytree(source, folder)
        files = sorted(p for p in folder.rglob("*") if p.name != "README.md" and p.is_file())
        target, other = (files[data.draw(st.integers(0, len(files) - 1))] for _ in range(2))
        before = target.read_bytes()
        after = damage(before, kind, other.read_bytes(), data)
        target.unlink()
        if after is not None:
            target.write_bytes(after)
        changed = after != before
        try:
            read = open_manifest(folder).arrays()
        except EvendermError as error:
            assert changed
            assert "\n" not in str(error)
        else:
            assert same(read, arrays)
        try:
            report = verify_manifest(folder)
        except EvendermError as error:
            assert target.name == "manifest.json"
            assert "\n" not in str(error)
        else:
            assert report.ok == (not changed or target.name == "manifest.json")
            assert all("\n" not in str(bad) for bad in report.bad)


@pytest.mark.parametrize("byte", [b"X", b"\xf0"])
@pytest.mark.parametrize("name", ["pair_id", "group_id", "label", "split", "image", "mask", "bytes", "image_sha256"])
def test_a_spoilt_column_name_is_one_sentence(original: Any, tmp_path: Path, name: str, byte: bytes) -> None:
    shutil.copytree(original[0], tmp_path / "manifest")
    target = sorted((tmp_path / "manifest").rglob("*.parquet"))[0]
    content = target.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    at = content.index(bytes([len(name)]) + name.encode(), footer) + 1  # the schema stands first in a footer
    target.write_bytes(content[:at] + byte + content[at + 1 :])
    with pytest.raises(EvendermError, match=target.name):
        open_manifest(tmp_path / "manifest").arrays()
