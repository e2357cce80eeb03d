"""The copy audit: the nearest real training pair of an image, over flips, turns and crops."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.copies.graph import EXACT, Glance, glances, graph_of_windows, load_graph, save_graph
from evaluate.copies.threshold import ATTACKS, CopyThreshold, plant, set_threshold
from evaluate.copies.views import (
    VIEWS,
    WHOLE,
    DetailDescriptor,
    grey_thumbnails,
    register,
    resample,
    unit_rows,
    view,
    window_bank,
)
from evaluate.settings.gates import CopySettings
from manifests.errors import BadInput
from manifests.files import replace_file, write_json
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    import pyarrow as pa

    from manifests.pairs import PairArrays

GRAPH = "index.faiss"
COARSE, COARSE_WIDTH = 16, 96
FINE, FINE_WIDTH = 32, 512
QUERY_BLOCK = 32
_ROWS_MET = 16  # rows of the graph that are looked at for each pair of the shortlist


@dataclass(frozen=True)
class Neighbours:
    """The nearest real pair of each query: its index, and the similarity in [-1, 1], 1 for the same image."""

    index: np.ndarray  # int64 (N,), -1 where no real pair could be compared
    similarity: np.ndarray  # float64 (N,)


class CopyIndex:
    """Real training images in which near copies of an image are looked up; immutable once made."""

    def __init__(
        self,
        ids: Sequence[str],
        groups: Sequence[str],
        thumbnails: np.ndarray,
        coarse: np.ndarray,
        settings: CopySettings,
        descriptors: tuple[DetailDescriptor, DetailDescriptor],
        threshold: CopyThreshold | None = None,
        graph: Any = None,
    ):
        self.ids, self.groups = list(ids), np.asarray(groups)
        self.thumbnails, self.coarse = thumbnails, coarse
        self.settings, self.threshold = settings, threshold
        self._short, self._close = descriptors
        self._graph = graph
        self._windows = window_bank() if settings.extractor is None else (WHOLE,)
        self._extract: Callable[[np.ndarray], np.ndarray] | None = None
        self.name = "whitened detail of 32 px"
        if settings.extractor:
            self.name, self._extract = _network_rows(settings)

    @classmethod
    def build(cls, images: np.ndarray, ids: Sequence[str], groups: Sequence[str], settings: CopySettings) -> CopyIndex:
        """Index uint8 images (N, H, W, 3) of lesions or patients `groups`; no threshold is set yet."""
        if not len(images):
            raise BadInput("the copy audit needs at least one real training pair; prepare data with a train split")
        thumbnails = grey_thumbnails(images)
        short = DetailDescriptor.fit(thumbnails, COARSE, COARSE_WIDTH)
        close = DetailDescriptor.fit(thumbnails, FINE, FINE_WIDTH)
        index = cls(ids, groups, thumbnails, np.zeros(0), settings, (short, close))
        if index._extract:
            index.coarse = index._extract(images)[None].astype(np.float16)
        else:
            # In blocks, so that the thumbnails are not all there as floats; fewer pairs are one block, as ever.
            blocks = [thumbnails[start : start + EXACT] for start in range(0, len(thumbnails), EXACT)]
            rows = [
                np.concatenate([short(resample(block, COARSE, window)).astype(np.float16) for block in blocks])
                for window in index._windows
            ]
            index.coarse = np.stack(rows)  # (windows, N, width)
        return index

    def search(self, images: np.ndarray, groups: Sequence[str] | None = None) -> Neighbours:
        """Nearest real pair of each uint8 image (N, H, W, 3), out of its own group if `groups` are given.

        Without groups and among more than `EXACT` pairs, a graph of neighbours says which are looked at.
        """
        found, similarity = np.full(len(images), -1), np.full(len(images), -1.0)
        for start in range(0, len(images), QUERY_BLOCK):
            block = images[start : start + QUERY_BLOCK]
            thumbnails = grey_thumbnails(block)
            views = self._views(block, thumbnails)
            own = None if groups is None else np.asarray(groups[start : start + QUERY_BLOCK])
            looks = self._near(views) if own is None and len(self.ids) > EXACT else self._among_all(views, own)
            for i, look in enumerate(looks):
                compared = self._compared(thumbnails[i], look, self.settings.shortlist)
                found[start + i], similarity[start + i] = max(compared, key=lambda one: one[1], default=(-1, -1.0))
        return Neighbours(found, similarity)

    def nearest(self, image: np.ndarray, most: int, group: str | None = None) -> list[tuple[str, float]]:
        """Ids and similarities of the `most` nearest real pairs of a uint8 image (H, W, 3), out of its own `group`."""
        thumbnails = grey_thumbnails(image[None])
        own = None if group is None else np.asarray([group])
        (look,) = self._among_all(self._views(image[None], thumbnails), own)
        found = self._compared(thumbnails[0], look, most)
        return sorted(((self.ids[pair], similarity) for pair, similarity in found), key=lambda one: -one[1])

    def _views(self, images: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
        # Descriptors of all flips and turns, float32 (n, views, width).
        if self._extract:
            turned = (np.ascontiguousarray(view(images, v)) for v in range(VIEWS))
            return np.stack([self._extract(block) for block in turned], 1)
        small = resample(thumbnails, COARSE)
        return np.stack([self._short(view(small, v)) for v in range(VIEWS)], 1)

    def _coarse_scores(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Best cosine over the windows, float32 (n, views, N), and the window it was met in.
        count, _, width = views.shape
        # Short blocks are padded, so that a product has one shape and one order of additions.
        queries = np.zeros((QUERY_BLOCK, VIEWS, width), np.float32)
        queries[:count] = views
        best = np.full((QUERY_BLOCK * VIEWS, len(self.ids)), -np.inf, np.float32)
        windows = np.zeros(best.shape, np.int8)
        for number, rows in enumerate(self.coarse):
            scores = queries.reshape(-1, width) @ rows.astype(np.float32).T
            windows[scores > best] = number
            np.maximum(best, scores, out=best)
        shape = (QUERY_BLOCK, VIEWS, len(self.ids))
        return best.reshape(shape)[:count], windows.reshape(shape)[:count]

    def _among_all(self, views: np.ndarray, own: np.ndarray | None) -> list[Glance]:
        # A look at every real pair, out of the groups `own` (n,) of the images.
        scores, windows = self._coarse_scores(views)
        if own is not None:
            scores[np.broadcast_to((own[:, None] == self.groups[None])[:, None], scores.shape)] = -np.inf
        every = np.arange(len(self.ids))
        return [Glance(every, *told) for told in zip(scores, windows, strict=True)]

    def _near(self, views: np.ndarray) -> list[Glance]:
        if self._graph is None:
            self._graph = graph_of_windows(self.coarse)
        return glances(self._graph, len(self.coarse), views, _ROWS_MET * self.settings.shortlist)

    def _compared(self, thumbnail: np.ndarray, look: Glance, most: int) -> list[tuple[int, float]]:
        # The real pairs that are nearest at a glance, each compared closely.
        by_pair = look.scores.max(0)
        order = np.argsort(-by_pair, kind="stable")[:most]
        order = order[np.isfinite(by_pair[order])]
        if self._extract:
            return [(int(look.pictures[place]), round(float(by_pair[place]), 5)) for place in order]
        close = []
        for place in order:
            turn, pair = int(look.scores[:, place].argmax()), int(look.pictures[place])
            length = self._windows[look.windows[turn, place]][2]
            turned = view(thumbnail[None], turn)[0]
            close.append((pair, self._close_similarity(turned, self.thumbnails[pair], length)))
        return close

    def _close_similarity(self, query: np.ndarray, reference: np.ndarray, near: float) -> float:
        window = register(query, reference, near)
        sides = [resample(query[None], FINE), resample(reference[None], FINE, window)]
        rows = self._close(np.concatenate(sides))
        # Rounded so that the last bits of a matrix product never decide.
        return round(float(rows[0] @ rows[1]), 5)

    def similarity_to(self, image: np.ndarray, pair_id: str) -> float:
        """How much an image uint8 (H, W, 3) is like one real pair, over all flips and turns."""
        pair, thumbnail = self.ids.index(pair_id), grey_thumbnails(image[None])
        if self._extract:
            scores, _ = self._coarse_scores(self._views(image[None], thumbnail))
            return round(float(scores[0, :, pair].max()), 5)
        turned = [view(thumbnail, number)[0] for number in range(VIEWS)]
        return max(self._close_similarity(one, self.thumbnails[pair], WHOLE[2]) for one in turned)

    def describe_closely(self, thumbnails: np.ndarray) -> np.ndarray:
        """Unit rows float32 (N, 512) of thumbnails (N, 64, 64), for images of one framing."""
        return self._close(resample(thumbnails, FINE))

    def is_copy(self, similarity: float) -> bool:
        """Whether a similarity reaches the threshold."""
        assert self.threshold is not None, "calibrate first"
        return similarity >= self.threshold.value

    def calibrated(self, images: np.ndarray, seed: int = 0, progress: Progress = no_progress) -> CopyIndex:
        """This index with its threshold, which the indexed `images` (N, H, W, 3) themselves set."""
        chosen = np.linspace(0, len(images) - 1, min(len(images), self.settings.calibration_pairs)).astype(int)
        real = self.search(images[chosen], [str(group) for group in self.groups[chosen]])
        picked = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), self.settings.planted_per_attack)).astype(int)]
        planted = {}
        for number, attack in enumerate(ATTACKS):
            progress(number, len(ATTACKS), attack=attack)
            planted[attack] = self.search(plant(images[picked], attack, seed)).similarity
        threshold = set_threshold(real.similarity[real.index >= 0], planted, self.settings)
        parts = (self.ids, [str(group) for group in self.groups], self.thumbnails, self.coarse, self.settings)
        return CopyIndex(*parts, (self._short, self._close), threshold, self._graph)

    def save(self, folder: Path) -> None:
        """Write index.safetensors, index.faiss where a graph was made, then index.json, into `folder`."""
        from safetensors.numpy import save

        tensors = {"thumbnails": self.thumbnails, "coarse": self.coarse}
        tensors |= {"short": self._short.weights, "close": self._close.weights}
        replace_file(folder / "index.safetensors", save({key: np.ascontiguousarray(t) for key, t in tensors.items()}))
        header = {"ids": self.ids, "groups": self.groups.tolist(), "settings": self.settings.model_dump()}
        if self._graph is not None:
            header["graph"] = save_graph(self._graph, folder / GRAPH)
        write_json(folder / "index.json", header | {"threshold": self.threshold and asdict(self.threshold)})

    @classmethod
    def load(cls, folder: Path) -> CopyIndex:
        """The index that `save` wrote; BadInput where a file is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            header = json.loads((folder / "index.json").read_text())
            tensors = load_file(folder / "index.safetensors")
            graph = load_graph(folder / GRAPH, header["graph"]) if "graph" in header else None
        except (OSError, ValueError, SafetensorError) as error:
            raise BadInput(f"{folder} holds no readable copy index ({error}); delete it and run again") from error
        threshold = header["threshold"] and CopyThreshold(**header["threshold"])
        parts = (header["ids"], header["groups"], tensors["thumbnails"], tensors["coarse"])
        descriptors = (DetailDescriptor(tensors["short"]), DetailDescriptor(tensors["close"]))
        return cls(*parts, CopySettings(**header["settings"]), descriptors, threshold, graph)


