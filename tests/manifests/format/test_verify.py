"""Verification finds each kind of fault and names the row that has it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.errors import BadInput
from manifests.format.footer import footer_digest
from manifests.format.header import header_checksum
from manifests.format.shards import DISCLAIMER
from manifests.format.verify import VerificationReport, verify_manifest
from manifests.png import encode_mask, encode_png, with_png_text
from manifests.progress import StopRequested

NV = "data/lesion=nv/part-00000.parquet"


def forge(folder: Path, change: Callable[[list[dict[str, Any]]], None], shard: str = NV) -> None:
    """Change a shard's rows and make every hash of file and header fit again, as a careful forger would."""
    table = pq.read_table(folder / shard, partitioning=None)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / shard, row_group_size=64)
    content = (folder / shard).read_bytes()

    def refit(header: dict[str, Any]) -> None:
        entry = next(entry for entry in header["shards"] if entry["name"] == shard)
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "rows": len(rows)}
        entry["footer"] = footer_digest(content)

    forge_header(folder, refit)


def forge_footer(folder: Path, table: pa.Table) -> None:
    """Write a shard anew and change no more of manifest.json than its footer's digest."""
    pq.write_table(table, folder / NV, row_group_size=64)
    digest = footer_digest((folder / NV).read_bytes())
    forge_header(folder, lambda header: next(e for e in header["shards"] if e["name"] == NV).update(footer=digest))


def forge_header(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    header = json.loads((folder / "manifest.json").read_text())
    change(header)
    header["checksum"] = header_checksum(header)
    (folder / "manifest.json").write_text(json.dumps(header))


def problems(report: VerificationReport) -> list[str]:
    return [str(bad) for bad in report.bad]


def png(value: int, size: int = 24) -> bytes:
    return encode_png(np.full((size, size, 3), value, np.uint8))


def set_picture(row: dict[str, Any], name: str, content: bytes) -> None:
    row[name] = {"bytes": content, "path": "x.png"}
    row[f"{name}_sha256"] = hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("kind", ["real", "synthetic"])
def test_a_good_manifest_passes(tmp_path: Path, manifest_at: Any, kind: str) -> None:
    manifest_at(tmp_path, pairs=150, kind=kind)
    done: list[tuple[int, int]] = []
    report = verify_manifest(tmp_path, lambda at, total, **_: done.append((at, total)))
    assert problems(report) == []
    assert report.ok
    assert (report.rows, report.shards) == (150, 3)
    assert done[-1] == (150, 150)


ROW_FAULTS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("id", lambda r: r.update(pair_id=""), "its id must have"),
    ("class", lambda r: r.update(dx="mel"), "its class 'mel' is not its folder's 'nv'"),
    ("label", lambda r: r.update(label=1), "its label 1 does not stand for 'nv'"),
    ("origin", lambda r: r.update(origin="synthetic"), "its origin 'synthetic' is not 'real'"),
    ("split", lambda r: r.update(split="holdout"), "its split 'holdout' is none of"),
    ("group", lambda r: r.update(group_id=None), "it has no group_id"),
    ("hash", lambda r: r.update(image_sha256="0" * 64), "its image is not the one that was written"),
    ("pixels", lambda r: r.update(image={"bytes": png(3), "path": "x"}), "its image is not the one"),
    ("no image", lambda r: r.update(image=None, image_sha256=None), "it has no image"),
    ("not a PNG", lambda r: set_picture(r, "image", b"GIF89a"), "its image is not a PNG"),
    ("cut PNG", lambda r: set_picture(r, "image", png(3)[:60]), "its image is a damaged PNG"),
    ("grey", lambda r: set_picture(r, "image", encode_mask(np.ones((24, 24), bool))), "its image is not RGB"),
    ("levels", lambda r: set_picture(r, "mask", encode_png(np.full((24, 24), 7, np.uint8))), "other than 0"),
    ("mask size", lambda r: set_picture(r, "mask", encode_mask(np.ones((9, 9), bool))), "the image's size"),
    ("colour mask", lambda r: set_picture(r, "mask", png(255)), "its mask is not grey"),
]


@pytest.mark.parametrize(("change", "said"), [f[1:] for f in ROW_FAULTS], ids=[f[0] for f in ROW_FAULTS])
def test_a_bad_row_is_named(tmp_path: Path, manifest_at: Any, change: Any, said: str) -> None:
    manifest_at(tmp_path)
    forge(tmp_path, lambda rows: change(rows[5]))
    report = verify_manifest(tmp_path)
    named = [bad for bad in report.bad if said in bad.problem]
    assert [(bad.shard, bad.row) for bad in named] == [(NV, 5)]
    assert "\n" not in str(named[0])


