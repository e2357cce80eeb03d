"""Why a generated pair is not accepted, by gate: what pages and terminals say of it."""

from __future__ import annotations

from dataclasses import dataclass

from evaluate.pages import wording


@dataclass(frozen=True)
class GateText:
    """A gate as pages explain it. short: why a pair is not accepted, in a few letters; score: the manifest's column
    that it decides by."""

    title: str
    short: str
    meaning: str
    score: str
    score_word: str


GATE_TEXTS = {
    "mask_plausibility": GateText(
        "Mask plausibility",
        "odd mask",
        "The mask's size, position or shape is unlike the class's real masks.",
        "score_mask_plausibility",
        "plausibility",
    ),
    "mask_agreement": GateText(
        "Agreement of image and mask",
        "mask beside lesion",
        "A segmenter trained on real pairs does not find this mask in this image.",
        "score_mask_agreement",
        "agreement",
    ),
    "class_consistency": GateText(
        "Class consistency",
        "unlike its class",
        "Classifiers trained on real pairs do not see this class in it.",
        "score_class_consistency",
        "consistency",
    ),
    "copy": GateText(
        "Copy of a real training pair",
        "a copy",
        "It is nearer to a real training pair than pairs of different lesions are to each other.",
        "nearest_similarity",
        "similarity",
    ),
    "generated_duplicate": GateText(
        "Repeat of another generated pair",
        "a repeat",
        "An earlier generated pair shows nearly the same.",
        "nearest_similarity",
        "similarity to a real pair",
    ),
    "review": GateText(
        "Refused by readers",
        "refused by readers",
        "People who looked at it refused it.",
        "score_class_consistency",
        "consistency",
    ),
    "unread": GateText(
        "Not yet read",
        "not read yet",
        "It passed every other gate and waits for a reader.",
        "score_class_consistency",
        "consistency",
    ),
}


def gate_text(gate: str) -> GateText:
    """How the page explains a gate; one that it does not know keeps its own name."""
    known = GATE_TEXTS.get(gate)
    return known or GateText(wording.title(gate), gate.replace("_", " "), "", "score_mask_agreement", "agreement")
