"""Hundreds of spoilt datasets: each ends in a clean manifest or in one clear sentence, none in a traceback."""

from __future__ import annotations

import csv
import io
import os
import shutil
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from manifests.errors import EvendermError
from manifests.format.reading import open_manifest
from manifests.format.verify import verify_manifest
from manifests.prepare.prepare import prepare
from manifests.settings import PrepareSettings
from tests.manifests.sources.phantom_layouts import LAYOUTS, write_layout

SIDE = 40
CASES_PER_LAYOUT = 30
Spoil = Callable[[Path, int, bytes], None]
"""Changes one file in place: the file, a number to choose by, and some random bytes."""
tried: Counter[str] = Counter()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be enormous."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _saved(path: Path, picture: Image.Image, format: str = "PNG", **options: object) -> None:
    content = io.BytesIO()
    picture.save(content, format, **options)  # type: ignore[arg-type]
    path.write_bytes(content.getvalue())


def _opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes())).convert("RGB")


def _turned(path: Path, number: int, noise: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = number % 11  # 9 and 10 are no orientations
    _saved(path, _opened(path), "JPEG", exif=exif)


def _deep(path: Path, number: int, noise: bytes) -> None:
    grey = np.asarray(_opened(path).convert("L")).astype(np.uint16) * (257 if number % 2 else 1)
    _saved(path, Image.fromarray(grey))


def _moded(path: Path, number: int, noise: bytes) -> None:
    mode = ("P", "1", "L", "RGBA", "LA", "CMYK", "F", "I", "YCbCr", "HSV", "LAB")[number % 11]
    picture = _opened(path)
    picture = picture.convert("L").convert("LA") if mode == "LA" else picture
    _saved(path, picture if mode == "LAB" else picture.convert(mode), "TIFF")


def _sized(path: Path, number: int, noise: bytes) -> None:
    size = ((1, 1), (1, 4000), (39, 40), (80, 80), (33, 900), (31, 31))[number % 6]
    _saved(path, _opened(path).resize(size))


def _valued(path: Path, number: int, noise: bytes) -> None:
    """Masks with values other than 0 and 255."""
    grey = np.asarray(_opened(path).convert("L"))
    low, high = ((0, 1), (0, 128), (0, 127), (3, 250), (255, 0), (0, 2))[number % 6]
    _saved(path, Image.fromarray(np.where(grey > 127, high, low).astype(np.uint8)))


def _animated(path: Path, number: int, noise: bytes) -> None:
    frames = [_opened(path), _opened(path).rotate(90)]
    frames[0].save(path, "GIF" if number % 2 else "PNG", save_all=True, append_images=frames[1:])


def _linked(path: Path, number: int, noise: bytes) -> None:
    targets = ("/etc/passwd", "/dev/zero", "nowhere.png", path.name, str(path.parent), "../../..")
    path.unlink()
    path.symlink_to(targets[number % 6])


def _replaced_by_folder(path: Path, number: int, noise: bytes) -> None:
    path.unlink()
    path.mkdir()


def _piped(path: Path, number: int, noise: bytes) -> None:
    path.unlink()
    os.mkfifo(path)


def _bytewise(change: Callable[[bytes, int, bytes], bytes]) -> Spoil:
    def spoil(path: Path, number: int, noise: bytes) -> None:
        path.write_bytes(change(path.read_bytes(), number, noise))

    return spoil


def _poked(content: bytes, number: int, noise: bytes) -> bytes:
    at = number * 7919 % max(1, len(content))
    return content[:at] + noise + content[at + len(noise) :]


def _renamed(path: Path, number: int, noise: bytes) -> None:
    name = (path.name.upper(), f"=1+1{path.suffix}", f"a\nb{path.suffix}", f"{path.stem}.jpg.png", f".{path.name}")
    undecodable = os.fsdecode(b"\xff\xe9") + path.name
    strange = (*name, "x" * 240 + path.suffix, "\u202e" + path.name, "ä" + path.name, undecodable)
    path.rename(path.with_name(strange[number % len(strange)]))


def _doubled(path: Path, number: int, noise: bytes) -> None:
    shutil.copy(path, path.with_suffix((".PNG", ".tif", ".jpeg")[number % 3]))


FILE_SPOILS: dict[str, Spoil] = {
    "truncated": _bytewise(lambda c, n, x: c[: n % max(1, len(c))]),
    "noise": _bytewise(lambda c, n, x: x * 20),
    "empty": _bytewise(lambda c, n, x: b""),
    "poked": _bytewise(_poked),
    "bomb": _bytewise(lambda c, n, x: _bomb(*((60000, 60000), (2**31 - 1, 1), (0, 5), (9000, 9000))[n % 4])),
    "appended": _bytewise(lambda c, n, x: c + x),
    "text": _bytewise(lambda c, n, x: b"version https://git-lfs.github.com/spec/v1\nsize 12"),
    "turned": _turned,
    "deep": _deep,
    "moded": _moded,
    "sized": _sized,
    "valued": _valued,
    "animated": _animated,
    "linked": _linked,
    "folder": _replaced_by_folder,
    "pipe": _piped,
    "missing": lambda p, n, x: p.unlink(),
    "renamed": _renamed,
    "doubled": _doubled,
}

CELLS = (
    "=cmd|' /C calc'!A0", "../../../etc/passwd", "/etc/passwd", "..", ".", "\x00", "a" * 5000, '"', "'", "é", "1e999",
    "nan", "-1", "2", "", " ", "nv/../mel", "con", "{}", "mel", "\u202e", "😀", "0.0", "1.0", "NV", "%s", "\\\\srv\\x",
)  # fmt: skip


def _cell(text: str, number: int, noise: bytes) -> str:
    lines = text.split("\n")
    row = number % len(lines)
    cells = lines[row].split(",")
    cells[number // 7 % len(cells)] = CELLS[noise[0] % len(CELLS)]
    return "\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]])


def _without_column(text: str, number: int, noise: bytes) -> str:
    rows = [line.split(",") for line in text.split("\n")]
    gone = number % len(rows[0])
    return "\n".join(",".join(cell for i, cell in enumerate(row) if i != gone) for row in rows)


def _ended(text: str, end: str) -> str:
    """The lines of a text with this line end, or each with another one."""
    if end != "mixed":
        return text.replace("\n", end)
    return "".join(line + ("\n", "\r\n", "\r")[number % 3] for number, line in enumerate(text.split("\n")))


TEXT_SPOILS: dict[str, Callable[[str, int, bytes], str]] = {
    "cell": _cell,
    "no column": _without_column,
    "line twice": lambda t, n, x: t + t.split("\n")[1 + n % max(1, t.count("\n") - 1)] + "\n",
    "header twice": lambda t, n, x: t.split("\n")[0] + "\n" + t,
    "no header": lambda t, n, x: t.split("\n", 1)[1],
    "header alone": lambda t, n, x: t.split("\n")[0],
    "quote": lambda t, n, x: t[: n % len(t)] + '"' + t[n % len(t) :],
    "ragged": lambda t, n, x: t.replace(",", ",,", 1 + n % 9),
    "blank lines": lambda t, n, x: t.replace("\n", "\n\n , \n"),
}
MASK_WORDS = ("mask", "GroundTruth", "segmentation", "_lesion")
TABLE_ENDINGS = (".csv", ".txt", ".parquet")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-16-le", "utf-32")
BYTE_SPOILS = ("truncated", "noise", "empty", "poked", "appended", "linked", "folder", "pipe", "missing")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clean dataset in each layout, copied before it is spoilt."""
    root = tmp_path_factory.mktemp("clean")
    for layout in LAYOUTS:
        write_layout(root / layout, layout, 10 if layout in ("isic2017", "table", "parquet") else 21, 2, size=SIDE)
    return root


def _spoil_file(data: Path, is_mask: bool, how: str, number: int, noise: bytes) -> None:
    files = sorted(p for p in data.rglob("*") if p.suffix in (".jpg", ".png", ".bmp") and p.is_file())
    chosen = [p for p in files if any(word in str(p) for word in MASK_WORDS) == is_mask]
    FILE_SPOILS[how](chosen[number % len(chosen)], number, noise)


def _spoil_table(data: Path, how: str, end: str, encoding: str, number: int, noise: bytes) -> None:
    tables = sorted(p for p in data.rglob("*") if p.suffix in TABLE_ENDINGS and p.name != "README.txt" and p.is_file())
    if not tables:
        return
    path = tables[number % len(tables)]
    if how in TEXT_SPOILS and path.suffix != ".parquet":
        text = TEXT_SPOILS[how](path.read_text(encoding="utf-8"), number, noise)
        path.write_bytes(_ended(text, end).encode(encoding, "replace"))
    else:
        FILE_SPOILS[how if how in BYTE_SPOILS else "poked"](path, number, noise)


FILES = st.tuples(st.just("file"), st.booleans(), st.sampled_from(sorted(FILE_SPOILS)))
TABLES = st.tuples(
    st.just("table"),
    st.sampled_from([*sorted(TEXT_SPOILS), *BYTE_SPOILS]),
    st.sampled_from(["\n", "\r\n", "\r", "mixed"]),
    st.sampled_from(ENCODINGS),
)
SPOILT = st.tuples(FILES | TABLES, st.integers(0, 10_000), st.binary(min_size=1, max_size=40))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@given(spoilt=st.lists(SPOILT, min_size=1, max_size=4))
@settings(max_examples=CASES_PER_LAYOUT, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_spoilt_dataset_ends_cleanly(clean: Path, layout: str, spoilt: list[tuple]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as name:
        data, out = Path(name) / "data", Path(name) / "out"
        shutil.copytree(clean / layout, data)
        for what, number, noise in spoilt:
            try:
                if what[0] == "file":
                    _spoil_file(data, what[1], what[2], number, noise)
                else:
                    _spoil_table(data, what[1], what[2], what[3], number, noise)
            except Exception:
                continue  # an earlier spoil has left nothing that this one can be done to
        before = sorted(str(p) for p in data.rglob("*"))
        _check_outcome(data, out)
        assert sorted(str(p) for p in data.rglob("*")) == before, "the source is only read"
        assert not list(Path(name).glob(".prepare-*")), "nothing is left lying about"


@pytest.mark.parametrize(
    "ending", ["arrow", "csv", "json", "jsonl", "mat", "parquet", "png", "txt", "xlsx", "xml", "yaml"]
)
def test_a_pipe_among_the_files_is_never_waited_for(clean: Path, ending: str, tmp_path: Path) -> None:
    data = Path(shutil.copytree(clean / sorted(LAYOUTS)[0], tmp_path / "data"))
    if ending == "arrow":
        (data / "state.json").write_text("{}")
    os.mkfifo(data / f"data.{ending}")
    _check_outcome(data, tmp_path / "out")


def _check_outcome(data: Path, out: Path) -> None:
    try:
        summary = prepare(data, out, PrepareSettings(size=32, max_pixels=4_000_000))
    except EvendermError as error:
        tried["sentence"] += 1
        text = str(error)
        assert 20 < len(text) < 1500 and "\n" not in text and "Traceback" not in text
        assert not (out / "manifest.json").exists()
        return
    tried["manifest"] += 1
    assert verify_manifest(out).ok
    arrays = open_manifest(out).arrays()
    assert arrays.images.shape[1:] == (32, 32, 3) and len(arrays) == sum(
        sum(of.values()) for of in summary.counts.values()
    )
    listed = list(csv.reader(io.StringIO((out / "rejected.csv").read_text(encoding="utf-8"))))[1:]
    assert len(listed) == len(summary.rejected)
    for row in listed:
        assert len(row) == 4 and len(row[2]) > 10, "every row set aside has its reason"
        assert not any(cell.lstrip()[:1] in tuple("=+-@|%") and cell.strip() for cell in row)


def test_enough_was_tried_and_both_ends_were_reached() -> None:
    assert sum(tried.values()) >= 200
    assert min(tried["sentence"], tried["manifest"]) >= 20
