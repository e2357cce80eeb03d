"""An image explained: what it may be, where the lesion is, what each diagnosis looks like, what could not be done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evaluate.diagnosis.interface import CAUTION, Candidate, Diagnosis

if TYPE_CHECKING:
    import numpy as np

    from evaluate.explain.demonstrations import Demonstration
    from evaluate.explain.localisation import Localisation

EXPLANATION_VERSION = 1


@dataclass(frozen=True)
class ShownDiagnosis:
    """A diagnosis with its demonstrations; rank 1 is the most probable one; problems are sentences."""

    rank: int
    candidate: Candidate
    demonstrations: tuple[Demonstration, ...]
    problems: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[Demonstration, ...]:
        """The demonstrations of one kind."""
        return tuple(demo for demo in self.demonstrations if demo.kind == kind)


@dataclass(frozen=True)
class Explanation:
    """Everything about one image. image: uint8 (S, S, 3), its centre square as shown; source_size: (height, width)
    of the picture that was given; made_by: digests and settings, JSON-ready; seconds: by activity; origin: real, or
    drawn for a picture that says so."""

    name: str
    digest: str
    image: np.ndarray
    source_size: tuple[int, int]
    diagnosis: Diagnosis
    localisation: Localisation
    shown: tuple[ShownDiagnosis, ...]
    notes: tuple[str, ...] = ()
    made_by: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    origin: str = "real"

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that could not be done, said once each."""
        said = [*self.notes, *self.diagnosis.problems, *self.localisation.problems]
        for shown in self.shown:
            said += shown.problems
        return tuple(dict.fromkeys(said))


def to_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation as one JSON object; pictures are stood for by their sha256."""
    diagnosis, where = explanation.diagnosis, explanation.localisation
    return {
        "schema_version": EXPLANATION_VERSION,
        "caution": CAUTION,
        "image": explanation.name,
        "sha256": explanation.digest,
        "height": explanation.source_size[0],
        "width": explanation.source_size[1],
        "diagnoser": diagnosis.diagnoser,
        "calibrated": diagnosis.calibrated,
        "none_of_these": diagnosis.none_of_these,
        "outlier": diagnosis.outlier,
        "candidates": [
            {
                "dx": candidate.dx,
                "name": candidate.name,
                "probability": candidate.probability,
                "findings": list(candidate.findings),
            }
            for candidate in diagnosis.candidates
        ],
        "unlisted": [{"name": name, "probability": stated} for name, stated in diagnosis.unlisted],
        "description": diagnosis.description,
        "evidence": dict(diagnosis.evidence),
        "lesion": {
            "method": where.method,
            "share": None if where.mask is None else round(float(where.mask.mean()), 4),
            "lesions": where.lesions,
            "agreement": dict(where.agreement),
        },
        "demonstrations": [_demonstration(demo) for shown in explanation.shown for demo in shown.demonstrations],
        "problems": list(explanation.problems),
        "made_by": dict(explanation.made_by),
    }


def _demonstration(demo: Demonstration) -> dict[str, Any]:
    return {
        "kind": demo.kind,
        "dx": demo.dx,
        "synthetic": demo.synthetic,
        "seed": demo.seed,
        "prompt": demo.prompt,
        "strength": demo.strength,
        "adapter_digest": demo.adapter_digest,
        "pair_id": demo.pair_id,
        "similarity": demo.similarity,
        "probability": None if demo.probability is None else list(demo.probability),
        "sha256": hashlib.sha256(demo.image.tobytes()).hexdigest(),
    }
