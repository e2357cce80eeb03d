"""A manifest on a real S3 API, with faults put in between."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.command_line import exit_code
from manifests.copying import copy_manifest
from manifests.errors import BadInput, StorageFailed
from manifests.format.reading import open_manifest
from manifests.format.verify import verify_manifest
from manifests.format.writing import ManifestWriter
from manifests.phantom.draw import write_phantom
from manifests.prepare.prepare import prepare
from manifests.settings import PrepareSettings
from manifests.storage import storage_at


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits longer with every attempt at a request waits a twentieth of it."""
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds, *result: sleep(seconds / 20, *result))


def test_the_same_rows_give_the_same_bytes_on_disk_and_on_s3(tmp_path: Path, s3: Any, manifest_at: Any) -> None:
    here, there = manifest_at(tmp_path), manifest_at(s3.storage("same"))
    assert here.digest == there.digest
    for name in ("manifest.json", "README.md", *(entry.name for entry in here.shards)):
        assert (tmp_path / name).read_bytes() == there.storage.read(name)
    assert set(there.storage.sizes("")) == set(here.storage.sizes(""))


def test_a_manifest_on_s3_is_read_like_one_on_disk(tmp_path: Path, s3: Any, manifest_at: Any) -> None:
    here, there = manifest_at(tmp_path), manifest_at(s3.storage("read"))
    expected, found = here.arrays(size=16), there.arrays(size=16)
    assert found.pair_ids == expected.pair_ids
    assert np.array_equal(found.images, expected.images)
    sent = pickle.loads(pickle.dumps(there))
    assert sent.arrays(size=16).pair_ids == expected.pair_ids
    report = verify_manifest(there.storage)
    assert report.ok
    assert report.rows == 30


