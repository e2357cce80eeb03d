"""What readers found, in sentences and tables for the terminal and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluate.pages import wording
from evaluate.pages.tables import Cell, Table, number_cell
from evaluate.reading.decisions import REASONS

Figures = Mapping[str, Any]
KAPPA_WORDS = ((0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"))
"""Words for kappa (Landis and Koch, "The measurement of observer agreement for categorical data", 1977)."""


def review_sentences(review: Figures | None) -> list[str]:
    """What readers decided, who agreed with whom, and what became of it."""
    return list(_review_sentences(review)) if review else []


def _review_sentences(review: Figures) -> Iterator[str]:
    readers = review["per_reader"]
    refused = sum(own["refused"] for own in readers.values()) / max(1, review["decisions"])
    yield (
        f"{wording.times(len(readers), 'reader')} made {wording.times(review['decisions'], 'decision')} on "
        f"{wording.times(review['pairs'], 'generated pair')} and refused {wording.percent(refused)}."
    )
    if (fleiss := review["fleiss"])["pairs"]:
        yield (
            f"Agreement on {wording.times(fleiss['pairs'], 'pair')} that several have read: Fleiss' kappa "
            f"{kappa_text(fleiss['kappa'])}."
        )
    for two in review["cohen"]:
        if two["pairs"]:
            names = wording.listed(two["readers"])
            yield f"{names}: Cohen's kappa {kappa_text(two['kappa'])} on {wording.times(two['pairs'], 'pair')}."
    if lost := review["without_a_pair"]:
        are = "is" if lost == 1 else "are"
        yield f"{wording.times(lost, 'decision')} {are} kept and not counted: the picture is no longer in this run."
    yield {
        "off": "The decisions changed nothing: gates.review is off.",
        "any": "One refusal refuses a pair (gates.review=any).",
        "majority": "A pair that not more readers accept than refuse is refused (gates.review=majority).",
        "required": "A pair needs a reader, and more that accept it than refuse it (gates.review=required).",
    }[review["policy"]]


def kappa_text(kappa: float | None) -> str:
    """A kappa with its word."""
    if kappa is None:
        return f"{wording.UNKNOWN} (all said the same of everything)"
    word = next((word for limit, word in KAPPA_WORDS if kappa <= limit), "almost perfect")
    word = "worse than chance" if kappa < 0 else word
    return f"{kappa:.2f}".replace("-", wording.MINUS) + f" ({word})"


def review_tables(review: Figures | None) -> list[Table]:
    """Decisions by reader and by class."""
    if not review:
        return []
    met = [name for name in REASONS if any(name in own["reasons"] for own in review["per_reader"].values())]
    titles = ("reader", "accepted", "refused", "time per pair", *(REASONS[name] for name in met))
    tables = [
        Table(
            "Decisions by reader",
            titles,
            tuple(_decisions(name, own, met) for name, own in review["per_reader"].items()),
        )
    ]
    rows = tuple(
        (Cell(dx), *(number_cell(own[name]) for name in ("pairs", "accepted", "refused", "disagreed")))
        for dx, own in review["per_class"].items()
    )
    tables.append(Table("Decisions by class", ("class", "pairs read", "accepted", "refused", "disagreed on"), rows))
    return tables


def _decisions(name: str, own: Figures, reasons: list[str]) -> tuple[Cell, ...]:
    counts = [number_cell(own[which]) for which in ("accepted", "refused")]
    time = number_cell(own["median_seconds"], wording.duration)
    return (Cell(name), *counts, time, *(number_cell(own["reasons"].get(reason, 0)) for reason in reasons))


def study_sentences(study: Figures | None) -> list[str]:
    """Whether readers told generated pictures from real ones."""
    if not study:
        return []
    found, readers = study["all"], wording.times(len(study["readers"]), "reader")
    accuracy = found["accuracy"]
    sentences = [
        f"{readers} of a blind study of {wording.times(study['pictures'], 'picture')} told real from generated in "
        f"{share_text(accuracy)} of {wording.times(found['answers'], 'answer')}; guessing gives 50%.",
        f"Generated pictures were called generated in {share_text(found['sensitivity'])}, real ones real in "
        f"{share_text(found['specificity'])}; area under the ROC curve over confidence {area_text(found['auroc'])}.",
        f"The class was named rightly of {share_text(found['right_class_generated'])} of the generated pictures and "
        f"{share_text(found['right_class_real'])} of the real ones.",
    ]
    if found["mask_fits_generated"]["answers"]:
        sentences.append(
            f"The mask fits, readers say, in {share_text(found['mask_fits_generated'])} of the generated and "
            f"{share_text(found['mask_fits_real'])} of the real pictures."
        )
    if (bounds := accuracy["interval"]) and bounds[0] <= 0.5 <= bounds[1]:
        guessed = "That is not distinguishable from guessing, which does not show that they cannot be told apart."
        sentences.insert(1, guessed)
    return sentences


def study_tables(study: Figures | None) -> list[Table]:
    """The figures of a study by class and by reader."""
    if not study:
        return []
    right = ("right class, generated", "right class, real", "time per picture")
    titles = ("answers", "accuracy", "sensitivity", "specificity", "AUROC", *right)
    named = {"all": study["all"]}
    notes = (
        "Shares in per cent with 95 % Wilson intervals; several answers to one picture count as fewer (design effect "
        "of pictures). Sensitivity: generated pictures called generated.",
    )
    return [
        Table(f"Blind study by {kind}", (kind, *titles), tuple(map(_figures, *zip(*rows.items(), strict=True))), notes)
        for kind, rows in (("class", {**study["per_class"], **named}), ("reader", study["per_reader"]))
    ]


def _figures(name: str, own: Figures) -> tuple[Cell, ...]:
    shares = ("accuracy", "sensitivity", "specificity")
    right = ("right_class_generated", "right_class_real")
    area = own["auroc"]
    return (
        Cell(name),
        number_cell(own["answers"]),
        *(share_cell(own[which]) for which in shares),
        number_cell(area["value"], wording.score, from_to(area["interval"])),
        *(share_cell(own[which]) for which in right),
        number_cell(own["median_seconds"], wording.duration),
    )


def share_cell(found: Figures) -> Cell:
    """A share in per cent with its interval below."""
    return number_cell(found["share"], wording.number, wording.interval(found["interval"]) if found["interval"] else "")


def share_text(found: Figures) -> str:
    """A share with its interval inside a sentence."""
    if found["share"] is None:
        return wording.UNKNOWN
    return f"{wording.number(found['share'])}% ({wording.interval(found['interval'])})"


def area_text(found: Figures) -> str:
    """An area under the ROC curve with its interval inside a sentence."""
    if found["value"] is None:
        return wording.UNKNOWN
    return f"{found['value']:.2f} ({from_to(found['interval'])})"


def from_to(interval: Sequence[float] | None) -> str:
    """Bounds with two decimals; nothing where there are none."""
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""
