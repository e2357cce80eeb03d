"""Which pictures a base was trained on, by two sketches of each that travel with it: no picture, and a few bytes.

A sketch is the signs and rough sizes of a picture's low frequencies (a cosine transform, weighed by frequency): what
re-encoding, resizing and light leave as they are. One is of the whole picture, whoever drew its mask; the other of the
square around the lesion, which crops that keep it leave alone. Flips and quarter turns are compared too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from manifests.duplicates.fingerprints import lesion_square
from manifests.errors import BadInput
from manifests.files import replace_file
from manifests.format.schema import FINGERPRINTS
from manifests.pairs import PairArrays

VERSION = "1"
LEAST_LIKENESS = (0.955, 0.885)
"""Cosines from which on a whole picture, or a lesion, is the same one. Between 7,046 pictures of HAM10000 and of ISIC
2017's validation and test splits and 1,800 of its training split none is over .940 and .862."""
_SIDE = 32
_HIGHEST = 12  # cycles are half as many
_I, _J = (index.ravel() for index in np.mgrid[: _HIGHEST + 1, : _HIGHEST + 1])
_USED = np.flatnonzero((np.hypot(_I, _J) <= _HIGHEST) & (_I + _J > 0))
_I, _J = _I[_USED], _J[_USED]
_TRANSPOSED = np.array([np.flatnonzero((i == _J) & (j == _I))[0] for i, j in zip(_I, _J)])
_WEIGHTS = np.hypot(_I, _J).astype(np.float32)
_COSINES = np.cos(np.pi * np.outer(np.arange(_HIGHEST + 1), np.arange(_SIDE) + 0.5) / _SIDE).astype(np.float32)
SKETCH = len(_USED)
THUMBNAILS = (2, _SIDE, _SIDE)
_ASKED_AT_ONCE = 256


def thumbnails(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """What the sketches of `image` uint8 (S, S, 3) are made of, uint8 (2, 32, 32): whole, and around its lesion; black
    where `mask` bool (S, S) has none."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = np.zeros(THUMBNAILS, np.uint8)
    small[0] = _thumbnail(grey)
    if mask is not None and mask.any():
        x, y, side = lesion_square(mask, len(grey))
        small[1] = _thumbnail(grey[y : y + side, x : x + side])
    return small


def sketched(small: np.ndarray) -> np.ndarray:
    """int8 (N, 2, SKETCH) of the `thumbnails` uint8 (N, 2, 32, 32) of N pictures, which together take less time.

    Zeros, which are like nothing, where there is no lesion or nothing to be seen.
    """
    small = small.astype(np.float32)
    values = (_COSINES @ small @ _COSINES.T).reshape(*small.shape[:2], -1)[..., _USED] * _WEIGHTS
    # A ruler's or a vignette's few great values would drown the others.
    most = 3 * np.median(np.abs(values), axis=2, keepdims=True)
    seen = (small.std((2, 3)) >= 2)[..., None] & (most > 0)
    scaled = values / np.where(seen, most, 1)
    return np.where(seen, np.rint(np.clip(scaled, -1, 1) * 127), 0).astype(np.int8, order="C")


def _thumbnail(grey: np.ndarray) -> np.ndarray:
    resampling = cv2.INTER_AREA if len(grey) > _SIDE else cv2.INTER_LINEAR
    return cv2.resize(grey, (_SIDE, _SIDE), interpolation=resampling)


@dataclass(frozen=True)
class TrainingPictures:
    """The pictures that a base was trained on, as `sketches` int8 (N, 2, SKETCH); digest: stands for all of them."""

    sketches: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.sketches)

    def among(self, asked: np.ndarray) -> np.ndarray:
        """bool (n,): which of the pictures with sketches int8 (n, 2, SKETCH) are among them."""
        found = np.zeros(len(asked), bool)
        for view, least in enumerate(LEAST_LIKENESS):
            own = _units(self.sketches[:, view])
            forms, unturned = _dihedral(own), _without_turns(own)
            for start in range(0, len(asked), _ASKED_AT_ONCE):
                others = _units(asked[start : start + _ASKED_AT_ONCE, view])
                rows, columns = np.nonzero(_without_turns(others) @ unturned.T > least)
                likeness = np.einsum("nd,nfd->nf", others[rows], forms[columns]).max(1, initial=0)
                found[start + rows[likeness > least]] = True
        return found


def _units(values: np.ndarray) -> np.ndarray:
    """float32 (n, SKETCH) of length 1, or 0."""
    vectors = values.astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)


def _dihedral(vectors: np.ndarray) -> np.ndarray:
    """(n, SKETCH) -> (n, 8, SKETCH): a flip changes the sign of what is odd across it, a transposition swaps axes."""
    down, across = (np.where(index % 2, -1, 1).astype(np.float32) for index in (_I, _J))
    both = np.stack([vectors, vectors[:, _TRANSPOSED]], 1)
    return np.concatenate([both * signs for signs in (np.ones_like(down), down, across, down * across)], 1)


def _without_turns(vectors: np.ndarray) -> np.ndarray:
    """What flips and turns leave alone, (n, SKETCH): no two forms of two pictures are more alike than these are."""
    sizes = np.abs(vectors)
    other = sizes[:, _TRANSPOSED]
    return np.where(_I < _J, np.maximum(sizes, other), np.minimum(sizes, other))


def sketches_of(pairs: PairArrays) -> np.ndarray:
    """int8 (N, 2, SKETCH) of N pairs."""
    found = [thumbnails(image, mask) for image, mask in zip(pairs.images, pairs.masks, strict=True)]
    return sketched(np.array(found, np.uint8).reshape(-1, *THUMBNAILS))


def training_pictures(*found: np.ndarray) -> TrainingPictures:
    """All pictures with these sketches, each int8 (n, 2, SKETCH)."""
    joined = np.concatenate(found)
    return TrainingPictures(joined, _digest(joined))


def _digest(found: np.ndarray) -> str:
    return hashlib.sha256(f"{VERSION} {found.shape} ".encode() + found.tobytes()).hexdigest()


def save_training_pictures(pictures: TrainingPictures, folder: Path) -> None:
    """Writes them into a base's folder; the base's digest is not changed by it."""
    from safetensors.numpy import save

    facts = {"version": VERSION, "digest": pictures.digest}
    replace_file(folder / FINGERPRINTS, save({"sketches": pictures.sketches}, facts))


def load_training_pictures(folder: Path) -> TrainingPictures | None:
    """What `save_training_pictures` wrote; None where a base has none. BadInput for a file that nobody wrote so."""
    path = folder / FINGERPRINTS
    if not path.is_file():
        return None
    content, fault = path.read_bytes(), "is damaged"
    try:
        from safetensors.numpy import load

        length = int.from_bytes(content[:8], "little")
        facts = json.loads(content[8 : 8 + length])["__metadata__"]
        if facts["version"] == VERSION:
            found = load(content)["sketches"]
            if found.dtype == np.int8 and found.shape[1:] == (2, SKETCH) and facts["digest"] == _digest(found):
                return TrainingPictures(found, facts["digest"])
        else:
            fault = f"has version {str(facts['version'])[:20]} and this program reads {VERSION}"
    except Exception as error:
        fault = f"cannot be read ({type(error).__name__})"
    raise BadInput(f"{path}: {fault}; take the base from its source again, or delete the file")
