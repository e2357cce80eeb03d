"""nnU-Net's raw layout, our own export included: masks without classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from manifests.errors import BadInput
from manifests.listing.csv_table import read_text
from manifests.listing.rows import Entry, rows_of
from manifests.listing.source import Rejection, Source, SourceListing, listing_is_not_empty, locate, locate_folder
from manifests.listing.tree import Picture, Tree, scan
from manifests.settings import PrepareSettings

NAME = "nnunet"
CHANNEL = "_0000"


def recognise(folder: Path) -> bool:
    return locate_folder(folder, "imagesTr") is not None and locate_folder(folder, "labelsTr") is not None


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """The training cases, and the test cases whose labels are there."""
    tree = scan(folder, settings)
    labels = {(p.folder[-1].lower()[-2:], p.stem): p.path for p in tree.pictures if _is_in(p, "labels")}
    validation = _validation_cases(folder)
    entries, masks, rejected = [], {}, tree.rejected(NAME)
    for picture in (p for p in tree.pictures if _is_in(p, "images")):
        case = picture.stem.removesuffix(CHANNEL)
        if case == picture.stem or f"{case}_0001" in tree.by_stem:
            raise BadInput(
                f"{picture.path} is one channel of several; save each case as one colour picture <case>_0000"
            )
        name = Path(picture.path).stem[: len(case)]
        mask = labels.pop((picture.folder[-1].lower()[-2:], case), None)
        if mask is None:
            rejected.append(
                Rejection(f"{NAME}:{name}", "missing mask", f"{picture.path} has no labels file", picture.path)
            )
            continue
        facts = {"split": "validation"} if case in validation else {}
        entries.append(Entry(picture, name, facts))
        masks[picture.path] = mask
    if not entries:
        _refuse_volumes(tree)
    notes: list[str] = []
    rows = rows_of(entries, masks, notes)
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(rows, rejected, _licence(folder), mask_place="its labels file", notes=tuple(notes))


def _is_in(picture: Picture, kind: str) -> bool:
    return bool(picture.folder) and picture.folder[-1].lower() in (f"{kind}tr", f"{kind}ts")


def _refuse_volumes(tree: Tree) -> None:
    volume = tree.others.get(".gz") or tree.others.get(".nii")
    if volume:
        raise BadInput(f"{volume} is a volume; only colour pictures are read: export the cases as PNG")


def _validation_cases(folder: Path) -> set[str]:
    """The cases that the first fold of splits_final.json validates on."""
    folds = _json(folder, "splits_final.json")
    named = folds[0].get("val", []) if isinstance(folds, list) and folds and isinstance(folds[0], dict) else []
    return {str(case).casefold() for case in named}


def _licence(folder: Path) -> str:
    facts = _json(folder, "dataset.json")
    return str(facts.get("licence") or facts.get("license") or "unknown") if isinstance(facts, dict) else "unknown"


def _json(folder: Path, name: str) -> Any:
    path = locate(folder, name)
    if path is None:
        return None
    try:
        return json.loads(read_text(path).lstrip("\ufeff"))
    except ValueError:
        raise BadInput(f"{path} is not JSON; mend it or remove it") from None


SOURCE = Source(
    NAME,
    "nnU-Net's raw layout, also as `evenderm export --to nnunet` writes it: masks without classes",
    """\
dataset.json
imagesTr/case_0000.png    labelsTr/case.png
imagesTs/other_0000.png   labelsTs/other.png
splits_final.json         whose first fold tells the validation cases, where it is there
""",
    recognise,
    read,
)
