"""Discs that stand for lesions, and settings under which a model learns them in a second."""

from __future__ import annotations

import numpy as np

from evaluate.settings.training import ClassifierSettings, SegmenterSettings
from manifests.pairs import PairArrays

CLASSES = ("nv", "mel")
TINY = ClassifierSettings(
    model="test_resnet",
    updates=24,
    batch_size=8,
    size=32,
    learning_rate=3e-3,
    checks=2,
    ema_decay=0.8,
    probe=16,
    device="cpu",
)
TINY_MASKS = SegmenterSettings(
    encoder="tu-test_resnet", decoder_channels=(16, 16, 8, 8, 8), updates=24, batch_size=8, size=32,
    learning_rate=3e-3, checks=2, ema_decay=0.8, device="cpu",
)  # fmt: skip


def lesions(count: int, seed: int, size: int = 32) -> PairArrays:
    """Discs on skin: brown ones are nevi, black ones melanomas."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    labels = np.arange(count) % 2
    centres = rng.uniform(0.35, 0.65, (count, 2)) * size
    radii = rng.uniform(0.2, 0.3, count) * size
    masks = np.stack([(rows - y) ** 2 + (columns - x) ** 2 < r**2 for (y, x), r in zip(centres, radii, strict=True)])
    colours = np.array([[140, 90, 60], [40, 25, 30]])[labels]
    images = np.where(masks[..., None], colours[:, None, None], np.array([225, 180, 160]))
    images = np.clip(images + rng.normal(0, 6, images.shape), 0, 255).astype(np.uint8)
    ids = [f"{seed}-{i}" for i in range(count)]
    return PairArrays(ids, images, masks, labels.astype(np.int64), CLASSES, ids)


TRAIN, VALIDATION, TEST = lesions(48, 0), lesions(16, 1), lesions(24, 2)
