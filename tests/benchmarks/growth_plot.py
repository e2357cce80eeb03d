"""What the rows of growth.csv amount to: the power of pairs that a figure grows by, and the plot."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

LATER, FEW_CLASSES = 3_000, 3
"""Pairs from which on what is the same for any number of them weighs little; classes of the rows over pairs."""
Row = Mapping[str, str]


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """The power of pairs that a figure grows by: the slope of a line through points (pairs, figure) in logarithms; None
    for fewer than two."""
    if len(points) < 2:
        return None
    x, y = np.log([[max(value, 1e-6) for value in point] for point in points]).T
    return float(np.polyfit(x, y, 1)[0])


def later_exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """`exponent` of points from 3,000 pairs on, where what is the same for any number of pairs weighs little."""
    return exponent([point for point in points if point[0] >= LATER])


def draw(rows: Sequence[Row], path: Path) -> None:
    """Time and memory over pairs, both in logarithms, with the exponent of each line from 3,000 pairs on."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="tight")
    panels = figure.subplots(1, 2)
    few = [row for row in rows if int(row["classes"]) == FEW_CLASSES]
    for panel, (name, title) in zip(panels, (("seconds", "processor seconds"), ("peak_mb", "peak MB")), strict=True):
        for what in dict.fromkeys(row["what"] for row in few):
            points = sorted((float(row["pairs"]), float(row[name])) for row in few if row["what"] == what)
            label = f"{what}: {later_exponent(points) or 0:.2f}"
            panel.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        panel.set(xlabel="pairs", ylabel=title)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=6.5, title="power of pairs", title_fontsize=7)
    figure.savefig(path, dpi=75)


def read_rows(path: Path) -> list[Row]:
    """The rows that are there."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
