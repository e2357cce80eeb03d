"""From explanations to HTML: the whole page, or one image's part of it for the local server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluate.diagnosis.interface import CAUTION, NAMES
from evaluate.explain.views import changed_caption, changed_picture, reliability_view, view_of
from evaluate.pages.html import TEMPLATES as SHARED
from evaluate.pages.html import environment, style_and_script

if TYPE_CHECKING:
    from evaluate.explain.demonstrations import Demonstration
    from evaluate.explain.explanation import Explanation

TEMPLATES = Path(__file__).with_name("templates")


def render_page(explanations: Sequence[Explanation], failures: Mapping[str, str], record: Mapping[str, Any]) -> str:
    """The page as text. failures: images that could not be explained, with the reason; record: of the ensemble."""
    views = [view_of(explanation, number) for number, explanation in enumerate(explanations, start=1)]
    return environment(TEMPLATES).get_template("page.html.j2").render(
        **_look(TEMPLATES / "page.js"),
        caution=CAUTION, views=views, failures=failures, reliability=reliability_view(record),
    )  # fmt: skip


def render_image(explanation: Explanation, record: Mapping[str, Any]) -> str:
    """The part of the page that shows one image, to be put into the local server's page."""
    return environment(TEMPLATES).get_template("fragment.html.j2").render(
        view=view_of(explanation, 1), caution=CAUTION, reliability=reliability_view(record)
    )  # fmt: skip


def render_server_page(classes: Mapping[str, str], strength: float, limit: int) -> str:
    """The local server's page, into which images are dropped. classes: names by code; limit: bytes of an upload."""
    return environment(TEMPLATES).get_template("server.html.j2").render(
        **_look(SHARED / "ask.js", TEMPLATES / "server.js"),
        caution=CAUTION, classes=classes, strength=strength, limit=limit,
    )  # fmt: skip


def render_changed(demo: Demonstration | None, problems: Sequence[str]) -> str:
    """One personalised picture for the local server's page."""
    picture = changed_picture(demo, NAMES.get(demo.dx, demo.dx)) if demo else None
    return environment(TEMPLATES).get_template("changed.html.j2").render(
        picture=picture, caption=changed_caption(demo) if demo else "", problems=problems
    )  # fmt: skip


def _look(*scripts: Path) -> dict[str, Any]:
    return style_and_script([TEMPLATES / "explain.css"], *scripts)
