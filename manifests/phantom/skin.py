"""The phantom's skin and what a dermoscope adds: light, vignette, hairs, ruler, gel bubbles, ink, noise."""

from __future__ import annotations

import cv2
import numpy as np

from manifests.phantom.fields import cloud, scatter, smoothstep, stamp_discs

# Mean colours of clear skin through a dermoscope, from pale to dark, with how often each is drawn.
SKIN_TONES = (
    ((228, 196, 188), 0.26),
    ((236, 222, 204), 0.18),
    ((198, 164, 146), 0.18),
    ((168, 140, 126), 0.14),
    ((244, 156, 136), 0.10),
    ((152, 110, 84), 0.08),
    ((112, 78, 60), 0.06),
)


def draw_skin(rng: np.random.Generator, size: int) -> np.ndarray:
    """Clear skin with mottling, creases and freckles: float32 (size, size, 3), 0..255."""
    tones = np.array([tone for tone, _ in SKIN_TONES], np.float32)
    tone = tones[rng.choice(len(tones), p=[share for _, share in SKIN_TONES])]
    colour = tone * rng.uniform(0.94, 1.06) + rng.normal(0, 4, 3)
    blood = 0.028 * cloud(rng, size, 7, 4) * rng.uniform(0.3, 1.6)
    pigment = 0.016 * cloud(rng, size, 22, 3) * rng.uniform(0.3, 1.6)
    if rng.random() < 0.35:
        points = scatter(rng, np.ones((size, size), bool), size / rng.uniform(4, 9))
        radii = rng.uniform(1.5, 4.5, len(points)) * size / 256
        pigment = pigment + 0.16 * stamp_discs(size, points, radii, soft=1.5 * size / 256)
    light = _creases(rng, size) + np.float32(0.014) * cloud(rng, size, 70, 2)
    density = blood[..., None] * np.array([0.3, 1.1, 0.9]) + pigment[..., None] * np.array([0.5, 0.9, 1.3])
    return (colour * np.exp(-density + 0.4 * light[..., None])).astype(np.float32)


