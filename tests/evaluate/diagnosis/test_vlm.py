"""The vlm diagnoser with a real architecture of transformers, untrained and tiny: it runs, and nonsense is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluate.diagnosis.parsing import Unreadable
from evaluate.diagnosis.vlm import VlmDiagnoser
from evaluate.settings.explain import VlmSettings
from manifests.errors import BadInput
from tests.evaluate.diagnosis.hub_folders import as_hub_cache, with_pickled_weights

CLASSES = ("bkl", "mel", "nv")
IMAGE = np.full((64, 64, 3), (200, 150, 130), np.uint8)
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def write_tiny_llava(folder: Path) -> Path:
    """LLaVA with a vision tower and a language model of one layer each, random weights, and its processor."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    letters = ["<unk>", "<s>", "</s>", "<pad>", "<image>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    text = LlamaConfig(
        vocab_size=len(letters), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=4096, pad_token_id=3, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=4)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp("llava"))


def test_a_real_architecture_answers_and_its_nonsense_is_refused(model: Path) -> None:
    diagnoser = VlmDiagnoser(VlmSettings(model=str(model), max_new_tokens=12, attempts=2), CLASSES)
    answer = diagnoser.answer(IMAGE)
    assert isinstance(answer, str) and answer == diagnoser.answer(IMAGE)
    with pytest.raises(Unreadable):
        diagnoser.diagnose(IMAGE)


def test_an_answer_that_can_be_read_becomes_a_diagnosis(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diagnoser = VlmDiagnoser(VlmSettings(model=str(model), attempts=2), CLASSES)
    answers = iter(["hm", '[{"dx": "Melanoma", "probability": 0.8, "findings": ["veil"]}]'])
    monkeypatch.setattr(diagnoser, "answer", lambda image, attempt: next(answers))
    diagnosis = diagnoser.diagnose(IMAGE)
    assert diagnosis.candidates[0].dx == "mel" and not diagnosis.calibrated


def test_a_folder_without_such_a_model_is_one_sentence(tmp_path: Path) -> None:
    for name in (None, str(tmp_path)):
        with pytest.raises(BadInput, match=r"vlm|image-text-to-text"):
            VlmDiagnoser(VlmSettings(model=name), CLASSES)


@pytest.mark.parametrize("place", ["folder", "hub"])
def test_pickled_weights_are_never_opened(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_llava(tmp_path / "model")
    opened = with_pickled_weights(folder, tmp_path / "opened")
    name = str(folder) if place == "folder" else as_hub_cache(folder, "someone/llava", tmp_path / "hub", monkeypatch)
    with pytest.raises(BadInput, match="no usable image-text-to-text model"):
        VlmDiagnoser(VlmSettings(model=name), CLASSES)
    assert not opened.exists()
