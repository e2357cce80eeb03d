"""Weights from a file start the encoders that they are of, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from evaluate.downstream.classifier import Classifier, build_classifier, pooled_features
from evaluate.downstream.encoders import (
    freeze_first_layers,
    load_encoder_weights,
    restore_folded_norms,
    weights_digest,
)
from evaluate.downstream.lite0 import lite0_tensors
from evaluate.downstream.segmenter import Segmenter
from evaluate.settings.benchmark import BenchmarkSettings
from evaluate.settings.gates import JudgeSegmenterSettings
from evaluate.settings.training import ClassifierSettings, SegmenterSettings
from manifests.errors import BadInput
from tests.evaluate.downstream.small_trainings import CLASSES, TINY, TINY_MASKS, TRAIN, lesions

torch.set_num_threads(1)


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


def test_the_packaged_weights_start_both_models_by_default_and_no_other_network() -> None:
    chosen = BenchmarkSettings()
    assert [chosen.training(task).weights for task in chosen.tasks] == ["package", "package"]
    assert (
        ClassifierSettings(model="test_resnet").weights is None
        and JudgeSegmenterSettings(architecture="plain").weights is None
    )
    assert ClassifierSettings(encoder_weights=None).weights is None
    rates = [
        ClassifierSettings.model_validate(given).learning_rate for given in ({}, {"probe": 0}, {"model": "resnet18"})
    ]
    assert rates == [5e-4, 3e-3, 3e-3], "what starts at random learns faster"
    stem = lite0_tensors()["conv_stem.weight"]
    few = {"updates": 1, "batch_size": 4, "size": 32, "checks": 1, "device": "cpu"}
    pairs = lesions(4, seed=0)
    classifier = Classifier(ClassifierSettings(probe=4, **few), CLASSES)
    classifier.fit(pairs)
    segmenter = Segmenter(SegmenterSettings(**few))
    segmenter.fit(pairs)
    for network in (classifier.fitted(), segmenter.fitted().encoder.model):
        assert torch.equal(network.conv_stem.weight, stem), "the first layers are kept as they are"
    other = Classifier(ClassifierSettings(model="test_resnet", encoder_weights="package", **few), CLASSES)
    with pytest.raises(BadInput, match=r"choose the model that the file was made for"):
        other.fit(pairs)


def test_the_first_layers_are_kept_and_the_others_learn() -> None:
    network = timm.create_model("test_resnet", num_classes=2)
    freeze_first_layers(network, 0.5)
    learn = [parameter.requires_grad for parameter in network.parameters()]
    assert learn == sorted(learn) and 0.3 < np.mean(learn) < 0.7
