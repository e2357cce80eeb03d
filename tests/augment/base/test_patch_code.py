"""The shipped base's autoencoder starts exactly at the linear code."""

from __future__ import annotations

import numpy as np
import torch

from augment.base.patch_code import autoencoder_with, fit_linear_code, image_tensor, psnr, without_idle_blocks
from manifests.pairs import PairArrays


def test_the_autoencoder_encodes_exactly_as_the_linear_code(drawn_pairs: PairArrays) -> None:
    code = fit_linear_code(drawn_pairs.images, 8)
    model, images = autoencoder_with(code, (16, 32, 64, 128), 1), image_tensor(drawn_pairs.images[:4])
    with torch.no_grad():
        assert torch.allclose(model.encode(images).latent, code.encode(images), atol=1e-4)


def test_leaving_out_idle_blocks_changes_no_bit_and_spares_trained_ones(drawn_pairs: PairArrays) -> None:
    code = fit_linear_code(drawn_pairs.images, 8)
    model, images = autoencoder_with(code, (16, 32, 64, 128), 1), image_tensor(drawn_pairs.images[:4])
    lean = without_idle_blocks(model.encoder)
    assert len(list(lean.parameters())) < len(list(model.encoder.parameters())) / 2
    with torch.no_grad():
        assert torch.equal(lean(images), model.encoder(images))
        model.encoder.down_blocks[1][0].norm.weight.fill_(0.5)
        model.encoder.down_blocks[2][1].conv.bias.fill_(0.5)
        trained = without_idle_blocks(model.encoder)
        assert torch.equal(trained(images), model.encoder(images))
        assert not torch.equal(trained(images), lean(images))


def test_the_untrained_decoder_is_about_as_good_as_the_linear_reconstruction(drawn_pairs: PairArrays) -> None:
    code = fit_linear_code(drawn_pairs.images, 16)
    model, images = autoencoder_with(code, (16, 32, 64, 128), 1), image_tensor(drawn_pairs.images[:8])
    with torch.no_grad():
        latents = code.encode(images)
        linear = psnr(code.decode(latents).clamp(-1, 1), images).mean()
        assert psnr(model.decode(latents).sample.clamp(-1, 1), images).mean() > linear - 1


def test_whitening_decides_the_channels_variances(drawn_pairs: PairArrays) -> None:
    images = image_tensor(drawn_pairs.images)
    white = fit_linear_code(drawn_pairs.images, 6, whitening=1.0).encode(images).var(dim=(0, 2, 3))
    half = fit_linear_code(drawn_pairs.images, 6, whitening=0.5).encode(images).var(dim=(0, 2, 3))
    assert np.allclose(white, 1, atol=0.05)
    assert half[0] > half[5] and np.isclose(half.mean(), 1, atol=0.05)
