"""Pairs and manifests to test with, and a real S3 API on loopback that goes wrong on demand."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from manifests.format.reading import Manifest
from manifests.format.schema import SPLITS, PairRow
from manifests.format.writing import ManifestWriter
from manifests.png import encode_mask, encode_png
from manifests.storage import storage_at
from manifests.storage.base import Storage
from tests.manifests.sources.phantom_layouts import LAYOUTS, write_layout
from tests.manifests.sources.source_layouts import PAIRS

# How long an example takes says more about the machine than about us.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pair_row(number: int, dx: str = "nv", size: int = 24, **changes: Any) -> PairRow:
    """A pair whose picture, mask, group and split follow from its number; two pairs to a group."""
    random = np.random.default_rng(number)
    image = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:size, :size]
    mask = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (size / 4 + number % 5) ** 2
    values: dict[str, Any] = {
        "pair_id": f"isic2017:ISIC_{number:07d}",
        "image_png": encode_png(image),
        "mask_png": encode_mask(mask),
        "dx": dx,
        "split": SPLITS[(number // 2) % 3],
        "group_id": f"lesion-{number // 2}",
        "source": "isic2017",
        "licence": "CC-0",
    }
    return PairRow(**values | changes)


def synthetic_row(number: int, dx: str = "nv", size: int = 24, **changes: Any) -> PairRow:
    """A generated pair; every third one is rejected."""
    accepted = number % 3 != 0
    values: dict[str, Any] = {
        "pair_id": f"synthetic:{dx}-{number:06d}",
        "split": "train",
        "group_id": f"synthetic:{dx}-{number:06d}",
        "source": "evenderm",
        "prompt": f"dermoscopy of {dx}",
        "seed": 1000 + number,
        "guidance": 3.0,
        "steps": 20,
        "sampler": "dpm++",
        "base_digest": "b" * 16,
        "adapter_digest": "a" * 16,
        "scores": {"mask_plausibility": 0.5, "mask_agreement": 0.25},
        "accepted": accepted,
        "reject_reason": None if accepted else "mask_agreement",
    }
    return pair_row(number, dx, size, **values | changes)


def write_manifest(location: Path | Storage, pairs: int = 30, kind: str = "real", size: int = 24) -> Manifest:
    """Three quarters nv in two shards, the rest mel."""
    make = pair_row if kind == "real" else synthetic_row
    writer = ManifestWriter(location, classes=("nv", "mel"), kind=kind, provenance={"source": "test"})
    nv = pairs * 3 // 4
    writer.write_shard("nv", 0, [make(i, size=size) for i in range(nv // 2)])
    writer.write_shard("nv", 1, [make(i, size=size) for i in range(nv // 2, nv)])
    writer.write_shard("mel", 0, [make(i, "mel", size=size) for i in range(nv, pairs)])
    return writer.commit()


Fault = Callable[[str, str], str | None]
"""(method, path) to one of "unavailable", "stall", "cut", "cut answer" or None."""


def nothing(method: str, path: str) -> str | None:
    """No fault."""
    return None


class FaultyProxy:
    """Forwards to the server behind it unless `fault` says otherwise; `seen` lists the requests."""

    def __init__(self, port: int) -> None:
        self.behind = port
        self.fault: Fault = nothing
        self.seen: list[tuple[str, str]] = []
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fail(self, kind: str, method: str, containing: str, times: int) -> None:
        """From now on the first `times` requests of a method whose path contains a text go wrong."""
        left = [times]

        def fault(asked: str, path: str) -> str | None:
            if asked == method and containing in path and left[0] > 0:
                left[0] -= 1
                return kind
            return None

        self.fault = fault

    def heal(self) -> None:
        """No more faults."""
        self.fault = nothing

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def storage(self, folder: str) -> Storage:
        """Storage of a folder behind this proxy, with short timeouts and few retries."""
        return storage_at(f"s3://lesions/{folder}", self.options())

    def options(self) -> dict[str, Any]:
        """What the S3 client must know to come here."""
        return {
            "key": "test",
            "secret": "test",
            "endpoint_url": self.url,
            "config_kwargs": {"connect_timeout": 2, "read_timeout": 4, "retries": {"max_attempts": 2}},
            # A file system of its own for each test, with connections of its own.
            "skip_instance_cache": True,
        }


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        self.proxy.seen.append((self.command, self.path))
        fault = self.proxy.fault(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "cut":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            raise AssertionError("a chunked body was not expected")
        body = self.rfile.read(length)
        if fault == "stall":
            self.rfile.read(1)  # until the client hangs up
            self.close_connection = True
            return
        if fault == "unavailable":
            self._answer(503, [], b"<Error><Code>ServiceUnavailable</Code><Message>busy</Message></Error>")
            return
        behind = http.client.HTTPConnection("127.0.0.1", self.proxy.behind, timeout=10)
        try:
            behind.request(self.command, self.path, body, dict(self.headers.items()))
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        if fault == "cut answer":
            self.close_connection = True
            return
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP]
        self._answer(answer.status, kept, content, answer.getheader("Content-Length"))

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing in the test's output."""


_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "date", "server"}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[FaultyProxy]:
    """moto's server with the bucket `lesions`, and the proxy in front of it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = None
    try:
        port = server.get_host_and_port()[1]
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket="lesions")
        proxy = FaultyProxy(port)
        yield proxy
    finally:
        if proxy is not None:
            proxy.close()
        server.stop()


@pytest.fixture
def s3(s3_server: FaultyProxy) -> Iterator[FaultyProxy]:
    """The S3 API in working order."""
    s3_server.heal()
    s3_server.seen.clear()
    yield s3_server
    s3_server.heal()


@pytest.fixture(scope="session")
def row() -> Callable[..., PairRow]:
    """Makes the real pair of a number."""
    return pair_row


@pytest.fixture(scope="session")
def generated_row() -> Callable[..., PairRow]:
    """Makes the synthetic pair of a number."""
    return synthetic_row


@pytest.fixture(scope="session")
def manifest_at() -> Callable[..., Manifest]:
    """Writes and commits a small manifest at a location."""
    return write_manifest


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom in every layout; not to be written to."""
    root = tmp_path_factory.mktemp("layouts")
    for layout in LAYOUTS:
        write_layout(root / layout, layout, PAIRS, 3, size=48)
    return root
