"""fetch: the official files, under a licence that was accepted, unpacked where a source recognises them."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.command_line import exit_code
from manifests.errors import BadInput
from manifests.fetch import datasets as fetching
from manifests.fetch.datasets import DATASETS, fetch
from manifests.fetch.download import FetchFailed, _s3_checksum
from manifests.fetch.unpacking import unpack
from manifests.phantom.draw import write_phantom
from manifests.settings import PrepareSettings
from manifests.sources.recognition import find_source
from tests.manifests.fetch.faulty_server import QUICK, Server, faulty_server
from tests.manifests.sources.phantom_layouts import write_layout

__all__ = ["faulty_server"]  # pytest finds the fixture `server` by it


def _zip_of(folder: Path, inside: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{inside}/{path.name}" if inside else path.name)
        archive.writestr("__MACOSX/._junk", b"junk")
    return content.getvalue()


@pytest.fixture()
def isic2017(server: Server, tmp_path: Path) -> Server:
    """The server with a phantom in place of the official ISIC 2017 files."""
    write_phantom(tmp_path / "official", 9, 0, size=48)
    for path in fetching.DATASETS["isic2017"].files:
        name = path.rsplit("/", 1)[-1]
        source = tmp_path / "official" / name.removesuffix(".zip")
        server.files[f"/{path}"] = _zip_of(source, source.name) if source.is_dir() else source.read_bytes()
    return server


def test_a_fetched_dataset_can_be_read_at_once(isic2017: Server, tmp_path: Path) -> None:
    isic2017.faults = ["cut", "503", "", "stall"]
    to = tmp_path / "data"
    labels: set[str] = set()
    summary = fetch("isic2017", to, "CC0-1.0", lambda d, t, **f: labels.add(str(f["file"])), QUICK, isic2017.address)
    assert len(summary.files) == 9 and summary.unchecked == summary.files
    assert "ISIC-2017_Test_v2_Part3_GroundTruth.csv (9 of 9)" in labels
    source, folder = find_source(to)
    listing = source.read(folder, PrepareSettings())
    assert source.name == "isic2017" and len(listing.rows) == 9 and not listing.rejected
    assert json.loads((to / "LICENCE.json").read_text())["licence"] == "CC0-1.0"
    assert not list(to.glob("*.zip")) and not list(to.glob(".*"))
    requests = len(isic2017.asked)
    fetch("isic2017", to, "CC0-1.0", patience=QUICK, address=isic2017.address)
    assert len(isic2017.asked) == requests, "nothing is asked for twice"


def test_an_archive_cut_short_without_a_word_is_asked_for_again(isic2017: Server, tmp_path: Path) -> None:
    isic2017.faults = ["says less"]
    with pytest.raises(BadInput, match="not a sound zip archive"):
        fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=isic2017.address)
    fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=isic2017.address)
    assert find_source(tmp_path / "d")[0].name == "isic2017"


CSV = "/2017/ISIC-2017_Training_Part3_GroundTruth.csv"


@pytest.fixture()
def s3(isic2017: Server) -> Server:
    """The same files as S3 serves them."""
    isic2017.s3 = True
    return isic2017


@pytest.mark.parametrize("fault", ["says less", "wrong bytes"])
def test_a_table_that_is_not_what_s3_has_is_refused_and_fetched_again(s3: Server, tmp_path: Path, fault: str) -> None:
    order = [f"/{path}" for path in DATASETS["isic2017"].files]
    s3.faults = [""] * order.index(CSV) + [fault]
    with pytest.raises(FetchFailed, match=r"Part3_GroundTruth\.csv has the md5 [0-9a-f]{32} where [0-9a-f]{32}"):
        fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=s3.address)
    assert not (tmp_path / "d" / CSV.rsplit("/", 1)[-1]).exists()
    summary = fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=s3.address)
    assert summary.unchecked == ()
    (table,) = [file for file in summary.downloaded if CSV.endswith(file.name)]
    assert table.checked_against == f"md5:{hashlib.md5(s3.files[CSV]).hexdigest()}"
    assert (table.size, table.sha256) == (len(s3.files[CSV]), hashlib.sha256(s3.files[CSV]).hexdigest())


def test_a_cut_download_from_s3_is_checked_when_it_goes_on(s3: Server, tmp_path: Path) -> None:
    s3.faults = ["cut", "cut", "", "stall"]
    assert fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=s3.address).unchecked == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{"a" * 32}"'},
        {"ETag": f'"{"a" * 32}-12"', "x-amz-request-id": "1"},
        {"ETag": f'W/"{"a" * 32}"', "x-amz-request-id": "1"},
        {"ETag": f'"{"a" * 32}"', "x-amz-request-id": "1", "x-amz-server-side-encryption": "aws:kms"},
        {"x-amz-request-id": "1"},
    ],
)
def test_what_is_no_md5_is_not_taken_for_one(headers: dict[str, str]) -> None:
    assert _s3_checksum(headers) == ""


def test_pinned_sizes_and_checksums_are_held_against_what_comes(
    isic2017: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = CSV.rsplit("/", 1)[-1], isic2017.files[CSV]
    pin = (len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(DATASETS, "isic2017", replace(DATASETS["isic2017"], pinned={name: pin}))
    summary = fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=isic2017.address)
    assert name not in summary.unchecked and len(summary.unchecked) == 8
    isic2017.files[CSV] = content.replace(b"0.0", b"1.0", 1)
    with pytest.raises(FetchFailed, match="has the sha256"):
        fetch("isic2017", tmp_path / "e", "CC0-1.0", patience=QUICK, address=isic2017.address)


def test_an_archive_left_by_a_run_that_was_ended_after_unpacking_goes(isic2017: Server, tmp_path: Path) -> None:
    fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=isic2017.address)
    left = tmp_path / "d" / "ISIC-2017_Training_Data.zip"
    left.write_bytes(b"left")
    fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=isic2017.address)
    assert not left.exists()


def test_an_archive_over_the_limit_stays_for_another_limit(isic2017: Server, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="raise the limit with --max-unpacked"):
        fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=isic2017.address, most_unpacked=100)
    asked = len(isic2017.asked)
    fetch("isic2017", tmp_path / "d", "CC0-1.0", patience=QUICK, address=isic2017.address)
    assert len(isic2017.asked) == asked + 8


def test_isic_2018_is_fetched_and_read_at_once(server: Server, tmp_path: Path) -> None:
    write_layout(tmp_path / "official", "isic2018", 24, 0, 48)
    for path in DATASETS["isic2018"].files:
        source = tmp_path / "official" / path.rsplit("/", 1)[-1].removesuffix(".zip")
        server.files[f"/{path}"] = _zip_of(source, source.name) if source.is_dir() else source.read_bytes()
    summary = fetch("isic2018", tmp_path / "d", "CC-BY-NC-4.0", patience=QUICK, address=server.address)
    assert len(summary.files) == 13
    source, folder = find_source(tmp_path / "d")
    listing = source.read(folder, PrepareSettings())
    assert source.name == "isic2018" and len(listing.rows) == 24 and not listing.rejected


def test_the_command_names_each_file_with_size_and_checksum(
    s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DATASETS, "isic2017", replace(DATASETS["isic2017"], address=s3.address))
    words = ["fetch", "isic2017", "--to", str(tmp_path / "d")]
    assert exit_code(words) == 2
    assert "--accept-licence CC0-1.0" in capsys.readouterr().err
    assert exit_code([*words, "--accept-licence", "CC0-1.0", "--max-unpacked", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    content = s3.files[CSV]
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    name = CSV.rsplit("/", 1)[-1]
    assert f"{name}: {len(content):,} bytes, sha256 {sha256}, checked against md5:{md5}" in lines


def test_a_listing_gives_sizes_and_checksums_of_the_files(server: Server, tmp_path: Path) -> None:
    names = DATASETS["ham10000"].files
    contents = {name: _listed_content(name) for name in names}
    files = []
    for number, (name, content) in enumerate(contents.items(), 100):
        server.files[f"/api/access/datafile/{number}"] = content
        file: dict[str, Any] = {"id": number, "filename": name, "filesize": len(content)}
        file["md5"] = hashlib.md5(content).hexdigest()
        if name.endswith(".tab"):
            file |= {"originalFileFormat": "text/csv", "md5": "0" * 32}
        files.append({"dataFile": file})
    listing = f"/api/datasets/:persistentId/?persistentId={DATASETS['ham10000'].listing}"
    server.files[listing] = json.dumps({"data": {"latestVersion": {"files": files}}}).encode()
    summary = fetch("ham10000", tmp_path / "h", "CC-BY-NC-4.0", patience=QUICK, address=server.address)
    assert summary.unchecked == ("HAM10000_metadata.tab",)
    assert (tmp_path / "h" / "HAM10000_images_part_1" / "a.txt").read_text() == "HAM10000_images_part_1.zip"
    files[1]["dataFile"]["md5"] = "f" * 32
    server.files[listing] = json.dumps({"data": {"latestVersion": {"files": files}}}).encode()
    with pytest.raises(FetchFailed, match="has the md5"):
        fetch("ham10000", tmp_path / "i", "CC-BY-NC-4.0", patience=QUICK, address=server.address)
    server.files[listing] = b"<html>maintenance</html>"
    with pytest.raises(FetchFailed, match="does not answer with a list"):
        fetch("ham10000", tmp_path / "j", "CC-BY-NC-4.0", patience=QUICK, address=server.address)


def _listed_content(name: str) -> bytes:
    if not name.endswith(".zip"):
        return b"lesion_id\timage_id\tdx\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.txt", name)
    return content.getvalue()


@pytest.mark.parametrize("accepted", [None, "", "MIT", "cc-by-nc-4.0"])
def test_nothing_is_asked_of_the_server_before_the_licence_is_accepted(
    accepted: str | None, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"non-commercial use only.*--accept-licence CC-BY-NC-4.0"):
        fetch("ham10000", tmp_path / "h", accepted, address=server.address)
    assert not server.asked and not (tmp_path / "h").exists()
    with pytest.raises(BadInput, match="nothing to fetch called 'imagenet'"):
        fetch("imagenet", tmp_path / "h", "CC0-1.0")


def _archive(path: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fine.txt", "fine")
        change(archive)
    return path


def _link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: a.writestr("../outside.txt", "x"), "leads outside"),
        (lambda a: a.writestr("/absolute.txt", "x"), "leads outside"),
        (lambda a: a.writestr("a/../../outside.txt", "x"), "leads outside"),
        (lambda a: a.writestr("C:/windows.txt", "x"), "leads outside"),
        (lambda a: a.writestr("..\\outside.txt", "x"), "leads outside"),
        (_link, "link or device"),
        (lambda a: a.writestr("Fine.TXT", "x"), "twice"),
        (lambda a: a.writestr("zeros", bytes(5_000_000)), "more than the limit"),
    ],
)
def test_a_hostile_archive_is_refused_and_writes_nothing(
    change: Callable[[zipfile.ZipFile], None], sentence: str, tmp_path: Path
) -> None:
    archive = _archive(tmp_path / "a.zip", change)
    with pytest.raises(BadInput, match=sentence):
        unpack(archive, tmp_path / "to" / "a", most_bytes=4_000_000)
    assert not (tmp_path / "to" / "a").exists() and not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-30], lambda b: b"PK" + b[2:60], lambda b: b"", lambda b: b[:40] + b"!!!" + b[43:]]
)
def test_a_damaged_archive_is_one_sentence(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.zip", lambda a: a.writestr("b.txt", "some text " * 50))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match="fetch it again"):
        unpack(path, tmp_path / "a")
    assert not (tmp_path / "a").exists()
