"""How time and memory grow with the pairs of a dataset, and with its classes.

    python tests/benchmarks/growth.py --out .readme/growth.csv --plot .readme/growth.png [--limit 300]

Each measurement is a process of its own on one thread, and a row as soon as it ends: given again, the command goes on
where it was. Seconds are of the processor, children counted, and without set-up; memory is the peak resident set, that
of the set-up included. What would take longer than `limit` seconds, by what fewer pairs took, is left out. Pictures are
drawn, 64 px. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from tests.benchmarks.growth_plot import FEW_CLASSES, LATER, Row, draw, exponent, read_rows

PAIRS, CLASSES, SIDE = (1_000, LATER, 10_000, 30_000, 100_000), (FEW_CLASSES, 10, 30), 64
SHARD, DISTINCT, ASKED = 512, 256, 500
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
HEADINGS = ("part", "what", "pairs", "classes", "seconds", "peak_mb", "note", "load", "machine", "versions")
LIBRARIES = ("numpy", "pyarrow", "faiss-cpu", "opencv-python-headless")
Measured = tuple[str, float, str]  # what, processor seconds, what else is to say


def clock_started() -> Callable[[], float]:
    """What tells the processor seconds since it was last asked, of this process and of those it started that ended."""
    read = [sum(os.times()[:4])]

    def since() -> float:
        read.append(sum(os.times()[:4]))
        return read[-1] - read[-2]

    return since


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, 64, 64, 3): blobs on mottled skin, each its own."""
    import cv2

    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE
    drawn = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for image in drawn:
        y, x, tall, wide = random.uniform((0.35, 0.35, 0.12, 0.12), (0.65, 0.65, 0.3, 0.3))
        skin = random.uniform(130, 220, 3)
        for cells, strength in ((5, 18), (16, 22), (33, 14)):
            patches = random.normal(0, strength, (cells, cells, 1)).astype(np.float32)
            skin = skin + cv2.resize(patches, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)[..., None]
        lesion = 90 / (1 + np.exp(8 * (np.hypot((rows - y) / tall, (columns - x) / wide) - 1)))
        image[:] = np.clip(skin - lesion[..., None], 0, 255)
    return drawn


def manifest(folder: Path, pairs: int, classes: int) -> Iterator[Measured]:
    """A manifest written, decoded into arrays and copied elsewhere, as an export to one does."""
    from manifests.copying import copy_manifest
    from manifests.format.reading import open_manifest
    from manifests.format.schema import PairRow
    from manifests.format.writing import ManifestWriter
    from manifests.png import encode_mask, encode_png

    drawn, names = pictures(DISTINCT), [f"class{number:02d}" for number in range(classes)]
    masks = drawn.mean(-1) < drawn.mean((1, 2, 3))[:, None, None] - 20
    clock = clock_started()
    writer = ManifestWriter(folder / "one", classes=names, provenance={"benchmark": pairs})
    for number, dx in enumerate(names):
        own = range(number, pairs, classes)
        for index, start in enumerate(range(0, len(own), SHARD)):
            rows = [
                PairRow(f"bench:{one:07d}", encode_png(drawn[one % DISTINCT]), encode_mask(masks[one % DISTINCT]), dx,
                        "train", f"bench:{one:07d}", "bench", "CC-0") for one in own[start : start + SHARD]
            ]  # fmt: skip
            writer.write_shard(dx, index, rows)
    writer.commit()
    yield "writing a manifest", clock(), ""
    open_manifest(folder / "one").arrays(split="train", cache=folder / "arrays")
    yield "decoding it to mapped arrays", clock(), ""
    copy_manifest(open_manifest(folder / "one"), folder / "two")
    yield "copying it", clock(), ""


