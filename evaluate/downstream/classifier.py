"""The downstream classifier: torchvision's MobileNetV2 or any timm model, trained from pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evaluate.downstream.encoders import HUB, Options, made_for, size_options
from evaluate.downstream.mixing import mix_classes
from evaluate.downstream.network import HALF, Downstream, Normalisation, unknown_name
from evaluate.downstream.probe import fit_probe, probe_plan
from evaluate.downstream.training import Augmentation, Learner, Regime
from evaluate.settings.training import ClassifierSettings
from manifests.errors import BadInput, EvendermError
from manifests.pairs import PairArrays

if TYPE_CHECKING:
    from torch import Tensor, nn


class Classifier(Downstream):
    """Class probabilities and features of dermoscopy images."""

    kind = "classifier"
    settings_type = ClassifierSettings
    settings: ClassifierSettings

    def __init__(self, settings: ClassifierSettings, classes: Sequence[str]) -> None:
        super().__init__(settings, classes)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (N, H, W, 3) of any size -> float32 (N, C); rows sum to 1."""
        return self._probabilities(images, self.fitted())

    def features(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (N, H, W, 3) of any size -> float32 (N, D), what the last layer sees."""
        network = self.fitted()
        return self.apply(images, lambda batch: pooled_features(network, batch))

    def _probabilities(self, images: np.ndarray, network: nn.Module) -> np.ndarray:
        return self.apply(
            images, lambda batch: network(batch).float().softmax(dim=1), network, row=(len(self.classes),)
        )

    def build(self, pretrained: bool) -> tuple[nn.Module, Normalisation]:
        return build_classifier(self.settings.model, len(self.classes), pretrained, self.settings.size)

    def encoder(self, network: nn.Module) -> nn.Module:
        return network

    def learner(self, network: nn.Module, regime: Regime, validation: PairArrays | None) -> Learner:
        import torch
        from torch.nn.functional import cross_entropy

        layer = last_layer(network, self.settings.model) if self.settings.draws_of_probe else None
        weights = None
        if regime.class_weights is not None:
            weights = torch.tensor(regime.class_weights, dtype=torch.float32, device=self.device)

        def targets(masks: np.ndarray, labels: np.ndarray) -> Tensor:
            return torch.eye(len(self.classes))[torch.from_numpy(np.array(labels))]

        def validate(average: nn.Module) -> float:
            assert validation is not None
            return selection_score(self._probabilities(validation.images, average), validation.labels)

        return Learner(
            network=network,
            prepare=self.prepare,
            targets=targets,
            loss=lambda outputs, wanted: cross_entropy(outputs, wanted, weight=weights),
            mix=mix_classes,
            validate=validate if validation is not None and len(validation) else None,
            start=None if layer is None else partial(self._start_as_probe, layer, weights, regime),
            fixed_norms=layer is not None,
        )

    def _start_as_probe(
        self,
        layer: nn.Linear,
        class_weights: Tensor | None,
        regime: Regime,
        pairs: PairArrays,
        seed: int,
        augment: Augmentation,
    ) -> None:
        """The last layer of a pretrained network begins as a linear probe of pairs drawn as the arm draws them."""
        import torch

        plan = probe_plan(regime, self.settings.probe, self.settings.batch_size, seed)
        features = [self.features(augment(pairs.images[batch], pairs.masks[batch])[0]) for batch in plan]
        seen = torch.from_numpy(np.concatenate(features)).to(self.device)
        targets = torch.eye(len(self.classes))[pairs.labels[plan.ravel()]].to(self.device)
        fit_probe(layer, seen, targets, class_weights)


def selection_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The score that chooses the moment of a training: mean one-against-rest AUROC, which a shift between
    classes does not move; accuracy where only one class is there."""
    from sklearn.metrics import roc_auc_score

    present = np.unique(labels)
    if len(present) < 2:
        return float((probabilities.argmax(axis=1) == labels).mean())
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in present]))


def build_classifier(
    name: str, classes: int, pretrained: bool, size: int | None = None
) -> tuple[nn.Module, Normalisation]:
    """A network by name, for images of `size` pixels, and the mean and deviation of its input.

    BadInput for a name that does not exist and for a size that the network cannot take.
    """
    if name == "mobilenet_v2":
        from torchvision.models import mobilenet_v2

        if pretrained:
            raise BadInput("mobilenet_v2 has no safetensors weights on the hub; name a file, or take mobilenetv2_100")
        return mobilenet_v2(weights=None, num_classes=classes), HALF
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise unknown_name("timm model", name, timm.list_models())

    def make(options: Options) -> nn.Module:
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=classes, **options)
        except Exception as error:  # timm raises whatever the hub's client or a constructor raises
            source = f" with weights from the {HUB}" if pretrained else ""
            raise EvendermError(f"timm model {name!r} cannot be made{source}: {str(error)[:160]}") from error

    network = made_for(size, make, size_options(name, size), f"classifier {name}") if size else make({})
    config = cast("dict[str, Any]", network.pretrained_cfg)
    return network, (tuple(config["mean"]), tuple(config["std"])) if pretrained else HALF


def last_layer(network: nn.Module, name: str) -> nn.Linear:
    """What makes classes of `pooled_features`. BadInput, naming the network, where that is not one linear layer."""
    from torch import nn
    from torchvision.models import MobileNetV2

    timm_network = cast("Any", network)
    layer = network.classifier[-1] if isinstance(network, MobileNetV2) else timm_network.get_classifier()
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        return layer
    raise BadInput(
        f"classifier {name} does not end in one linear layer, which could start as a probe; set probe=0 among the "
        "settings of this model, which lets a random end learn faster, or take another model"
    )


def pooled_features(network: nn.Module, batch: Tensor) -> Tensor:
    """(B, D), the input of the last layer of a network of `build_classifier`."""
    from torchvision.models import MobileNetV2

    if isinstance(network, MobileNetV2):
        return cast("Tensor", network.features(batch).mean(dim=(2, 3)))
    timm_network = cast("Any", network)
    return cast("Tensor", timm_network.forward_head(timm_network.forward_features(batch), pre_logits=True))
