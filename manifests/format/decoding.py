"""Decoded pairs: from PNG in row groups to arrays in memory or in memory-mapped files."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from manifests.errors import BadInput
from manifests.files import new_mapped_array
from manifests.format.schema import ATTRIBUTES, canonical_json, is_doubtful
from manifests.images import decode_stored, decode_stored_mask, resize_pair
from manifests.pairs import PairArrays

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Manifest(Protocol):
    """What decoding needs of an open manifest; see `manifests.format.reading`."""

    @property
    def digest(self) -> str: ...

    @property
    def location(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def least_confidence(self) -> float: ...

    @property
    def mask_facts(self) -> list[str]: ...

    def table(self, columns: Any, split: str | None, dx: str | None, accepted_only: bool) -> pa.Table:
        """The chosen rows, sorted by pair_id."""

    def row_groups(self, columns: Any, split: str | None, dx: str | None, accepted_only: bool) -> Iterator[pa.Table]:
        """The chosen rows, one row group after another."""


def decoded_arrays(
    manifest: Manifest,
    split: str | None,
    dx: str | None,
    size: int | None,
    accepted_only: bool,
    cache: Path | None,
) -> PairArrays:
    """See Manifest.arrays."""
    wanted = ["pair_id", "label", "group_id", *ATTRIBUTES, *manifest.mask_facts]
    index = manifest.table(wanted, split, dx, accepted_only)
    pair_ids: list[str] = index["pair_id"].to_pylist()
    place = {pair_id: row for row, pair_id in enumerate(pair_ids)}
    predicted, doubtful = _found_masks(index, manifest.least_confidence)

    def fill(images: np.ndarray, masks: np.ndarray) -> None:
        for table in manifest.row_groups(["pair_id", "image", "mask"], split, dx, accepted_only):
            for pair_id, image, mask in decode_rows(table, size, manifest.location):
                if image.shape != images.shape[1:]:
                    raise BadInput(f"{manifest.location}: pair {pair_id} is {_sides(image)} and others "
                                   f"{_sides(images[0])}; name one size.")  # fmt: skip
                images[place[pair_id]] = image
                masks[place[pair_id]] = False if pair_id in doubtful else mask

    side = (size, size) if size is not None else _first_sides(manifest, split, dx, accepted_only)
    if cache is None:
        images, masks = _in_memory((len(pair_ids), *side), fill)
    else:
        key = canonical_json([manifest.digest, split, dx, size, accepted_only])
        folder = Path(cache) / f"arrays-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        images, masks = cached_arrays(folder, (len(pair_ids), *side), fill)
    labels = index["label"].to_numpy()
    groups = index["group_id"].to_pylist()
    return PairArrays(pair_ids, images, masks, labels, manifest.classes, groups, known_attributes(index), predicted)


def _found_masks(table: pa.Table, least: float) -> tuple[np.ndarray | None, set[str]]:
    """Whether each mask was found, None where none was, and the pairs whose found mask is doubtful."""
    import numpy as np

    rows = table.to_pylist()
    predicted = np.array([row.get("mask_origin") == "predicted" for row in rows], bool)
    doubtful = {row["pair_id"] for row in rows if is_doubtful(row, least)}
    return predicted if predicted.any() else None, doubtful


def known_attributes(table: pa.Table) -> list[Mapping[str, str]]:
    """The attributes that each row of `table` has."""
    rows = table.select(ATTRIBUTES).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def decode_rows(table: pa.Table, size: int | None, where: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(pair_id, image uint8 (H, W, 3), mask bool (H, W)) of each row; BadInput names the pair it fails on."""
    ids = table["pair_id"].to_pylist()
    for pair_id, image, mask in zip(ids, table["image"].to_pylist(), table["mask"].to_pylist(), strict=True):
        yield pair_id, *decode_pair(image["bytes"], mask and mask["bytes"], size, f"{where}: pair {pair_id}")


def decode_pair(
    image_png: bytes, mask_png: bytes | None, size: int | None, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """image uint8 (H, W, 3) and mask bool (H, W), which is empty where there is none."""
    import numpy as np

    image = decode_stored(image_png, f"{where}, image")
    if image.ndim != 3:
        raise BadInput(f"{where}, image is grey; restore the shard from its original.")
    mask = np.zeros(image.shape[:2], bool) if mask_png is None else decode_stored_mask(mask_png, f"{where}, mask")
    if mask.shape != image.shape[:2]:
        raise BadInput(f"{where}: the mask is {_sides(mask)} and the image {_sides(image)}; restore the shard.")
    return resize_pair(image, mask, size)


Fill = Callable[["np.ndarray", "np.ndarray"], None]


def cached_arrays(folder: Path, shape: tuple[int, int, int], fill: Fill) -> tuple[np.ndarray, np.ndarray]:
    """Memory-mapped images (N, H, W, 3) and masks (N, H, W) in a folder, filled once.

    The folder appears when it is complete, so a killed run leaves nothing that looks like a cache.
    """
    import numpy as np

    expected = canonical_json({"shape": list(shape)})
    if not _is_cache(folder, expected):
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
        building.mkdir()
        try:
            images = new_mapped_array(building / "images.npy", np.uint8, (*shape, 3))
            masks = new_mapped_array(building / "masks.npy", np.bool_, shape)
            fill(images, masks)
            images.flush()
            masks.flush()
            (building / "complete.json").write_text(expected)
            _put_in_place(building, folder, expected)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return images, np.load(folder / "masks.npy", mmap_mode="r", allow_pickle=False)


def _put_in_place(building: Path, folder: Path, expected: str) -> None:
    """What another worker has put there meanwhile stays, for it may be in use."""
    try:
        building.replace(folder)
    except OSError:
        if not _is_cache(folder, expected):
            shutil.rmtree(folder, ignore_errors=True)
            building.replace(folder)


def _is_cache(folder: Path, expected: str) -> bool:
    try:
        return (folder / "complete.json").read_text() == expected
    except OSError:
        return False


def _in_memory(shape: tuple[int, int, int], fill: Fill) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    images, masks = np.empty((*shape, 3), np.uint8), np.empty(shape, bool)
    fill(images, masks)
    return images, masks


def _first_sides(manifest: Manifest, split: str | None, dx: str | None, accepted_only: bool) -> tuple[int, int]:
    """(height, width) of the first chosen pair, (0, 0) if there is none."""
    for table in manifest.row_groups(["pair_id", "image", "mask"], split, dx, accepted_only):
        for _, image, _ in decode_rows(table.slice(0, 1), None, manifest.location):
            return image.shape[0], image.shape[1]
    return 0, 0


def _sides(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
