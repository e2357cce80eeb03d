"""What the pages of both reader studies have in common: a reader's progress, the pictures, and facts for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from evaluate.diagnosis.interface import NAMES
from evaluate.reading.study import PictureStudy
from flows.viewing.server import guarded_app


def study_app(study: PictureStudy, standing: Callable[[str], dict[str, Any]], ports: Sequence[int]) -> FastAPI:
    """An app with the routes of every reader study. standing: how far a reader of a name is."""
    app = guarded_app("Evenderm reader study", ports)

    @app.get("/progress")
    def progress(reader: str) -> dict[str, Any]:
        return standing(reader)

    @app.get("/pictures/{name}")
    def picture(name: str) -> Response:
        return Response(study.picture(name), media_type="image/png")

    return app


def page_facts(study: PictureStudy, widths: Mapping[str, str]) -> dict[str, Any]:
    """What the first page of a study tells. widths: half widths of the intervals to come, in points."""
    classes = {dx: NAMES.get(dx, dx) for dx in study.classes}
    return {"pictures": len(study.items), "widths": widths, "classes": classes, "drawn": study.drawn}
