"""Small datasets in the forms in which people have them, each with how it must be read; pictures are drawn."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from manifests.phantom.draw import write_csv, write_image, write_mask
from tests.manifests.sources.drawn_pairs import COUNT, DX, PAIRS, SIDE, Form, numbered, pictures, pictures_of
from tests.manifests.sources.tool_layouts import coco, cvat, labelme, nnunet, saved_dataset, voc, yolo


def bcn20000(out: Path) -> None:
    pictures(out, numbered("BCN_20k_train/bcn_20k_train/BCN_{:010d}.jpg"))
    rows = [(f"BCN_{n:010d}.jpg", DX[n].upper(), f"BCN_L{n // 2}", "train") for n in range(COUNT)]
    write_csv(out / "bcn_20k_train.csv", ("bcn_filename", "diagnosis", "lesion_id", "split"), rows)


def milk10k(out: Path) -> None:
    for n in range(COUNT):
        write_image(out / f"MILK10k_Training_Input/IL_{n // 2}/ISIC_{n}.jpg", PAIRS[n].image)
    truth = [(f"IL_{n}", float(n % 2 == 0), float(n % 2)) for n in range(COUNT // 2)]
    write_csv(out / "MILK10k_Training_GroundTruth.csv", ("lesion_id", "MEL", "NV"), truth)
    rows = [(f"IL_{n // 2}", "dermoscopic", f"ISIC_{n}", "CC-0", "Anonymous") for n in range(COUNT)]
    header = ("lesion_id", "image_type", "isic_id", "copyright_license", "attribution")
    write_csv(out / "MILK10k_Training_Metadata.csv", header, rows)


def derm7pt(out: Path) -> None:
    pictures(out / "images", numbered("NEL/Nel{:03d}.jpg"))
    rows = [(n, DX[n], 1, f"NEL/NEL{n + 100:03d}.jpg", f"NEL/NEL{n:03d}.jpg") for n in range(COUNT)]
    write_csv(out / "meta/meta.csv", ("case_num", "diagnosis", "seven_point_score", "clinic", "derm"), rows)
    for name, chosen in (("train", range(4)), ("valid", range(4, 6)), ("test", range(6, 8))):
        write_csv(out / f"meta/{name}_indexes.csv", ("indexes",), [(n,) for n in chosen])


def isic2019(out: Path) -> None:
    """With _downsampled in names, the folder in itself, a picture of UNK, and lesions of two pictures."""
    inside = "ISIC_2019_Training_Input/ISIC_2019_Training_Input"
    pictures(out / inside, numbered("ISIC_{:07d}_downsampled.jpg"))
    write_image(out / inside / "ISIC_0000099_downsampled.jpg", PAIRS[0].image[::-1])
    truth = [(f"ISIC_{n:07d}_downsampled", float(DX[n] == "mel"), float(DX[n] == "nv"), 0.0) for n in range(COUNT)]
    truth.append(("ISIC_0000099_downsampled", 0.0, 0.0, 1.0))
    write_csv(out / "ISIC_2019_Training_GroundTruth.csv", ("image", "MEL", "NV", "UNK"), truth)
    rows = [(row[0], 45.0, "back", f"BCN_{n // 2}", "female") for n, row in enumerate(truth)]
    header = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")
    write_csv(out / "ISIC_2019_Training_Metadata.csv", header, rows)


def isic2024(out: Path) -> None:
    """As on Kaggle, with the HDF5 copy of the pictures beside them."""
    pictures(out / "train-image/image", numbered("ISIC_{:07d}.jpg"))
    (out / "train-image.hdf5").write_bytes(b"\x89HDF\r\n")
    rows = [(f"ISIC_{n:07d}", int(DX[n] == "mel"), f"IP_{n // 4}", 50.0, "male", f"IL_{n}") for n in range(COUNT)]
    header = ("isic_id", "target", "patient_id", "age_approx", "sex", "lesion_id")
    write_csv(out / "train-metadata.csv", header, rows)


def isic_cli(out: Path) -> None:
    """Diagnoses in depths, of which the deepest that nearly all have tells classes; two pictures of each patient."""
    pictures(out, numbered("ISIC_{:07d}.jpg"))
    names = {"mel": ("Malignant", "Melanoma"), "nv": ("Benign", "Nevus")}
    rows = [(f"ISIC_{n:07d}", "Hospital", "CC-BY", *names[DX[n]], f"IL_{n}", f"IP_{n // 2}") for n in range(COUNT)]
    header = ("isic_id", "attribution", "copyright_license", "diagnosis_1", "diagnosis_2", "lesion_id", "patient_id")
    write_csv(out / "metadata.csv", header, rows)
    (out / "licenses").mkdir()
    (out / "licenses/CC-BY.txt").write_text("licence")


def pad_ufes_20(out: Path) -> None:
    names = [f"PAT_{n // 2}_{n}_{n}.png" for n in range(COUNT)]
    pictures(out, [f"imgs_part_{1 + n % 3}/{name}" for n, name in enumerate(names)])
    rows = [(f"PAT_{n // 2}", n, {"mel": "MEL", "nv": "NEV"}[DX[n]], names[n], "True") for n in range(COUNT)]
    write_csv(out / "metadata.csv", ("patient_id", "lesion_id", "diagnostic", "img_id", "biopsed"), rows)


def fitzpatrick17k(out: Path) -> None:
    pictures(out / "images", numbered("{:032x}.jpg"))
    rows = [(f"{n:032x}", n % 6 + 1, DX[n], "benign") for n in range(COUNT)]
    rows.append(("f" * 32, 1, "nv", "benign"))
    write_csv(out / "fitzpatrick17k.csv", ("md5hash", "fitzpatrick_scale", "label", "three_partition_label"), rows)


def ddi(out: Path) -> None:
    pictures(out, numbered("{:06d}.png"))
    rows = [(n, n, f"{n:06d}.png", 12, DX[n] == "mel", DX[n]) for n in range(COUNT)]
    write_csv(out / "ddi_metadata.csv", ("", "DDI_ID", "DDI_file", "skin_tone", "malignant", "disease"), rows)


def nested_classes(out: Path) -> None:
    for n in range(COUNT):
        part = "Test" if n >= 6 else "Train"
        write_image(out / f"Skin cancer ISIC/{part}/{DX[n]}/ISIC_{n}.jpg", PAIRS[n].image)
    (out / "__MACOSX/Train").mkdir(parents=True)
    (out / "__MACOSX/Train/._ISIC_0.jpg").write_bytes(b"x")


def flat_ph2(out: Path) -> None:
    pictures(out, numbered("trainx/X{}.bmp"), numbered("trainy/Y{}.bmp"))


def excel_flags(out: Path) -> None:
    pictures(out, numbered("images/IMD{:03d}.bmp"), numbered("images/IMD{:03d}_lesion.bmp"))
    rows = [(f"IMD{n:03d}", "X" * (DX[n] == "nv"), "X" * (DX[n] == "mel")) for n in range(COUNT)]
    write_csv(out / "table.csv", ("Image Name", "Common Nevus", "Melanoma"), rows)


def halves(number: int) -> list[np.ndarray]:
    """A mask in two parts that lie apart."""
    half = np.arange(SIDE) < SIDE // 2
    return [PAIRS[number].mask & half, PAIRS[number].mask & ~half]


def numbered_masks(out: Path) -> None:
    """Two masks of a picture beside it, with superpixels that are none; one picture has one alone."""
    pictures(out, numbered("IMG{}.png"))
    for n in range(COUNT):
        for k, part in enumerate(halves(n) if n else [PAIRS[n].mask], 1):
            write_mask(out / f"IMG{n}_segmentation_{k}.png", part)
        write_mask(out / f"IMG{n}_superpixels.png", PAIRS[n].mask)
    write_csv(out / "labels.csv", ("image", "dx"), [(f"IMG{n}.png", DX[n]) for n in range(COUNT)])


def masks_of_readers(out: Path) -> None:
    pictures(out / "images", numbered("a{}.png"))
    for reader in (1, 2, 3):
        for n in range(COUNT):
            write_mask(out / f"masks/reader{reader}/a{n}.png", PAIRS[n].mask)


def table_of_readings(out: Path) -> None:
    """A line for each mask and not for each picture."""
    pictures(out / "images", numbered("ISIC_{:07d}.jpg"))
    rows = []
    for n in range(COUNT):
        for reader in range(1 + n % 3):
            name = f"ISIC_{n:07d}_{reader}0c.png"
            write_mask(out / "segs" / name, PAIRS[n].mask)
            rows.append((f"ISIC_{n:07d}", name, f"A{reader}", DX[n]))
    write_csv(out / "seg_metadata.csv", ("ISIC_id", "seg_filename", "annotator", "dx"), rows)


def write_workbook(path: Path, lines: list[tuple[str, ...]]) -> None:
    """An Excel workbook of one sheet, as small as one can be."""
    form = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    rows = ("".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in line) for line in lines)
    with zipfile.ZipFile(path, "w") as book:
        sheet = "".join(f"<row>{row}</row>" for row in rows)
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {form}><sheetData>{sheet}</sheetData></worksheet>")


def ph2_workbook(out: Path) -> None:
    """PH2 as published but for its text table: a workbook with a legend, and an X under each case's diagnosis."""
    for n in range(COUNT):
        case = f"PH2Dataset/PH2 Dataset images/IMD{n:03d}/IMD{n:03d}"
        pictures_of(out, n, f"{case}_Dermoscopic_Image/IMD{n:03d}.bmp", f"{case}_lesion/IMD{n:03d}_lesion.bmp")
        write_mask(out / f"{case}_roi/IMD{n:03d}_R1_Label3.bmp", PAIRS[n].mask)
    header = ("Image Name", "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma", "Asymmetry")
    marks = {"mel": ("", "", "X"), "nv": ("X", "", "")}
    rows = [(f"IMD{n:03d}", "", *(("", "X", "") if n == 1 else marks[DX[n]]), "1") for n in range(COUNT)]
    legend = [("PH2 database",), ("", "Asymmetry", "0 - fully symmetric")]
    write_workbook(out / "PH2Dataset/PH2_dataset.xlsx", [*legend, header, *rows])


