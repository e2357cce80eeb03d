"""Speed and peak memory of preparing and writing, beside `datasets` doing the same work.

    python tests/benchmarks/manifest_speed.py --pairs 100000

Each figure comes from a process of its own, on one thread except for prepare, which has two workers; `datasets` then
only decodes and stores what prepare also checks, splits and searches for near-duplicates. Nothing is asserted: the
bounds that a reader may hold the figures against are printed with them. Memory is the peak resident set, of the process
and its largest worker together; "flat" compares the peak at all pairs with that at a tenth of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

SIDE = 128
SHARD = 512
DISTINCT = 256


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """(256, 128, 128, 3) smooth blobs under sensor noise, which pack like dermoscopy, and their masks."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    images = np.empty((DISTINCT, SIDE, SIDE, 3), np.uint8)
    masks = np.empty((DISTINCT, SIDE, SIDE), bool)
    for number in range(DISTINCT):
        y, x, radius = random.uniform(0.3, 0.7, 3) * (1, 1, 0.5)
        distance = np.hypot(rows - y, columns - x) / radius
        skin = np.array([210, 160, 140]) - 90 * (1 / (1 + np.exp(8 * (distance - 1))))[..., None]
        noise = random.normal(0, 5, (SIDE, SIDE, 3))
        images[number] = np.clip(skin + noise, 0, 255).astype(np.uint8)
        masks[number] = distance < 1
    return images, masks


def write_ours(folder: Path, pairs: int) -> int:
    """Encode and write, shard by shard, and commit."""
    from manifests.format.schema import PairRow
    from manifests.format.writing import ManifestWriter
    from manifests.png import encode_mask, encode_png

    images, masks = pictures()

    def row(number: int) -> PairRow:
        image, mask = images[number % DISTINCT], masks[number % DISTINCT]
        name = f"bench:{number:07d}"
        return PairRow(name, encode_png(image), encode_mask(mask), "nv", "train", name, "bench", "CC-0")

    encode_png(images[0])
    started()
    writer = ManifestWriter(folder, classes=("nv",), provenance={"benchmark": pairs})
    for index, start in enumerate(range(0, pairs, SHARD)):
        writer.write_shard("nv", index, [row(n) for n in range(start, min(start + SHARD, pairs))])
    writer.commit()
    return pairs


def write_theirs(folder: Path, pairs: int) -> int:
    """The same pairs through datasets' generator and its Parquet writer."""
    import datasets

    images, masks = pictures()

    def rows() -> Iterator[dict[str, object]]:
        for number in range(pairs):
            yield {
                "pair_id": f"bench:{number:07d}",
                "image": images[number % DISTINCT],
                "mask": masks[number % DISTINCT].view(np.uint8) * np.uint8(255),
                "label": 0,
            }

    features = datasets.Features(
        {
            "pair_id": datasets.Value("string"),
            "image": datasets.Image(),
            "mask": datasets.Image(),
            "label": datasets.ClassLabel(names=["nv"]),
        }
    )
    started()
    made = datasets.Dataset.from_generator(rows, features=features, cache_dir=str(folder / "cache"))
    made.to_parquet(str(folder / "pairs.parquet"), batch_size=64)
    return pairs


def draw_source(folder: Path, pairs: int) -> Path:
    """As many different pictures (JPEG) and masks (PNG), and the table that names them."""
    import cv2

    random = np.random.default_rng(2)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    lines = ["image,mask,class"]
    for number in range(pairs):
        y, x, tall, wide = random.uniform((0.35, 0.35, 0.12, 0.12), (0.65, 0.65, 0.3, 0.3))
        distance = np.hypot((rows - y) / tall, (columns - x) / wide)
        colours = random.normal(0, 18, (9, 9, 3)).astype(np.float32)
        skin = cv2.resize(colours, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) + random.uniform(130, 220, 3)
        noise = random.standard_normal((SIDE, SIDE, 1), np.float32) * 6
        image = skin - 90 / (1 + np.exp(8 * (distance - 1)))[..., None] + noise
        cv2.imwrite(str(folder / f"images/{number:07d}.jpg"), np.clip(image, 0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / f"masks/{number:07d}.png"), (distance < 1).astype(np.uint8) * 255)
        lines.append(f"images/{number:07d}.jpg,masks/{number:07d}.png,{'mel' if number % 4 == 0 else 'nv'}")
    table = folder / "pairs.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def prepare_ours(folder: Path, pairs: int) -> int:
    """Checks, near-duplicates, split, shards and commit, with two workers."""
    from manifests.prepare.prepare import prepare
    from manifests.settings import PrepareSettings

    table = folder / "source/pairs.csv"
    started()
    summary = prepare(table, folder / "prepared", PrepareSettings(size=SIDE, workers=2))
    assert not summary.rejected
    return pairs


