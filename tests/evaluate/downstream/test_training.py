"""Real training steps at a tiny size: the loss falls, a seed repeats exactly, weights load as promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from evaluate.downstream.classifier import Classifier, build_classifier, selection_score
from evaluate.downstream.mixing import mix_classes, mix_masks
from evaluate.downstream.segmenter import Segmenter
from evaluate.downstream.training import (
    Regime,
    Stage,
    check_updates,
    draw_plan,
    pick_precision,
    uniform_regime,
)
from manifests.errors import BadInput, EvendermError
from manifests.progress import StopRequested
from tests.evaluate.downstream.small_trainings import CLASSES, TEST, TINY, TINY_MASKS, TRAIN, VALIDATION, lesions

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    fitted = Classifier(TINY, CLASSES)
    fitted.fit(TRAIN, seed=3, validation=VALIDATION)
    return fitted


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    fitted = Segmenter(TINY_MASKS, CLASSES)
    fitted.fit(TRAIN, seed=3, validation=VALIDATION)
    return fitted


def test_a_classifier_learns_what_separates_the_classes(classifier: Classifier) -> None:
    probabilities = classifier.probabilities(TEST.images)
    assert probabilities.shape == (24, 2) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert selection_score(probabilities, TEST.labels) > 0.9


def test_a_segmenter_finds_the_lesion_at_any_size(segmenter: Segmenter) -> None:
    found = segmenter.masks(TEST.images)
    assert found.shape == TEST.masks.shape and found.dtype == np.float32
    overlap = 2 * ((found > 0.5) & TEST.masks).sum() / ((found > 0.5).sum() + TEST.masks.sum())
    assert overlap > 0.6
    assert segmenter.masks(lesions(2, 5, size=48).images).shape == (2, 48, 48)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(classifier: Classifier) -> None:
    again, other = Classifier(TINY, CLASSES), Classifier(TINY, CLASSES)
    torch.rand(7)  # whatever ran before must not matter
    again.fit(TRAIN, seed=3, validation=VALIDATION)
    other.fit(TRAIN, seed=4, validation=VALIDATION, updates=4)
    np.testing.assert_array_equal(again.probabilities(TEST.images), classifier.probabilities(TEST.images))
    assert not np.array_equal(other.probabilities(TEST.images), classifier.probabilities(TEST.images))


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_saved_and_loaded_models_agree(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    model.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{kind}.json", f"{kind}.safetensors"]
    loaded = type(model).load(tmp_path)
    assert loaded.classes == CLASSES and loaded.settings == model.settings
    np.testing.assert_array_equal(loaded.features(TEST.images), model.features(TEST.images))
    (tmp_path / f"{kind}.safetensors").write_bytes(b"not weights")
    with pytest.raises(BadInput, match=f"no usable {kind}"):
        type(model).load(tmp_path)


def test_features_are_one_row_per_image(classifier: Classifier, segmenter: Segmenter) -> None:
    assert classifier.features(TEST.images).shape == (24, 96)
    assert segmenter.features(TEST.images).shape[0] == 24
    assert classifier.probabilities(TEST.images[:0]).shape == (0, 2)


def test_progress_is_told_each_update_and_can_stop() -> None:
    told: list[tuple[int, int, float]] = []

    def progress(done: int, total: int, **figures: float | str) -> None:
        told.append((done, total, float(figures["loss"])))
        if done == 3:
            raise StopRequested

    with pytest.raises(StopRequested):
        Classifier(TINY, CLASSES).fit(TRAIN, progress=progress)
    assert [done for done, _, _ in told] == [1, 2, 3] and {total for _, total, _ in told} == {24}
    assert np.isfinite([loss for _, _, loss in told]).all()


def test_the_best_moment_on_validation_is_kept_and_patience_ends_early() -> None:
    settings = TINY.model_copy(update={"checks": 6, "patience": 1, "updates": 24, "learning_rate": 1e-6})
    model = Classifier(settings, CLASSES)
    log = model.fit(TRAIN, validation=VALIDATION)
    scores = {point["update"]: point["validation"] for point in log.curve}
    best = max(score for score in scores.values() if score is not None)
    assert scores[log.selected_update] == best
    assert selection_score(model.probabilities(VALIDATION.images), VALIDATION.labels) == pytest.approx(best)
    assert log.updates == log.curve[-1]["update"]


def test_without_validation_the_last_average_is_kept() -> None:
    log = Classifier(TINY, CLASSES).fit(TRAIN, updates=3)
    assert log.selected_update == log.updates == 3
    assert log.curve[-1]["validation"] is None


@pytest.mark.parametrize("kind", ["classes", "masks"])
def test_the_strong_policy_trains_both_tasks(kind: str) -> None:
    model = Classifier(TINY, CLASSES) if kind == "classes" else Segmenter(TINY_MASKS)
    regime = Regime(uniform_regime(len(TRAIN)).stages, strong=True)
    assert model.fit(TRAIN, regime=regime, updates=3).updates == 3


def test_half_precision_and_class_weights_train() -> None:
    settings = TINY.model_copy(update={"precision": "bf16"})
    regime = Regime(uniform_regime(len(TRAIN)).stages, class_weights=np.array([0.5, 2.0]))
    log = Classifier(settings, CLASSES).fit(TRAIN, regime=regime, updates=3)
    assert np.isfinite([point["loss"] for point in log.curve if point["loss"] is not None]).all()


def test_mixing_keeps_class_shares_and_moves_masks_with_their_pixels() -> None:
    rng = np.random.default_rng(0)
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    for _ in range(20):
        mixed, targets = mix_classes(images, torch.eye(4), rng)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
        means = (targets * torch.arange(4.0)).sum(dim=1)
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), means, atol=1e-4, rtol=1e-4)
        mixed, masks = mix_masks(images, images[:, :1].clone(), rng)
        torch.testing.assert_close(mixed[:, :1], masks)


def test_stages_follow_each_other_at_their_share() -> None:
    first, second = np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 1])
    plan = draw_plan(Regime((Stage(first, 0.25), Stage(second, 0.75))), updates=8, batch_size=4, seed=0)
    assert set(plan[:2].ravel()) == {0, 1} and set(plan[2:].ravel()) == {2, 3}


def test_checks_end_with_the_last_update() -> None:
    assert check_updates(100, 5) == [60, 70, 80, 90, 100]
    assert check_updates(1, 5) == [1]
    assert check_updates(7, 1) == [7]


def test_unknown_models_are_refused_with_the_nearest_names() -> None:
    with pytest.raises(BadInput, match="resnet18"):
        Classifier(TINY.model_copy(update={"model": "resnet_18"}), CLASSES).fit(TRAIN)
    with pytest.raises(BadInput, match="Unet"):
        Segmenter(TINY_MASKS.model_copy(update={"architecture": "Unett"})).fit(TRAIN)
    with pytest.raises(BadInput, match="mobilenet_v2"):
        Segmenter(TINY_MASKS.model_copy(update={"encoder": "mobilenet_v3"})).fit(TRAIN)


def test_half_precision_is_left_to_networks_that_gain_by_it() -> None:
    mobile, _ = build_classifier("mobilenet_v2", 2, pretrained=False)
    plain, _ = build_classifier("test_resnet", 2, pretrained=False)
    assert pick_precision("auto", "cpu", mobile) == "fp32"
    assert pick_precision("bf16", "cpu", mobile) == "bf16"
    assert pick_precision("fp32", "cpu", plain) == "fp32"


@pytest.mark.parametrize("architecture", sorted(smp.MODEL_ARCHITECTURES_MAPPING))
def test_every_architecture_of_the_library_is_made_by_name_and_segments(architecture: str) -> None:
    encoder = "tu-vit_tiny_patch16_224" if architecture == "dpt" else "tu-test_resnet"
    start = {"architecture": architecture, "encoder": encoder, "size": 128, "updates": 1, "batch_size": 2}
    segmenter = Segmenter(TINY_MASKS.model_copy(update=start))
    assert segmenter.fit(TRAIN, updates=1).updates == 1
    assert segmenter.masks(TEST.images[:2]).shape == (2, 32, 32)
    assert segmenter.features(TEST.images[:2]).shape[0] == 2


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "mixer_s32_224", "test_convnext", "test_efficientnet"])
def test_classifiers_of_every_kind_take_small_images(model: str, tmp_path: Path) -> None:
    classifier = Classifier(TINY.model_copy(update={"model": model, "size": 64, "updates": 1}), CLASSES)
    classifier.fit(TRAIN, updates=1)
    classifier.save(tmp_path)
    again = Classifier.load(tmp_path)
    np.testing.assert_array_equal(again.features(TEST.images[:2]), classifier.features(TEST.images[:2]))


def test_a_size_that_a_network_cannot_take_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"FPN on tu-test_resnet cannot take images of 100 pixels .* set its size"):
        Segmenter(TINY_MASKS.model_copy(update={"architecture": "FPN", "size": 100})).fit(TRAIN)
    with pytest.raises(BadInput, match=r"classifier inception_v3 cannot take images of 64 pixels .* set its size"):
        Classifier(TINY.model_copy(update={"model": "inception_v3", "size": 64}), CLASSES).fit(TRAIN)


@pytest.mark.parametrize("updates", [1, 12])
@pytest.mark.parametrize("kind", ["classes", "masks"])
def test_a_training_that_diverges_is_told_with_the_update_and_the_rate(kind: str, updates: int) -> None:
    steep = {"learning_rate": 1e38, "weight_decay": 0.0, "updates": updates}
    model = (
        Classifier(TINY.model_copy(update=steep), CLASSES)
        if kind == "classes"
        else Segmenter(TINY_MASKS.model_copy(update=steep))
    )
    with pytest.raises(EvendermError, match=r"diverged at update \d+: .* set learning_rate lower than 1e\+38"):
        model.fit(TRAIN, validation=VALIDATION)
