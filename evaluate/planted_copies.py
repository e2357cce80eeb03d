"""Copies made on purpose, by which the copy audit sets its threshold and shows what it would find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Attack = Callable[[np.ndarray, np.random.Generator], np.ndarray]


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
