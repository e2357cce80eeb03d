"""The feature loss sees what a pixel loss weighs little: texture; it reads torchvision's weights only."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v2

from augment.feature_loss import FeatureLoss
from manifests.errors import BadInput


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.safetensors"
    save_file(mobilenet_v2(weights=None).state_dict(), path)
    return path


def test_it_is_zero_for_the_same_picture_and_grows_with_the_change(weights: Path) -> None:
    loss = FeatureLoss(weights)
    wanted = torch.rand(2, 3, 64, 64) * 2 - 1
    noise = torch.randn(2, 3, 64, 64)
    none, little, more = (loss(wanted + scale * noise, wanted) for scale in (0.0, 0.05, 0.3))
    assert none.shape == (2,) and none.max() < 1e-9
    assert (little > 0).all() and (more > little).all()


def test_it_teaches_the_picture_and_not_its_own_weights(weights: Path) -> None:
    loss = FeatureLoss(weights)
    drawn = torch.rand(1, 3, 64, 64).requires_grad_()
    loss(drawn, torch.rand(1, 3, 64, 64)).sum().backward()
    assert drawn.grad is not None and drawn.grad.abs().max() > 0
    assert all(not value.requires_grad for value in loss.parameters()) and not loss.training


def test_a_file_of_another_network_is_one_sentence(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    for path in (tmp_path / "other.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(BadInput, match="no weights of torchvision's mobilenet_v2"):
            FeatureLoss(path)
