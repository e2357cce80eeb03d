"""The reliability diagram: how far confidence is deserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from evaluate.pages.svg import Drawing, Scale


def reliability_chart(name: str, bins: Sequence[Mapping[str, Any]], series: int, error: str) -> Markup:
    """Accuracy over confidence by bin; on the diagonal confidence is deserved. Below, how full bins are."""
    filled = [b for b in bins if b["confidence"] is not None and b["pairs"]]
    height, top, bottom = 210.0, 10.0, 160.0
    across, up = Scale(0, 1, 8, 97), Scale(0, 1, bottom, top)
    full = f"{len(filled)} of {len(bins)} bins filled"
    label = f"Reliability of {name}: expected calibration error {error}%, {full}."
    drawing = Drawing(height, label)
    for tick in (0.0, 0.5, 1.0):
        drawing.line(0, up(tick), 100, up(tick), "grid")
        drawing.text(0, up(tick) - 3, f"{tick:g}")
        drawing.text(across(tick), height - 4, f"{tick:g}", anchor="middle")
    drawing.path([(across(0), up(0)), (across(1), up(1))], "diagonal")
    most = max((b["pairs"] for b in filled), default=1.0)
    for b in filled:
        left, right, ground = across(b["lower"]) + 0.5, across(b["upper"]) - 0.5, bottom + 30
        drawing.box(left, ground - 26 * b["pairs"] / most, right, ground, f"bar soft s{series}")
    drawing.path([(across(b["confidence"]), up(b["accuracy"])) for b in filled], f"line stroke s{series}")
    for b in filled:
        drawing.mark(across(b["confidence"]), up(b["accuracy"]), series)
    return drawing.render()
