"""Which pictures are worth comparing: those that share most rare visual words, by an inverted index in parts."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from manifests.fingerprints import KEYPOINTS, root_descriptors
from manifests.progress import Progress
from manifests.spool import RecordSpool
from manifests.vocabulary import CELLS_PER_DESCRIPTOR, WORDS, Vocabulary, build_vocabulary, rarity, word_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CANDIDATES = 6
"""Of the pairs found when all ISIC 2017 pictures are compared with all, 98 % are among the first five."""
COMPARE_ALL_UP_TO = 150
INDEXED_AT_ONCE = 8192
ASKED_AT_ONCE = 256
WORDS_RECORD = np.dtype([("count", "<u2"), ("words", "<u2", (KEYPOINTS * CELLS_PER_DESCRIPTOR,))])


def candidate_lists(fingerprints: RecordSpool, progress: Progress, pool: ThreadPoolExecutor) -> list[list[int]]:
    """For each picture the later ones that it shall be compared with, sorted."""
    count = len(fingerprints)
    if count <= COMPARE_ALL_UP_TO:
        return [list(range(place + 1, count)) for place in range(count)]
    with contextlib.closing(_spool_words(fingerprints, pool)) as words:
        nearest = _most_words_shared(words, progress, pool)
    later: list[list[int]] = [[] for _ in range(count)]
    for place in range(count):
        for other in nearest[place].tolist():
            if other >= 0:
                later[min(place, other)].append(max(place, other))
    return [sorted(set(others)) for others in later]


def _spool_words(fingerprints: RecordSpool, pool: ThreadPoolExecutor) -> RecordSpool:
    """The words of every picture, in a file beside the fingerprints."""
    vocabulary = build_vocabulary(fingerprints)
    words = RecordSpool(fingerprints.path.with_suffix(".words"), WORDS_RECORD)

    def of_block(start: int) -> np.ndarray:
        return _words_of(fingerprints.block(start, start + ASKED_AT_ONCE), vocabulary)

    for starts in _in_rounds(range(0, len(fingerprints), ASKED_AT_ONCE)):
        for records in pool.map(of_block, starts):
            words.add(records)
    return words


def _in_rounds(starts: range, length: int = 16) -> list[range]:
    """Slices of `starts`: a pool that is given all at once would hold all outcomes at once."""
    return [starts[i : i + length] for i in range(0, len(starts), length)]


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


def _most_words_shared(words: RecordSpool, progress: Progress, pool: ThreadPoolExecutor) -> np.ndarray:
    """For each picture the CANDIDATES others with most rare words in common, -1 for none: int32 (n, CANDIDATES).

    A part of the pictures is indexed at a time and all are looked up in it, so that memory stays flat.
    """
    count = len(words)
    weights = _word_weights(words)
    best = np.zeros((count, CANDIDATES), np.float32)
    nearest = np.full((count, CANDIDATES), -1, np.int32)
    for start, indexed in words.blocks(INDEXED_AT_ONCE):
        index = word_matrix(_word_lists(indexed), weights).T.tocsr()

        def look_up(asked: int, start: int = start, index: csr_matrix = index) -> None:
            block = words.block(asked, asked + ASKED_AT_ONCE)
            shared = (word_matrix(_word_lists(block), weights) @ index).toarray()  # (asked, indexed)
            own = np.arange(asked, asked + len(block)) - start
            itself = (own >= 0) & (own < shared.shape[1])
            shared[np.flatnonzero(itself), own[itself]] = 0
            rows = slice(asked, asked + len(block))
            _keep_best(best[rows], nearest[rows], shared, start)

        for starts in _in_rounds(range(0, count, ASKED_AT_ONCE)):
            list(pool.map(look_up, starts))
            progress(0, count, step="looking up", indexed=start + len(indexed))
    return nearest


def _keep_best(best: np.ndarray, nearest: np.ndarray, shared: np.ndarray, start: int) -> None:
    """Merge new scores (m, k) of pictures start..start+k-1 into the best so far, in place; ties keep the first."""
    better = shared > best[:, -1:]
    if better.sum() > 64 * len(best) and shared.shape[1] > CANDIDATES:
        # At first nearly everything is better than nothing: look at the few largest of each row alone. A stable
        # order among equals comes from the index, which breaks ties in the sort below.
        least = np.partition(shared, -CANDIDATES, axis=1)[:, -CANDIDATES]
        better &= shared >= least[:, None]
    rows, columns = np.nonzero(better)
    if not len(rows):
        return
    all_rows = np.concatenate([np.repeat(np.arange(len(best)), CANDIDATES), rows])
    scores = np.concatenate([best.ravel(), shared[rows, columns]])
    places = np.concatenate([nearest.ravel(), (columns + start).astype(np.int32)])
    order = np.lexsort((places, -scores, all_rows))
    sorted_rows = all_rows[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_rows, sorted_rows)
    kept = order[rank < CANDIDATES]
    best[:] = scores[kept].reshape(best.shape)
    nearest[:] = places[kept].reshape(nearest.shape)


def _word_weights(words: RecordSpool) -> np.ndarray:
    pictures_with_word = np.zeros(WORDS, np.int64)
    for _, block in words.blocks(1024):
        for one in _word_lists(block):
            pictures_with_word[np.unique(one)] += 1
    return rarity(pictures_with_word, len(words))
