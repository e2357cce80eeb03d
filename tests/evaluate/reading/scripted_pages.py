"""A study of explain's pages without models: of the two pages one names melanoma first, the other no class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from evaluate.explain.page import render_page
from evaluate.reading.page_study import Case, PageStudy, make_page_study
from manifests.format.reading import open_manifest
from tests.evaluate.explain.explanation_fixture import RECORD, explanation_of


def drawn_pages(pictures: Sequence[Path], out: Path) -> list[tuple[str, str | None]]:
    """Two pages, of which each picture gets one in turn."""
    out.mkdir(parents=True, exist_ok=True)
    classes: list[tuple[str, str | None]] = [("mel", "mel"), ("nv", None)]
    for dx, says in classes:
        (out / f"{dx}.html").write_text(_page(dx, says is None), encoding="utf-8")
    return [(f"{dx}.html", says) for dx, says in (classes * len(pictures))[: len(pictures)]]


@cache
def _page(dx: str, none_of_these: bool) -> str:
    return render_page([explanation_of(dx, f"{dx}.png", none_of_these)], {}, RECORD)


def begun(run: Path, folder: Path, pictures: int = 9, seed: int = 3) -> PageStudy:
    """The study of a run of drawn pairs."""
    return make_page_study(folder, lambda: open_manifest(run / "real"), pictures, seed, drawn_pages)


def case_of(study: PageStudy, name: str) -> Case:
    """The truth about a picture."""
    (case,) = (item for item in study.items if item.name == name and isinstance(item, Case))
    return case


def another(study: PageStudy, dx: str) -> str:
    """A class that is not `dx`."""
    return next(other for other in study.classes if other != dx)


def script(study: PageStudy, reader: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a scripted reader says before a page and after it.

    gains: wrong and guessing, then right and sure; follows: right, then says what the page says, or else a wrong class;
    stays: right and sure of that both times.
    """
    case, ratings = case_of(study, name), {"trust": 4, "understanding": 5, "helpfulness": 2}
    wrong = another(study, case.dx)
    told = {
        "gains": ((wrong, 1), (case.dx, 5)),
        "follows": ((case.dx, 3), (case.says or wrong, 4)),
        "stays": ((case.dx, 5), (case.dx, 5)),
    }[reader]
    before, after = ({"reader": reader, "picture": name, "dx": dx, "confidence": sure} for dx, sure in told)
    return {**before, "seconds": 4.0}, {**after, "seconds": 9.0, "ratings": ratings}
