"""Fine detail from real pairs: hairs, pores, grain and texture finer than the shipped generator draws.

A small latent denoiser places colours and shapes rightly and gets the finest structure wrong: incoherent, and without
a camera's grain. That band is taken from a real training pair of the same class instead, as in example-based
super-resolution (Freeman et al. 2002): the one that a pair began at, else, of some drawn at random, in all flips and
turns, the one whose lesion lies most like the generated one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from augment.training.latents import DIHEDRAL, dihedral
from manifests.pairs import PairArrays

_FINE = 1.5 / 128  # share of the side: deviation of the Gaussian that parts fine from coarse
_GRID = 16  # side on which masks are compared
_TRIED = 64  # pairs among which the best fit is taken


@dataclass(frozen=True)
class FineDetail:
    """The real training pairs of one class, S px like the generated ones; they may be memory-mapped.

    occupancy: float32 (N, 16, 16), share of each cell that is lesion; share: of the fine band that is replaced;
    seed: of which pairs are tried.
    """

    pairs: PairArrays
    occupancy: np.ndarray
    share: float
    seed: int

    @classmethod
    def of(cls, pairs: PairArrays, share: float, seed: int) -> FineDetail:
        """Looks at each mask of `pairs`, which must not be empty, once."""
        return cls(pairs, np.stack([_occupancy(mask) for mask in pairs.masks]), share, seed)

    def onto(self, images: np.ndarray, masks: np.ndarray, indices: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        """Images uint8 (B, S, S, 3) with the fine band of real pairs, and the groups of those.

        masks: (B, S, S); indices: of the candidates. What one gets depends on its index and mask alone.
        """
        sources = self.sources(masks, indices)
        return self.blended(images, sources), [self.pairs.group_ids[place] for place, _ in sources]

    def sources(
        self, masks: np.ndarray, indices: Sequence[int], fixed: Sequence[tuple[int | None, int | None]] = ()
    ) -> list[tuple[int, int]]:
        """The real pair and its flip or turn for each of masks (B, S, S), by the candidates' `indices`.

        fixed: pairs and views that are settled already; None leaves the choice to the best fit.
        """
        wanted = fixed or [(None, None)] * len(indices)
        return [self._source(*one) for one in zip(masks, indices, wanted, strict=True)]

    def blended(self, images: np.ndarray, sources: Sequence[tuple[int, int]]) -> np.ndarray:
        """Images uint8 (B, S, S, 3) with the fine band of `sources`."""
        reals = (dihedral(np.asarray(self.pairs.images[place]), view) for place, view in sources)
        return np.stack([with_fine_band(image, real, self.share) for image, real in zip(images, reals, strict=True)])

    def given_to(self, generated: PairArrays, indices: Sequence[int]) -> PairArrays:
        """The generated pairs with the fine band of real ones, whose groups they join; see `onto`."""
        images, groups = self.onto(generated.images, generated.masks, indices)
        return replace(generated, images=images, group_ids=groups)

    def _source(self, mask: np.ndarray, index: int, fixed: tuple[int | None, int | None]) -> tuple[int, int]:
        place, settled = fixed
        if place is not None and settled is not None:
            return place, settled
        digest = hashlib.sha256(f"detail/{self.seed}/{index}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        tried = rng.permutation(len(self.pairs))[:_TRIED] if place is None else np.array([place])
        own, others = _occupancy(mask), self.occupancy[tried]
        # Turning the one mask back instead of the many.
        backs = np.stack([_undone(own, view) for view in range(DIHEDRAL)])
        overlap = np.einsum("vij,nij->nv", backs, others)
        fit = 2 * overlap / np.maximum((own**2).sum() + (others**2).sum(axis=(1, 2))[:, None], 1e-6)
        best, view = np.unravel_index(int(fit.argmax()), fit.shape)
        return int(tried[best]), int(view)


def detailed(generated: PairArrays, real: PairArrays, share: float, seed: int) -> PairArrays:
    """Generated pairs of several classes with the fine band of real pairs of their own class, by their place."""
    images, groups = np.array(generated.images), list(generated.group_ids)
    for dx in generated.classes:
        places = np.flatnonzero(generated.labels == generated.classes.index(dx))
        own = real.of_class(dx)
        if len(places) and len(own):
            given = FineDetail.of(own, share, seed).given_to(generated.select(places), places.tolist())
            images[places] = given.images
            for place, group in zip(places, given.group_ids, strict=True):
                groups[place] = group
    return replace(generated, images=images, group_ids=groups)


def with_fine_band(image: np.ndarray, real: np.ndarray, share: float) -> np.ndarray:
    """An image uint8 (S, S, 3) in which `share` of the fine band is that of a `real` one."""
    drawn = image.astype(np.float32)
    changed = drawn + share * (_fine(real.astype(np.float32)) - _fine(drawn))
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _fine(image: np.ndarray) -> np.ndarray:
    """What a float32 image (S, S, 3) has beyond its blurred self."""
    return image - cv2.GaussianBlur(image, (0, 0), _FINE * image.shape[0])


def _occupancy(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), (_GRID, _GRID), interpolation=cv2.INTER_AREA)


def _undone(array: np.ndarray, view: int) -> np.ndarray:
    """The inverse of `dihedral`: flipped views are their own inverse."""
    return dihedral(array, view if view >= DIHEDRAL // 2 else -view % 4)
