"""Small manifests of discs, and benchmark settings that train on them in moments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.settings.benchmark import BenchmarkSettings
from manifests.format.reading import Manifest
from manifests.format.schema import PairRow
from manifests.format.writing import ManifestWriter
from manifests.png import encode_mask, encode_png

CLASSES = ("nv", "mel")
CONTROLS = ("real", "real+oversampling", "real+replay", "real+strong", "real+copy-paste")
GENERATED = ("hybrid", "hybrid@2", "hybrid-ungated", "synthetic", "synthetic-then-real")
SETTINGS = BenchmarkSettings.model_validate(
    {
        "classification_arms": ("real+weighted-loss", *CONTROLS, *GENERATED, "real%50", "hybrid%50"),
        "segmentation_arms": (*CONTROLS, *GENERATED),
        "seeds": 2,
        "replicates": 200,
        "subgroup_pairs": 4,
        "classifier": {"model": "test_resnet", "updates": 2, "batch_size": 8, "size": 32, "checks": 1},
        "segmenter": {
            "encoder": "tu-test_resnet", "decoder_channels": (8, 8, 8, 8, 8), "updates": 2, "batch_size": 8,
            "size": 32, "checks": 1,
        },
    }
)  # fmt: skip
FEW = SETTINGS.model_copy(update={"tasks": ("classification",), "classification_arms": ("real", "hybrid"), "seeds": 1})


def row(pair_id: str, dx: str, split: str, drawing: int, **more: Any) -> PairRow:
    """A dark or a brown disc, 32 px."""
    rng = np.random.default_rng(drawing)
    rows, columns = np.mgrid[:32, :32]
    mask = (rows - rng.uniform(12, 20)) ** 2 + (columns - rng.uniform(12, 20)) ** 2 < rng.uniform(6, 9) ** 2
    colour = [40, 25, 30] if dx == "mel" else [140, 90, 60]
    image = np.where(mask[..., None], colour, [225, 180, 160]) + rng.normal(0, 6, (32, 32, 3))
    group = more.pop("group_id", pair_id)
    png = encode_png(np.clip(image, 0, 255).astype(np.uint8))
    return PairRow(pair_id, png, encode_mask(mask), dx, split, group, "discs", "CC0-1.0", **more)


def real_rows(counts: dict[str, dict[str, int]]) -> list[PairRow]:
    rows = []
    for split, by_dx in counts.items():
        for dx, count in by_dx.items():
            for i in range(count):
                attributes = {"sex": "female" if i % 2 else "male", "site": "back" if i == 0 else None}
                rows.append(row(f"discs:{split}-{dx}-{i:03d}", dx, split, len(rows), **attributes))
    return rows


def made_row(index: int, dx: str, accepted: bool = True, **changed: Any) -> PairRow:
    fields: dict[str, Any] = {
        "split": "train", "prompt": "a lesion", "seed": index, "guidance": 2.0, "steps": 6, "sampler": "dpm",
        "base_digest": "b", "adapter_digest": "a", "nearest_real_id": "discs:train-nv-000",
        "scores": {"mask_plausibility": 0.9, "mask_agreement": 0.9, "class_consistency": 0.9},
        "nearest_similarity": 0.4, "accepted": accepted, "reject_reason": None if accepted else "the mask",
    }  # fmt: skip
    fields |= changed
    split = fields.pop("split")
    return row(f"synthetic:{dx}:{index:05d}", dx, split, 1000 + index, **fields)


def manifest(
    folder: Path, rows: Sequence[PairRow], kind: Any = "real", classes: Sequence[str] = CLASSES, **provenance: Any
) -> Manifest:
    writer = ManifestWriter(folder, classes=classes, kind=kind, provenance={"rows": len(rows), **provenance})
    for dx in classes:
        of_class = [r for r in rows if r.dx == dx]
        if of_class:
            writer.write_shard(dx, 0, of_class)
    return writer.commit()


COUNTS = {"train": {"nv": 16, "mel": 6}, "validation": {"nv": 5, "mel": 3}, "test": {"nv": 8, "mel": 5}}
MADE = [made_row(i, "mel", accepted=i % 3 > 0) for i in range(12)] + [made_row(20, "nv"), made_row(21, "nv")]


def real_and_generated(folder: Path) -> tuple[Manifest, Manifest]:
    """A real manifest and one of pairs generated from it."""
    real = manifest(folder / "real", real_rows(COUNTS))
    return real, manifest(folder / "synthetic", MADE, "synthetic", inputs={"real": real.digest})
