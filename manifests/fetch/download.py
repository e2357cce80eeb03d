"""Downloading one file over HTTP so that it can be cut at any moment and go on later, and is what it should be."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from manifests.errors import BadInput, EvendermError, first_line
from manifests.files import write_json
from manifests.progress import Progress, no_progress
from manifests.storage.base import explained

CHUNK = 1 << 18
AGENT = "evenderm"
UNCHECKED = "nothing: the publisher states no checksum"


class FetchFailed(EvendermError):
    """A download that did not come through: what arrived is kept, and the same command goes on from there."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download. size in bytes and checksum ("md5:..." or "sha256:...") where the publisher states them.

    Where none is stated, the MD5 that S3 gives as a file's ETag is taken.
    """

    name: str
    url: str
    size: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Patience:
    """How long to wait: for an answer or the next bytes (seconds), how often to try again without any progress."""

    timeout: float = 60.0
    attempts: int = 5
    pause: float = 2.0


class _Interrupted(Exception):
    """The connection gave up; asking for the rest may help."""


def download(
    remote: RemoteFile, folder: Path, progress: Progress = no_progress, patience: Patience | None = None
) -> Path:
    """`folder/name`, complete and checked, resuming what an earlier attempt has left in `name.part`.

    A record of size and sha256 is kept in `name.json`; a file that agrees with it is not downloaded again.
    `progress` is called with bytes done and in all (0 if unknown).
    Raises FetchFailed when the server keeps failing or the content is wrong, BadInput for a missing address.
    """
    patience = patience or Patience()
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if is_complete(remote, folder):
        return target
    failures = 0
    while True:
        before = _size(part)
        try:
            _transfer(remote, part, progress, patience.timeout)
            break
        except _Interrupted as reason:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= patience.attempts:
                raise FetchFailed(
                    f"{remote.url}: {reason}, {patience.attempts} times without progress; run the same command again "
                    f"later, it goes on after the {_size(part)} bytes that are there"
                ) from None
            time.sleep(patience.pause * 2 ** min(failures, 5))
    _accept(remote, part, target)
    return target


def is_complete(remote: RemoteFile, folder: Path) -> bool:
    """Whether the file is there with the size that was recorded when it was checked."""
    record = recorded(remote.name, folder)
    return bool(record) and (folder / remote.name).is_file() and _size(folder / remote.name) == record.get("size")


def recorded(name: str, folder: Path) -> dict[str, Any]:
    """What is known of a downloaded file: url, size, sha256 and where its checksum came from; empty if nothing."""
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _transfer(remote: RemoteFile, part: Path, progress: Progress, timeout: float) -> None:
    """Ask for what is missing and append it; returns when the server says that all has come."""
    start, marker = _size(part), _read_marker(part)[0]
    if start and not marker:
        start = 0  # without the version that the bytes belong to they cannot be continued
    # httpx (0.28) gives up where a server states a nonsensical length, and needs a package more where a SOCKS proxy is
    # set, which urllib passes by.
    try:
        answer = urllib.request.urlopen(_request(remote.url, start, marker), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            if (error.headers.get("Content-Range") or "").endswith(f"*/{start}"):
                return  # all of it had come, and the run ended before it could be checked
            part.unlink(missing_ok=True)
            raise _Interrupted("the server does not have the rest of what was begun") from None
        if error.code in (401, 403, 404, 410):
            raise BadInput(f"{remote.url} answers {error.code}; the publisher has moved or closed it") from None
        raise _Interrupted(f"the server answers {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(f"no connection ({first_line(error)})") from None
    with answer:
        start, total = _agreed_range(answer, start, remote)
        with explained(str(part), "write"):
            _write_marker(part, answer.headers)
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                done = _copy(answer, file, start, total, progress)
    if total and done < total:
        raise _Interrupted(f"the connection ended after {done} of {total} bytes")
    if total and done > total:
        part.unlink(missing_ok=True)
        raise FetchFailed(f"{remote.url} sends more than the {total} bytes it announces; try again later")


def _request(url: str, start: int, marker: str) -> urllib.request.Request:
    if not url.lower().startswith(("http://", "https://")):
        raise BadInput(f"{url} is not an http address")
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": marker}
    return urllib.request.Request(url, headers=headers)


def _agreed_range(answer: Any, start: int, remote: RemoteFile) -> tuple[int, int]:
    """Where the answer's bytes belong and the file's whole length, 0 if the server does not say."""
    stated = answer.headers.get("Content-Length") or ""
    length = int(stated) if stated.isdigit() else 0
    if answer.status == 206:
        unit, _, rest = (answer.headers.get("Content-Range") or "").partition(" ")
        span, _, whole = rest.partition("/")
        first = span.partition("-")[0]
        if unit != "bytes" or not first.isdigit() or int(first) != start:
            raise FetchFailed(f"{remote.url} answers with another part of the file than was asked for; try again later")
        total = int(whole) if whole.isdigit() else start + length
    else:
        start, total = 0, length
    if remote.size is not None and total and total != remote.size:
        raise FetchFailed(
            f"{remote.url} is {total} bytes long, where the publisher states {remote.size}; it is not the same file"
        )
    return start, total or remote.size or 0


def _copy(answer: Any, file: IO[bytes], start: int, total: int, progress: Progress) -> int:
    done = start
    while True:
        try:
            chunk = answer.read(CHUNK)
        except http.client.IncompleteRead as error:
            chunk = error.partial
            file.write(chunk)
            raise _Interrupted(f"the connection ended after {done + len(chunk)} bytes") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(f"the connection broke after {done} bytes ({first_line(error)})") from None
        if not chunk:
            return done
        file.write(chunk)
        done += len(chunk)
        progress(done, total)


def _accept(remote: RemoteFile, part: Path, target: Path) -> None:
    """Check a complete file, record its sha256 and give it its name."""
    with explained(str(part), "read"):
        digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                for digest in digests.values():
                    digest.update(chunk)
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    size = _size(part)
    if remote.size is not None and size != remote.size:
        part.unlink(missing_ok=True)
        raise FetchFailed(f"{remote.url} gave {size} bytes where {remote.size} are stated; removed, try again later")
    checksum = remote.checksum or _read_marker(part)[1]
    if checksum:
        kind, _, expected = checksum.partition(":")
        if found.get(kind) != expected.lower():
            part.unlink(missing_ok=True)
            raise FetchFailed(
                f"{remote.url} has the {kind} {found.get(kind)} where {expected} is stated; removed, try again later"
            )
    record = {
        "url": remote.url,
        "size": size,
        "sha256": found["sha256"],
        "checked_against": checksum or UNCHECKED,
    }
    with explained(str(target), "write"):
        write_json(target.with_name(f"{target.name}.json"), record, sort_keys=True)
        part.replace(target)
        _marker_path(part).unlink(missing_ok=True)


def _marker_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _read_marker(part: Path) -> tuple[str, str]:
    """The version that the bytes belong to, and the checksum that the server gave with it; empty where unknown."""
    try:
        version, _, checksum = _marker_path(part).read_text(encoding="latin-1").partition("\n")
    except OSError:
        return "", ""
    return version, checksum


def _write_marker(part: Path, headers: Mapping[str, str]) -> None:
    """Remember which version of the file the bytes belong to (a strong ETag or the date), for If-Range."""
    etag = headers.get("ETag") or ""
    version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified") or ""
    _marker_path(part).write_text(f"{version}\n{_s3_checksum(headers)}", encoding="latin-1")


def _s3_checksum(headers: Mapping[str, str]) -> str:
    """The MD5 in the ETag of an S3 object that was uploaded in one part and is not encrypted with a key of its own."""
    etag = re.fullmatch(r'"([0-9a-f]{32})"', headers.get("ETag") or "")
    own_key = "kms" in (headers.get("x-amz-server-side-encryption") or "")
    own_key = own_key or bool(headers.get("x-amz-server-side-encryption-customer-algorithm"))
    return f"md5:{etag[1]}" if etag and headers.get("x-amz-request-id") and not own_key else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
