"""A finished run folder to report on: small manifests of drawn pairs, and results that fit them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluate.metrics.classification import classification_names, metric_info
from evaluate.report.history import append_history
from evaluate.results import write_results
from evaluate.settings.arms import parse_arm
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.format.reading import Manifest
from tests.evaluate.report.audit_fixture import make_audits
from tests.evaluate.report.drawn_manifests import Draw, drawn_pair, write_real, write_synthetic

TIMINGS = {
    "prepare": 19.4,
    "adapt": 205.1,
    "synthesise": 371.0,
    "benchmark": 684.2,
    "downstream": {"data": 10.5, "training": 465.0, "validation": 33.0, "test": 16.5},
}
CLASSIFICATION_ARMS = ("real", "real+oversampling", "hybrid", "synthetic")
SEGMENTATION_ARMS = ("real", "real+replay", "hybrid", "synthetic")
SEEDS = (0, 1, 2)
SEGMENTATION_METRICS = ("dice", "jaccard", "thresholded_jaccard", "hd95", "boundary_f1")


def make_results(
    real: Manifest,
    synthetic: Manifest | None,
    *,
    tasks: Sequence[str] = ("classification", "segmentation"),
    extra_arms: Sequence[str] = (),
    gain: float = 0.02,
) -> dict[str, Any]:
    """Results that fit the manifests; `gain` is how much better arms with generated pairs are."""
    arms = []
    for task in tasks:
        names = CLASSIFICATION_ARMS if task == "classification" else SEGMENTATION_ARMS
        for name in (*names, *extra_arms):
            if synthetic is not None or parse_arm(name).is_control:
                arms.append(_arm(name, task, real, synthetic, gain))
    comparisons = [c for task in tasks for c in _comparisons(task, arms)]
    names = dict.fromkeys(name for arm in arms for name in arm["metrics"])
    infos = {name: metric_info(name) for name in names}
    return {
        "schema_version": 2,
        "environment": {"python": "3.11.9", "platform": "Linux", "processors": 2, "torch": "2.15.0"},
        "settings": BenchmarkSettings().model_dump(mode="json"),
        "data": _data(real, synthetic),
        "metrics": {
            name: {"title": i.title, "higher_is_better": i.higher_is_better, "unit": i.unit}
            for name, i in infos.items()
        },
        "verdicts": [_verdict(task, comparisons) for task in tasks],
        "arms": arms,
        "comparisons": comparisons,
        "fidelity": None,
        "copies": None,
        "gates": None,
        "timings": TIMINGS,
        "pilot": [_pilot(task) for task in tasks],
    }


def _pilot(task: str) -> dict[str, Any]:
    rungs = [{"updates": 62, "scores": {"real": 0.5}}, {"updates": 125, "scores": {"real": 0.6}}]
    rungs.append({"updates": 250, "scores": {"real": 0.61}})
    return {"task": task, "chosen": 250, "plateau": 0.005, "rungs": rungs}


def _data(real: Manifest, synthetic: Manifest | None) -> dict[str, Any]:
    made = None
    if synthetic is not None:
        made = {"digest": synthetic.digest, "counts": synthetic.counts()["train"]}
    return {
        "real": {"digest": real.digest, "counts": real.counts(), "drawn": real.drawn},
        "synthetic": made,
        "classes": list(real.classes),
        "rare_classes": ["bkl", "mel"],
        "test_groups": 18,
        "notes": ["The source names no lesions; near-duplicates were clustered instead."],
        "skipped_arms": [],
    }


def _arm(name: str, task: str, real: Manifest, synthetic: Manifest | None, gain: float) -> dict[str, Any]:
    arm = parse_arm(name)
    lift = (0 if arm.is_control else gain * min(arm.ratio, 1.5)) - 0.08 * (1 - arm.part)
    lift -= 0.12 * (arm.base == "synthetic") - 0.01 * ("+" in name)
    by_class = task == "classification"
    names = classification_names(real.classes, ("bkl", "mel")) if by_class else SEGMENTATION_METRICS
    counts = {dx: round(n * arm.part) for dx, n in real.counts()["train"].items()}
    made = dict(synthetic.counts()["train"]) if synthetic is not None and not arm.is_control else {}
    decisive = "macro_f1" if by_class else "dice"
    train_counts = {"real": {} if arm.base == "synthetic" else counts, "synthetic": made}
    metrics = {metric: _metric(metric, lift) for metric in names}
    return {
        "name": name, "task": task, "role": "control" if arm.is_control else "generated",
        "description": f"what {arm.base} draws from", "ratio": arm.ratio, "fraction": arm.part,
        "train_counts": train_counts, "draws": train_counts, "updates": 250, "seeds": list(SEEDS),
        "model": "mobilenetv3_small_100", "parameters": 1_520_905, "encoder_weights": None,
        "validation": {"metric": names[0], "mean": 0.6 + lift, "per_seed": [0.6 + lift] * 3},
        "metrics": metrics,
        "runs": [_run(seed, lift) for seed in SEEDS],
        "confusion": [[14.0, 3.0, 4.0], [2.3, 31.0, 9.7], [3.0, 7.0, 80.3]] if by_class else None,
        "calibration": _calibration() if by_class else None,
        "subgroups": [_subgroup("sex", value, decisive, lift) for value in ("female", "male")],
    }  # fmt: skip


def _metric(name: str, lift: float) -> dict[str, Any]:
    low_is_good = not metric_info(name).higher_is_better
    base = {"hd95": 6.4, "ece": 0.09}.get(name, 0.55 + 0.03 * (sum(map(ord, name)) % 9))
    mean = base * (1 - lift) if low_is_good else base + lift
    half = 0.04 if name != "hd95" else 0.8
    return {
        "mean": mean,
        "interval": [mean - half, mean + half],
        "per_seed": [mean - 0.01, mean, mean + 0.01],
        "reason": None,
    }


def _run(seed: int, lift: float) -> dict[str, Any]:
    curve = [
        {
            "update": 50 * step,
            "loss": 1.1 / step,
            "validation": 0.45 + lift + 0.04 * step - 0.01 * (step == 4 + seed),
        }
        for step in range(1, 6)
    ]
    return {"seed": seed, "updates": 250, "selected_update": 250, "curve": curve}


def _calibration() -> list[dict[str, Any]]:
    rows = []
    for place in range(15):
        filled = place >= 5
        middle = (place + 0.5) / 15
        rows.append(
            {
                "lower": place / 15,
                "upper": (place + 1) / 15,
                "pairs": float(4 * place) if filled else 0.0,
                "confidence": middle if filled else None,
                "accuracy": 0.15 + 0.78 * middle if filled else None,
            }
        )
    return rows


def _subgroup(attribute: str, value: str, metric: str, lift: float) -> dict[str, Any]:
    shifted = _metric(metric, lift - 0.03 * (value == "male"))
    return {"attribute": attribute, "value": value, "pairs": 61, "metrics": {metric: shifted}}


def external_set(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the arms of `results` reached on an external set: ten points less, and the same differences."""
    arms = []
    for arm in results["arms"]:
        metrics = {key: _moved(value, -0.1) for key, value in arm["metrics"].items()}
        arms.append({"task": arm["task"], "name": arm["name"], "metrics": metrics})
    return {
        "name": name, "digest": "d" * 64, "counts": {"bkl": 4, "mel": 9, "nv": 30}, "groups": 41,
        "left_out": {"df": 3}, "seen": 0, "notes": ["3 pairs of <b>df</b> are left out."], "arms": arms,
        "comparisons": results["comparisons"], "verdicts": results["verdicts"],
    }  # fmt: skip


