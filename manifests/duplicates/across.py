"""Lesions that two sets of pairs share, found as near-duplicates are found within one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from manifests.duplicates.find import find_duplicates
from manifests.duplicates.fingerprints import RECORD, fingerprint
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress
from manifests.storage.spool import RecordSpool


def shared_lesions(
    one: PairArrays, others: Sequence[PairArrays], work: Path, workers: int = 1, progress: Progress = no_progress
) -> list[tuple[str, str]]:
    """Ids in `one` and in any of `others` of pictures that show the same lesion; work: a folder for fingerprints.

    Pictures are zoomed to their masks only where every one of them has a mask: the two sides must look at the same.
    """
    zoomed = all(bool(mask.any()) for pairs in (one, *others) for mask in pairs.masks)
    work.mkdir(parents=True, exist_ok=True)
    fingerprints = RecordSpool(work / "fingerprints", RECORD)
    try:
        for pairs in (one, *others):
            for image, mask in zip(pairs.images, pairs.masks, strict=True):
                mask = np.ascontiguousarray(mask) if zoomed else None
                fingerprints.add(fingerprint(np.ascontiguousarray(image), mask))
        found = find_duplicates(fingerprints, progress, workers)
    finally:
        fingerprints.close()
    places = {(min(pair.first, pair.second), max(pair.first, pair.second)) for pair in found}
    ids = [pair_id for pairs in (one, *others) for pair_id in pairs.pair_ids]
    return [(ids[first], ids[second]) for first, second in sorted(places) if first < len(one) <= second]
