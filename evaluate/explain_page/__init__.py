"""The page of explained images: one file that opens offline, and the same content for the local server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluate.explanation import Explanation


def page_html(explanations: Sequence[Explanation], failures: Mapping[str, str], record: Mapping[str, Any]) -> str:
    """The page as text. failures: images that could not be explained, with the reason; record: of the ensemble."""
    from evaluate.explain_page.page import render_page

    return render_page(explanations, failures, record)
