"""Training reads the same pairs in the same order, however many workers decode them and wherever they lie."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from manifests.dataset import Draw, ManifestDataset, balanced, loader, shuffled
from manifests.errors import BadInput
from manifests.header import header_checksum
from manifests.reading import Manifest, open_manifest
from manifests.writing import ManifestWriter


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, manifest_at: Any) -> Manifest:
    opened: Manifest = manifest_at(tmp_path_factory.mktemp("manifest"), pairs=200, size=16)
    return opened


def jitter(image: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random change whose result shows which random state it had."""
    turns = int(random.integers(4))
    return np.rot90(image, turns) ^ random.integers(0, 256, dtype=np.uint8), np.rot90(mask, turns)


def test_items_are_the_pairs_of_the_manifest(manifest: Manifest) -> None:
    arrays = manifest.arrays(split="train")
    dataset = ManifestDataset(manifest, split="train")
    assert len(dataset) == len(arrays)
    assert dataset.pair_ids == arrays.pair_ids
    assert dataset.group_ids == arrays.group_ids
    assert np.array_equal(dataset.labels, arrays.labels)
    for index in np.random.default_rng(0).permutation(len(dataset)).tolist():
        item = dataset[index]
        assert item["image"].dtype == torch.uint8
        assert np.array_equal(item["image"].numpy().transpose(1, 2, 0), arrays.images[index])
        assert np.array_equal(item["mask"].numpy(), arrays.masks[index])
        assert (item["label"], item["pair_id"]) == (arrays.labels[index], arrays.pair_ids[index])


@pytest.mark.parametrize("cache", [None, "memory", "disk"])
def test_a_cache_changes_nothing(manifest: Manifest, tmp_path: Path, cache: Any) -> None:
    plain = ManifestDataset(manifest, size=12)
    kept = ManifestDataset(manifest, size=12, cache=tmp_path if cache == "disk" else cache)
    again = pickle.loads(pickle.dumps(kept))
    for index in (0, 7, 150, 199):
        assert torch.equal(kept[index]["image"], plain[index]["image"])
        assert torch.equal(again[index]["mask"], plain[index]["mask"])


def test_a_cache_on_disk_is_not_sent_to_workers(manifest: Manifest, tmp_path: Path) -> None:
    kept = ManifestDataset(manifest, cache=tmp_path)
    assert len(pickle.dumps(kept)) < 200 * 16 * 16 * 3


def test_batches_are_the_same_for_any_number_of_workers(manifest: Manifest) -> None:
    def epoch(workers: int) -> list[dict[str, Any]]:
        dataset = ManifestDataset(manifest, transform=jitter)
        batches = loader(dataset, balanced(dataset.labels, draws=90), seed=3, batch_size=16, workers=workers)
        return list(batches)

    alone = epoch(0)
    assert sum(len(batch["label"]) for batch in alone) == 90
    for workers in (1, 2):
        for one, other in zip(alone, epoch(workers), strict=True):
            assert torch.equal(one["image"], other["image"])
            assert torch.equal(one["mask"], other["mask"])
            assert torch.equal(one["index"], other["index"])
            assert one["pair_id"] == other["pair_id"]


def test_epochs_differ_and_the_same_draw_is_the_same_item(manifest: Manifest) -> None:
    dataset = ManifestDataset(manifest, transform=jitter)
    batches = loader(dataset, shuffled(len(dataset)), seed=0, batch_size=200)
    first = next(iter(batches))["index"]
    batches.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert not torch.equal(first, next(iter(batches))["index"])
    assert torch.equal(dataset[Draw(3, 8)]["image"], dataset[Draw(3, 8)]["image"])
    assert not torch.equal(dataset[Draw(3, 8)]["image"], dataset[Draw(3, 9)]["image"])


def test_pairs_without_mask_or_of_several_sizes_are_read(tmp_path: Path, row: Any) -> None:
    writer = ManifestWriter(tmp_path, classes=("nv",), provenance={"note": "x"})
    writer.write_shard("nv", 0, [row(0, mask_png=None), row(1, size=32), row(2, size=40)])
    dataset = ManifestDataset(writer.commit())
    assert [tuple(dataset[i]["image"].shape[1:]) for i in range(3)] == [(24, 24), (32, 32), (40, 40)]
    assert not dataset[0]["mask"].any()


