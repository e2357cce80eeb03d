"""Drawn pairs to measure with: as a manifest, and as PNG files that a plain loop reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from manifests.pairs import PairArrays
from manifests.settings import PrepareSettings

SIDE, PAIRS = 128, 96


def lesions(folder: Path) -> Path:
    """A manifest of drawn pairs."""
    from manifests.phantom.draw import write_phantom
    from manifests.prepare.prepare import prepare

    write_phantom(folder / "data", PAIRS, 0)
    prepare(folder / "data", folder / "real", PrepareSettings(size=SIDE, duplicates=False, workers=1))
    return folder / "real"


class Files(torch.utils.data.Dataset[Any]):
    """PNG files of pairs, decoded and transformed anew whenever one is asked for."""

    def __init__(self, pairs: PairArrays, folder: Path, transform: Callable[[np.ndarray, np.ndarray], Any]) -> None:
        folder.mkdir()
        self.count, self.folder, self.transform = len(pairs), folder, transform
        for number in range(len(pairs)):
            cv2.imwrite(str(folder / f"{number}.png"), pairs.images[number][..., ::-1])
            cv2.imwrite(str(folder / f"{number}-mask.png"), pairs.masks[number].astype(np.uint8) * 255)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        from PIL import Image

        image, mask = (Image.open(self.folder / f"{number}{kind}.png") for kind in ("", "-mask"))
        return self.transform(np.asarray(image.convert("RGB")), np.asarray(mask) > 127)


def batches(files: Files, batch: int) -> Iterator[Any]:
    while True:
        yield from torch.utils.data.DataLoader(files, batch_size=batch, shuffle=True, drop_last=True)
