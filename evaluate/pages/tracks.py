"""Figures on a line: a difference with its interval around zero, a bar with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from evaluate.pages.svg import Drawing, Scale, ticks

EDGE = 2.0
"""Percent of the width left free on each side, so that symbols at the ends are whole."""


def difference_scale(bounds: Sequence[float], higher_is_better: bool) -> Scale:
    """A scale that holds zero and all `bounds`, better always to the right."""
    reach = max([abs(bound) for bound in bounds] + [1e-3]) * 1.08
    ends = (EDGE, 100 - EDGE) if higher_is_better else (100 - EDGE, EDGE)
    low, high = min(0.0, *bounds), max(0.0, *bounds)
    # At least a fifth of the width on either side of zero, so that "worse" and "better" both have a place.
    return Scale(min(low * 1.08, -reach / 4), max(high * 1.08, reach / 4), *ends)


def difference_track(
    scale: Scale,
    difference: float | None,
    interval: Sequence[float] | None,
    kind: str,
    detectable: float | None,
    label: str,
    series: int = 0,
) -> Markup:
    """A difference and its interval on a line with zero marked; the band is what could not have been seen."""
    drawing = Drawing(28, label, "track")
    if detectable is not None:
        drawing.box(_inside(scale, -detectable), 3, _inside(scale, detectable), 25, "band")
    drawing.line(EDGE, 14, 100 - EDGE, 14, "rail")
    drawing.line(scale(0), 1, scale(0), 27, "zero")
    if interval is not None:
        drawing.line(scale(interval[0]), 14, scale(interval[1]), 14, f"whisker stroke {kind}")
    if difference is not None:
        drawing.mark(scale(difference), 14, series, kind)
    return drawing.render()


def difference_axis(scale: Scale, unit: str, label: str) -> Markup:
    """Ticks below such tracks."""
    drawing = Drawing(20, label, "axis")
    for tick in ticks(scale.low, scale.high, 5):
        drawing.line(scale(tick), 0, scale(tick), 4, "rail")
        drawing.text(scale(tick), 17, _tick(tick, unit), anchor="middle")
    return drawing.render()


def bar_track(scale: Scale, value: float | None, interval: Sequence[float] | None, series: int, label: str) -> Markup:
    """A bar from the scale's start with its interval."""
    drawing = Drawing(18, label, "track")
    drawing.line(scale(scale.low), 9, scale(scale.high), 9, "rail")
    if value is not None:
        drawing.box(scale(scale.low), 3, scale(value), 15, f"bar s{series}")
    if interval is not None:
        low, high = scale(interval[0]), scale(interval[1])
        drawing.line(low, 9, high, 9, "whisker")
        for end in (low, high):
            drawing.line(end, 5, end, 13, "whisker thin")
    return drawing.render()


def _inside(scale: Scale, value: float) -> float:
    # A band wider than the drawing ends at its edge.
    return min(max(scale(value), 0.0), 100.0)


def _tick(value: float, unit: str) -> str:
    if value == 0:
        return "0"
    return f"{100 * value if unit == 'share' else value:+.3g}".replace("-", "\N{MINUS SIGN}")
