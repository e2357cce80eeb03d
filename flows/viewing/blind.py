"""The page of a blind reader study: one picture after the other, and nothing that tells where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from evaluate.reading.study import LEVELS, Study
from evaluate.reading.table import reader_name
from flows.viewing.studies import page_facts, study_app
from flows.viewing.walk import outline_svg, page_of
from manifests.errors import BadInput


class Said(BaseModel):
    """What a reader says of a picture: first its origin, class and how sure; how the mask fits comes after."""

    model_config = ConfigDict(extra="forbid")

    reader: str = Field(max_length=200)
    picture: str = Field(max_length=64)
    generated: bool | None = None
    dx: str | None = Field(None, max_length=200)
    confidence: int | None = Field(None, ge=1, le=LEVELS)
    fits: bool | None = None
    seconds: float | None = Field(None, ge=0, le=1e6, allow_inf_nan=False)


def blind_app(study: Study, reader: str, widths: Mapping[str, str], ports: Sequence[int]) -> FastAPI:
    """The routes of `evenderm review --blind`. widths: half widths of the intervals to come, in points."""
    app = study_app(study, partial(standing, study), ports)

    @app.get("/")
    def page() -> HTMLResponse:
        values = page_facts(study, widths) | {"masks": study.masks}
        return HTMLResponse(page_of("blind.html.j2", "study.js", reader=reader, levels=LEVELS, **values))

    @app.post("/answers")
    def answer(said: Said) -> dict[str, Any]:
        return take(study, said)

    @app.get("/pictures/{name}/outline")
    def outline(name: str, reader: str) -> Response:
        if name not in answered_by(study, reader):
            raise BadInput("the outline of a mask is shown once you have said what the picture is")
        return Response(outline_svg(study.picture(name, "mask")), media_type="image/svg+xml")

    return app


def answered_by(study: Study, reader: str) -> set[str]:
    """The pictures of which a reader has said what they are."""
    return {answer.picture for answer in study.answered() if answer.reader == reader}


def standing(study: Study, reader: str) -> dict[str, Any]:
    """How far a reader is, and the pictures that are left, in the reader's order. BadInput for a name that is none."""
    name = reader_name(reader)
    done = answered_by(study, name)
    left = [item.name for item in study.order(name) if item.name not in done]
    return {"reader": name, "pictures": len(study.items), "done": len(done), "left": left}


def take(study: Study, said: Said) -> dict[str, Any]:
    """Writes what a reader said. Raises BadInput for what is no answer to this study."""
    reader = reader_name(said.reader)
    study.picture(said.picture)
    record: dict[str, Any] = {"reader": reader, "picture": said.picture}
    if said.fits is not None:
        record["fits"] = said.fits
    elif said.generated is None or said.dx not in study.classes or said.confidence is None:
        raise BadInput("an answer says real or generated, a class of the study and a confidence")
    else:
        record |= {"generated": said.generated, "dx": said.dx, "confidence": said.confidence, "seconds": said.seconds}
    study.answer({**record, "at": datetime.now(UTC).isoformat(timespec="seconds")})
    return standing(study, reader)