def several_tables(out: Path) -> None:
    """As a database is dumped: pictures, lesions and patients, by numbers that pictures bear too."""
    pictures(out, numbered("photos/{:06d}.JPG"))
    rows = [(100 + n, 20 + n // 2, f"{n:06d}.JPG") for n in range(COUNT)]
    write_csv(out / "images.csv", ("image_id", "lesion_id", "filename"), rows)
    lesions = [(20 + n, n // 2, DX[n], "arm") for n in range(COUNT // 2)]
    write_csv(out / "lesions.csv", ("lesion_id", "patient_id", "diagnosis", "site"), lesions)
    write_csv(out / "patients.csv", ("patient_id", "sex"), [(0, "m"), (1, "f")])


def folder_per_patient(out: Path) -> None:
    pictures(out, [f"P{n // 2:03d}/photo{n % 2}.jpg" for n in range(COUNT)])
    write_csv(out / "diagnoses.csv", ("patient", "diagnosis"), [(f"P{n:03d}", DX[n]) for n in range(COUNT // 2)])


def code_book(out: Path) -> None:
    """A table of what the classes are called, whose numbers are those of pictures too."""
    pictures(out, numbered("images/{}.jpg"))
    write_csv(out / "data.csv", ("image", "dx"), [(f"{n}.jpg", n % 2) for n in range(COUNT)])
    write_csv(out / "codebook.csv", ("code", "label"), [(0, "mel"), (1, "nv")])


def clinical_and_dermoscopic(out: Path) -> None:
    """Two pictures a row, of which the dermoscopic one is meant."""
    pictures(out, numbered("clin/c{}.jpg"))
    for n, pair in enumerate(PAIRS):
        write_image(out / f"derm/d{n}.jpg", pair.image[::-1])
    rows = [(n, f"clin/c{n}.jpg", f"derm/d{n}.jpg", DX[n]) for n in range(COUNT)]
    write_csv(out / "cases.csv", ("case_id", "clinical_image", "dermoscopic_image", "diagnosis"), rows)


def folders_with_facts(out: Path) -> None:
    """Hugging Face's imagefolder with a folder per class and a table that tells of patients alone."""
    for split, chosen in (("train", range(6)), ("test", range(6, 8))):
        for n in chosen:
            write_image(out / split / DX[n] / f"{n}.jpg", PAIRS[n].image)
        rows = [(f"{DX[n]}/{n}.jpg", 50, f"p{n // 2}") for n in chosen]
        write_csv(out / split / "metadata.csv", ("file_name", "age", "patient"), rows)


def classes_of_patients(out: Path) -> None:
    pictures(out, [f"{({'mel': 'Melanoma', 'nv': 'Nevus'})[DX[n]]}/Patient{n:03d}/{n}.jpg" for n in range(COUNT)])


def classes_of_cameras(out: Path) -> None:
    pictures(out, [f"{({'mel': 'Melanoma', 'nv': 'Nevus'})[DX[n]]}/camera{1 + n // 4}/{n}.jpg" for n in range(COUNT)])


def modes(out: Path) -> None:
    """Pictures in CMYK, with a palette, with an alpha channel and turned by EXIF; masks of 1, 65535, red and alpha."""
    upright = Image.Exif()
    upright[0x0112] = 3
    for n, pair in enumerate(PAIRS):
        picture, lesion = Image.fromarray(pair.image), pair.mask
        kinds = (picture.convert("CMYK"), picture.quantize(64), picture.convert("RGBA"), picture)
        name = out / f"images/m{n}.{'png' if n % 4 in (1, 2) else 'jpg'}"
        name.parent.mkdir(parents=True, exist_ok=True)
        kinds[n % 4].save(name, **({"exif": upright} if n % 4 == 3 else {}))
        red = np.stack([lesion * 255, lesion * 0, lesion * 0], axis=2).astype(np.uint8)
        clear = np.dstack([np.full((SIDE, SIDE, 3), 255), lesion * 255]).astype(np.uint8)
        deep = [lesion.astype(np.uint8), (lesion * 65535).astype(np.uint16), red, clear]
        (out / "masks").mkdir(exist_ok=True)
        mask = Image.fromarray(deep[n % 4])
        mask.save(out / f"masks/m{n}.png", **({"exif": upright} if n % 4 == 3 else {}))
    write_csv(out / "labels.csv", ("image", "dx"), [(f"m{n}", DX[n]) for n in range(COUNT)])


def jsonl(out: Path) -> None:
    for n in range(COUNT):
        write_image(out / f"{'test' if n >= 6 else 'train'}/{n % 6}.png", PAIRS[n].image)
    for split, chosen in (("train", range(6)), ("test", range(6, 8))):
        lines = [json.dumps({"file_name": f"{n % 6}.png", "label": DX[n]}) for n in chosen]
        (out / split / "metadata.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")


def isic2020(out: Path) -> None:
    pictures(out, numbered("jpeg/train/ISIC_{}.jpg"))
    pictures(out, ["jpeg/test/ISIC_99.jpg"])
    kinds = {"mel": "malignant", "nv": "benign"}
    rows = [(f"ISIC_{n}", f"IP_{n // 4}", "unknown", kinds[DX[n]], int(DX[n] == "mel")) for n in range(COUNT)]
    header = ("image_name", "patient_id", "diagnosis", "benign_malignant", "target")
    write_csv(out / "train.csv", header, rows)
    write_csv(out / "test.csv", ("image_name", "patient_id"), [("ISIC_99", "IP_9")])


def table_per_split(out: Path) -> None:
    """The splits stand in the names of the tables alone; ids have lost their zeros, as a spreadsheet loses them."""
    pictures(out, numbered("pictures/{:04d}.jpg"), numbered("masks/{:04d}_segmentation.png"))
    for split, chosen in (("train", range(6)), ("test", range(6, 8))):
        write_csv(out / f"{split}.csv", ("id", "dx", "patient_id"), [(n, DX[n], f"p{n // 2}") for n in chosen])


MALIGNANT: dict[str | None, int] = {"benign": 4, "malignant": 4, None: 1}
HELD: dict[str | None, int] = {"train": 6, "test": 2}
FORMS = {
    "bcn20000": Form("bcn20000", bcn20000, groups=4, splits={"train": COUNT}),
    "milk10k": Form("milk10k", milk10k, groups=4, splits={"train": COUNT}),
    "derm7pt": Form("derm7pt", derm7pt, groups=8, splits={"train": 4, "validation": 2, "test": 2}),
    "fitzpatrick17k": Form("fitzpatrick17k", fitzpatrick17k),
    "ddi": Form("ddi", ddi),
    "isic2019": Form("isic2019", isic2019, {"mel": 4, "nv": 4, None: 1}, groups=5, splits={"train": COUNT + 1}),
    "isic2024": Form("isic2024", isic2024, {"benign": 4, "malignant": 4}, groups=2, splits={"train": COUNT}),
    "cvat": Form("annotated", cvat, masks=COUNT),
    "coco": Form("annotated", coco, splits={"train": 6, "validation": 2}, masks=COUNT),
    "labelme": Form("annotated", labelme, masks=COUNT),
    "yolo": Form("annotated", yolo, splits={"train": 6, "validation": 2}, masks=COUNT),
    "isic-cli": Form("isic-archive", isic_cli, {"Melanoma": 4, "Nevus": 4}, groups=4),
    "pad-ufes-20": Form("pad-ufes-20", pad_ufes_20, groups=4),
    "nnunet": Form("nnunet", nnunet, {None: COUNT}, splits={"train": COUNT}, masks=COUNT),
    "voc": Form("voc", voc, splits={"train": 6, "validation": 2}, masks=COUNT),
    "saved-dataset": Form("saved-dataset", saved_dataset, splits=HELD, masks=COUNT),
    "nested classes": Form("folders", nested_classes, splits=HELD),
    "flat ph2": Form("folders", flat_ph2, {None: COUNT}, splits={"train": COUNT}, masks=COUNT),
    "ph2 workbook": Form("ph2", ph2_workbook, masks=COUNT),
    "several tables": Form("table", several_tables, {"mel": 4, "nv": 4}, groups=2),
    "folder per patient": Form("table", folder_per_patient, groups=4),
    "code book": Form("table", code_book, {"0": 4, "1": 4}),
    "clinical and dermoscopic": Form("table", clinical_and_dermoscopic, groups=8),
    "folders with facts": Form("folders", folders_with_facts, splits=HELD, groups=4),
    "classes of patients": Form("folders", classes_of_patients, {"Melanoma": 4, "Nevus": 4}, groups=8),
    "classes of cameras": Form("folders", classes_of_cameras, {"Melanoma": 4, "Nevus": 4}),
    "modes": Form("table", modes, masks=COUNT),
    "numbered masks": Form("table", numbered_masks, masks=COUNT),
    "masks of readers": Form("folders", masks_of_readers, {None: COUNT}, masks=COUNT),
    "table of readings": Form("table", table_of_readings, masks=COUNT),
    "flags of X": Form("table", excel_flags, {"common nevus": 4, "melanoma": 4}, masks=COUNT),
    "imagefolder jsonl": Form("imagefolder", jsonl, splits=HELD),
    "table per split": Form("table", table_per_split, groups=4, splits=HELD, masks=COUNT),
    "isic2020": Form("isic2020", isic2020, MALIGNANT, splits={"train": COUNT, "test": 1}, groups=3),
}
