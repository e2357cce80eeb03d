"""The ablation tables as a command: prepare, train the judges once, measure variant by variant, write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from flows.environment import limit_threads
from flows.measuring import subject_of
from flows.run_folder import write_json
from flows.run_lock import run_lock
from flows.settings import Settings
from flows.watching import Watch
from manifests.errors import BadInput
from manifests.progress import Progress

if TYPE_CHECKING:
    from evaluate.ablation import Variant

TITLES = {
    "terms": "Loss terms, one left out at a time",
    "codec": "Mask codecs, round trip of real masks under noise",
    "sampling": "Sampling settings",
}


def ablate(data: Path, what: tuple[str, ...], out: Path, settings: Settings) -> int:
    """Writes ablation.md and results.json with the tables named by `what` (terms, codec, sampling) to `out`.

    Adapters and pairs of a variant that are there already are not made again.
    """
    from evaluate.ablation import variants_table

    for name in what:
        if name not in TITLES:
            raise BadInput(f"--what {name!r} is none of {', '.join(TITLES)}; name one or several with commas")
    out.mkdir(parents=True, exist_ok=True)
    limit_threads(settings.engine.threads)
    watch = Watch(out / "log.jsonl", Console())
    with run_lock(out / "run.lock", on_stale=watch.say), watch.bars():
        tables = {name: _table(name, data, out, settings, watch) for name in what}
    text = "\n".join(variants_table(TITLES[name], variants) for name, variants in tables.items())
    (out / "ablation.md").write_text(text)
    write_json(out / "results.json", {"ablation": {name: [asdict(v) for v in vs] for name, vs in tables.items()}})
    print(text, end="")
    return 0


def _table(name: str, data: Path, out: Path, settings: Settings, watch: Watch) -> list[Variant]:
    from augment.base import open_base
    from evaluate.ablation import ablate_terms, compare_codecs, make_bench, sweep_sampling

    base = open_base(settings.base)
    subject = subject_of(data, base, out, settings, watch)
    if name == "codec":
        return compare_codecs(subject.validation.masks, base, seed=settings.seed)
    with watch.task(f"ablate {name}", "units") as progress:
        bench = make_bench(subject, progress)
        measure: Callable[[Progress], Iterable[Variant]] = (
            (lambda progress: ablate_terms(bench, settings.adapt, progress))
            if name == "terms"
            else (lambda progress: sweep_sampling(bench, progress=progress))
        )
        variants = []
        for variant in measure(progress):
            variants.append(variant)
            watch.say(f"{variant.name}: {json.dumps(variant.figures)}")
    return variants
