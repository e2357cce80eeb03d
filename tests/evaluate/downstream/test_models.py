"""Classifier, segmenter and the judges of the gates keep the same promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from evaluate.downstream.classifier import Classifier, selection_score
from evaluate.downstream.plain_unet import JudgeSegmenter
from evaluate.downstream.segmenter import Segmenter
from evaluate.gates.appearance import AppearanceClassifier, lesion_features
from evaluate.metrics.masks import dice
from evaluate.settings.gates import JudgeSegmenterSettings
from manifests.pairs import PairArrays
from tests.evaluate.downstream.model_tester import ModelTester
from tests.evaluate.downstream.small_trainings import CLASSES, TINY, TINY_MASKS, TRAIN

torch.set_num_threads(1)
PLAIN = JudgeSegmenterSettings(architecture="plain", updates=24, batch_size=8, size=32, ema_decay=0.8, device="cpu")


class NetworkTester(ModelTester):
    """Networks of the one training loop."""

    model: type[Classifier] | type[Segmenter]
    settings: object

    def new(self, **changes: object) -> Classifier | Segmenter:
        return self.model(self.settings.model_copy(update=changes), CLASSES)  # type: ignore[attr-defined]

    def fitted(self, seed: int) -> Classifier | Segmenter:
        model = self.new()
        model.fit(TRAIN, seed=seed)
        return model

    def load(self, folder: Path) -> Classifier | Segmenter:
        return self.model.load(folder)

    def losses(self) -> list[float]:
        told: list[float] = []
        self.new().fit(TRAIN, progress=lambda done, total, **figures: told.append(float(figures["loss"])))
        return [float(np.mean(told[:4])), float(np.mean(told[-4:]))]


class TestClassifier(NetworkTester):
    weights, refusal = "classifier.safetensors", "no usable classifier"
    model, settings = Classifier, TINY

    def answers(self, model: Classifier, pairs: PairArrays) -> np.ndarray:
        return model.probabilities(pairs.images)

    def score(self, answers: np.ndarray, pairs: PairArrays) -> float:
        return selection_score(answers, pairs.labels)


class TestSegmenter(NetworkTester):
    weights, refusal = "segmenter.safetensors", "no usable segmenter"
    model, settings = Segmenter, TINY_MASKS

    def answers(self, model: Segmenter, pairs: PairArrays) -> np.ndarray:
        return model.masks(pairs.images)

    def score(self, answers: np.ndarray, pairs: PairArrays) -> float:
        return float(dice(answers > 0.5, pairs.masks).mean())


class TestJudgeSegmenter(TestSegmenter):
    model, settings = JudgeSegmenter, PLAIN


class TestAppearanceClassifier(TestClassifier):
    weights, refusal = "appearance.safetensors", r"appearance\.safetensors cannot be read"

    def fitted(self, seed: int) -> AppearanceClassifier:
        return AppearanceClassifier.fit(lesion_features(TRAIN.images, TRAIN.masks), TRAIN.labels, len(CLASSES), seed)

    def load(self, folder: Path) -> AppearanceClassifier:
        return AppearanceClassifier.load(folder)

    def answers(self, model: AppearanceClassifier, pairs: PairArrays) -> np.ndarray:
        return model.probabilities(lesion_features(pairs.images, pairs.masks))

    def losses(self) -> list[float]:
        right = self.answers(self.fitted(3), TRAIN)[np.arange(len(TRAIN)), TRAIN.labels]
        return [float(np.log(len(CLASSES))), float(-np.log(right).mean())]
