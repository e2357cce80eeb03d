"""A torch dataset over a manifest: random access to decoded pairs, in as many workers as one likes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from manifests.decoding import decode_pair
from manifests.locating import RowLocator
from manifests.sampling_order import Draw, Order, SeededSampler, balanced, shuffled, weighted

if TYPE_CHECKING:
    from manifests.reading import Manifest

__all__ = ["Draw", "ManifestDataset", "SeededSampler", "balanced", "loader", "shuffled", "weighted"]

Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(image uint8 (H, W, 3), mask bool (H, W), the draw's random state) to the same two."""


class ManifestDataset(Dataset[dict[str, Any]]):
    """The chosen pairs of a manifest, sorted by pair id.

    An item is a dict: image uint8 (3, H, W) RGB, mask bool (H, W), label int (-1 unknown), index, pair_id.
    It is asked for by index, or by a `Draw` whose seed gives `transform` its random state, so that the same
    draw is the same item in whatever worker it is made.

    cache: None decodes each time; "memory" decodes all pairs now and keeps them; a folder does the same once
    into memory-mapped files that all workers, and later runs, share. A cache needs pairs of one size.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        split: str | None = None,
        dx: str | None = None,
        size: int | None = None,
        accepted_only: bool = True,
        cache: Literal["memory"] | Path | None = None,
        transform: Transform | None = None,
    ) -> None:
        self.size = size
        self.transform = transform
        self.rows = RowLocator(manifest, split, dx, accepted_only)
        self._cache_folder = cache if isinstance(cache, Path) else None
        self._arrays = partial(manifest.arrays, split, dx, size, accepted_only, self._cache_folder)
        self._decoded: tuple[np.ndarray, np.ndarray] | None = None
        if cache is not None:
            self._decode_all()

    @property
    def labels(self) -> np.ndarray:
        """Label of every pair, int64 (N,)."""
        return self.rows.labels

    @property
    def pair_ids(self) -> list[str]:
        """Id of every pair."""
        ids: list[str] = self.rows.pair_ids.to_pylist()
        return ids

    @property
    def group_ids(self) -> list[str]:
        """Lesion, patient or near-duplicate cluster of every pair."""
        groups: list[str] = self.rows.groups.to_pylist()
        return groups

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: int | Draw) -> dict[str, Any]:
        index, seed = (draw.index, draw.seed) if isinstance(draw, Draw) else (int(draw), 0)
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        image, mask = self._pair(index)
        if self.transform is not None:
            image, mask = self.transform(image, mask, np.random.default_rng(seed))
        return {
            "image": torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C")),
            "mask": torch.from_numpy(np.array(mask)),
            "label": int(self.labels[index]),
            "index": index,
            "pair_id": self.rows.pair_ids[index].as_py(),
        }

    def __getstate__(self) -> dict[str, Any]:
        # Memory-mapped arrays would be sent whole; the other side maps the same files again.
        state = self.__dict__.copy()
        if self._cache_folder is not None:
            state["_decoded"] = None
        return state

    def _pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self._decoded is None and self._cache_folder is not None:
            self._decode_all()
        if self._decoded is not None:
            return self._decoded[0][index], self._decoded[1][index]
        return decode_pair(*self.rows.pictures(index), self.size, self.rows.where(index))

    def _decode_all(self) -> None:
        pairs = self._arrays()
        self._decoded = pairs.images, pairs.masks


def loader(
    dataset: ManifestDataset, order: Order, *, seed: int, batch_size: int, workers: int = 0
) -> DataLoader[dict[str, Any]]:
    """Batches in the order that `order` and `seed` fix; the same ones for any number of workers.

    For the next epoch call `loader.sampler.set_epoch(epoch)`. Workers start from a clean process, so the transform
    must be importable: a fork would inherit the threads and locks of Arrow and of whatever else has run so far.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=SeededSampler(order, seed),
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    """OpenCV and torch would each start a thread per core in every worker."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
