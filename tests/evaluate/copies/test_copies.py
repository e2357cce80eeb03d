"""Planted copies are found, strangers are not, and the audit says what it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.resnet import Bottleneck, ResNet

from evaluate.copies import graph, seen
from evaluate.copies import index as copies_index
from evaluate.copies.index import CopyIndex, copies_report
from evaluate.copies.seen import SeenIndex
from evaluate.copies.threshold import ATTACKS, plant, set_threshold
from evaluate.fidelity.extractors import pretrained_features
from evaluate.fidelity.sscd import load_sscd
from evaluate.settings.gates import CopySettings
from manifests.errors import BadInput
from manifests.pairs import PairArrays
from tests.evaluate.drawn_pairs import drawn_pairs


@pytest.fixture(scope="module")
def real() -> PairArrays:
    return drawn_pairs({"nv": 90, "mel": 40, "bkl": 30})


@pytest.fixture(scope="module")
def held_out() -> PairArrays:
    return drawn_pairs({"nv": 80, "mel": 30, "bkl": 20}, seed=1)


@pytest.fixture(scope="module")
def index(real: PairArrays) -> CopyIndex:
    settings = CopySettings(planted_per_attack=12)
    return CopyIndex.build(real.images, real.pair_ids, real.group_ids, settings).calibrated(real.images)


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_planted_copies_are_found_at_95_percent_recall(attack: str, index: CopyIndex, real: PairArrays) -> None:
    found = index.search(plant(real.images, attack, seed=7))
    copies = np.array([index.is_copy(value) for value in found.similarity])
    assert copies.mean() >= 0.95
    assert (found.index == np.arange(len(real)))[copies].mean() >= 0.95


def test_held_out_images_raise_at_most_1_percent_false_alarms(index: CopyIndex, held_out: PairArrays) -> None:
    found = index.search(held_out.images)
    assert np.mean([index.is_copy(value) for value in found.similarity]) <= 0.01


def test_an_image_is_wholly_like_itself_in_any_flip_or_turn(index: CopyIndex, real: PairArrays) -> None:
    for attack in ("exact", "flipped"):
        found = index.search(plant(real.images[:20], attack, seed=3))
        assert found.index.tolist() == list(range(20))
        assert found.similarity == pytest.approx(np.ones(20), abs=1e-4)


def test_an_answer_does_not_depend_on_the_company(index: CopyIndex, held_out: PairArrays) -> None:
    together = index.search(held_out.images[:40])
    for i in (0, 1, 31, 32, 39):
        alone = index.search(held_out.images[i : i + 1])
        assert (alone.index[0], alone.similarity[0]) == (together.index[i], together.similarity[i])


def test_a_pair_is_not_compared_with_its_own_group(index: CopyIndex, real: PairArrays) -> None:
    found = index.search(real.images[:10], real.group_ids[:10])
    assert (found.index != np.arange(10)).all()
    assert found.similarity.max() < index.threshold.value
    single = CopyIndex.build(real.images[:1], ["a"], ["g"], CopySettings()).search(real.images[:1], ["g"])
    assert (single.index[0], single.similarity[0]) == (-1, -1)


def test_images_of_another_size_are_compared(index: CopyIndex, real: PairArrays) -> None:
    import cv2

    large = np.stack([cv2.resize(image, (300, 300), interpolation=cv2.INTER_CUBIC) for image in real.images[:10]])
    found = index.search(large)
    assert found.index.tolist() == list(range(10))
    assert found.similarity.min() > 0.97


def test_a_kept_index_answers_as_before(index: CopyIndex, held_out: PairArrays, tmp_path: Path) -> None:
    index.save(tmp_path)
    again = CopyIndex.load(tmp_path)
    assert again.threshold == index.threshold
    before, after = index.search(held_out.images[:8]), again.search(held_out.images[:8])
    np.testing.assert_array_equal(before.similarity, after.similarity)
    (tmp_path / "index.safetensors").write_bytes(b"broken")
    with pytest.raises(BadInput, match="delete it"):
        CopyIndex.load(tmp_path)


def test_among_many_pairs_a_graph_finds_what_comparing_with_all_finds(
    index: CopyIndex, real: PairArrays, held_out: PairArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = np.concatenate([held_out.images[:20], plant(real.images[:20], "cropped", 5), real.images[40:50]])
    among_all = index.search(asked)
    monkeypatch.setattr(copies_index, "EXACT", 20)
    monkeypatch.setattr(index, "_graph", graph.graph_of_windows(index.coarse))
    index.save(tmp_path)
    for along in (index, CopyIndex.load(tmp_path)):
        found = along.search(asked)
        assert (found.index == among_all.index).mean() > 0.95
        assert found.index[20:].tolist() == among_all.index[20:].tolist()
        assert found.similarity[20:].tolist() == among_all.similarity[20:].tolist()
    (tmp_path / "index.faiss").write_bytes(b"broken")
    with pytest.raises(BadInput, match=r"index\.faiss is not the file that was written"):
        CopyIndex.load(tmp_path)


def test_an_index_without_images_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one real training pair"):
        CopyIndex.build(np.zeros((0, 8, 8, 3), np.uint8), [], [], CopySettings())


def test_the_threshold_lies_between_strangers_and_planted_copies() -> None:
    rng = np.random.default_rng(0)
    strangers, planted = rng.uniform(0, 0.5, 400), {"exact": np.ones(40), "cropped": rng.uniform(0.8, 1, 40)}
    threshold = set_threshold(strangers, planted, CopySettings())
    assert 0.49 < threshold.real_limit < threshold.value < threshold.planted_limit
    assert threshold.recall == {"exact": 1, "cropped": 1}
    assert threshold.real_above == 0


def test_real_lesions_photographed_twice_do_not_raise_the_threshold() -> None:
    rng = np.random.default_rng(0)
    strangers, planted = rng.uniform(0, 0.5, 400), {"cropped": rng.uniform(0.8, 1, 40)}
    twice = np.concatenate([strangers[:-6], np.full(6, 0.97)])
    assert set_threshold(twice, planted, CopySettings()).value < 0.7
    assert set_threshold(twice, planted, CopySettings()).real_above == 6


def test_where_strangers_look_like_copies_the_real_ones_decide() -> None:
    rng = np.random.default_rng(0)
    strangers, planted = rng.uniform(0.5, 1, 400), {"cropped": rng.uniform(0.6, 0.9, 40)}
    threshold = set_threshold(strangers, planted, CopySettings())
    assert (strangers >= threshold.value).mean() <= 0.01
    assert threshold.recall["cropped"] < 0.5


def test_the_threshold_is_what_one_stranger_in_two_hundred_reaches_and_an_error_more() -> None:
    planted = {"exact": np.ones(40)}
    strangers = np.random.default_rng(0).exponential(0.08, 600)
    true = -0.08 * np.log(0.005)
    limit = set_threshold(strangers, planted, CopySettings())
    assert limit.real_limit == pytest.approx(true, rel=0.1)
    assert limit.real_limit < limit.value < 1.2 * true


def test_few_strangers_leave_the_threshold_where_planted_copies_are_found() -> None:
    planted = {"cropped": np.linspace(0.8, 1, 40)}
    threshold = set_threshold(np.array([0.1, 0.15, 0.2, 0.7]), planted, CopySettings())
    assert 0.7 <= threshold.value <= threshold.planted_limit and threshold.recall["cropped"] >= 0.95


@pytest.mark.parametrize("exact", [seen.EXACT, 20, 0])
def test_repeats_among_generated_images_are_told_in_order(
    exact: int, index: CopyIndex, held_out: PairArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "EXACT", exact)
    met = SeenIndex(index)
    assert met.add(held_out.images[:70]) == [False] * 70
    assert met.add(plant(held_out.images[:70], "flipped", 1)) == [True] * 70
    fresh = SeenIndex(index)
    pair = np.stack([held_out.images[0], held_out.images[0], held_out.images[1]])
    assert fresh.add(pair) == [False, True, False]
    other_class = SeenIndex(index, [fresh])
    assert other_class.add(held_out.images[:3]) == [True, True, False]
    third_class = SeenIndex(index, [fresh, met])
    assert third_class.add(plant(held_out.images[60:120], "flipped", 2)) == [True] * 10 + [False] * 50
    assert third_class.add(held_out.images[60:120]) == [True] * 60


def synthetic_table(similarities: list[float | None], accepted: list[bool]) -> pa.Table:
    count = len(similarities)
    return pa.table(
        {
            "pair_id": [f"s{i}" for i in range(count)],
            "dx": ["mel" if i % 2 else "nv" for i in range(count)],
            "accepted": accepted,
            "nearest_real_id": [f"r{i}" for i in range(count)],
            "nearest_similarity": similarities,
        }
    )


def test_the_report_counts_copies_beside_held_out_real_images(index: CopyIndex, held_out: PairArrays) -> None:
    table = synthetic_table([0.1, 0.99, 0.2, 0.995, None], [True, False, True, True, True])
    report = copies_report(index, table, held_out)
    assert report["all"]["pairs"] == 4 and report["all"]["copies"] == 2
    assert report["per_class"]["mel"]["copies"] == 2 and report["per_class"]["nv"]["rate"] == 0
    assert report["accepted_copies"] == 1
    assert report["held_out"]["pairs"] == len(held_out) and report["held_out"]["rate"] <= 0.01
    assert [row["pair_id"] for row in report["nearest"]] == ["s3", "s1", "s2", "s0"]
    assert set(report["calibration"]["recall"]) == set(ATTACKS)


def test_a_report_without_judged_pairs_has_no_rate(index: CopyIndex, held_out: PairArrays) -> None:
    report = copies_report(index, synthetic_table([None], [True]), held_out)
    assert report["all"] == {"pairs": 0, "copies": 0, "rate": None, "quantiles": None}


def test_features_of_a_network_can_take_the_place_of_the_descriptor(real: PairArrays) -> None:
    settings = CopySettings(extractor="mobilenetv3_small_050", extractor_size=64)
    index = CopyIndex.build(real.images[:20], real.pair_ids[:20], real.group_ids[:20], settings)
    assert index.name == "mobilenetv3_small_050 (random weights)"
    found = index.search(plant(real.images[:4], "flipped", 1))
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.similarity.min() > 0.999
    nearest = dict(index.nearest(real.images[2], most=20))
    assert {pair: index.similarity_to(real.images[2], pair) for pair in real.pair_ids[:20]} == nearest


def sscd_file(folder: Path, last: str = "embeddings.1") -> tuple[Path, dict[str, torch.Tensor]]:
    """Random weights of a shallow SSCD under its own names."""
    torch.manual_seed(0)
    trunk = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=512)
    named = {f"backbone.{name}": tensor for name, tensor in trunk.state_dict().items()}
    state = {name.replace("backbone.fc", last): tensor.contiguous() for name, tensor in named.items()}
    path = folder / "sscd_disc_mixup.safetensors"
    save_file(state, path)
    return path, state


@pytest.mark.parametrize("last", ["embeddings.1", "backbone.fc"])
def test_sscd_is_read_from_a_file_under_its_own_names(last: str, tmp_path: Path) -> None:
    path, state = sscd_file(tmp_path, last)
    network = load_sscd(path)
    images = torch.rand(2, 3, 64, 64)
    found = network(images)
    trunk = network.backbone
    maps = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(images))))
    for layer in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
        maps = layer(maps)
    pooled = (maps.clamp(min=1e-6) ** 3).mean(dim=(2, 3)) ** (1 / 3)
    expected = pooled @ state[f"{last}.weight"].T + state[f"{last}.bias"]
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True))
    assert found.shape == (2, 512)


def test_sscd_takes_the_place_of_the_descriptor(real: PairArrays, tmp_path: Path) -> None:
    path, _ = sscd_file(tmp_path)
    settings = CopySettings(extractor="sscd", weights=str(path), extractor_size=64)
    index = CopyIndex.build(real.images[:8], real.pair_ids[:8], real.group_ids[:8], settings)
    assert index.name == "SSCD (sscd_disc_mixup.safetensors)" and index.coarse.shape == (1, 8, 512)
    found = index.search(plant(real.images[:4], "flipped", 1))
    assert found.index.tolist() == [0, 1, 2, 3] and found.similarity.min() > 0.999


def test_sscd_without_its_weights_or_with_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs a local file"):
        pretrained_features("sscd", None, 64)
    path, state = sscd_file(tmp_path)
    for changed, said in (
        ({name: tensor for name, tensor in state.items() if "layer4" not in name}, "are not SSCD's"),
        ({name: tensor for name, tensor in state.items() if name != "backbone.bn1.weight"}, r"backbone\.bn1\.weight"),
        (state | {"backbone.conv1.weight": torch.zeros(4, 3, 7, 7)}, r"backbone\.conv1\.weight"),
    ):
        save_file(changed, path)
        with pytest.raises(BadInput, match=said) as refused:
            load_sscd(path)
        assert "\n" not in str(refused.value) and path.name in str(refused.value)


def test_pickled_extractor_weights_are_refused(real: PairArrays, tmp_path: Path) -> None:
    (tmp_path / "sscd.torchscript.pt").write_bytes(b"PK")
    settings = CopySettings(extractor="sscd", weights=str(tmp_path / "sscd.torchscript.pt"))
    with pytest.raises(BadInput, match="files are read, never pickled ones"):
        CopyIndex.build(real.images[:2], ["a", "b"], ["a", "b"], settings)
