"""Classical augmentation, the same for every arm: flips, turns, crops and colour, by Albumentations."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Strength = Literal["standard", "strong"]


@dataclass
class TrainingAugmentation:
    """A seeded augmentation of batches; its random state advances with each call."""

    compose: Any

    def __call__(self, images: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """images: uint8 (B, H, W, 3), masks: bool (B, H, W) -> the same types at the augmentation's size."""
        drawn = [self.compose(image=image, mask=mask.view(np.uint8)) for image, mask in zip(images, masks, strict=True)]
        return np.stack([pair["image"] for pair in drawn]), np.stack([pair["mask"] for pair in drawn]).astype(bool)


def training_augmentation(size: int, seed: int, strength: Strength = "standard") -> TrainingAugmentation:
    """The augmentation of pairs to `size` px.

    standard: square symmetries, crops of 70 to 100 %, slight turns, brightness, contrast and hue as skin-lesion
    work has it (Perez et al. 2018); strong adds blur, noise, distortion and dropout in the manner of RandAugment.
    """
    import albumentations
    import cv2

    cv2.setNumThreads(1)
    reflect = cv2.BORDER_REFLECT_101
    steps: list[Any] = [
        albumentations.RandomResizedCrop((size, size), scale=(0.7, 1.0), ratio=(0.9, 1.1)),
        albumentations.SquareSymmetry(p=1.0),
        albumentations.Affine(rotate=(-20, 20), p=0.3, border_mode=reflect),
        albumentations.ColorJitter(0.15, 0.15, 0.15, 0.03, p=0.7),
    ]
    if strength == "strong":
        strong = [
            albumentations.GaussianBlur((3, 5)),
            albumentations.GaussNoise((0.02, 0.08)),
            albumentations.ElasticTransform(alpha=20, sigma=6, border_mode=reflect),
            albumentations.CoarseDropout((1, 4), (0.05, 0.2), (0.05, 0.2)),
            albumentations.ColorJitter(0.3, 0.3, 0.3, 0.06),
            albumentations.RandomGamma((70, 140)),
        ]
        steps.append(albumentations.SomeOf(strong, n=2, replace=False, p=0.9))
    return TrainingAugmentation(albumentations.Compose(steps, seed=seed))
