"""A reported page as tests read it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

from evaluate.report.page import write_report
from evaluate.results import write_results
from tests.evaluate.report.report_fixture import write_run

Edit = Callable[[dict[str, Any]], None]


def reported(folder: Path, edit: Edit | None = None, **content: Any) -> str:
    """The page of a run whose results were changed by `edit`, or made anew of `content`."""
    if content:
        folder.mkdir(exist_ok=True)
        write_run(folder, **content)
    if edit:
        results = json.loads((folder / "results.json").read_text())
        edit(results)
        write_results(folder / "results.json", results)
    write_report(folder)
    return page_of(folder)


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """The words of a page without its markup."""
    body = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def text_between(run: Path, section: str, following: str) -> str:
    """What a reader sees of one section of the report."""
    page = page_of(run)
    return text_of(page[page.index(f'<section id="{section}">') : page.index(f'<section id="{following}">')])


def section_of(run: Path, section: str) -> str:
    """The markup of one section of the report."""
    page = page_of(run)
    start = page.index(f'<section id="{section}">')
    return page[start : page.index('<section id="', start + 1)]
