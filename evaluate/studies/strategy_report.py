"""The strategies and faithfulness tables as Markdown, and a plot with intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluate.pages import wording
from manifests.files import replace_file
from manifests.markdown import markdown_table

_HEADINGS = (
    "strategy", "recognised %", "moved, points", "PSNR outside, dB", "SSIM outside", "mask Dice %", "KID", "copies %",
)  # fmt: skip
_PANELS = (
    ("gain", "probability of the wanted\nclass gained, points", 100),
    ("agreement", "recognised as it, %", 100),
    ("ssim", "skin outside the mask kept,\nSSIM", 1),
)
_COLOURS = {"text": "C0", "image": "C1", "inpainting": "C2"}
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
    """PNG: one line per strategy, with its 95 % intervals; the best one is named in bold."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    height = 1.4 + 0.3 * len(rows)
    figure, panels = pyplot.subplots(1, len(_PANELS), figsize=(11, height), dpi=120, sharey=True, squeeze=False)
    for axes, (name, title, factor) in zip(panels[0], _PANELS, strict=True):
        for place, row in enumerate(rows):
            value = row[name]
            if value["mean"] is None:
                continue
            low, high = (factor * end for end in value["interval"])
            middle = factor * value["mean"]
            axes.errorbar([middle], [place], xerr=[[middle - low], [high - middle]], fmt=f"{_COLOURS[row['kind']]}o",
                          capsize=2, markersize=5, lw=1.2)  # fmt: skip
        axes.axvline(0, color="grey", lw=0.8)
        axes.set_xlabel(title, fontsize=9)
        axes.grid(axis="x", color="0.9", lw=0.6)
        axes.tick_params(labelsize=8)
    panels[0][0].set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    for label, row in zip(panels[0][0].get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row["name"] == best else "normal")
    panels[0][0].invert_yaxis()
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    pyplot.close(figure)
    replace_file(path, buffer.getvalue())


def _with_interval(value: Mapping[str, Any] | None, factor: float, digits: int) -> str:
    if value is None or value["mean"] is None:
        return wording.UNKNOWN
    low, high = value["interval"]
    return f"{factor * value['mean']:.{digits}f} ({factor * low:.{digits}f} to {factor * high:.{digits}f})"
