"""Metrics agree with the libraries that everybody uses, weighted or not, and what cannot be computed says
so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter, generate_binary_structure
from scipy.spatial.distance import directed_hausdorff
from sklearn import metrics as sk

from evaluate.metrics.classification import (
    METRICS,
    calibration_bins,
    classification_figures,
    classification_names,
    classification_replicates,
    metric_groups,
    metric_info,
    weighted_auroc,
    weighted_average_precision,
)
from evaluate.metrics.masks import (
    SEGMENTATION_METRICS,
    boundary,
    boundary_distances,
    mask_scores,
    segmentation_figures,
    segmentation_replicates,
)
from evaluate.metrics.safety import SENSITIVITIES, THRESHOLDS

CLASSES, RARE = ("nv", "mel", "bkl"), ("mel", "bkl")


def predictions(pairs: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 1, 2, rng.choice(3, pairs - 3, p=[0.6, 0.25, 0.15])]
    logits = rng.standard_normal((pairs, 3)) + 1.2 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.round(probabilities, 2).astype(np.float32), labels  # rounded, so that scores tie


def test_even_weights_give_the_values_of_the_libraries() -> None:
    probabilities, labels = predictions()
    figures = classification_figures(probabilities, labels, CLASSES, RARE)
    even = classification_replicates(probabilities, labels, np.ones((1, len(labels))), CLASSES, RARE)
    assert figures.reasons == {}
    assert set(figures.values) == set(even) == set(classification_names(CLASSES, RARE))
    for name, value in figures.values.items():
        assert even[name][0] == pytest.approx(value, abs=2e-3 if name == "ece" else 1e-9), name


def test_weighted_values_are_those_of_scikit_learn() -> None:
    probabilities, labels = predictions()
    weights = np.random.default_rng(1).exponential(size=(4, len(labels)))
    ours = classification_replicates(probabilities, labels, weights, CLASSES, RARE)
    predicted = probabilities.argmax(axis=1)
    for row, w in enumerate(weights):
        assert ours["macro_f1"][row] == pytest.approx(sk.f1_score(labels, predicted, average="macro", sample_weight=w))
        assert ours["balanced_accuracy"][row] == pytest.approx(
            sk.balanced_accuracy_score(labels, predicted, sample_weight=w)
        )
        assert ours["auroc:mel"][row] == pytest.approx(
            sk.roc_auc_score(labels == 1, probabilities[:, 1], sample_weight=w)
        )
        assert ours["average_precision:bkl"][row] == pytest.approx(
            sk.average_precision_score(labels == 2, probabilities[:, 2], sample_weight=w)
        )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30), st.integers(0, 99))
def test_ranking_metrics_hold_for_any_scores_with_ties(pairs: list[tuple[int, bool]], seed: int) -> None:
    scores = np.array([score for score, _ in pairs], dtype=float)
    positive = np.array([is_positive for _, is_positive in pairs])
    if positive.all() or not positive.any():
        return
    w = np.random.default_rng(seed).exponential(size=(1, len(pairs))) + 0.01
    assert weighted_auroc(scores, positive, w)[0] == pytest.approx(
        sk.roc_auc_score(positive, scores, sample_weight=w[0])
    )
    assert weighted_average_precision(scores, positive, w)[0] == pytest.approx(
        sk.average_precision_score(positive, scores, sample_weight=w[0])
    )


def test_a_class_without_test_pairs_has_a_reason_and_no_value() -> None:
    probabilities, labels = predictions()
    kept = labels != 2
    figures = classification_figures(probabilities[kept], labels[kept], CLASSES, RARE)
    for name in ("recall:bkl", "f1:bkl", "auroc:bkl", "average_precision:bkl"):
        assert name not in figures.values
        assert figures.reasons[name] == "no test pair of class bkl"
    present = [figures.values["recall:nv"], figures.values["recall:mel"]]
    assert figures.values["balanced_accuracy"] == pytest.approx(np.mean(present))


def test_sensitivity_at_a_specificity_is_a_point_of_scikit_learn_s_curve_and_net_benefit_is_counted() -> None:
    probabilities, labels = predictions()
    weights = np.random.default_rng(1).exponential(size=(3, len(labels)))
    ours = classification_replicates(probabilities, labels, weights, CLASSES, RARE)
    scores, positive = probabilities[:, 1], labels == 1
    for row, w in enumerate(weights):
        false, true, _ = sk.roc_curve(positive, scores, sample_weight=w, drop_intermediate=False)
        for name, specificity in SENSITIVITIES.items():
            assert ours[f"{name}:mel"][row] == pytest.approx(true[false <= 1 - specificity].max())
        called = scores >= THRESHOLDS["net_benefit20"]
        benefit = (w @ (called & positive) - 0.25 * (w @ (called & ~positive))) / w.sum()
        assert ours["net_benefit20:mel"][row] == pytest.approx(benefit)
    assert metric_info("net_benefit20:mel").bounds[0] < -1
    assert not [name for name in classification_names(("nv", "bkl"), ()) if "sensitivity" in name]


def test_ranking_metrics_of_a_single_class_have_a_reason() -> None:
    probabilities, labels = predictions()
    kept = labels == 0
    figures = classification_figures(probabilities[kept], labels[kept], CLASSES, RARE)
    assert "auroc" not in figures.values and "one class" in figures.reasons["auroc"]
    assert np.isfinite(list(figures.values.values())).all()


def test_calibration_bins_hold_every_pair_and_explain_the_error() -> None:
    probabilities, labels = predictions()
    bins = calibration_bins(probabilities, labels)
    assert sum(b["pairs"] or 0 for b in bins) == len(labels)
    gaps = [(b["pairs"] or 0) * abs((b["confidence"] or 0) - (b["accuracy"] or 0)) for b in bins if b["pairs"]]
    error = classification_figures(probabilities, labels, CLASSES, RARE).values["ece"]
    assert sum(gaps) / len(labels) == pytest.approx(error, abs=2e-3)
    assert any(b["confidence"] is None for b in bins)


def test_a_metric_rests_on_the_lesions_of_its_class() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    groups = ["a", "b", "b", "c", "c", "d"]
    assert metric_groups("accuracy", labels, groups, CLASSES) == 4
    assert metric_groups("recall:mel", labels, groups, CLASSES) == 1
    assert 2 <= metric_groups("macro_f1", labels, groups, CLASSES) < 3


def disc(size: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def test_masks_that_agree_score_full_marks() -> None:
    truth = disc(64, 30, 33, 15)[None]
    assert dict(zip(SEGMENTATION_METRICS, mask_scores(truth, truth)[0], strict=True)) == {
        "dice": 1.0, "jaccard": 1.0, "thresholded_jaccard": 1.0, "hd95": 0.0, "boundary_f1": 1.0,
    }  # fmt: skip


def test_overlap_agrees_with_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index

    rng = np.random.default_rng(0)
    for _ in range(10):
        predicted, truth = rng.random((2, 16, 16)) < 0.4
        dice, jaccard, *_ = mask_scores(predicted[None], truth[None])[0]
        pair = torch.from_numpy(predicted.astype(int)), torch.from_numpy(truth.astype(int))
        assert dice == pytest.approx(float(binary_f1_score(*pair)), abs=1e-6)
        assert jaccard == pytest.approx(float(binary_jaccard_index(*pair)), abs=1e-6)


def test_a_lesion_under_the_threshold_counts_as_missed() -> None:
    truth, half = disc(64, 32, 32, 16)[None], disc(64, 32, 44, 16)[None]
    _, jaccard, thresholded, _, _ = mask_scores(half, truth)[0]
    assert 0 < jaccard < 0.65 and thresholded == 0
    _, jaccard, thresholded, _, _ = mask_scores(disc(64, 32, 34, 16)[None], truth)[0]
    assert jaccard > 0.65 and thresholded == jaccard


def test_boundary_distances_are_those_of_shifted_and_grown_discs() -> None:
    truth = disc(128, 64, 64, 30)[None]
    _, _, _, hd95, boundary_f1 = mask_scores(disc(128, 64, 64, 40)[None], truth)[0]
    assert hd95 * np.hypot(128, 128) / 100 == pytest.approx(10, abs=0.8)
    assert boundary_f1 == 0
    _, _, _, hd95, boundary_f1 = mask_scores(disc(128, 64, 65, 30)[None], truth)[0]
    assert hd95 * np.hypot(128, 128) / 100 <= 1.5
    assert boundary_f1 > 0.95
    assert boundary(truth[0]).sum() < truth.sum() / 5


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_hd95_is_that_of_scipy_s_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [gaussian_filter(rng.standard_normal((40, 56)), 3) > level for level in rng.uniform(-0.05, 0.08, 2)]
    if not all(mask.any() for mask in masks):
        return
    # A pixel is of the boundary if one of its four neighbours, or the image's end, lies outside.
    edges = [mask & ~binary_erosion(mask, generate_binary_structure(2, 1), border_value=0) for mask in masks]
    to_other = [distance_transform_edt(~edges[1])[edges[0]], distance_transform_edt(~edges[0])[edges[1]]]
    expected = max(np.percentile(distances, 95) for distances in to_other)
    found = mask_scores(masks[0][None], masks[1][None])[0, SEGMENTATION_METRICS.index("hd95")]
    assert found == pytest.approx(100 * expected / np.hypot(40, 56), abs=1e-6)
    largest = max(directed_hausdorff(*(np.argwhere(edge) for edge in order))[0] for order in (edges, edges[::-1]))
    assert max(distances.max() for distances in boundary_distances(*masks)) == pytest.approx(largest, abs=1e-6)


def test_an_empty_prediction_is_the_worst_one_and_never_undefined() -> None:
    truth, empty = disc(32, 16, 16, 8)[None], np.zeros((1, 32, 32), bool)
    assert mask_scores(empty, truth)[0].tolist() == [0, 0, 0, 100, 0]
    assert mask_scores(truth, empty)[0].tolist() == [0, 0, 0, 100, 0]
    assert mask_scores(empty, empty)[0].tolist() == [1, 1, 1, 0, 1]


def test_weighted_masks_are_weighted_means() -> None:
    scores = np.random.default_rng(0).random((7, 5))
    even = segmentation_replicates(scores, np.ones((1, 7)))
    assert {k: v[0] for k, v in even.items()} == pytest.approx(segmentation_figures(scores).values)
    only_third = segmentation_replicates(scores, np.eye(7)[2:3])
    assert only_third["jaccard"][0] == pytest.approx(scores[2, 1])


def test_no_mask_to_judge_gives_reasons() -> None:
    figures = segmentation_figures(np.zeros((0, 5)))
    assert not figures.values and set(figures.reasons) == set(SEGMENTATION_METRICS)


def test_every_metric_says_what_it_is() -> None:
    for name in [*classification_names(CLASSES, RARE), *SEGMENTATION_METRICS]:
        assert metric_info(name).title
    assert metric_info("recall:mel").title == "Recall of mel"
    assert not METRICS["hd95"].higher_is_better and METRICS["hd95"].bounds == (0.0, None)
