"""What a reader of report.html and report.md can rely on."""

from __future__ import annotations

import base64
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evaluate.report.page import write_report
from tests.evaluate.report.report_fixture import REJECT_REASONS, WANTED, append_runs, write_run
from tests.evaluate.report.report_page import page_of, reported, text_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reported run with everything; not to be written to."""
    folder = tmp_path_factory.mktemp("report") / "run"
    folder.mkdir()
    write_run(folder, audited=True, extra_arms=("hybrid@2", "real%25", "hybrid%25"))
    write_report(folder)
    return folder


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


def _text_between(run: Path, section: str, following: str) -> str:
    """What a reader sees of one section of the report."""
    page = page_of(run)
    return text_of(page[page.index(f'<section id="{section}">') : page.index(f'<section id="{following}">')])


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
    assert "26 of 39 candidates were accepted" in told
    assert all(change in told for change in ("bkl 6 → 20", "mel 8 → 20", "nv 20"))
    assert "no accepted pair copies a training picture; 2 of 39 candidates did" in told
    assert "CC0-1.0 (60 pairs); generated pairs inherit it" in told
    assert "67% of candidates passed" in told and "nobody has looked at the pairs yet" in told
    for control in ("real", "real+oversampling", "real+replay"):
        assert re.search(rf'<div class="versus"><span>{re.escape(control)}</span>', first), control
    markdown = (run / "report.md").read_text()
    answers = ("**What came in.**", "**What was made.**", "**Did it help?**", "**May I use it?**", "| Classification")
    assert [markdown.index(answer) for answer in answers] == sorted(markdown.index(answer) for answer in answers)


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


def test_what_each_gate_rejected_is_counted_and_shown(run: Path) -> None:
    page = page_of(run)
    gates = page[page.index('<section id="gates">') : page.index('<section id="copies">')]
    rejected = sum(amount * 3 // 2 // 3 for amount in WANTED.values())
    assert gates.count('class="picture synthetic"') == rejected
    assert gates.count('class="picture real"') == 2, "each copy stands beside what it copies"
    text = text_of(gates)
    assert "bkl 21 14 67%" in text and "mel 18 12 67%" in text
    assert "Mask plausibility 4 pairs" in text and "Repeat of another generated pair 2 pairs" in text
    assert len(REJECT_REASONS) == gates.count("<h3>")


def test_what_the_gates_ask_for_is_shown_and_who_passed_unseen(run: Path) -> None:
    text = _text_between(run, "gates", "copies")
    assert "Scores from which a candidate passes, set on held-out real pairs" in text
    assert "bkl 0.112 0.611 – mel 0.125 0.622 0.201 nv 0.131 0.633 0.302" in text
    assert "Class consistency did not judge bkl: 6 training pairs, fewer than 8." in text


def test_the_ten_nearest_accepted_pairs_are_shown_nearest_first(run: Path) -> None:
    page = page_of(run)
    copies = page[page.index('<section id="copies">') : page.index('<section id="fidelity">')]
    similarities = [float(value) for value in re.findall(r'data-similarity="([\d.]+)"', copies)]
    assert len(similarities) == 10 and similarities == sorted(similarities, reverse=True)
    assert copies.count('class="picture real"') == 10 and copies.count('class="picture synthetic"') == 10


def test_fidelity_stands_beside_its_floor_with_extractor_and_sample_size(run: Path) -> None:
    text = _text_between(run, "fidelity", "data")
    assert "A diagnostic, never a proof." in text
    assert "Features: downstream classifier (mobilenetv3_small_100), 576 wide." in text
    assert "mel 20 against 24 0.052 ± 0.004 floor 0.012 35.4 floor 31.4 0.770 floor 0.810" in text
    assert "bkl 3 images against 3, 10 of each are needed 3 against 3 – floor –" in text


def test_the_copy_audit_names_its_threshold_and_its_evidence(run: Path) -> None:
    text = _text_between(run, "copies", "fidelity")
    told = "Copies of a real training pair: 2 of 39 candidates (5.1%); among real pairs that were held out, "
    assert f"{told}1 of 8 pairs (12%)." in text
    assert "No accepted pair is a copy." in text
    assert "From a similarity of 0.620 on a pair counts as a copy: 1 of 34 real pairs" in text
    assert "Crop 96%" in text


def test_tables_of_other_commands_are_shown(own: Path) -> None:
    def edit(results: dict[str, Any]) -> None:
        results["ablation_terms"] = [
            {"variant": "every term", "agreement": 0.91, "kid": 0.02},
            {"variant": "without dice", "agreement": 0.88, "kid": None},
        ]

    text = text_of(reported(own, edit))
    assert "Ablation terms Variant Agreement KID every term 0.91 0.02 without dice 0.88 none" in text


def test_curves_are_drawn_where_arms_were_swept(run: Path, own: Path) -> None:
    text = text_of(page_of(run))
    assert "Classification: Macro-F1 (%) with fewer real pairs" in text
    assert "Segmentation: Dice (%) by amount of generated pairs" in text
    assert "with fewer real pairs" not in text_of(reported(own))


def of_task(run: Path, task: str) -> str:
    """The section of a task."""
    page = page_of(run)
    start = page.index(f'<section id="{task}">')
    return page[start : page.index('<section id="', start + 1)]


def test_the_pilot_and_what_is_missed_of_melanomas_are_shown(run: Path) -> None:
    said = of_task(run, "classification")
    assert "A pilot of controls chose it on validation, among trainings of 62, 125 and 250 updates" in said
    for title in (
        "validation score of the pilot",
        "net benefit of calling mel",
        "Sensitivity at 80% specificity of mel",
    ):
        assert title in said, title
    assert "net benefit" not in of_task(run, "segmentation")


def test_confusion_matrices_give_shares_of_the_true_class_and_pairs(run: Path) -> None:
    section = of_task(run, "classification")
    matrices = re.findall(r'<table class="confusion">.*?</table>', section, flags=re.DOTALL)
    arms = ("real", "real+oversampling", "hybrid", "synthetic", "hybrid@2")
    assert [text_of(matrix).split(" true ")[0] for matrix in matrices] == list(arms)
    told = "true bkl mel nv bkl 67% 14 14% 3 19% 4 mel 5% 2.3 72% 31 23% 9.7 nv 3% 3 8% 7 89% 80.3"
    assert all(told in text_of(matrix) for matrix in matrices)
    assert "confusion" not in of_task(run, "segmentation")


def test_reliability_diagrams_stand_beside_their_calibration_error(run: Path) -> None:
    section = of_task(run, "classification")
    labels = re.findall(r'aria-label="(Reliability of [^"]*)"', section)
    assert len(labels) == 5
    assert labels[0] == "Reliability of real: expected calibration error 9.0%, 10 of 15 bins filled."
    assert "hybrid calibration error 8.8%" in text_of(section)
    assert "Reliability" not in of_task(run, "segmentation")


def test_classes_and_subgroups_have_bars_with_intervals(run: Path) -> None:
    section = of_task(run, "classification")
    bars = {
        text_of(found)[:60]: found for found in re.findall(r'<section class="bars">.*?</section>', section, re.DOTALL)
    }
    recall = next(found for title, found in bars.items() if title.startswith("Recall by class (%)"))
    assert [text_of(heading) for heading in re.findall(r"<h5>.*?</h5>", recall)] == ["bkl", "mel", "nv"]
    assert recall.count('class="bar-row"') == 3 * 5
    by_sex = next(found for title, found in bars.items() if "Macro-F1 (%) by sex" in title)
    assert [text_of(h) for h in re.findall(r"<h5>.*?</h5>", by_sex)] == ["female 61 test pairs", "male 61 test pairs"]
    assert "real 61.0 57.0 to 65.0" in text_of(by_sex) and "real 58.0 54.0 to 62.0" in text_of(by_sex)
    assert "Dice (%) by sex" in text_of(of_task(run, "segmentation"))


def test_the_validation_score_while_training_is_drawn_for_every_arm(run: Path) -> None:
    for task, title in (("classification", "Classification"), ("segmentation", "Segmentation")):
        section = of_task(run, task)
        drawn = section[section.index(f"{title}: validation score while training") :]
        assert "optimiser updates" in text_of(drawn) and drawn.count("<svg") >= 1
        assert all(name in text_of(drawn) for name in ("real", "hybrid", "synthetic", "hybrid@2"))
        label = re.search(r'aria-label="([^"]*while training[^"]*)"', drawn)
        assert label is not None and "hybrid" in label[1]


def test_the_trend_is_shown_where_there_is_a_history(own: Path) -> None:
    history = own / "history.jsonl"
    append_runs(own / "results.json", history)
    other = json.loads(history.read_text().splitlines()[0]) | {"real_digest": "f" * 64}
    history.write_text(history.read_text() + json.dumps(other) + "\n" + '{"cut sho')
    page = reported(own)
    assert "2 runs on this data" in text_of(page)
    assert "1 run on other data left out. 1 line could not be read." in text_of(page)
    assert page.count('class="spark"') == 8


def test_where_the_data_lie_on_disk_stays_private(run: Path) -> None:
    page = page_of(run)
    assert "/data/lesions" not in page and "drawn, preset embedded" in text_of(page)


def test_settings_timings_and_environment_are_there(run: Path) -> None:
    text = text_of(page_of(run))
    assert "steps 300" in text and "3 min 25 s" in text and "torch 2.15.0" in text
    assert "share of data loading 2.0%" in text


def test_the_page_stays_small(run: Path) -> None:
    assert (run / "report.html").stat().st_size < 8 * 2**20
    assert len((run / "report.md").read_bytes()) < 8 * 2**10
