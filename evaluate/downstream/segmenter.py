"""The downstream segmenter: any architecture and encoder of segmentation-models-pytorch, trained from
pairs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from evaluate.downstream.encoders import HUB, Options, made_for, size_options
from evaluate.downstream.mixing import mix_masks
from evaluate.downstream.network import HALF, Downstream, Normalisation, unknown_name
from evaluate.downstream.training import Learner, Regime
from evaluate.metrics.masks import mask_scores
from evaluate.settings.training import SegmenterSettings
from manifests.errors import EvendermError
from manifests.pairs import PairArrays

if TYPE_CHECKING:
    from torch import Tensor, nn

THRESHOLD = 0.5


class Segmenter(Downstream):
    """Lesion probabilities per pixel of dermoscopy images."""

    kind = "segmenter"
    settings_type = SegmenterSettings
    settings: SegmenterSettings

    def __init__(self, settings: SegmenterSettings, classes: Sequence[str] = ()) -> None:
        super().__init__(settings, classes)

    def masks(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (N, H, W, 3) of any size -> lesion probabilities float32 (N, H, W)."""
        return self._masks(images, self.fitted())

    def features(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (N, H, W, 3) of any size -> float32 (N, D), the deepest encoder map, averaged."""
        from torch import Tensor

        encoder = self.encoder(self.fitted())

        def deepest(batch: Tensor) -> Tensor:
            maps = encoder(batch)
            # Transformers of DPT give their maps and, apart from them, their tokens.
            last = maps[-1] if isinstance(maps[0], Tensor) else maps[0][-1]
            return cast("Tensor", last.float().mean(dim=(2, 3)))

        return self.apply(images, deepest)

    def _masks(self, images: np.ndarray, network: nn.Module) -> np.ndarray:
        from torch.nn.functional import interpolate

        size = tuple(images.shape[1:3])

        def probabilities(batch: Tensor) -> Tensor:
            logits = network(batch).float()
            if logits.shape[2:] != size:
                logits = interpolate(logits, size, mode="bilinear", align_corners=False)
            return logits.sigmoid()[:, 0]

        return self.apply(images, probabilities, network, row=size)

    def build(self, pretrained: bool) -> tuple[nn.Module, Normalisation]:
        return build_segmenter(self.settings, pretrained)

    def encoder(self, network: nn.Module) -> nn.Module:
        return cast("nn.Module", network.encoder)

    def learner(self, network: nn.Module, regime: Regime, validation: PairArrays | None) -> Learner:
        import torch

        def validate(average: nn.Module) -> float:
            assert validation is not None
            predicted = self._masks(validation.images, average) > THRESHOLD
            return float(mask_scores(predicted, np.asarray(validation.masks))[:, 1].mean())

        return Learner(
            network=network,
            prepare=self.prepare,
            targets=lambda masks, labels: torch.from_numpy(np.ascontiguousarray(masks)).float()[:, None],
            loss=dice_and_cross_entropy,
            mix=mix_masks,
            validate=validate if validation is not None and len(validation) else None,
        )


def dice_and_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy plus the soft Dice loss of each image; both (B, 1, H, W)."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    probabilities = logits.sigmoid()
    overlap = (probabilities * targets).sum(dim=(1, 2, 3))
    total = (probabilities + targets).sum(dim=(1, 2, 3))
    dice = (2 * overlap + 1) / (total + 1)
    return binary_cross_entropy_with_logits(logits, targets) + (1 - dice).mean()


def build_segmenter(settings: SegmenterSettings, pretrained: bool) -> tuple[nn.Module, Normalisation]:
    """A network by name and the mean and deviation of its input.

    BadInput for names that do not exist and for a size that the network cannot take.
    """
    import segmentation_models_pytorch as smp

    architectures = {name.lower(): name for name in smp.MODEL_ARCHITECTURES_MAPPING}
    if settings.architecture.lower() not in architectures:
        raise unknown_name("segmentation architecture", settings.architecture, architectures.values())
    _check_encoder(settings.encoder)
    what = f"{settings.architecture} on {settings.encoder}"
    weights, widths = "imagenet" if pretrained else None, _decoder_widths(settings)

    def make(options: Options) -> nn.Module:
        try:
            return cast(
                "nn.Module",
                smp.create_model(
                    settings.architecture, settings.encoder, encoder_weights=weights, classes=1, **widths, **options
                ),
            )
        except Exception as error:  # the libraries raise whatever their constructors or the hub's client raise
            source = f" with weights from the {HUB}" if pretrained else ""
            raise EvendermError(f"{what} cannot be made{source}: {str(error)[:160]}") from error

    timm_name = settings.encoder.removeprefix("tu-") if settings.encoder.startswith("tu-") else None
    options = size_options(timm_name, settings.size) if timm_name else [{}]
    network = made_for(settings.size, make, options, f"segmenter {what}")
    return network, _normalisation(settings.encoder) if pretrained else HALF


def _decoder_widths(settings: SegmenterSettings) -> dict[str, tuple[int, ...]]:
    """The setting as the architecture takes it: only those with a width per level do, such as Unet."""
    import segmentation_models_pytorch as smp

    architecture = smp.MODEL_ARCHITECTURES_MAPPING[settings.architecture.lower()]
    known = inspect.signature(architecture.__init__).parameters.get("decoder_channels")
    per_level = known is not None and isinstance(known.default, tuple)
    return {"decoder_channels": settings.decoder_channels} if per_level and settings.decoder_channels else {}


def _normalisation(encoder: str) -> Normalisation:
    """The mean and deviation that the hub's weights were trained with."""
    import segmentation_models_pytorch as smp

    try:
        parameters = smp.encoders.get_preprocessing_params(encoder, "imagenet")
    except Exception as error:  # as above
        raise EvendermError(f"no normalisation is known for weights of {encoder}: {str(error)[:160]}") from error
    return tuple(parameters["mean"]), tuple(parameters["std"])


def _check_encoder(name: str) -> None:
    """BadInput unless smp has the encoder itself or timm has it after the prefix tu-."""
    import segmentation_models_pytorch as smp

    if name.startswith("tu-"):
        import timm

        if not timm.is_model(name[3:].split(".")[0]):
            raise unknown_name("encoder", name, [f"tu-{model}" for model in timm.list_models()])
    elif name not in smp.encoders.get_encoder_names():
        raise unknown_name("encoder", name, smp.encoders.get_encoder_names())
