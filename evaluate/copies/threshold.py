"""From which similarity on an image counts as a copy, and the copies made on purpose that set it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluate.settings.gates import CopySettings

TAIL = 0.05  # share of the similarities that is taken for the tail of their distribution
Attack = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class CopyThreshold:
    """From which similarity on an image counts as a copy, and on what evidence.

    `real_limit` is the similarity that few real pairs have to one of another lesion, `planted_limit` the one that all
    but a few planted copies reach. The threshold lies a standard error above the first and no higher, since a lesion
    drawn anew from the noised picture of a real one is recognised by eye far below the second; where few real pairs
    tell little, at the second. `recall` is the share of planted copies of each kind found at the threshold.
    """

    value: float
    real_limit: float
    planted_limit: float
    real_pairs: int
    real_above: int
    recall: dict[str, float]


def set_threshold(real: np.ndarray, planted: dict[str, np.ndarray], settings: CopySettings) -> CopyThreshold:
    """The threshold between real-to-real similarities (N,) and those of planted copies by attack."""
    every = np.concatenate(list(planted.values()))
    planted_limit = float(np.quantile(every, 1 - settings.planted_recall))
    # Up to 2 % of real pairs may be the same lesion photographed twice; they are copies, and set no limit.
    doubled = real >= planted_limit
    apart = real[~doubled] if doubled.mean() <= 0.02 and not doubled.all() else real
    real_limit, value = planted_limit, round(planted_limit, 5)
    if len(apart):
        real_limit, error = _reached_by(apart, settings.false_alarm_rate)
        met = float(np.quantile(apart, 1 - settings.false_alarm_rate))
        value = round(max(met, min(real_limit + error, planted_limit)), 5)
    recall = {attack: float((scores >= value).mean()) for attack, scores in planted.items()}
    return CopyThreshold(value, real_limit, planted_limit, len(real), int((real >= value).sum()), recall)


def _reached_by(similarities: np.ndarray, share: float) -> tuple[float, float]:
    # The similarity that `share` of all such would reach, and its standard error: few were met that far out, so the
    # highest are taken for the exponential tail of a distribution (Pickands 1975, peaks over a threshold).
    tail = max(TAIL, share)
    start = float(np.quantile(similarities, 1 - tail))
    beyond = similarities[similarities >= start] - start
    reach = float(np.log(tail / share) * beyond.mean())
    return start + reach, reach / float(np.sqrt(len(beyond)))


def exact(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image itself."""
    return image


def flipped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the seven flips and turns that are not the identity."""
    index = int(rng.integers(1, 8))
    turned = np.rot90(image, index % 4)
    return np.ascontiguousarray(turned[:, ::-1] if index >= 4 else turned)


def brightened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness and contrast changed by up to 40 %, and up to 20 grey levels added."""
    middle = image.mean()
    changed = (image - middle) * rng.uniform(0.6, 1.4) + middle * rng.uniform(0.7, 1.3) + rng.uniform(-20, 20)
    return np.clip(changed, 0, 255).astype(np.uint8)


def rehued(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hue turned by up to 40 degrees, saturation changed by up to 40 %."""
    import cv2

    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int64)
    hsv[..., 0] = (hsv[..., 0] + rng.integers(-20, 21)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.6, 1.4), 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def rebalanced(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White balance: each channel scaled by up to 25 %."""
    return np.clip(image * rng.uniform(0.75, 1.25, 3), 0, 255).astype(np.uint8)


def recoloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, hue, saturation and white balance changed, all together."""
    return rebalanced(rehued(brightened(image, rng), rng), rng)


def cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A square of 80 to 95 % of the side from anywhere in the image, enlarged to the old size."""
    import cv2

    side = image.shape[0]
    length = round(side * rng.uniform(0.8, 0.95))
    top, left = rng.integers(0, side - length + 1, 2)
    return cv2.resize(image[top : top + length, left : left + length], (side, side), interpolation=cv2.INTER_LINEAR)


def recompressed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A JPEG of quality 40 to 70."""
    import cv2

    bgr = np.ascontiguousarray(image[..., ::-1])
    _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 71))])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]


def smoothed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fine detail lost, as in a generator that remembers: a Gaussian blur of 1 % of the side."""
    import cv2

    return cv2.GaussianBlur(image, (0, 0), 0.01 * image.shape[0])


ATTACKS: dict[str, Attack] = {
    "exact": exact,
    "flipped": flipped,
    "brightened": brightened,
    "rehued": rehued,
    "rebalanced": rebalanced,
    "recoloured": recoloured,
    "cropped": cropped,
    "recompressed": recompressed,
    "smoothed": smoothed,
}


def plant(images: np.ndarray, attack: str, seed: int) -> np.ndarray:
    """A copy of each of the uint8 images (N, H, W, 3) by `attack`; each has its own random state."""
    copies = [ATTACKS[attack](image, np.random.default_rng((seed, i))) for i, image in enumerate(images)]
    return np.stack(copies)
