"""Generated pairs: fixed index ranges, gates, top-up, and the same bytes whatever the order."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augment.prompts import prompt_for
from augment.sampling import Drawn
from augment.settings import SamplingSettings
from augment.synthesis import ClassJob, Settlement, Verdict, draw_shard, pair_seed, write_class
from manifests.format.reading import Manifest
from manifests.format.verify import verify_manifest
from manifests.format.writing import ManifestWriter
from manifests.pairs import PairArrays
from manifests.storage import storage_at

JOB = ClassJob("mel", 0, 10, 64, 7, 8, SamplingSettings(batch=4), "base", "adapter", "judge", "CC-0")


class SeededNoise:
    """Stands in for the denoiser where only the bookkeeping is tested: pictures that depend on the seed alone."""

    def draw(self, prompts, seeds, known=None, tidy=True) -> Drawn:
        images = [np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8) for seed in seeds]
        masks = np.zeros((len(images), 16, 16), bool)
        masks[:, 4:12, 4:12] = True
        return Drawn(np.stack(images), masks)


def every_second(pairs: PairArrays, dx: str, origins=()) -> list[Verdict]:
    return [
        Verdict({"mask_agreement": 0.9}, "isic:1", 0.5, "mask_agreement" if int(i[-1]) % 2 else None)
        for i in pairs.pair_ids
    ]


def refuse_all(pairs: PairArrays, dx: str, origins=()) -> list[Verdict]:
    return [Verdict(reject_reason="copy")] * len(pairs)


def fill(job: ClassJob, folder: Path, judge=every_second, order=list, seen=None):
    storage = storage_at(folder)
    while missing := Settlement(job, storage, seen() if seen else None).outcome().missing_shards:
        for shard in order(missing):
            draw_shard(job, shard, SeededNoise(), judge, storage)  # type: ignore[arg-type]
    return storage


def committed(job: ClassJob, folder: Path, out: Path, seen=None) -> Manifest:
    writer = ManifestWriter(out, classes=["mel"], kind="synthetic", provenance={"inputs": {"real": "digest"}})
    shards = write_class(Settlement(job, storage_at(folder), seen() if seen else None), writer)
    return writer.commit([(job.dx, index) for index in range(shards)])


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_sampling_goes_on_until_the_class_is_filled_and_rejected_pairs_are_kept(tmp_path: Path) -> None:
    fill(JOB, tmp_path / "candidates")
    table = committed(JOB, tmp_path / "candidates", tmp_path / "out").table(accepted_only=False)
    accepted = table["accepted"].to_pylist()
    assert sum(accepted) == 10 and len(accepted) == 19
    assert set(table["reject_reason"].to_pylist()) == {None, "mask_agreement"}
    assert set(table["split"].to_pylist()) == {"train"}
    assert table["seed"].to_pylist()[0] == pair_seed(7, "mel", 0)


def test_the_bytes_do_not_depend_on_the_order_of_shards_or_on_how_many_were_drawn(tmp_path: Path) -> None:
    fill(JOB, tmp_path / "a")
    fill(replace(JOB, wanted=20), tmp_path / "b", order=lambda shards: list(reversed(shards)))
    committed(JOB, tmp_path / "a", tmp_path / "one")
    committed(JOB, tmp_path / "b", tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_shard_that_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    storage = fill(JOB, tmp_path)
    before = content(tmp_path)
    draw_shard(JOB, 0, None, None, storage)  # type: ignore[arg-type]
    assert content(tmp_path) == before


def test_a_class_gives_up_at_its_limit_and_says_which_gate_was_in_the_way(tmp_path: Path) -> None:
    storage = fill(JOB, tmp_path, refuse_all)
    outcome = Settlement(JOB, storage).outcome()
    assert outcome.candidates == 64 and outcome.accepted == 0
    assert outcome.given_up == "class mel: 0 of 10 pairs after 64 candidates; copy rejected most (64)"


def test_not_one_candidate_more_than_the_limit_is_looked_at_however_shards_divide_it(tmp_path: Path) -> None:
    # Every second passes, so that 20 accepted pairs would be 39 candidates.
    job = replace(JOB, wanted=20, limit=29)
    storage = fill(job, tmp_path / "a", order=lambda shards: list(reversed(shards)))
    outcome = Settlement(job, storage).outcome()
    assert (outcome.candidates, outcome.accepted, outcome.missing_shards) == (29, 15, ())
    assert outcome.given_up == "class mel: 15 of 20 pairs after 29 candidates; mask_agreement rejected most (14)"
    fill(replace(job, limit=64), tmp_path / "b")
    for side in "ab":
        table = committed(job, tmp_path / side, tmp_path / f"out-{side}").table(accepted_only=False)
        assert len(table) == 29
    assert content(tmp_path / "out-a") == content(tmp_path / "out-b")


def test_repeats_among_the_generated_are_rejected(tmp_path: Path) -> None:
    class EveryThird:
        count = 0

        def add(self, images: np.ndarray) -> list[bool]:
            self.count += 1
            return [self.count % 3 == 0]

    fill(JOB, tmp_path / "c", seen=EveryThird)
    table = committed(JOB, tmp_path / "c", tmp_path / "out", EveryThird).table(accepted_only=False)
    assert "generated_duplicate" in table["reject_reason"].to_pylist() and sum(table["accepted"].to_pylist()) == 10


def test_candidates_tell_the_attributes_of_a_real_pair_that_their_seed_picks(tmp_path: Path) -> None:
    people = [{"age_group": "20-29", "sex": "female"}, {}, {"sex": "male"}]
    asked: list[str] = []

    class Listening(SeededNoise):
        def draw(self, prompts, seeds, known=None, tidy=True) -> Drawn:
            asked.extend(prompts)
            return super().draw(prompts, seeds)

    storage, job = storage_at(tmp_path / "c"), replace(JOB, wanted=8, limit=8)
    draw_shard(job, 0, Listening(), None, storage, people=people)  # type: ignore[arg-type]
    rows = committed(job, tmp_path / "c", tmp_path / "out").table().to_pylist()
    for index, row in enumerate(rows):
        person = people[pair_seed(job.seed, job.dx, index) % 3]
        assert {name: row[name] for name in ("age_group", "sex") if row[name]} == person
        assert row["prompt"] == prompt_for("mel", person) == asked[index]
    assert len({row["prompt"] for row in rows}) > 1


def test_without_attributes_a_shard_is_as_it_was(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    draw_shard(JOB, 0, SeededNoise(), None, storage)  # type: ignore[arg-type]
    content = storage.read(JOB.name(0))
    assert b"attributes" not in content
    assert hashlib.sha256(content).hexdigest() == "d20063398435822009b0a4c78190adf308317365d257abd61ac31e5a1fc5e45f"


def test_other_digests_make_other_candidates(tmp_path: Path) -> None:
    assert JOB.key != replace(JOB, adapter_digest="other").key != replace(JOB, seed=8).key
    assert JOB.key == replace(JOB, wanted=99, limit=999).key


def test_generated_pngs_say_that_they_are_synthetic(tmp_path: Path) -> None:
    import io

    from PIL import Image

    fill(JOB, tmp_path / "c")
    table = committed(JOB, tmp_path / "c", tmp_path / "out").table(["image", "pair_id"])
    chunks = Image.open(io.BytesIO(table["image"][0].as_py()["bytes"])).text
    assert "synthetic" in chunks["Disclaimer"].lower() and table["pair_id"][0].as_py() in chunks["Source"]


@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_seeds_of_pairs_do_not_repeat(seed: int) -> None:
    seeds = {pair_seed(seed, dx, index) for dx in ("mel", "nv") for index in range(2000)}
    assert len(seeds) == 4000 and all(0 <= value < 2**63 for value in seeds)


def test_a_pair_that_readers_refuse_is_replaced_and_one_that_waits_for_a_reader_keeps_its_place(tmp_path: Path) -> None:
    storage = fill(JOB, tmp_path)
    refused, unread = [f"evenderm:mel-{JOB.key[:8]}-{index:07d}" for index in (0, 2)]

    def readers(pair_id: str, image: np.ndarray) -> dict[str, str | None]:
        known: dict[str, dict[str, str | None]] = {
            refused: {"reviewed_by": "ann", "review": "refused", "reject_reason": "review"},
            unread: {"reject_reason": "unread"},
        }
        return known.get(pair_id, {"reviewed_by": "ann; bob", "review": "accepted", "reject_reason": None})

    job = replace(JOB, readers_digest="what they said")
    assert job.key == JOB.key
    while missing := Settlement(job, storage, readers=readers).outcome().missing_shards:
        for shard in missing:
            draw_shard(job, shard, SeededNoise(), every_second, storage)  # type: ignore[arg-type]
    settlement = Settlement(job, storage, readers=readers)
    outcome = settlement.outcome()
    assert (outcome.accepted, outcome.rejected["review"], outcome.rejected["unread"]) == (9, 1, 1)
    assert "1 of its pairs wait for a reader" in str(outcome.given_up)
    writer = ManifestWriter(tmp_path / "out", classes=["mel"], kind="synthetic", provenance={"inputs": {"real": "d"}})
    manifest = writer.commit([("mel", index) for index in range(write_class(settlement, writer))])
    rows = manifest.table(["pair_id", "accepted", "reviewed_by", "review"], accepted_only=False).to_pylist()
    said = {row.pop("pair_id"): tuple(row.values()) for row in rows}
    assert said[refused] == (False, "ann", "refused") and said[unread] == (False, None, None)
    assert sum(own == (True, "ann; bob", "accepted") for own in said.values()) == 9
    assert verify_manifest(tmp_path / "out").ok
