"""A manifest in the layouts that other tools train from: nnU-Net's, a folder per class, a repository of the hub."""

from __future__ import annotations

import csv
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from manifests.errors import BadInput
from manifests.files import write_json
from manifests.format.reading import Manifest
from manifests.format.schema import ATTRIBUTES, file_stem, path_name
from manifests.hub import write_repository
from manifests.images import decode_stored_mask
from manifests.listing.source import harmless_cell
from manifests.png import encode_png, png_text
from manifests.progress import Progress, no_progress
from manifests.storage.base import explained

Target = Literal["nnunet", "folders", "hub"]
NNUNET_NAME = "Dataset501_Lesions"

_COLUMNS = ("pair_id", "dx", "split", "group_id", "origin", "source", "licence", *ATTRIBUTES)


def export_manifest(manifest: Manifest, to: Target, out: Path, progress: Progress = no_progress) -> int:
    """Write the accepted pairs into a new folder and return how many there were.

    "nnunet" makes `out/Dataset501_Lesions` in nnU-Net v2's raw layout: training and validation pairs in
    imagesTr and labelsTr, test pairs in imagesTs and labelsTs, the validation split in `splits_final.json`.
    "folders" makes `out/images/<split>/<dx>/`, `out/masks/<split>/<dx>/` and `out/metadata.csv`; masks that a segmenter
    found lie in `found_masks/` instead, where nobody takes them for given ones.
    "hub" makes `out` a dataset repository of the Hugging Face hub: Parquet files by split, a card, the provenance.
    The folder appears when it is complete. Raises BadInput if it is there already, if a pair without a given mask
    meets nnU-Net, or if a shard is damaged.
    """
    layouts: Mapping[str, Callable[[Manifest, Path, Progress], int]] = {
        "nnunet": _to_nnunet,
        "folders": _to_folders,
        "hub": write_repository,
    }
    if to not in layouts:
        raise BadInput(f"{to!r} is no export format; choose one of {', '.join(layouts)}.")
    target = Path(out) / NNUNET_NAME if to == "nnunet" else Path(out)
    building = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        with explained(str(target), "write"):
            if target.exists() and not (target.is_dir() and not any(target.iterdir())):
                raise BadInput(f"{target} is already there; remove it or export to another folder.")
            building.mkdir(parents=True)
            exported = layouts[to](manifest, building, progress)
            building.replace(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return exported


def _rows(manifest: Manifest, progress: Progress) -> Iterator[dict[str, Any]]:
    """Every accepted row, one row group in memory at a time."""
    done, total = 0, sum(sum(by_dx.values()) for by_dx in manifest.counts().values())
    for table in manifest.row_groups([*_COLUMNS, *manifest.mask_facts, "image", "mask"]):
        yield from table.to_pylist()
        done += len(table)
        progress(done, total)


def _to_nnunet(manifest: Manifest, folder: Path, progress: Progress) -> int:
    """See nnU-Net's documentation/dataset_format.md: one RGB file per case, labels 0 and 1."""
    cases: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for row in _rows(manifest, progress):
        where = f"{manifest.location}: pair {row['pair_id']}"
        if row["mask"] is None or row.get("mask_origin") == "predicted":
            what = "no mask" if row["mask"] is None else "a mask that a segmenter found and no given one"
            raise BadInput(f"{where} has {what}, which nnU-Net needs; export to folders instead.")
        case, part = file_stem(row["pair_id"]), "Ts" if row["split"] == "test" else "Tr"
        label = decode_stored_mask(row["mask"]["bytes"], f"{where}, mask").astype("uint8")
        _write_new(folder / f"images{part}" / f"{case}_0000.png", row["image"]["bytes"])
        _write_new(folder / f"labels{part}" / f"{case}.png", encode_png(label, png_text(row["mask"]["bytes"])))
        cases[row["split"]].append(case)
    training = len(cases["train"]) + len(cases["validation"])
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": training,
            "file_ending": ".png",
            "overwrite_image_reader_writer": "NaturalImage2DIO",
            "name": NNUNET_NAME,
            "description": f"manifest {manifest.header['manifest_id']} ({manifest.kind} pairs)",
            "licence": "; ".join(manifest.header["licences"]),
        },
    )
    if cases["validation"]:
        # nnU-Net looks for this file among its preprocessed data and splits at random without it.
        write_json(
            folder / "splits_final.json",
            [{"train": sorted(cases["train"]), "val": sorted(cases["validation"])}],
        )
    return training + len(cases["test"])


def _to_folders(manifest: Manifest, folder: Path, progress: Progress) -> int:
    exported = 0
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "mask", *_COLUMNS, "found_mask", "mask_confidence"])
        for row in _rows(manifest, progress):
            place = f"{row['split']}/{path_name(row['dx'])}/{file_stem(row['pair_id'])}.png"
            _write_new(folder / "images" / place, row["image"]["bytes"])
            kind = "found_masks" if row.get("mask_origin") == "predicted" else "masks"
            if row["mask"] is not None:
                _write_new(folder / kind / place, row["mask"]["bytes"])
            masks = {kind: f"{kind}/{place}"} if row["mask"] else {}
            facts = (harmless_cell(row[name] or "") for name in _COLUMNS)
            found = (masks.get("found_masks", ""), row.get("mask_confidence") or "")
            writer.writerow([f"images/{place}", masks.get("masks", ""), *facts, *found])
            exported += 1
    return exported


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that must not be there: two ids that differ only in case meet here on some systems."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise BadInput(f"{path.name}: two pairs get this file name; rename one of their ids.") from None