def prepare_theirs(folder: Path, pairs: int) -> int:
    """The same files decoded and stored by datasets, without any of the checks."""
    import datasets
    from PIL import Image

    source = folder / "source"

    def rows() -> Iterator[dict[str, object]]:
        for number in range(pairs):
            image = Image.open(source / f"images/{number:07d}.jpg").convert("RGB")
            mask = Image.open(source / f"masks/{number:07d}.png").convert("L")
            yield {"pair_id": f"table:{number:07d}", "image": np.asarray(image), "mask": np.asarray(mask)}

    image = datasets.Image()
    features = datasets.Features({"pair_id": datasets.Value("string"), "image": image, "mask": image})
    started()
    made = datasets.Dataset.from_generator(rows, features=features, cache_dir=str(folder / "prepare_cache"))
    made.to_parquet(str(folder / "prepared.parquet"), batch_size=64)
    return pairs


PARTS: dict[str, Callable[[Path, int], int]] = {
    "prepare_ours": prepare_ours,
    "prepare_theirs": prepare_theirs,
    "write_ours": write_ours,
    "write_theirs": write_theirs,
}
_start = [0.0, 0.0]


def started() -> None:
    """From here on it counts: set-up is left out."""
    _start[:] = [time.perf_counter(), _processor_time()]


def _processor_time() -> float:
    """Seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def measure(part: str, folder: Path, pairs: int) -> None:
    """Do one part in this process and print its figures as JSON."""
    import cv2
    import torch

    from flows.engine.process import set_up_process

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    set_up_process()  # as the command line does, for datasets too
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    done = PARTS[part](folder, pairs)
    wall, cpu = time.perf_counter() - _start[0], _processor_time() - _start[1]
    peak = sum(resource.getrusage(of).ru_maxrss for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps({"wall": done / wall, "cpu": done / cpu, "peak": peak}))


def run(part: str, folder: Path, pairs: int) -> dict[str, float]:
    """Do one part in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), "--pairs", str(pairs)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def compare(folder: Path, pairs: int) -> None:
    """Print ours beside theirs, and how memory grows."""
    few = max(pairs // 10, 1)
    for name, count in (("all", pairs), ("few", few)):
        draw_source(folder / name / "source", count)
    figures = {
        "prepare_ours": run("prepare_ours", folder / "all", pairs),
        "prepare_theirs": run("prepare_theirs", folder / "all", pairs),
        "write_ours": run("write_ours", folder / "all", pairs),
        "write_theirs": run("write_theirs", folder / "theirs", pairs),
    }
    small = {
        "prepare_ours": run("prepare_ours", folder / "few", few),
        "write_ours": run("write_ours", folder / "few", few),
    }
    print(f"{pairs} pairs of {SIDE} px\n")
    print(f"{'':14}{'pairs/s of wall':>18}{'pairs/s of CPU':>18}{'peak MiB':>12}")
    for name, row in figures.items():
        print(f"{name:14}{row['wall']:18.0f}{row['cpu']:18.0f}{row['peak']:12.0f}")
    for name, bound in (("prepare", 400), ("write", 1000)):
        by = {clock: figures[f"{name}_ours"][clock] / figures[f"{name}_theirs"][clock] for clock in ("wall", "cpu")}
        flat = figures[f"{name}_ours"]["peak"] / small[f"{name}_ours"]["peak"]
        print(f"{name}: {by['wall']:.2f} times datasets by the clock, {by['cpu']:.2f} by processor time")
        print(f"    (bound {bound}/s); peak memory {flat:.2f} of that at {few}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; a temporary folder if not given")
    parser.add_argument("--part", choices=PARTS, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part is not None:
        measure(given.part, given.folder, given.pairs)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        compare(Path(temporary), given.pairs)


if __name__ == "__main__":
    main()
