"""What is exported opens in the tools it is for, stays in its folder, and harms no spreadsheet."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manifests.copying import copy_manifest
from manifests.errors import BadInput
from manifests.export import export_manifest
from manifests.format.writing import ManifestWriter
from manifests.png import png_text
from manifests.progress import StopRequested


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_nnunet_gets_its_raw_layout(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path / "manifest", pairs=30)
    assert export_manifest(manifest, "nnunet", tmp_path / "raw") == 30
    folder = tmp_path / "raw/Dataset501_Lesions"
    described = json.loads((folder / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert described["labels"] == {"background": 0, "lesion": 1}
    assert described["file_ending"] == ".png"
    for part, splits in (("Tr", ("train", "validation")), ("Ts", ("test",))):
        images = sorted(path.name for path in (folder / f"images{part}").iterdir())
        labels = sorted(path.name for path in (folder / f"labels{part}").iterdir())
        assert images == [name.replace(".png", "_0000.png") for name in labels]
        assert len(images) == sum(sum(manifest.counts()[split].values()) for split in splits)
    assert described["numTraining"] == len(list((folder / "imagesTr").iterdir()))
    arrays = manifest.arrays(split="test")
    stem = arrays.pair_ids[0].replace(":", "-")
    assert np.array_equal(read(folder / f"imagesTs/{stem}_0000.png"), arrays.images[0])
    assert np.array_equal(read(folder / f"labelsTs/{stem}.png"), arrays.masks[0].astype(np.uint8))
    (split,) = json.loads((folder / "splits_final.json").read_text())
    assert not set(split["train"]) & set(split["val"])
    assert len(split["train"] + split["val"]) == described["numTraining"]


@pytest.mark.parametrize("kind", ["real", "synthetic"])
def test_what_nnunet_checks_before_it_plans_holds(tmp_path: Path, manifest_at: Any, kind: str) -> None:
    export_manifest(manifest_at(tmp_path / "manifest", kind=kind), "nnunet", tmp_path / "raw")
    folder = tmp_path / "raw/Dataset501_Lesions"
    told = json.loads((folder / "dataset.json").read_text())
    assert {"labels", "channel_names", "numTraining", "file_ending"} <= set(told)
    end, labels = told["file_ending"], sorted(told["labels"].values())
    cases = sorted(path.name.removesuffix(f"_0000{end}") for path in (folder / "imagesTr").iterdir())
    assert len(set(cases)) == told["numTraining"] and labels == list(range(len(labels)))
    for case in cases:
        image, label = read(folder / f"imagesTr/{case}_0000{end}"), read(folder / f"labelsTr/{case}{end}")
        assert image.shape == (*label.shape, len(told["channel_names"])) and set(np.unique(label)) <= set(labels)


def test_folders_hold_every_pair_once(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path / "manifest", pairs=30)
    assert export_manifest(manifest, "folders", tmp_path / "out") == 30
    arrays = manifest.arrays()
    with (tmp_path / "out/metadata.csv").open(newline="") as file:
        rows = {row["pair_id"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == arrays.pair_ids
    for number, pair_id in enumerate(arrays.pair_ids):
        row = rows[pair_id]
        assert row["image"].split("/")[:3] == ["images", row["split"], row["dx"]]
        assert np.array_equal(read(tmp_path / "out" / row["image"]), arrays.images[number])
        assert np.array_equal(read(tmp_path / "out" / row["mask"]) > 0, arrays.masks[number])


def test_rejected_pairs_are_not_exported(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path / "manifest", pairs=30, kind="synthetic")
    assert export_manifest(manifest, "folders", tmp_path / "out") == 20
    assert len(list((tmp_path / "out/images/train").rglob("*.png"))) == 20


def test_generated_pictures_say_so_wherever_they_are_exported(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path / "manifest", pairs=30, kind="synthetic")
    for to in ("nnunet", "folders"):
        export_manifest(manifest, to, tmp_path / to)
        pictures = list((tmp_path / to).rglob("*.png"))
        assert len(pictures) == 40
        for picture in pictures:
            text = png_text(picture.read_bytes())
            assert "Synthetic" in text["Disclaimer"] and manifest.header["manifest_id"] in text["Source"]


def test_a_copy_overwrites_nothing_but_a_manifest(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path / "manifest")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    with pytest.raises(BadInput, match=r"holds a README\.md and no manifest"):
        copy_manifest(manifest, tmp_path / "mine")
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"
    for _ in range(2):
        assert copy_manifest(manifest, tmp_path / "copy").digest == manifest.digest


HOSTILE = ("../../../outside", "/etc/passwd", "C:\\windows\\x", "=cmd|' /C calc'!A0", "a:b:c", "-1+1", ".hidden", "con")


def test_hostile_ids_stay_inside_and_stay_text(tmp_path: Path, row: Any) -> None:
    writer = ManifestWriter(tmp_path / "manifest", classes=("nv",), provenance={"note": "x"})
    writer.write_shard("nv", 0, [row(n, pair_id=name, group_id=f"@SUM({n})") for n, name in enumerate(HOSTILE)])
    manifest = writer.commit()
    for to in ("nnunet", "folders"):
        export_manifest(manifest, to, tmp_path / to)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    outside = [path for path in written if path.relative_to(tmp_path).parts[0] not in ("manifest", "nnunet", "folders")]
    assert outside == []
    assert len(list((tmp_path / "folders/images").rglob("*.png"))) == len(HOSTILE)
    with (tmp_path / "folders/metadata.csv").open(newline="") as file:
        cells = [cell for line in list(csv.reader(file))[1:] for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_nnunet_needs_masks_and_folders_do_not(tmp_path: Path, row: Any) -> None:
    writer = ManifestWriter(tmp_path / "manifest", classes=("nv",), provenance={"note": "x"})
    writer.write_shard("nv", 0, [row(1, mask_png=None)])
    manifest = writer.commit()
    with pytest.raises(BadInput, match="has no mask, which nnU-Net needs"):
        export_manifest(manifest, "nnunet", tmp_path / "raw")
    assert not (tmp_path / "raw/Dataset501_Lesions").exists()
    assert export_manifest(manifest, "folders", tmp_path / "out") == 1


def test_an_existing_export_is_not_touched(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path / "manifest")
    (tmp_path / "out").mkdir()
    export_manifest(manifest, "folders", tmp_path / "out")
    with pytest.raises(BadInput, match="already there"):
        export_manifest(manifest, "folders", tmp_path / "out")
    with pytest.raises(BadInput, match="no export format; choose one of nnunet, folders"):
        export_manifest(manifest, "zip", tmp_path / "new")  # type: ignore[arg-type]


def test_a_stopped_export_leaves_nothing_behind(tmp_path: Path, manifest_at: Any) -> None:
    def stop(done: int, total: int, **figures: float | str) -> None:
        raise StopRequested

    manifest = manifest_at(tmp_path / "manifest")
    with pytest.raises(StopRequested):
        export_manifest(manifest, "folders", tmp_path / "out", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest"]


@pytest.mark.parametrize("kind", ["real", "synthetic"])
def test_a_repository_of_the_hub_opens_by_split_with_its_classes_and_pictures(
    tmp_path: Path, manifest_at: Any, kind: str
) -> None:
    from datasets import load_dataset

    manifest = manifest_at(tmp_path / "manifest", pairs=30, kind=kind)
    exported = export_manifest(manifest, "hub", tmp_path / "hub")
    opened = load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    kept = {split: sum(of.values()) for split, of in manifest.counts().items() if sum(of.values())}
    assert {name: len(part) for name, part in opened.items()} == kept and sum(kept.values()) == exported
    part = opened["train"]
    assert part.features["label"].names == list(manifest.classes)
    arrays = manifest.arrays(split="train")
    first = arrays.pair_ids.index(part[0]["pair_id"])
    assert np.array_equal(np.asarray(part[0]["image"]), arrays.images[first])
    assert np.array_equal(np.asarray(part[0]["mask"]) > 0, arrays.masks[first])
    card = (tmp_path / "hub/README.md").read_text()
    assert "agreed to what" in card and "data/train-*.parquet" in card
    assert "not accepted" not in card and f"| {exported} |" in card, "what is not in the repository is not counted"
    assert json.loads((tmp_path / "hub/provenance.json").read_text())["manifest_id"] == manifest.header["manifest_id"]


def test_nothing_is_pushed_without_a_token(tmp_path: Path, manifest_at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.commands.data import export

    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    manifest_at(tmp_path / "m")
    with pytest.raises(BadInput, match="no token for the hub"):
        export(str(tmp_path / "m"), "hub", str(tmp_path / "hub"), "someone/pairs")
    with pytest.raises(BadInput, match="give --to hub"):
        export(str(tmp_path / "m"), "folders", str(tmp_path / "f"), "someone/pairs")
    assert not (tmp_path / "hub").exists() and not (tmp_path / "f").exists()
