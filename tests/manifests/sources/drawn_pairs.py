"""Drawn pairs, and how a way to write them must be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from manifests.phantom.draw import draw_pair, write_image, write_mask

SIDE, COUNT = 48, 8
PAIRS = [draw_pair("nv" if number % 2 else "mel", 21, number, SIDE) for number in range(COUNT)]
DX = [pair.dx for pair in PAIRS]


@dataclass(frozen=True)
class Form:
    """A way to write the drawn pairs, and what must be read of it. classes: None for pictures without one."""

    source: str
    write: Callable[[Path], object]
    classes: dict[str | None, int] = field(default_factory=lambda: {"nv": 4, "mel": 4})
    groups: int | None = None
    splits: dict[str | None, int] = field(default_factory=lambda: {None: COUNT})
    masks: int = 0


def pictures(folder: Path, names: list[str], masks: list[str] | None = None) -> None:
    for number, name in enumerate(names):
        write_image(folder / name, PAIRS[number].image)
        if masks:
            write_mask(folder / masks[number], PAIRS[number].mask)


def pictures_of(folder: Path, number: int, image: str, mask: str) -> None:
    write_image(folder / image, PAIRS[number].image)
    write_mask(folder / mask, PAIRS[number].mask)


def numbered(pattern: str) -> list[str]:
    return [pattern.format(number, dx=DX[number]) for number in range(COUNT)]
