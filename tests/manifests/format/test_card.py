"""The dataset card says what is in the manifest, to people and to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.format.schema import UNLABELLED
from manifests.format.writing import ManifestWriter


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    text = (folder / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


@pytest.mark.parametrize("kind", ["real", "synthetic"])
def test_the_hub_header_describes_the_columns_and_files(tmp_path: Path, manifest_at: Any, kind: str) -> None:
    manifest = manifest_at(tmp_path, kind=kind)
    header, _ = card_of(tmp_path)
    assert header["license"] == "cc0-1.0"
    assert header["size_categories"] == ["n<1K"]
    assert kind in header["tags"]
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "data/*/*.parquet"}]
    features = {feature["name"]: feature["dtype"] for feature in header["dataset_info"]["features"]}
    assert list(features) == manifest.columns()
    assert features["image"] == features["mask"] == "image"
    assert features["label"] == {"class_label": {"names": {"0": "nv", "1": "mel"}}}


def test_the_counts_and_provenance_are_shown(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path, pairs=30)
    _, body = card_of(tmp_path)
    counts = manifest.counts()
    row = [counts[split]["nv"] for split in ("train", "validation", "test")]
    assert f"| nv | {row[0]} | {row[1]} | {row[2]} | {sum(row)} |" in body
    assert manifest.header["manifest_id"] in body
    assert "| isic2017 | 30 |" in body
    assert "not for diagnosis" in body


def test_a_synthetic_card_says_so_and_counts_what_was_rejected(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path, pairs=30, kind="synthetic")
    _, body = card_of(tmp_path)
    assert "20 generated pairs" in body
    assert "10 more that were not accepted" in body
    assert "None shows a patient" in body
    assert "| mel | 6 | 0 | 0 | 6 | 2 |" in body


def test_a_card_without_masks_or_classes_promises_neither(tmp_path: Path, row: Any) -> None:
    said = {}
    for name, rows, classes in (
        ("classes", [row(1, mask_png=None), row(2, mask_png=None)], ("nv",)),
        ("masks", [row(1, UNLABELLED), row(2, UNLABELLED)], ()),
        ("some", [row(1), row(2, mask_png=None)], ("nv",)),
    ):
        writer = ManifestWriter(tmp_path / name, classes=classes, provenance={"note": "x"})
        writer.write_shard(rows[0].dx, 0, rows)
        writer.commit()
        header, body = card_of(tmp_path / name)
        said[name] = (header["task_categories"], next(line for line in body.splitlines() if line[:2] == "2 "))
    assert said == {
        "classes": (["image-classification"], "2 real dermoscopic images with their class and without masks."),
        "masks": (
            ["image-segmentation"],
            "2 real pairs of a dermoscopic image and its lesion mask, without classes.",
        ),
        "some": (
            ["image-classification", "image-segmentation"],
            "2 real pairs of a dermoscopic image and its lesion mask, which 1 of all rows do not have.",
        ),
    }


def test_text_from_a_source_cannot_become_markup(tmp_path: Path, row: Any) -> None:
    writer = ManifestWriter(tmp_path, classes=("nv",), provenance={"note": "x"})
    hostile = "a | <script>alert(1)</script>\n---\nlicense: mit"
    writer.write_shard("nv", 0, [row(1, source=hostile, licence=hostile)])
    writer.commit()
    header, body = card_of(tmp_path)
    assert header["license"] == "other"
    assert "<script>" not in body
    assert "\nlicense: mit" not in body
