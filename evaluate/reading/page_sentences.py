"""What a study of explain's pages found, in sentences and tables for the terminal and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evaluate.pages import wording
from evaluate.pages.tables import Cell, Table, number_cell
from evaluate.reading.sentences import area_text, share_cell, share_text

Figures = Mapping[str, Any]
LEVEL = "level"
"""Unit of means of confidence and ratings."""


def page_sentences(study: Figures | None) -> list[str]:
    """Whether the pages changed diagnosis, confidence and trust."""
    return list(_sentences(study)) if study else []


def _sentences(study: Figures) -> Iterator[str]:
    found, levels = study["all"], study["levels"]
    accuracy, sure = found["accuracy"], found["confidence"]
    yield (
        f"{wording.times(len(study['readers']), 'reader')} of a study of explain's pages named the diagnosis of "
        f"{wording.times(study['pictures'], 'picture')} before the page and after, "
        f"{wording.times(found['answers'], 'time')}: right in {share_text(accuracy['before'])} before and "
        f"{share_text(accuracy['after'])} after."
    )
    change = accuracy["change"]
    yield (
        f"The page changed accuracy by {wording.signed(change['difference'])} points "
        f"({wording.interval(change['interval'], with_sign=True)}; McNemar's exact test, p {_p(change['p'])}): "
        f"{wording.times(change['to_right'], 'answer')} became right and {change['to_wrong']:,} wrong."
    )
    if change["p"] >= 0.05:
        yield "That is not distinguishable from no change, which does not show that the pages change nothing."
    if (wrong := study["per_page"].get("wrong")) and (right := study["per_page"].get("right")):
        yield (
            f"Where the page named the right class first, accuracy changed by {_change(right)} points; where it did "
            f"not, by {_change(wrong)}."
        )
    yield (
        f"Confidence (1 to {levels}) was {_mean(sure['before'])} before and {_mean(sure['after'])} after, a change of "
        f"{wording.signed(sure['change']['mean'], LEVEL)} (Wilcoxon's signed rank test, p {_p(sure['change']['p'])})."
    )
    was, now = found["calibration"]["before"], found["calibration"]["after"]
    yield (
        f"Calibration error of confidence: {wording.number(was['error'])}% before, {wording.number(now['error'])}% "
        f"after; stated less true {wording.signed(was['over'])} and {wording.signed(now['over'])} points; area under "
        f"the ROC curve over right and wrong answers {area_text(was['auroc'])} and {area_text(now['auroc'])}."
    )
    ratings = wording.listed([f"{name} {_mean(own)}" for name, own in found["ratings"].items()])
    yield f"Readers rated the pages from 1 (disagree) to {levels} (agree): {ratings}."


def page_tables(study: Figures | None) -> list[Table]:
    """The figures by class, by whether the page was right, and by reader; and right answers by confidence."""
    if not study:
        return []
    names = tuple(study["all"]["ratings"])
    titles = (
        "answers", "right before", "right after", "change", "p", "confidence before", "confidence after", "p",
        *names, "time before", "time after",
    )  # fmt: skip
    kinds = {
        "class": {**study["per_class"], "all": study["all"]},
        "page": {f"names the {name} class": own for name, own in study["per_page"].items()},
        "reader": study["per_reader"],
    }
    said = "; ".join(f"{name}: {statement}" for name, statement in study["ratings"].items())
    notes = (
        "Shares and their change in per cent and points with 95 % intervals; several answers to one picture count as "
        f"fewer. p: McNemar's exact test of right answers, Wilcoxon's signed rank test of confidence. {said}",
    )
    tables = [
        Table(f"Explain's pages by {kind}", (kind, *titles), tuple(map(_row, *zip(*rows.items(), strict=True))), notes)
        for kind, rows in kinds.items()
    ]
    return [*tables, _levels(study["all"]["calibration"])]


def _row(name: str, own: Figures) -> tuple[Cell, ...]:
    accuracy, sure, seconds = own["accuracy"], own["confidence"], own["median_seconds"]
    return (
        Cell(name),
        number_cell(own["answers"]),
        share_cell(accuracy["before"]),
        share_cell(accuracy["after"]),
        number_cell(accuracy["change"]["difference"], wording.signed, _bounds(accuracy["change"]["interval"], True)),
        number_cell(accuracy["change"]["p"], wording.p_value),
        _mean_cell(sure["before"]),
        _mean_cell(sure["after"]),
        number_cell(sure["change"]["p"], wording.p_value),
        *map(_mean_cell, own["ratings"].values()),
        *(number_cell(seconds[when], wording.duration) for when in ("before", "after")),
    )


def _levels(calibration: Figures) -> Table:
    rows = []
    for was, now in zip(calibration["before"]["levels"], calibration["after"]["levels"], strict=True):
        answers = (number_cell(one["right"]["answers"]) for one in (was, now))
        cells = zip(answers, (share_cell(one["right"]) for one in (was, now)), strict=True)
        stated = number_cell(was["stated"], wording.number)
        rows.append((Cell(str(was["level"])), stated, *(cell for pair in cells for cell in pair)))
    titles = ("confidence", "stands for", "answers before", "right before", "answers after", "right after")
    note = "A level stands for a probability: 1 for that of a guess among the classes, the highest for certainty."
    return Table("Right answers by confidence", titles, tuple(rows), (note,))


def _mean_cell(found: Figures) -> Cell:
    return number_cell(found["mean"], lambda mean: wording.number(mean, LEVEL), _bounds(found["interval"]))


def _mean(found: Figures) -> str:
    bounds = f" ({_bounds(found['interval'])})" if found["interval"] else ""
    return wording.number(found["mean"], LEVEL) + bounds


def _bounds(interval: Any, points: bool = False) -> str:
    if not interval:
        return ""
    return wording.interval(interval, "share" if points else LEVEL, with_sign=points)


def _change(own: Figures) -> str:
    change = own["accuracy"]["change"]
    return f"{wording.signed(change['difference'])} ({_bounds(change['interval'], True)})"


def _p(p: float | None) -> str:
    text = wording.p_value(p)
    return text if text.startswith("<") else f"= {text}"