def _creases(rng: np.random.Generator, size: int) -> np.ndarray:
    """Faint crossing lines of the skin's surface, about 0.02 in size."""
    lines = np.zeros((size, size), np.float32)
    for _ in range(2):
        stretched = cv2.resize(
            rng.standard_normal((max(4, size // 3), max(3, size // 14)), dtype=np.float32),
            (size * 3 // 2, size * 3 // 2),
            interpolation=cv2.INTER_LINEAR,
        )
        turn = cv2.getRotationMatrix2D((size * 0.75, size * 0.75), rng.uniform(0, 180), 1)
        turn[:, 2] -= size * 0.25
        lines += cv2.warpAffine(stretched, turn, (size, size), borderMode=cv2.BORDER_REFLECT)
    return lines * np.float32(rng.uniform(0.012, 0.035))


def add_optics(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Uneven light, a vignette or a black aperture, a colour cast, slight blur and sensor noise."""
    size = picture.shape[0]
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = axis[None, :], axis[:, None]
    tilt = rng.normal(0, 0.09, 2).astype(np.float32)
    centre = rng.normal(0, 0.04, 2).astype(np.float32)
    reach = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2)
    light = 1 + tilt[0] * x + tilt[1] * y - np.float32(rng.uniform(0.05, 0.9)) * np.maximum(reach - 0.28, 0) ** 1.5
    if rng.random() < 0.08:
        edge = rng.uniform(0.5, 0.66)
        light = light * (1 - 0.97 * smoothstep(reach, edge, edge + rng.uniform(0.008, 0.05)))
    cast = (1 + rng.normal(0, 0.016, 3)).astype(np.float32)
    picture = picture * (light * np.float32(rng.uniform(0.86, 1.06)))[..., None] * cast
    blur = rng.uniform(0.3, 0.85) * size / 256
    if blur > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    grain = rng.standard_normal((size, size, 1), dtype=np.float32) * np.float32(rng.uniform(0.8, 2.2))
    return picture + grain


def add_hairs(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """From a few to many curved hairs of one colour; some pictures are shaved and show stubble."""
    size, unit = picture.shape[0], picture.shape[0] / 256
    kind = rng.choice(["fine", "thick", "stubble"], p=[0.55, 0.3, 0.15])
    count = int(rng.integers(3, 26)) if kind != "stubble" else int(rng.integers(10, 40))
    layer = np.zeros((size, size), np.uint8)
    main = rng.uniform(0, np.pi)
    for _ in range(count):
        length = size * (rng.uniform(0.02, 0.07) if kind == "stubble" else rng.uniform(0.4, 1.3))
        thickness = {"fine": 1, "thick": int(rng.integers(1, 3)), "stubble": 1}[str(kind)]
        heading = main + rng.normal(0, 0.5) + np.pi * int(rng.integers(2))
        path = _curve(rng, rng.uniform(-0.25, 1.25, 2) * size, heading, length)
        cv2.polylines(layer, [path], False, 255, max(1, round(thickness * unit)), cv2.LINE_AA, 4)
    colour = [(36, 26, 24), (70, 48, 38), (92, 70, 58), (206, 196, 186)][rng.choice(4, p=[0.45, 0.3, 0.17, 0.08])]
    alpha = layer.astype(np.float32) * np.float32(rng.uniform(0.45, 0.95) / 255)
    shadow = cv2.GaussianBlur(alpha, (0, 0), 1.4 * unit)
    picture = picture * (1 - 0.12 * shadow[..., None])
    return picture + alpha[..., None] * (np.array(colour, np.float32) - picture)


def _curve(rng: np.random.Generator, start: np.ndarray, heading: float, length: float) -> np.ndarray:
    """A path that bends steadily and slightly wanders: int32 (24, 2), sixteenths of a pixel."""
    turns = heading + np.linspace(0, 1, 24) * rng.normal(0, 0.9) + np.cumsum(rng.normal(0, 0.03, 24))
    steps = np.stack([np.cos(turns), np.sin(turns)], -1) * length / 24
    return np.round((start + np.cumsum(steps, 0)) * 16).astype(np.int32)


def add_ruler(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """A scale with ticks and the letters mm, near one edge, slightly turned."""
    size, unit = picture.shape[0], picture.shape[0] / 256
    layer = np.zeros((size, size), np.uint8)
    spacing, ticks = rng.uniform(6, 10) * unit, int(rng.integers(12, 24))
    left, base = rng.uniform(0.05, 0.3) * size, rng.uniform(0.84, 0.94) * size
    width = max(1, round(unit))
    for tick in range(ticks + 1):
        x = round(left + tick * spacing)
        height = (10 if tick % 10 == 0 else 7 if tick % 5 == 0 else 4) * unit
        cv2.line(layer, (x, round(base)), (x, round(base - height)), 255, width, cv2.LINE_AA)
    cv2.line(
        layer,
        (round(left), round(base)),
        (round(left + ticks * spacing), round(base)),
        255,
        width,
        cv2.LINE_AA,
    )
    place = (round(left), round(base + 10 * unit))
    cv2.putText(layer, "MM", place, cv2.FONT_HERSHEY_SIMPLEX, 0.28 * unit, 255, width, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 9) + 90 * rng.integers(4), 1)
    alpha = cv2.warpAffine(layer, turn, (size, size)).astype(np.float32) * np.float32(rng.uniform(0.6, 0.95) / 255)
    return picture + alpha[..., None] * (np.float32(34) - picture)


def add_bubbles(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Air in the immersion gel: dark rings with a bright crescent, small and in loose groups."""
    size, unit = picture.shape[0], picture.shape[0] / 256
    dark, bright = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    middle = rng.uniform(0.1, 0.9, 2) * size
    for _ in range(int(rng.integers(3, 14))):
        centre = middle + rng.normal(0, 34 * unit, 2)
        radius = rng.gamma(2.0, 2.4) * unit + 2 * unit
        at = (round(centre[0] * 16), round(centre[1] * 16))
        cv2.circle(dark, at, round(radius * 16), 150, max(1, round(unit)), cv2.LINE_AA, 4)
        arc = (round(radius * 0.75), round(radius * 0.75))
        where = (round(centre[0]), round(centre[1]))
        cv2.ellipse(bright, where, arc, 0, 190, 275, 255, max(1, round(1.3 * unit)), cv2.LINE_AA)
    shade = cv2.GaussianBlur(dark, (0, 0), 0.6 * unit).astype(np.float32) / 255
    shine = cv2.GaussianBlur(bright, (0, 0), 0.5 * unit).astype(np.float32) / 255
    picture = picture * (1 - 0.42 * shade[..., None])
    return picture + 0.85 * shine[..., None] * (np.float32(250) - picture)


def add_ink(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Violet surgical marker beside the lesion, worn into the creases of the skin."""
    size, unit = picture.shape[0], picture.shape[0] / 256
    layer = np.zeros((size, size), np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    start = size * (0.5 + 0.48 * np.array([np.cos(angle), np.sin(angle)]))
    path = _curve(rng, start, angle + rng.uniform(1.2, 1.9), size * rng.uniform(0.25, 0.6))
    cv2.polylines(layer, [path], False, 255, round(rng.uniform(5, 12) * unit) or 1, cv2.LINE_AA, 4)
    alpha = cv2.GaussianBlur(layer, (0, 0), 1.5 * unit).astype(np.float32) / 255
    alpha *= smoothstep(cloud(rng, size, 45, 2), -0.9, 0.9) * np.float32(rng.uniform(0.35, 0.8))
    return picture + alpha[..., None] * (np.array((92, 70, 140), np.float32) - picture)
