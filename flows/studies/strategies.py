"""The strategies command: which way to draw demonstrations is best for a run, and whether they are faithful."""

from __future__ import annotations

import time
from collections import UserDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows.engine.process import limit_threads
from flows.engine.terminal import duration
from flows.engine.watch import Watch
from flows.explain.explain import explainer_of
from flows.run.folder import Job
from flows.run.lock import run_lock
from flows.run.records import file_digest, values_digest
from flows.settings import flat
from flows.steps.prepare import open_real
from manifests.errors import BadInput, EvendermError
from manifests.files import write_json
from manifests.format.schema import path_name
from manifests.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from augment.sampling import PairSampler
    from evaluate.copies.index import CopyIndex
    from evaluate.downstream.classifier import Classifier
    from evaluate.studies.strategies import StrategyMeasures
    from evaluate.studies.strategy_figures import Strategy
    from manifests.pairs import PairArrays


def compare(job: Job, out: Path) -> int:
    """Writes strategies.json, strategies.md and strategies.svg to `out`."""
    from evaluate.studies.strategy_report import strategies_markdown, strategies_plot

    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    limit_threads(job.settings.engine.threads)
    watch = Watch(out / "log.jsonl", Console())
    with run_lock(out / "strategies.lock", on_stale=watch.say), watch.bars():
        with watch.task("models", "updates") as progress:
            explainer_of(job, progress)
            witness = _witness(job, progress)
        with watch.task("strategies", "strategies") as progress:
            document = _measured(job, out, witness, progress)
        write_json(out / "strategies.json", document)
        (out / "strategies.md").write_text(strategies_markdown(document), encoding="utf-8")
        strategies_plot(out / "strategies.svg", document["strategies"], document["best"])
    print(strategies_markdown(document), end="")
    watch.say(f"done in {duration(time.monotonic() - started)}: {out}")
    return 0


def _measured(job: Job, out: Path, witness: Classifier, progress: Progress) -> dict[str, Any]:
    import numpy as np

    from evaluate.studies.strategies import centre_of, compare_strategies, faithfulness, strategies_of
    from evaluate.studies.strategy_figures import best_strategy

    settings, held = job.settings.explain, job.pairs("validation")
    held = held.select(np.flatnonzero((held.labels >= 0) & held.masks.any((1, 2))))
    if not len(held):
        raise BadInput(
            f"{job.folder.real}: no validation pair has a class and a mask; prepare data that have them, with "
            "prepare.validation_fraction above 0"
        )
    chosen = held.select(evenly(held.labels, settings.strategies.images))
    judges, samplers, seed = _judges(job, witness), RankedSamplers(job), job.settings.seed
    features = {dx: witness.features(held.of_class(dx).images) for dx in held.classes if len(held.of_class(dx))}
    adapters = samplers.adapted(held.classes)
    strategies = strategies_of(settings, adapters)

    def strategy_progress(done: int, total: int, **figures: float | str) -> None:
        progress(done, len(strategies) + 1, **figures)

    rows = compare_strategies(
        strategies, chosen, samplers.of, judges, features, seed, strategy_progress, FinishedRows(job, out)
    )
    as_explained = replace(centre_of(settings, adapters), tries=settings.tries)
    references = settings.strategies.references
    draws = settings.reference_draws
    faithful = faithfulness(
        chosen, samplers.of, judges, as_explained, references, draws, seed, detail_of=explainer_of(job).detail_of
    )
    progress(len(strategies) + 1, len(strategies) + 1, strategy="faithfulness")
    least = settings.strategies.least_psnr, settings.strategies.least_dice
    best = best_strategy(rows, *least)
    right = witness.probabilities(held.images).argmax(1) == held.labels
    balanced = float(np.mean([right[held.labels == label].mean() for label in np.unique(held.labels)]))
    return {
        "strategies": rows,
        "faithfulness": faithful,
        "best": best["name"] if best else None,
        "witness": {"model": settings.strategies.witness.model, "accuracy": round(float(right.mean()), 4),
                    "balanced_accuracy": round(balanced, 4)},
        "sentence": _sentence(best, *least),
        "notes": f"Intervals are 95 % bootstrap intervals over {len(chosen)} held-out pairs, each turned into every "
        f"other class. The witness, a {settings.strategies.witness.model} that neither generator nor gates nor "
        f"diagnoser have seen, names {100 * right.mean():.0f} % of held-out real images rightly "
        f"({100 * balanced:.0f} % on average over the classes); what it recognises is worth no more than that.",
    }  # fmt: skip


