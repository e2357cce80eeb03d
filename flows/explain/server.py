"""The local page of explain: drop an image, watch, move the strength slider, pick another diagnosis.

It listens on loopback alone, answers only pages that it served itself, and keeps uploads in memory until newer ones
take their place.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from evaluate.diagnosis.interface import CAUTION, NAMES
from evaluate.explain.explainer import Explainer, InputImage, read_image
from evaluate.explain.explanation import Explanation, to_json
from flows.run.folder import Job
from flows.viewing.server import guarded_app, serve_app
from manifests.errors import EvendermError

KEPT = 8
WAITING = 4
KINDS = ("image/png", "image/jpeg", "image/webp", "image/tiff", "image/bmp")


class Wish(BaseModel):
    """What a person asks of an image that is there: a diagnosis, or another strength of its picture."""

    model_config = ConfigDict(extra="forbid")

    dx: str = Field(max_length=64)
    strength: float | None = Field(None, gt=0, le=1)


@dataclass
class Upload:
    """One image in memory: how its work stands, and its explanation when that is done."""

    picture: InputImage
    state: str = "waiting"
    done: int = 0
    total: int = 1
    activity: str = "waiting"
    error: str = ""
    explanation: Explanation | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, done: int, total: int, **figures: float | str) -> None:
        """Hears how the work stands; see manifests.progress.Progress."""
        self.done, self.total = done, total
        self.activity = str(figures.get("activity", self.activity))

    def standing(self) -> dict[str, Any]:
        """What the page shows of it."""
        share = self.done / max(1, self.total)
        return {"state": self.state, "share": round(share, 3), "activity": self.activity, "error": self.error}


class Desk:
    """The uploads of a server and the one thread that works on them."""

    def __init__(self, explainer: Callable[[], Explainer]) -> None:
        self._explainer = explainer
        self._uploads: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "explain")

    def add(self, picture: InputImage) -> str:
        """Takes an image; the oldest one makes room. Raises HTTPException 429 while too many wait."""
        with self._lock:
            if sum(upload.state in ("waiting", "working") for upload in self._uploads.values()) >= WAITING:
                raise HTTPException(429, "Several images are being worked on; wait until one is done.")
            name = secrets.token_urlsafe(16)
            self._uploads[name] = Upload(picture)
            while len(self._uploads) > KEPT:
                self._uploads.popitem(last=False)
        self.start(name)
        return name

    def get(self, name: str) -> Upload:
        """The upload of that name. Raises HTTPException 404 where it is gone."""
        with self._lock:
            upload = self._uploads.get(name)
        if upload is None:
            raise HTTPException(404, "This image is no longer in memory; drop it again.")
        return upload

    def start(self, name: str, wanted: Sequence[str] = (), strength: float | None = None) -> None:
        """Has an image explained, with the classes `wanted` where some are."""
        upload = self.get(name)
        upload.state, upload.error, upload.done = "waiting", "", 0
        self._worker.submit(self._work, upload, wanted, strength)

    def changed(self, name: str, wish: Wish) -> Any:
        """The personalised picture of an explained image at another strength, made in the worker's turn."""
        explanation = self.explained(name)
        return self._worker.submit(lambda: self._explainer().personalise(explanation, wish.dx, wish.strength)).result()

    def explained(self, name: str) -> Explanation:
        """The explanation of an upload. Raises HTTPException 409 where there is none yet."""
        explanation = self.get(name).explanation
        if explanation is None:
            raise HTTPException(409, "This image is not explained yet.")
        return explanation

    def close(self) -> None:
        """Lets go of everything that waits."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _work(self, upload: Upload, wanted: Sequence[str], strength: float | None) -> None:
        upload.state, upload.activity = "working", "loading the models"
        try:
            explainer = self._explainer()
            upload.explanation = explainer.explain(upload.picture, None, wanted, strength, upload)
            upload.state = "done"
        except EvendermError as error:
            upload.state, upload.error = "failed", str(error)
        except Exception as error:  # the page says so; a thread that dies would leave it waiting
            upload.state, upload.error = "failed", f"The program failed ({type(error).__name__}); nothing was kept."


def make_app(job: Job, desk: Desk, record: Callable[[], dict[str, Any]], ports: Sequence[int]) -> FastAPI:
    """The server's routes. record: of the ensemble; ports: those that the server listens on."""
    from evaluate.explain.page import render_server_page
    from flows.steps.prepare import open_real

    settings, classes = job.settings.explain, open_real(job).classes
    app = guarded_app("Evenderm explain", ports)

    @app.get("/")
    def page() -> HTMLResponse:
        names = {dx: NAMES.get(dx, dx) for dx in classes}
        return HTMLResponse(render_server_page(names, settings.strength, settings.max_bytes))

    @app.post("/images")
    async def upload(request: Request) -> dict[str, str]:
        content = await _body(request, settings.max_bytes)
        name = PurePath(request.query_params.get("name", "image")[:120].replace("\\", "/")).name
        try:
            picture = read_image(content, "".join(c for c in name if c.isprintable()) or "image", settings)
        except EvendermError as error:
            raise HTTPException(422, str(error)) from None
        return {"id": desk.add(picture)}

    _show_answers(app, desk, record)
    _take_wishes(app, desk, classes)
    return app


