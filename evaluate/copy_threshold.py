"""From which similarity on an image counts as a copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluate.gate_settings import CopySettings


@dataclass(frozen=True)
class CopyThreshold:
    """From which similarity on an image counts as a copy, and on what evidence.

    `real_limit` is the quantile of held-out real-to-real similarities, `planted_limit` the similarity that
    all but a few planted copies reach; the threshold lies a third of the way from the first to the second,
    or at the first where they overlap. `recall` is the share of planted copies of each kind found at the
    threshold.
    """

    value: float
    real_limit: float
    planted_limit: float
    real_pairs: int
    real_above: int
    recall: dict[str, float]


def set_threshold(real: np.ndarray, planted: dict[str, np.ndarray], settings: CopySettings) -> CopyThreshold:
    """The threshold between real-to-real similarities (N,) and those of planted copies by attack."""
    every = np.concatenate(list(planted.values()))
    planted_limit = float(np.quantile(every, 1 - settings.planted_recall))
    # Up to 2 % of real pairs may be the same lesion photographed twice; they are copies, and set no limit.
    doubled = real >= planted_limit
    apart = real[~doubled] if doubled.mean() <= 0.02 and not doubled.all() else real
    real_limit = float(np.quantile(apart, 1 - settings.false_alarm_rate)) if len(apart) else planted_limit
    value = round(real_limit + max(0.0, planted_limit - real_limit) / 3, 5)
    recall = {attack: float((scores >= value).mean()) for attack, scores in planted.items()}
    return CopyThreshold(value, real_limit, planted_limit, len(real), int((real >= value).sum()), recall)
