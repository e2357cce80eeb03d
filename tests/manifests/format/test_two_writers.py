"""Two writers of different manifests at one place: one wins, the other is told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.format.claim import CLAIM_NAME, LAPSE_SECONDS, ManifestBusy
from manifests.format.reading import open_manifest
from manifests.format.writing import ManifestWriter
from manifests.storage import storage_at
from manifests.storage.base import Storage


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "disk":
        yield storage_at(tmp_path / "manifest")
    else:
        yield request.getfixturevalue("s3").storage(f"two-writers/{tmp_path.name}")


@pytest.fixture
def writer(place: Storage) -> Callable[..., ManifestWriter]:
    def make(note: str) -> ManifestWriter:
        return ManifestWriter(place, classes=("nv",), provenance={"note": note})

    return make


def test_a_second_writer_of_another_manifest_is_refused(writer: Any, place: Storage, row: Any) -> None:
    first = writer("one")
    with pytest.raises(ManifestBusy, match="another writer") as error:
        writer("two")
    assert error.value.exit_code == 2
    assert str(os.getpid()) in str(error.value)
    first.write_shard("nv", 0, [row(1)])
    first.commit()
    assert len(open_manifest(place).arrays()) == 1
    writer("two").abandon()


def test_writers_of_the_same_manifest_share_the_work(writer: Any, place: Storage, row: Any) -> None:
    one, two = writer("same"), writer("same")
    one.write_shard("nv", 0, [row(1)])
    two.write_shard("nv", 1, [row(2)])
    digest = one.commit().digest
    assert two.commit().digest == digest
    assert len(open_manifest(place).arrays()) == 2


def test_of_two_commits_the_later_one_is_told(writer: Any, place: Storage, row: Any) -> None:
    late = writer("same")
    late.write_shard("nv", 0, [row(1)])
    late.abandon()
    early = writer("other")
    early.write_shard("nv", 1, [row(2)])
    digest = early.commit().digest
    with pytest.raises(ManifestBusy, match="it stands"):
        late.commit()
    assert open_manifest(place).digest == digest


def test_many_writers_at_once_leave_one_whole_manifest(writer: Any, place: Storage, row: Any) -> None:
    ended: list[str] = []

    def attempt(note: str, number: int) -> None:
        try:
            mine = writer(note)
            mine.write_shard("nv", 0, [row(number)])
            mine.commit()
            ended.append("committed")
        except ManifestBusy:
            ended.append("told")

    threads = [threading.Thread(target=attempt, args=(f"writer {n}", n)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 5
    assert "committed" in ended
    assert len(open_manifest(place).arrays()) == 1


def claim(storage: Storage, **changes: Any) -> None:
    holder = {
        "manifest_id": "0" * 16,
        "host": socket.gethostname(),
        "pid": 1,
        "token": "t",
        "time": time.time(),
    }
    storage.write(CLAIM_NAME, json.dumps(holder | changes).encode())


def test_on_one_machine_the_claim_of_a_dead_writer_lapses_and_that_of_a_living_one_holds(
    tmp_path: Path,
) -> None:
    place = storage_at(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait(30)
    claim(place, pid=dead.pid)
    ManifestWriter(place, classes=("nv",), provenance={"note": "one"}).abandon()
    claim(place, pid=os.getppid(), time=0)
    with pytest.raises(ManifestBusy):
        ManifestWriter(place, classes=("nv",), provenance={"note": "one"})


def test_a_claim_from_another_machine_lapses_with_time(writer: Any, place: Storage) -> None:
    claim(place, host="elsewhere", time=time.time() - 10)
    with pytest.raises(ManifestBusy, match="on elsewhere"):
        writer("one")
    claim(place, host="elsewhere", time=time.time() - LAPSE_SECONDS - 1)
    writer("one").abandon()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"manifest_id": 3, "host": "a", "pid": "x", "time": "y"}'])
def test_a_claim_that_makes_no_sense_does_not_stop_anyone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CLAIM_NAME).write_bytes(content)
    ManifestWriter(tmp_path, classes=("nv",), provenance={"note": "one"}).abandon()


def test_a_writer_that_lost_its_claim_stops_before_it_writes(writer: Any, place: Storage, row: Any) -> None:
    mine = writer("one")
    claim(place)
    with pytest.raises(ManifestBusy):
        mine.write_shard("nv", 0, [row(1)])
    assert place.sizes("data") == {}
