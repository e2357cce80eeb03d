"""The endpoint diagnoser against a real server on loopback that answers, stalls, fails, floods and redirects."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate.diagnosis.endpoint import EndpointDiagnoser
from evaluate.settings.explain import EndpointSettings
from manifests.errors import BadInput, EvendermError

CLASSES = ("bkl", "mel", "nv")
IMAGE = np.full((64, 64, 3), (200, 150, 130), np.uint8)
ANSWER = '{"differential": [{"dx": "mel", "probability": 0.7, "findings": ["blue white veil"]}]}'

# Requests whose client did not hang up though the answer never came.
WAITED_FOR: list[str] = []
Behaviour = Callable[[BaseHTTPRequestHandler, int], None]


def reply(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def completion(text: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@contextmanager
def server(behaviour: Behaviour) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server whose answer to request number n is `behaviour(handler, n)`; gives its URL and what it was sent."""
    sent: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
            try:
                behaviour(self, len(sent))
            except OSError:
                pass  # the client went away, as it should

        def log_message(self, *arguments: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", sent
    finally:
        running.shutdown()
        running.server_close()


def ask(url: str, **settings: Any) -> Any:
    return EndpointDiagnoser(EndpointSettings(url=url, **{"retries": 0, **settings}), CLASSES).diagnose(IMAGE)


def test_a_good_answer_is_read_and_only_picture_and_classes_are_sent(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret-key\n")
    with server(lambda handler, _: reply(handler, completion(ANSWER))) as (url, sent):
        diagnosis = ask(url, key_file=str(tmp_path / "key"), side=96)
    assert [(c.dx, c.probability) for c in diagnosis.candidates] == [("mel", 0.7)]
    (request,) = sent
    assert request["path"] == "/v1/chat/completions"
    assert request["headers"]["Authorization"] == "Bearer secret-key"
    text, picture = request["body"]["messages"][1]["content"]
    assert "mel = Melanoma" in text["text"]
    jpeg = base64.b64decode(picture["image_url"]["url"].partition(",")[2])
    assert jpeg.startswith(b"\xff\xd8") and b"Exif" not in jpeg
    assert set(request["body"]) == {"model", "messages", "max_tokens", "temperature", "stream", "response_format"}


def test_the_sentence_about_what_is_sent_names_the_server_and_the_picture() -> None:
    said = EndpointDiagnoser(EndpointSettings(url="http://10.0.0.9:1/v1"), CLASSES).what_is_sent()
    assert "http://10.0.0.9:1/v1" in said and "JPEG" in said and "bkl, mel, nv" in said


def test_a_server_without_schemas_is_asked_again_without_one() -> None:
    def picky(handler: BaseHTTPRequestHandler, number: int) -> None:
        reply(handler, b"unknown field", 400) if number == 1 else reply(handler, completion(ANSWER))

    with server(picky) as (url, sent):
        assert ask(url).candidates[0].dx == "mel"
    assert ["response_format" in request["body"] for request in sent] == [True, False]


def test_a_passing_fault_is_tried_again() -> None:
    def shaky(handler: BaseHTTPRequestHandler, number: int) -> None:
        reply(handler, b"overloaded", 503) if number == 1 else reply(handler, completion(ANSWER))

    with server(shaky) as (url, sent):
        assert ask(url, retries=1).candidates[0].dx == "mel"
    assert len(sent) == 2


def until_hung_up(handler: BaseHTTPRequestHandler, byte: bytes) -> None:
    """Sends nothing, or the byte again and again, until the client hangs up, or for longer than it should wait."""
    handler.connection.settimeout(0.05)
    for _ in range(400):
        handler.wfile.write(byte)
        with suppress(TimeoutError):
            if not handler.connection.recv(1):
                return
    WAITED_FOR.append(handler.path)


def drip(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    until_hung_up(handler, b" ")


def drip_header(handler: BaseHTTPRequestHandler, _: int) -> None:
    until_hung_up(handler, b"H")


def flood(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "stalls": (lambda handler, _: until_hung_up(handler, b""), "no whole answer within"),
    "drips": (drip, "no whole answer within"),
    "drips its header": (drip_header, "no whole answer within"),
    "floods": (flood, "more than explain.endpoint.max_bytes"),
    "fails": (lambda handler, _: reply(handler, b"<html>boom</html>", 500), "status 500"),
    "wants a key": (lambda handler, _: reply(handler, b"no key", 401), "status 401"),
    "redirects": (lambda handler, _: reply(handler, b"", 302, Location="http://127.0.0.1:9/"), "status 302"),
    "hangs up": (lambda handler, _: handler.connection.close(), "cannot be asked"),
    "speaks no HTTP": (lambda handler, _: handler.wfile.write(b"\x00\x01\x02 nonsense\r\n\r\n") and None, "cannot be"),
    "answers no JSON": (lambda handler, _: reply(handler, b"hello"), "no chat completion"),
    "answers other JSON": (lambda handler, _: reply(handler, b"[[[[]]]]"), "no chat completion"),
    "answers without text": (lambda handler, _: reply(handler, completion(None)), "holds no text"),
    "answers prose": (lambda handler, _: reply(handler, completion("I cannot say.")), "no differential"),
}


@pytest.mark.parametrize(("behaviour", "said"), FAULTS.values(), ids=FAULTS)
def test_a_bad_server_ends_in_one_sentence_and_in_time(behaviour: Behaviour, said: str) -> None:
    with server(behaviour) as (url, sent):
        with pytest.raises(EvendermError, match=said) as failed:
            ask(url, timeout=1.0, max_bytes=200_000)
        assert "\n" not in str(failed.value)
        assert len(sent) <= 1 and not WAITED_FOR


def test_a_server_that_is_down_is_one_sentence() -> None:
    with pytest.raises(EvendermError, match="cannot be asked"):
        ask("http://127.0.0.1:9/v1", timeout=2)


@pytest.mark.parametrize("url", [None, "", "ftp://host/v1", "host:80", "http://", "http://user:key@host/v1",
                                 "http://host:99999/v1", "file:///etc/passwd", "http://host/v1?key=1"])  # fmt: skip
def test_an_address_that_is_none_is_bad_input_and_nothing_is_sent(url: str | None) -> None:
    with pytest.raises(BadInput, match=r"explain\.endpoint"):
        EndpointDiagnoser(EndpointSettings(url=url), CLASSES)


def test_a_key_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    for content in (None, "", "two\nlines"):
        if content is not None:
            (tmp_path / "key").write_text(content)
        with pytest.raises(BadInput, match="key"):
            EndpointDiagnoser(EndpointSettings(url="http://host/v1", key_file=str(tmp_path / "key")), CLASSES)
