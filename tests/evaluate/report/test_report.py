"""What a reader of report.html and report.md can rely on."""

from __future__ import annotations

import base64
import re
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluate.report.first_screen.answers import came_in
from evaluate.report.page import write_report
from tests.evaluate.report.report_page import page_of, reported, text_of


def test_the_verdict_of_each_task_comes_first(run: Path) -> None:
    page = page_of(run)
    first = text_of(page[page.index("<h1>") : page.index("</h1>")])
    assert first == "Classification: no difference . Segmentation: no difference ."
    markdown = (run / "report.md").read_text()
    assert markdown.splitlines()[0] == "## Classification: no difference. Segmentation: no difference."


def test_each_verdict_gives_the_difference_its_interval_and_what_could_have_been_seen(run: Path) -> None:
    sentence = (
        "No difference was shown: hybrid reached 63.0 in Macro-F1 and the strongest control, "
        "real+oversampling, 62.0, a difference of +1.0 points (95% interval −2.0 to +4.0, corrected p "
        "0.820). A difference of 4.3 points or more would most likely have shown; a smaller one may exist."
    )
    assert sentence in text_of(page_of(run))
    assert sentence in (run / "report.md").read_text()


def test_four_questions_are_answered_before_anything_else(run: Path) -> None:
    page = page_of(run)
    first = page[page.index('id="overview"') : page.index('<nav class="contents"')]
    told = text_of(first)
    questions = ("What came in", "What was made", "May I use it?", "Did it help?")
    assert all(f"<h2>{question}" in first for question in questions)
    assert "60 real pairs of 3 classes" in told
    assert "nv 33, mel 15, bkl 12" in told and "34 to train, 8 to validate, 18 to test" in told
    assert "26 of 39 candidates were accepted as training pairs. A generator saw 9 own pairs and made 26" in told
    assert all(change in told for change in ("bkl 6 → 20", "mel 8 → 20", "nv 20"))
    assert "no accepted pair copies a training picture; 2 of 39 candidates did" in told
    assert "CC0-1.0 (60 pairs); generated pairs inherit it" in told
    assert "67% of candidates passed" in told and "nobody has looked at the pairs yet" in told
    for control in ("real", "real+oversampling", "real+replay"):
        assert re.search(rf'<div class="versus"><span>{re.escape(control)}</span>', first), control
    markdown = (run / "report.md").read_text()
    answers = ("**What came in.**", "**What was made.**", "**Did it help?**", "**May I use it?**", "| Classification")
    assert [markdown.index(answer) for answer in answers] == sorted(markdown.index(answer) for answer in answers)


def test_pairs_without_a_class_are_told_apart_from_the_classes() -> None:
    counts = {"train": {"nv": 3, "mel": 2, "unlabelled": 4}, "test": {"nv": 1}}
    data = {"classes": ["mel", "nv"], "real": {"counts": counts, "drawn": 0}, "test_groups": 1, "notes": []}
    told = {fact.name: fact.value for fact in came_in({"data": data}, SimpleNamespace(real=None))}
    assert told["Pairs"] == "10 real pairs of 2 classes, 4 of them without a class, for segmentation alone"


def test_the_first_pictures_stand_by_class_generated_above_real(run: Path) -> None:
    page = page_of(run)
    strips = page[page.index('<div class="reel">') :].split('<div class="of-class"')[1:4]
    kinds = [re.findall(r'class="picture (\w+)"', strip.partition('<div class="panel')[0]) for strip in strips]
    assert kinds == [["synthetic"] * 2 + ["real"] * 2, ["synthetic"] * 2 + ["real"] * 2, ["real"] * 2]
    assert "none were generated" in strips[2]


def test_what_forbids_a_use_is_marked_and_what_is_unknown_too(own: Path) -> None:
    def edit(results: dict[str, Any]) -> None:
        tally = {"pairs": 39, "copies": 5, "rate": 5 / 39}
        results["copies"] = {"accepted_copies": 2, "all": tally, "held_out": tally}
        results["data"]["notes"] = ["layout <b>mine</b>: classes bkl 12", "groups: 12 by lesion_id", "masks: 60 given"]

    shutil.rmtree(own / "real")
    first = reported(own, edit).partition('<nav class="contents"')[0]
    assert re.search(r'<div class="harm"><dt>Copies</dt><dd>2 accepted pairs copy', first)
    assert re.search(r'<div class="unknown"><dt>Licence</dt><dd>unknown', first)
    assert "<b>mine</b>" not in first and "12 by lesion_id; 18 independent groups" in text_of(first)


