"""Real training steps at a tiny size: the loss falls, a seed repeats exactly, weights load as promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from evaluate.classifier import Classifier, build_classifier, pooled_features, selection_score
from evaluate.encoder_weights import load_encoder_weights, restore_folded_norms, weights_digest
from evaluate.mixing import mix_classes, mix_masks
from evaluate.segmenter import Segmenter
from evaluate.settings import ClassifierSettings, SegmenterSettings
from evaluate.training import (
    Regime,
    Stage,
    check_updates,
    draw_plan,
    one_cycle,
    pick_precision,
    uniform_regime,
)
from manifests.errors import BadInput, EvendermError
from manifests.pairs import PairArrays
from manifests.progress import StopRequested

torch.set_num_threads(1)

CLASSES = ("nv", "mel")
TINY = ClassifierSettings(
    model="test_resnet",
    updates=24,
    batch_size=8,
    size=32,
    learning_rate=3e-3,
    checks=2,
    ema_decay=0.8,
    device="cpu",
)
TINY_MASKS = SegmenterSettings(
    encoder="tu-test_resnet", decoder_channels=(16, 16, 8, 8, 8), updates=24, batch_size=8, size=32,
    learning_rate=3e-3, checks=2, ema_decay=0.8, device="cpu",
)  # fmt: skip


def lesions(count: int, seed: int, size: int = 32) -> PairArrays:
    """Discs on skin: brown ones are nevi, black ones melanomas."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    labels = np.arange(count) % 2
    centres = rng.uniform(0.35, 0.65, (count, 2)) * size
    radii = rng.uniform(0.2, 0.3, count) * size
    masks = np.stack([(rows - y) ** 2 + (columns - x) ** 2 < r**2 for (y, x), r in zip(centres, radii, strict=True)])
    colours = np.array([[140, 90, 60], [40, 25, 30]])[labels]
    images = np.where(masks[..., None], colours[:, None, None], np.array([225, 180, 160]))
    images = np.clip(images + rng.normal(0, 6, images.shape), 0, 255).astype(np.uint8)
    ids = [f"{seed}-{i}" for i in range(count)]
    return PairArrays(ids, images, masks, labels.astype(np.int64), CLASSES, ids)


TRAIN, VALIDATION, TEST = lesions(48, 0), lesions(16, 1), lesions(24, 2)


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


def test_the_rate_rises_then_falls() -> None:
    rates = [one_cycle(step / 100, 0.2) for step in range(101)]
    assert max(rates) == pytest.approx(1, abs=1e-3) and rates.index(max(rates)) == 20
    assert rates[0] == pytest.approx(0.04) and rates[-1] < 1e-3


def folded_mobilenet() -> torch.nn.Module:
    """A MobileNetV2 whose norms hold identity statistics, as after folding."""
    torch.manual_seed(0)
    network, _ = build_classifier("mobilenet_v2", 2, pretrained=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


def test_folded_norms_get_statistics_without_changing_the_output() -> None:
    network = folded_mobilenet()
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = network(images)
        assert restore_folded_norms(network, images) == 52
        torch.testing.assert_close(network(images), before, atol=1e-4, rtol=1e-3)
        first = network.features[0]
        normalised = first[1].train()(first[0](images))
    expected = first[1].weight.detach()
    torch.testing.assert_close(normalised.std(dim=(0, 2, 3), unbiased=False), expected, atol=1e-2, rtol=1e-2)
    assert restore_folded_norms(network, images) == 0, "norms with statistics of their own are left alone"


@pytest.mark.parametrize("model", ["mobilenet_v2", "mobilenetv2_100"])
def test_torchvision_weights_start_classifiers_of_torchvision_and_timm(model: str, tmp_path: Path) -> None:
    source = folded_mobilenet()
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    network, _ = build_classifier(model, 2, pretrained=False)
    load_encoder_weights(network, path)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        pooled = network.eval().features(images) if model == "mobilenet_v2" else network.eval().forward_features(images)
        torch.testing.assert_close(pooled, source.features(images), atol=1e-4, rtol=1e-4)


def test_encoder_weights_start_both_models(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(folded_mobilenet().state_dict(), path)
    start = {"encoder_weights": str(path), "updates": 2}
    Classifier(TINY.model_copy(update={"model": "mobilenet_v2", **start}), CLASSES).fit(TRAIN)
    segmenter = Segmenter(TINY_MASKS.model_copy(update={"encoder": "mobilenet_v2", **start}))
    assert segmenter.fit(TRAIN).updates == 2


def test_wrong_weights_are_refused_with_the_file_and_the_fix(tmp_path: Path) -> None:
    missing, damaged, pickled = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "c.pth"
    damaged.write_bytes(b"{}")
    other = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(2, 2)}, other)
    for path, hint in [
        (missing, "no such file"),
        (damaged, "fetch the file again"),
        (pickled, "never pickled"),
        (other, "choose the model"),
    ]:
        settings = TINY.model_copy(update={"encoder_weights": str(path)})
        with pytest.raises(BadInput, match=hint) as refused:
            Classifier(settings, CLASSES).fit(TRAIN, updates=1)
        assert path.name in str(refused.value)


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "narrow.safetensors"
    state = folded_mobilenet().state_dict()
    state["features.0.0.weight"] = torch.zeros(16, 3, 3, 3)
    save_file(state, path)
    network, _ = build_classifier("mobilenet_v2", 2, pretrained=False)
    with pytest.raises(BadInput, match=r"features\.0\.0\.weight has shape"):
        load_encoder_weights(network, path)


