"""Drawings whose text keeps its size at every width: x is in percent of the drawing, y in pixels.

Colours are classes (`s0` to `s9` for the arms, `s10` for a reference line, `gain`, `harm`, ...) that the page's style
sheet fills in for light and dark, so the drawing itself holds none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

MARKS = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",  # circle
    "M-4 -4h8v8h-8z",  # square
    "M0 -5L5 4H-5z",  # triangle
    "M0 5L5 -4H-5z",  # triangle on its tip
    "M-2 -5h4v3h3v4h-3v3h-4v-3h-3v-4h3z",  # cross
    "M0 -5.5L5.5 0L0 5.5L-5.5 0z",  # diamond
    "M0 -5L4.8 -1.5L3 4H-3L-4.8 -1.5z",  # pentagon
    "M-5 -3h10v6h-10z",  # bar
    "M-3 -5h6v10h-6z",  # pillar
    "M-5 0L0 -5L5 0L2 0L2 5L-2 5L-2 0z",  # arrow
    "M-4.5 -5h9L-4.5 5h9z",  # hourglass
)


@dataclass(frozen=True)
class Scale:
    """A straight map from values in [low, high] to positions from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


class Drawing:
    """Collects shapes, then becomes one `<svg>`; x in percent, y in pixels."""

    def __init__(self, height: float, label: str, kind: str = "chart"):
        self.height, self._label, self._kind = height, label, kind
        self._parts: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        places = f'x1="{_n(x1)}%" y1="{_n(y1)}" x2="{_n(x2)}%" y2="{_n(y2)}"'
        self._add(f'<line class="{escape(kind)}" {places}/>')

    def box(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A filled rectangle between two corners."""
        left, top = min(x1, x2), min(y1, y2)
        size = f'width="{_n(abs(x2 - x1))}%" height="{_n(abs(y2 - y1))}"'
        self._add(f'<rect class="{escape(kind)}" x="{_n(left)}%" y="{_n(top)}" {size}/>')

    def text(self, x: float, y: float, content: str, kind: str = "tick", anchor: str = "start") -> None:
        """A line of text; `y` is its baseline."""
        place = f'x="{_n(x)}%" y="{_n(y)}" text-anchor="{anchor}"'
        self._add(f'<text class="{escape(kind)}" {place}>{escape(content)}</text>')

    def mark(self, x: float, y: float, series: int, kind: str = "") -> None:
        """The symbol of a series, so that colour is never the only difference."""
        shape = MARKS[series % len(MARKS)]
        symbol = f'<path class="fill s{series} {escape(kind)}" d="{shape}"/>'
        self._add(f'<svg x="{_n(x)}%" y="{_n(y)}" class="mark">{symbol}</svg>')

    def path(self, points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> None:
        """A line through points, or the area that it encloses."""
        if len(points) < 2:
            return
        steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points) + ("z" if closed else "")
        frame = f'width="100%" height="{_n(self.height)}" viewBox="0 0 100 {_n(self.height)}"'
        self._add(f'<svg {frame} preserveAspectRatio="none"><path class="{escape(kind)}" d="M{steps}"/></svg>')

    def inset(self, inner: Drawing, x1: float, x2: float, y: float) -> None:
        """Another drawing, from `x1` to `x2` across, its top at `y`."""
        frame = f'x="{_n(x1)}%" y="{_n(y)}" width="{_n(x2 - x1)}%" height="{_n(inner.height)}"'
        self._add(f"<svg {frame}>{inner.render()}</svg>")

    def render(self) -> Markup:
        """The whole drawing, with its label for those who cannot see it."""
        size = f'width="100%" height="{_n(self.height)}"'
        label = escape(self._label)
        return Markup(
            f'<svg class="{escape(self._kind)}" role="img" aria-label="{label}" {size}>'
            + "".join(self._parts)
            + "</svg>"
        )

    def _add(self, part: str) -> None:
        self._parts.append(Markup(part))


def swatch(series: int) -> Markup:
    """The symbol of a series for a legend."""
    shape = MARKS[series % len(MARKS)]
    return Markup(
        f'<svg class="swatch" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">'
        f'<path class="fill s{series}" d="{shape}"/></svg>'
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values inside [low, high], about as many as asked for."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def spread(values: Sequence[float], margin: float = 0.08, least: float = 0.0) -> tuple[float, float]:
    """A range that holds all values with a margin, at least `least` wide."""
    low, high = min(values), max(values)
    missing = max(0.0, least - (high - low)) / 2
    room = margin * (high - low)
    return low - missing - room, high + missing + room


def _n(value: float) -> str:
    # Two decimals are below a pixel, and keep the same drawing the same bytes.
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
