"""The page of a study of explain's pages: a picture and what it may be, then what explain says of it, and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from evaluate.explain.page import TEMPLATES as EXPLAIN
from evaluate.reading.page_figures import LEVELS, RATINGS
from evaluate.reading.page_study import PageStudy
from evaluate.reading.table import reader_name
from flows.viewing.studies import page_facts, study_app
from flows.viewing.walk import page_of
from manifests.errors import BadInput

Level = Annotated[int, Field(ge=1, le=LEVELS)]


class Said(BaseModel):
    """What a reader says of a picture; with ratings of its page, after it was seen."""

    model_config = ConfigDict(extra="forbid")

    reader: str = Field(max_length=200)
    picture: str = Field(max_length=64)
    dx: str = Field(max_length=200)
    confidence: Level
    seconds: float | None = Field(None, ge=0, le=1e6, allow_inf_nan=False)
    ratings: dict[str, Level] | None = None


def pages_app(study: PageStudy, reader: str, widths: Mapping[str, str], ports: Sequence[int]) -> FastAPI:
    """The routes of `evenderm review --pages`. widths: half widths of the intervals to come, in points."""
    app = study_app(study, partial(standing, study), ports)

    @app.get("/")
    def page() -> HTMLResponse:
        values = page_facts(study, widths) | {"ratings": RATINGS}
        styles = [EXPLAIN / "explain.css"]
        return HTMLResponse(page_of("pages.html.j2", "study.js", styles, reader=reader, levels=LEVELS, **values))

    @app.post("/answers")
    def answer(said: Said) -> dict[str, Any]:
        return take(study, said)

    @app.get("/pictures/{name}/page")
    def explained(name: str, reader: str) -> HTMLResponse:
        content = study.page(name)
        if (reader, name) not in study.said():
            raise BadInput("the page of a picture is shown once you have said what the picture is")
        return HTMLResponse(content)

    return app


def standing(study: PageStudy, reader: str) -> dict[str, Any]:
    """How far a reader is, the pictures that are left in the reader's order, and whether the first one's page is next.

    BadInput for a name that is none.
    """
    name, said = reader_name(reader), study.said()
    own = {item.name: said.get((name, item.name), {}) for item in study.order(name)}
    left = [picture for picture, found in own.items() if "after" not in found]
    done = len(study.items) - len(left)
    begun = bool(left) and "before" in own[left[0]]
    return {"reader": name, "pictures": len(study.items), "done": done, "left": left, "begun": begun}


def take(study: PageStudy, said: Said) -> dict[str, Any]:
    """Writes what a reader said. Raises BadInput for what is no answer to this study, or comes at the wrong time."""
    reader = reader_name(said.reader)
    study.picture(said.picture)
    if said.dx not in study.classes or (said.ratings is not None and said.ratings.keys() != RATINGS.keys()):
        raise BadInput("an answer names a class of the study, a confidence, and of a page every rating")
    seen = (reader, said.picture) in study.said()
    if seen and said.ratings is None:
        raise BadInput("what you said of this picture before its page stands; reload this page to go on")
    if not seen and said.ratings is not None:
        raise BadInput("say first what the picture is, and then what its page changes")
    record = {"reader": reader, **said.model_dump(exclude={"reader"}, exclude_none=True)}
    study.answer({**record, "at": datetime.now(UTC).isoformat(timespec="seconds")})
    return standing(study, reader)