def random_model(name: str, folder: Path, **options: Any) -> tuple[torch.nn.Module, Path]:
    """A timm model of a thousand classes and the file of its tensors, under timm's own names."""
    torch.manual_seed(7)
    model = timm.create_model(name, num_classes=1000, **options).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.01 * torch.rand_like(tensor))
    path = folder / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return model, path


@pytest.mark.parametrize("name", ["resnet18", "test_convnext", "test_efficientnet", "test_resnet"])
def test_a_timm_file_starts_the_encoder_that_wraps_it(name: str, tmp_path: Path) -> None:
    source, path = random_model(name, tmp_path)
    network = smp.encoders.get_encoder(f"tu-{name}", weights=None).eval()
    load_encoder_weights(network, path)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        whole = source.forward_intermediates(images, intermediates_only=True)
        torch.testing.assert_close(network(images)[-1], whole[-1], atol=1e-4, rtol=1e-4)


def test_a_transformer_s_file_starts_the_encoder_of_dpt(tmp_path: Path) -> None:
    source, path = random_model("test_vit", tmp_path)
    network = smp.create_model("dpt", "tu-test_vit", encoder_weights=None).encoder
    load_encoder_weights(network, path)
    torch.testing.assert_close(network.model.state_dict()["blocks.1.attn.qkv.weight"], source.blocks[1].attn.qkv.weight)


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_mambaout"])
def test_a_timm_file_starts_a_classifier_with_the_norms_before_its_last_layer(name: str, tmp_path: Path) -> None:
    source, path = random_model(name, tmp_path)
    network, _ = build_classifier(name, 2, pretrained=False)
    load_encoder_weights(network, path)
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        expected = source.forward_head(source.forward_features(images), pre_logits=True)
        torch.testing.assert_close(pooled_features(network.eval(), images), expected, atol=1e-4, rtol=1e-4)


def test_a_transformer_s_position_table_is_made_for_the_side_of_the_images(tmp_path: Path) -> None:
    source, path = random_model("vit_tiny_patch16_224", tmp_path, depth=1)
    network = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=2, img_size=64)
    load_encoder_weights(network, path)
    assert network.pos_embed.shape[1] == 17
    torch.testing.assert_close(network.pos_embed[:, 0], source.pos_embed[:, 0], msg="the class token's is kept")
    torch.testing.assert_close(network.blocks[0].mlp.fc1.weight, source.blocks[0].mlp.fc1.weight)


def test_an_inception_file_is_read_without_what_was_only_trained_beside_it(tmp_path: Path) -> None:
    source, path = random_model("inception_v3", tmp_path, aux_logits=True)
    network, _ = build_classifier("inception_v3", 2, pretrained=False)
    load_encoder_weights(network, path)
    torch.testing.assert_close(network.Mixed_7c.branch1x1.conv.weight, source.Mixed_7c.branch1x1.conv.weight)


@pytest.mark.parametrize(("file", "encoder"), [("resnet34", "resnet18"), ("resnet18", "resnet34")])
def test_a_file_of_a_deeper_or_shallower_network_is_refused(file: str, encoder: str, tmp_path: Path) -> None:
    _, path = random_model(file, tmp_path)
    for network in (smp.encoders.get_encoder(f"tu-{encoder}", weights=None), build_classifier(encoder, 2, False)[0]):
        with pytest.raises(BadInput, match=r"has no layer1\.2.*choose the model"):
            load_encoder_weights(network, path)


def test_the_digest_of_weights_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"one")
    first = weights_digest(str(path))
    path.write_bytes(b"two")
    assert weights_digest(str(path)) != first
    assert weights_digest(None) is None and weights_digest("hub") == "hub"


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
