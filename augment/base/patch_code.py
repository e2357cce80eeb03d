"""A linear patch code written into an AutoencoderDC: where the shipped base's autoencoder starts.

Principal components of 8x8 patches are the best linear code of their width (Karhunen-Loève). Put into the
convolutions of an autoencoder that shuffles space to depth (Chen et al. 2025), they give latents that are known
before any training, so that the denoiser can be trained while the decoder still is, and a decoder that begins at
the linear reconstruction and can only get better. Channels are whitened half-way: coarse components keep more
variance than fine ones, so that denoising goes from coarse to fine as it does in pixels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor, nn

PATCH = 8
_NORM_CONSTANT = 16.0  # a constant channel before the last norm, so that it hardly rescales the pixels
_RELU_OFFSET = 4.0  # keeps the pixels, within [-1.5, 1.5], in the linear range of the last activation


@dataclass(frozen=True)
class LinearCode:
    """basis: (C, 192) rows that map a flattened (3, 8, 8) patch in [-1, 1] less `mean` (192,) to latents."""

    mean: np.ndarray
    basis: np.ndarray

    def encode(self, images: Tensor) -> Tensor:
        """images: (B, 3, H, W) in [-1, 1] -> latents (B, C, H/8, W/8)."""
        weight = torch.from_numpy(self.basis.reshape(-1, 3, PATCH, PATCH)).to(images)
        bias = torch.from_numpy(-self.basis @ self.mean).to(images)
        return torch.nn.functional.conv2d(images, weight, bias, stride=PATCH)

    def decode(self, latents: Tensor) -> Tensor:
        """The linear reconstruction (B, 3, H, W): what a trained decoder has to beat."""
        inverse = np.linalg.pinv(self.basis)  # (192, C)
        weight = torch.from_numpy(np.ascontiguousarray(inverse.T)).reshape(-1, 3, PATCH, PATCH).to(latents)
        mean = torch.from_numpy(self.mean.reshape(1, 3, PATCH, PATCH)).to(latents)
        patches = torch.nn.functional.conv_transpose2d(latents, weight, stride=PATCH)
        return patches + mean.tile(1, 1, latents.shape[2], latents.shape[3])


def patches_of(images: np.ndarray) -> np.ndarray:
    """images: uint8 (N, H, W, 3) -> float32 (N*H*W/64, 192) patches in [-1, 1], channel-major."""
    count, height, width, _ = images.shape
    grid = images.reshape(count, height // PATCH, PATCH, width // PATCH, PATCH, 3)
    return grid.transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3 * PATCH * PATCH).astype(np.float32) / 127.5 - 1


def fit_linear_code(images: np.ndarray, channels: int, whitening: float = 0.5) -> LinearCode:
    """The `channels` leading principal components of the patches of `images` (uint8 (N, H, W, 3)).

    whitening 1 gives each channel unit variance, 0 keeps the variances; the mean variance is 1 in every case.
    """
    patches = patches_of(images)
    mean = patches.mean(axis=0)
    covariance = np.cov((patches - mean).T.astype(np.float64))
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1][:channels], vectors[:, ::-1][:, :channels]
    vectors = vectors * np.sign(vectors.sum(axis=0) + 1e-9)
    scale = variances ** (-whitening / 2)
    scale = scale / np.sqrt(np.mean(variances * scale**2))
    return LinearCode(mean.astype(np.float32), (vectors * scale).T.astype(np.float32))


def autoencoder_with(code: LinearCode, widths: tuple[int, ...], layers: int) -> AutoencoderDC:
    """An AutoencoderDC that computes `code` and its linear reconstruction, with `layers` idle blocks per level.

    widths: channels of the decoder's four levels, finest first, each half of the next; the first must hold 4, the
    second 12, the third 48 and the fourth the code.
    """
    model = AutoencoderDC(
        latent_channels=len(code.basis),
        encoder_block_out_channels=(3, 12, 48, 192),  # patches by space to depth, no channel added or lost
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(1, 1, 1, 0),
        decoder_layers_per_block=(layers,) * 4,
        encoder_qkv_multiscales=((),) * 4,
        decoder_qkv_multiscales=((),) * 4,
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
    )
    with torch.no_grad():
        _write_encoder(model.encoder, code)
        _write_decoder(model.decoder, code)
    return model


def without_idle_blocks(encoder: nn.Module) -> nn.Module:
    """An AutoencoderDC's encoder without what adds nothing: the same latents, the shipped base's six times as fast.

    It shares the modules that it keeps. Idle are residual blocks whose norm is zero and the convolutions, if they are
    zero, beside a space to depth.
    """
    lean = copy.copy(encoder)
    lean._modules = dict(encoder._modules)
    levels: Any = encoder.down_blocks
    lean.down_blocks = nn.ModuleList(nn.Sequential(*map(_without_idle_parts, level)) for level in levels)
    return lean


def _without_idle_parts(block: Any) -> Any:
    last = getattr(block, "norm", None) or getattr(block, "conv", None)
    if last is not None and not any(value.any() for value in last.parameters()):
        if hasattr(block, "norm"):
            return nn.Identity()
        if block.shortcut and block.group_size == 1:
            return nn.PixelUnshuffle(block.factor)
    return block


def _write_encoder(encoder: Any, code: LinearCode) -> None:
    _pass_through(encoder.conv_in)
    for level in encoder.down_blocks:
        for block in level:
            _silence(block)  # the shortcut of a down block is the space to depth itself
    encoder.conv_out.weight.zero_()
    for colour, row, column in np.ndindex(3, PATCH, PATCH):
        source = _depth_index(colour, row, column)
        component = code.basis[:, (colour * PATCH + row) * PATCH + column]
        encoder.conv_out.weight[:, source, 1, 1] = torch.from_numpy(np.ascontiguousarray(component))
    encoder.conv_out.bias.copy_(torch.from_numpy(-code.basis @ code.mean))


def _depth_index(colour: int, row: int, column: int) -> int:
    """Channel of a patch's pixel after three times space to depth by two: the coarsest step varies fastest."""
    index = colour
    for bit in range(3):
        index = 4 * index + 2 * (row >> bit & 1) + (column >> bit & 1)
    return index


