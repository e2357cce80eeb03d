"""What the report says where something is missing, too small, or damaged, and how its figures read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluate.pages import wording
from evaluate.pages.pictures import small_rows, thumbnails
from evaluate.pages.svg import ticks
from evaluate.pages.tracks import difference_scale
from evaluate.report.first_screen.answers import made_sentence, may_use
from evaluate.report.page import write_report
from evaluate.report.pairs.gallery import real_alt
from manifests.errors import BadInput
from manifests.png import DRAWN
from tests.evaluate.report.drawn_manifests import write_real
from tests.evaluate.report.report_fixture import write_run
from tests.evaluate.report.report_page import reported, text_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without its report, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    folder.mkdir()
    write_run(folder)
    return folder


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run for one test to change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_test_set_that_can_show_nothing_is_called_too_small(own: Path) -> None:
    def edit(results: dict[str, Any]) -> None:
        for verdict in results["verdicts"]:
            verdict["comparison"]["smallest_detectable"] = 2.7

    assert "This test set is too small to show any difference reliably." in text_of(reported(own, edit))


def test_a_figure_that_cannot_be_computed_has_a_reason_and_is_never_zero(own: Path) -> None:
    def edit(results: dict[str, Any]) -> None:
        for arm in results["arms"]:
            if arm["task"] == "classification":
                nothing = {
                    "mean": None,
                    "interval": None,
                    "per_seed": [None] * 3,
                    "reason": "no test pair of class bkl",
                }
                arm["metrics"]["recall:bkl"] = nothing

    page = reported(own, edit)
    row = re.search(r"<tr>\s*<th[^>]*><span class=\"value\">Recall of bkl.*?</tr>", page, flags=re.DOTALL)
    assert row is not None
    assert text_of(row[0]).count("– no test pair of class bkl") == 4


def test_trainings_that_ended_early_are_told_by_their_own_updates(own: Path) -> None:
    def edit(results: dict[str, Any]) -> None:
        for run, updates in zip(results["arms"][0]["runs"], (150, 200, 250), strict=True):
            run["updates"] = updates

    text = text_of(reported(own, edit))
    assert "Every arm had the same budget: 250 updates." in text
    assert "Training ended earlier where validation no longer rose: 150 to 250 updates were made." in text
    assert "34 0 150 to 250 3 real+oversampling" in text


def test_an_arm_without_verdict_is_said_to_have_none(own: Path) -> None:
    def edit(results: dict[str, Any]) -> None:
        for comparison in [
            *results["comparisons"],
            *(verdict["comparison"] for verdict in results["verdicts"]),
        ]:
            comparison |= {
                "verdict": None,
                "reason": "one seed says nothing of the spread between training runs",
            }
            comparison |= {"interval": None, "p": None, "p_adjusted": None, "smallest_detectable": None}
        for verdict in results["verdicts"]:
            verdict["verdict"] = None

    text = text_of(reported(own, edit))
    assert "Classification: not judged ." in text
    assert "No verdict on hybrid against real+oversampling: one seed says nothing" in text


def test_a_run_without_generated_pairs_says_so_and_shows_real_ones(tmp_path: Path) -> None:
    page = reported(tmp_path, with_synthetic=False)
    text = text_of(page)
    assert "There are no generated pairs of the whole training split." in text
    assert "No pairs were generated." in text
    assert "Nothing was compared, because no arm used generated pairs." in text
    assert "nothing was gated" in text
    assert 'class="picture real"' in page and 'class="picture synthetic"' not in page


@pytest.mark.parametrize(
    ("names", "folds", "said"),
    [
        (("real", "hybrid"), True, "The generator of each fold saw 104 own pairs and made 176 training pairs."),
        (("real#100", "synthetic#100"), False, "A generator saw 104 own pairs and made 176 training pairs."),
    ],
)
def test_pairs_that_generators_of_parts_made_are_told_where_the_whole_split_has_none(
    names: tuple[str, str], folds: bool, said: str
) -> None:
    counts = ({"real": {"mel": 104}, "synthetic": {}}, {"real": {}, "synthetic": {"mel": 176}})
    arms = [{"name": name, "train_counts": own} for name, own in zip(names, counts, strict=True)]
    data = {"classes": ["mel"], "synthetic": None, **({"folds": []} if folds else {})}
    told = made_sentence({"data": data, "arms": arms}, SimpleNamespace())
    assert told == f"No pairs were generated for the whole training split. {said}"


def test_a_run_of_one_task_says_which_was_not_measured_and_why_where_that_is_known(tmp_path: Path) -> None:
    text = text_of(reported(tmp_path, tasks=("segmentation",)))
    assert "Classification was not measured in this run." in text
    assert "- Classification was not measured." in (tmp_path / "report.md").read_text()

    why = "classification is not benchmarked: it needs two classes, and there is one"
    text = text_of(reported(tmp_path, lambda results: results["data"]["notes"].append(why)))
    assert "Classification was not measured in this run: it needs two classes, and there is one." in text
    told = "- Classification was not measured: it needs two classes, and there is one."
    assert told in (tmp_path / "report.md").read_text()


def test_missing_parts_are_said_in_a_sentence(own: Path) -> None:
    text = text_of(reported(own))
    for sentence in ("The results hold no copy audit.", "The results hold no fidelity figures."):
        assert sentence in text


def test_results_without_their_manifests_are_reported_without_pictures(own: Path) -> None:
    shutil.rmtree(own / "real")
    shutil.rmtree(own / "synthetic")
    page = reported(own)
    assert "No pictures of real pairs: the folder real/ is not beside these results." in text_of(page)
    assert "<img" not in page


def test_pairs_that_were_not_measured_are_not_shown(own: Path) -> None:
    shutil.rmtree(own / "real")
    write_real(own / "real", counts={"train": {"bkl": 3, "mel": 3, "nv": 3}})
    page = reported(own)
    assert "No pictures of real pairs: those in real/ are not the ones that were measured." in text_of(page)
    assert 'class="picture real"' not in page


def test_results_that_cannot_be_read_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"results\.json"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text('{"schema_version": 99}')
    with pytest.raises(BadInput, match="schema version 99"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_damaged_settings_are_bad_input(own: Path) -> None:
    (own / "settings.json").write_text("{")
    with pytest.raises(BadInput, match=r"settings\.json"):
        write_report(own)


def test_figures_read_as_people_write_them() -> None:
    assert wording.number(0.6123) == "61.2"
    assert wording.number(6.4321, "% of diagonal") == "6.43"
    assert wording.signed(0.0123) == "+1.2"
    assert wording.signed(-0.0123) == "\N{MINUS SIGN}1.2"
    assert wording.signed(-0.0004) == wording.signed(0.0004) == "0.0"
    assert wording.p_value(0.00001) == "< 0.001"
    assert wording.duration(205) == "3 min 25 s"
    assert wording.duration(4320) == "1 h 12 min"
    assert wording.interval(None) == "\N{EN DASH}"


def test_better_lies_to_the_right_whichever_way_a_metric_runs() -> None:
    up, down = difference_scale((-0.1, 0.2), True), difference_scale((-0.1, 0.2), False)
    assert up(0.1) > up(0.0) and down(0.1) < down(0.0)
    assert up(-0.1) >= 0 and up(0.2) <= 100


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.5123, 0.5301), (-12.0, 3.0), (0.0, 0.0), (1e-4, 2e-4)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


@pytest.mark.parametrize(
    ("licence", "said"),
    [("CC-BY-NC-4.0", "not for commerce"), ("for non-commercial use", "not for commerce"), ("", "ask the source"),
     ("CC0-1.0", "CC0-1.0 (3 pairs)")],
)  # fmt: skip
def test_a_licence_that_forbids_commerce_is_known_however_it_is_written(licence: str, said: str) -> None:
    own = SimpleNamespace(real=SimpleNamespace(header={"licences": {licence: 3}}))
    (fact,) = may_use({"data": {"synthetic": None}}, own)
    assert fact.value.startswith(said) and fact.kind == ("gain" if licence == "CC0-1.0" else "unknown")


def test_every_line_of_a_report_has_a_colour_and_a_shape_of_its_own(own: Path) -> None:
    page = reported(own)
    shapes = dict(re.findall(r'<path class="fill s(\d+)[^"]*" d="([^"]+)"', page))
    assert "calling every lesion mel" in page and len(shapes) > 3
    assert len({*shapes.values()}) == len(shapes)
    assert all(f".s{series} {{ --ink" in page for series in shapes)


def test_pairs_that_a_program_drew_are_called_drawn_and_never_real(tmp_path: Path) -> None:
    page = reported(tmp_path, text={"Disclaimer": DRAWN})
    kinds = re.findall(r'<figure class="picture (\w+)">.*?<p class="origin">(\w+)</p>', page, flags=re.DOTALL)
    assert {("drawn", "drawn"), ("synthetic", "synthetic")} == set(kinds)
    assert "nearest drawn training pair" in page and 'alt="Real ' not in page
    for text in (page, (tmp_path / "report.md").read_text()):
        assert "drawn by a program: nothing here says anything about real skin" in text
    assert re.search(r"\d drawn pairs and", (tmp_path / "report.md").read_text())


def test_a_mask_that_a_segmenter_found_is_not_shown_as_given(tmp_path: Path) -> None:
    manifest = write_real(tmp_path / "real", counts={"train": {"bkl": 1, "mel": 1, "nv": 1}}, mask_origin="predicted")
    (row, *_) = small_rows(manifest)
    assert real_alt(row).endswith("lesion outlined by a segmenter")
    (picture,) = thumbnails(manifest, {row["pair_id"]: real_alt(row)}).values()
    assert picture.mask_found and picture.origin == "real"
