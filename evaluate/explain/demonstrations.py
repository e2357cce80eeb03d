"""What a diagnosis looks like: generated references and the nearest real cases; see also changed pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from augment.prompts import prompt_for
from manifests.errors import BadInput
from manifests.format.schema import path_name

if TYPE_CHECKING:
    from augment.base.folder import BaseFolder
    from augment.fine_detail import FineDetail
    from augment.sampling import PairSampler
    from augment.settings import SamplingSettings
    from evaluate.diagnosis.ensemble import ClassifierDiagnoser
    from manifests.pairs import PairArrays

# Images uint8 (N, S, S, 3) to the probability of the wanted class, (N,).
Likeness = Callable[[np.ndarray], np.ndarray]
DemonstrationKind = Literal["reference", "personalised", "real", "drawn"]
_KEPT = 8  # samplers in memory; each holds a denoiser


@dataclass(frozen=True)
class Demonstration:
    """One picture of a diagnosis.

    image: uint8 (S, S, 3); mask: bool (S, S). Generated ones have a seed, a prompt and, with a class adapter, its
    digest; group_id: of the real pair that their fine detail was taken from. Real and drawn ones have the id of
    their pair, the similarity of their features, and say whether a segmenter found their mask. probability: of the
    class to the run's own classifier, before a picture was changed and after.
    """

    kind: DemonstrationKind
    dx: str
    image: np.ndarray
    mask: np.ndarray
    seed: int | None = None
    prompt: str | None = None
    adapter_digest: str | None = None
    strength: float | None = None
    pair_id: str | None = None
    similarity: float | None = None
    group_id: str | None = None
    probability: tuple[float, float] | None = None
    mask_found: bool = False

    @property
    def synthetic(self) -> bool:
        """Whether a model made the picture, or a part of it."""
        return self.kind not in ("real", "drawn")


@dataclass(frozen=True)
class ClassSampler:
    """The sampler of a class; without an adapter it is the joint base alone, and `problem` says why."""

    sampler: PairSampler
    adapter_digest: str | None
    problem: str | None


class ClassSamplers:
    """Samplers by class, loaded when they are first asked for; the longest unused one is let go."""

    def __init__(self, base: BaseFolder, adapters: Path, sampling: SamplingSettings, dtype: str = "float32") -> None:
        self.base, self.adapters, self.sampling, self.dtype = base, adapters, sampling, dtype
        self._loaded: dict[str, ClassSampler] = {}
        self._plain: PairSampler | None = None

    def of(self, dx: str) -> ClassSampler:
        """The sampler of class `dx`. Raises BadInput where neither an adapter nor a joint base can draw."""
        found = self._loaded.pop(dx, None) or self._load(dx)
        self._loaded[dx] = found
        while len(self._loaded) > _KEPT:
            self._loaded.pop(next(iter(self._loaded)))
        return found

    def any(self, classes: Sequence[str]) -> PairSampler:
        """A sampler that draws masks: the joint base alone, or the first adapter that there is."""
        if self.base.codec is not None:
            return self._alone()
        for dx in classes:
            if (self.adapters / f"{path_name(dx)}.safetensors").is_file():
                return self.of(dx).sampler
        raise BadInput(f"{self.adapters}: no adapter yet and the base has no mask channels; run evenderm adapt")

    def _load(self, dx: str) -> ClassSampler:
        from augment.adapters import read_adapter
        from augment.sampling import PairSampler

        try:
            adapter = read_adapter(self.adapters / f"{path_name(dx)}.safetensors", self.base)
        except BadInput as error:
            if self.base.codec is None:
                raise
            reason = str(error).partition(": ")[2].partition(";")[0] or str(error)
            problem = (
                f"There is no usable adapter for {dx} ({reason}), so its pictures are drawn by the shipped generator "
                "alone and are less like this run's data."
            )
            return ClassSampler(self._alone(), None, problem)
        return ClassSampler(PairSampler(self.base, adapter, self.sampling, self.dtype), adapter.digest, None)

    def _alone(self) -> PairSampler:
        from augment.sampling import PairSampler

        if self._plain is None:
            self._plain = PairSampler(self.base, None, self.sampling, self.dtype)
        return self._plain


def seed_for(*parts: object) -> int:
    """A seed that depends on all of `parts` and nothing else."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")


def references(
    chosen: ClassSampler,
    dx: str,
    count: int,
    seed: int,
    draws: int = 1,
    likeness: Likeness | None = None,
    detail: FineDetail | None = None,
) -> list[Demonstration]:
    """`count` generated pairs of class `dx`: the same for every image of a run, so that people learn to read them.

    Each is the one of `draws` that `likeness` finds most like the class. detail: where what is finer than the
    generator draws is taken from.
    """
    if not count:
        return []
    prompt, draws = prompt_for(dx), draws if likeness else 1
    seeds = [seed_for("reference", seed, dx, index) for index in range(count * draws)]
    drawn = chosen.sampler.draw([prompt] * len(seeds), seeds)
    images, groups = drawn.images, list[str | None]([None] * len(seeds))
    if detail is not None:
        images, groups[:] = detail.onto(drawn.images, drawn.masks, range(len(seeds)))
    like = likeness(images) if likeness else np.zeros(len(seeds))
    return [
        Demonstration("reference", dx, images[place], drawn.masks[place], seeds[place], prompt,
                      chosen.adapter_digest, group_id=groups[place])
        for place in best_of(like, draws)
    ]  # fmt: skip


def best_of(likeness: np.ndarray, draws: int) -> np.ndarray:
    """The place of the highest of each `draws` values that follow each other; likeness: (N * draws,)."""
    rows = likeness.reshape(-1, draws)
    return rows.argmax(axis=1) + draws * np.arange(len(rows))


def nearest_cases(
    diagnoser: ClassifierDiagnoser,
    train: PairArrays,
    image: np.ndarray,
    dx: str,
    count: int,
    drawn: Collection[str] = (),
) -> list[Demonstration]:
    """The run's own training pairs of class `dx` whose features are most like the image's, one per lesion.

    train: the labelled training pairs that the ensemble was made from, in their order; drawn: ids of those that are
    no photographs.
    """
    scale = diagnoser.scales["features"]
    own = (diagnoser.features(image[None])[0] - scale.mean) @ scale.whitening
    similarity = (scale.rows @ own) / np.maximum(np.linalg.norm(scale.rows, axis=1) * np.linalg.norm(own), 1e-9)
    similarity = np.where(train.labels == train.classes.index(dx), similarity, -np.inf)
    chosen: list[int] = []
    groups: set[str] = set()
    for place in np.argsort(-similarity, kind="stable"):
        if len(chosen) == count or not np.isfinite(similarity[place]):
            break
        if train.group_ids[place] not in groups:
            groups.add(train.group_ids[place])
            chosen.append(int(place))
    return [
        Demonstration(
            "drawn" if train.pair_ids[place] in drawn else "real",
            dx,
            np.asarray(train.images[place]),
            np.asarray(train.masks[place]),
            pair_id=train.pair_ids[place],
            similarity=round(float(similarity[place]), 4),
            mask_found=train.predicted is not None and bool(train.predicted[place]),
        )
        for place in chosen
    ]
