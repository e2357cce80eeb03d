"""Downloads over a bad line: what arrives is complete and right, or one sentence says why not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from manifests.errors import BadInput
from manifests.fetch.download import FetchFailed, RemoteFile, download, recorded
from manifests.progress import StopRequested
from tests.manifests.fetch.faulty_server import CONTENT, QUICK, Server, faulty_server

__all__ = ["faulty_server"]  # pytest finds the fixture `server` by it


def _remote(server: Server, **known: Any) -> RemoteFile:
    return RemoteFile("data.bin", f"{server.address}/data.bin", **known)


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["cut"],
        ["cut", "cut", "cut", "cut", "cut"],
        ["stall"],
        ["says more"],
        ["503"],
        ["cut", "503", "cut"],
        ["cut", "ignore range"],
        ["cut", "416"],
        ["cut", "says nonsense"],
        ["says nonsense"],
        ["says minus"],
        ["stall", "cut", "500", "says more"],
    ],
)
def test_a_file_arrives_whole_however_bad_the_line(faults: list[str], server: Server, tmp_path: Path) -> None:
    server.faults = list(faults)
    known = {"size": len(CONTENT), "checksum": f"md5:{hashlib.md5(CONTENT).hexdigest()}"}
    if faults and faults[-1] == "says more":
        known.pop("size")
    path = download(_remote(server, **known), tmp_path, patience=QUICK)
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.bin", "data.bin.json"]
    assert recorded("data.bin", tmp_path)["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut"]
    download(_remote(server), tmp_path, patience=QUICK)
    assert [asked for _, asked in server.asked] == [None, f"bytes={len(CONTENT) // 3}-"]


def test_another_run_goes_on_and_a_third_does_nothing(server: Server, tmp_path: Path) -> None:
    def stop(done: int, total: int, **figures: float | str) -> None:
        assert total == len(CONTENT)
        if done > len(CONTENT) // 2:
            raise StopRequested

    with pytest.raises(StopRequested):
        download(_remote(server), tmp_path, stop, QUICK)
    there = (tmp_path / "data.bin.part").stat().st_size
    download(_remote(server), tmp_path, patience=QUICK)
    assert server.asked[-1][1] == f"bytes={there}-" and there > 0
    requests = len(server.asked)
    download(_remote(server), tmp_path, patience=QUICK)
    assert len(server.asked) == requests


def test_a_run_that_ended_just_before_the_check_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    (tmp_path / "data.bin.part.version").write_text(server.version)
    download(_remote(server), tmp_path, patience=QUICK)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [f"bytes={len(CONTENT)}-"]


def test_a_file_that_has_changed_meanwhile_starts_anew(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut", "503", "503", "503"]
    with pytest.raises(FetchFailed):
        download(_remote(server), tmp_path, patience=QUICK)
    server.files["/data.bin"], server.version = CONTENT[::-1], '"v2"'
    assert download(_remote(server), tmp_path, patience=QUICK).read_bytes() == CONTENT[::-1]


def test_a_server_that_never_delivers_is_given_up_with_what_came_kept(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut"] + ["503"] * 9
    with pytest.raises(FetchFailed, match=r"3 times without progress.*goes on after the 349525 bytes"):
        download(_remote(server), tmp_path, patience=QUICK)
    assert (tmp_path / "data.bin.part").stat().st_size == len(CONTENT) // 3


@pytest.mark.parametrize(
    ("faults", "known", "sentence"),
    [
        (["wrong bytes"], {"checksum": "md5:" + hashlib.md5(CONTENT).hexdigest()}, "has the md5"),
        (["wrong bytes"], {"checksum": "sha256:" + hashlib.sha256(CONTENT).hexdigest()}, "has the sha256"),
        (["says less"], {"size": len(CONTENT)}, "where the publisher states"),
        (["cut", "other range"], {}, "another part of the file"),
    ],
)
def test_wrong_content_is_refused_and_never_gets_the_files_name(
    faults: list[str], known: dict[str, Any], sentence: str, server: Server, tmp_path: Path
) -> None:
    server.faults = list(faults)
    with pytest.raises(FetchFailed, match=sentence):
        download(_remote(server, **known), tmp_path, patience=QUICK)
    assert not (tmp_path / "data.bin").exists()


def test_a_missing_file_and_a_strange_address_are_bad_input(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="answers 404"):
        download(RemoteFile("x", f"{server.address}/x"), tmp_path, patience=QUICK)
    with pytest.raises(BadInput, match="not an http address"):
        download(RemoteFile("x", "file:///etc/passwd"), tmp_path, patience=QUICK)
    with pytest.raises(FetchFailed, match="no connection"):
        download(RemoteFile("x", "http://127.0.0.1:9/x"), tmp_path, patience=QUICK)
