"""The ablation tables as a command: prepare, train the judges once, measure variant by variant, write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from evaluate.results import ABLATION, known_results, write_results
from evaluate.settings.arms import parse_arm
from flows.engine.process import limit_threads
from flows.engine.watch import Watch
from flows.judging.low_data import folder_name
from flows.run.folder import RunFolder
from flows.run.lock import run_lock
from flows.run.records import amend_outputs
from flows.settings import Settings
from flows.steps.domain import DOMAIN
from flows.studies.quality import subject_of
from manifests.errors import BadInput

if TYPE_CHECKING:
    from augment.base.folder import BaseFolder
    from evaluate.settings.benchmark import BenchmarkSettings
    from evaluate.studies.ablation import Variant

TITLES = {
    "terms": "Loss terms, one taken out or in at a time",
    "codec": "Mask codecs, round trip of real masks under noise",
    "trained-codec": "Mask codecs, domain adapters trained with each",
    "adapters": "Class adapters, what LoRA sits on and how fast it learns",
    "sampling": "Sampling settings, one changed at a time",
    "ways": "Ways to draw a pair, the same numbers of each",
    "adapted": "A run's adapters, class by class",
    "given": "Given masks and pictures, by rounds through each noise level",
    "recipes": "Uses of the same generated pairs, on validation",
}


def ablate(data: Path, what: tuple[str, ...], out: Path, settings: Settings) -> int:
    """Writes ablation.md, and the tables named by `what` (keys of `TITLES`) into results.json in `out`.

    Tables of earlier commands stay, and a table grows with each variant. Where `out` is a finished run, its results
    gain the tables and its report shows them. Adapters and pairs of a variant that are there already are not made
    again. For `recipes` and `adapted`, `data` is the folder of a run.
    """
    for name in what:
        if name not in TITLES:
            raise BadInput(f"--what {name!r} is none of {', '.join(TITLES)}; name one or several with commas")
    out.mkdir(parents=True, exist_ok=True)
    limit_threads(settings.engine.threads)
    watch = Watch(out / "log.jsonl", Console())
    with run_lock(out / "run.lock", on_stale=watch.say), watch.bars():
        for name in what:
            rows: list[dict[str, Any]] = []
            for variant in _variants(name, data, out, settings, watch):
                rows.append({"variant": variant.name, **variant.figures})
                # After each: what was measured before a kill is not lost.
                amend_outputs(RunFolder(out), "benchmark", partial(add_table, out, name, rows))
    print((out / "ablation.md").read_text(encoding="utf-8"), end="")
    return 0


def add_table(out: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Adds one table to results.json and ablation.md, and to the report where there is one."""
    from evaluate.report.page import write_report
    from evaluate.studies.ablation import variants_table

    results = known_results(out / "results.json") | {f"{ABLATION}{name}": rows}
    write_results(out / "results.json", results)
    tables = [(title, results.get(f"{ABLATION}{key}")) for key, title in TITLES.items()]
    text = "\n".join(variants_table(title, found) for title, found in tables if found)
    (out / "ablation.md").write_text(text, encoding="utf-8")
    if (out / "report.html").exists():
        write_report(out)


def _variants(name: str, data: Path, out: Path, settings: Settings, watch: Watch) -> Iterator[Variant]:
    """The variants of one table as they are measured."""
    from augment.base.folder import open_base
    from evaluate.studies.ablation import (
        ablate_adapters,
        ablate_codecs,
        ablate_given,
        ablate_terms,
        compare_codecs,
        make_bench,
        sweep_sampling,
    )
    from evaluate.studies.ways import ablate_ways

    if name == "recipes":
        yield from _recipes(RunFolder(data), settings.benchmark, RunFolder(out), watch)
        return
    base = open_base(settings.base, RunFolder(out).bases)
    if name == "adapted":
        yield from _adapted(RunFolder(data), base, settings, RunFolder(out), watch)
        return
    subject = subject_of(data, base, out, settings, watch)
    if name == "codec":
        yield from compare_codecs(subject.validation.masks, base, seed=settings.seed)
        return
    with watch.task(f"ablate {name}", "units") as progress:
        if name == "adapters":
            yield from ablate_adapters(subject, settings.adapt, progress)
            return
        if name == "ways":
            yield from ablate_ways(subject, progress)
            return
        bench = make_bench(subject, progress)
        measured = {
            "terms": partial(ablate_terms, bench, settings.adapt, progress),
            "trained-codec": partial(ablate_codecs, bench, settings.adapt, progress),
            "sampling": partial(sweep_sampling, bench, progress=progress),
            "given": partial(ablate_given, bench, progress=progress),
        }
        for variant in measured[name]():
            watch.say(f"{variant.name}: {json.dumps(variant.figures)}")
            yield variant


def _recipes(run: RunFolder, benchmark: BenchmarkSettings, out: RunFolder, watch: Watch) -> Iterator[Variant]:
    """Of the pairs of a run, or of the first of `benchmark.low_data` parts that it has generated pairs of."""
    from evaluate.benchmark.pools import judged_pairs, load_pools
    from evaluate.studies.recipes import Stock, compare_recipes
    from manifests.format.reading import open_manifest

    part = next(iter(benchmark.low_data), 1)
    made = run.synthetic if part == 1 else run.low_data / folder_name(part) / "synthetic"
    real, synthetic = open_manifest(run.real), open_manifest(made)
    arm = parse_arm("hybrid").model_copy(update={"part": part})
    told = synthetic.table(["pair_id", "way"], split="train").to_pydict()
    ways = dict(zip(told["pair_id"], told["way"], strict=True))
    for task in benchmark.tasks:
        pools = load_pools(arm, task, real, synthetic, benchmark, out.arrays)
        if pools.accepted is None or not len(pools.accepted):
            raise BadInput(f"{made} has no accepted pair that {task} can use; name a run that has, or other tasks")
        judged = judged_pairs(task, real, "validation", benchmark, out.arrays)
        drawn = [ways[pair_id] for pair_id in pools.accepted.pair_ids]
        stock = Stock(task, pools.real, pools.accepted, drawn, judged, benchmark)
        with watch.task(f"recipes {task}", "trainings") as progress:
            for variant in compare_recipes(stock, out.work / "recipes", progress):
                watch.say(f"{variant.name}: {json.dumps(variant.figures)}")
                yield variant


def _adapted(run: RunFolder, base: BaseFolder, settings: Settings, out: RunFolder, watch: Watch) -> Iterator[Variant]:
    """Of the adapters of a run, those of all its classes; without a domain stage too, where it had one."""
    from augment.adapters import read_adapter
    from evaluate.studies.adapted import ablate_adapted
    from evaluate.studies.quality import BaseStudy

    side = base.unet_side * base.downscale
    train, held = (run.pairs(split, side).masked() for split in ("train", "validation"))
    there = {dx: run.adapter(dx) for dx in train.classes if run.adapter(dx).exists()}
    if not there:
        raise BadInput(f"{run.path} has no adapter; name the folder of a run that has trained some")
    adapters = {dx: read_adapter(path, base) for dx, path in there.items()}
    straight = settings.adapt if run.adapter(DOMAIN).exists() else None
    work, detail = out.work / "adapted", settings.synthesis.detail
    subject = BaseStudy(train, held, base, settings.sampling, settings.quality, work, settings.seed, detail)
    with watch.task("ablate adapted", "units") as progress:
        for variant in ablate_adapted(subject, adapters, straight, progress):
            watch.say(f"{variant.name}: {json.dumps(variant.figures)}")
            yield variant