def test_a_column_that_is_half_empty_is_found(tmp_path: Path, row: Any) -> None:
    writer = ManifestWriter(tmp_path, classes=("nv",), provenance={"note": "x"})
    rows = [row(number, mask_png=None) if number % 3 == 0 else row(number) for number in range(100)]
    writer.write_shard("nv", 0, rows)
    manifest = writer.commit()
    dataset = ManifestDataset(manifest)
    arrays = manifest.arrays()
    for index in range(100):
        assert np.array_equal(dataset[index]["image"].numpy().transpose(1, 2, 0), arrays.images[index])
        assert np.array_equal(dataset[index]["mask"].numpy(), arrays.masks[index])
        assert bool(dataset[index]["mask"].any()) == (index % 3 != 0)


@pytest.mark.parametrize(
    "layout",
    [
        {"compression": "zstd"},
        {"use_dictionary": True},
        {"data_page_size": 1},
        {"compression": "snappy", "data_page_size": 1, "write_statistics": False},
    ],
)
def test_pictures_are_read_however_a_shard_stores_them(tmp_path: Path, row: Any, layout: dict[str, Any]) -> None:
    """Another writer, or a later version of this one, may compress pictures or spread them over several pages."""
    writer = ManifestWriter(tmp_path, classes=("nv",), provenance={"note": "x"})
    writer.write_shard("nv", 0, [row(number) for number in range(30)])
    arrays = writer.commit().arrays()
    shard = tmp_path / "data/lesion=nv/part-00000.parquet"
    plain: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_batch_size": 1}
    pq.write_table(pq.ParquetFile(shard).read(), shard, **(plain | layout))
    header = json.loads((tmp_path / "manifest.json").read_text())
    header["shards"][0] |= {"bytes": shard.stat().st_size, "sha256": hashlib.sha256(shard.read_bytes()).hexdigest()}
    header["checksum"] = header_checksum(header)
    (tmp_path / "manifest.json").write_text(json.dumps(header))
    dataset = ManifestDataset(open_manifest(tmp_path))
    for index in range(30):
        assert np.array_equal(dataset[index]["image"].numpy().transpose(1, 2, 0), arrays.images[index])


@pytest.mark.parametrize("harm", ["remove", "grow", "replace"])
def test_a_shard_that_changes_after_opening_is_one_sentence(
    tmp_path: Path, row: Any, manifest_at: Any, harm: str
) -> None:
    dataset = ManifestDataset(manifest_at(tmp_path / "ours"))
    shard = tmp_path / "ours" / dataset.rows.manifest.shards[0].name
    other = manifest_at(tmp_path / "other", size=25)
    if harm == "remove":
        shard.unlink()
    elif harm == "grow":
        shard.write_bytes(shard.read_bytes() + b"more")
    else:
        shard.write_bytes((tmp_path / "other" / other.shards[0].name).read_bytes())
    for opened in (dataset, pickle.loads(pickle.dumps(dataset))):
        with pytest.raises(BadInput, match=r"part-00000\.parquet"):
            for index in range(len(opened)):
                opened[index]


def test_an_index_outside_is_an_index_error(manifest: Manifest) -> None:
    with pytest.raises(IndexError):
        ManifestDataset(manifest)[200]


def test_a_choice_of_nothing_is_an_empty_dataset(manifest: Manifest) -> None:
    assert len(ManifestDataset(manifest, dx="bcc")) == 0


def test_damage_names_the_shard(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path)
    dataset = ManifestDataset(manifest)
    shard = tmp_path / manifest.shards[0].name
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 255
    shard.write_bytes(content)
    with pytest.raises(BadInput, match=r"lesion=mel/part-00000\.parquet"):
        for index in range(len(dataset)):
            dataset[index]
    with pytest.raises(BadInput, match=r"lesion=nv/part-00000\.parquet"):
        first = ManifestDataset(manifest_at(tmp_path / "cut"))
        file = tmp_path / "cut" / first.rows.manifest.shards[1].name
        first[0]
        file.write_bytes(file.read_bytes()[:2000])
        for index in range(len(first)):
            first[index]