def _moved(metric: Mapping[str, Any], by: float) -> dict[str, Any]:
    return {**metric, "mean": metric["mean"] + by, "interval": [bound + by for bound in metric["interval"]]}


def _comparisons(task: str, arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    of_task = [arm for arm in arms if arm["task"] == task]
    compared = ("macro_f1", "balanced_accuracy", "auroc") if task == "classification" else ("dice", "jaccard")
    found = []
    for arm in of_task:
        fraction = arm["fraction"]
        controls = [a for a in of_task if a["role"] == "control" and a["fraction"] == fraction]
        if arm["role"] == "control" or not controls:
            continue
        strongest = max(controls, key=lambda a: a["validation"]["mean"])
        for metric in compared:
            found.append(_comparison(task, arm, strongest, metric, True, metric == compared[0]))
        found += [_comparison(task, arm, c, compared[0], False, False) for c in controls if c is not strongest]
    return found


def _comparison(
    task: str, arm: Mapping[str, Any], control: Mapping[str, Any], metric: str, strongest: bool, primary: bool
) -> dict[str, Any]:
    difference = arm["metrics"][metric]["mean"] - control["metrics"][metric]["mean"]
    half = 0.03
    shown = abs(difference) >= half
    return {
        "task": task, "arm": arm["name"], "control": control["name"], "metric": metric,
        "difference": difference, "interval": [difference - half, difference + half],
        "p": 0.04 if shown else 0.41, "p_adjusted": 0.048 if shown else 0.82,
        "verdict": ("gain" if difference > 0 else "harm") if shown else "no difference",
        "smallest_detectable": 0.043,
        "strongest_control": strongest, "primary": primary, "reason": None,
    }  # fmt: skip


def _verdict(task: str, comparisons: Sequence[dict[str, Any]]) -> dict[str, Any]:
    chosen = next((c for c in comparisons if c["task"] == task and c["primary"] and c["arm"] == "hybrid"), None)
    if chosen is None:
        sentence = f"{task}: nothing was compared, because no arm used generated pairs."
        return {"task": task, "verdict": None, "sentence": sentence, "comparison": None}
    return {
        "task": task,
        "verdict": chosen["verdict"],
        "sentence": f"{task}: {chosen['verdict']}.",
        "comparison": chosen,
    }


def write_run(
    folder: Path,
    *,
    draw: Draw = drawn_pair,
    with_synthetic: bool = True,
    audited: bool = False,
    text: Mapping[str, str] | None = None,
    **content: Any,
) -> dict[str, Any]:
    """A whole run folder, with audits if `audited`; the results that it holds; text: see `write_real`."""
    real = write_real(folder / "real", draw, text=text)
    synthetic = write_synthetic(folder / "synthetic", draw) if with_synthetic else None
    results = make_results(real, synthetic, **content)
    if audited and synthetic is not None:
        results |= make_audits(synthetic)
    write_results(folder / "results.json", results)
    settings = {"seed": 0, "adapt": {"steps": 300, "rank": 16}, "benchmark": results["settings"]}
    job = {"schema_version": 1, "data": "/data/lesions/drawn", "preset": "embedded", "settings": settings}
    (folder / "settings.json").write_text(json.dumps(job))
    return results


def append_runs(results: Path, history: Path, runs: int = 2) -> None:
    """Appends as many runs to a history as alike as nightly ones are: in everything but their timings."""
    found = json.loads(results.read_text())
    for run in range(runs):
        results.write_text(json.dumps(found | {"timings": found["timings"] | {"prepare": 19.0 + run}}))
        append_history(results, history)
