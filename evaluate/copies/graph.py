"""A graph of neighbours: where pictures are too many to compare one with all, it leads to those that are near."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manifests.files import replace_file

EXACT = 16_384
"""Pictures up to which each new one is compared with all, in some tens of milliseconds."""
_LINKS, _BUILT_WITH, _ASKED_WITH = 16, 64, 64  # of the graph: neighbours of a row, candidates when added and asked
_WINDOWS_ASKED_WITH = 128  # windows of one picture are near each other: more candidates, to get past them
_ADDED_AT_ONCE = 256  # pictures, all windows of each


@dataclass(frozen=True)
class Glance:
    """What one look finds of m pictures for an image in its flips and turns, before any is compared closely."""

    pictures: np.ndarray  # int64 (m,), ascending
    scores: np.ndarray  # float32 (views, m), the best cosine over a picture's windows, -inf where it is left out
    windows: np.ndarray  # int8 (views, m), the window that it was met in


def graph_of(rows: np.ndarray) -> Any:
    """A hierarchical navigable small world (Malkov and Yashunin 2018) of unit rows, in their order."""
    import faiss

    faiss.omp_set_num_threads(1)  # several would add in an order of their own, and link otherwise
    graph = faiss.IndexHNSWFlat(rows.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = _BUILT_WITH, _ASKED_WITH
    graph.add(np.ascontiguousarray(rows))
    return graph


def graph_of_windows(coarse: np.ndarray) -> Any:
    """The graph of rows float16 (windows, N, width), all windows of a picture after one another."""
    graph = graph_of(np.zeros((0, coarse.shape[2]), np.float32))
    for start in range(0, coarse.shape[1], _ADDED_AT_ONCE):
        block = coarse[:, start : start + _ADDED_AT_ONCE].transpose(1, 0, 2)
        graph.add(np.ascontiguousarray(block, np.float32).reshape(-1, coarse.shape[2]))
    graph.hnsw.efSearch = _WINDOWS_ASKED_WITH
    return graph


def glances(graph: Any, windows: int, views: np.ndarray, most: int) -> list[Glance]:
    """For each image of views float32 (n, views, width), the pictures that the `most` nearest rows of a view are of.

    windows: rows that each picture has in the graph.
    """
    count, turns, width = views.shape
    cosines, rows = graph.search(np.ascontiguousarray(views.reshape(-1, width)), min(most, graph.ntotal))
    found = []
    for own, near in zip(cosines.reshape(count, turns, -1), rows.reshape(count, turns, -1), strict=True):
        # From the farthest to the nearest, so that of several windows of a picture the best stays.
        turn, rank = (places[::-1] for places in np.nonzero(near >= 0))
        pictures, place = np.unique(near[turn, rank] // windows, return_inverse=True)
        scores = np.full((turns, len(pictures)), -np.inf, np.float32)
        met = np.zeros(scores.shape, np.int8)
        scores[turn, place], met[turn, place] = own[turn, rank], near[turn, rank] % windows
        found.append(Glance(pictures, scores, met))
    return found


def save_graph(graph: Any, path: Path) -> str:
    """Writes the graph to `path`; the sha256 of the file."""
    import faiss

    content = faiss.serialize_index(graph).tobytes()
    replace_file(path, content)
    return hashlib.sha256(content).hexdigest()


def load_graph(path: Path, digest: str) -> Any:
    """The graph that `save_graph` wrote; ValueError where the file is not that of the digest, OSError without it."""
    import faiss

    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ValueError(f"{path.name} is not the file that was written")
    faiss.omp_set_num_threads(1)
    return faiss.read_index(str(path))
