"""The explainer of a run: its diagnoser, localisers and samplers in memory, asked one image after another."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.diagnosis.interface import Candidate, Diagnosis
from evaluate.explain.demonstrations import (
    ClassSampler,
    ClassSamplers,
    Demonstration,
    Likeness,
    nearest_cases,
    references,
    seed_for,
)
from evaluate.explain.explanation import Explanation, ShownDiagnosis
from evaluate.explain.localisation import FindLesion, locate
from evaluate.explain.personal import Manner, personalised
from evaluate.settings.explain import ExplainSettings
from manifests.errors import BadInput, EvendermError
from manifests.images import centre_square, decode_image, decode_mask, image_size, resized_image, resized_mask
from manifests.png import is_drawn
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.fine_detail import FineDetail
    from evaluate.diagnosis.ensemble import ClassifierDiagnoser
    from evaluate.diagnosis.interface import Diagnoser
    from manifests.pairs import PairArrays

SMALLEST_SIDE = 32
DRAWN_CASES = "This run has learned from pictures that a program drew, so that nothing it says is about real skin."
_FLAT = 0.25  # share of pixels that equal all their neighbours in a screenshot or drawing, far above photographs'


@dataclass(frozen=True)
class InputImage:
    """A picture that was read. pixels: uint8 (H, W, 3), made smaller where it was large; digest: sha256 of the file;
    size: its own (height, width); drawn: whether it says that it is no photograph."""

    name: str
    pixels: np.ndarray
    digest: str
    size: tuple[int, int]
    drawn: bool = False


def read_image(content: bytes, name: str, settings: ExplainSettings) -> InputImage:
    """Decodes what a person gave; nothing but the pixels is kept. BadInput where it cannot be used."""
    import cv2

    if len(content) > settings.max_bytes:
        raise BadInput(
            f"{name} has {len(content)} bytes, more than the limit of {settings.max_bytes}; make it smaller or "
            "raise explain.max_bytes"
        )
    height, width = image_size(content, name, settings.max_pixels)
    if min(height, width) < SMALLEST_SIDE:
        raise BadInput(f"{name} has {width} x {height} pixels; the shorter side must have {SMALLEST_SIDE} or more")
    # Large photographs are decoded at a fraction of their size, which keeps memory flat.
    pixels = decode_image(content, settings.max_pixels, name, side=2 * settings.display)
    scale = 2 * settings.display / min(pixels.shape[:2])
    if scale < 1:
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return InputImage(name, pixels, hashlib.sha256(content).hexdigest(), (height, width), is_drawn(content))


def read_mask(content: bytes, name: str, settings: ExplainSettings) -> np.ndarray:
    """The caller's mask as bool (H, W); BadInput where it cannot be read."""
    if len(content) > settings.max_bytes:
        raise BadInput(f"{name} has more than {settings.max_bytes} bytes; make it smaller")
    return decode_mask(content, settings.max_pixels, name)


@dataclass(frozen=True)
class Original:
    """What the pictures of a diagnosis are made from. digest: of the file; image: uint8 (S, S, 3); mask: bool (S, S)
    or None where no lesion was found; strength: the settings' where None."""

    digest: str
    image: np.ndarray
    mask: np.ndarray | None
    diagnosis: Diagnosis
    strength: float | None


