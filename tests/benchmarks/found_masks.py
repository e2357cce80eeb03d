"""How good found masks are: datasets with given masks, which are hidden from the shipped segmenter and then compared.

    python tests/benchmarks/found_masks.py --out .readme/found_masks.json --data ISIC2017=test --data HAM10000

Each `--data` is a dataset, after `=` the split of its source that is looked at. Pictures are evenly spaced over it.
Nothing is asserted. Speed is in pictures per second of one processor, reading and decoding not counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from manifests.files import write_json
from manifests.pairs import PairArrays
from manifests.settings import MaskSettings, PrepareSettings


def given_pairs(folder: Path, split: str, most: int, size: int) -> PairArrays:
    """At most `most` pairs of a dataset with given masks, evenly spaced, cut and scaled as prepare does."""
    from manifests.format.decoding import decode_pair
    from manifests.prepare.checks import CheckedRow, check_row
    from manifests.sources.recognition import find_source

    settings = PrepareSettings(size=size, duplicates=False)
    source, folder = find_source(folder, "auto")
    rows = [row for row in source.read(folder, settings).rows if row.mask and split in ("", row.split)]
    rows = sorted(rows, key=lambda row: row.image_id)
    rows = [rows[int(place)] for place in np.linspace(0, len(rows) - 1, min(most, len(rows)))]
    checked = [(row.image_id, check_row(row, row.image_id, True, settings)) for row in rows]
    kept = [(name, outcome) for name, outcome in checked if isinstance(outcome, CheckedRow)]
    decoded = [decode_pair(outcome.image_png, outcome.mask_png, None, name) for name, outcome in kept]
    names, labels = [name for name, _ in kept], np.zeros(len(kept), np.int64)
    images, masks = (np.stack(arrays) for arrays in zip(*decoded, strict=True))
    return PairArrays(names, images, masks, labels, ("lesion",), names)


def measured(pairs: PairArrays) -> dict[str, Any]:
    """How the masks that the shipped segmenter finds agree with the given ones."""
    from evaluate.found_masks.finder import SHIPPED_SEGMENTER, judged, shipped_calibration
    from evaluate.found_masks.segmenter import FindingSegmenter

    segmenter, settings = FindingSegmenter.load(SHIPPED_SEGMENTER), MaskSettings()
    least = shipped_calibration(settings)["least_confidence"]
    judged(segmenter, pairs.select(range(min(32, len(pairs)))))  # the first batch pays for what is loaded late
    started = time.process_time()
    agreement, confidence = judged(segmenter, pairs)
    seconds = time.process_time() - started
    kept = confidence >= least
    return {
        "pictures": len(pairs),
        "dice": round(float(agreement.mean()), 4),
        "dice_median": round(float(np.median(agreement)), 4),
        "failed": round(float((agreement < settings.least_dice).mean()), 4),
        "doubtful": round(float((~kept).mean()), 4),
        "dice_of_teachers": round(float(agreement[kept].mean()), 4),
        "failed_of_teachers": round(float((agreement[kept] < settings.least_dice).mean()), 4),
        "pictures_per_second": round(len(pairs) / seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="FOLDER[=SPLIT]")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for data in given.data:
        folder, _, split = data.partition("=")
        name = f"{Path(folder).name} {split}".strip()
        found[name] = measured(given_pairs(Path(folder), split, given.pictures, given.size))
        print(name, found[name], flush=True)
    if given.out:
        write_json(given.out, found)


if __name__ == "__main__":
    main()
