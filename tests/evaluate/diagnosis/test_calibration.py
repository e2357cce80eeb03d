"""Probabilities mean what they say, and what is far from every lesion is told so."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate.diagnosis.calibration import (
    OutlierScale,
    calibration_error,
    fit_temperature,
    held_out_probabilities,
    image_statistics,
    scaled,
)
from manifests.phantom.draw import draw_pair


def overconfident(count: int = 4000, factor: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `factor` times too large for the labels drawn from them."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.2, (count, 3))
    labels = np.array([rng.choice(3, p=row) for row in scaled(true, 1.0)])
    return true * factor, labels


def test_the_temperature_undoes_overconfidence() -> None:
    logits, labels = overconfident()
    assert fit_temperature(logits, labels) == pytest.approx(3.0, rel=0.1)


def test_held_out_probabilities_never_use_a_temperature_fitted_on_their_own_group() -> None:
    logits, labels = overconfident(60)
    groups = [f"lesion {i // 2}" for i in range(60)]
    found = held_out_probabilities(logits, labels, groups)
    own = held_out_probabilities(logits, np.where(np.arange(60) < 2, (labels + 1) % 3, labels), groups)
    assert np.allclose(found.sum(1), 1) and np.allclose(found[:2], own[:2])


def test_the_calibration_error_is_the_mean_gap_weighted_by_pairs() -> None:
    bins = [
        {"pairs": 3.0, "confidence": 0.9, "accuracy": 0.6},
        {"pairs": 1.0, "confidence": 0.5, "accuracy": 0.5},
        {"pairs": 0.0, "confidence": None, "accuracy": None},
    ]
    assert calibration_error(bins) == pytest.approx(0.225)
    assert calibration_error([]) is None


def test_what_is_no_skin_is_farther_out_than_every_held_out_lesion() -> None:
    lesions = np.stack([draw_pair(dx, 3, i, 96).image for i in range(30) for dx in ("mel", "nv", "bkl")])
    scale = OutlierScale.fit(image_statistics(lesions[:60]), image_statistics(lesions[60:]), 5)
    rng = np.random.default_rng(0)
    text = np.full((96, 96, 3), 255, np.uint8)
    text[10:90:8, 8:80] = 0
    strange = np.stack([
        rng.integers(0, 255, (96, 96, 3)).astype(np.uint8),
        np.full((96, 96, 3), (0, 90, 255), np.uint8),
        text,
        np.roll(lesions[0], 1, axis=-1),
    ])  # fmt: skip
    rows = image_statistics(strange)
    assert (scale.excess(rows, 0.01) > 1).all() and (scale.place(rows) == 1).all()
    assert (scale.excess(image_statistics(lesions[60:]), 0.05) > 1).mean() < 0.15


def test_an_outlier_scale_survives_its_file() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    scale = OutlierScale.fit(rows[:30], rows[30:], 3)
    again = OutlierScale.from_tensors(scale.tensors())
    assert np.allclose(scale.excess(rows, 0.1), again.excess(rows, 0.1))