@dataclass(frozen=True)
class Explainer:
    """What explains images. side: of the images that the run's models learned from; cases: the labelled training
    pairs at that side; made_by: digests for the record; detail: share of the reference pairs' fine detail that is
    taken from those; drawn_cases: ids of those that are no photographs; reference_pairs: the ones so far, by class."""

    settings: ExplainSettings
    side: int
    seed: int
    diagnoser: Diagnoser
    ensemble: ClassifierDiagnoser
    cases: PairArrays
    finders: Mapping[str, FindLesion]
    samplers: ClassSamplers
    made_by: Mapping[str, Any]
    detail: float = 0.0
    drawn_cases: frozenset[str] = frozenset()
    reference_pairs: dict[str, list[Demonstration]] = field(default_factory=dict)

    def explain(
        self,
        picture: InputImage,
        mask: np.ndarray | None = None,
        wanted: Sequence[str] = (),
        strength: float | None = None,
        progress: Progress = no_progress,
    ) -> Explanation:
        """Explains one picture.

        mask: the caller's own, bool (H, W) of the picture; wanted: classes to show, the most probable ones where
        empty; strength: the settings' where None. Raises BadInput for a mask of another shape or unknown class.
        """
        started = time.monotonic()
        seconds: dict[str, float] = {}
        steps = 3 + (len(wanted) or min(self.settings.candidates, len(self.cases.classes)))

        def done(number: int, what: str) -> None:
            seconds[what] = round(time.monotonic() - started - sum(seconds.values()), 3)
            progress(number, steps, activity=what)

        progress(0, steps, activity="reading the image")
        shown_image = resized_image(centre_square(picture.pixels), self.settings.display)
        model_image = resized_image(centre_square(picture.pixels), self.side)
        diagnosis = self._diagnose(shown_image, model_image)
        done(1, "diagnosis")
        where = locate(shown_image, self.finders, self.settings.localiser.smallest, self._given(mask, picture))
        done(2, "localisation")
        original = Original(picture.digest, shown_image, where.mask, diagnosis, strength)
        shown = []
        for rank, candidate in enumerate(self._candidates(diagnosis, wanted), start=1):
            shown.append(self._show(rank, candidate, original, model_image))
            done(2 + rank, f"pictures of {candidate.dx}")
        progress(steps, steps, activity="done")
        notes = (*notes_on(picture), *((DRAWN_CASES,) if self.drawn_cases else ()))
        return Explanation(
            picture.name, picture.digest, shown_image, picture.size, diagnosis, where, tuple(shown), notes,
            self.made_by, seconds, "drawn" if picture.drawn else "real",
        )  # fmt: skip

    def personalise(
        self, explanation: Explanation, dx: str, strength: float | None
    ) -> tuple[Demonstration | None, tuple[str, ...]]:
        """The picture of an explanation as `dx` would look at another strength, and what could not be done."""
        self._check_class(dx)
        where = explanation.localisation
        if where.mask is None:
            return None, where.problems
        original = Original(explanation.digest, explanation.image, where.mask, explanation.diagnosis, strength)
        try:
            return self._changed(self.samplers.of(dx), dx, original, where.mask), ()
        except EvendermError as error:
            return None, (f"No picture of {dx} could be made: {error}.",)

    def detail_of(self, dx: str) -> FineDetail | None:
        """Where reference pairs of `dx` have what is finer than the generator draws from; None from nowhere."""
        from augment.fine_detail import FineDetail

        own = self.cases.of_class(dx).masked()
        return FineDetail.of(own, self.detail, self.seed) if self.detail and len(own) else None

    def _diagnose(self, shown_image: np.ndarray, model_image: np.ndarray) -> Diagnosis:
        own = self.ensemble.diagnose(model_image)
        if self.diagnoser is self.ensemble:
            return own
        try:
            answer = self.diagnoser.diagnose(shown_image)
        except BadInput:
            raise
        except EvendermError as error:
            problem = f"The {self.diagnoser.name} diagnoser gave no answer: {error}. The run's own classifier answered."
            return replace(own, problems=(problem,))
        # Whether this is skin at all is measured, whatever a language model says.
        answer = replace(answer, none_of_these=answer.none_of_these or own.none_of_these, outlier=own.outlier)
        first = own.candidates[0]
        if answer.candidates and answer.candidates[0].dx != first.dx:
            said = f"The run's own classifier ranks {first.name} first ({first.probability:.0%})."
            answer = replace(answer, problems=(*answer.problems, said))
        if not answer.candidates:
            problem = (
                f"The {answer.diagnoser} diagnoser named none of this run's classes; "
                "the run's own classifier ranks them."
            )
            return replace(answer, candidates=own.candidates, problems=(*answer.problems, problem))
        return answer

    def _candidates(self, diagnosis: Diagnosis, wanted: Sequence[str]) -> list[Candidate]:
        if not wanted:
            return list(diagnosis.candidates[: self.settings.candidates])
        for dx in wanted:
            self._check_class(dx)
        stated = {candidate.dx: candidate for candidate in diagnosis.candidates}
        return [stated.get(dx, Candidate(dx, None)) for dx in dict.fromkeys(wanted)]

    def _show(self, rank: int, candidate: Candidate, original: Original, model_image: np.ndarray) -> ShownDiagnosis:
        dx = candidate.dx
        demos = nearest_cases(self.ensemble, self.cases, model_image, dx, self.settings.nearest, self.drawn_cases)
        problems = [] if demos or not self.settings.nearest else [f"This run has no training case of {dx}."]
        try:
            chosen = self.samplers.of(dx)
            if dx not in self.reference_pairs:
                self.reference_pairs[dx] = self._references(chosen, dx)
            demos += self.reference_pairs[dx]
            if original.mask is not None:
                demos.append(self._changed(chosen, dx, original, original.mask))
            problems += [chosen.problem] if chosen.problem else []
        except EvendermError as error:
            problems.append(f"No picture of {dx} could be generated: {error}.")
        return ShownDiagnosis(rank, candidate, tuple(demos), tuple(problems))

    def _references(self, chosen: ClassSampler, dx: str) -> list[Demonstration]:
        count, draws = self.settings.references, self.settings.reference_draws
        return references(chosen, dx, count, self.seed, draws, self._likeness(dx), self.detail_of(dx))

    def _changed(self, chosen: ClassSampler, dx: str, original: Original, mask: np.ndarray) -> Demonstration:
        return personalised(
            chosen,
            dx,
            original.image,
            mask,
            Manner.of(self.settings, original.strength),
            # The same noise for every class and strength, so that these alone make the difference.
            seed_for("personalised", self.seed, original.digest),
            rival_of(dx, original.diagnosis),
            self._likeness(dx),
        )

    def _likeness(self, dx: str) -> Likeness:
        label = self.cases.classes.index(dx)
        return lambda images: self.ensemble.probabilities(images)[:, label]

    def _given(self, mask: np.ndarray | None, picture: InputImage) -> np.ndarray | None:
        if mask is None:
            return None
        if mask.shape != picture.size:
            raise BadInput(
                f"the mask of {picture.name} has {mask.shape[1]} x {mask.shape[0]} pixels but the picture "
                f"{picture.size[1]} x {picture.size[0]}; make them equal"
            )
        return resized_mask(centre_square(mask), self.settings.display)

    def _check_class(self, dx: str) -> None:
        if dx not in self.cases.classes:
            raise BadInput(f"{dx!r} is no class of this run; choose from {', '.join(self.cases.classes)}")


def rival_of(dx: str, diagnosis: Diagnosis) -> str | None:
    """The most probable diagnosis that is not `dx`: what a picture of `dx` has to be told apart from."""
    return next((candidate.dx for candidate in diagnosis.candidates if candidate.dx != dx), None)


def notes_on(picture: InputImage) -> list[str]:
    """What is unusual about a picture, one sentence each."""
    pixels, notes = picture.pixels, []
    spread = pixels.max(axis=2).astype(int) - pixels.min(axis=2)
    if np.quantile(spread, 0.99) <= 2:
        notes.append(
            "This picture is grey; colour tells these diagnoses apart, so the answer is less sure than it says."
        )
    same = (pixels[1:, 1:] == pixels[:-1, 1:]).all(-1) & (pixels[1:, 1:] == pixels[1:, :-1]).all(-1)
    if same.mean() > _FLAT and (same & (pixels[1:, 1:].max(-1) > 20)).mean() > _FLAT:
        notes.append("Large areas have exactly one colour, as in a screenshot or a drawing; use the photograph itself.")
    height, width = picture.size
    if max(height, width) > 1.6 * min(height, width):
        notes.append("The picture is long; only the square in its middle was looked at.")
    return notes
