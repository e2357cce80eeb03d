"""The tables of the READMEs, made from the JSON files beside this one: `make readmes` fills them in anew.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, NAME being a key of `TABLES`.
"""

from __future__ import annotations

import csv
import json
import re
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluate.pages import wording
from evaluate.sections.external import external_tasks
from evaluate.sections.markdown import least_shown, report_markdown
from evaluate.sections.tasks import TaskResults, task_results
from manifests.markdown import markdown_table

FOLDER = Path(__file__).parent
READMES = ("README.md", *(f"{package}/README.md" for package in ("manifests", "augment", "evaluate", "flows")))
MARKED = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
FIGURE = re.compile(rf"([+{wording.MINUS}]?\d[\d.,]*( \([^a-z]+ to [^a-z]+\)|( min \d+)? s)?)?")


def filled(text: str) -> str:
    """The text of a README with each of its tables as the files say it is now."""
    return MARKED.sub(lambda found: found[1] + "\n" + TABLES[found["name"]]() + "\n\n", text)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of figures alone are set to the right."""
    rows = list(rows)
    numeric = [place for place in range(len(headings)) if all(FIGURE.fullmatch(row[place]) for row in rows)]
    return markdown_table(headings, rows, numeric)


def content(name: str) -> Any:
    """What a JSON file of this folder says."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def verdicts() -> str:
    """One row per task: the control that decides, the hybrid arm, and what may be said of their difference."""
    headings = ("measured on the test split", "real pairs alone", "with generated pairs", "difference", "verdict")
    return table(headings, map(_verdict, task_results(content("isic2017/results.json"))))


def few_pairs() -> str:
    """As `verdicts`, of HAM10000's pairs, all or a hundred; on its own test pairs and on another hospital's."""
    rows: list[tuple[str, ...]] = []
    for name in ("ham10000/results.json", "ham10000/whole.json"):
        results = content(name)
        own = sum(results["arms"][0]["train_counts"]["real"].values())
        tasks = [("HAM10000", task) for task in task_results(results)]
        tasks += [(there["name"], task) for there in results["external"] for task in external_tasks(results, there)]
        rows += [(f"{own:,}", place, task.metric_title(task.primary), *_verdict(task)[1:]) for place, task in tasks]
    headings = ("own pairs", "tested on", "figure", "real", "hybrid", "difference", "verdict")
    return table(headings, rows)


def _verdict(task: TaskResults) -> tuple[str, ...]:
    comparison = (task.verdict or {})["comparison"]
    means = [(task.arm(comparison[side]) or {})["metrics"][task.primary]["mean"] for side in ("control", "arm")]
    model = "classifier" if task.task == "classification" else "U-Net"
    return (
        f"{task.metric_title(task.primary)} of a {model}",
        *(wording.number(mean) for mean in means),
        f"{wording.signed(comparison['difference'])} ({wording.interval(comparison['interval'], with_sign=True)})",
        f"{comparison['verdict']} ({least_shown(comparison, 'share')})".removesuffix(" ()"),
    )


def arms() -> str:
    """Both tables of the run's report.md, without figures that only stand beside."""
    results = content("isic2017/results.json")
    lines = report_markdown(results, task_results(results), ()).splitlines()
    rows = [line.split("|") for line in lines if line.startswith("|")]
    told, kept = [], list[int]()
    for row in rows:
        if "real" in row[2]:  # the headings of a task
            kept = [
                n for n, cell in enumerate(row) if not cell.startswith((" Balanced accuracy", " AUROC", " Jaccard"))
            ]
            told += [""] if told else []
        told.append("|".join(row[n] for n in kept))
    return "\n".join(told)


def times() -> str:
    """What the steps of the run at its defaults took."""
    results = content("isic2017/results.json")
    timings, gates = results["timings"], results["gates"]["all"]
    pairs = sum(sum(by_dx.values()) for by_dx in results["data"]["real"]["counts"].values())
    counts = {
        "prepare": (pairs, "pair"),
        "adapt": (sum(count > 0 for count in results["data"]["real"]["counts"]["train"].values()), "class adapter"),
        "gates": (1, "judge"),
        "synthesise": (gates["candidates"], "candidate"),
        "benchmark": (sum(len(arm["seeds"]) for arm in results["arms"]), "model"),
    }
    rows = [
        (step, wording.times(*counted), wording.duration(timings[step]), f"{timings[step] / counted[0]:.3g} s")
        for step, counted in counts.items()
    ]
    return table(("step", "made", "time", "for one"), rows)


