"""Pages as files that open offline: one Jinja environment, with style and script inside the page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evaluate.pages.svg import Drawing, swatch

TEMPLATES = Path(__file__).with_name("templates")
"""Style and parts that every page shares."""


@cache
def environment(templates: Path) -> Any:
    """The Jinja environment of the pages in the folder `templates`, beside the shared parts; everything is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([templates, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["swatch"] = swatch
    return environment


def style_and_script(styles: Sequence[Path], *scripts: Path) -> dict[str, Any]:
    """What goes into a page's head; the policy lets no other script run, whatever a file name holds."""
    code = "\n".join(script.read_text(encoding="utf-8") for script in scripts)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    style = "\n".join(path.read_text(encoding="utf-8") for path in (TEMPLATES / "page.css", *styles))
    return {"style": Markup(style), "script": Markup(code), "script_digest": digest}


def drawing_file(drawing: Drawing, width: int, style: str = "") -> str:
    """A drawing as an SVG file, `width` pixels wide, in the colours of the pages; style: further CSS."""
    page = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{drawing.height:g}">'
        f"<style><![CDATA[{page}text {{ font-family: system-ui, sans-serif; }}\n{style}]]></style>"
        f'<rect width="100%" height="100%" style="fill: var(--surface)"/>{drawing.render()}</svg>\n'
    )
