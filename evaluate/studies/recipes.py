"""How generated pairs are used best: the same pairs, models and updates, drawn and learned from in other ways.

Everything is judged on validation pairs, so that what is chosen here can still be tested. Where a recipe takes more
updates than the others, its name says so, and real pairs alone stand beside it with as many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.benchmark.arms import PASTED, Pools, arm_data, hybrid_weights
from evaluate.benchmark.cells import new_model
from evaluate.downstream.classifier import Classifier, selection_score
from evaluate.downstream.training import Regime, Stage
from evaluate.parts import Parts, pairs_digest, part_digest
from evaluate.settings.arms import Task, parse_arm
from evaluate.settings.benchmark import BenchmarkSettings
from evaluate.studies.ablation import Variant
from evaluate.studies.transfer import dice_of, dices_of, macro_f1
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
WORTH, SMOOTHED = 0.3, 0.2
"""Weight of a generated pair in the loss, and the part of its label that is spread over all classes."""
CURRICULUM = (0.9, 0.6, 0.3, 0.0)
LENGTHS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Recipe:
    """What is drawn and how it is learned from. times: updates, in those of all others."""

    pairs: PairArrays
    regime: Regime
    times: int = 1


@dataclass(frozen=True)
class Stock:
    """Real and generated training pairs that a task can use, validation pairs that judge, and how models are trained.

    ways: how each generated pair was drawn.
    """

    task: Task
    real: PairArrays
    generated: PairArrays
    ways: Sequence[str]
    validation: PairArrays
    settings: BenchmarkSettings

    @cached_property
    def right(self) -> np.ndarray:
        """How far a model of real pairs alone agrees with each generated pair, from 0 to 1, (M,): the probability of
        its class, or the Dice of its mask."""
        model = new_model(self.task, self.settings, self.real.classes)
        control = self.arm(CONTROL[self.task])
        model.fit(control.pairs, seed=self.settings.first_seed, regime=control.regime, validation=self.validation)
        if isinstance(model, Classifier):
            return model.probabilities(self.generated.images)[np.arange(len(self.generated)), self.generated.labels]
        return dices_of(model, self.generated)

    def arm(self, name: str, times: int = 1) -> Recipe:
        """An arm of the benchmark."""
        data = arm_data(parse_arm(name), Pools(self.real, self.generated), self.settings.then_real, self.task)
        return Recipe(data.pairs, data.regime, times)

    def hybrid(self, ratio: float = 1.0, among: np.ndarray | None = None, **regime: Any) -> Recipe:
        """Real pairs and the generated ones of the mask `among` (M,), or all, in the proportion of `ratio`."""
        chosen = self.generated if among is None else self.generated.select(np.flatnonzero(among))
        weights = hybrid_weights(self.real.labels, chosen.labels, ratio, self.task)
        return Recipe(self.real.concatenate(chosen), Regime((Stage(weights),), **regime))

    def weighed(self, worth: np.ndarray) -> Recipe:
        """As `hybrid`, generated pairs of each class drawn in proportion to `worth` (M,)."""
        both = self.hybrid()
        weights, count = both.regime.stages[0].weights.copy(), len(self.real)
        for label in np.unique(self.generated.labels):
            own = count + np.flatnonzero(self.generated.labels == label)
            share = worth[own - count] + 1e-6
            weights[own] = weights[own].sum() * share / share.sum()
        return replace(both, regime=Regime((Stage(weights),)))

    def staged(self, stages: Sequence[tuple[float, float]], times: int = 1) -> Recipe:
        """Stages of (share of generated pairs, length)."""
        count = len(self.real)
        even = self.hybrid().regime.stages[0].weights

        def stage(share: float, length: float) -> Stage:
            real, drawn = even[:count] / even[:count].sum(), even[count:] / even[count:].sum()
            return Stage(np.r_[(1 - share) * real, share * drawn], length)

        both = self.real.concatenate(self.generated)
        return Recipe(both, Regime(tuple(stage(*one) for one in stages)), times)

    def retarget(self, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, np.ndarray], Tensor]:
        """A regime's change of targets, which leaves those of real pairs as they are."""
        import torch

        def changed(targets: Tensor, rows: np.ndarray) -> Tensor:
            drawn = torch.from_numpy(rows >= len(self.real)).to(targets.device)
            return torch.where(drawn.view(-1, *[1] * (targets.ndim - 1)), change(targets), targets)

        return changed


CONTROL: dict[Task, str] = {"classification": "real+oversampling", "segmentation": "real"}


