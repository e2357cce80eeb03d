"""What a machine with one GPU and no network makes of a few minutes: a better base, and figures of Stable Diffusion 2.

    python tests/benchmarks/gpu_session.py pack --data SOURCE --pack FOLDER     here: a small copy of the pictures
    python tests/benchmarks/gpu_session.py go --pack FOLDER --out FOLDER        there: at most --seconds in all

`go` trains the shipped base on, or the one in FOLDER/base of an earlier `go`, writes its averaged weights in half
precision in parts that small transfers take (`join` puts them together again), and then measures the Stable Diffusion 2
preset at full size on random weights. Called again on the same machine it goes on from its checkpoint. `--tiny` is the
rehearsal on a CPU.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import cv2

from manifests.fetch.unpacking import unpack

PART = 15 << 20  # bytes
SIDE = 176  # the pictures of a pack: crops of three quarters still have 128 px
QUALITY = 88
RESERVE = 40.0  # seconds for starting, writing and packing


def write_pack(source: Path, pack: Path, leave_out: Sequence[str], side: int = SIDE) -> None:
    """A copy of the dataset folder `source` with its pictures reduced to `side` px; paths with a word of `leave_out`
    stay behind."""
    data = pack / "data"
    for path in sorted(source.rglob("*")):
        target = data / path.relative_to(source)
        if path.is_dir() or any(word in str(path.relative_to(source)) for word in leave_out):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        ending = path.suffix.lower()
        if ending not in (".jpg", ".jpeg", ".png"):
            shutil.copyfile(path, target)
            continue
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        interpolation = cv2.INTER_NEAREST_EXACT if image.ndim == 2 else cv2.INTER_AREA
        small = cv2.resize(image, (side, side), interpolation=interpolation)
        options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if ending != ".png" else [cv2.IMWRITE_PNG_BILEVEL, 1]
        cv2.imwrite(str(target), small, options)


def split_folder(folder: Path, out: Path, size: int = PART) -> list[Path]:
    """Writes `folder` as parts of one zip file, base.000 and so on, none larger than `size` bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
    content = stream.getvalue()
    parts = []
    for number, start in enumerate(range(0, len(content), size)):
        parts.append(out / f"{folder.name}.{number:03d}")
        parts[-1].write_bytes(content[start : start + size])
    return parts


def join_folder(parts: Path, name: str, out: Path) -> Path:
    """Puts the parts that `split_folder` wrote into the folder `parts` together again, as `out`/`name`."""
    content = b"".join(path.read_bytes() for path in sorted(parts.glob(f"{name}.[0-9][0-9][0-9]")))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / f"{name}.zip"
        archive.write_bytes(content)
        unpack(archive, out / name)
    return out / name


def train_base(pack: Path, out: Path, work: Path, seconds: float, settings: Sequence[str]) -> None:
    """Trains the base on for `seconds`, from its checkpoint in `work` where there is one."""
    words = [sys.executable, "-m", "flows.command_line", "pretrain", "--data", str(pack / "data")]
    words += ["--out", str(out / "base"), "--work", str(work), "--seconds", f"{seconds:.0f}"]
    subprocess.run([*words, *(word for setting in settings for word in ("--set", setting))], check=True)


def go(pack: Path, out: Path, seconds: float, share: float, tiny: bool) -> None:
    """Trains for `share` of the time and measures in what is left."""
    started = time.monotonic()
    work = pack / "work"
    out.mkdir(parents=True, exist_ok=True)
    start = pack / "base" if (pack / "base" / "model_index.json").exists() else "shipped"
    chosen = [f"pretrain.start={start}", f"prepare.size={SIDE}", "pretrain.steps=100000000", "pretrain.threads=8"]
    tiny_ones = ["pretrain.batch=4", "pretrain.zooms=1", "pretrain.warmup=1", "prepare.size=128"]
    large = ["pretrain.batch=512", "pretrain.learning_rate=8e-4", "pretrain.zooms=3", "pretrain.snapshot_every=2000"]
    training = max(1.0, (seconds - RESERVE) * share) if not tiny else 1.0
    train_base(pack, out, work, training, [*chosen, *(tiny_ones if tiny else large)])
    for part in split_folder(out / "base", out):
        print(f"{part}: {part.stat().st_size:,} bytes", flush=True)
    shutil.rmtree(out / "base")
    shutil.copyfile(work / "log.jsonl", out / "training.jsonl")
    left = seconds - (time.monotonic() - started)
    if left <= 0:
        return
    from tests.benchmarks import stable_diffusion_sweep

    words = ["--out", str(work / "sd2"), "--seconds", f"{left:.0f}", *(["--narrow"] if tiny else [])]
    stable_diffusion_sweep.main(words)
    shutil.copyfile(work / "sd2" / "sweep.csv", out / "sweep.csv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs, goes or joins."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    packing, going, joining = (verbs.add_parser(verb) for verb in ("pack", "go", "join"))
    for verb in (packing, going):
        verb.add_argument("--pack", type=Path, required=True)
    packing.add_argument("--data", type=Path, required=True)
    packing.add_argument("--leave-out", nargs="*", default=["Test"], help="words in paths that stay behind")
    for verb in (going, joining):
        verb.add_argument("--out", type=Path, required=True)
    going.add_argument("--seconds", type=float, default=520)
    going.add_argument("--share", type=float, default=0.6, help="of the time, for the base")
    going.add_argument("--tiny", action="store_true")
    joining.add_argument("--parts", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    if chosen.verb == "pack":
        write_pack(chosen.data, chosen.pack, chosen.leave_out)
    elif chosen.verb == "go":
        go(chosen.pack.resolve(), chosen.out.resolve(), chosen.seconds, chosen.share, chosen.tiny)
    else:
        join_folder(chosen.parts, "base", chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
