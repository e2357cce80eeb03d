"""Small datasets as annotation tools and libraries write them; pictures are drawn."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from manifests.phantom.draw import write_image
from tests.manifests.sources.drawn_pairs import COUNT, DX, PAIRS, SIDE, numbered, pictures


def corners_of(mask: np.ndarray) -> np.ndarray:
    """The outline of a mask as points (N, 2)."""
    (outline, *_), _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return outline[:, 0]


def cvat(out: Path) -> None:
    """Polygons of two labels, with a small one of hair and a box; one picture by another path than it lies at."""
    pictures(out, numbered("images/{:03d}.jpg"))
    lines = ["<?xml version='1.0' encoding='utf-8'?>", "<annotations>", "<version>1.1</version>"]
    for n, pair in enumerate(PAIRS):
        points = ";".join(f"{x}.00,{y}.00" for x, y in corners_of(pair.mask))
        folder = "project\\images" if n == 3 else "images"
        lines.append(f'<image id="{n}" name="{folder}/{n:03d}.jpg" width="{SIDE}" height="{SIDE}">')
        lines.append(f'<polygon label="{pair.dx}" points="{points}"/><polygon label="hair" points="0,0;47,0;47,47"/>')
        lines.append('<box label="ruler" xtl="0" ytl="0" xbr="9" ybr="9"/></image>')
    (out / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))


def coco(out: Path) -> None:
    """Polygons, and run lengths of one lesion; a file per split."""
    pictures(out, numbered("images/{:03d}.jpg"))
    names = [{"id": 1, "name": "mel"}, {"id": 2, "name": "nv"}]
    (out / "annotations").mkdir()
    for split, chosen in (("train", range(6)), ("val", range(6, 8))):
        images = [{"id": n, "file_name": f"{n:03d}.jpg", "width": SIDE, "height": SIDE} for n in chosen]
        shapes: list[dict] = []
        for n in chosen:
            flat: object = [corners_of(PAIRS[n].mask).ravel().tolist()]
            if n == 1:
                ends = np.flatnonzero(np.diff(PAIRS[n].mask.T.ravel().astype(int), prepend=0, append=0))
                flat = {"size": [SIDE, SIDE], "counts": np.diff(ends, prepend=0).tolist()}
            shapes.append({"id": n, "image_id": n, "category_id": 1 + n % 2, "segmentation": flat})
        document = {"images": images, "annotations": shapes, "categories": names}
        (out / f"annotations/instances_{split}.json").write_text("\ufeff" + json.dumps(document))


def labelme(out: Path) -> None:
    """Polygons of three labels, one of them hair; one picture by another path than it lies at."""
    pictures(out, numbered("p{}.jpg"))
    for n, pair in enumerate(PAIRS):
        shapes = [{"label": pair.dx, "points": corners_of(pair.mask).tolist(), "shape_type": "polygon"}]
        shapes.append({"label": "hair", "points": [[0, 0], [47, 0], [47, 47]], "shape_type": "polygon"})
        shapes.append({"label": "box", "points": [[0, 0], [9, 9]], "shape_type": "rectangle"})
        path = f"..\\pictures\\p{n}.jpg" if n == 3 else f"p{n}.jpg"
        document = {"shapes": shapes, "imagePath": path, "imageWidth": SIDE, "imageHeight": SIDE, "imageData": None}
        (out / f"p{n}.json").write_text(json.dumps(document))


def yolo(out: Path) -> None:
    """Names that come twice, and a class of hair."""
    for n, pair in enumerate(PAIRS):
        folder, name = ("train", f"p{n}") if n < 6 else ("valid", f"p{n - 6}")
        write_image(out / folder / "images" / f"{name}.jpg", pair.image)
        (out / folder / "labels").mkdir(parents=True, exist_ok=True)
        corners = " ".join(f"{value / SIDE:.6f}" for value in corners_of(pair.mask).ravel())
        hair = "2 0 0 1 0 1 1\n"
        (out / folder / "labels" / f"{name}.txt").write_text(f"{n % 2} {corners}\n{hair}")
    (out / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\nnc: 3\nnames: ['mel', 'nv', 'hair']\n"
    )
    (out / "README.roboflow.txt").write_text("8 pictures\n")


def nnunet(out: Path) -> None:
    folder = out / "nnUNet_raw/Dataset501_Lesions"
    pictures(folder, numbered("imagesTr/case{:03d}_0000.png"))
    for n in range(COUNT):
        write_image(folder / f"labelsTr/case{n:03d}.png", PAIRS[n].mask.astype(np.uint8))
    write_image(folder / "imagesTs/other_0000.png", PAIRS[0].image)
    (folder / "dataset.json").write_text("\ufeff" + json.dumps({"labels": {"background": 0, "lesion": 1}}))


def voc(out: Path) -> None:
    pictures(out, numbered("JPEGImages/p{:02d}.jpg"))
    for n in range(COUNT):
        for folder in ("SegmentationClass", "SegmentationObject"):
            colour = (250, 50, 83) if DX[n] == "mel" else (51, 221, 255)
            write_image(out / folder / f"p{n:02d}.png", PAIRS[n].mask[..., None] * np.array(colour, np.uint8))
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "mel:250,50,83::", "nv:51,221,255::"]
    (out / "labelmap.txt").write_text("\n".join(lines) + "\n")
    (out / "ImageSets/Segmentation").mkdir(parents=True)
    for name, chosen in (("train", range(6)), ("val", range(6, 8))):
        (out / f"ImageSets/Segmentation/{name}.txt").write_text("".join(f"p{n:02d}\n" for n in chosen))


def saved_dataset(out: Path) -> None:
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "mask": datasets.Image(), "label": datasets.ClassLabel(names=["mel", "nv"])}
    )
    parts = {}
    for split, chosen in (("train", range(6)), ("test", range(6, 8))):
        images, masks = [PAIRS[n].image for n in chosen], [PAIRS[n].mask.astype(np.uint8) * 255 for n in chosen]
        labels = [["mel", "nv"].index(DX[n]) for n in chosen]
        columns = {"image": images, "mask": masks, "label": labels}
        parts[split] = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(out / "saved"))
