"""The strategies and faithfulness tables as Markdown, and a plot with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluate.pages import wording
from evaluate.pages.html import drawing_file
from evaluate.pages.svg import Drawing, Scale, spread, ticks
from manifests.files import replace_file
from manifests.markdown import markdown_table

_HEADINGS = (
    "strategy", "recognised %", "moved, points", "PSNR outside, dB", "SSIM outside", "mask Dice %", "KID", "copies %",
)  # fmt: skip
_PANELS = (
    ("gain", "probability of the wanted class gained, points", 100),
    ("agreement", "recognised as it, %", 100),
    ("ssim", "skin outside the mask kept, SSIM", 1),
)
_KINDS = ("text", "image", "inpainting")
_WIDTH, _ROW, _NAMES_END = 1280, 24, 34  # pixels, pixels and percent
_FAITHFUL = (
    "class", "real pictures recognised %", "references recognised %", "pictures moved to it %", "moved, points",
)  # fmt: skip


def strategies_markdown(document: Mapping[str, Any]) -> str:
    """Both tables, each figure with its 95 % interval over pairs, and what was found best."""
    strategies = markdown_table(_HEADINGS, map(_strategy_cells, document["strategies"]), numeric=range(1, 8))
    faithful = markdown_table(_FAITHFUL, map(_faithful_cells, document["faithfulness"]), numeric=range(1, 5))
    lines = ["# Strategies", "", document["sentence"], "", strategies, "", "# Faithfulness", "", faithful]
    return "\n".join([*lines, "", document["notes"], ""])


def _strategy_cells(row: Mapping[str, Any]) -> list[str]:
    figures = (("agreement", 100, 0), ("gain", 100, 1), ("psnr", 1, 1), ("ssim", 1, 3), ("mask_dice", 100, 0),
               ("kid", 1, 3))  # fmt: skip
    cells = [_with_interval(row[name], factor, digits) for name, factor, digits in figures]
    return [wording.markdown(row["name"]), *cells, f"{100 * row['copies']:.0f}"]


def _faithful_cells(row: Mapping[str, Any]) -> list[str]:
    if "missing" in row:
        return [wording.markdown(row["dx"]), wording.markdown(row["missing"]), "", "", ""]
    figures = (("real_recognised", 0), ("recognised", 0), ("moved", 0), ("gain", 1))
    return [wording.markdown(row["dx"]), *(_with_interval(row.get(name), 100, digits) for name, digits in figures)]


def strategies_plot(path: Path, rows: Sequence[Mapping[str, Any]], best: str | None = None) -> None:
    """SVG: one line per strategy, with its 95 % intervals; the best one is named in bold."""
    top, bottom = 1.5 * _ROW, (len(rows) + 1.5) * _ROW
    whole = Drawing(bottom + 1.5 * _ROW, "Strategies and their figures")
    for place, row in enumerate(rows):
        whole.text(1, top + (place + 0.5) * _ROW + 4, row["name"], "best" if row["name"] == best else "tick")
    for place, (figure, title, factor) in enumerate(_PANELS):
        left = _NAMES_END + place * (100 - _NAMES_END) / len(_PANELS)
        right = left + (100 - _NAMES_END) / len(_PANELS) - 2
        whole.text((left + right) / 2, bottom + 1.25 * _ROW, title, anchor="middle")
        whole.inset(_panel(rows, figure, title, factor), left, right, top)
    replace_file(path, drawing_file(whole, _WIDTH, ".best { font-weight: bold; fill: var(--text); }").encode())


def _panel(rows: Sequence[Mapping[str, Any]], figure: str, title: str, factor: float) -> Drawing:
    """One figure of every strategy, on a scale that holds zero."""
    values = {place: row[figure] for place, row in enumerate(rows) if row[figure]["mean"] is not None}
    ends = [factor * end for value in values.values() for end in value["interval"]]
    scale = Scale(*spread([0.0, *ends], least=0.01), 0, 100)
    said = (f"{rows[place]['name']} {_with_interval(value, factor, 2)}" for place, value in values.items())
    height = len(rows) * _ROW
    drawing = Drawing(height + _ROW, f"{title}: {'; '.join(said)}")
    for tick in ticks(scale.low, scale.high, 4):
        drawing.line(scale(tick), 0, scale(tick), height, "zero" if tick == 0 else "grid")
        drawing.text(scale(tick), height + 14, f"{tick:g}".replace("-", wording.MINUS), anchor="middle")
    for place, value in values.items():
        series, y = 1 + _KINDS.index(rows[place]["kind"]), (place + 0.5) * _ROW
        low, high = (scale(factor * end) for end in value["interval"])
        drawing.line(low, y, high, y, f"whisker stroke s{series}")
        drawing.mark(scale(factor * value["mean"]), y, series)
    return drawing


def _with_interval(value: Mapping[str, Any] | None, factor: float, digits: int) -> str:
    if value is None or value["mean"] is None:
        return wording.UNKNOWN
    low, high = value["interval"]
    return f"{factor * value['mean']:.{digits}f} ({factor * low:.{digits}f} to {factor * high:.{digits}f})"
