"""Visual words (Sivic and Zisserman 2003): which pictures share rare local structures, without comparing all pairs.

The vocabulary has two levels, so that a descriptor finds its word with some hundred products, and is drawn from the
dataset itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from manifests.fingerprints import root_descriptors
from manifests.spool import RecordSpool

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COARSE = 256
FINE = 256
WORDS = COARSE * FINE
CELLS_PER_DESCRIPTOR = 2
_SAMPLED_PICTURES = 2048
_SEED = 20170101


@dataclass(frozen=True)
class Vocabulary:
    """coarse: float32 (COARSE, 128); fine: for each coarse cell float32 (up to FINE, 128); RootSIFT vectors."""

    coarse: np.ndarray
    fine: list[np.ndarray]

    def words(self, descriptors: np.ndarray) -> np.ndarray:
        """The words of RootSIFT vectors (n, 128), one in each of the nearest cells: int32 (n, 2)."""
        cells = _nearest(descriptors, self.coarse, min(CELLS_PER_DESCRIPTOR, len(self.coarse)))
        words = np.zeros(cells.size, np.int32)
        by_cell = np.argsort(cells, axis=None, kind="stable")
        of_cell, starts = np.unique(cells.ravel()[by_cell], return_index=True)
        for cell, members in zip(of_cell, np.split(by_cell, starts[1:]), strict=True):
            vectors = descriptors[members // cells.shape[1]]
            words[members] = cell * FINE + _nearest(vectors, self.fine[cell], 1)[:, 0]
        return words.reshape(cells.shape)


def _nearest(vectors: np.ndarray, centres: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` nearest centres of each vector, nearest first: (n, count)."""
    closeness = vectors @ centres.T - 0.5 * (centres**2).sum(1)
    if count == 1:
        return closeness.argmax(1)[:, None]
    first = closeness.argmax(1)
    closeness[np.arange(len(closeness)), first] = -np.inf
    return np.stack([first, closeness.argmax(1)], 1)


def build_vocabulary(fingerprints: RecordSpool) -> Vocabulary:
    """A vocabulary from an even sample of the pictures; the same fingerprints give the same words."""
    sample = _sampled_descriptors(fingerprints)
    rng = np.random.default_rng(_SEED)
    cells = int(min(COARSE, max(1, len(sample) // 64)))
    for_cells = root_descriptors(sample[rng.permutation(len(sample))[: 80 * cells]])
    cv2.setRNGSeed(_SEED)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1e-3)
    _, _, coarse = cv2.kmeans(for_cells, cells, None, stop, 1, cv2.KMEANS_RANDOM_CENTERS)
    fine: list[list[np.ndarray]] = [[] for _ in range(cells)]
    room = np.full(cells, FINE)
    for start in range(0, len(sample), 4096):
        vectors = root_descriptors(sample[start : start + 4096])
        for cell, vector in zip(_nearest(vectors, coarse, 1)[:, 0], vectors, strict=True):
            if room[cell]:
                room[cell] -= 1
                fine[cell].append(vector)
    filled = [np.array(members) if members else coarse[i : i + 1] for i, members in enumerate(fine)]
    return Vocabulary(coarse, filled)


def _sampled_descriptors(fingerprints: RecordSpool) -> np.ndarray:
    """uint8 (n, 128) descriptors of up to _SAMPLED_PICTURES pictures, spread evenly and shuffled."""
    count = len(fingerprints)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_PICTURES)).astype(int))
    kept = []
    for place in chosen:
        record = fingerprints.block(int(place), int(place) + 1)[0]
        kept.append(record["descriptors"][: record["count"]])
    sample = np.concatenate(kept)
    return sample[np.random.default_rng(_SEED).permutation(len(sample))]


def word_matrix(words: list[np.ndarray], weights: np.ndarray) -> csr_matrix:
    """Rows of unit length, one per picture: its words, each as often as it occurs (square root), times its weight."""
    from scipy import sparse

    lengths = [len(w) for w in words]
    columns = np.concatenate(words) if words else np.zeros(0, np.int32)
    rows = np.repeat(np.arange(len(words)), lengths)
    matrix = sparse.csr_matrix((np.ones(len(columns), np.float32), (rows, columns)), shape=(len(words), WORDS))
    matrix.data = np.sqrt(matrix.data) * weights[matrix.indices]
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    scale = (1 / np.maximum(norms, 1e-9)).astype(np.float32)
    matrix.data *= np.repeat(scale, np.diff(matrix.indptr))
    return matrix


def rarity(pictures_with_word: np.ndarray, pictures: int) -> np.ndarray:
    """Inverse document frequency, float32 (WORDS,): what every picture has tells nothing."""
    return np.log(np.maximum(pictures / (pictures_with_word + 1.0), 1.0)).astype(np.float32)