def preparing(folder: Path, pairs: int, classes: int) -> Iterator[Measured]:
    """Checks, split, shards and commit of files, without the search for near-duplicates."""
    import cv2

    from manifests.prepare.prepare import prepare
    from manifests.settings import PrepareSettings

    source = folder / "source"
    source.mkdir()
    lines = ["image,mask,class"]
    for start in range(0, pairs, 1000):
        for number, image in enumerate(pictures(min(1000, pairs - start), start + 1), start):
            lesion = (image.mean(-1) < image.mean() - 20).astype(np.uint8) * 255
            cv2.imwrite(str(source / f"{number:07d}.jpg"), image)
            cv2.imwrite(str(source / f"{number:07d}.png"), lesion)
            lines.append(f"{number:07d}.jpg,{number:07d}.png,class{number % classes:02d}")
    (source / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    clock = clock_started()
    prepare(source / "pairs.csv", folder / "prepared", PrepareSettings(size=SIDE, duplicates=False, workers=1))
    yield "prepare", clock(), ""


def near_duplicates(folder: Path, pairs: int, classes: int) -> Iterator[Measured]:
    """The search among fingerprints, whose keypoints are dealt out anew from those of a thousand pictures."""
    from manifests.duplicates.find import find_duplicates
    from manifests.duplicates.fingerprints import KEYPOINTS, RECORD, fingerprint
    from manifests.storage.spool import RecordSpool

    drawn = np.stack([fingerprint(image, None) for image in pictures(1000)])
    keypoints = drawn["descriptors"].reshape(-1, 128)[(np.arange(KEYPOINTS) < drawn["count"][:, None]).ravel()]
    random, spool = np.random.default_rng(1), RecordSpool(folder / "fingerprints", RECORD)
    for start in range(0, pairs, 1000):
        records = drawn[: min(1000, pairs - start)].copy()
        dealt = keypoints[random.integers(0, len(keypoints), (len(records), KEYPOINTS))].astype(np.int16)
        records["descriptors"] = np.clip(dealt + random.integers(-9, 10, dealt.shape), 0, 255)
        records["place"][..., :2] = random.uniform(0, 1, (len(records), KEYPOINTS, 2))
        spool.add(records)
    clock = clock_started()
    find_duplicates(spool)
    yield "near-duplicate search", clock(), ""


def copies(folder: Path, pairs: int, classes: int) -> Iterator[Measured]:
    """The copy index of so many real pairs, and 500 pictures looked up in it, copies among them."""
    from evaluate.copies.graph import EXACT
    from evaluate.copies.index import CopyIndex
    from evaluate.copies.threshold import ATTACKS, plant
    from evaluate.settings.gates import CopySettings

    real = np.concatenate([pictures(min(1000, pairs - start), start + 1) for start in range(0, pairs, 1000)])
    names = [str(number) for number in range(pairs)]
    planted = [plant(real[number :: pairs // 25][:25], name, 0) for number, name in enumerate(ATTACKS)]
    asked = np.concatenate([*planted, pictures(ASKED - 25 * len(ATTACKS))])
    clock = clock_started()
    index = CopyIndex.build(real, names, names, CopySettings())
    index.search(asked[:1])  # makes the graph
    yield "copy index of real pairs", clock(), ""
    found = index.search(asked)
    seconds, note = clock(), "compared with all"
    if pairs > EXACT:
        some = slice(0, 25 * len(ATTACKS), 3)
        there = index.search(asked[some], ["none"] * len(asked[some])).similarity  # with groups, compared with all
        share = (found.similarity[some] >= there)[there >= 0.6].mean()
        note = f"along a graph; recall {share:.4f} of {(there >= 0.6).sum()} copies"
    yield f"copy audit of {ASKED} pictures", seconds, note


def repeats(folder: Path, pairs: int, classes: int) -> Iterator[Measured]:
    """All generated pairs, class by class, each looked for among those before it."""
    from evaluate.copies.index import CopyIndex
    from evaluate.copies.seen import SeenIndex
    from evaluate.settings.gates import CopySettings

    names, met, told, seconds = [str(number) for number in range(500)], list[SeenIndex](), 0, 0.0
    index = CopyIndex.build(pictures(500), names, names, CopySettings())
    for own in range(classes):
        met.append(SeenIndex(index, met[:]))
        count = len(range(own, pairs, classes))
        for start in range(0, count, 500):
            drawn = pictures(min(500, count - start), 10_000_000 * (own + 1) + start)
            clock = clock_started()
            told += sum(met[-1].add(drawn))
            seconds += clock()
    yield "repeats among generated pairs", seconds, f"{told} told"


PARTS: dict[str, Callable[[Path, int, int], Iterator[Measured]]] = {
    "manifest": manifest,
    "prepare": preparing,
    "near_duplicates": near_duplicates,
    "copies": copies,
    "repeats": repeats,
}
BY_CLASS = ("manifest", "prepare", "repeats")
"""Parts that have anything to do with classes."""


def measure(part: str, folder: Path, pairs: int, classes: int) -> None:
    """Does one part in this process and prints its figures, a line of JSON each."""
    import cv2

    cv2.setNumThreads(1)
    for what, seconds, note in PARTS[part](folder, pairs, classes):
        peak = sum(resource.getrusage(of).ru_maxrss for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
        print(json.dumps({"what": what, "seconds": round(seconds, 3), "peak_mb": round(peak), "note": note}))


def asked_for() -> list[tuple[int, int, str]]:
    """Pairs, classes and part of every measurement, the quickest first."""
    grown = [(pairs, CLASSES[0], part) for pairs in PAIRS for part in PARTS]
    return sorted([*grown, *((10_000, many, part) for many in CLASSES[1:] for part in BY_CLASS)])


def too_long(part_rows: Sequence[Row], pairs: int, limit: float) -> bool:
    """Whether a part would take longer than `limit` seconds, by its exponent so far, at least linear."""
    seconds: dict[int, float] = {}
    for row in part_rows:
        if (fewer := int(row["pairs"])) < pairs and int(row["classes"]) == CLASSES[0]:
            seconds[fewer] = seconds.get(fewer, 0) + float(row["seconds"])
    if not seconds:
        return False
    most = max(seconds)
    power = max(1.0, exponent(sorted(seconds.items())[-2:]) or 1.0)
    return seconds[most] * (pairs / most) ** power > limit


def run(part: str, pairs: int, classes: int) -> list[dict[str, Any]]:
    """The figures of a part, done in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"part": part, "folder": folder, "pairs": pairs, "classes": classes}
        command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in given.items())]
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    """Measures what is not yet in the CSV, then draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--limit", type=float, default=300, help="seconds that a measurement may take")
    for name, kind in (("--part", str), ("--folder", Path), ("--pairs", int), ("--classes", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        measure(given.part, given.folder, given.pairs, given.classes)
        return
    machine = {"machine": platform.machine(), "versions": " ".join(f"{name} {version(name)}" for name in LIBRARIES)}
    for pairs, classes, part in asked_for():
        rows = read_rows(given.out)
        own = [row for row in rows if row["part"] == part]
        there = any((int(row["pairs"]), int(row["classes"])) == (pairs, classes) for row in own)
        if there or too_long(own, pairs, given.limit):
            continue
        found = run(part, pairs, classes)
        at = {"part": part, "pairs": pairs, "classes": classes, "load": f"{os.getloadavg()[0]:.1f}", **machine}
        with given.out.open("a", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, HEADINGS, lineterminator="\n")
            if not rows:
                table.writeheader()
            table.writerows({**at, **one} for one in found)
        print(pairs, classes, found, flush=True)
    if given.plot:
        draw(read_rows(given.out), given.plot)


if __name__ == "__main__":
    main()
