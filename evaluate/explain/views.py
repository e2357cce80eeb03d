"""What the page's templates are given: pictures with their marks, and figures as they read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from evaluate.diagnosis.interface import MALIGNANT, Candidate, Diagnosis
from evaluate.explain.demonstrations import Demonstration
from evaluate.explain.explanation import Explanation, ShownDiagnosis
from evaluate.pages import wording
from evaluate.pages.pictures import Picture, jpeg_source, outline_path
from evaluate.pages.reliability import reliability_chart
from evaluate.pages.svg import Drawing
from evaluate.pages.tables import Cell, Table, number_cell, settings_table
from manifests.format.shards import DISCLAIMER
from manifests.png import encode_png

CHANGED = (
    "Synthetic picture: a photograph whose lesion was changed by a generative model; for research, not for diagnosis."
)
# A title, what the pictures are, and each with its caption.
Strip = tuple[str, str, list[tuple[Picture, str]]]
_FEARED = 0.1  # a malignant diagnosis as probable as this is named beside a more probable one
METHODS = {
    "given": "your own mask",
    "unet": "the run's segmenter",
    "sam": "the SAM-like model",
    "denoiser": "the joint denoiser",
}


@dataclass(frozen=True)
class RankedDiagnosis:
    """One diagnosis of the ranking: its name, how probable, the bar, and what the diagnoser says it sees."""

    dx: str
    name: str
    text: str
    bar: Markup
    findings: tuple[str, ...]


def view_of(explanation: Explanation, number: int) -> dict[str, Any]:
    """One explanation as the template of an image reads it; `number` makes its anchor."""
    diagnosis, picture = explanation.diagnosis, explanation.image
    original = given(picture, explanation.localisation.mask, "The picture that was given", explanation.origin)
    return {
        "anchor": f"image-{number}",
        "name": explanation.name,
        "headline": headline(diagnosis),
        "warnings": warnings(diagnosis),
        "original": original,
        "ranking": [_ranked(candidate) for candidate in diagnosis.candidates[:10]],
        "how_sure": how_sure(diagnosis),
        "unlisted": _unlisted(diagnosis),
        "description": diagnosis.description,
        "shown": [shown_view(shown) for shown in explanation.shown],
        "located": _located(explanation),
        "agreement": _agreement(explanation),
        "problems": explanation.problems,
        "figures": _figures(explanation),
    }


def headline(diagnosis: Diagnosis) -> str:
    """The answer in a few words; never a diagnosis for what looks like no lesion of the classes."""
    if diagnosis.none_of_these:
        return "This looks like none of the lesions that this run knows"
    if not diagnosis.candidates:
        return "No answer"
    first = diagnosis.candidates[0]
    if first.probability is None:
        return f"Named first: {first.name}"
    sure = "Most like" if first.probability >= 0.5 else "Unsure; a little more like"
    feared = next((c for c in diagnosis.candidates[1:] if c.dx in MALIGNANT and (c.probability or 0) >= _FEARED), None)
    rest = f"; {in_sentence(feared.name)} not ruled out: {probability_text(feared)}" if feared else ""
    return f"{sure} {in_sentence(first.name)}: {wording.percent(first.probability)}{rest}"


def in_sentence(name: str) -> str:
    """A diagnosis as it stands inside a sentence; eponyms later in the name keep their capital."""
    return name[:1].lower() + name[1:]


def warnings(diagnosis: Diagnosis) -> tuple[str, ...]:
    """What must be read before the ranking."""
    if not diagnosis.none_of_these:
        return ()
    return (
        "It may be no skin lesion, a diagnosis that this run has never seen, or a picture taken in another way. "
        "The ranking below compares it with the known classes all the same, and must not be believed.",
    )


def how_sure(diagnosis: Diagnosis) -> str:
    """What the probabilities are worth."""
    if diagnosis.calibrated:
        return "Probabilities are calibrated on held-out images of this run; the reliability plot shows how well."
    if diagnosis.diagnoser == "classifier":
        return "There were no held-out images, so these probabilities are not calibrated."
    return f"Probabilities are as the {diagnosis.diagnoser} model stated them; nobody has checked that they come true."


def probability_text(candidate: Candidate) -> str:
    """A probability as people read it."""
    return "not stated" if candidate.probability is None else wording.percent(candidate.probability)


def shown_view(shown: ShownDiagnosis) -> dict[str, Any]:
    """One diagnosis with its pictures as the template reads it.

    plain: its name inside a sentence; changed: the person's picture as it would look; strips: titled rows of pictures.
    """
    changed = next(iter(shown.of_kind("personalised")), None)
    name = shown.candidate.name
    return {
        "dx": shown.candidate.dx,
        "name": name,
        "plain": in_sentence(name),
        "rank": shown.rank,
        "text": probability_text(shown.candidate),
        "changed": changed_picture(changed, name) if changed else None,
        "changed_caption": changed_caption(changed) if changed else "",
        "strips": [strip for strip in (_references(shown), _cases(shown)) if strip[2]],
        "problems": shown.problems,
    }


def changed_picture(demo: Demonstration, name: str) -> Picture:
    """The person's own picture as another diagnosis would look."""
    alt = f"Your picture, changed inside the outline to look like {in_sentence(name)}; synthetic"
    return generated(demo, alt)


