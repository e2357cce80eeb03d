"""The phantom in the folder layout of every source that can be read: for trying layouts out, and for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from manifests.errors import BadInput
from manifests.phantom.draw import (
    PhantomPair,
    draw_pair,
    shuffled_classes,
    start_folder,
    write_csv,
    write_image,
    write_mask,
    write_phantom,
    write_readme,
)

SEVEN_CLASSES = {"nv": 0.55, "mel": 0.13, "bkl": 0.12, "bcc": 0.07, "akiec": 0.05, "vasc": 0.04, "df": 0.04}
MALIGNANT = ("mel", "bcc", "akiec")
AGES, SEXES = (25, 40, 55, 70, 85), ("female", "male")
SITES = ("back", "face", "lower extremity", "trunk")


def rephotographed(pair: PhantomPair, seed: int) -> PhantomPair:
    """The same lesion as another picture of it shows it: turned, shifted, nearer or farther, in other light."""
    rng = np.random.default_rng([seed, 7])
    size = pair.mask.shape[0]
    middle = (size / 2, size / 2)
    turn = cv2.getRotationMatrix2D(middle, rng.uniform(0, 360), rng.uniform(1.0, 1.25))
    turn[:, 2] += rng.normal(0, 0.03 * size, 2)
    image = cv2.warpAffine(pair.image, turn, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    mask = cv2.warpAffine(pair.mask.astype(np.uint8), turn, (size, size), flags=cv2.INTER_NEAREST)
    light = image * rng.uniform(0.85, 1.15, 3) + rng.normal(0, 6, 3)
    return PhantomPair(np.clip(np.round(light), 0, 255).astype(np.uint8), mask.astype(bool), pair.dx)


def _pairs(classes: dict[str, float], pairs: int, seed: int, size: int) -> Iterator[tuple[int, PhantomPair]]:
    """`pairs` numbered pairs with the classes in about the given shares, at least one of each where there is room."""
    counts = {dx: max(1, round(share * pairs)) for dx, share in classes.items()}
    largest = max(counts, key=lambda dx: counts[dx])
    counts[largest] += pairs - sum(counts.values())
    if counts[largest] < 1:
        raise BadInput(f"{pairs} pairs are too few for the classes {', '.join(classes)}; ask for {3 * len(classes)}")
    for number, dx in enumerate(shuffled_classes(counts, (seed, 99))):
        yield number, draw_pair(dx, seed, number, size)


def _name(number: int) -> str:
    return f"ISIC_{number:07d}"


def write_isic2016(out: Path, pairs: int, seed: int, size: int) -> None:
    truth: dict[str, list[tuple[str, str]]] = {"Training": [], "Test": []}
    for number, pair in _pairs({"nv": 0.8, "mel": 0.2}, pairs, seed, size):
        section = "Test" if number % 4 == 3 else "Training"
        stem = f"ISBI2016_ISIC_Part1_{section}"
        write_image(out / f"{stem}_Data" / f"{_name(number)}.jpg", pair.image)
        write_mask(out / f"{stem}_GroundTruth" / f"{_name(number)}_Segmentation.png", pair.mask)
        malignant = pair.dx in MALIGNANT
        words = ("malignant" if malignant else "benign") if section == "Training" else f"{float(malignant)}"
        truth[section].append((_name(number), words))
    for section, rows in truth.items():
        # The official files have no header line: the first row stands in its place.
        write_csv(out / f"ISBI2016_ISIC_Part3_{section}_GroundTruth.csv", rows[0], rows[1:])


def write_isic2018(out: Path, pairs: int, seed: int, size: int, tasks: tuple[int, ...] = (1, 3)) -> None:
    """Task 1 and task 3 over the same images, as the real challenge does not: so that pairs can be made of them."""
    codes = sorted(SEVEN_CLASSES)
    truth: dict[str, list[list[object]]] = {}
    lesions: list[tuple[str, str, str]] = []
    for number, pair in _pairs(SEVEN_CLASSES, pairs, seed, size):
        section = {7: "Validation", 8: "Test", 9: "Test"}.get(number % 10, "Training")
        if 1 in tasks:
            write_image(out / f"ISIC2018_Task1-2_{section}_Input" / f"{_name(number)}.jpg", pair.image)
            truth_folder = out / f"ISIC2018_Task1_{section}_GroundTruth"
            write_mask(truth_folder / f"{_name(number)}_segmentation.png", pair.mask)
        if 3 in tasks:
            write_image(out / f"ISIC2018_Task3_{section}_Input" / f"{_name(number)}.jpg", pair.image)
            flags = [float(pair.dx == code) for code in codes]
            truth.setdefault(section, []).append([_name(number), *flags])
            if section == "Training":
                lesions.append((_name(number), f"HAM_{number // 2:07d}", "histopathology"))
    for section, rows in truth.items():
        name = f"ISIC2018_Task3_{section}_GroundTruth"
        write_csv(out / name / f"{name}.csv", ["image", *(code.upper() for code in codes)], rows)
    if lesions:
        header = ("image", "lesion_id", "diagnosis_confirm_type")
        write_csv(out / "ISIC2018_Task3_Training_LesionGroupings.csv", header, lesions)


def write_ham10000(out: Path, pairs: int, seed: int, size: int) -> None:
    """Every third lesion has a second picture."""
    rows: list[tuple[object, ...]] = []
    for lesion, pair in _pairs(SEVEN_CLASSES, pairs - pairs // 4, seed, size):
        views = [pair, rephotographed(pair, lesion)] if lesion % 3 == 0 and len(rows) + 2 <= pairs else [pair]
        for view in views:
            number = len(rows)
            part = 1 if number < pairs // 2 else 2
            write_image(out / f"HAM10000_images_part_{part}" / f"{_name(number)}.jpg", view.image)
            masks = out / "HAM10000_segmentations_lesion_tschandl"
            write_mask(masks / f"{_name(number)}_segmentation.png", view.mask)
            person = (AGES[lesion % 5], SEXES[lesion % 2], SITES[lesion % 4])
            rows.append((f"HAM_{lesion:07d}", _name(number), view.dx, "histo", *person))
    header = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    write_csv(out / "HAM10000_metadata.csv", header, rows)


def write_ph2(out: Path, pairs: int, seed: int, size: int) -> None:
    lines = ["|| Name   || Histological Diagnosis || Clinical Diagnosis || Asymmetry || Colors ||"]
    for number, pair in _pairs({"nv": 0.8, "mel": 0.2}, pairs, seed, size):
        name = f"IMD{number + 2:03d}"
        case = out / "PH2 Dataset images" / name
        write_image(case / f"{name}_Dermoscopic_Image" / f"{name}.bmp", pair.image)
        write_mask(case / f"{name}_lesion" / f"{name}_lesion.bmp", pair.mask)
        diagnosis = 2 if pair.dx == "mel" else number % 2
        lines.append(f"|| {name} ||                        ||         {diagnosis}          ||     0     || 3 4 ||")
    lines += ["", "Clinical Diagnosis: 0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma."]
    (out / "PH2_dataset.txt").write_text("\r\n".join(lines) + "\r\n", encoding="latin-1", newline="")


def write_folders(out: Path, pairs: int, seed: int, size: int) -> None:
    for number, pair in _pairs(SEVEN_CLASSES, pairs, seed, size):
        write_image(out / pair.dx / f"{number:04d}.jpg", pair.image)
        write_mask(out / "masks" / pair.dx / f"{number:04d}.png", pair.mask)


def write_table(out: Path, pairs: int, seed: int, size: int) -> None:
    rows = []
    for number, pair in _pairs({"nv": 0.7, "mel": 0.2, "bkl": 0.1}, pairs, seed, size):
        split = {7: "val", 8: "test", 9: "test"}.get(number % 10, "train")
        write_image(out / "images" / f"{number:04d}.png", pair.image)
        write_mask(out / "masks" / f"{number:04d}.png", pair.mask)
        person = (f"patient-{number}", split, AGES[number % 5], SEXES[number % 2], SITES[number % 4])
        rows.append((f"images/{number:04d}.png", f"masks/{number:04d}.png", pair.dx, *person))
    write_csv(out / "pairs.csv", ("image", "mask", "class", "patient", "split", "age", "sex", "site"), rows)


def write_parquet(out: Path, pairs: int, seed: int, size: int) -> None:
    """`write_table` with its CSV turned into Parquet."""
    import pyarrow.csv
    import pyarrow.parquet

    write_table(out, pairs, seed, size)
    table = pyarrow.csv.read_csv(out / "pairs.csv")
    pyarrow.parquet.write_table(table, out / "pairs.parquet")
    (out / "pairs.csv").unlink()


LAYOUTS: dict[str, Callable[[Path, int, int, int], None]] = {
    "isic2016": write_isic2016,
    "isic2017": write_phantom,
    "isic2018": write_isic2018,
    "ham10000": write_ham10000,
    "ph2": write_ph2,
    "folders": write_folders,
    "table": write_table,
    "parquet": write_parquet,
}


def write_layout(out: Path, layout: str, pairs: int, seed: int, size: int = 256) -> None:
    """A phantom dataset in one of LAYOUTS; BadInput for an unknown one or a folder that holds files already."""
    if layout not in LAYOUTS:
        raise BadInput(f"{layout!r} is no layout of the phantom; choose one of {', '.join(LAYOUTS)}")
    if layout == "isic2017":
        write_phantom(out, pairs, seed, size)
        return
    start_folder(out)
    LAYOUTS[layout](out, pairs, seed, size)
    write_readme(out, tuple(SEVEN_CLASSES), pairs, size, seed, layout)