SYNTHETIC_FAULTS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("test side", lambda r: r.update(split="test"), "it is synthetic and in test"),
    ("validation side", lambda r: r.update(split="validation"), "it is synthetic and in validation"),
    ("unjudged", lambda r: r.update(accepted=None), "neither accepted nor rejected"),
    ("no reason", lambda r: r.update(accepted=False, reject_reason=None), "rejected without a reason"),
    ("no seed", lambda r: r.update(seed=None), "does not say its seed"),
    ("no base", lambda r: r.update(base_digest=None), "does not say its base_digest"),
    ("unmarked", lambda r: set_picture(r, "image", png(3)), "its image does not say that it is synthetic"),
]


@pytest.mark.parametrize(("change", "said"), [f[1:] for f in SYNTHETIC_FAULTS], ids=[f[0] for f in SYNTHETIC_FAULTS])
def test_a_bad_synthetic_row_is_named(tmp_path: Path, manifest_at: Any, change: Any, said: str) -> None:
    manifest_at(tmp_path, kind="synthetic")
    forge(tmp_path, lambda rows: change(rows[4]))
    named = [bad for bad in verify_manifest(tmp_path).bad if said in bad.problem]
    assert [(bad.shard, bad.row) for bad in named] == [(NV, 4)]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("name", ["image", "mask"])
def test_a_generated_picture_among_real_ones_is_found(tmp_path: Path, manifest_at: Any, split: str, name: str) -> None:
    manifest_at(tmp_path)

    def smuggle(rows: list[dict[str, Any]]) -> None:
        rows[5] |= {"split": split, "group_id": "own"}
        set_picture(rows[5], name, with_png_text(rows[5][name]["bytes"], {"Disclaimer": DISCLAIMER}))

    forge(tmp_path, smuggle)
    named = [bad for bad in verify_manifest(tmp_path).bad if "says that it was generated" in bad.problem]
    assert [(bad.shard, bad.row) for bad in named] == [(NV, 5)]


def test_every_row_of_a_damaged_row_group_is_named_and_the_others_are_still_checked(
    tmp_path: Path, manifest_at: Any
) -> None:
    manifest = manifest_at(tmp_path, pairs=400)
    ids = manifest.table(["pair_id"], dx="nv")["pair_id"].to_pylist()[:64]
    forge(tmp_path, lambda rows: rows[130].update(group_id=None))
    with pq.ParquetFile(tmp_path / NV) as file:
        group = file.metadata.row_group(0)
        column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "group_id")
        start = column.dictionary_page_offset or column.data_page_offset
    content = bytearray((tmp_path / NV).read_bytes())
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    (tmp_path / NV).write_bytes(content)
    report = verify_manifest(tmp_path)
    named = {bad.row: bad for bad in report.bad if bad.row is not None}
    assert sorted(named) == [*range(64), 130]
    assert [named[row].pair_id for row in range(64)] == ids
    assert "its group_id cannot be read" in named[0].problem and "no group_id" in named[130].problem


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header: header.update(masks=7), "it counts 7 masks and there are 30"),
        (lambda header: header.update(rows=31), "it counts 31 rows and there are 30"),
        (lambda header: header.update(sources={"elsewhere": 30}), "its sources count 0 pairs of 'isic2017'"),
        (lambda header: header.update(licences={"CC-0": 29}), "its licences count 29 pairs of 'CC-0'"),
        (lambda header: header["rejected"].update(nv=2), "it counts 2 rejected pairs of nv and there are 0"),
        (lambda header: header["shards"][1].update(rows=9), "rows and manifest.json counts 9"),
    ],
)
def test_each_count_is_made_again(tmp_path: Path, manifest_at: Any, change: Any, said: str) -> None:
    manifest_at(tmp_path)
    forge_header(tmp_path, change)
    assert any(said in text for text in problems(verify_manifest(tmp_path))), problems(verify_manifest(tmp_path))


