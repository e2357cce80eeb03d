"""A classifier from what dermatologists describe: colours against the skin, texture, asymmetry and shape.

From a few hundred pairs and without pretrained weights it tells lesion classes apart far better, and in
seconds, than a network that starts from scratch; it reads the image through its mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from augment.training.schedules import linear_decay
from evaluate.metrics.mask_shape import mask_shapes
from manifests.errors import BadInput
from manifests.files import replace_file

if TYPE_CHECKING:
    import torch

SIDE = 96
_WEIGHTS = "appearance.safetensors"
_SCALES = (1, 2, 4, 8)
_COLOUR_BINS = (np.linspace(-0.7, 0.1, 6), np.linspace(-0.4, 0.6, 5), np.linspace(-0.6, 0.6, 5))
_HIDDEN, _BATCH, _UPDATES, _RATE = 32, 256, 600, 3e-3


def lesion_features(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Features float32 (N, F) of uint8 images (N, H, W, 3) and bool masks (N, H, W)."""
    import cv2

    shapes = np.nan_to_num(mask_shapes(masks))
    rows = []
    for image, mask, shape in zip(images, masks, shapes, strict=True):
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        # Lightness from 0 to 1, a and b by 50.
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2Lab) / np.array([100, 50, 50], np.float32)
        covered = cv2.resize(mask.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0
        regions = _regions(covered)
        parts = [
            *_colours(lab, regions),
            *_textures(lab, regions),
            *_asymmetry(lab, regions["lesion"]),
            *shape,
        ]
        rows.append(np.array(parts, np.float32))
    return np.nan_to_num(np.stack(rows)) if rows else np.zeros((0, 0), np.float32)


def _regions(lesion: np.ndarray) -> dict[str, np.ndarray]:
    # Each region falls back on a larger one where it would hold too few pixels.
    import cv2

    if lesion.sum() < 10:
        lesion = np.ones_like(lesion)
    grown = cv2.dilate(lesion.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    skin = grown & ~lesion
    if skin.sum() < 30:
        skin = ~lesion if (~lesion).sum() >= 30 else np.ones_like(lesion)
    core = cv2.erode(lesion.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    core = core if core.sum() >= 10 else lesion
    edge = lesion & ~core
    return {"lesion": lesion, "core": core, "edge": edge if edge.sum() >= 10 else lesion, "skin": skin}


def _colours(lab: np.ndarray, regions: dict[str, np.ndarray]) -> list[float]:
    skin = lab[regions["skin"]].mean(0)
    features: list[float] = []
    for name in ("lesion", "core", "edge"):
        values = lab[regions[name]]
        quantiles = np.quantile(values, [0.05, 0.25, 0.75, 0.95], axis=0) - skin
        features += [*(values.mean(0) - skin), *values.std(0), *quantiles.ravel()]
    counts, _ = np.histogramdd(lab[regions["lesion"]] - skin, bins=_COLOUR_BINS)
    shares = np.sqrt(counts.ravel() / max(1.0, counts.sum()))
    return [*features, *lab[regions["lesion"]].mean(0), *skin, *lab[regions["skin"]].std(0), *shares]


def _textures(lab: np.ndarray, regions: dict[str, np.ndarray]) -> list[float]:
    # Energy of differences of Gaussians, by scale and region; skewness tells dots from holes.
    import cv2

    features = []
    for scale in _SCALES:
        bands = cv2.GaussianBlur(lab, (0, 0), scale) - cv2.GaussianBlur(lab, (0, 0), 2 * scale)
        light, inside = bands[..., 0], bands[regions["lesion"]]
        spread = inside.std(0)
        features += list(np.log(spread + 1e-4))
        features.append(np.log(light[regions["skin"]].std() + 1e-4))
        features.append(np.log(np.abs(light[regions["edge"]]).mean() + 1e-4))
        features.append((inside[:, 0] ** 3).mean() / (spread[0] ** 3 + 1e-6))
    return features


def _asymmetry(lab: np.ndarray, lesion: np.ndarray) -> list[float]:
    # How each channel changes from the centroid outwards, and how far its weight lies from the centroid.
    rows, columns = np.nonzero(lesion)
    y = (rows - rows.mean()) / (rows.std() + 1)
    x = (columns - columns.mean()) / (columns.std() + 1)
    radius = np.hypot(x, y) - np.hypot(x, y).mean()
    features = []
    for channel in range(3):
        values = lab[..., channel][lesion]
        centred = values - values.mean()
        slope = (radius * centred).mean() / (radius.std() * centred.std() + 1e-6)
        features += [abs(slope), np.hypot((x * centred).mean(), (y * centred).mean())]
    return features


class AppearanceClassifier:
    """A small perceptron on standardised lesion features. tensors: its weights, by name."""

    def __init__(self, tensors: dict[str, np.ndarray]):
        self.tensors = tensors

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> AppearanceClassifier:
        """Train on features (N, F) and labels (N,), classes weighing alike. Deterministic."""
        import torch

        mean, spread = features.mean(0), features.std(0) + 1e-3
        rows = torch.from_numpy(_standardised(features, mean, spread))
        wanted = torch.from_numpy(np.asarray(labels, np.int64))
        counts = torch.bincount(wanted, minlength=classes).float()
        weights = torch.where(counts > 0, len(wanted) / (classes * counts.clamp(min=1)), 0.0)
        generator = torch.Generator().manual_seed(seed)
        network = _network(rows.shape[1], classes, generator)
        optimiser = torch.optim.AdamW([{"params": network}], lr=_RATE, weight_decay=0.1)
        for update in range(_UPDATES):
            optimiser.param_groups[0]["lr"] = _RATE * linear_decay(update, _UPDATES)
            chosen = torch.randint(0, len(rows), (min(_BATCH, 4 * len(rows)),), generator=generator)
            batch = rows[chosen] + 0.2 * torch.randn((len(chosen), rows.shape[1]), generator=generator)
            outputs = _forward(batch, network, generator)
            loss = torch.nn.functional.cross_entropy(outputs, wanted[chosen], weight=weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        names = ("first", "first_bias", "second", "second_bias")
        trained = {name: tensor.detach().numpy().copy() for name, tensor in zip(names, network, strict=True)}
        return cls(trained | {"mean": mean, "spread": spread})

    def save(self, folder: Path) -> None:
        """Write appearance.safetensors into `folder`."""
        from safetensors.numpy import save

        replace_file(folder / _WEIGHTS, save(self.tensors))

    @classmethod
    def load(cls, folder: Path) -> AppearanceClassifier:
        """What `save` wrote; BadInput where it is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = folder / _WEIGHTS
        try:
            return cls(load_file(path))
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{path} cannot be read ({error}); delete its folder and run again") from error

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities float32 (N, C) of features (N, F)."""
        t = self.tensors
        rows = _standardised(features, t["mean"], t["spread"]) @ t["first"] + t["first_bias"]
        outputs = np.maximum(rows, 0) @ t["second"] + t["second_bias"]
        powers = np.exp(outputs - outputs.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


def _standardised(features: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.clip((features - mean) / spread, -4, 4).astype(np.float32)


def _network(width: int, classes: int, generator: torch.Generator) -> list[torch.Tensor]:
    import torch

    first = torch.randn((width, _HIDDEN), generator=generator) * width**-0.5
    second = torch.randn((_HIDDEN, classes), generator=generator) * _HIDDEN**-0.5
    return [t.requires_grad_() for t in (first, torch.zeros(_HIDDEN), second, torch.zeros(classes))]


def _forward(rows: torch.Tensor, network: list[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    # Dropout by an own generator, so that training does not touch the global random state.
    import torch

    first, first_bias, second, second_bias = network
    rows = rows * (torch.rand(rows.shape, generator=generator) > 0.2) / 0.8
    hidden = torch.relu(rows @ first + first_bias)
    hidden = hidden * (torch.rand(hidden.shape, generator=generator) > 0.3) / 0.7
    return hidden @ second + second_bias
