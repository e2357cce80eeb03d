"""What is read is what was committed, or one sentence says what is wrong."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from manifests.errors import BadInput
from manifests.format.decoding import cached_arrays
from manifests.format.header import header_checksum
from manifests.format.reading import open_manifest
from manifests.format.writing import ManifestWriter
from manifests.images import decode_image, decode_mask
from tests.manifests.conftest import pair_row


def test_rows_come_back_sorted_and_filtered(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path, pairs=40)
    table = manifest.table()
    assert table.column_names == manifest.columns()
    assert table["pair_id"].to_pylist() == sorted(table["pair_id"].to_pylist())
    assert len(table) == 40
    some = manifest.table(["dx", "split"], split="test", dx="mel")
    assert some.column_names == ["dx", "split"]
    assert pc.all(pc.equal(some["dx"], "mel")).as_py()
    assert pc.all(pc.equal(some["split"], "test")).as_py()
    assert len(some) == manifest.counts()["test"]["mel"]
    assert len(manifest.table(["dx"], split="test", dx="bcc")) == 0


def test_counts_agree_with_the_rows(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path, pairs=40)
    for split, by_dx in manifest.counts().items():
        for dx, count in by_dx.items():
            assert len(manifest.table(["pair_id"], split=split, dx=dx)) == count


def test_arrays_are_the_decoded_rows(tmp_path: Path, manifest_at: Any, row: Any) -> None:
    arrays = manifest_at(tmp_path, pairs=20).arrays()
    for number, pair_id in enumerate(arrays.pair_ids):
        dx = "nv" if number < 15 else "mel"
        pair = row(number, dx)
        assert pair_id == pair.pair_id
        assert np.array_equal(arrays.images[number], decode_image(pair.image_png))
        assert np.array_equal(arrays.masks[number], decode_mask(pair.mask_png))
        assert arrays.dx(number) == dx
        assert arrays.group_ids[number] == pair.group_id
    assert arrays.images.dtype == np.uint8
    assert arrays.masks.dtype == np.bool_
    assert arrays.labels.dtype == np.int64


def test_arrays_can_be_resized_and_kept_on_disk(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path / "manifest")
    plain = manifest.arrays(split="train", size=16)
    assert plain.images.shape[1:] == (16, 16, 3)
    for _ in range(2):
        kept = manifest.arrays(split="train", size=16, cache=tmp_path / "cache")
        assert isinstance(kept.images, np.memmap)
        assert np.array_equal(kept.images, plain.images)
        assert np.array_equal(kept.masks, plain.masks)
        assert not kept.images.flags.writeable
    assert len(list((tmp_path / "cache").iterdir())) == 1
    manifest.arrays(split="test", size=16, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_half_written_cache_is_made_again(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path / "manifest")
    manifest.arrays(cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "complete.json").unlink()
    (folder / "images.npy").write_bytes(b"cut")
    assert len(manifest.arrays(cache=tmp_path / "cache").images) == 30


def test_a_choice_of_nothing_is_empty(tmp_path: Path, row: Any) -> None:
    writer = ManifestWriter(tmp_path, classes=("nv",), provenance={"note": "x"})
    writer.write_shard("nv", 0, [row(0, split="train")])
    manifest = writer.commit()
    assert len(manifest.arrays(split="test")) == 0
    assert len(manifest.arrays(split="test", size=8, cache=tmp_path / "cache")) == 0
    assert len(manifest.table(["dx"], split="test")) == 0


def test_pairs_of_two_sizes_need_a_size(tmp_path: Path, row: Any) -> None:
    writer = ManifestWriter(tmp_path, classes=("nv",), provenance={"note": "x"})
    writer.write_shard("nv", 0, [row(0, size=24), row(1, size=32)])
    manifest = writer.commit()
    with pytest.raises(BadInput, match=r"ISIC_0000001 is 32 x 32 and others 24 x 24; name one size"):
        manifest.arrays()
    assert manifest.arrays(size=24).images.shape == (2, 24, 24, 3)


def test_a_manifest_can_be_sent_to_another_process(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path)
    copy = pickle.loads(pickle.dumps(manifest))
    assert copy.digest == manifest.digest
    assert np.array_equal(copy.arrays().images, manifest.arrays().images)


def test_the_digest_follows_from_the_content(tmp_path: Path, manifest_at: Any) -> None:
    one, same, other = (manifest_at(tmp_path / n, pairs=p) for n, p in (("a", 20), ("b", 20), ("c", 21)))
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize("place", ["nowhere", "empty", "file"])
def test_where_there_is_no_manifest_it_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match=rf"{place}.*(no committed manifest|not a folder)"):
        open_manifest(tmp_path / place)


def edit_header(folder: Path, forge: bool, **changes: Any) -> None:
    """Change manifest.json by hand; with `forge` the checksum is made to fit."""
    header = json.loads((folder / "manifest.json").read_text()) | changes
    if forge:
        header["checksum"] = header_checksum(header)
    (folder / "manifest.json").write_text(json.dumps(header))


def test_a_header_changed_by_hand_is_refused(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)
    edit_header(tmp_path, forge=False, rows=31)
    with pytest.raises(BadInput, match=r"manifest\.json was changed after it was committed"):
        open_manifest(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": "thirty"},
        {"classes": 3},
        {"shards": []},
        {"counts": {}},
        {"shards": [{"name": "../../etc/passwd", "rows": 1, "bytes": 1, "sha256": "0" * 64}]},
        {"shards": [{"name": "data/lesion=../part-00000.parquet", "rows": 1, "bytes": 1, "sha256": "0" * 64}]},
        {"shards": [{"name": "data/lesion=nv/part-00000.parquet", "rows": -1, "bytes": 1, "sha256": "0" * 64}]},
        {"format_version": 99},
        {"format": "something else"},
        {"surplus": 1},
    ],
)
def test_a_forged_header_is_refused_too(tmp_path: Path, manifest_at: Any, changes: Any) -> None:
    manifest_at(tmp_path)
    edit_header(tmp_path, forge=True, **changes)
    with pytest.raises(BadInput, match=r"manifest\.json") as error:
        open_manifest(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_a_header_of_nonsense_is_refused(tmp_path: Path, manifest_at: Any, content: bytes) -> None:
    manifest_at(tmp_path)
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"manifest\.json"):
        open_manifest(tmp_path)


def test_missing_and_cut_shards_are_named_when_the_manifest_is_opened(tmp_path: Path, manifest_at: Any) -> None:
    shard = tmp_path / manifest_at(tmp_path).shards[1].name
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(BadInput, match=r"lesion=nv/part-00000\.parquet has \d+ bytes where"):
        open_manifest(tmp_path)
    shard.unlink()
    with pytest.raises(BadInput, match=r"lesion=nv/part-00000\.parquet is missing"):
        open_manifest(tmp_path)


def test_a_shard_lost_after_opening_is_named(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path)
    (tmp_path / manifest.shards[1].name).unlink()
    with pytest.raises(BadInput, match=r"lesion=nv/part-00000\.parquet is missing"):
        manifest.table(["dx"])


def test_swapped_shards_are_noticed(tmp_path: Path, row: Any) -> None:
    writer = ManifestWriter(tmp_path, classes=("nv",), provenance={"note": "x"})
    one, two = (writer.write_shard("nv", n, [row(n)]) for n in range(2))
    manifest = writer.commit()
    contents = [(tmp_path / info.name).read_bytes() for info in (one, two)]
    if len(contents[0]) != len(contents[1]):
        with pytest.raises(BadInput):
            (tmp_path / one.name).write_bytes(contents[1])
            open_manifest(tmp_path)
        return
    (tmp_path / one.name).write_bytes(contents[1])
    (tmp_path / two.name).write_bytes(contents[0])
    with pytest.raises(BadInput, match="belongs to another manifest or place"):
        manifest.table(["dx"])


def test_a_cache_that_another_worker_has_finished_meanwhile_stays(tmp_path: Path) -> None:
    def mine(images: np.ndarray, masks: np.ndarray) -> None:
        cached_arrays(tmp_path / "arrays", (2, 8, 8), lambda images, masks: images.fill(7))
        images.fill(9)

    images, _ = cached_arrays(tmp_path / "arrays", (2, 8, 8), mine)
    assert (np.asarray(images) == 7).all() and [path.name for path in tmp_path.iterdir()] == ["arrays"]


def test_attributes_travel_with_the_pairs(tmp_path: Path) -> None:
    writer = ManifestWriter(tmp_path, classes=("nv",), kind="real", provenance={"source": "test"})
    told = [{"age_group": "20-29", "sex": "female"}, {}, {"site": "back", "skin_tone": "dark"}]
    writer.write_shard("nv", 0, [pair_row(i, split="train", **values) for i, values in enumerate(told)])
    pairs = writer.commit().arrays()
    assert pairs.attributes == told and pairs.attributes_of(2) == told[2]
    assert pairs.select([2, 2, 0]).attributes == [told[2], told[2], told[0]]
    silent = replace(pairs, attributes=[])
    assert silent.attributes_of(0) == {} and silent.concatenate(silent).attributes == []
    assert silent.concatenate(pairs).attributes == [{}, {}, {}, *told]