def _network_rows(settings: CopySettings) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    # The name of the chosen network, and unit rows of its features.
    from evaluate.fidelity.extractors import features_of, pretrained_features

    assert settings.extractor is not None
    network = pretrained_features(settings.extractor, settings.weights, settings.extractor_size)
    return network.name, lambda images: unit_rows(features_of(network, images))


def copies_report(index: CopyIndex, synthetic: pa.Table, held_out: PairArrays, nearest: int = 10) -> dict[str, Any]:
    """How many generated pairs are copies, beside real pairs that the generator never saw.

    `synthetic` is the table of every candidate, accepted or not, with its columns dx, accepted,
    nearest_real_id and nearest_similarity; `held_out` are real pairs of another split. JSON-ready.
    """
    threshold = index.threshold
    if threshold is None:
        raise ValueError("the copy index has no threshold; calibrate it first")
    columns = ("pair_id", "dx", "accepted", "nearest_real_id", "nearest_similarity")
    rows = [row for row in synthetic.select(columns).to_pylist() if row["nearest_similarity"] is not None]
    rows.sort(key=lambda row: (-row["nearest_similarity"], row["pair_id"]))
    return {
        "descriptor": index.name,
        "threshold": threshold.value,
        "calibration": asdict(threshold),
        "all": _share_of_copies([row["nearest_similarity"] for row in rows], threshold.value),
        "per_class": {
            dx: _share_of_copies([row["nearest_similarity"] for row in rows if row["dx"] == dx], threshold.value)
            for dx in sorted({row["dx"] for row in rows})
        },
        "accepted_copies": sum(row["accepted"] and index.is_copy(row["nearest_similarity"]) for row in rows),
        "held_out": _share_of_copies(index.search(held_out.images).similarity, threshold.value),
        "nearest": rows[:nearest],
    }


def _share_of_copies(similarities: Sequence[float] | np.ndarray, threshold: float) -> dict[str, Any]:
    values = np.asarray(similarities, np.float64)
    if not len(values):
        return {"pairs": 0, "copies": 0, "rate": None, "quantiles": None}
    copies = int((values >= threshold).sum())
    quantiles = {name: float(np.quantile(values, q)) for name, q in (("q50", 0.5), ("q95", 0.95), ("q100", 1.0))}
    return {"pairs": len(values), "copies": copies, "rate": copies / len(values), "quantiles": quantiles}