def test_a_card_that_counts_otherwise_is_found_and_one_with_more_words_is_not(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)
    card = (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text(card + "\nThanks to everybody.\n")
    assert verify_manifest(tmp_path).ok
    (tmp_path / "README.md").write_text(card.replace("| isic2017 | 30 |", "| isic2017 | 3,000 |"))
    (found,) = problems(verify_manifest(tmp_path))
    assert found.startswith("README.md: it does not count as manifest.json does") and "| isic2017 | 30 |" in found
    (tmp_path / "README.md").unlink()
    assert problems(verify_manifest(tmp_path)) == ["README.md: the dataset card is missing"]


def test_a_group_on_two_sides_is_found(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)

    def leak(rows: list[dict[str, Any]]) -> None:
        rows[0]["split"], rows[1]["split"] = "train", "test"
        rows[0]["group_id"] = rows[1]["group_id"] = "leaking"

    forge(tmp_path, leak)
    leaks = [bad for bad in verify_manifest(tmp_path).bad if "'leaking'" in bad.problem]
    assert [bad.row for bad in leaks] == [1]
    assert "is in train as well as in test" in leaks[0].problem


def test_repeated_and_unsorted_ids_are_found(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)

    def confuse(rows: list[dict[str, Any]]) -> None:
        rows[2]["pair_id"] = rows[1]["pair_id"]
        rows[6], rows[7] = rows[7], rows[6]

    forge(tmp_path, confuse)
    found = [(bad.row, bad.problem) for bad in verify_manifest(tmp_path).bad]
    assert (2, "its pair id stands twice in the manifest") in found
    assert (7, "the rows are not sorted by pair id") in found


def test_one_changed_byte_names_the_row_and_the_file(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path)
    picture = manifest.table(["pair_id", "image"], dx="nv").to_pylist()[3]
    content = bytearray((tmp_path / NV).read_bytes())
    at = content.index(picture["image"]["bytes"]) + len(picture["image"]["bytes"]) // 2
    content[at] ^= 1
    (tmp_path / NV).write_bytes(content)
    bad = verify_manifest(tmp_path).bad
    assert any(b.row is None and "sha256 differs" in b.problem for b in bad)
    assert {b.pair_id for b in bad if b.row is not None} == {picture["pair_id"]}


def test_every_damaged_file_is_named_in_one_pass(tmp_path: Path, manifest_at: Any) -> None:
    manifest = manifest_at(tmp_path)
    mel, one, two = (tmp_path / entry.name for entry in manifest.shards)
    mel.unlink()
    one.write_bytes(one.read_bytes()[:-100])
    two.write_bytes(b"x" * two.stat().st_size)
    report = verify_manifest(tmp_path)
    assert {bad.shard for bad in report.bad} == {entry.name for entry in manifest.shards}
    assert [bad.problem for bad in report.bad if bad.shard == manifest.shards[0].name] == ["the file is missing"]
    assert not report.ok


def test_wrong_counts_are_found(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)
    forge_header(tmp_path, lambda header: header["counts"]["test"].update(nv=99))
    assert any("counts 99 pairs of class nv in test" in text for text in problems(verify_manifest(tmp_path)))


def test_another_provenance_is_found(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)
    forge_header(tmp_path, lambda header: header.update(provenance={"source": "somewhere nicer"}))
    assert any("provenance" in text for text in problems(verify_manifest(tmp_path)))


def test_a_column_too_many_is_found(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)
    table = pq.read_table(tmp_path / NV, partitioning=None)
    forge_footer(tmp_path, table.append_column("lesion", pa.array(["nv"] * len(table))))
    assert any("see lesion" in text for text in problems(verify_manifest(tmp_path)))


def test_other_words_on_by_what_it_was_made_are_found(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path, kind="synthetic")
    table = pq.read_table(tmp_path / NV, partitioning=None)
    said = json.loads(table.schema.metadata[b"evenderm"]) | {"generator": {"base": "another"}}
    forge_footer(tmp_path, table.replace_schema_metadata({**table.schema.metadata, b"evenderm": json.dumps(said)}))
    assert any("metadata" in text for text in problems(verify_manifest(tmp_path)))


def test_where_nothing_is_committed_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no committed manifest"):
        verify_manifest(tmp_path)


def test_a_stop_request_ends_it(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)

    def stop(done: int, total: int, **figures: float | str) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        verify_manifest(tmp_path, stop)


def test_text_that_is_no_longer_utf8_names_its_row(tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path)
    table = pq.read_table(tmp_path / NV, partitioning=None)
    groups = [group.encode() for group in table["group_id"].to_pylist()]
    spoilt = pa.array([*groups[:2], b"\xe9" + groups[2], *groups[3:]], pa.binary()).view(pa.string())
    table = table.set_column(table.schema.get_field_index("group_id"), table.schema.field("group_id"), spoilt)
    forge_footer(tmp_path, table)
    found = problems(verify_manifest(tmp_path))
    assert any("row 2" in problem and "not UTF-8" in problem for problem in found), found
