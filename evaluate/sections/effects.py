"""What generated pairs bring by number of own pairs: the difference to the controls, as a curve and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from evaluate.pages import wording
from evaluate.pages.tables import Cell, Table, number_cell
from evaluate.sections.curves import HEIGHT, OWN_PAIRS, Figure, Line, Point, figure
from evaluate.sections.markdown import least_shown
from evaluate.sections.tasks import Comparison, TaskResults, base_of, series_of
from evaluate.settings.arms import ArmName, parse_arm


@dataclass(frozen=True)
class Effect:
    """Comparisons of the arm that is judged, trained with some own pairs of each class, in the deciding metric."""

    counts: Mapping[str, int]
    comparisons: Sequence[Comparison]

    @property
    def pairs(self) -> int:
        """Own pairs of all classes."""
        return sum(self.counts.values())

    @property
    def least(self) -> int:
        """Own pairs of the rarest class."""
        return min((count for count in self.counts.values() if count), default=0)


def effects(results: TaskResults) -> list[Effect]:
    """What the arm that is judged changed against each control, by number of own pairs; fewer than two numbers, none.

    Own pairs are those of the controls: the arm may learn from generated ones alone.
    """
    judged = results.verdict["comparison"] if results.verdict else None
    if judged is None:
        return []
    subject, found = _without_part(judged["arm"]), []
    counts = {arm["name"]: arm["train_counts"]["real"] for arm in results.arms}
    for name in counts:
        own = [c for c in results.judged(results.primary) if c["arm"] == name and c["difference"] is not None]
        if own and _without_part(name) == subject:
            found.append(Effect(counts[own[0]["control"]], own))
    return sorted(found, key=lambda effect: effect.pairs) if len(found) > 1 else []


def _without_part(name: str) -> ArmName:
    return parse_arm(name).model_copy(update={"part": 1.0})


def effect_curve(results: TaskResults, every: bool, height: float = HEIGHT) -> Figure | None:
    """The difference to the control that decides, or to every control, by number of own pairs; None where there is but
    one number."""
    found = effects(results)
    if not found:
        return None
    arm = _without_part(found[-1].comparisons[0]["arm"])
    points: dict[str, list[Point]] = {}
    for effect in found:
        for c in effect.comparisons:
            bounds = c["interval"] and (c["interval"][0], c["interval"][1])
            point = Point(effect.pairs, c["difference"], bounds)
            if every:
                points.setdefault(base_of(c["control"]), []).append(point)
            elif results.decides(c):
                points.setdefault(arm.base, []).append(point)
    lines = [Line(f"against {base}" if every else str(arm), series_of(base), tuple(ps)) for base, ps in points.items()]
    unit = results.unit(results.primary)
    against = "every control" if every else "the control that decides"
    title = f"{results.metric_title(results.primary)} of {arm} against {against}, {wording.points(unit)}"
    axis = f"{OWN_PAIRS}; of the rarest class {wording.listed([wording.count(effect.least) for effect in found])}"
    return figure(title, lines, axis, "", unit, spaced=math.log10, level=0.0, height=height)


def effect_curves(results: TaskResults) -> list[Figure]:
    """Against the control that decides, and against every control; none where there is but one number."""
    curves = (effect_curve(results, every) for every in (False, True))
    return [curve for curve in curves if curve]


def effects_table(results: TaskResults) -> Table:
    """The figures of the curve: a row for each number of own pairs and each control."""
    unit, rows = results.unit(results.primary), []
    for effect in effects(results):
        by_class = ", ".join(f"{dx} {wording.count(count)}" for dx, count in effect.counts.items() if count)
        for c in effect.comparisons:
            bounds = wording.interval(c["interval"], unit, with_sign=True)
            verdict = wording.VERDICT_TITLES[c["verdict"]]
            rows.append(
                (
                    number_cell(effect.pairs, note=by_class),
                    Cell(base_of(c["control"]), note="decides" if results.decides(c) else ""),
                    number_cell(c["difference"], partial(wording.signed, unit=unit), bounds),
                    Cell(least_shown({**c, "verdict": "no difference"}, unit), c["smallest_detectable"]),
                    Cell(verdict, note=c["reason"] or "", kind=f"verdict {wording.VERDICT_KINDS[c['verdict']]}"),
                )
            )
    change = f"difference in {results.heading(results.primary)}"
    columns = ("own pairs", "against", change, "what would show", "verdict")
    return Table(f"{results.title}: what generated pairs bring, by number of own pairs", columns, tuple(rows))
