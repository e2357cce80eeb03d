"""Training a base from scratch: prepare, decoder, denoiser, base folder; each part resumes by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from flows.engine.process import limit_threads
from flows.engine.watch import TimeLimitReached, Watch
from flows.run.lock import run_lock
from flows.settings import Settings
from manifests.errors import BadInput
from manifests.format.reading import open_manifest

if TYPE_CHECKING:
    from augment.base.folder import BaseFolder
    from augment.training.pretrain import Part, Pretraining
    from manifests.format.reading import Manifest
    from manifests.pairs import PairArrays


def pretrain(
    data: Path,
    out: Path,
    work: Path,
    settings: Settings,
    only: Part | Literal["segmenter", "fingerprints"] | None = None,
    seconds: float = 0,
) -> int:
    """Trains a base on the training split of `data` and writes it to `out`; checkpoints lie in `work`.

    only: the one part to train, beside another process or without an end in sight; no base is written then. The
    segmenter, which finds missing masks, is no part of a base, and is written to `out` in its place; fingerprints are
    written into the base at `out`, for one that was trained on these data without them.
    seconds: how long the denoiser is trained at most, 0 for all its steps; the base is what it has become by then.
    """
    from augment.training.pretrain import Pretraining
    from manifests.prepare.prepare import prepare

    what, mark = ("segmenter", "segmenter.json") if only == "segmenter" else ("base", "model_index.json")
    if out.exists() and any(out.iterdir()) and not (out / mark).exists():
        raise BadInput(f"{out}: is not empty and holds no {what}; choose another --out")
    if only == "fingerprints" and not (out / mark).exists():
        raise BadInput(f"{out}: holds no base; give --out the base that was trained on these data")
    work.mkdir(parents=True, exist_ok=True)
    limit_threads(settings.pretrain.threads)
    watch = Watch(work / "log.jsonl", Console())
    with run_lock(work / f"{only or 'run'}.lock", on_stale=watch.say), watch.bars():
        if not (work / "real" / "manifest.json").exists():
            with watch.task("prepare", "pairs") as progress:
                prepare(data, work / "real", settings.prepare, progress)
        real = open_manifest(work / "real")
        if only == "segmenter":
            _segmenter(real, out, work, settings, watch)
            return 0
        pairs = real.arrays(split="train", cache=work / "arrays")
        if only == "fingerprints":
            _note_what_it_saw(out, pairs, settings, work, watch)
            return 0
        chosen, side = settings.pretrain, settings.base.resolution
        made = Pretraining(pairs, side, chosen, settings.seed, real.digest, work, _start(settings, work))
        for part in (only,) if only else made.parts:
            limit = seconds if part == "denoiser" else 0
            with suppress(TimeLimitReached), watch.task(f"pretrain {part}", "steps", limit) as progress:
                made.train(part, progress)
        if only:
            return 0
        made.write_base(out, _card(made, real))
        _note_what_it_knows(out, real, side, work, watch)
        _note_what_it_saw(out, pairs, settings, work, watch)
    watch.say(f"base: {out}")
    return 0


def _segmenter(real: Manifest, out: Path, work: Path, settings: Settings, watch: Watch) -> None:
    """Trains the segmenter that finds missing masks on given ones, and writes it to `out`."""
    from evaluate.found_masks.pretraining import pretrain_segmenter, write_shipped

    chosen, arrays = settings.finder, work / "arrays"
    train, validation = (real.arrays(split=split, cache=arrays).given() for split in ("train", "validation"))
    for split, pairs in (("training", train), ("validation", validation)):
        if not len(pairs):
            raise BadInput(
                f"{real.location}: no {split} pair has a given mask, from which a segmenter could learn; give data "
                "that have some, prepare.validation_fraction above 0, and another --work"
            )
    with watch.task("pretrain segmenter", "steps") as progress:
        segmenter = pretrain_segmenter(train, chosen, settings.seed, real.digest, work, progress)
    made_of: dict[str, Any] = {"pairs": len(train), "updates": chosen.pretrain_updates, "batch": chosen.batch_size}
    made_of |= {name: sorted(real.header[name]) for name in ("sources", "licences")}
    write_shipped(segmenter, validation, out, {**made_of, "size": chosen.size, "digest": real.digest[:16]})
    watch.say(f"segmenter: {out}")


def _note_what_it_knows(out: Path, real: Manifest, side: int, work: Path, watch: Watch) -> None:
    """Keeps beside the base what its training pairs look like, by which `adapt` knows other data."""
    from evaluate.fidelity.domain import known_domain, save_domain

    train, held_out = (real.arrays(split=split, size=side, cache=work / "arrays") for split in ("train", "validation"))
    try:
        save_domain(known_domain(train, held_out), out)
    except BadInput as error:  # the base serves all the same
        watch.warn(f"{out}: does not say what it knows: {error}")


def _note_what_it_saw(out: Path, pairs: PairArrays, settings: Settings, work: Path, watch: Watch) -> None:
    """Keeps fingerprints of all training pictures beside the base, by which `prepare` keeps them out of tests."""
    from manifests.duplicates.sketches import (
        load_training_pictures,
        save_training_pictures,
        sketches_of,
        training_pictures,
    )

    start, seen = _start(settings, work), [sketches_of(pairs)]
    if start is not None:
        before = load_training_pictures(start.path)
        if before is None:
            watch.warn(f"{out}: carries no fingerprints, because {start.path} does not say what it was trained on")
            return
        seen.insert(0, before.sketches)
    pictures = training_pictures(*seen)
    save_training_pictures(pictures, out)
    watch.say(f"fingerprints: {len(pictures)} pictures, {pictures.digest[:16]}")


def _card(made: Pretraining, real: Manifest) -> Callable[[Path], str]:
    """What writes the card of the base that `made` has become on the training split of `real`."""
    from augment.base.card import base_card

    return partial(
        base_card,
        settings=made.settings,
        resolution=made.side,
        classes=real.counts()["train"],
        sources=sorted(real.header["sources"]),
        licences=sorted(real.header["licences"]),
        data_digest=real.digest,
        samples=made.samples(),
    )


def _start(settings: Settings, work: Path) -> BaseFolder | None:
    """The base to go on from, if there is one. BadInput if it has no mask channels or another size."""
    from augment.base.folder import open_base

    if settings.pretrain.start is None:
        return None
    base = open_base(settings.base.model_copy(update={"path": settings.pretrain.start}), work / "bases")
    if base.codec is None:
        raise BadInput(f"{base.path}: has no mask channels, so pretrain cannot go on from it; adapt can")
    if base.unet_side * base.downscale != settings.base.resolution:
        drawn = base.unet_side * base.downscale
        raise BadInput(f"{base.path}: draws {drawn} px; set base.resolution={drawn} to go on from it")
    return base
