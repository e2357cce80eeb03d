"""What every diagnoser answers, and the one interface that all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

CAUTION = "Research use, not a diagnosis: no doctor has looked at this. Show any lesion that worries you to a doctor."
NAMES: dict[str, str] = {
    "akiec": "Actinic keratosis or Bowen's disease",
    "bcc": "Basal cell carcinoma",
    "bkl": "Benign keratosis",
    "df": "Dermatofibroma",
    "mel": "Melanoma",
    "nv": "Melanocytic nevus (mole)",
    "vasc": "Vascular lesion",
}
MALIGNANT = frozenset({"akiec", "bcc", "mel"})  # and what precedes a cancer


@dataclass(frozen=True)
class Candidate:
    """One diagnosis of a ranked list. dx: a class of the run; probability: None where none was stated;
    findings: what the diagnoser says it sees."""

    dx: str
    probability: float | None
    findings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The diagnosis in words."""
        return NAMES.get(self.dx, self.dx.replace("_", " "))


@dataclass(frozen=True)
class Diagnosis:
    """A diagnoser's answer about one image.

    candidates: most probable first; unlisted: diagnoses that it named and the run has no class for, with what it
    stated of them; none_of_these: whether the image looks like none of the classes; outlier: its place among
    held-out lesions, 1 meaning farther out than all of them, None where it is not measured; calibrated: whether
    the probabilities were set on held-out data; evidence: figures behind the answer, JSON-ready; problems: what
    could not be done, one sentence each.
    """

    diagnoser: str
    candidates: tuple[Candidate, ...]
    calibrated: bool
    none_of_these: bool = False
    outlier: float | None = None
    unlisted: tuple[tuple[str, float | None], ...] = ()
    description: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Diagnoser(Protocol):
    """Names what an image may show."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> Sequence[str]: ...

    def diagnose(self, image: np.ndarray) -> Diagnosis:
        """The answer about one uint8 image (H, W, 3)."""
        ...
