"""What the sections of report.html below its first screen tell: gates, audits, curves, classes, history."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from evaluate.sections.effects import effect_curves, effects
from evaluate.sections.tasks import task_results
from tests.evaluate.report.drawn_manifests import REJECT_REASONS, WANTED
from tests.evaluate.report.report_fixture import append_runs, external_set
from tests.evaluate.report.report_page import page_of, reported, section_of, text_between, text_of


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
    text = text_between(run, "gates", "copies")
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
    text = text_between(run, "fidelity", "data")
    assert "A diagnostic, never a proof." in text
    assert "Features: downstream classifier (mobilenetv3_small_100), 576 wide." in text
    assert "mel 20 against 24 0.052 ± 0.004 floor 0.012 35.4 floor 31.4 0.770 floor 0.810" in text
    assert "bkl 3 images against 3, 10 of each are needed 3 against 3 – floor –" in text


def test_the_copy_audit_names_its_threshold_and_its_evidence(run: Path) -> None:
    text = text_between(run, "copies", "fidelity")
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
    assert "Classification: Macro-F1 (%) by number of own pairs" in text
    assert "Segmentation: Dice (%) by amount of generated pairs" in text
    assert "by number of own pairs" not in text_of(reported(own))


def test_what_generated_pairs_bring_with_fewer_own_ones_stands_in_the_first_screen_and_in_figures(run: Path) -> None:
    first = text_of(page_of(run)).partition("Did it help?")[2].partition("May I use it?")[0]
    assert "Macro-F1 of hybrid against the control that decides, points" in first
    assert "own training pairs of all classes; of the rarest class 2 and 6" in first
    assert first.count("own training pairs of all classes") == 2
    said = text_between(run, "classification", "segmentation")
    assert "9 bkl 2, mel 2, nv 5 real decides +2.0 −1.0 to +5.0 4.3 points would show no difference" in said
    assert "34 bkl 6, mel 8, nv 20 real+oversampling decides +1.0" in said


def test_an_arm_of_generated_pairs_alone_is_placed_by_the_own_pairs_of_its_controls(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    for arm in results["arms"]:
        arm["train_counts"]["real"] = {} if arm["role"] == "generated" else arm["train_counts"]["real"]
    classification = task_results(results)[0]
    assert [effect.pairs for effect in effects(classification)] == [9, 34]
    assert len(effect_curves(classification)) == 2


def test_other_hospitals_have_a_section_a_figure_and_verdicts_of_their_own(own: Path) -> None:
    def edit(results: dict[str, Any]) -> None:
        results["external"] = [external_set(results, name) for name in ("clinic", "ph2_0", "ph2_1", "far")]
        for external, word in zip(results["external"], ("no difference", "harm", "harm", "gain"), strict=True):
            external["verdicts"] = [{**external["verdicts"][0], "verdict": word}, *external["verdicts"][1:]]

    page = reported(own, edit)
    assert "On clinic: no difference, +1.0 points (−2.0 to +4.0)" in text_of(page).partition("Contents")[0]
    headline = "Classification: no difference ; harm on ph2_0 and ph2_1 ; gain on far . Segmentation: no difference ."
    assert headline in text_of(page)
    assert "Classification no difference harm on ph2_0 and ph2_1 gain on far" in text_of(page).partition("Contents")[0]
    headline = (
        "## Classification: no difference; harm on ph2\\_0 and ph2\\_1; gain on far. Segmentation: no difference."
    )
    assert (own / "report.md").read_text().splitlines()[0] == headline
    said = text_between(own, "elsewhere", "gallery")
    assert "43 pairs in 41 independent groups, none of which any model was trained or chosen by" in said
    assert "3 pairs of <b>df</b> are left out." in said
    assert "Classification on clinic no difference No difference was shown: hybrid reached 53.0 in Macro-F1" in said
    assert "hybrid 63.0 59.0 to 67.0 53.0 49.0 to 57.0" in said  # in domain, then there
    assert 'aria-label="hybrid, On clinic: 53.0, interval 49.0 to 57.0"' in page
    assert "- Classification on clinic: No difference was shown" in (own / "report.md").read_text()
    assert 'id="elsewhere"' not in reported(own, lambda results: results.pop("external"))


def test_a_cross_validation_names_its_folds_and_shows_what_each_came_to(own: Path) -> None:
    def edit(results: dict[str, Any]) -> None:
        counts = {"train": {"mel": 20}, "validation": {"mel": 4}, "test": {"mel": 9}}
        results["data"]["folds"] = [
            {"fold": fold, "digest": "d", "counts": counts, "test_groups": 9} for fold in (1, 2)
        ]
        for arm in results["arms"]:
            arm["runs"] = [{**run, "fold": fold} for run in arm["runs"] for fold in (1, 2)]
            for metric in arm["metrics"].values():
                metric["per_fold"] = [0.512, None]
        for comparison in results["comparisons"]:
            comparison["per_fold"] = [0.034, -0.021]

    page = reported(own, edit)
    section = text_between(own, "classification", "segmentation")
    assert "interval on the test pairs of all folds" in section
    assert "Macro-F1 (%), by fold, mean over seeds arm, or arm − control fold 1 fold 2 real" in section
    assert "51.2 –" in section and "+3.4 −2.1" in section
    assert "2 folds of 9 pairs, each tested once" in text_of(page)
    assert re.search(r"fold 2, test [0 ]*9", text_between(own, "data", "settings"))


def test_the_pilot_and_what_is_missed_of_melanomas_are_shown(run: Path) -> None:
    said = section_of(run, "classification")
    assert "A pilot of controls chose it on validation, among trainings of 62, 125 and 250 updates" in said
    for title in (
        "validation score of the pilot",
        "net benefit of calling mel",
        "Sensitivity at 80% specificity of mel",
    ):
        assert title in said, title
    assert "net benefit" not in section_of(run, "segmentation")


def test_confusion_matrices_give_shares_of_the_true_class_and_pairs(run: Path) -> None:
    section = section_of(run, "classification")
    matrices = re.findall(r'<table class="confusion">.*?</table>', section, flags=re.DOTALL)
    arms = ("real", "real+oversampling", "hybrid", "synthetic", "hybrid@2")
    assert [text_of(matrix).split(" true ")[0] for matrix in matrices] == list(arms)
    told = "true bkl mel nv bkl 67% 14 14% 3 19% 4 mel 5% 2.3 72% 31 23% 9.7 nv 3% 3 8% 7 89% 80.3"
    assert all(told in text_of(matrix) for matrix in matrices)
    assert "confusion" not in section_of(run, "segmentation")


def test_reliability_diagrams_stand_beside_their_calibration_error(run: Path) -> None:
    section = section_of(run, "classification")
    labels = re.findall(r'aria-label="(Reliability of [^"]*)"', section)
    assert len(labels) == 5
    assert labels[0] == "Reliability of real: expected calibration error 9.0%, 10 of 15 bins filled."
    assert "hybrid calibration error 8.8%" in text_of(section)
    assert "Reliability" not in section_of(run, "segmentation")


def test_classes_and_subgroups_have_bars_with_intervals(run: Path) -> None:
    section = section_of(run, "classification")
    bars = {
        text_of(found)[:60]: found for found in re.findall(r'<section class="bars">.*?</section>', section, re.DOTALL)
    }
    recall = next(found for title, found in bars.items() if title.startswith("Recall by class (%)"))
    assert [text_of(heading) for heading in re.findall(r"<h5>.*?</h5>", recall)] == ["bkl", "mel", "nv"]
    assert recall.count('class="bar-row"') == 3 * 5
    by_sex = next(found for title, found in bars.items() if "Macro-F1 (%) by sex" in title)
    assert [text_of(h) for h in re.findall(r"<h5>.*?</h5>", by_sex)] == ["female 61 test pairs", "male 61 test pairs"]
    assert "real 61.0 57.0 to 65.0" in text_of(by_sex) and "real 58.0 54.0 to 62.0" in text_of(by_sex)
    assert "Dice (%) by sex" in text_of(section_of(run, "segmentation"))


def test_the_validation_score_while_training_is_drawn_for_every_arm(run: Path) -> None:
    for task, title in (("classification", "Classification"), ("segmentation", "Segmentation")):
        section = section_of(run, task)
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
