"""Hugging Face datasets with the pictures inside: saved to disk as Arrow files, or Parquet files of the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manifests.errors import BadInput
from manifests.listing.columns import roles_of
from manifests.listing.csv_table import Table
from manifests.listing.embedded import embedded_path, opened_table, picture_columns
from manifests.listing.linking import Layout
from manifests.listing.names import key, names_masks, plain, split_of
from manifests.listing.rows import LESION, PATIENT, Entry, rows_of
from manifests.listing.source import Source, SourceListing, listing_is_not_empty
from manifests.listing.tree import Picture
from manifests.settings import PrepareSettings

NAME = "saved-dataset"
LAYOUT = Layout(NAME)


def recognise(folder: Path) -> bool:
    return any(True for _ in _files(folder))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Split and file of each part, in order."""
    if not folder.is_dir():
        return
    saved = sorted(path.parent for name in ("state.json", "*/state.json") for path in folder.glob(name))
    for part in saved:
        for path in sorted(part.glob("*.arrow")):
            if path.is_file():  # a pipe would wait forever
                yield part.name if part != folder else "", path
    for path in () if saved else sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
        if path.is_file() and _holds_pictures(path):
            yield path.name.partition("-")[0], path


def _holds_pictures(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(picture_columns(pq.read_schema(path)))
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return False


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Every row of every part; the folder or file name tells the split, ClassLabel names the classes."""
    entries: list[Entry] = []
    masks: dict[str, str | None] = {}
    class_place = "its label"
    group_places: dict[str, None] = {}
    for split, path in _files(folder):
        table, mask_column, image_column = _flat(path)
        roles = roles_of(table, lambda cell: False, settings.columns)
        class_place = roles.class_place(table) or class_place
        group_places |= {table.columns[roles.columns[r]]: None for r in (PATIENT, LESION) if r in roles.columns}
        for row, cells in enumerate(table):
            place = embedded_path(path, image_column, row)
            name = f"{split or path.stem}-{path.stem.rpartition('-')[0] and path.stem[-14:-9]}{row:06d}"
            inside = (split,) if split_of(split) else ()
            entry = Entry(Picture(place, inside, key(name)), name)
            entry.facts = {
                r: v for r in roles.columns if r not in ("image", "mask", "dx") and (v := roles.cell(r, cells))
            }
            entry.classes = dict.fromkeys([NAME], dx) if (dx := next(iter(roles.classes(table, cells)), None)) else {}
            entries.append(entry)
            masks[place] = embedded_path(path, mask_column, row) if mask_column else None
    notes: list[str] = []
    rows = rows_of(entries, masks, notes)
    listing_is_not_empty(rows, [], folder)
    group_place = " and ".join(group_places)
    return SourceListing(
        rows, mask_place="its mask", class_place=class_place, group_place=group_place, notes=tuple(notes)
    )


def _flat(path: Path) -> tuple[Table, str | None, str]:
    """The columns without pictures as text, the column of masks and that of images; BadInput without pictures."""
    import pyarrow as pa

    try:
        arrow = opened_table(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a readable Arrow file ({str(error)[:120]}); save the dataset again") from None
    pictures = picture_columns(arrow.schema)
    images = [name for name in pictures if not names_masks(name)] or pictures
    if not images:
        raise BadInput(f"{path} holds no pictures; save a dataset with an Image feature")
    mask = next((name for name in pictures if name not in images and names_masks(plain(name))), None)
    names = _class_names(arrow.schema)
    flat = [f.name for f in arrow.schema if not pa.types.is_nested(f.type)]
    columns = [[_text(value, names.get(name)) for value in arrow[name].to_pylist()] for name in flat]
    rows = [list(cells) for cells in zip(*columns, strict=True)] if flat else [[]] * len(arrow)
    return Table(path, tuple(flat), rows), mask, images[0]


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The names of the classes of each ClassLabel column."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: list(f["names"]) for name, f in features.items() if isinstance(f, dict) and "names" in f}


def _text(value: Any, names: list[str] | None) -> str:
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""
    return "" if value is None else str(value).strip()


SOURCE = Source(
    NAME,
    "a Hugging Face dataset saved to disk (save_to_disk), or Parquet files of the hub with the pictures inside",
    """\
dataset_dict.json         {"splits": ["train", "test"]}
train/data-00000-of-00001.arrow, state.json, dataset_info.json
test/...                  likewise; columns image, label and, where there are masks, mask
(or data/train-00000-of-00001.parquet)
""",
    recognise,
    read,
)