def quality() -> str:
    """What generated pairs of the shipped base are worth: each figure and its bar, by class where it has one."""
    lines = content("quality.json")
    rows: dict[str, dict[str, str]] = {}
    for line in lines:
        figure, _, of = line["name"].partition(": ")
        dx, _, look = of.partition(" ")
        cell = f"{line['value']:.3g}" + ("" if line["bar"] is None else f" / {line['bar']:.3g}")
        cell += " missed" if line["reached"] is False else ""
        rows.setdefault(f"{figure}, {look}" if look else figure, {})[dx or "all"] = cell
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    columns = [*sorted(set(columns) - {"all"}), "all"]
    return table(("value / bar", *columns), [(name, *(row.get(c, "") for c in columns)) for name, row in rows.items()])


def ways() -> str:
    """What each way to draw a pair earns."""
    told = {"variant": "way", "own_class": "own class", "agreement": "agreement", "classes_learned": "AUROC learned",
            "classes_half": "half real", "dice_learned": "Dice learned", "kid": "KID", "copies": "copies",
            "vendi": "Vendi"}  # fmt: skip
    rows = [
        [row["variant"], *(f"{row[name]:.0f}" if name == "kid" else f"{row[name]:.2f}" for name in [*told][1:])]
        for row in content("ablation.json")["ablation_ways"]
    ]
    return table([*told.values()], rows)


def faults() -> str:
    """What became of runs that were struck."""
    campaign = content("faults.json")
    rows = [
        (row["fault"], str(row["times"]), *(_counts(row[key]) for key in ("steps", "ends")))
        for row in campaign["faults"]
    ]
    struck = sum(row["times"] for row in campaign["faults"])
    ends = f"of which {campaign['alike']} ended byte-identical to an undisturbed one (at `{campaign['commit']}`)"
    text = table(("fault", "times", "in step", "the run"), rows)
    return f"{text}\n\n{struck} faults in {campaign['runs']} runs, {ends}."


def _counts(counts: dict[str, int]) -> str:
    return "; ".join(f"{number} {name}" for name, number in counts.items())


SPEED = {
    "adapter": ("adapter training", "diffusers' LoRA loop"),
    "pairs": ("a pair drawn", "50 guided DDIM steps"),
    "defaults": ("a pair drawn", "these in float32"),
    "segmenter": ("segmenter training", "a DataLoader and a plain loop"),
    "reading": ("a pair read from a manifest", "`datasets`"),
    "repeats": ("a pair looked for among generated ones", "all compared"),
}


def speed() -> str:
    """One row per comparison: processor milliseconds of both sides, medians with least and most, and their ratio."""
    with (FOLDER / "speed.csv").open(encoding="utf-8", newline="") as stream:
        lines = {(line["comparison"], line["side"]): line for line in csv.DictReader(stream)}
    rows = []
    for name, (what, peer) in SPEED.items():
        if (ours := lines.get((name, "ours"))) and (theirs := lines.get((name, "theirs"))):
            ratio = f"{float(theirs['seconds']) / float(ours['seconds']):.2g}"
            rows.append((what, peer, _milliseconds(ours), _milliseconds(theirs), ratio))
    return table(("what", "beside", "ours, ms", "theirs, ms", "times as fast"), rows)


def _milliseconds(line: Mapping[str, str]) -> str:
    figures = [1000 * float(line[name]) for name in ("seconds", "least", "most")]
    median, least, most = (f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}" for figure in figures)
    return f"{median} ({least} to {most})"


