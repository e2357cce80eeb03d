"""results.json holds its contract: the schema, no NaN, one sentence for what is wrong, and sentences that
are true."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from evaluate.benchmark.comparisons import JudgedArm, compare_arms, headlines, sentence, strongest_control
from evaluate.benchmark.summary import Measured
from evaluate.metrics.classification import Figures
from evaluate.metrics.statistics import Replicates, group_weights
from evaluate.results import read_results, results_schema, validate_results, write_results
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.errors import BadInput, EvendermError

PLAIN: dict[str, Any] = {"mean": 0.5, "interval": [0.4, 0.6], "per_seed": [0.5], "reason": None}
COMPARISON: dict[str, Any] = {
    "task": "classification", "arm": "hybrid", "control": "real", "metric": "macro_f1",
    "difference": 0.01, "interval": [-0.03, 0.05], "p": 0.6, "p_adjusted": 0.6, "verdict": "no difference",
    "smallest_detectable": 0.06, "strongest_control": True, "primary": True, "reason": None,
}  # fmt: skip


def results() -> dict[str, Any]:
    counts = {"nv": 3, "mel": 2}
    arm = {
        "name": "real", "task": "classification", "role": "control", "description": "real pairs",
        "ratio": 1.0, "fraction": 1.0, "train_counts": {"real": counts, "synthetic": {}},
        "draws": {"real": counts, "synthetic": {}}, "updates": 2, "seeds": [0], "model": "m", "parameters": 9,
        "encoder_weights": None, "validation": {"metric": "macro_f1", "mean": 0.5, "per_seed": [0.5]},
        "metrics": {"macro_f1": PLAIN}, "confusion": [[1.0, 0.0], [0.5, 0.5]], "calibration": None,
        "subgroups": [], "runs": [{
            "seed": 0, "updates": 2, "selected_update": 2,
            "curve": [{"update": 2, "loss": 1.0, "validation": None}],
        }],
    }  # fmt: skip
    return copy.deepcopy(
        {
            "schema_version": 2, "environment": {}, "settings": {}, "timings": {},
            "data": {
                "real": {"digest": "d", "counts": {"train": counts}}, "synthetic": None,
                "classes": ["nv", "mel"], "rare_classes": [], "test_groups": 4, "notes": [], "skipped_arms":
                [],
            },
            "metrics": {"macro_f1": {"title": "Macro-F1", "higher_is_better": True, "unit": "share"}},
            "verdicts": [{
                "task": "classification", "verdict": "no difference", "sentence": "s", "comparison":
                COMPARISON,
            }],
            "arms": [arm], "comparisons": [COMPARISON], "fidelity": None, "copies": None, "gates": None,
        }
    )  # fmt: skip


def test_the_schema_is_one_and_a_whole_file_passes(tmp_path: Path) -> None:
    Draft202012Validator.check_schema(results_schema())
    write_results(tmp_path / "results.json", results())
    assert read_results(tmp_path / "results.json") == results()
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("arms", 0, "task"), "detection", r"\$\.arms\[0\]\.task"),
        (("arms", 0, "seeds"), "0", r"\$\.arms\[0\]\.seeds"),
        (("comparisons", 0, "verdict"), "better", "verdict"),
        (("comparisons", 0, "p"), 1.5, "p"),
        (("arms", 0, "metrics", "macro_f1"), 0.5, "macro_f1"),
    ],
)
def test_a_malformed_value_is_named_by_its_place(path: tuple[str | int, ...], value: Any, place: str) -> None:
    broken: Any = results()
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(BadInput, match=place):
        validate_results(broken)


@pytest.mark.parametrize(
    "missing", ["environment", "data", "arms", "comparisons", "fidelity", "copies", "gates", "timings"]
)
def test_every_part_of_the_contract_must_be_there(missing: str) -> None:
    broken = results()
    del broken[missing]
    with pytest.raises(BadInput, match=missing):
        validate_results(broken)


def test_nan_never_enters_a_file(tmp_path: Path) -> None:
    broken = results()
    broken["arms"][0]["metrics"]["macro_f1"] = PLAIN | {"mean": float("nan")}
    with pytest.raises(BadInput, match=r"macro_f1\.mean that is not a finite number"):
        validate_results(broken)
    with pytest.raises(EvendermError):
        write_results(tmp_path / "results.json", broken)
    assert not (tmp_path / "results.json").exists()
    (tmp_path / "old.json").write_text(json.dumps(broken))
    with pytest.raises(BadInput, match="finite"):
        read_results(tmp_path / "old.json")


def test_unreadable_files_are_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.json cannot be read"):
        read_results(tmp_path / "nowhere.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(BadInput, match=r"text\.json is not JSON"):
        read_results(tmp_path / "text.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(BadInput, match="schema version None"):
        read_results(tmp_path / "list.json")
    (tmp_path / "newer.json").write_text(json.dumps(results() | {"schema_version": 99}))
    with pytest.raises(BadInput, match="schema version 99 but this program reads 1 to 3"):
        read_results(tmp_path / "newer.json")


def judged(name: str, mean: float, validation: float, seeds: int = 3, metric: str = "macro_f1") -> JudgedArm:
    rng = np.random.default_rng(abs(hash((mean, validation))) % 1000)
    noise = 0.01 * np.random.default_rng(0).standard_normal((300, 1))
    points = mean + 0.002 * rng.standard_normal(seeds)
    replicates = {metric: Replicates(points, points + noise + 0.002 * rng.standard_normal((300, seeds)), 100)}
    figures = [Figures({metric: float(point)}) for point in points]
    return JudgedArm(name, "classification", Measured(figures, replicates), validation)


SETTINGS = BenchmarkSettings(tasks=("classification",), classification_metrics=("macro_f1",))


def headline(*arms: JudgedArm) -> tuple[str, str, str]:
    """The verdict, the control that it rests on and the sentence."""
    (found,) = headlines(arms, compare_arms(arms, SETTINGS), SETTINGS)
    return found["verdict"], found["comparison"]["control"], found["sentence"]


def test_harm_is_to_be_worse_than_the_strongest_control_which_is_chosen_on_validation_and_not_on_test() -> None:
    arms = [judged("real", 0.60, 0.50), judged("real+oversampling", 0.70, 0.65), judged("hybrid", 0.64, 0.9)]
    chosen = strongest_control(arms, 1.0, "macro_f1")
    assert chosen is not None and chosen.name == "real+oversampling"
    assert headline(*arms)[:2] == ("harm", "real+oversampling")


def test_a_gain_is_a_gain_over_every_control_and_names_the_one_that_it_was_closest_to() -> None:
    weak, strong, hybrid = judged("real", 0.5, 0.9), judged("real+strong", 0.62, 0.1), judged("hybrid", 0.64, 0.9)
    verdict, control, said = headline(weak, strong, hybrid)
    assert (verdict, control) == ("gain", "real+strong")
    assert said.startswith(
        "classification: gain: hybrid against real+strong, the control that it was closest to, Macro"
    )
    assert headline(weak, judged("real+strong", 0.639, 0.1), hybrid)[:2] == ("no difference", "real+strong")


def test_a_control_that_validation_did_not_prefer_hinders_a_gain_and_makes_no_harm() -> None:
    arms = [judged("real", 0.6, 0.9), judged("real+strong", 0.8, 0.1), judged("hybrid", 0.7, 0.9)]
    assert headline(*arms)[:2] == ("no difference", "real+strong")


def test_of_equal_arms_a_false_gain_over_every_control_is_rarer_than_one_over_the_strongest() -> None:
    rng, verdicts = np.random.default_rng(4), []
    weights = group_weights([str(i) for i in range(120)], 120, 0)

    def arm(name: str, validation: float) -> JudgedArm:
        opinion = 0.15 * rng.standard_normal((120, 1)) + 0.02 * rng.standard_normal(3)
        per_pair = 0.6 + opinion + 0.05 * rng.standard_normal((120, 3))
        figures = [Figures({"macro_f1": float(value)}) for value in per_pair.mean(axis=0)]
        replicates = {"macro_f1": Replicates(per_pair.mean(axis=0), weights @ per_pair / 120, 120)}
        return JudgedArm(name, "classification", Measured(figures, replicates), validation)

    controls = ("real", "real+oversampling", "real+strong")
    for _ in range(160):
        arms = [arm(name, rng.random()) for name in (*controls, "hybrid")]
        verdicts.append(headline(*arms)[0])
    assert verdicts.count("gain") <= 0.03 * 160 and verdicts.count("harm") <= 0.06 * 160


def test_a_lower_error_is_a_gain() -> None:
    settings = BenchmarkSettings(tasks=("classification",), classification_metrics=("ece",))
    arms = [judged("real", 0.2, 0.2, metric="ece"), judged("hybrid", 0.1, 0.1, metric="ece")]
    (found,) = compare_arms(arms, settings)
    assert found["difference"] < 0 and found["verdict"] == "gain"


def test_no_difference_says_what_could_have_been_shown() -> None:
    arms = [judged("real", 0.6, 0.5), judged("hybrid", 0.6003, 0.5)]
    (found,) = compare_arms(arms, SETTINGS)
    assert found["verdict"] == "no difference" and found["smallest_detectable"] > 0
    assert "this test set could have shown" in sentence("classification", found, 0.95)


def test_the_detectable_difference_of_many_arms_is_found_through_holm_s_correction() -> None:
    names = ("hybrid", "hybrid@2", "hybrid@0.5", "synthetic", "hybrid-ungated")
    rng, found = np.random.default_rng(2), 0
    weights = group_weights([str(i) for i in range(200)], 200, 0)

    def arm(name: str, gain: float, opinion: np.ndarray) -> JudgedArm:
        per_pair = 0.6 + gain + opinion + 0.02 * rng.standard_normal((200, 3))
        figures = [Figures({"macro_f1": float(value)}) for value in per_pair.mean(axis=0)]
        replicates = {"macro_f1": Replicates(per_pair.mean(axis=0), weights @ per_pair / 200, 200)}
        return JudgedArm(name, "classification", Measured(figures, replicates), 0.5)

    for _ in range(80):
        arms = [arm(name, 0.0, 0.15 * rng.standard_normal((200, 1))) for name in ("real", *names)]
        least = compare_arms(arms, SETTINGS)[0]["smallest_detectable"]
        arms[1] = arm("hybrid", least, 0.15 * rng.standard_normal((200, 1)))
        found += compare_arms(arms, SETTINGS)[0]["verdict"] == "gain"
    assert 0.7 <= found / 80 <= 0.9, "four of five, where the difference of a lone test would show in three of five"
    alone, many = compare_arms(arms[:2], SETTINGS)[0], compare_arms(arms, SETTINGS)[0]
    assert alone["interval"] == many["interval"] and alone["smallest_detectable"] < 0.85 * many["smallest_detectable"]


def test_one_seed_gets_no_verdict() -> None:
    arms = [judged("real", 0.5, 0.5, seeds=1), judged("hybrid", 0.9, 0.5, seeds=1)]
    settings = SETTINGS.model_copy(update={"seeds": 1})
    (found,) = compare_arms(arms, settings)
    assert found["verdict"] is None and "one seed" in found["reason"]
    assert "no verdict" in headlines(arms, [found], settings)[0]["sentence"]


def test_low_data_arms_meet_controls_of_their_own_fraction() -> None:
    arms = [judged("real", 0.7, 0.7), judged("real%25", 0.5, 0.5), judged("hybrid%25", 0.6, 0.6)]
    assert [(c["arm"], c["control"]) for c in compare_arms(arms, SETTINGS)] == [("hybrid%25", "real%25")]


def test_every_generated_arm_meets_every_control_and_holm_counts_them() -> None:
    arms = [judged("real", 0.60, 0.5), judged("real+replay", 0.6, 0.6), judged("hybrid", 0.61, 0.6)]
    arms.append(judged("synthetic", 0.3, 0.3))
    found = compare_arms(arms, SETTINGS)
    assert len(found) == 4
    assert [c["arm"] for c in found if c["primary"]] == ["hybrid", "synthetic"]
    assert all(c["p_adjusted"] >= c["p"] for c in found)
    assert next(c for c in found if c["arm"] == "synthetic")["verdict"] == "harm"


def test_without_generated_arms_nothing_is_claimed() -> None:
    (verdict,) = headlines([judged("real", 0.6, 0.5)], [], SETTINGS)
    assert verdict["verdict"] is None and "nothing was compared" in verdict["sentence"]


def test_settings_and_results_load_without_the_heavy_libraries() -> None:
    code = (
        "import sys, evaluate.settings, evaluate.results\n"
        "print([m for m in ('torch', 'timm', 'sklearn', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
