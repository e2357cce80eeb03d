"""The phantom's lesions: for each class the outline, pigments and dermoscopic structures that tell it apart.

Colour is made the way skin makes it: melanin and blood absorb (Beer-Lambert, one coefficient per channel), and
opaque structures (blue-white veil, milia-like cysts, scale, scar) lie over them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from manifests.phantom.fields import (
    Outline,
    cloud,
    draw_outline,
    honeycomb,
    scatter,
    signed_distance,
    smoothstep,
    stamp_discs,
)

MELANIN = np.array([0.62, 1.02, 1.36], np.float32)
BLOOD = np.array([0.16, 0.80, 0.66], np.float32)
DARKEST = np.array([24, 18, 18], np.float32)
BLUE_VEIL = (108, 112, 130)
SCAR = (236, 214, 208)
KERATIN = (222, 190, 128)
CYST = (244, 232, 206)


@dataclass
class Lesion:
    """One lesion being drawn: its exact mask, its absorbers and what lies over them.

    mask: bool (S, S); depth: float32 (S, S), pixels to the border, positive inside; melanin and blood: float32
    (S, S), optical density; overlays: (weight (S, S) in [0, 1], RGB colour), painted in order.
    """

    rng: np.random.Generator
    mask: np.ndarray
    depth: np.ndarray
    melanin: np.ndarray
    blood: np.ndarray
    overlays: list[tuple[np.ndarray, tuple[int, int, int]]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.mask.shape[0]

    @property
    def unit(self) -> float:
        """Pixels per 1/256 of the side: marks keep their size when the picture is larger."""
        return self.size / 256

    def within(self, soft: float) -> np.ndarray:
        """1 inside, 0 outside, with a border `soft` units wide that is one half exactly on the mask's edge."""
        return smoothstep(self.depth, -soft * self.unit, soft * self.unit)

    def noise(self, cells: float, octaves: int = 3) -> np.ndarray:
        return cloud(self.rng, self.size, cells, octaves)

    def patch(self, cells: float, share: float) -> np.ndarray:
        """Soft blotches that cover about `share` of the lesion, in [0, 1]."""
        noise = self.noise(cells, 2)
        cut = float(np.quantile(noise[self.mask][::7], 1 - share))
        return smoothstep(noise, cut - 0.6, cut + 0.8) * self.within(5)

    def marks(self, spacing: float, radius: tuple[float, float], soft: float, margin: float = 2) -> np.ndarray:
        """Round marks about `spacing` units apart, in [0, 1], at least `margin` units inside the border."""
        points = scatter(self.rng, self.depth > margin * self.unit, spacing * self.unit)
        radii = self.rng.uniform(*radius, len(points)) * self.unit
        return stamp_discs(self.size, points, radii, self.rng.uniform(0.6, 1, len(points)), soft * self.unit)


def start_lesion(rng: np.random.Generator, size: int, outline: Outline) -> Lesion:
    mask = draw_outline(rng, size, outline)
    empty = np.zeros((size, size), np.float32)
    return Lesion(rng, mask, signed_distance(mask), empty, empty.copy())


def nevus(rng: np.random.Generator, size: int) -> Lesion:
    """Symmetric, one or two browns, a border that fades; a regular network, globules or no structure."""
    lesion = start_lesion(
        rng,
        size,
        Outline(
            rng.uniform(0.11, 0.29),
            rng.uniform(1.0, 1.5),
            asymmetry=0.05,
            jagged=rng.uniform(0.01, 0.05),
            warp=0.09,
        ),
    )
    body = lesion.within(rng.uniform(6, 18))
    centre = np.clip(lesion.depth / max(1.0, float(lesion.depth.max())), 0, 1)
    tone = rng.uniform(0.3, 0.95)
    shade = 0.8 + rng.uniform(-0.2, 0.5) * centre + 0.16 * lesion.noise(6) + 0.05 * lesion.noise(40, 2)
    lesion.melanin = tone * body * np.clip(shade, 0.2, None)
    lesion.blood = rng.uniform(0.02, 0.4) * body * np.clip(1 + 0.3 * lesion.noise(5), 0, None)
    pattern = rng.choice(["network", "globules", "plain"], p=[0.5, 0.28, 0.22])
    if pattern == "network":
        lines = honeycomb(rng, size, rng.uniform(4.5, 7.5) * lesion.unit, rng.uniform(0.35, 0.6))
        strength = rng.uniform(0.4, 0.9) * np.clip(0.65 + 0.45 * lesion.noise(5, 2), 0.1, 1) * (1 - 0.6 * centre)
        lesion.melanin *= 1 + strength * (lines - 0.55)
    elif pattern == "globules":
        dots = lesion.marks(rng.uniform(7, 10), (1.6, 3.6), 0.8) * np.clip(0.7 + 0.4 * lesion.noise(5, 2), 0, 1)
        lesion.melanin = lesion.melanin * 0.8 + rng.uniform(0.3, 0.7) * dots * body
    return lesion


