"""Audits to report on, in the form in which a run has them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evaluate.copies.threshold import CopyThreshold
from evaluate.fidelity.scores import FIGURES, MASK_FIGURES
from evaluate.gates.report import gates_report
from evaluate.settings.gates import FidelitySettings
from manifests.format.reading import Manifest

ATTACKS = ("exact", "flip", "recolour", "crop", "recompress")


JUDGE = {
    "thresholds": {
        "mask_plausibility": {"bkl": 0.112, "mel": 0.125, "nv": 0.131},
        "mask_agreement": {"bkl": 0.611, "mel": 0.622, "nv": 0.633},
        "class_consistency": {"bkl": None, "mel": 0.201, "nv": 0.302},
    },
    "skipped": [{"gate": "class_consistency", "dx": "bkl", "reason": "6 training pairs, fewer than 8"}],
    "held_out": {"pairs": 34, "mean_dice": 0.83, "accuracy": 0.6, "recall": {"bkl": 0.4, "mel": 0.5, "nv": 0.9}},
}


def make_audits(synthetic: Manifest) -> dict[str, Any]:
    """fidelity, copies and gates as results.json holds them."""
    table = synthetic.table(accepted_only=False)
    return {"fidelity": make_fidelity(), "copies": make_copies(), "gates": gates_report(table, JUDGE)}


def make_fidelity() -> dict[str, Any]:
    """Figures of every class; bkl has too few images for any, nv no generated pair."""
    settings = FidelitySettings()
    return {
        "extractor": "downstream classifier (mobilenetv3_small_100)",
        "features": 576,
        "kid_subset": settings.kid_subset,
        "kid_subsets": settings.kid_subsets,
        "neighbours": settings.neighbours,
        "classes_in_all": ["bkl", "mel"],
        "all": {"generated": _figures(24, 0.02), "floor": _figures(24, 0.0)},
        "per_class": {
            "bkl": {"generated": _too_few(3), "floor": _too_few(3)},
            "mel": {"generated": _figures(20, 0.04), "floor": _figures(20, 0.0)},
            "nv": {"generated": _too_few(0), "floor": _figures(20, 0.0)},
        },
    }


def _figures(images: int, worse: float) -> dict[str, Any]:
    values = {"kid": 0.012 + worse, "fid": 31.4 + 100 * worse} | dict.fromkeys(FIGURES[2:], 0.81 - worse)
    assert set(values) == set(FIGURES)
    masks = dict.fromkeys(MASK_FIGURES, 0.021 + worse)
    beside = {"images": images, "reference_images": 24, "kid_deviation": 0.004, "reason": None}
    return beside | values | {"masks": masks}


def _too_few(images: int) -> dict[str, Any]:
    nothing = dict.fromkeys((*FIGURES, "kid_deviation"))
    reason = f"{images} images against 3, 10 of each are needed"
    counts = {"images": images, "reference_images": 3}
    return counts | nothing | {"masks": dict.fromkeys(MASK_FIGURES), "reason": reason}


def make_copies() -> dict[str, Any]:
    """Two candidates of 39 are copies, and one held-out real pair of 8 looks like one."""
    threshold = CopyThreshold(0.62, 0.55, 0.76, 34, 1, dict.fromkeys(ATTACKS, 1.0) | {"crop": 0.96})
    return {
        "descriptor": "whitened-detail-32",
        "threshold": threshold.value,
        "calibration": asdict(threshold),
        "all": _tally(39, 2),
        "per_class": {"bkl": _tally(21, 2), "mel": _tally(18, 0)},
        "accepted_copies": 0,
        "held_out": _tally(8, 1),
        "nearest": [],
    }


def _tally(pairs: int, copies: int) -> dict[str, Any]:
    quantiles = {"q50": 0.31, "q95": 0.42, "q100": 0.71 if copies else 0.5}
    return {"pairs": pairs, "copies": copies, "rate": copies / pairs, "quantiles": quantiles}
