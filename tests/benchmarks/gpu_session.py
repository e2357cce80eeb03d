"""What a machine with one GPU and no network makes of a few minutes: a better base, and figures of Stable Diffusion 2.

    python tests/benchmarks/gpu_session.py pack --data SOURCE [--soft SOURCE] --pack FOLDER [--wheels NAME ...]
    python tests/benchmarks/gpu_session.py go --pack FOLDER --out FOLDER        there: at most --seconds in all
    python tests/benchmarks/gpu_session.py join --parts FOLDER --out FOLDER     here again

`pack` writes a small copy of the pictures and fetches the wheels that are missing there. `go` trains the shipped base
on, or the one in FOLDER/base of an earlier `go`, writes its averaged weights in half precision in parts that small
transfers take (`join` puts them together again), looks at what it draws, and then measures the Stable Diffusion 2
preset at full size on random weights. Called again on the same machine it goes on from its checkpoint in --work.
`--tiny` is the rehearsal on a CPU.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import cv2
import numpy as np

from augment.base.folder import BaseFolder, check_base
from augment.prompts import prompt_for
from augment.sampling import PairSampler
from augment.settings import SamplingSettings
from evaluate.fidelity.realism import mask_rows
from evaluate.studies.contact_sheet import contact_sheet
from manifests.fetch.unpacking import unpack
from manifests.format.reading import open_manifest
from manifests.pairs import PairArrays

PART = 15 << 20  # bytes
SIDE = 256
QUALITY = 65  # at 256 px, colour in full: half of the error in a view of 128 px that 176 px of quality 88 have
RESERVE = 60.0  # seconds for starting, writing and packing
DRAWN = 64  # pairs of a class that are drawn and looked at
PLATFORMS = [f"manylinux_2_{number}_x86_64" for number in (39, 35, 34, 31, 28, 27, 24, 17)] + ["manylinux2014_x86_64"]


def write_pack(sources: Sequence[Path], soft: Sequence[Path], pack: Path, leave_out: Sequence[str]) -> None:
    """A copy of the dataset folders `sources` and `soft` as one, of the same layout, in the file data.zip.

    leave_out: words; paths with one of them stay behind. soft: sources with softer pictures, which are sharpened
    (an unsharp mask of radius 1 and 60 %). A table that several sources have gets the rows of all.
    """
    pack.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for source in (*sources, *soft):
            for path in sorted(path for path in source.rglob("*") if path.is_file()):
                inside = path.relative_to(source)
                if not any(word in str(inside) for word in leave_out):
                    target = Path(temporary) / inside
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _write_smaller(path, target, source in soft)
        (pack / "data.zip").write_bytes(zipped(Path(temporary)))


def zipped(folder: Path) -> bytes:
    """The files of `folder` in one zip file, as they are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
    return stream.getvalue()


def _write_smaller(path: Path, target: Path, sharpen: bool) -> None:
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        rows = path.read_bytes().splitlines(keepends=True)
        with target.open("ab") as file:
            file.writelines(rows[1:] if target.stat().st_size and target.suffix == ".csv" else rows)
        return
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST_EXACT)
    else:
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        if sharpen:
            small = cv2.addWeighted(small, 1.6, cv2.GaussianBlur(small, (0, 0), 1), -0.6, 0)
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    jpeg += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    cv2.imwrite(str(target), small, [cv2.IMWRITE_PNG_BILEVEL, 1] if target.suffix == ".png" else jpeg)


def fetch_wheels(names: Sequence[str], pack: Path, python: str) -> None:
    """Wheels of the versions installed here, for Linux on x86-64 and the Python version `python`, without what they
    need themselves."""
    wanted = [f"{name}=={version(name)}" for name in names]
    words = ["--no-deps", "--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    words += [word for platform in PLATFORMS for word in ("--platform", platform)]
    into = ["--dest", str(pack / "wheels")]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *words, *into, *wanted], check=True)


def split_folder(folder: Path, out: Path, size: int = PART) -> list[Path]:
    """Writes `folder` as parts of one zip file, base.000 and so on, none larger than `size` bytes."""
    content, parts = zipped(folder), []
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
    if not (work / "data").exists():
        unpack(pack / "data.zip", work / "data")
    words = [sys.executable, "-m", "flows.command_line", "pretrain", "--data", str(work / "data")]
    words += ["--out", str(out / "base"), "--work", str(work), "--seconds", f"{seconds:.0f}"]
    subprocess.run([*words, *(word for setting in settings for word in ("--set", setting))], check=True)