def melanoma(rng: np.random.Generator, size: int) -> Lesion:
    """Asymmetric, notched, many colours; broken network, dots, streaks, blotches, veil and regression."""
    lesion = start_lesion(
        rng,
        size,
        Outline(
            rng.uniform(0.16, 0.27),
            rng.uniform(1.1, 1.7),
            lobes=int(rng.integers(2, 5)),
            asymmetry=0.13,
            jagged=rng.uniform(0.07, 0.14),
            warp=0.2,
        ),
    )
    body = lesion.within(rng.uniform(3, 9))
    lesion.melanin = body * np.clip(rng.uniform(0.4, 0.9) + 0.24 * lesion.noise(4), 0.12, None)
    lesion.blood = body * np.clip(rng.uniform(0.05, 0.45) + 0.2 * lesion.noise(3, 2), 0, None)
    lines = honeycomb(rng, size, rng.uniform(6.5, 9) * lesion.unit, 0.8)
    lesion.melanin *= 1 + 0.9 * (lines - 0.5) * lesion.patch(4, 0.4)
    lesion.melanin += rng.uniform(0.7, 1.7) * lesion.patch(4, rng.uniform(0.12, 0.35))
    dots = lesion.marks(8, (0.8, 3.2), 0.6, margin=-2)
    lesion.melanin += 0.8 * dots * lesion.patch(3, 0.4)
    lesion.melanin *= np.clip(1 + 0.12 * lesion.noise(30, 2), 0.3, None)
    if rng.random() < 0.55:
        veil = lesion.patch(3, rng.uniform(0.15, 0.4)) * smoothstep(lesion.depth, 2, 14 * lesion.unit)
        veil *= np.clip(0.8 + 0.2 * lesion.noise(16), 0, 1)
        lesion.overlays.append((veil * rng.uniform(0.4, 0.75), BLUE_VEIL))
    if rng.random() < 0.5:
        scar = lesion.patch(3.5, rng.uniform(0.08, 0.22)) * np.clip(0.7 + 0.3 * lesion.noise(18), 0, 1)
        lesion.overlays.append((scar * rng.uniform(0.2, 0.55), SCAR))
    return lesion


def keratosis(rng: np.random.Generator, size: int) -> Lesion:
    """Stuck on: a sharp scalloped border, dull tan to grey-brown, milia-like cysts, comedo openings, ridges."""
    lesion = start_lesion(
        rng,
        size,
        Outline(
            rng.uniform(0.13, 0.30),
            rng.uniform(1.1, 1.7),
            asymmetry=0.08,
            jagged=rng.uniform(0.05, 0.11),
            warp=0.12,
        ),
    )
    body = lesion.within(rng.uniform(1.0, 3.5))
    grain = 0.14 * lesion.noise(9) + 0.07 * lesion.noise(36, 2)
    lesion.melanin = body * np.clip(rng.uniform(0.3, 0.95) + grain, 0.1, None)
    lesion.blood = body * rng.uniform(0.0, 0.15)
    lesion.overlays.append((body * rng.uniform(0.12, 0.35), (150, 128, 104) if rng.random() < 0.6 else KERATIN))
    if rng.random() < 0.55:
        ridges = 1 - smoothstep(np.abs(lesion.noise(rng.uniform(9, 14), 2)), 0.05, 0.4)
        lesion.melanin += rng.uniform(0.2, 0.45) * ridges * body
    plugs = lesion.marks(rng.uniform(22, 40), (1.6, 3.4), 0.7, margin=4)
    lesion.melanin += rng.uniform(0.7, 1.2) * plugs
    cysts = lesion.marks(rng.uniform(15, 34), (0.9, 2.6), 1.0, margin=4)
    lesion.overlays.append((cysts * rng.uniform(0.65, 0.95), CYST))
    rim = smoothstep(lesion.depth, -1, 1) * (1 - smoothstep(lesion.depth, 1, 5 * lesion.unit))
    lesion.melanin += 0.15 * rim
    return lesion


def carcinoma(rng: np.random.Generator, size: int) -> Lesion:
    """Basal cell carcinoma: pink and translucent, branching vessels, blue-grey nests, sometimes an ulcer."""
    lesion = start_lesion(
        rng, size, Outline(rng.uniform(0.14, 0.26), rng.uniform(1.0, 1.5), asymmetry=0.1, jagged=0.08)
    )
    body = lesion.within(4)
    lesion.blood = body * np.clip(0.45 + 0.15 * lesion.noise(5), 0.1, None)
    lesion.melanin = body * 0.08
    lesion.overlays.append((body * 0.25, (240, 205, 205)))
    lesion.blood += 1.1 * branching_vessels(lesion, int(rng.integers(4, 8)))
    nests = lesion.marks(rng.uniform(30, 46), (4, 9), 1.6, margin=6)
    lesion.overlays.append((nests * rng.uniform(0.5, 0.9), (92, 96, 120)))
    if rng.random() < 0.4:
        lesion.blood += 1.4 * lesion.patch(4, 0.1)
    return lesion


