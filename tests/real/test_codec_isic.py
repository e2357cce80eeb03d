"""The mask codec on real masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from augment.mask_codec import SignedDistanceCodec
from evaluate.metrics.masks import dice
from manifests.format.reading import open_manifest
from manifests.prepare.prepare import prepare
from manifests.settings import PrepareSettings


def test_real_masks_come_back_with_a_mean_dice_of_98_percent(isic_folder: Path, tmp_path: Path) -> None:
    prepare(isic_folder, tmp_path / "real", PrepareSettings(size=128))
    masks = open_manifest(tmp_path / "real").arrays(split="validation").masks
    codec = SignedDistanceCodec()
    found = codec.decode(torch.from_numpy(codec.encode(np.asarray(masks), 16)), 128)
    assert dice(found, np.asarray(masks)).mean() >= 0.98