def evenly(labels: np.ndarray, count: int) -> np.ndarray:
    """Places of about `count` of labels (N,), as many of each class as there are, spread over each class."""
    import numpy as np

    classes = np.unique(labels)
    share = max(1, count // len(classes))
    places = [np.flatnonzero(labels == label) for label in classes]
    spread = [own[np.unique(np.linspace(0, len(own) - 1, min(share, len(own))).astype(int))] for own in places]
    return np.sort(np.concatenate(spread))


def _sentence(best: Any, least_psnr: float, least_dice: float) -> str:
    kept = f"keep the skin outside the mask ({least_psnr:g} dB) and the lesion inside it (Dice {100 * least_dice:g} %)"
    return f"Best of those that {kept}: {best['name']}." if best else f"There are none that {kept}."


def _judges(job: Job, witness: Classifier) -> StrategyMeasures:
    from evaluate.explain.localisation import run_segmenters
    from evaluate.gates.fitting import lesion_masks
    from evaluate.studies.strategies import StrategyMeasures

    settings, folder, train = job.settings.explain, job.folder.work / "explain", job.pairs("train")
    nets = run_segmenters(job.folder.judge, folder, train, settings.localiser, job.settings.seed)
    return StrategyMeasures(
        witness.probabilities,
        witness.features,
        lambda images: lesion_masks(nets, images, 32),
        _copies(job, train),
        explainer_of(job).ensemble.probabilities,
    )


class FinishedRows(UserDict[str, Any]):
    """Rows of an interrupted comparison by name, in a file that is written with each; those of other inputs are
    let go."""

    def __init__(self, job: Job, out: Path) -> None:
        from evaluate.parts import finished_record

        samplers = explainer_of(job).samplers
        adapters = [file_digest(path) for path in sorted(samplers.adapters.glob("*.*"))]
        parts = [open_real(job).digest, samplers.base.digest, adapters, job.settings.seed]
        parts += [flat(job.settings.explain), flat(job.settings.sampling)]
        self._digest = values_digest(*parts)
        self._path = out / ".rows.json"
        super().__init__((finished_record(self._path, self._digest) or {}).get("rows", {}))

    def __setitem__(self, name: str, row: Any) -> None:
        super().__setitem__(name, row)
        write_json(self._path, {"digest": self._digest, "rows": self.data})


class RankedSamplers:
    """The run's samplers by class and rank of the class adapter, loaded when they are first asked for."""

    def __init__(self, job: Job) -> None:
        self._job, self._samplers = job, explainer_of(job).samplers
        self._reduced: dict[tuple[str, int], PairSampler] = {}

    def adapted(self, classes: Sequence[str]) -> bool:
        """Whether a class has an adapter that fits the base."""
        from evaluate.studies.strategy_figures import Strategy

        return any(self.of(dx, Strategy("text", 1.0, 1.0)) is not None for dx in classes)

    def of(self, dx: str, strategy: Strategy) -> PairSampler | None:
        """The sampler that a strategy asks for; None where the run has none, as without an adapter."""
        from augment.adapters import read_adapter
        from augment.sampling import PairSampler
        from evaluate.studies.strategy_figures import at_rank

        if strategy.rank == 0:
            return self._samplers.any(()) if self._samplers.base.codec is not None else None
        try:
            whole = self._samplers.of(dx)
        except EvendermError:
            return None
        if strategy.rank is None or whole.adapter_digest is None:
            return whole.sampler if whole.adapter_digest else None
        if (dx, strategy.rank) not in self._reduced:
            base = self._samplers.base
            adapter = at_rank(
                read_adapter(self._job.folder.adapters / f"{path_name(dx)}.safetensors", base), strategy.rank
            )
            settings = self._job.settings
            self._reduced[dx, strategy.rank] = PairSampler(base, adapter, settings.sampling, settings.base.dtype)
        return self._reduced[dx, strategy.rank]


def _copies(job: Job, train: PairArrays) -> CopyIndex:
    from evaluate.copies.index import CopyIndex

    kept = job.folder.copies
    if (kept / "index.json").is_file():
        return CopyIndex.load(kept)
    index = CopyIndex.build(train.images, train.pair_ids, train.group_ids, job.settings.gates.copies)
    return index.calibrated(train.images, job.settings.seed)


def _witness(job: Job, progress: Progress) -> Classifier:
    """The independent classifier, trained on the real training split, from the work folder where it is there."""
    import numpy as np

    from evaluate.downstream.classifier import Classifier
    from evaluate.downstream.training import Regime, Stage
    from evaluate.parts import finished_record, pairs_digest, part_digest

    settings, folder = job.settings.explain.strategies.witness, job.folder.work / "explain" / "witness"
    train = job.pairs("train")
    known = train.select(np.flatnonzero(train.labels >= 0))
    digest = part_digest(pairs_digest(known), settings.model_dump(mode="json"), job.settings.seed)
    record = folder / "digest.json"
    if finished_record(record, digest) is not None:
        return Classifier.load(folder)
    witness = Classifier(settings, known.classes)
    weights = 1 / np.bincount(known.labels, minlength=len(known.classes))[known.labels]
    # A seed far from those of the ensemble's members.
    witness.fit(known, seed=job.settings.seed + 7919, regime=Regime((Stage(weights),)), progress=progress)
    witness.save(folder)
    write_json(record, {"digest": digest})
    return witness
