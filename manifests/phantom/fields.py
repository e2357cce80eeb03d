"""Smooth random fields, outlines and stamped marks from which the phantom's skin and lesions are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


def cloud(rng: np.random.Generator, size: int, cells: float, octaves: int = 3) -> np.ndarray:
    """Fractal value noise, float32 (size, size), zero mean and about unit variance; `cells` bumps across."""
    total = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        side = max(2, min(size, round(cells * 2**octave) + 1))
        grid = rng.standard_normal((side, side), dtype=np.float32)
        total += weight * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        weight *= 0.5
    return total * np.float32(1.25)


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Outline:
    """What a lesion's border looks like; lengths in fractions of the picture's side unless said otherwise."""

    radius: float
    aspect: float = 1.2
    lobes: int = 1
    asymmetry: float = 0.1  # amplitude of the low harmonics of the radius
    jagged: float = 0.05  # noise on the border, in radii
    warp: float = 0.1  # bending of the plane, in radii


def draw_outline(rng: np.random.Generator, size: int, outline: Outline) -> np.ndarray:
    """One filled lesion, bool (size, size), without holes and in one piece."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    bend = outline.warp * outline.radius
    x = axis[None, :] + bend * cloud(rng, size, 3, 1)
    y = axis[:, None] + bend * cloud(rng, size, 3, 1)
    field = np.full((size, size), -9, np.float32)
    centre = rng.normal(0, 0.045, 2)
    for lobe in range(outline.lobes):
        offset = centre + (rng.normal(0, 0.5 * outline.radius, 2) if lobe else 0)
        scale = outline.radius * (rng.uniform(0.45, 0.85) if lobe else 1)
        field = np.maximum(field, _lobe(rng, x - offset[0], y - offset[1], scale, outline))
    field += outline.jagged * cloud(rng, size, 4.5 / outline.radius * 0.6, 3)
    return _largest_piece(field > 0)


def _lobe(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, radius: float, outline: Outline) -> np.ndarray:
    """Positive inside an ellipse whose radius varies with the angle; in units of `radius`."""
    turn = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    stretch = np.float32(np.sqrt(outline.aspect))
    u, v = (cos * x + sin * y) / stretch, (cos * y - sin * x) * stretch
    distance, angle = cv2.cartToPolar(u / radius, v / radius)
    angles = np.linspace(0, 2 * np.pi, 512, endpoint=False)
    reach = np.ones(512)
    for harmonic in range(2, 8):
        amplitude = outline.asymmetry * rng.normal() / (harmonic - 1)
        reach += amplitude * np.cos(harmonic * angles + rng.uniform(0, 2 * np.pi))
    index = (angle * (512 / (2 * np.pi))).astype(np.int32) & 511
    return np.maximum(reach, 0.35).astype(np.float32)[index] - distance


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    largest = max(contours, key=cv2.contourArea)
    cv2.drawContours(filled, [largest], -1, 1, thickness=cv2.FILLED)
    return filled.astype(bool)


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Pixels to the border, positive inside, float32."""
    inside = mask.astype(np.uint8)
    return cv2.distanceTransform(inside, cv2.DIST_L2, 3) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)


def traced_outline(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """`mask` as a reader outlines it: smoother, mostly a little outside, off by a changing few pixels; one piece."""
    unit = mask.shape[0] / 256
    depth = cv2.GaussianBlur(signed_distance(mask), (0, 0), rng.uniform(4, 9) * unit)
    offset = rng.normal(3, 2.5) + 2 * cloud(rng, mask.shape[0], 3, 1)
    return _largest_piece(depth + offset * unit > 0)


def honeycomb(rng: np.random.Generator, size: int, period: float, disorder: float) -> np.ndarray:
    """A pigment network: 1 on the lines of a bent honeycomb with holes `period` pixels apart, 0 in the holes."""
    axis = np.arange(size, dtype=np.float32)
    turn = rng.uniform(0, np.pi)
    x = axis[None, :] + disorder * period * cloud(rng, size, size / (4 * period), 2)
    y = axis[:, None] + disorder * period * cloud(rng, size, size / (4 * period), 2)
    waves = np.zeros((size, size), np.float32)
    for k in range(3):
        direction = turn + k * np.pi / 3
        step = 2 * np.pi / (0.866 * period)
        phase = np.float32(step * np.cos(direction)) * x + np.float32(step * np.sin(direction)) * y
        waves += np.cos(phase)
    return 1 - smoothstep(waves, -1.1, 0.9)


def scatter(rng: np.random.Generator, where: np.ndarray, spacing: float) -> np.ndarray:
    """Points inside `where` (bool) on a jittered grid, about `spacing` pixels apart: float (n, 2) as x, y."""
    side = where.shape[0]
    count = max(1, int(side / spacing))
    grid = np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1).reshape(-1, 2)
    points = (grid + rng.uniform(0.05, 0.95, grid.shape)) * (side / count)
    cells = np.minimum(points.astype(int), side - 1)
    return points[where[cells[:, 1], cells[:, 0]]]


def stamp_discs(
    size: int, points: np.ndarray, radii: np.ndarray, weights: np.ndarray | float = 1.0, soft: float = 0.0
) -> np.ndarray:
    """Antialiased discs drawn over one another, float32 (size, size) in [0, 1]."""
    layer = np.zeros((size, size), np.uint8)
    strengths = np.broadcast_to(weights, len(points))
    for (x, y), radius, weight in zip(points, radii, strengths, strict=True):
        centre = (round(float(x) * 16), round(float(y) * 16))
        cv2.circle(layer, centre, max(1, round(float(radius) * 16)), int(255 * weight), -1, cv2.LINE_AA, 4)
    drawn = layer.astype(np.float32) / 255
    return cv2.GaussianBlur(drawn, (0, 0), soft) if soft > 0.2 else drawn
