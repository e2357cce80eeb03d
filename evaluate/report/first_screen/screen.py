"""The answers as the page shows them: facts, a chart of class counts, a strip of pairs, differences in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

from evaluate.pages import wording
from evaluate.pages.pictures import Picture, thumbnails
from evaluate.pages.svg import Drawing, Scale
from evaluate.report.first_screen.answers import (
    ClassCounts,
    Fact,
    came_in,
    class_counts,
    made_sentence,
    may_use,
)
from evaluate.report.pairs.gallery import RunPairs, evenly, generated_alt, real_alt, rows_by_class
from evaluate.sections.curves import FLAT, Figure
from evaluate.sections.differences import Forest, forest
from evaluate.sections.effects import effect_curve
from evaluate.sections.external import elsewhere
from evaluate.sections.markdown import verdict_sentence
from evaluate.sections.tasks import TaskResults

COLUMNS = 8
MOST_OF_A_CLASS = 3


@dataclass(frozen=True)
class ClassStrip:
    """Pictures of one class: generated ones above, real ones of the same class below."""

    dx: str
    generated: tuple[Picture, ...]
    real: tuple[Picture, ...]

    @property
    def columns(self) -> int:
        return max(len(self.generated), len(self.real))


@dataclass(frozen=True)
class CountBar:
    """A class of the chart of counts: its change in words and as a bar."""

    dx: str
    change: str
    bar: Markup


@dataclass(frozen=True)
class Helped:
    """One task's answer: the word, the difference against the control that decides, and one against every control or,
    where several numbers of own pairs were tried, the curve of the first over them; elsewhere: the answer on each
    external set; verdicts_elsewhere: those among them that are harm or gain."""

    title: str
    word: str
    kind: str
    effect: str
    told: str
    against: Forest | None
    curve: Figure | None = None
    elsewhere: tuple[str, ...] = ()
    verdicts_elsewhere: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FirstScreen:
    """All that the first screen shows."""

    came: tuple[Fact, ...]
    made: str
    bars: tuple[CountBar, ...]
    strips: tuple[ClassStrip, ...]
    helped: tuple[Helped, ...]
    use: tuple[Fact, ...]


def first_screen(results: Mapping[str, Any], tasks: Sequence[TaskResults], pairs: RunPairs) -> FirstScreen:
    """The four answers of a run."""
    return FirstScreen(
        tuple(came_in(results, pairs)),
        made_sentence(results, pairs),
        count_bars(class_counts(results)),
        class_strips(pairs, results["data"]["classes"]),
        tuple(replace(helped(task), elsewhere=elsewhere(results, task.task)) for task in tasks),
        tuple(may_use(results, pairs)),
    )


def count_bars(counts: Sequence[ClassCounts]) -> tuple[CountBar, ...]:
    """Training pairs of each class, real and generated end to end, all on one scale."""
    scale = Scale(0, max((one.real + one.generated for one in counts), default=1) or 1, 0, 100)
    bars = []
    for one in counts:
        label = f"{one.dx}: {wording.times(one.real, 'real training pair')}, {wording.count(one.generated)} generated"
        drawing = Drawing(12, label, "track")
        drawing.line(0, 11.5, 100, 11.5, "grid")
        drawing.box(0, 0, scale(one.real), 11, "fill before")
        if one.generated:
            drawing.box(scale(one.real), 0, scale(one.real + one.generated), 11, "fill added")
        bars.append(CountBar(one.dx, one.change, drawing.render()))
    return tuple(bars)


def class_strips(pairs: RunPairs, classes: Sequence[str]) -> tuple[ClassStrip, ...]:
    """A few pairs of each class, chosen by their ids alone; classes with generated pairs first."""
    made, real = rows_by_class(pairs.accepted), rows_by_class(pairs.training)
    shown = sorted((dx for dx in classes if dx in made or dx in real), key=lambda dx: dx not in made)[:COLUMNS]
    each = max(1, min(MOST_OF_A_CLASS, COLUMNS // max(1, len(shown))))
    chosen = {dx: (evenly(made.get(dx, []), each), evenly(real.get(dx, []), each)) for dx in shown}
    above = {row["pair_id"]: generated_alt(row) for rows, _ in chosen.values() for row in rows}
    below = {row["pair_id"]: real_alt(row) for _, rows in chosen.values() for row in rows}
    pictures = thumbnails(pairs.synthetic, above) if pairs.synthetic else {}
    pictures |= thumbnails(pairs.real, below) if pairs.real else {}
    return tuple(
        ClassStrip(dx, *(tuple(pictures[row["pair_id"]] for row in rows) for rows in both))
        for dx, both in chosen.items()
    )


def helped(results: TaskResults) -> Helped:
    """Whether generated pairs helped in one task."""
    names = results.title, wording.VERDICT_TITLES[results.word], wording.VERDICT_KINDS[results.word]
    comparison = results.verdict["comparison"] if results.verdict else None
    if comparison is None or comparison["difference"] is None:
        return Helped(*names, "", verdict_sentence(results), None, verdicts_elsewhere=results.verdicts_elsewhere)
    unit = results.unit(comparison["metric"])
    effect = f"{wording.signed(comparison['difference'], unit)} {wording.points(unit)}"
    bounds = wording.interval(comparison["interval"], unit, with_sign=True)
    told = (
        f"{results.metric_title(comparison['metric'])} of {comparison['arm']}, {results.confidence} interval {bounds}"
    )
    least = comparison["smallest_detectable"]
    if results.word == "no difference" and least is not None:
        told += f"; from {wording.number(least, unit)} {wording.points(unit)} on, a difference would show"
    against = forest(results, comparison["metric"], comparison["arm"])
    curve = effect_curve(results, every=False, height=FLAT)
    return Helped(*names, effect, told, against, curve, verdicts_elsewhere=results.verdicts_elsewhere)
