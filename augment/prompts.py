"""One table of clinical descriptions: what the denoiser is told about a pair."""

from __future__ import annotations

import re
from collections.abc import Mapping

from manifests.format.schema import ATTRIBUTES

# Descriptions after the dermoscopic criteria of the HAM10000 classes (Tschandl et al. 2018; Kittler et al. 2016).
DESCRIPTIONS: dict[str, str] = {
    "akiec": "actinic keratosis, scaly pink surface, strawberry pattern, dotted vessels",
    "bcc": "basal cell carcinoma, arborizing vessels, blue grey ovoid nests, leaf like areas",
    "bkl": "seborrheic keratosis, sharp border, milia like cysts, comedo like openings, cerebriform surface",
    "df": "dermatofibroma, central white scar, delicate peripheral network",
    "mel": "melanoma, asymmetric, irregular border, several colours, atypical network, blue white veil",
    "nv": "melanocytic nevus, symmetric, regular border, uniform brown, regular pigment network",
    "vasc": "vascular lesion, red purple lacunae, sharp border",
}
ZOOMS = ("", "close view", "closer view")
"""What the denoiser is told of a view: nothing of a whole picture, words of a crop of at least 85 % and below."""
_DRAWN = "drawn dermoscopy illustration"
_DECADE = re.compile(r"(\d+)-(\d+)")  # as manifests write an age group
_SPELT = r"\1 to \2"


def prompt_for(dx: str, attributes: Mapping[str, str | None] | None = None, drawn: bool = False) -> str:
    """The prompt of a class; a class without a table entry is described by its own name.

    drawn: whether its pairs are a program's, as a phantom's are.
    attributes: values of `manifests.schema.ATTRIBUTES` where the source has them; the others are left out. An age
    group of 20-29 is told as 20 to 29.
    """
    text = f"{_DRAWN if drawn else 'dermoscopy'} of {DESCRIPTIONS.get(dx, dx.replace('_', ' '))}"
    for name in ATTRIBUTES:
        value = (attributes or {}).get(name)
        if value:
            text += f", {name.replace('_', ' ')} {_DECADE.sub(_SPELT, value) if name == 'age_group' else value}"
    return text


def drawn_prompt_for(dx: str | None) -> str:
    """The prompt of a drawn phantom's class; of any class for None."""
    return _DRAWN if dx is None else prompt_for(dx, drawn=True)


def zoomed(prompt: str, zoom: int) -> str:
    """`prompt` with the words of step `zoom` of `ZOOMS` before it."""
    return ", ".join(part for part in (ZOOMS[zoom], prompt) if part)


def training_corpus() -> list[str]:
    """All prompts that the table yields: what the shipped tokenizer is trained on."""
    values = {
        "age_group": [f"{low}-{low + 9}" for low in range(0, 100, 10)],
        "sex": ["female", "male"],
        "site": [
            "trunk",
            "back",
            "abdomen",
            "face",
            "scalp",
            "ear",
            "neck",
            "hand",
            "foot",
            "lower extremity",
        ],
        "skin_tone": ["light", "medium", "dark"],
    }
    plain = [prompt_for(dx) for dx in DESCRIPTIONS]
    told = [prompt_for("nv", {name: value}) for name in values for value in values[name]]
    return plain + told + [zoomed(drawn_prompt_for(dx), zoom) for dx in (*DESCRIPTIONS, None) for zoom in range(3)]