def growth() -> str:
    """One row per thing measured: seconds by pairs and by classes, the power of pairs that they grow by, and memory."""
    with (FOLDER / "growth.csv").open(encoding="utf-8", newline="") as stream:
        lines = sorted(csv.DictReader(stream), key=lambda line: int(line["pairs"]))
    rows, later_exponent = [], runpy.run_path(str(FOLDER.parent / "tests/benchmarks/growth_plot.py"))["later_exponent"]
    for what in dict.fromkeys(line["what"] for line in lines):
        own = [line for line in lines if line["what"] == what]
        grown = {int(line["pairs"]): line for line in own if line["classes"] == "3"}
        many = [f"{float(line['seconds']):.2g}" for line in own if line["classes"] == "30"]
        power = later_exponent([(n, float(line["seconds"])) for n, line in grown.items()])
        most = max(grown)
        middle = f"{float(grown[10_000]['seconds']):.2g}" if 10_000 in grown else ""
        told = f"{float(grown[most]['seconds']):.0f} at {most:,}" if most > 10_000 else ""
        memory = f"{grown[1000]['peak_mb']} to {grown[most]['peak_mb']}"
        rows.append((what, middle, told, "" if power is None else f"{power:.2f}", *(many or [""]), memory))
    headings = ("seconds for", "10,000 pairs", "most", "power", "in 30 classes", "peak MB")
    told_of = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    return table([headings[place] for place in told_of], [[row[place] for place in told_of] for row in rows])


def limits() -> str:
    """One column per work: what a sample takes, how near that is to the machine's limits, and where the time goes; and
    these limits."""
    found = content("limits.json")
    works = found["work"].values()
    rows = [("GFLOP", *(f"{said['operations'] / 1e9:.3g}" for said in works))]
    rows += [("MB", *(f"{said['bytes'] / 1e6:.0f}" for said in works))]
    rows += [("ms", *(f"{1000 * said['seconds']:.3g}" for said in works))]
    rows += [("% of product rate", *(f"{100 * said['of_products']:.0f}" for said in works))]
    rows += [("% of copy rate", *(f"{100 * said['of_copy']:.0f}" for said in works))]
    kinds = dict.fromkeys(kind for said in works for kind in said["shares"])
    shares = {kind: [said["shares"].get(kind, 0) for said in works] for kind in kinds}
    for kind, taken in sorted(shares.items(), key=lambda one: -sum(one[1])):
        rows += [(f"% in {kind}", *(f"{100 * share:.0f}" for share in taken))] if max(taken) >= 0.04 else []
    headings = ("a sample of", *(f"{name}, {said['precision']}" for name, said in found["work"].items()))
    fp32, bf16, copy = (f"{found['peaks'][name] / 1e9:.0f}" for name in ("fp32", "bf16", "copy"))
    return f"{table(headings, rows)}\n\n100 % are {fp32} GFLOP/s in fp32, {bf16} in bf16; {copy} GB/s."


def found_masks() -> str:
    """One row per dataset whose given masks were hidden from the shipped segmenter and then compared."""
    headings = ("given masks, hidden", "pictures", "mean Dice", "median", "below .7 (%)", "doubtful (%)",
                "Dice of teachers", "below .7 (%)", "pictures/s")  # fmt: skip
    rows = []
    for name, said in content("found_masks.json").items():
        cells = [wording.number(said[key]) for key in ("dice", "dice_median")]
        cells += [f"{100 * said[key]:.1f}" for key in ("failed", "doubtful")]
        cells += [wording.number(said["dice_of_teachers"]), f"{100 * said['failed_of_teachers']:.1f}"]
        rows.append((name, f"{said['pictures']:,}", *cells, f"{said['pictures_per_second']:.0f}"))
    return table(headings, rows)


def seen_by_base() -> str:
    """One row per change of the shipped base's training pictures, changes of equal figures together, and per set of
    pictures that it never saw."""
    found = content("seen_by_base.json")
    rows = []
    for kind, of in (("seen", "own,"), ("unseen", "unseen:")):
        alike: dict[tuple[int, int], list[str]] = {}
        for name, said in found[kind].items():
            alike.setdefault((said["pictures"], said["found"]), []).append(name)
        rows += [(f"{of} {'; '.join(names)}", f"{many:,}", f"{known:,}") for (many, known), names in alike.items()]
    return table(("pictures", "how many", "known"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "verdicts": verdicts,
    "arms": arms,
    "few-pairs": few_pairs,
    "times": times,
    "quality": quality,
    "ways": ways,
    "faults": faults,
    "found-masks": found_masks,
    "seen-by-base": seen_by_base,
    "speed": speed,
    "limits": limits,
    "growth": growth,
}


def main() -> None:
    """Fills in the tables of every README."""
    for name in READMES:
        path = FOLDER.parent / name
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
