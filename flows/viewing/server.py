"""The local server of every page: it listens on loopback alone and answers only pages that it served itself."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from manifests.errors import EvendermError

HOST = "127.0.0.1"
HEADER = "x-evenderm"
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def guarded_app(title: str, ports: Sequence[int]) -> FastAPI:
    """An app without routes that refuses other sites' pages. ports: those that the server listens on.

    What the program says of bad input or a failure goes to the page as one sentence.
    """
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        fault = _fault(request, ports)
        response = JSONResponse({"detail": fault}, 403) if fault else await answer(request)
        response.headers.update(SECURITY)
        return response

    @app.exception_handler(EvendermError)
    async def said(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 409)

    return app


def serve_app(make: Callable[[Sequence[int]], FastAPI], port: int, announce: Callable[[str], None]) -> None:
    """Listens on loopback until the process is asked to end; `announce` hears the address.

    make: the app, given the ports that it answers on. Raises EvendermError where the port is taken.
    """
    import uvicorn

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise EvendermError(
                f"port {port} cannot be used ({error.strerror}); choose another with --port, or 0 for a free one"
            ) from None
        own = int(listener.getsockname()[1])
        app = make([own])
        announce(f"http://{HOST}:{own}")
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=5)
        uvicorn.Server(config).run(sockets=[listener])


def _fault(request: Request, ports: Sequence[int]) -> str | None:
    """Why a request is refused: another site's page must reach neither the pictures nor the models."""
    own = {f"{name}:{port}" for name in (HOST, "localhost") for port in ports}
    if request.headers.get("host", "") not in own:
        return "This page answers to 127.0.0.1 alone."
    origin = request.headers.get("origin")
    if origin is not None and origin not in {f"http://{name}" for name in own}:
        return "This page answers to itself alone."
    # A foreign page cannot set this header without asking first, and nobody answers that question.
    if request.method not in ("GET", "HEAD") and HEADER not in request.headers:
        return f"Requests that change something carry the header {HEADER}."
    return None