def test_every_no_difference_stands_beside_what_would_have_shown(run: Path) -> None:
    page, markdown = page_of(run), (run / "report.md").read_text()
    rows = re.findall(r'<div class="forest-row">.*?</div>', page, flags=re.DOTALL)
    silent = [row for row in rows if "no difference" in text_of(row)]
    assert len(silent) > 4 and all("no difference 4.3 points would show" in text_of(row) for row in silent)
    judged = [line for line in markdown.splitlines() if line.startswith("| ") and "no difference" in line]
    assert judged and all(line.endswith("no difference (4.3 points would show) |") for line in judged)


@pytest.mark.parametrize(
    ("gain", "word", "opening"),
    [
        (0.2, "gain", "Training with generated pairs helped"),
        (-0.2, "harm", "Training with generated pairs did harm"),
    ],
)
def test_gain_and_harm_are_called_so(tmp_path: Path, gain: float, word: str, opening: str) -> None:
    text = text_of(reported(tmp_path, gain=gain))
    assert f"Classification: {word} . Segmentation: {word} ." in text
    assert opening in text


def test_the_page_asks_for_nothing_outside_itself(run: Path) -> None:
    page = page_of(run)
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert all(source.startswith("data:image/") for source in re.findall(r'\ssrc="([^"]*)"', page))
    assert all(target.startswith(("#", "data:")) for target in re.findall(r'\shref="([^"]*)"', page))
    assert "default-src 'none'" in page


def test_the_same_run_makes_the_same_bytes(run: Path) -> None:
    before = (run / "report.html").read_bytes(), (run / "report.md").read_bytes()
    write_report(run)
    assert ((run / "report.html").read_bytes(), (run / "report.md").read_bytes()) == before


def test_what_stands_in_the_data_never_becomes_markup(own: Path) -> None:
    hostile = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'

    def edit(results: dict[str, Any]) -> None:
        results["arms"][0]["description"] = hostile
        results["data"]["notes"] = [hostile, "{{ 7 * 7 }}"]
        results["environment"] = {hostile: hostile}
        results["metrics"]["macro_f1"]["title"] = f"{hostile}|`x`"

    page = reported(own, edit)
    assert "<img src=x" not in page and page.count("<script>") == 1
    assert "{{ 7 * 7 }}" in page
    markdown = (own / "report.md").read_text()
    assert "<img" not in markdown.replace("\\<img", "")
    rows = [line for line in markdown.splitlines() if line.startswith("| real ")]
    heading = next(line for line in markdown.splitlines() if line.startswith("| Classification"))
    assert len(re.findall(r"(?<!\\)\|", heading)) == len(re.findall(r"(?<!\\)\|", rows[0]))


def test_every_generated_picture_is_marked_and_says_so_in_its_file(run: Path) -> None:
    page = page_of(run)
    figures = re.findall(r'<figure class="picture (synthetic|real)">(.*?)</figure>', page, flags=re.DOTALL)
    assert len([kind for kind, _ in figures if kind == "synthetic"]) > 20
    for kind, content in figures:
        assert f'<p class="origin">{kind}</p>' in content
        picture = re.search(r"data:image/jpeg;base64,([^\"]+)", content)
        assert picture is not None
        assert (b"shows no patient" in base64.b64decode(picture[1])) is (kind == "synthetic")


def test_pictures_have_outlines_and_alternative_text(run: Path) -> None:
    page = page_of(run)
    pictures = re.findall(r'<div class="frame".*?</div>', page, flags=re.DOTALL)
    assert pictures and all('<path class="edge" d="M' in picture for picture in pictures)
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(alts) == len(pictures) and all("lesion outlined" in alt for alt in alts)
    drawings = re.findall(r'<svg class="(?:chart|track|axis|spark)"[^>]*>', page)
    assert drawings and all('role="img"' in drawing and 'aria-label=""' not in drawing for drawing in drawings)


def test_headings_never_skip_a_level(run: Path) -> None:
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", page_of(run))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