def branching_vessels(lesion: Lesion, stems: int) -> np.ndarray:
    """Trees of thin vessels that start near the border and divide towards the middle, in [0, 1]."""
    rng, layer = lesion.rng, np.zeros(lesion.mask.shape, np.uint8)
    ys, xs = np.nonzero(lesion.mask)
    middle = np.array([xs.mean(), ys.mean()])
    for _ in range(stems):
        pick = int(rng.integers(len(xs)))
        _grow(rng, layer, np.array([xs[pick], ys[pick]], float), middle, 3, lesion.unit)
    drawn = cv2.GaussianBlur(layer, (0, 0), 0.6 * lesion.unit).astype(np.float32) / 255
    return drawn * lesion.within(2)


def _grow(
    rng: np.random.Generator, layer: np.ndarray, start: np.ndarray, aim: np.ndarray, level: int, unit: float
) -> None:
    heading = np.arctan2(*(aim - start)[::-1]) + rng.normal(0, 0.5)
    points = [start]
    for _ in range(7):
        heading += rng.normal(0, 0.35)
        points.append(points[-1] + 4.0 * unit * np.array([np.cos(heading), np.sin(heading)]))
    path = np.round(np.array(points) * 16).astype(np.int32)
    cv2.polylines(layer, [path], False, 255, max(1, round(level * 0.7 * unit)), cv2.LINE_AA, 4)
    for _ in range(2 if level > 1 else 0):
        _grow(rng, layer, points[-1], points[-1] + rng.normal(0, 30 * unit, 2), level - 1, unit)


def actinic(rng: np.random.Generator, size: int) -> Lesion:
    """Actinic keratosis: a red network around pale follicles (strawberry), white to yellow scale, weak border."""
    lesion = start_lesion(
        rng,
        size,
        Outline(rng.uniform(0.16, 0.3), rng.uniform(1.0, 1.6), asymmetry=0.12, jagged=0.12, warp=0.15),
    )
    body = lesion.within(7)
    lesion.blood = body * np.clip(rng.uniform(0.55, 0.9) + 0.22 * lesion.noise(8), 0.1, None)
    lesion.melanin = body * rng.uniform(0.03, 0.2)
    follicles = lesion.marks(rng.uniform(12, 16), (2.2, 3.6), 1.0)
    lesion.overlays.append((follicles * 0.6, (240, 215, 195)))
    scale = lesion.patch(7, rng.uniform(0.12, 0.25)) * smoothstep(lesion.noise(30, 2), -0.4, 0.9)
    lesion.overlays.append((scale * 0.85, (244, 236, 216)))
    return lesion


def fibroma(rng: np.random.Generator, size: int) -> Lesion:
    """Dermatofibroma: a white scar-like middle inside a delicate light-brown network."""
    lesion = start_lesion(
        rng, size, Outline(rng.uniform(0.13, 0.24), rng.uniform(1.0, 1.3), asymmetry=0.05, jagged=0.04)
    )
    body = lesion.within(9)
    centre = np.clip(lesion.depth / max(1.0, float(lesion.depth.max())), 0, 1)
    lines = honeycomb(rng, size, rng.uniform(5, 7) * lesion.unit, 0.5)
    lesion.melanin = body * (0.22 + 0.5 * lines * (1 - centre)) * rng.uniform(0.7, 1.2)
    lesion.blood = body * rng.uniform(0.15, 0.45)
    scar = smoothstep(centre + 0.12 * lesion.noise(8), 0.3, 1.0) * np.clip(0.8 + 0.2 * lesion.noise(20), 0, 1)
    lesion.overlays.append((scar * rng.uniform(0.6, 0.9), SCAR))
    return lesion


def angioma(rng: np.random.Generator, size: int) -> Lesion:
    """Vascular: packed red, purple and near-black lacunae between pale septa, a sharp border."""
    lesion = start_lesion(
        rng, size, Outline(rng.uniform(0.11, 0.22), rng.uniform(1.0, 1.4), asymmetry=0.06, jagged=0.06)
    )
    body = lesion.within(2.5)
    lacunae = lesion.marks(rng.uniform(13, 18), (5.5, 9.0), 1.2, margin=1)
    dark = lesion.patch(4, 0.3)
    lesion.blood = body * (0.55 + rng.uniform(0.7, 1.2) * lacunae)
    lesion.melanin = body * lacunae * (0.12 + 0.55 * dark)
    septa = body * (1 - smoothstep(lacunae, 0.1, 0.6))
    lesion.overlays.append((septa * 0.3, (232, 190, 196)))
    return lesion


LESIONS: dict[str, Callable[[np.random.Generator, int], Lesion]] = {
    "nv": nevus,
    "mel": melanoma,
    "bkl": keratosis,
    "bcc": carcinoma,
    "akiec": actinic,
    "df": fibroma,
    "vasc": angioma,
}


def paint_lesion(skin: np.ndarray, lesion: Lesion) -> np.ndarray:
    """`skin` float32 (S, S, 3), 0..255, seen through and under the lesion."""
    density = lesion.melanin[..., None] * MELANIN + lesion.blood[..., None] * BLOOD
    picture = DARKEST + (skin - DARKEST) * np.exp(-density)
    for weight, colour in lesion.overlays:
        picture += weight[..., None] * (np.array(colour, np.float32) - picture)
    return picture