def _show_answers(app: FastAPI, desk: Desk, record: Callable[[], dict[str, Any]]) -> None:
    """The routes to what has been found about an image."""
    from evaluate.explain.page import render_image

    @app.get("/images/{name}")
    def standing(name: str) -> dict[str, Any]:
        return desk.get(name).standing()

    @app.get("/images/{name}/page")
    def explained(name: str) -> HTMLResponse:
        return HTMLResponse(render_image(desk.explained(name), record()))

    @app.get("/images/{name}/explanation.json")
    def figures(name: str) -> dict[str, Any]:
        return to_json(desk.explained(name))


def _take_wishes(app: FastAPI, desk: Desk, classes: Sequence[str]) -> None:
    """The routes by which a reader asks for another diagnosis or a changed picture."""
    from evaluate.explain.page import render_changed

    @app.post("/images/{name}/diagnosis")
    def another(name: str, wish: Wish) -> dict[str, str]:
        _known(wish.dx, classes)
        first = [candidate.dx for candidate in desk.explained(name).diagnosis.candidates[:2]]
        desk.start(name, [wish.dx, *(dx for dx in first if dx != wish.dx)][:3], wish.strength)
        return {"id": name}

    @app.post("/images/{name}/changed")
    def changed(name: str, wish: Wish) -> HTMLResponse:
        _known(wish.dx, classes)
        demo, problems = desk.changed(name, wish)
        return HTMLResponse(render_changed(demo, problems))


def serve(job: Job, port: int, say: Callable[[str], None]) -> None:
    """Listens on loopback until the process is asked to end. Raises EvendermError where the port is taken."""
    from flows.explain.explain import explainer_of

    desk = Desk(lambda: explainer_of(job))

    def make(ports: Sequence[int]) -> FastAPI:
        return make_app(job, desk, lambda: explainer_of(job).ensemble.record, ports)

    try:
        after = f"(this machine only; images stay in memory; Ctrl-C ends it). {CAUTION}"
        serve_app(make, port, lambda address: say(f"{address} {after}"))
    finally:
        desk.close()


async def _body(request: Request, most: int) -> bytes:
    """The uploaded file. Raises HTTPException for what is no picture or too large, before it is all read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in KINDS:
        known = ", ".join(name.removeprefix("image/").upper() for name in KINDS)
        raise HTTPException(415, f"{kind[:60] or 'A file without a type'} is no picture that can be read ({known}).")
    too_large = HTTPException(413, f"The file has more than {most // 1_000_000} MB; make it smaller.")
    stated = request.headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > most:
        raise too_large
    content = bytearray()
    async for block in request.stream():
        content += block
        if len(content) > most:
            raise too_large
    return bytes(content)


def _known(dx: str, classes: Sequence[str]) -> None:
    if dx not in classes:
        raise HTTPException(422, f"No class of this run; choose from {', '.join(classes)}.")