def recipes(stock: Stock) -> dict[str, Callable[[], Recipe]]:
    """Every recipe of a task by its name, the control first; none is made before it is wanted."""
    count, classes = len(stock.generated), len(stock.real.classes)
    of_class = np.bincount(stock.real.labels, minlength=classes)
    spread = 1 / (classes if stock.task == "classification" else 2)
    found: dict[str, Callable[[], Recipe]] = {
        "real pairs alone": lambda: stock.arm(CONTROL[stock.task]),
        **{f"{100 * share:g} % generated": partial(_shared, stock, share) for share in SHARES},
        "half generated, a third of the generated pairs": lambda: stock.hybrid(among=np.arange(count) % 3 == 0),
        "labels of generated pairs smoothed": lambda: stock.hybrid(
            retarget=stock.retarget(lambda targets: (1 - SMOOTHED) * targets + SMOOTHED * spread)
        ),
        "generated pairs that a model of real ones knows": lambda: stock.weighed(stock.right),
        "generated pairs that a model of real ones does not know": lambda: stock.weighed(1 - stock.right),
        "generated pairs that it is unsure of": lambda: stock.weighed(stock.right * (1 - stock.right)),
        "half of all lesions in other skin": lambda: stock.hybrid(pasted=PASTED),
        "ever fewer generated pairs": lambda: stock.staged([(share, 1 / len(CURRICULUM)) for share in CURRICULUM]),
        **{
            f"generated pairs first, real ones for {100 * length:g} % of the updates": partial(
                stock.staged, [(1.0, 1 - length), (0.0, length)]
            )
            for length in LENGTHS
        },
        "generated pairs first, then all updates on real ones": lambda: stock.staged([(1.0, 0.5), (0.0, 0.5)], 2),
        "real pairs alone, twice the updates": lambda: stock.arm(CONTROL[stock.task], 2),
        "generated pairs alone": lambda: stock.arm("synthetic"),
        **{f"half generated, by {way} alone": partial(_by_way, stock, way) for way in sorted(set(stock.ways))},
    }
    if stock.task == "classification":
        rare = of_class < of_class[of_class > 0].mean()
        found["half generated in rare classes alone"] = lambda: stock.hybrid(among=rare[stock.generated.labels])
        # A target that sums to less than one makes cross-entropy weigh less.
        found[f"generated pairs weigh {WORTH:g} in the loss"] = lambda: stock.hybrid(
            retarget=stock.retarget(lambda targets: WORTH * targets)
        )
    return found


def _shared(stock: Stock, share: float) -> Recipe:
    """`share` of the draws of a class that has generated pairs are generated; for masks, of all draws."""
    if stock.task == "segmentation":
        return stock.staged([(share, 1.0)])
    return stock.hybrid(share / (1 - share))


def _by_way(stock: Stock, way: str) -> Recipe:
    """As many generated pairs of a way as the rarest way has, in each class."""
    ways = np.array(stock.ways)
    chosen = np.zeros(len(ways), bool)
    for label in np.unique(stock.generated.labels):
        own = stock.generated.labels == label
        least = min((own & (ways == one)).sum() for one in set(stock.ways))
        chosen[np.flatnonzero(own & (ways == way))[:least]] = True
    return stock.hybrid(among=chosen)


def compare_recipes(stock: Stock, folder: Path, progress: Progress = no_progress) -> Iterator[Variant]:
    """Each recipe's figures on validation: mean and deviation over seeds of macro-F1 and AUROC, or of Dice.

    Trainings that are finished in `folder` are not repeated.
    """
    settings = stock.settings
    data = part_digest(pairs_digest(stock.real), pairs_digest(stock.generated), pairs_digest(stock.validation))
    plans, seeds = recipes(stock), range(settings.first_seed, settings.first_seed + settings.seeds)
    parts = Parts(folder, progress, len(plans) * len(seeds))
    for number, (name, make) in enumerate(plans.items()):
        told = [name, stock.task, settings.training(stock.task).model_dump(mode="json", exclude={"device"})]
        scores = [
            parts.make(
                f"{stock.task}-{number}-{seed}", part_digest(data, *told, seed), 1, partial(_scores, stock, make, seed)
            )
            for seed in seeds
        ]
        figures: dict[str, float | None] = {}
        for figure in ("macro_f1", "auroc", "dice"):
            values = [score[figure] for score in scores if figure in score]
            figures |= {figure: float(np.mean(values)) if values else None}
            figures |= {f"{figure}_deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None}
        yield Variant(f"{stock.task}: {name}", figures)


def _scores(stock: Stock, make: Callable[[], Recipe], seed: int, folder: Path, progress: Progress) -> dict[str, float]:
    """Of one training, on validation; nothing is kept in `folder`."""
    recipe = make()
    model = new_model(stock.task, stock.settings, stock.real.classes)
    updates = recipe.times * stock.settings.training(stock.task).updates
    held = stock.validation
    model.fit(recipe.pairs, updates=updates, seed=seed, regime=recipe.regime, validation=held, progress=progress)
    if isinstance(model, Classifier):
        found = model.probabilities(held.images)
        return {"macro_f1": macro_f1(found, held.labels), "auroc": selection_score(found, held.labels)}
    return {"dice": dice_of(model, held)}