def changed_caption(demo: Demonstration) -> str:
    """How far it was changed, and what the run's own classifier makes of that."""
    said = f"Changed inside the outline, strength {demo.strength or 0:.2f}."
    if demo.probability is None:
        return said
    before, after = (wording.percent(value) for value in demo.probability)
    return f"{said} The classifier's probability of it: {before} before, {after} now."


def generated(demo: Demonstration, alt: str) -> Picture:
    """A generated picture as PNG, whose text chunks say what it is wherever it is saved to."""
    text = {
        "Disclaimer": CHANGED if demo.kind == "personalised" else DISCLAIMER,
        "Software": "Evenderm",
        "Description": f"{demo.kind} demonstration of {demo.dx}, seed {demo.seed}",
    }
    src = "data:image/png;base64," + base64.b64encode(encode_png(demo.image, text, level=6)).decode()
    return _picture(demo.image, demo.mask, src, alt, demo.dx, "synthetic")


def given(image: np.ndarray, mask: np.ndarray | None, alt: str, origin: str) -> Picture:
    """A picture that nobody generated, as JPEG without any metadata but the word that it is drawn, where it is.

    image: uint8 (S, S, 3), mask: bool (S, S); origin: real or drawn.
    """
    from PIL import Image

    return _picture(image, mask, jpeg_source(Image.fromarray(image), origin), alt, "", origin)


def _picture(image: np.ndarray, mask: np.ndarray | None, src: str, alt: str, name: str, origin: str) -> Picture:
    height, width = image.shape[:2]
    outline = outline_path(mask, width, height) if mask is not None else ""
    return Picture(name, src, outline, width, height, alt, origin)


def _ranked(candidate: Candidate) -> RankedDiagnosis:
    text = probability_text(candidate)
    drawing = Drawing(10, f"{candidate.name}: {text}", "track")
    drawing.line(0, 5, 100, 5, "rail")
    drawing.box(0, 0, 100 * (candidate.probability or 0), 10, "bar s1")
    return RankedDiagnosis(candidate.dx, candidate.name, text, drawing.render(), candidate.findings)


def _references(shown: ShownDiagnosis) -> Strip:
    demos = shown.of_kind("reference")
    alts = (f"Generated example {number} of {shown.candidate.name}; synthetic" for number in range(1, len(demos) + 1))
    pictures = [(generated(demo, alt), "") for demo, alt in zip(demos, alts, strict=True)]
    detailed = any(demo.group_id for demo in demos)
    how = "Drawn by the generator, finest detail from training pictures" if detailed else "Drawn by the generator"
    return "Generated examples", f"{how}; they show no patient.", pictures


