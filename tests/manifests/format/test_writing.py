"""A manifest is committed whole or not at all, and its bytes follow from its rows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.format.schema import UNLABELLED, column_types
from manifests.format.writing import ManifestWriter
from manifests.png import png_text
from tests.manifests.format.written_folder import CLASSES, contents, writer_at


def test_the_same_rows_in_any_order_give_the_same_bytes(tmp_path: Path, row: Any) -> None:
    rows = [row(i) for i in range(150)]
    for name in ("one", "two"):
        random.Random(name).shuffle(rows)
        writer = writer_at(tmp_path / name)
        writer.write_shard("nv", 0, rows)
        writer.commit()
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_shard_is_stored_as_the_contract_says(tmp_path: Path, row: Any) -> None:
    writer = writer_at(tmp_path)
    info = writer.write_shard("nv", 0, [row(i) for i in range(150)])
    writer.commit()
    file = pq.ParquetFile(tmp_path / info.name)
    assert file.schema_arrow.names == list(column_types("real"))
    assert "lesion" not in file.schema_arrow.names
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [64, 64, 22]
    group = file.metadata.row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        pictures = column.path_in_schema in ("image.bytes", "mask.bytes")
        assert column.compression == ("UNCOMPRESSED" if pictures else "ZSTD")
        assert column.has_offset_index
        assert column.has_column_index or column.path_in_schema.endswith(".bytes"), column.path_in_schema
        assert column.has_dictionary_page == (column.path_in_schema in ("dx", "origin", "split", "source",
            "licence", "age_group", "sex", "site", "skin_tone", "mask_origin", "attribution"))  # fmt: skip
    ids = file.read(["pair_id"])["pair_id"].to_pylist()
    assert ids == sorted(ids)


def test_the_header_names_what_is_there(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path, pairs=30)
    header = json.loads((tmp_path / "manifest.json").read_text())
    assert [shard["name"] for shard in header["shards"]] == [
        "data/lesion=mel/part-00000.parquet",
        "data/lesion=nv/part-00000.parquet",
        "data/lesion=nv/part-00001.parquet",
    ]
    assert sum(sum(by_dx.values()) for by_dx in header["counts"].values()) == header["rows"] == 30
    assert header["masks"] == 30
    assert header["classes"] == ["nv", "mel"]
    assert header["provenance"] == {"source": "test"}
    assert header["sources"] == {"isic2017": 30}
    assert manifest.header == header
    assert sorted(contents(tmp_path)) == sorted(
        ["README.md", "manifest.json", *(shard["name"] for shard in header["shards"])]
    )


def test_nothing_exists_before_the_commit(tmp_path: Path, row: Any) -> None:
    writer = writer_at(tmp_path)
    writer.write_shard("nv", 0, [row(1)])
    with pytest.raises(BadInput, match="no committed manifest"):
        open_manifest(tmp_path)


def test_an_attempt_that_stopped_is_continued(tmp_path: Path, row: Any) -> None:
    whole = writer_at(tmp_path / "whole")
    for index in range(3):
        whole.write_shard("nv", index, [row(10 * index + i) for i in range(10)])
    whole.commit()

    first = writer_at(tmp_path / "resumed")
    first.write_shard("nv", 0, [row(i) for i in range(10)])
    first.abandon()
    second = writer_at(tmp_path / "resumed")
    assert [second.has_shard("nv", index) for index in range(3)] == [True, False, False]
    for index in (1, 2):
        second.write_shard("nv", index, [row(10 * index + i) for i in range(10)])
    second.commit()
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")


def test_shards_of_another_manifest_are_not_taken_for_finished_ones(tmp_path: Path, row: Any) -> None:
    other = writer_at(tmp_path, "other settings")
    other.write_shard("nv", 0, [row(1)])
    other.write_shard("nv", 1, [row(2)])
    other.abandon()
    writer = writer_at(tmp_path)
    assert not writer.has_shard("nv", 0)
    writer.write_shard("nv", 0, [row(3)])
    manifest = writer.commit()
    assert manifest.table(["pair_id"])["pair_id"].to_pylist() == [row(3).pair_id]
    assert not (tmp_path / "data/lesion=nv/part-00001.parquet").exists()


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path, row: Any) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.txt").write_text("mine")
    (tmp_path / "data/lesion=nv").mkdir()
    (tmp_path / "data/lesion=nv/.part-of-part-00000.parquet-0badc0de").write_text("cut")
    writer = writer_at(tmp_path)
    writer.write_shard("nv", 0, [row(1)])
    writer.commit()
    assert (tmp_path / "data/notes.txt").read_text() == "mine"
    assert not list(tmp_path.rglob(".part-of-*"))


def test_only_the_named_shards_are_committed(tmp_path: Path, row: Any) -> None:
    writer = writer_at(tmp_path)
    for index in range(3):
        writer.write_shard("nv", index, [row(index)])
    manifest = writer.commit([("nv", 0), ("nv", 2)])
    assert [entry.name[-13:-8] for entry in manifest.shards] == ["00000", "00002"]
    assert not (tmp_path / "data/lesion=nv/part-00001.parquet").exists()
    again = writer_at(tmp_path)
    with pytest.raises(BadInput, match=r"part-00009\.parquet was not written"):
        again.commit([("nv", 9)])


def test_committing_twice_changes_nothing(tmp_path: Path, manifest_at: Any) -> None:
    first = manifest_at(tmp_path)
    before = contents(tmp_path)
    assert manifest_at(tmp_path).digest == first.digest
    assert contents(tmp_path) == before


def test_a_committed_manifest_stays_readable_until_the_next_commit(tmp_path: Path, row: Any) -> None:
    old = writer_at(tmp_path, "old")
    old.write_shard("nv", 0, [row(i) for i in range(20)])
    old.commit()
    new = writer_at(tmp_path, "new")
    new.write_shard("nv", 0, [row(i) for i in range(20, 25)])
    assert len(open_manifest(tmp_path).arrays()) == 20
    new.commit()
    assert len(open_manifest(tmp_path).arrays()) == 5
    assert not (tmp_path / ".staging").exists()
    assert not (tmp_path / ".writer.json").exists()


def test_a_commit_cut_short_is_finished_by_the_next_attempt(tmp_path: Path, row: Any) -> None:
    old = writer_at(tmp_path, "old")
    old.write_shard("nv", 0, [row(1)])
    old.commit()
    new = writer_at(tmp_path, "new")
    new.write_shard("nv", 0, [row(2)])
    new.write_shard("mel", 0, [row(3, "mel")])
    # What a kill between two moves leaves.
    (tmp_path / "manifest.json").unlink()
    (tmp_path / ".staging/data/lesion=nv/part-00000.parquet").replace(tmp_path / "data/lesion=nv/part-00000.parquet")
    new.abandon()
    again = writer_at(tmp_path, "new")
    assert again.has_shard("nv", 0)
    assert again.has_shard("mel", 0)
    assert again.commit().table(["pair_id"])["pair_id"].to_pylist() == [row(2).pair_id, row(3).pair_id]


def test_generated_pictures_say_what_they_are(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path, kind="synthetic")
    for pair in manifest.table(["pair_id", "image", "mask"]).to_pylist():
        for picture in (pair["image"], pair["mask"]):
            text = png_text(picture["bytes"])
            assert "Synthetic" in text["Disclaimer"]
            assert text["Source"] == f"manifest {manifest.header['manifest_id']}, pair {pair['pair_id']}"
            assert "base bbbbbbbbbbbbbbbb" in text["Comment"]
    metadata = pq.read_schema(tmp_path / manifest.shards[0].name).metadata
    said = json.loads(metadata[b"evenderm"])
    assert said["synthetic"] is True
    assert said["manifest_id"] == manifest.header["manifest_id"]


def test_generated_shards_say_by_what_they_were_made(tmp_path: Path, generated_row: Any) -> None:
    inputs = {"base": "b" * 64, "adapter nv": "a" * 64}
    writer = ManifestWriter(tmp_path, classes=CLASSES, kind="synthetic", provenance={"inputs": inputs})
    writer.write_shard("nv", 0, [generated_row(1)])
    manifest = writer.commit()
    metadata = pq.read_schema(tmp_path / manifest.shards[0].name).metadata
    said = json.loads(metadata[b"evenderm"])
    assert (said["software"], said["generator"]) == ("evenderm", inputs)


def test_rejected_pairs_are_stored_and_not_counted(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path, pairs=30, kind="synthetic")
    assert manifest.header["rows"] == 30
    assert sum(manifest.header["rejected"].values()) == 10
    assert manifest.counts()["train"] == {"nv": 14, "mel": 6}
    assert manifest.counts()["test"] == {"nv": 0, "mel": 0}
    assert len(manifest.table(["pair_id"])) == 20
    assert len(manifest.table(["pair_id"], accepted_only=False)) == 30


def test_pairs_without_mask_or_class_can_be_stored(tmp_path: Path, row: Any) -> None:
    writer = writer_at(tmp_path)
    writer.write_shard("nv", 0, [row(1, mask_png=None)])
    writer.write_shard(UNLABELLED, 0, [row(2, UNLABELLED)])
    manifest = writer.commit()
    arrays = manifest.arrays()
    assert arrays.labels.tolist() == [0, -1]
    assert not arrays.masks[0].any()
    assert arrays.masks[1].any()
    assert manifest.header["masks"] == 1
    assert manifest.classes == CLASSES
