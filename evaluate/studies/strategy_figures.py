"""The figures of a strategy: what the witness says, how much of the skin is kept, how near to real pairs it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from augment.adapters import AdapterFile
    from manifests.pairs import PairArrays

_DOWN, _UP = "lora_A", "lora_B"
FIGURES = ("agreement", "gain", "psnr", "ssim", "mask_dice")


def interval_of(values: np.ndarray, seed: int, replicates: int = 1000) -> dict[str, Any]:
    """Mean and bootstrap interval (95 %) of values (N,); null where there are none."""
    kept = values[np.isfinite(values)]
    if not len(kept):
        return {"mean": None, "interval": None, "n": 0}
    drawn = np.random.default_rng(seed).integers(0, len(kept), (replicates, len(kept)))
    low, high = np.quantile(kept[drawn].mean(axis=1), (0.025, 0.975))
    return {
        "mean": round(float(kept.mean()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "n": len(kept),
    }


def feature_distance(drawn: np.ndarray, real: np.ndarray) -> float:
    """KID (Binkowski et al. 2018) of features (N, D) and (M, D), scaled so that real rows have length sqrt(D)."""
    from evaluate.fidelity.scores import kernel_distance
    from evaluate.settings.gates import FidelitySettings

    if min(len(drawn), len(real)) < 2:
        return float("nan")
    scale = np.sqrt((real**2).mean()) or 1.0
    return kernel_distance(real / scale, drawn / scale, FidelitySettings())[0]


def outside_likeness(before: np.ndarray, after: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PSNR in dB, at most 99, and SSIM (Wang et al. 2004), each (N,), of uint8 images outside their masks."""
    import cv2
    import torch
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    psnr, ssim = np.full(len(before), np.nan), np.full(len(before), np.nan)
    for place, (one, other, mask) in enumerate(zip(before, after, masks, strict=True)):
        outside = torch.from_numpy(~mask)
        if outside.sum() < 100:
            continue
        x, y = (torch.from_numpy(np.array(image)).float()[outside] for image in (one, other))
        psnr[place] = min(99.0, float(peak_signal_noise_ratio(y, x, data_range=255.0)))
        x, y = (torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).float()[None, None] for image in (one, other))
        _, likeness = structural_similarity_index_measure(y, x, data_range=255.0, return_full_image=True)
        ssim[place] = float(likeness[0, 0][outside].mean())
    return psnr, ssim


def best_strategy(
    rows: Sequence[Mapping[str, Any]], least_psnr: float = 30.0, least_dice: float = 0.8
) -> Mapping[str, Any] | None:
    """The strategy that moves the witness most among those that keep the skin outside the mask (PSNR in dB) and
    whose lesion is found where the mask is (Dice); None where none does both."""
    floors = {"psnr": least_psnr, "mask_dice": least_dice}
    kept = [
        row
        for row in rows
        if row["kind"] != "text" and all((row[name]["mean"] or 0) >= least for name, least in floors.items())
    ]
    return max(kept, key=lambda row: row["gain"]["mean"] if row["gain"]["mean"] is not None else -1, default=None)


def scores_of(
    images: np.ndarray,
    masks: np.ndarray,
    own: PairArrays,
    probability: tuple[np.ndarray, np.ndarray],
    label: int,
    found: np.ndarray,
) -> dict[str, np.ndarray]:
    """Figures of drawn pairs, each (N,), by name.

    own: the pairs that they were drawn from; probability: the witness's (N, C) before and after; label: the wanted
    class; found: masks of the drawn images by an independent segmenter.
    """
    from evaluate.metrics.masks import dice

    before, after = probability
    psnr, ssim = outside_likeness(own.images, images, own.masks)
    return {
        "agreement": (after.argmax(1) == label).astype(float),
        "gain": after[:, label] - before[:, label],
        "psnr": psnr,
        "ssim": ssim,
        "mask_dice": dice(found, masks),
    }


def row_of(
    strategy: Strategy, scores: Sequence[Mapping[str, np.ndarray]], kids: Sequence[float], seed: int
) -> dict[str, Any]:
    """One row of the table, JSON-ready, from the figures of each class and its kernel distance."""
    row: dict[str, Any] = {"name": strategy.name, **asdict(strategy)}
    for figure in FIGURES:
        row[figure] = interval_of(np.concatenate([part[figure] for part in scores]), seed)
    row["kid"] = interval_of(np.array(kids), seed)
    row["copies"] = round(float(np.concatenate([part["copy"] for part in scores]).mean()), 4)
    return row


@dataclass(frozen=True)
class Strategy:
    """One way to draw. kind: from text alone, from the whole image, or inside its mask; rank: of the class adapter,
    its own where None, no adapter where 0; contrast: guided away from the picture's own class; tries: draws of which
    the diagnosing ensemble picks one; detail: share of the picture's fine structure that is put back."""

    kind: str
    strength: float
    guidance: float
    rank: int | None = None
    contrast: bool = True
    tries: int = 1
    detail: float = 0.0

    @property
    def adapter(self) -> bool:
        """Whether the class adapter takes part."""
        return self.rank != 0

    @property
    def name(self) -> str:
        """`inpainting 0.7, adapter, guidance 2 with contrast, best of 4`."""
        strength = "" if self.kind == "text" else f" {self.strength:g}"
        adapter = {None: "adapter", 0: "no adapter"}.get(self.rank, f"adapter of rank {self.rank}")
        contrast = " with contrast" if self.contrast else ""
        tries = f", best of {self.tries}" if self.tries > 1 else ""
        return f"{self.kind}{strength}, {adapter}, guidance {self.guidance:g}{contrast}{tries}"


def at_rank(adapter: AdapterFile, rank: int) -> AdapterFile:
    """The adapter with every LoRA product reduced to `rank` by singular values; all else stays.

    The tensors keep their shapes, filled up with zeros, so that the file's own configuration still fits.
    """
    tensors = dict(adapter.tensors)
    for name in adapter.tensors:
        if _DOWN in name:
            up = name.replace(_DOWN, _UP)
            tensors[name], tensors[up] = _reduced(adapter.tensors[name], adapter.tensors[up], rank)
    return replace(adapter, tensors=tensors)


def _reduced(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """`up @ down` at `rank`, split again; down: (r, in), up: (out, r)."""
    import torch

    left, values, right = torch.linalg.svd(up @ down, full_matrices=False)
    kept = min(rank, len(down))
    fewer_down, fewer_up = torch.zeros_like(down), torch.zeros_like(up)
    fewer_down[:kept] = right[:kept]
    fewer_up[:, :kept] = left[:, :kept] * values[:kept]
    return fewer_down, fewer_up