def _cases(shown: ShownDiagnosis) -> Strip:
    cases = [demo for demo in shown.demonstrations if not demo.synthetic]
    pictures = []
    for demo in cases:
        found = "; a segmenter found its outline" if demo.mask_found else ""
        alt = f"{demo.kind.capitalize()} training case {demo.pair_id} of {shown.candidate.name}{found}"
        caption = f"{(demo.pair_id or '').rpartition(':')[2]}, likeness {wording.score(demo.similarity)}{found}"
        pictures.append((given(demo.image, demo.mask, alt, demo.kind), caption))
    kinds = " or ".join(sorted({demo.kind for demo in cases}, reverse=True))
    about = "Training pictures of this class that are most like yours to the classifier."
    return f"Nearest {kinds} cases", about, pictures


def _located(explanation: Explanation) -> list[tuple[Picture, str]]:
    found = []
    for method, mask in explanation.localisation.masks.items():
        believed = " (used)" if method == explanation.localisation.method else ""
        share = f"{wording.percent(float(mask.mean()))} of the picture" if mask.any() else "nothing found"
        name = METHODS.get(method, method)
        alt = f"The lesion as found by {name}: {share}"
        picture = given(explanation.image, mask, alt, explanation.origin)
        found.append((picture, f"{name[:1].upper()}{name[1:]}{believed}: {share}"))
    return found


def _agreement(explanation: Explanation) -> Table | None:
    rows = tuple(
        (
            Cell(" and ".join(METHODS.get(part, part) for part in pair.split(" and "))),
            number_cell(value, wording.percent),
        )
        for pair, value in explanation.localisation.agreement.items()
    )
    if not rows:
        return None
    note = "Dice overlap: 100% is the same outline, 0% no common pixel. Low agreement means: trust neither."
    return Table("How far they agree", ("", "overlap"), rows, (note,))


def _unlisted(diagnosis: Diagnosis) -> str:
    if not diagnosis.unlisted:
        return ""
    named = [name if stated is None else f"{name} ({wording.percent(stated)})" for name, stated in diagnosis.unlisted]
    return "It also named what this run has no class for, and no pictures of: " + wording.listed(named[:8]) + "."


def _figures(explanation: Explanation) -> Table:
    values: dict[str, Any] = {
        "file": explanation.name,
        "sha256": explanation.digest,
        "pixels": f"{explanation.source_size[1]} × {explanation.source_size[0]}",
        "diagnoser": explanation.diagnosis.diagnoser,
        "evidence": dict(explanation.diagnosis.evidence),
        "made by": dict(explanation.made_by),
    }
    for shown in explanation.shown:
        for demo in shown.demonstrations:
            if demo.synthetic:
                adapter = f"adapter {demo.adapter_digest[:12]}" if demo.adapter_digest else "no adapter"
                values.setdefault(f"seeds of {shown.candidate.dx}", []).append(f"{demo.kind} {demo.seed}")
                values[f"generator of {shown.candidate.dx}"] = adapter
    return settings_table("How it was made", values)


def reliability_view(record: Mapping[str, Any]) -> tuple[Markup, str] | None:
    """The reliability plot of the ensemble and a sentence on it; None without held-out images."""
    bins: Sequence[Mapping[str, Any]] = record.get("reliability") or ()
    if not bins or record.get("calibration_error") is None:
        return None
    error = wording.number(record["calibration_error"])
    sentence = (
        f"On {wording.times(record['validation_images'], 'held-out image')}, each under a temperature that was set "
        "without it: what was said with a certain probability (across) came true this often (up). On the dashed line "
        f"it is deserved. Expected calibration error {error}%; "
        f"accuracy {wording.percent(record['validation_accuracy'])}."
    )
    return reliability_chart("the ensemble", bins, 1, error), sentence
