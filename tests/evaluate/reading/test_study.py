"""A blind reader study with scripted readers, whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluate.reading.decisions import Decision, append_decision
from evaluate.reading.review_summary import review_summary
from evaluate.reading.study import Item, Study, make_study, open_study, study_summary
from evaluate.reading.study_figures import planned_pictures, planned_widths
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.png import pixel_digest, png_header, png_text
from tests.evaluate.report.drawn_manifests import write_real, write_synthetic

Script = Callable[[Item], tuple[bool, int]]
"""What a scripted reader says of a picture: whether it is generated, and how sure."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_real(folder / "real")
    write_synthetic(folder / "synthetic")
    return folder


def begun(run: Path, folder: Path, seed: int = 3) -> Study:
    return make_study(folder, open_manifest(run / "real"), open_manifest(run / "synthetic"), 16, seed)


def read(study: Study, reader: str, script: Script) -> None:
    for item in study.order(reader):
        generated, confidence = script(item)
        said = {"generated": generated, "dx": item.dx, "confidence": confidence, "seconds": 2.0}
        study.answer({"reader": reader, "picture": item.name, **said})


def test_nothing_but_the_picture_tells_its_origin(run: Path, tmp_path: Path) -> None:
    study = begun(run, tmp_path)
    assert [sum(i.generated is made for i in study.items) for made in (True, False)] == [8, 8]
    by_class = {(i.dx, i.generated) for i in study.items}
    assert by_class == {(dx, made) for dx in ("bkl", "mel") for made in (True, False)}
    files = sorted((tmp_path / "pictures").iterdir())
    assert len({file.stat().st_size for file in files}) == 1 and len(files) == 32
    for item in study.items:
        content = study.picture(item.name)
        assert png_text(content) == {} and png_header(content) == (64, 64, 8, 2)
        assert item.pair_id.rpartition(":")[2] not in item.name and len(item.name) == 16
    order = [item.name for item in study.order("ann")]
    assert order == [item.name for item in open_study(tmp_path).order("ann")] != [i.name for i in study.order("bob")]
    same = begun(run, tmp_path / "again")
    assert [item.name for item in same.order("ann")] == order
    with pytest.raises(BadInput, match="no picture of this study"):
        study.picture("../study", "image")


def test_the_figures_of_scripted_readers_are_their_truth(run: Path, tmp_path: Path) -> None:
    study = begun(run, tmp_path)
    read(study, "knows", lambda item: (item.generated, 5))
    read(study, "inverts", lambda item: (not item.generated, 5))
    flips = {item.name: place % 2 == 0 for place, item in enumerate(sorted(study.items, key=lambda i: i.name))}
    read(study, "guesses", lambda item: (flips[item.name], 1))
    found = study_summary(tmp_path)
    assert found is not None and found["readers"] == ["guesses", "inverts", "knows"]
    knows, inverts = found["per_reader"]["knows"], found["per_reader"]["inverts"]
    assert [knows[name]["share"] for name in ("accuracy", "sensitivity", "specificity")] == [1, 1, 1]
    assert knows["auroc"]["value"] == 1 and inverts["auroc"]["value"] == 0 and inverts["accuracy"]["share"] == 0
    right = sum(flips[item.name] == item.generated for item in study.items)
    assert found["per_reader"]["guesses"]["accuracy"]["share"] == right / 16
    assert found["all"]["accuracy"]["share"] == pytest.approx((16 + right) / 48)
    assert found["all"]["right_class_real"]["share"] == 1 and found["all"]["median_seconds"] == 2
    assert found["per_class"]["mel"]["answers"] + found["per_class"]["bkl"]["answers"] == 48
    assert found["all"]["mask_fits_real"]["share"] is None
    json.dumps(found, allow_nan=False)


def test_answers_are_resumed_corrected_and_joined_by_how_the_mask_fits(run: Path, tmp_path: Path) -> None:
    study = begun(run, tmp_path)
    assert study_summary(tmp_path) is None
    first, second = study.order("ann")[:2]
    for generated in (True, False):
        said = {"generated": generated, "dx": first.dx, "confidence": 3}
        study.answer({"reader": "ann", "picture": first.name, **said})
    study.answer({"reader": "ann", "picture": first.name, "fits": False})
    study.answer({"reader": "ann", "picture": second.name, "fits": True})
    study.answer({"reader": "ann", "picture": "of another study", "generated": True, "dx": "mel", "confidence": 1})
    (answer,) = open_study(tmp_path).answered()
    assert (answer.picture, answer.says_generated, answer.fits) == (first.name, False, False)


def test_a_study_that_has_begun_is_not_made_anew_by_other_settings(run: Path, tmp_path: Path) -> None:
    study = begun(run, tmp_path)
    assert begun(run, tmp_path).items == study.items
    with pytest.raises(BadInput, match="--seed 3"):
        begun(run, tmp_path, seed=4)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        open_study(tmp_path)


def test_before_it_starts_a_study_says_how_wide_its_intervals_will_be() -> None:
    needed = planned_pictures(0.2)
    assert planned_widths(needed["accuracy"])["accuracy"] <= 0.2 < planned_widths(needed["accuracy"] - 2)["accuracy"]
    assert planned_widths(needed["sensitivity"])["sensitivity"] <= 0.2
    assert needed == {"accuracy": 94, "sensitivity": 186}


def test_a_review_is_counted_by_reader_and_class_and_what_has_no_pair_is_kept(run: Path, tmp_path: Path) -> None:
    table, synthetic = tmp_path / "decisions.jsonl", run / "synthetic"
    assert review_summary(table, synthetic, "off") is None
    rows = open_manifest(synthetic).table(["pair_id", "image", "dx"]).to_pylist()[:6]
    for place, row in enumerate(rows):
        picture = pixel_digest(row["image"]["bytes"])
        for reader, refused in (("ann", place < 2), ("bob", place < 3)):
            choice = "refuse" if refused else "accept"
            append_decision(table, Decision(row["pair_id"], picture, reader, choice, "mask" if refused else None, 1.5))
    append_decision(table, Decision(rows[0]["pair_id"], "0" * 64, "ann", "refuse"))
    found = review_summary(table, synthetic, "majority")
    assert found is not None and (found["pairs"], found["decisions"], found["without_a_pair"]) == (6, 12, 1)
    assert found["per_reader"]["bob"] == {
        "accepted": 3, "refused": 3, "reasons": {"mask": 3}, "median_seconds": 1.5,
    }  # fmt: skip
    assert sum(own["disagreed"] for own in found["per_class"].values()) == 1
    # Ann refuses 2 of 6 and Bob 3 of 6, five agreed: (5/6 - 1/2) / (1 - 1/2).
    assert found["cohen"] == [{"readers": ["ann", "bob"], "pairs": 6, "kappa": pytest.approx(2 / 3)}]
    assert np.isfinite(found["fleiss"]["kappa"]) and found["fleiss"]["pairs"] == 6
