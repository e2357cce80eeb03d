"""The endpoint diagnoser: a chat-completions HTTP API that the user names, asked with patience that ends."""

from __future__ import annotations

import base64
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evaluate.diagnosis.interface import Diagnosis
from evaluate.diagnosis.parsing import Unreadable, parse_answer, plain_text
from evaluate.diagnosis.prompting import SYSTEM, answer_schema, question
from evaluate.settings.explain import EndpointSettings
from manifests.errors import BadInput, EvendermError

if TYPE_CHECKING:
    import numpy as np

NAME = "endpoint"
_JPEG_QUALITY = 90


class EndpointFailed(EvendermError):
    """The server was down, stalled, answered an error or answered too much; `final` says that asking again is vain."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class EndpointDiagnoser:
    """Asks a server about images. What is sent: the picture as JPEG without metadata, and the class names."""

    name = NAME

    def __init__(self, settings: EndpointSettings, classes: Sequence[str]) -> None:
        """Checks the address and reads the key; sends nothing. Raises BadInput where either is unusable."""
        self.settings, self.classes = settings, tuple(classes)
        self._target = checked_url(settings.url)
        self._key = _key(settings.key_file)

    def what_is_sent(self) -> str:
        """One sentence for the person whose picture it is."""
        side = self.settings.side
        return (
            f"Each picture's centre square goes to {self._target.geturl()} as a JPEG of {side} x {side} pixels without "
            f"metadata or file name, with the names of the classes ({', '.join(self.classes)}); nothing else is sent."
        )

    def diagnose(self, image: np.ndarray) -> Diagnosis:
        """See evaluate.diagnosis.diagnosis.Diagnoser; raises EvendermError where no readable answer came."""
        failure: EvendermError | None = None
        constrained = True
        for _ in range(self.settings.retries + 1):
            try:
                status, content = self._post(self._question(image, constrained))
                if status in (400, 422) and constrained:
                    # A server that cannot hold a model to a schema; it is asked again without one.
                    constrained = False
                    status, content = self._post(self._question(image, constrained))
                return parse_answer(_message(status, content), self.classes, self.name)
            except (EndpointFailed, Unreadable) as error:
                failure = error
                if getattr(error, "final", False):
                    break
        assert failure is not None
        raise failure

    def _question(self, image: np.ndarray, constrained: bool) -> dict[str, Any]:
        picture = "data:image/jpeg;base64," + base64.b64encode(jpeg_of(image, self.settings.side)).decode()
        content = [
            {"type": "text", "text": question(self.classes)},
            {"type": "image_url", "image_url": {"url": picture}},
        ]
        body: dict[str, Any] = {
            "model": self.settings.model,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}],
            "max_tokens": self.settings.max_tokens,
            "temperature": 0,
            "stream": False,
        }
        if constrained:
            schema = {"name": "differential", "schema": answer_schema(self.classes)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _post(self, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Status and content of one request; redirects are not followed, for they would send it elsewhere."""
        import httpx

        target, limit = self._target, self.settings.timeout
        deadline = time.monotonic() + limit
        address = f"{target.geturl().rstrip('/')}/chat/completions"
        # The answer as it comes: what is packed could grow beyond the limit when it is unpacked.
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request: dict[str, Any] = {"content": json.dumps(body).encode(), "headers": headers}
        # No proxy and no password of the environment, and the certificates that this machine trusts.
        client = httpx.Client(timeout=limit, trust_env=False, verify=ssl.create_default_context())
        try:
            with (
                _cut_after(limit) as trace,
                client,
                client.stream("POST", address, **request, extensions={"trace": trace}) as answer,
            ):
                content = _read(answer.iter_raw(), self.settings.max_bytes)
            if time.monotonic() >= deadline:
                raise TimeoutError
            return answer.status_code, content
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            where = f"{target.scheme}://{target.hostname}:{target.port}" if target.port else str(target.hostname)
            if time.monotonic() >= deadline or isinstance(error, httpx.TimeoutException):
                reason = f"gave no whole answer within {limit:g} s"
            else:
                reason = f"cannot be asked ({plain_text(str(error), 100) or type(error).__name__})"
            raise EndpointFailed(f"{where} {reason}; check that the server runs") from error


def checked_url(url: str | None) -> Any:
    """The parts of a base URL; BadInput where it is none that may be used."""
    if not url:
        raise BadInput("explain.diagnoser=endpoint sends pictures to a server; name it with explain.endpoint.url=URL")
    try:
        target = urlsplit(url)
        port_given = target.port
    except ValueError as error:
        raise BadInput(f"explain.endpoint.url {url[:100]!r}: no usable address ({error}); correct it") from None
    if target.scheme not in ("http", "https") or not target.hostname or port_given == 0:
        raise BadInput(f"explain.endpoint.url {url[:100]!r}: write it as http://HOST:PORT/v1")
    if target.username or target.password or target.query or target.fragment:
        raise BadInput("explain.endpoint.url holds a user, query or fragment; put a key into explain.endpoint.key_file")
    return target


def jpeg_of(image: np.ndarray, side: int) -> bytes:
    """A uint8 image (S, S, 3) as JPEG of `side` pixels, without metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _read(blocks: Iterable[bytes], most: int) -> bytes:
    content = b""
    for block in blocks:
        content += block
        if len(content) > most:
            raise EndpointFailed(f"the server answered more than explain.endpoint.max_bytes={most}", final=True)
    return content


def _message(status: int, content: bytes) -> str:
    """The model's text in a chat completion; EndpointFailed where the server reports an error or something else."""
    if status != 200:
        said = plain_text(content[:2000].decode("utf-8", "replace"), 120)
        final = 300 <= status < 500 and status != 429
        raise EndpointFailed(f"the server answered with status {status} ({said or 'no message'})", final)
    try:
        message = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise EndpointFailed("the server's answer is no chat completion; check explain.endpoint.url") from None
    if isinstance(message, list):
        message = " ".join(str(part.get("text", "")) for part in message if isinstance(part, dict))
    if not isinstance(message, str):
        raise EndpointFailed("the server's answer holds no text; the model may not take pictures")
    return message


def _key(file: str | None) -> str:
    if file is None:
        return ""
    try:
        key = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: the key cannot be read ({error}); check explain.endpoint.key_file") from None
    if not key or not key.isprintable() or not key.isascii():
        raise BadInput(f"{file}: holds no key of one line; check explain.endpoint.key_file")
    return key


@contextmanager
def _cut_after(seconds: float) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """A trace that ends its request then; a time-out of httpx begins anew with every byte that drips in."""
    connected: list[socket.socket] = []

    def cut() -> None:
        for one in connected:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def trace(event: str, found: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            connected.append(found["return_value"].get_extra_info("socket"))
            if not clock.is_alive():
                cut()

    clock = threading.Timer(seconds, cut)
    clock.daemon = True
    clock.start()
    try:
        yield trace
    finally:
        clock.cancel()
