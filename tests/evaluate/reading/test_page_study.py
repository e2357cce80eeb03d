"""A study of explain's pages with scripted readers, whose truth is known."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from evaluate.reading.page_sentences import page_sentences, page_tables
from evaluate.reading.page_study import open_page_study, page_study_summary
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from tests.evaluate.reading.scripted_pages import begun, case_of, script
from tests.evaluate.report.drawn_manifests import COUNTS, write_real


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_real(folder / "real")
    return folder


def test_test_pictures_of_every_class_are_shown_in_each_readers_own_order(run: Path, tmp_path: Path) -> None:
    study = begun(run, tmp_path / "one")
    assert Counter(item.dx for item in study.items) == {"bkl": 3, "mel": 3, "nv": 3}
    held_out = open_manifest(run / "real").table(["pair_id"], "test")["pair_id"].to_pylist()
    assert {item.pair_id for item in study.items} < set(held_out)
    assert not any(item.pair_id in study.page(item.name) for item in study.items)
    order = [item.name for item in study.order("ann")]
    assert order != [item.name for item in study.order("bob")]
    assert order == [item.name for item in begun(run, tmp_path / "again").order("ann")]
    # A class that has few gives what it has.
    assert len(begun(run, tmp_path / "all", 500).items) == sum(COUNTS["test"].values())


def test_a_study_goes_on_though_its_run_is_gone_and_not_under_another_seed(run: Path, tmp_path: Path) -> None:
    study = begun(run, tmp_path / "study")
    assert begun(tmp_path / "no run", tmp_path / "study") == study
    with pytest.raises(BadInput, match="--seed 3"):
        begun(run, tmp_path / "study", seed=4)
    with pytest.raises(BadInput, match="no picture of this study"):
        study.page("../study")
    write_real(tmp_path / "untested" / "real", counts={"train": {"bkl": 1, "mel": 1, "nv": 1}})
    with pytest.raises(BadInput, match=r"no test pair.*prepare\.test_fraction"):
        begun(tmp_path / "untested", tmp_path / "none")


def test_the_figures_of_scripted_readers_are_their_truth(run: Path, tmp_path: Path) -> None:
    study = begun(run, tmp_path)
    assert page_study_summary(tmp_path) is None
    for reader in ("gains", "follows", "stays"):
        for item in study.order(reader):
            for answer in script(study, reader, item.name):
                study.answer(answer)
    found = page_study_summary(tmp_path)
    assert found is not None and found["readers"] == ["follows", "gains", "stays"]
    gains, follows, stays = (found["per_reader"][name] for name in ("gains", "follows", "stays"))
    cases = [case_of(study, item.name) for item in study.items]
    right = sum(case.says == case.dx for case in cases)
    assert 0 < right < 9
    assert gains["accuracy"]["change"] | {"interval": None} == {
        "difference": 1, "interval": None, "to_right": 9, "to_wrong": 0, "p": 2 / 2**9,
    }  # fmt: skip
    assert (follows["accuracy"]["before"]["share"], follows["accuracy"]["after"]["share"]) == (1, right / 9)
    assert follows["accuracy"]["change"]["p"] == pytest.approx(min(1, 2 / 2 ** (9 - right)))
    assert stays["accuracy"]["change"]["difference"] == 0 and stays["accuracy"]["change"]["p"] == 1
    # Confidence: from 1 to 5, from 3 to 4, and the same.
    changes = [own["confidence"]["change"]["mean"] for own in (gains, follows, stays)]
    assert changes == [4, 1, 0] and [own["confidence"]["change"]["p"] for own in (gains, stays)] == [2 / 2**9, 1]
    # A guess among three classes that is never right, and certainty that always is.
    assert gains["calibration"]["before"]["error"] == pytest.approx(1 / 3)
    assert gains["calibration"]["after"]["error"] == 0 == stays["calibration"]["before"]["over"]
    assert {name: own["mean"] for name, own in found["all"]["ratings"].items()} == {
        "trust": 4, "understanding": 5, "helpfulness": 2,
    }  # fmt: skip
    assert found["all"]["median_seconds"] == {"before": 4, "after": 9}
    assert sum(own["answers"] for own in found["per_class"].values()) == found["all"]["answers"] == 27
    misled = found["per_page"]["wrong"]["accuracy"]["change"]
    assert (misled["to_wrong"], found["per_page"]["right"]["accuracy"]["change"]["to_wrong"]) == (9 - right, 0)
    json.dumps(found, allow_nan=False)
    said = " ".join(page_sentences(found))
    assert "3 readers" in said and "9 pictures" in said and "trust 4.00" in said
    assert [len(table.rows) for table in page_tables(found)] == [4, 2, 3, 5]


def test_the_first_answer_before_a_page_and_the_last_after_it_stand_and_damage_is_left_out(
    run: Path, tmp_path: Path
) -> None:
    study = begun(run, tmp_path)
    name = study.items[0].name
    before, after = script(study, "gains", name)
    for answer in (before, {**before, "dx": "other", "confidence": 4}, {**after, "confidence": 2}, after):
        study.answer(answer)
    study.answer({**after, "ratings": {"trust": 4}})
    study.answer({**after, "picture": "of another study"})
    study.answer({**before, "picture": study.items[1].name})
    with study.answers.open("ab") as table:
        table.write(b'{"reader": "gains", "pict')
    (reading,) = open_page_study(tmp_path).readings()
    assert (reading.before.confidence, reading.after.confidence) == (1, 5)
    assert reading.ratings == {"trust": 4, "understanding": 5, "helpfulness": 2}
