"""What people and models call the classes: names by which an answer is mapped to a class, and never forced to one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

SYNONYMS: dict[str, tuple[str, ...]] = {
    "akiec": (
        "actinic keratosis", "actinic keratoses", "solar keratosis", "senile keratosis", "bowen disease",
        "bowens disease", "bowen s disease", "intraepithelial carcinoma", "squamous cell carcinoma in situ", "ak",
        "aktinische keratose", "morbus bowen", "keratose actinique", "maladie de bowen", "queratosis actinica",
        "ceratose actinica", "cheratosi attinica", "日光性角化病", "光化性角化病", "鲍温病",
    ),
    "bcc": (
        "basal cell carcinoma", "basal cell cancer", "basalioma", "basaliom", "basalzellkarzinom",
        "carcinome basocellulaire", "carcinoma basocelular", "carcinoma basocellulare", "rodent ulcer",
        "basal cell epithelioma", "基底细胞癌",
    ),
    "bkl": (
        "benign keratosis", "benign keratosis like lesion", "benign keratosis like lesions", "seborrheic keratosis",
        "seborrhoeic keratosis", "seborrheic keratoses", "seborrhoeic wart", "seborrheic wart", "basal cell papilloma",
        "solar lentigo", "lichen planus like keratosis", "lichenoid keratosis", "sk", "seborrhoische keratose",
        "keratose seborrheique", "queratosis seborreica", "ceratose seborreica", "cheratosi seborroica",
        "lentigo solaris", "verruca seborrhoica", "脂溢性角化病", "脂溢性角化症", "老年斑",
    ),
    "df": (
        "dermatofibroma", "benign fibrous histiocytoma", "dermatofibrom", "dermatofibrome", "histiozytom",
        "fibrous histiocytoma", "皮肤纤维瘤",
    ),
    "mel": (
        "melanoma", "malignant melanoma", "cutaneous melanoma", "superficial spreading melanoma", "nodular melanoma",
        "melanoma in situ", "lentigo maligna", "lentigo maligna melanoma", "acral melanoma", "amelanotic melanoma",
        "malignes melanom", "melanom", "schwarzer hautkrebs", "melanome", "melanome malin", "melanoma maligno",
        "黑色素瘤", "恶性黑色素瘤", "メラノーマ", "悪性黒色腫", "меланома",
    ),
    "nv": (
        "nevus", "naevus", "nevi", "naevi", "melanocytic nevus", "melanocytic naevus", "melanocytic nevi",
        "benign nevus", "benign naevus", "common nevus", "dysplastic nevus", "atypical nevus", "clark nevus",
        "blue nevus", "spitz nevus", "reed nevus", "compound nevus", "junctional nevus", "intradermal nevus",
        "dermal nevus", "congenital nevus", "mole", "benign mole", "atypical mole", "nevus melanocitico",
        "melanozytarer navus", "navus", "muttermal", "leberfleck", "naevus melanocytaire", "grain de beaute",
        "nevo", "nevo melanocitico", "nevo melanocitico benigno", "lunar", "色素痣", "黑素细胞痣", "痣", "невус",
    ),
    "vasc": (
        "vascular lesion", "hemangioma", "haemangioma", "angioma", "cherry angioma", "angiokeratoma",
        "pyogenic granuloma", "senile angioma", "hamangiom", "hemangiome", "angiome", "hemorrhage",
        "subcorneal hemorrhage", "血管瘤",
    ),
}  # fmt: skip

# Words after which a named disease is not what is meant.
_DENIED = re.compile(
    r"\b(no|not|non|without|unlikely|excluded?|excluding|rather than|less likely|kein|keine|pas de|sin|nao|versus|vs)\b"
)
_LONGEST_NAME = 80


def normalised(name: str) -> str:
    """Small letters without accents and punctuation, single spaces."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    plain = plain.replace("'", "").replace("’", "")
    return " ".join(re.sub(r"[^\w]+|_", " ", plain).split())


def class_of(name: str, classes: Sequence[str]) -> str | None:
    """The class that `name` stands for, None where it is none of them or could be several.

    The whole name must be a known one, or hold exactly one class's names as whole words and deny nothing.
    """
    if len(name) > _LONGEST_NAME:
        return None
    wanted = normalised(name)
    own = {normalised(dx): dx for dx in classes}
    if wanted in own:
        return own[wanted]
    known = {text: dx for text, dx in _table().items() if dx in classes}
    if wanted in known:
        return known[wanted]
    # Codes in brackets, as in `melanoma (mel)`, and qualifiers, as in `early invasive melanoma`.
    if _DENIED.search(wanted):
        return None
    # All classes are looked for, so that a name of a class that the run lacks is not taken for another.
    matches = [(text, dx) for text, dx in _table().items() if len(text) > 2 and _holds(wanted, text)]
    longest = [dx for text, dx in matches if not any(text != other and _holds(other, text) for other, _ in matches)]
    found = set(longest)
    return found.pop() if len(found) == 1 and found <= set(classes) else None


@cache
def _table() -> dict[str, str]:
    return {normalised(text): dx for dx, texts in SYNONYMS.items() for text in texts}


def _holds(text: str, part: str) -> bool:
    if not part.isascii():
        return part in text
    return f" {part} " in f" {text} "
