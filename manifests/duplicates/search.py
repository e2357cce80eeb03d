"""Which pictures are worth comparing: those that share most rare visual words, by an inverted index in parts."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from manifests.duplicates.fingerprints import KEYPOINTS, root_descriptors
from manifests.progress import Progress
from manifests.storage.spool import RecordSpool
from manifests.workers import side_by_side

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COARSE = 256
FINE = 256
WORDS = COARSE * FINE
CELLS_PER_DESCRIPTOR = 2
_SAMPLED_PICTURES = 2048
_SEED = 20170101
CANDIDATES = 6
"""Of the pairs found when all ISIC 2017 pictures are compared with all, 98 % are among the first five."""
COMPARE_ALL_UP_TO = 150
INDEXED_AT_ONCE = 8192
"""A multiple of ASKED_AT_ONCE, so that no block of pictures stands on both sides of a part's end."""
ASKED_AT_ONCE = 256
_PER_PICTURE = (KEYPOINTS * CELLS_PER_DESCRIPTOR,)
WORDS_RECORD = np.dtype([("count", "<u2"), ("words", "<u2", _PER_PICTURE)])
WEIGHTED_RECORD = np.dtype([("count", "<u2"), ("words", "<u2", _PER_PICTURE), ("values", "<f4", _PER_PICTURE)])


def candidate_lists(
    fingerprints: RecordSpool, progress: Progress, pool: ThreadPoolExecutor, workers: int
) -> list[list[int]]:
    """For each picture the later ones that it shall be compared with, sorted."""
    count = len(fingerprints)
    if count <= COMPARE_ALL_UP_TO:
        return [list(range(place + 1, count)) for place in range(count)]
    with contextlib.closing(_spool_words(fingerprints, pool, workers)) as words:
        nearest = _most_words_shared(words, progress, pool, workers)
    later: list[list[int]] = [[] for _ in range(count)]
    for place in range(count):
        for other in nearest[place].tolist():
            if other >= 0:
                later[min(place, other)].append(max(place, other))
    return [sorted(set(others)) for others in later]


def _spool_words(fingerprints: RecordSpool, pool: ThreadPoolExecutor, workers: int) -> RecordSpool:
    """The words of every picture, in a file beside the fingerprints."""
    vocabulary = build_vocabulary(fingerprints)
    words = RecordSpool(fingerprints.path.with_suffix(".words"), WORDS_RECORD)

    def of_block(start: int) -> np.ndarray:
        return _words_of(fingerprints.block(start, start + ASKED_AT_ONCE), vocabulary)

    for records in side_by_side(pool, of_block, range(0, len(fingerprints), ASKED_AT_ONCE), workers):
        words.add(records)
    return words