def look_at(base: BaseFolder, real: PairArrays, out: Path, count: int) -> None:
    """Draws `count` pairs of each class from text; out/sheet.png shows some, out/looks.csv has their masks' figures
    beside the real ones and the pairs drawn in a second."""
    sampler, drawn = PairSampler(base, None, SamplingSettings(batch=count), "bfloat16"), []
    sampler.draw([prompt_for(real.classes[0])] * count, list(range(count)))
    started = time.monotonic()
    for dx in real.classes:
        drawn.append(sampler.draw([prompt_for(dx)] * count, list(range(count))))
    rate = count * len(drawn) / (time.monotonic() - started)
    images, masks = (np.concatenate([getattr(part, name) for part in drawn]) for name in ("images", "masks"))
    labels, names = np.repeat(np.arange(len(drawn)), count), [str(number) for number in range(len(images))]
    pairs = PairArrays(names, images, masks, labels, real.classes, names)
    cv2.imwrite(str(out / "sheet.png"), cv2.cvtColor(contact_sheet(pairs, 12), cv2.COLOR_RGB2BGR))
    with (out / "looks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("figure", "class", "drawn", "real"))
        writer.writerows((row.figure, row.dx, row.value, row.floor) for row in mask_rows(real, pairs))
        writer.writerow(("pairs drawn in a second", "all", round(rate, 2), ""))


def go(pack: Path, out: Path, work: Path, seconds: float, share: float, tiny: bool, more: Sequence[str] = ()) -> None:
    """Trains for `share` of the time, with `more` settings, and measures in what is left."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    start = pack / "base" if (pack / "base" / "model_index.json").exists() else "shipped"
    chosen = [f"pretrain.start={start}", f"prepare.size={SIDE}", "pretrain.steps=100000000", "pretrain.drawn_pairs=240"]
    chosen += ["prepare.validation_fraction=1e-4", "prepare.test_fraction=1e-4"]  # all but a few are learned
    tiny_ones = ["pretrain.batch=4", "pretrain.zooms=1", "pretrain.warmup=1", "prepare.size=128"]
    tiny_ones += ["pretrain.drawn_pairs=8"]
    large = [
        "pretrain.batch=512",
        "pretrain.zooms=3",
        "pretrain.learning_rate=8e-4",
        "pretrain.hold=1500000",
        "pretrain.threads=8",
    ]
    large += ["pretrain.checkpoint_every=2000", "pretrain.snapshot_every=2000", "pretrain.compile=false"]
    training = max(1.0, (seconds - RESERVE) * share) if not tiny else 1.0
    train_base(pack, out, work, training, [*chosen, *(tiny_ones if tiny else large), *more])
    for part in split_folder(out / "base", out):
        print(f"{part}: {part.stat().st_size:,} bytes", flush=True)
    shutil.copyfile(work / "log.jsonl", out / "training.jsonl")
    base, manifest = check_base(out / "base"), open_manifest(work / "real")
    real = manifest.arrays(split="train", size=base.unet_side * base.downscale, cache=work / "arrays")
    look_at(base, real, out, 2 if tiny else DRAWN)
    shutil.rmtree(out / "base")
    left = seconds - (time.monotonic() - started)
    if left <= 0 or share >= 1:
        return
    from tests.benchmarks import stable_diffusion_sweep

    words = ["--out", str(out), "--work", str(work / "sd2"), "--seconds", f"{left:.0f}"]
    stable_diffusion_sweep.main([*words, *(["--narrow"] if tiny else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs, goes or joins."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    packing, going, joining = (verbs.add_parser(verb) for verb in ("pack", "go", "join"))
    for verb in (packing, going):
        verb.add_argument("--pack", type=Path, required=True)
    packing.add_argument("--data", type=Path, action="append", required=True)
    packing.add_argument("--soft", type=Path, action="append", default=[], help="a source to be sharpened")
    packing.add_argument("--leave-out", nargs="*", default=["Test", "metadata"], help="words in paths that stay behind")
    packing.add_argument("--wheels", nargs="*", default=[], help="packages that are missing there")
    packing.add_argument("--python", default="3.12", help="the Python there")
    for verb in (going, joining):
        verb.add_argument("--out", type=Path, required=True)
    going.add_argument("--work", type=Path, help="checkpoints; none: inside the pack")
    going.add_argument("--seconds", type=float, default=520)
    going.add_argument("--share", type=float, default=0.6, help="of the time, for the base")
    going.add_argument("--set", action="append", default=[], help="a setting of pretrain")
    going.add_argument("--tiny", action="store_true")
    joining.add_argument("--parts", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    if chosen.verb == "pack":
        write_pack(chosen.data, chosen.soft, chosen.pack, chosen.leave_out)
        fetch_wheels(chosen.wheels, chosen.pack, chosen.python) if chosen.wheels else None
    elif chosen.verb == "go":
        pack = chosen.pack.resolve()
        work = (chosen.work or pack / "work").resolve()
        go(pack, chosen.out.resolve(), work, chosen.seconds, chosen.share, chosen.tiny, chosen.set)
    else:
        join_folder(chosen.parts, "base", chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