def test_a_url_alone_is_enough_where_the_environment_names_the_server(
    s3: Any, manifest_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = manifest_at(s3.storage("by-url")).digest
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert open_manifest("s3://lesions/by-url").digest == digest


def test_the_header_is_uploaded_last_and_only_if_none_is_there(s3: Any, manifest_at: Any) -> None:
    manifest_at(s3.storage("last"))
    puts = [path.rpartition("/")[2] for method, path in s3.seen if method == "PUT"]
    written = [name for name in puts if name != ".writer.json"]
    assert written[-2:] == ["README.md", "manifest.json"]
    assert sum(name.startswith("part-") for name in written) == 3


def test_replacing_a_manifest_without_renames_keeps_the_old_one_readable(s3: Any, manifest_at: Any, row: Any) -> None:
    storage = s3.storage("replaced")
    manifest_at(storage)
    writer = ManifestWriter(storage, classes=("nv", "mel"), provenance={"source": "other"})
    writer.write_shard("nv", 0, [row(99)])
    assert len(open_manifest(storage).arrays()) == 30
    writer.commit()
    assert open_manifest(storage).arrays().pair_ids == [row(99).pair_id]
    assert set(storage.sizes("")) == {"manifest.json", "README.md", "data/lesion=nv/part-00000.parquet"}


@pytest.fixture
def environment(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells any S3 client where the server is, and keeps its connections to one test."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3fs.S3FileSystem.clear_instance_cache()


def test_prepare_commits_to_s3_what_it_commits_to_disk(tmp_path: Path, environment: None, s3: Any) -> None:
    write_phantom(tmp_path / "isic", 12, 0, size=64)
    settings = PrepareSettings(size=48)
    here = prepare(tmp_path / "isic", tmp_path / "m", settings)
    there = prepare(tmp_path / "isic", "s3://lesions/prepared", settings)
    assert there.manifest_digest == here.manifest_digest
    storage = s3.storage("prepared")
    assert {name: storage.read(name) for name in storage.sizes("")} == {
        path.relative_to(tmp_path / "m").as_posix(): path.read_bytes()
        for path in (tmp_path / "m").rglob("*")
        if path.is_file()
    }


def test_the_command_line_copies_verifies_and_exports_by_url(
    tmp_path: Path, environment: None, s3: Any, manifest_at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = manifest_at(tmp_path / "here").digest
    url = "s3://lesions/by-command"
    assert exit_code(["export", str(tmp_path / "here"), "--to", "manifest", "--out", url]) == 0
    assert exit_code(["verify", url]) == 0
    assert "30 pairs in 3 shards, all as they should be" in capsys.readouterr().out
    assert exit_code(["export", url, "--to", "folders", "--out", str(tmp_path / "folders")]) == 0
    assert len(list((tmp_path / "folders" / "images").rglob("*.png"))) == 30
    assert exit_code(["export", url, "--to", "manifest", "--out", str(tmp_path / "back")]) == 0
    assert open_manifest(tmp_path / "back").digest == digest
    puts = [path.rpartition("/")[2] for method, path in s3.seen if method == "PUT"]
    assert [name for name in puts if name != ".writer.json"][-1] == "manifest.json"


def test_a_copy_that_fails_is_no_manifest_and_is_continued(tmp_path: Path, s3: Any, manifest_at: Any, row: Any) -> None:
    manifest = manifest_at(tmp_path / "here")
    s3.fail("unavailable", "PUT", "lesion%3Dnv", times=1000)
    with pytest.raises(StorageFailed):
        copy_manifest(manifest, s3.storage("copied"))
    s3.heal()
    with pytest.raises(BadInput, match="no committed manifest"):
        open_manifest(s3.storage("copied"))
    assert copy_manifest(manifest, s3.storage("copied")).digest == manifest.digest
    other = ManifestWriter(tmp_path / "other", classes=("nv",), provenance={"source": "other"})
    other.write_shard("nv", 0, [row(99)])
    replaced = copy_manifest(other.commit(), s3.storage("copied"))
    assert len(replaced.arrays()) == 1 and verify_manifest(replaced.storage).ok
    shard = tmp_path / "here" / manifest.shards[0].name
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match=r"part-00000\.parquet was changed"):
        copy_manifest(manifest, s3.storage("copied"))
    assert open_manifest(s3.storage("copied")).digest == replaced.digest


@pytest.mark.parametrize(
    ("fault", "file"),
    [
        ("unavailable", "part-00000"),
        ("stall", "part-00000"),
        ("cut", "part-00000"),
        ("cut answer", "part-00000"),
        ("unavailable", "manifest.json"),
        ("cut", "manifest.json"),
        ("cut answer", "manifest.json"),
    ],
)
def test_an_upload_that_goes_wrong_once_is_repeated(
    tmp_path: Path, s3: Any, manifest_at: Any, fault: str, file: str
) -> None:
    s3.fail(fault, "PUT", file, times=1)
    storage = s3.storage(f"once-{fault.replace(' ', '-')}-{file}")
    assert manifest_at(storage).digest == manifest_at(tmp_path).digest


@pytest.mark.parametrize("fault", ["unavailable", "cut"])
def test_a_download_that_goes_wrong_once_is_repeated(s3: Any, manifest_at: Any, fault: str) -> None:
    manifest = manifest_at(s3.storage(f"download-{fault}"))
    s3.fail(fault, "GET", "part-00000", times=1)
    assert len(manifest.arrays()) == 30


@pytest.mark.parametrize("fault", ["unavailable", "cut"])
def test_an_upload_that_never_works_leaves_the_old_manifest(s3: Any, manifest_at: Any, row: Any, fault: str) -> None:
    storage = s3.storage(f"never-{fault}")
    digest = manifest_at(storage).digest
    writer = ManifestWriter(storage, classes=("nv", "mel"), provenance={"source": "other"})
    s3.fail(fault, "PUT", "part-00000", times=1000)
    with pytest.raises(StorageFailed, match=r"part-00000\.parquet: could not write it") as error:
        writer.write_shard("nv", 0, [row(99)])
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 1
    s3.heal()
    assert open_manifest(storage).digest == digest
    assert len(open_manifest(storage).arrays()) == 30
    writer.write_shard("nv", 0, [row(99)])
    assert len(writer.commit().arrays()) == 1


def test_an_attempt_that_failed_is_continued(tmp_path: Path, s3: Any, manifest_at: Any) -> None:
    storage = s3.storage("continued")
    s3.fail("unavailable", "PUT", "lesion%3Dmel", times=1000)
    with pytest.raises(StorageFailed):
        manifest_at(storage)
    s3.heal()
    with pytest.raises(BadInput, match="no committed manifest"):
        open_manifest(storage)
    assert manifest_at(storage).digest == manifest_at(tmp_path).digest


def test_a_download_that_never_works_is_no_damage(s3: Any, manifest_at: Any) -> None:
    manifest = manifest_at(s3.storage("unreachable"))
    s3.fail("unavailable", "GET", "part-00000", times=1000)
    with pytest.raises(StorageFailed, match=r"part-00000\.parquet: could not read it"):
        manifest.arrays()


def test_a_server_that_is_gone_is_named(s3: Any) -> None:
    options = {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 1}}}
    storage = storage_at("s3://lesions/gone", options | {"key": "k", "secret": "s", "skip_instance_cache": True})
    with pytest.raises(StorageFailed, match=r"s3://lesions/gone/manifest\.json: could not read it"):
        open_manifest(storage)


def test_a_bucket_that_is_not_there_is_named(s3: Any, row: Any) -> None:
    storage = storage_at("s3://no-such-bucket/data", s3.options())
    with pytest.raises(BadInput, match="no committed manifest"):
        open_manifest(storage)
    with pytest.raises(BadInput, match="s3://no-such-bucket/data: there is no such bucket"):
        ManifestWriter(storage, classes=("nv",), provenance={"note": "x"})


@pytest.mark.parametrize("location", ["s3://", "nosuchscheme://a/b", "s3://a/b::file://c", "zip://x.zip::s3://a/b"])
def test_a_location_that_cannot_be_one_is_refused(location: str) -> None:
    with pytest.raises(BadInput) as error:
        open_manifest(location)
    assert "\n" not in str(error.value)


def test_other_file_systems_of_fsspec_work_too(tmp_path: Path, manifest_at: Any) -> None:
    there = manifest_at(storage_at("memory://evenderm-test/manifest"))
    assert there.digest == manifest_at(tmp_path).digest
    assert len(there.arrays()) == 30