def _words_of(block: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    counts = block["count"].astype(int)
    present = np.arange(KEYPOINTS) < counts[:, None]
    found = vocabulary.words(root_descriptors(block["descriptors"][present]))
    records = np.zeros(len(block), WORDS_RECORD)
    records["count"] = counts * found.shape[1]
    records["words"][np.arange(records["words"].shape[1]) < records["count"][:, None]] = found.ravel()
    return records


def _word_lists(block: np.ndarray) -> list[np.ndarray]:
    return [record["words"][: record["count"]].astype(np.int32) for record in block]


def _most_words_shared(words: RecordSpool, progress: Progress, pool: ThreadPoolExecutor, workers: int) -> np.ndarray:
    """For each picture the CANDIDATES others with most rare words in common, -1 for none: int32 (n, CANDIDATES).

    A part of the pictures is indexed at a time, so that memory stays flat, and those from it on are looked up in it:
    what two pictures share is the same both ways, and counts for the earlier one too.
    """
    count = len(words)
    best = np.zeros((count, CANDIDATES), np.float32)
    nearest = np.full((count, CANDIDATES), -1, np.int32)
    with contextlib.closing(_weighted(words)) as weighted:
        for start, indexed in weighted.blocks(INDEXED_AT_ONCE):
            stop, index = start + len(indexed), _matrix_of(indexed).T.tocsr()

            def look_up(asked: int, index: csr_matrix = index) -> csr_matrix:
                return _matrix_of(weighted.block(asked, asked + ASKED_AT_ONCE)) @ index  # (asked, indexed)

            those = range(start, count, ASKED_AT_ONCE)
            for asked, shared in zip(those, side_by_side(pool, look_up, those, workers), strict=True):
                rows, columns = slice(asked, asked + shared.shape[0]), slice(start, stop)
                if asked >= stop:
                    _keep_best_of_columns(best[columns], nearest[columns], shared, asked)
                _keep_best(best[rows], nearest[rows], shared, start, asked)
                progress(0, count, step="looking up", indexed=stop)
    return nearest


def _weighted(words: RecordSpool) -> RecordSpool:
    """Each picture's row of the word matrix, weighed once for all look-ups, in a file beside the words."""
    weights = _word_weights(words)
    weighted = RecordSpool(words.path.with_suffix(".weighted"), WEIGHTED_RECORD)
    for _, block in words.blocks(1024):
        matrix = word_matrix(_word_lists(block), weights)
        records = np.zeros(len(block), WEIGHTED_RECORD)
        records["count"] = np.diff(matrix.indptr)
        filled = np.arange(records["words"].shape[1]) < records["count"][:, None]
        records["words"][filled], records["values"][filled] = matrix.indices, matrix.data
        weighted.add(records)
    return weighted


def _matrix_of(records: np.ndarray) -> csr_matrix:
    from scipy import sparse

    filled = np.arange(records["words"].shape[1]) < records["count"][:, None]
    ends = np.concatenate([[0], np.cumsum(records["count"], dtype=np.int32)])
    indices = records["words"][filled].astype(np.int32)
    return sparse.csr_matrix((records["values"][filled], indices, ends), shape=(len(records), WORDS))


def _keep_best(best: np.ndarray, nearest: np.ndarray, shared: csr_matrix, start: int, asked: int) -> None:
    """Merge new scores (m, k) into the best so far of each row, in place.

    The columns of `shared` are the pictures from `start` on, its rows those from `asked` on.
    """
    owner = _rows_of(shared)
    better = (shared.data > best[owner, -1]) & (shared.indices + start != owner + asked)
    if better.sum() > 64 * len(best):
        # At first nearly everything is better than nothing: look at the few largest of each row alone, and one more,
        # for the picture itself may be among them. Equals are put in order by the merge.
        better &= shared.data >= _least_kept(shared, CANDIDATES + 1)[owner]
    _merge(best, nearest, owner[better], shared.indices[better] + start, shared.data[better])


def _keep_best_of_columns(best: np.ndarray, nearest: np.ndarray, shared: csr_matrix, asked: int) -> None:
    """The same for the pictures of the columns, none of which is among the rows."""
    better = shared.data > best[shared.indices, -1]
    _merge(best, nearest, shared.indices[better], _rows_of(shared)[better] + asked, shared.data[better])


def _rows_of(matrix: csr_matrix) -> np.ndarray:
    """The row of each stored value."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _merge(best: np.ndarray, nearest: np.ndarray, rows: np.ndarray, places: np.ndarray, scores: np.ndarray) -> None:
    """Let `places`, each scored for one of `rows`, compete with the best so far, in place; of equals the first wins."""
    touched, rows = np.unique(rows, return_inverse=True)
    if not len(rows):
        return
    all_rows = np.concatenate([np.repeat(np.arange(len(touched)), CANDIDATES), rows])
    scores = np.concatenate([best[touched].ravel(), scores])
    places = np.concatenate([nearest[touched].ravel(), places.astype(np.int32)])
    order = np.lexsort((places, -scores, all_rows))
    sorted_rows = all_rows[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_rows, sorted_rows)
    kept = order[rank < CANDIDATES]
    best[touched] = scores[kept].reshape(-1, CANDIDATES)
    nearest[touched] = places[kept].reshape(-1, CANDIDATES)


def _least_kept(shared: csr_matrix, count: int) -> np.ndarray:
    """The `count` largest value of each row, 0 where a row has fewer."""
    least = np.zeros(shared.shape[0], np.float32)
    for row, (start, stop) in enumerate(zip(shared.indptr[:-1], shared.indptr[1:], strict=True)):
        if stop - start >= count:
            least[row] = np.partition(shared.data[start:stop], -count)[-count]
    return least


def _word_weights(words: RecordSpool) -> np.ndarray:
    pictures_with_word = np.zeros(WORDS, np.int64)
    for _, block in words.blocks(1024):
        for one in _word_lists(block):
            pictures_with_word[np.unique(one)] += 1
    return rarity(pictures_with_word, len(words))


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