def _write_decoder(decoder: Any, code: LinearCode) -> None:
    for level in decoder.up_blocks:
        for block in level:
            if hasattr(block, "norm"):
                _silence(block)
    _pass_through(decoder.conv_in, len(code.basis))
    first, second, third = (decoder.up_blocks[level][0] for level in (2, 1, 0))
    inverse = np.linalg.pinv(code.basis)  # (192, C)
    _clear_signal(first, 48)
    for colour, row, column in np.ndindex(3, PATCH, PATCH):
        pixel = (colour * PATCH + row) * PATCH + column
        target = _depth_index(colour, row, column)
        first.conv.weight[target, : inverse.shape[1], 1, 1] += torch.from_numpy(inverse[pixel])
        first.conv.bias[target] = float(code.mean[pixel])
    for block, channels in ((second, 12), (third, 3)):
        _clear_signal(block, channels)
        for target in range(4 * channels):
            block.conv.weight[target, target, 1, 1] += 1
    _read_pixels(decoder, third)


def _clear_signal(block: Any, channels: int) -> None:
    """Makes the first `channels` outputs of an up block zero: its convolution takes its shortcut away."""
    for target in range(4 * channels):
        block.conv.weight[target] = 0
        block.conv.bias[target] = 0
        block.conv.weight[target, target // block.repeats, 1, 1] = -1


def _read_pixels(decoder: Any, last: Any) -> None:
    constant = slice(12, 16)  # channel 3 at its four places
    _clear_signal(last, 4)
    for target in range(12):
        last.conv.weight[target, target, 1, 1] += 1
    last.conv.bias[constant] = _NORM_CONSTANT
    channels = decoder.norm_out.weight.numel()
    decoder.norm_out.weight.fill_(_NORM_CONSTANT / channels**0.5)
    decoder.norm_out.bias.zero_()
    decoder.norm_out.bias[:3] = _RELU_OFFSET
    decoder.conv_out.weight.zero_()
    for colour in range(3):
        decoder.conv_out.weight[colour, colour, 1, 1] = 1
        decoder.conv_out.bias[colour] = -_RELU_OFFSET


def _pass_through(conv: Any, channels: int | None = None) -> None:
    """The first channels of `conv` become its input; further ones keep their random weights if a number is given."""
    rows = slice(0, channels)
    conv.weight[rows] = 0
    conv.bias[rows] = 0
    for channel in range(min(conv.in_channels, conv.out_channels)):
        conv.weight[channel, channel, 1, 1] = 1


def _silence(block: Any) -> None:
    """A residual block then adds nothing, a down block leaves its shortcut alone."""
    if hasattr(block, "norm"):
        block.norm.weight.zero_()
        block.norm.bias.zero_()
    else:
        block.conv.weight.zero_()
        block.conv.bias.zero_()


def image_tensor(images: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB of images (B, 3, H, W) in [-1, 1]."""
    return 10 * torch.log10(4 / ((first - second) ** 2).mean(dim=(1, 2, 3)).clamp(min=1e-12))
