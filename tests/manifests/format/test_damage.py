"""Whatever happens to the files of a manifest: reading gives what was committed or one sentence, never more,
and verification notices."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.copying import copy_manifest
from manifests.errors import BadInput, EvendermError
from manifests.format.card import dataset_card
from manifests.format.header import header_checksum
from manifests.format.reading import open_manifest
from manifests.format.schema import arrow_schema, manifest_identity
from manifests.format.verify import verify_manifest
from manifests.format.writing import ManifestWriter
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


def test_every_byte_of_a_footer_is_checked_before_pyarrow_parses_it(original: Any, tmp_path: Path) -> None:
    folder = tmp_path / "manifest"
    shutil.copytree(original[0], folder)
    manifest = open_manifest(folder)
    entry = manifest.shards[0]
    content = (folder / entry.name).read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for at in range(footer, len(content), 61):
        changed = content[:at] + bytes([content[at] ^ 0x81]) + content[at + 1 :]
        (folder / entry.name).write_bytes(changed)
        with pytest.raises(BadInput, match="footer is not the one that was committed"):
            manifest.open_shard(entry)
    assert any("its footer is not" in bad.problem for bad in verify_manifest(folder).bad)


def test_a_writer_makes_a_shard_with_a_damaged_footer_again(original: Any, tmp_path: Path, generated_row: Any) -> None:
    def writer() -> ManifestWriter:
        return ManifestWriter(tmp_path, classes=["nv"], kind="synthetic", provenance={"source": "test"})

    first = writer()
    info = first.write_shard("nv", 0, [generated_row(1)])
    first.abandon()
    content = (tmp_path / info.name).read_bytes()
    (tmp_path / info.name).write_bytes(content[:-40] + b"?" + content[-39:])
    again = writer()
    assert not again.has_shard("nv", 0)
    again.write_shard("nv", 0, [generated_row(1)])
    assert (tmp_path / info.name).read_bytes() == content and again.has_shard("nv", 0)


@pytest.mark.parametrize("version", [1, 2])
def test_a_manifest_of_an_earlier_version_is_read_verified_and_copied(
    original: Any, tmp_path: Path, version: int
) -> None:
    folder = tmp_path / "manifest"
    as_earlier_version(original[0], folder, version)
    columns, told = open_manifest(folder).columns(), open_manifest(folder).masks_by()
    assert ("mask_origin" in columns) == (version > 1) and {origin for _, origin in told} == {"given"}
    assert verify_manifest(folder).ok and same(open_manifest(folder).arrays(), original[1])
    copy = copy_manifest(open_manifest(folder), tmp_path / "copy")
    assert copy.digest == open_manifest(folder).digest and same(copy.arrays(), original[1])
    name = copy.shards[0].name
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-40] + b"?" + content[-39:])
    with pytest.raises(BadInput, match="footer is not the one"):
        open_manifest(folder).arrays()


def as_earlier_version(source: Path, folder: Path, version: int) -> None:
    """The same real manifest as the program wrote it before footers had digests (2) or masks an origin (1)."""
    manifest = open_manifest(source)
    made_of = (manifest.classes, manifest.header["provenance"])
    header = {**manifest.header, "format_version": version}
    header["manifest_id"] = manifest_identity("real", *made_of, version)
    shards = []
    for entry in manifest.shards:
        table = manifest.open_shard(entry).read()
        said = (header["manifest_id"], entry.name, made_of[1], version)
        schema = arrow_schema("real", made_of[0], *said)
        table = table.select(schema.names).cast(schema)
        (folder / entry.name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / entry.name)
        content = (folder / entry.name).read_bytes()
        shards.append({"name": entry.name, "rows": entry.rows, "bytes": len(content)})
        shards[-1]["sha256"] = hashlib.sha256(content).hexdigest()
    header["shards"] = shards
    del header["drawn"]
    header["checksum"] = header_checksum(header)
    (folder / "manifest.json").write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n")
    (folder / "README.md").write_text(dataset_card(header))
