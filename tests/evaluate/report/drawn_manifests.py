"""Small manifests of drawn pairs, real and synthetic, for reports and pages about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from manifests.format.reading import Manifest
from manifests.format.schema import PairRow
from manifests.format.writing import ManifestWriter
from manifests.png import encode_mask, encode_png

CLASSES = ("bkl", "mel", "nv")
COUNTS = {
    "train": {"bkl": 6, "mel": 8, "nv": 20},
    "validation": {"bkl": 2, "mel": 2, "nv": 4},
    "test": {"bkl": 4, "mel": 5, "nv": 9},
}
WANTED = {"bkl": 14, "mel": 12, "nv": 0}
REJECT_REASONS = ("mask_plausibility", "mask_agreement", "class_consistency", "copy", "generated_duplicate")

Pair = tuple[np.ndarray, np.ndarray]
Draw = Callable[[str, int, bool], Pair]


def drawn_pair(dx: str, number: int, synthetic: bool, size: int = 64) -> Pair:
    """A blob on skin, uint8 (size, size, 3), and its mask; every number and class another one."""
    rng = np.random.default_rng([CLASSES.index(dx) if dx in CLASSES else 9, number, synthetic])
    rows, columns = np.mgrid[:size, :size] / size
    y, x, ry, rx = rng.uniform((0.4, 0.4, 0.15, 0.15), (0.6, 0.6, 0.32, 0.32))
    mask = ((rows - y) / ry) ** 2 + ((columns - x) / rx) ** 2 < 1
    image = np.array([214, 170, 148]) + rng.normal(0, 5, (size, size, 3))
    image[mask] = np.array([120, 76, 60]) + rng.normal(0, 12, (int(mask.sum()), 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_real(
    folder: Path,
    draw: Draw = drawn_pair,
    counts: Mapping[str, Mapping[str, int]] = COUNTS,
    text: Mapping[str, str] | None = None,
    mask_origin: str | None = None,
) -> Manifest:
    """A real manifest with these counts; text: what its images say of themselves."""
    writer = ManifestWriter(folder, classes=CLASSES, kind="real", provenance={"made": "for a test"})
    for dx in CLASSES:
        rows, number = [], 0
        for split, by_dx in counts.items():
            for _ in range(by_dx[dx]):
                image, mask = draw(dx, number, False)
                pair_id = f"drawn:{dx}_{number:04d}"
                rows.append(
                    PairRow(
                        pair_id,
                        encode_png(image, text),
                        encode_mask(mask),
                        dx,
                        split,
                        f"lesion-{dx}-{number}",
                        "drawn",
                        "CC0-1.0",
                        mask_origin=mask_origin,
                    )
                )
                number += 1
        writer.write_shard(dx, 0, rows)
    return writer.commit()


def write_synthetic(folder: Path, draw: Draw = drawn_pair, wanted: Mapping[str, int] = WANTED) -> Manifest:
    """A synthetic manifest in which every third candidate was rejected, by one gate after the other."""
    writer = ManifestWriter(folder, classes=CLASSES, kind="synthetic", provenance={"made": "for a test"})
    for dx, amount in wanted.items():
        rows = [_generated(dx, number, draw) for number in range(amount * 3 // 2)]
        if rows:
            writer.write_shard(dx, 0, rows)
    return writer.commit()


def _generated(dx: str, number: int, draw: Draw) -> PairRow:
    image, mask = draw(dx, number, True)
    rejected = number % 3 == 2
    agreement = 0.99 - 0.017 * (number * 7 % 11)
    pair_id = f"evenderm:{dx}-0a1b2c3d-{number:07d}"
    return PairRow(
        pair_id, encode_png(image), encode_mask(mask), dx, "train", pair_id, "evenderm", "CC0-1.0",
        prompt=f"dermoscopy of {dx}", seed=1000 + number, guidance=2.0, steps=20, sampler="dpm++",
        base_digest="b" * 64, adapter_digest="a" * 64,
        scores={"mask_plausibility": 0.8, "mask_agreement": agreement, "class_consistency": 0.7},
        nearest_real_id=f"drawn:{dx}_{number % COUNTS['train'][dx]:04d}",
        nearest_similarity=0.2 + 0.013 * (number * 5 % 17),
        accepted=not rejected, reject_reason=REJECT_REASONS[number // 3 % len(REJECT_REASONS)] if rejected else None,
    )  # fmt: skip
