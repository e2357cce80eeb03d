"""Near-duplicates: pictures of one lesion, found through flips, turns, crops, other colours and other photographs.

First visual words name a few candidates for each picture, then the keypoints of each candidate pair must agree on
one similarity. Memory does not grow with the number of pictures beyond a few bytes for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from manifests.duplicates.fingerprints import root_descriptors
from manifests.duplicates.match import LEAST_AGREEING, align, correlation, mutual_nearest
from manifests.duplicates.search import candidate_lists
from manifests.progress import Progress, no_progress
from manifests.storage.spool import RecordSpool

_COMPARED_AT_ONCE = 16
"""Candidates of one picture whose descriptors are in memory together."""


@dataclass(frozen=True)
class DuplicatePair:
    """Two places in the order of the fingerprints, and how alike they are."""

    first: int
    second: int
    agreeing: int
    correlation: float


def least_agreeing(pictures: int) -> int:
    """Keypoints that must agree when the thumbnails correlate at least .88 (see `is_duplicate`).

    A hundred times the pairs is a hundred times the chances to err: each tenfold of pictures over 3,000 asks for
    three keypoints more.
    """
    return LEAST_AGREEING + max(0, math.ceil(3 * math.log10(max(pictures, 1) / 3000)))


def is_duplicate(agreeing: int, likeness: float, least: int) -> bool:
    """Set by eye on the 2,172 pairs of ISIC 2017: every pair that this accepts shows one lesion; among those with
    one keypoint fewer, as many show two."""
    return (agreeing >= least and likeness >= 0.88) or (agreeing >= least + 2 and likeness >= 0.3)


def find_duplicates(
    fingerprints: RecordSpool, progress: Progress = no_progress, workers: int = 1
) -> list[DuplicatePair]:
    """All near-duplicate pairs, sorted; the same whatever the number of `workers` (threads).

    `progress` is called with the pictures compared out of all of them.
    """
    count, least = len(fingerprints), least_agreeing(len(fingerprints))
    found: list[DuplicatePair] = []
    with ThreadPoolExecutor(workers) as pool:
        lists = enumerate(candidate_lists(fingerprints, progress, pool, workers))
        while part := list(islice(lists, 256)):
            jobs = [pool.submit(_compare_all, chunk, fingerprints, least) for chunk in _shared_out(part, workers)]
            for job in jobs:
                found += job.result()
            progress(part[-1][0] + 1, count, found=len(found))
    return sorted(found, key=lambda p: (p.first, p.second))


def _shared_out(items: list[tuple[int, list[int]]], parts: int) -> Iterator[list[tuple[int, list[int]]]]:
    for part in range(parts):
        if chunk := items[part::parts]:
            yield chunk


def _compare_all(lists: list[tuple[int, list[int]]], fingerprints: RecordSpool, least: int) -> list[DuplicatePair]:
    found = []
    for place, others in lists:
        if others:
            record = fingerprints.block(place, place + 1)[0]
            for start in range(0, len(others) if record["count"] >= least else 0, _COMPARED_AT_ONCE):
                found += _compared(place, record, others[start : start + _COMPARED_AT_ONCE], fingerprints, least)
    return found


def _compared(
    place: int, record: np.ndarray, others: list[int], fingerprints: RecordSpool, least: int
) -> list[DuplicatePair]:
    """Those of `others` that show the same lesion as `record`, which stands at `place`."""
    records = fingerprints.at(others)
    own = root_descriptors(record["descriptors"][: record["count"]])  # (n, 128)
    theirs = root_descriptors(records["descriptors"])  # (m, KEYPOINTS, 128), zero where there is no keypoint
    similarity = (own @ theirs.reshape(-1, theirs.shape[-1]).T).reshape(len(own), len(others), -1)
    matched, nearest = mutual_nearest(similarity)  # both (n, m)
    found = []
    for k in np.flatnonzero(matched.sum(0) >= least):
        rows = np.flatnonzero(matched[:, k])
        alignment = align(record, records[k], rows, nearest[rows, k], least)
        if alignment is not None:
            likeness = correlation(record, records[k], alignment)
            if is_duplicate(alignment.agreeing, likeness, least):
                found.append(DuplicatePair(place, others[k], alignment.agreeing, likeness))
    return found
