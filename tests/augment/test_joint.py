"""The joint denoiser: adding mask channels changes nothing until something is learned."""

from __future__ import annotations

import torch

from augment.base.folder import BaseFolder, open_base
from augment.joint import widen_unet, without_mask_channels
from augment.settings import CheckpointSettings


def test_before_training_the_image_output_equals_the_original_unets(sd2_base: BaseFolder) -> None:
    original, joint = sd2_base.unet().eval(), widen_unet(sd2_base.unet(), 4).eval()
    image, mask = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    step, context = torch.tensor([10, 900]), torch.randn(2, 48, 32)
    with torch.no_grad():
        expected = original(image, step, context).sample
        found = joint(torch.cat([image, mask], dim=1), step, context).sample
    assert torch.equal(found[:, :4], expected)
    assert torch.equal(found[:, 4:], torch.zeros(2, 4, 8, 8))


def test_the_widened_unet_can_be_saved_and_loaded(sd2_base: BaseFolder, tmp_path) -> None:
    joint = widen_unet(sd2_base.unet(), 4)
    joint.save_pretrained(tmp_path)
    assert type(joint).from_pretrained(tmp_path).config.in_channels == 8


def test_a_joint_base_without_its_mask_channels_draws_what_its_joint_unet_draws_of_an_empty_mask(tmp_path) -> None:
    base = open_base(CheckpointSettings())
    plain = without_mask_channels(base, tmp_path / "base")
    assert plain.codec is None and without_mask_channels(base, tmp_path / "base") == plain
    image, context = torch.randn(1, base.latent_channels, 16, 16), torch.randn(1, 7, 128)
    mask = torch.zeros(1, base.codec.channels, 16, 16)  # zeros add nothing to the first convolution
    with torch.no_grad():
        joint = base.unet().eval()(torch.cat([image, mask], 1), torch.tensor([500]), context).sample
        found = plain.unet().eval()(image, torch.tensor([500]), context).sample
    assert torch.allclose(found, joint[:, : base.latent_channels], atol=1e-5)
