"""A file server on loopback that cuts, stalls, lies about length and serves wrong bytes on demand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from manifests.fetch.download import Patience

CONTENT = bytes(range(256)) * 4096  # 1 MiB
QUICK = Patience(timeout=0.5, attempts=3, pause=0.01)


@dataclass
class Server:
    """A file server on loopback with a list of faults, used up one per request to a file."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    version: str = '"v1"'
    s3: bool = False
    """Whether it answers as S3 does, with the MD5 of a file as its ETag."""

    def tag(self, content: bytes) -> str:
        """The ETag of a file."""
        return f'"{hashlib.md5(content).hexdigest()}"' if self.s3 else self.version


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        told: Server = self.server.told
        told.asked.append((self.path, self.headers.get("Range")))
        content = told.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        fault = told.faults.pop(0) if told.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        start = 0
        asked = self.headers.get("Range")
        same = self.headers.get("If-Range") == told.tag(content)
        if asked and same and fault != "ignore range":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._answer(content, start, fault, told.tag(content))

    def _answer(self, content: bytes, start: int, fault: str, version: str) -> None:
        body = content[start:]
        if fault == "wrong bytes":
            body = bytes(len(body))
        length: object = {"says more": len(body) + 5000, "says less": len(body) // 2}.get(fault, len(body))
        length = {"says nonsense": "a lot", "says minus": -5}.get(fault, length)
        self.send_response(206 if start else 200)
        if start:
            first = start + 7 if fault == "other range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", version)
        if self.server.told.s3:
            self.send_header("x-amz-request-id", "0123456789ABCDEF")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.close_connection = True
        try:
            if fault == "cut":
                body = body[: len(body) // 3]
            if fault == "stall":
                self.wfile.write(body[:1000])
                self.wfile.flush()
                self.rfile.read(1)  # until the client hangs up
                return
            self.wfile.write(body)
        except OSError:
            pass  # the client has hung up


@pytest.fixture(name="server")
def faulty_server() -> Iterator[Server]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    told = Server(f"http://127.0.0.1:{http.server_address[1]}", {"/data.bin": CONTENT})
    http.told = told  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield told
    http.shutdown()
    thread.join()
    http.server_close()
