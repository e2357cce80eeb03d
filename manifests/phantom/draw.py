"""A procedural dermoscopy phantom: drawn, not photographed; masks as readers outline, classes that look different.

It is the data of the demonstration and of the tests. Nothing measured on it says anything about real skin.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from manifests.errors import BadInput
from manifests.pairs import PairArrays
from manifests.phantom.fields import traced_outline
from manifests.phantom.lesions import LESIONS, paint_lesion
from manifests.phantom.skin import add_bubbles, add_hairs, add_ink, add_optics, add_ruler, draw_skin
from manifests.png import DRAWN, PNG_SIGNATURE, with_png_text
from manifests.progress import Progress, no_progress

README = """These pictures are drawn by a program; none is a photograph and none shows a person.

They imitate the look of dermoscopy (skin tone, light, hairs, rulers, gel bubbles, and the colours and
structures of the lesion classes {classes}) so that software can be tried and tested without patient data.
The masks are outlines as a reader draws them, a few pixels off. Nothing learned from or measured on these
pairs says anything about real lesions: never use them for diagnosis, nor mix them into a dataset of photographs.

{pairs} pairs of {size} pixels, seed {seed}, in the folder layout of {layout}.
Licence: CC0-1.0.
"""
SPLIT_NAMES = {"train": "Training", "validation": "Validation", "test": "Test_v2"}
CHALLENGE_SHARES = {"nv": 0.72, "mel": 0.18, "bkl": 0.10}
SMALLEST_DATASET = 9


@dataclass(frozen=True)
class PhantomPair:
    """One drawn pair: image uint8 (S, S, 3) RGB, mask bool (S, S), as a reader outlines the lesion."""

    image: np.ndarray
    mask: np.ndarray
    dx: str


def draw_pair(dx: str, seed: int, index: int, size: int = 256) -> PhantomPair:
    """The pair number `index` of a phantom with `seed`: the same numbers draw the same pair."""
    rng = np.random.default_rng([seed, index, sorted(LESIONS).index(dx)])
    skin = draw_skin(rng, size)
    lesion = LESIONS[dx](rng, size)
    picture = paint_lesion(skin, lesion)
    for chance, add in ((0.10, add_ink), (0.42, add_hairs), (0.22, add_bubbles), (0.28, add_ruler)):
        if rng.random() < chance:
            picture = add(rng, picture)
    picture = add_optics(rng, picture)
    mask = traced_outline(rng, lesion.mask)
    return PhantomPair(np.clip(np.round(picture), 0, 255).astype(np.uint8), mask, dx)


def phantom_arrays(pairs: int, seed: int, size: int = 256) -> PairArrays:
    """`pairs` drawn pairs of nv, mel and bkl in equal numbers, in memory; nothing is written."""
    classes = tuple(sorted(CHALLENGE_SHARES))
    drawn = [draw_pair(classes[number % len(classes)], seed, number, size) for number in range(pairs)]
    names = [f"phantom:{seed}-{number:07d}" for number in range(pairs)]
    labels = np.arange(pairs, dtype=np.int64) % len(classes)
    images, masks = np.stack([pair.image for pair in drawn]), np.stack([pair.mask for pair in drawn])
    return PairArrays(names, images, masks, labels, classes, names)


def split_counts(pairs: int) -> dict[str, dict[str, int]]:
    """Pairs per split and class: long-tailed, and from 60 pairs on at least 8 per class to train on."""
    if pairs < SMALLEST_DATASET:
        raise BadInput(f"a phantom of {pairs} pairs is too small for three splits of three classes; ask for 9 or more")
    held_out = {"validation": max(3, round(0.12 * pairs)), "test": max(3, round(0.18 * pairs))}
    sizes = {"train": pairs - sum(held_out.values()), **held_out}
    counts = {}
    for split, total in sizes.items():
        least = min(8, max(1, total // 5)) if split == "train" else min(2, total // 3)
        rare = {dx: max(least, round(share * total)) for dx, share in CHALLENGE_SHARES.items() if dx != "nv"}
        counts[split] = {"nv": total - sum(rare.values()), **rare}
    return counts


def shuffled_classes(counts: dict[str, int], seed: Sequence[int]) -> list[str]:
    """The classes of a split in an order that an image's number does not give away."""
    classes = [dx for dx, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(list(seed)).permutation(len(classes))
    return [classes[i] for i in order]


def write_image(path: Path, image: np.ndarray, quality: int = 90) -> None:
    """JPEG, PNG or BMP by the ending of `path`; `image` uint8, RGB (H, W, 3) or grey (H, W).

    JPEG and PNG say that a program drew them, wherever they are copied to.
    """
    stored = image[..., ::-1] if image.ndim == 3 else image
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = path.suffix.lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if ending in (".jpg", ".jpeg") else []
    done, encoded = cv2.imencode(ending, stored, options)
    if not done:
        raise BadInput(f"{path} has an ending that images are not written with; use .jpg, .png or .bmp")
    path.write_bytes(_marked(encoded.tobytes()))


def _marked(content: bytes) -> bytes:
    """A JPEG or PNG with the word that it is drawn; others as they are."""
    if content.startswith(PNG_SIGNATURE):
        return with_png_text(content, {"Disclaimer": DRAWN})
    if not content.startswith(b"\xff\xd8\xff\xe0"):
        return content
    start = 4 + int.from_bytes(content[4:6], "big")  # a JFIF header stays the first segment
    comment = DRAWN.encode()
    return content[:start] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + content[start:]


def write_mask(path: Path, mask: np.ndarray) -> None:
    write_image(path, mask.astype(np.uint8) * 255)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")


def write_readme(out: Path, classes: Sequence[str], pairs: int, size: int, seed: int, layout: str) -> None:
    text = README.format(classes=", ".join(classes), pairs=pairs, size=size, seed=seed, layout=layout)
    (out / "README.txt").write_text(text, encoding="utf-8")


def start_folder(out: Path) -> None:
    """Make `out`; a phantom never overwrites files that are already there."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} already holds files; give a new or empty folder for the phantom")
    out.mkdir(parents=True, exist_ok=True)


def numbered_pairs(
    counts: dict[str, dict[str, int]], seed: int, size: int, progress: Progress
) -> Iterator[tuple[str, int, PhantomPair]]:
    """(split, number, pair) for every pair of a dataset, numbered through all splits."""
    total = sum(sum(of_class.values()) for of_class in counts.values())
    number = 0
    for position, (split, of_class) in enumerate(counts.items()):
        for dx in shuffled_classes(of_class, (seed, position)):
            yield split, number, draw_pair(dx, seed, number, size)
            number += 1
            progress(number, total)


def write_phantom(out: Path, pairs: int, seed: int, size: int = 256, progress: Progress = no_progress) -> None:
    """A long-tailed dataset of nv, mel and bkl in the ISIC 2017 challenge layout at `out`.

    Raises BadInput when `out` already holds files or `pairs` is under 9.
    """
    counts = split_counts(pairs)
    start_folder(out)
    truth: dict[str, list[tuple[str, str, str]]] = {split: [] for split in counts}
    for split, number, pair in numbered_pairs(counts, seed, size, progress):
        stem, image_id = f"ISIC-2017_{SPLIT_NAMES[split]}", f"ISIC_{number:07d}"
        write_image(out / f"{stem}_Data" / f"{image_id}.jpg", pair.image)
        write_mask(out / f"{stem}_Part1_GroundTruth" / f"{image_id}_segmentation.png", pair.mask)
        truth[split].append((image_id, _flag(pair.dx == "mel"), _flag(pair.dx == "bkl")))
    for split, rows in truth.items():
        table = out / f"ISIC-2017_{SPLIT_NAMES[split]}_Part3_GroundTruth.csv"
        write_csv(table, ("image_id", "melanoma", "seborrheic_keratosis"), rows)
    write_readme(out, tuple(CHALLENGE_SHARES), pairs, size, seed, "the ISIC 2017 challenge")


def _flag(value: bool) -> str:
    return "1.0" if value else "0.0"
