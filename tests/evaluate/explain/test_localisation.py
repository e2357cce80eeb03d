"""Where the lesion is: what is believed, and SAM-like models of transformers, untrained and tiny, that really run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluate.explain.localisation import SamLocaliser, locate
from manifests.errors import BadInput, EvendermError
from manifests.phantom.draw import draw_pair
from tests.evaluate.diagnosis.hub_folders import as_hub_cache, with_pickled_weights

SIDE = 96


def write_tiny_sam(folder: Path) -> Path:
    """SAM with two layers of each part and random weights, and its processor."""
    import torch
    from transformers import (
        SamConfig,
        SamImageProcessor,
        SamMaskDecoderConfig,
        SamModel,
        SamProcessor,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    torch.manual_seed(0)
    vision = SamVisionConfig(
        hidden_size=16, output_channels=16, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16,
        window_size=2, mlp_dim=32, global_attn_indexes=[1], num_pos_feats=8,
    )  # fmt: skip
    prompts = SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2, iou_head_hidden_dim=16
    )
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    SamModel(config).save_pretrained(folder)
    sides = {"height": 64, "width": 64}
    processor = SamImageProcessor(
        size={"longest_edge": 64}, pad_size=sides, mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )  # fmt: skip
    SamProcessor(processor).save_pretrained(folder)
    return folder


def write_tiny_sam2(folder: Path) -> Path:
    """SAM 2 with a small Hiera, random weights, and its processor."""
    import torch
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    torch.manual_seed(0)
    hiera = {
        "hidden_size": 8, "num_attention_heads": 1, "image_size": [64, 64], "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 4],
        "window_size_per_stage": [8, 4, 4, 4], "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", **hiera}, "fpn_hidden_size": 16,
        "backbone_channel_list": [64, 32, 16, 8], "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }  # fmt: skip
    config = Sam2Config(
        vision_config={"model_type": "sam2_vision_model", **vision},
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    Sam2Model(config).save_pretrained(folder)
    sides = {"height": 64, "width": 64}
    Sam2Processor(Sam2ImageProcessor(size=sides, mask_size={"height": 16, "width": 16})).save_pretrained(folder)
    return folder


WRITERS = {"SAM": write_tiny_sam, "SAM 2": write_tiny_sam2}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_real_architecture_finds_a_mask_of_the_pictures_size_and_the_same_again(write, tmp_path: Path) -> None:
    image = draw_pair("mel", 3, 1, SIDE).image
    find = SamLocaliser(str(write(tmp_path / "model")))
    mask = find(image)
    assert mask.shape == (SIDE, SIDE) and mask.dtype == bool
    assert np.array_equal(mask, find(image))
    where = locate(image, {"sam": find, "unet": lambda _: np.ones((SIDE, SIDE), bool)}, 1e-9)
    assert set(where.masks) == {"sam", "unet"} and "sam and unet" in where.agreement


@pytest.mark.parametrize("place", ["folder", "hub"])
def test_pickled_weights_are_never_opened(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_sam(tmp_path / "model")
    if place == "hub":
        assert SamLocaliser(as_hub_cache(folder, "someone/safe", tmp_path / "hub", monkeypatch))
    opened = with_pickled_weights(folder, tmp_path / "opened")
    name = str(folder) if place == "folder" else as_hub_cache(folder, "someone/sam", tmp_path / "hub", monkeypatch)
    with pytest.raises(BadInput, match="no usable SAM-like model"):
        SamLocaliser(name)
    assert not opened.exists()


@pytest.mark.parametrize("content", [{}, {"config.json": "{"}, {"config.json": '{"model_type": "bert"}'}])
def test_a_folder_without_such_a_model_is_one_sentence(content: dict[str, str], tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"explain\.localiser\.sam"):
        SamLocaliser(str(tmp_path))


def test_a_finder_that_fails_is_named_and_the_next_one_believed() -> None:
    def broken(image: np.ndarray) -> np.ndarray:
        raise EvendermError("out of memory")

    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:40, 20:40] = True
    where = locate(draw_pair("nv", 1, 1, SIDE).image, {"sam": broken, "unet": lambda _: mask}, 0.002)
    assert where.method == "unet" and "by sam: out of memory" in where.problems[0]


def test_the_largest_of_several_lesions_is_taken_and_specks_do_not_count() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:50, 10:50], mask[60:80, 60:80], mask[90:92, 90:92] = True, True, True
    where = locate(draw_pair("nv", 1, 1, SIDE).image, {"unet": lambda _: mask}, 0.002)
    assert where.lesions == 2 and "2 separate lesions" in " ".join(where.problems)
    assert where.mask is not None and where.mask.sum() == 1600


@pytest.mark.parametrize("share", [0.0, 0.99])
def test_a_mask_of_nothing_or_of_all_is_no_lesion(share: float) -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[: round(SIDE * share)] = True
    where = locate(draw_pair("nv", 1, 1, SIDE).image, {"unet": lambda _: mask}, 0.002)
    assert where.mask is None and "No lesion was found" in where.problems[-1]
