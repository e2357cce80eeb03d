"""A pretrained network starts as a linear probe, so that its last layer is no random one when training begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evaluate.downstream.classifier import Classifier, build_classifier, last_layer, pooled_features, selection_score
from evaluate.downstream.probe import fit_probe
from manifests.errors import BadInput
from tests.evaluate.downstream.small_trainings import CLASSES, TEST, TINY, TRAIN
from tests.evaluate.downstream.test_encoders import random_model

torch.set_num_threads(1)


def trained_for_nothing(path: Path, probe: int) -> Classifier:
    """A classifier whose single update is too small to teach it anything."""
    settings = TINY.model_copy(
        update={"encoder_weights": str(path), "probe": probe, "updates": 1, "learning_rate": 1e-9, "checks": 1}
    )
    classifier = Classifier(settings, CLASSES)
    classifier.fit(TRAIN)
    return classifier


def test_a_pretrained_network_tells_classes_apart_before_its_first_update_and_keeps_its_norms(tmp_path: Path) -> None:
    _, path = random_model("test_resnet", tmp_path)
    probed, plain = (trained_for_nothing(path, probe) for probe in (96, 0))
    assert selection_score(probed.probabilities(TEST.images), TEST.labels) > 0.95
    assert selection_score(plain.probabilities(TEST.images), TEST.labels) < 0.95
    given = load_file(path)
    name = next(name for name in given if name.endswith("running_mean"))
    kept, moved = (classifier.fitted().state_dict()[name] for classifier in (probed, plain))
    assert torch.equal(kept, given[name]) and not torch.equal(moved, given[name])


def test_a_network_of_random_weights_has_no_probe() -> None:
    networks = [Classifier(TINY.model_copy(update={"updates": 1, "probe": probe}), CLASSES) for probe in (96, 0)]
    for network in networks:
        network.fit(TRAIN)
    probed, plain = (network.fitted().state_dict() for network in networks)
    assert all(torch.equal(probed[name], plain[name]) for name in plain)


def test_a_probe_finds_shifted_features_of_any_scale_and_leaves_out_a_class_that_is_not_there() -> None:
    torch.manual_seed(0)
    labels = torch.arange(60) % 2
    features = 1e3 * (5 + torch.randn(60, 8) + 4 * labels[:, None] * torch.eye(8)[0])
    layer = torch.nn.Linear(8, 3)
    fit_probe(layer, features, torch.eye(3)[labels])
    assert (layer(features).argmax(dim=1) == labels).float().mean() > 0.9


@pytest.mark.parametrize("model", ["mobilenet_v2", "test_resnet", "test_vit", "test_convnext"])
def test_the_last_layer_takes_the_features_that_a_probe_sees(model: str) -> None:
    network, _ = build_classifier(model, 2, pretrained=False)
    layer, images = last_layer(network.eval(), model), torch.zeros(1, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(layer(pooled_features(network, images)), network(images))


def test_a_network_that_ends_in_no_linear_layer_is_refused_with_what_trains_it_all_the_same() -> None:
    network, _ = build_classifier("test_resnet", 2, pretrained=False)
    network.fc = torch.nn.Sequential(torch.nn.Dropout(), network.fc)
    with pytest.raises(BadInput, match=r"classifier test_resnet does not end in one linear layer.*; set probe=0"):
        last_layer(network, "test_resnet")
