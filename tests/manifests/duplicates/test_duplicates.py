"""Near-duplicates: found whatever was done to the picture, and different lesions stay apart."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from manifests.duplicates import search
from manifests.duplicates.find import DuplicatePair, find_duplicates, is_duplicate, least_agreeing
from manifests.duplicates.fingerprints import RECORD, fingerprint
from manifests.duplicates.search import COMPARE_ALL_UP_TO
from manifests.images import resized_mask
from manifests.listing.rows import connected, same_group_links
from manifests.phantom.draw import PhantomPair, draw_pair
from manifests.progress import no_progress
from manifests.storage.spool import RecordSpool
from tests.manifests.sources.phantom_layouts import rephotographed

SIDE = 128
Change = Callable[[PhantomPair], PhantomPair]


def _drawn(count: int) -> list[PhantomPair]:
    return [draw_pair(("nv", "mel", "bkl")[i % 3], 21, i, SIDE) for i in range(count)]


def _search(pairs: list[PhantomPair], folder: Path, with_masks: bool = True) -> list[DuplicatePair]:
    spool = RecordSpool(folder / "fingerprints", RECORD)
    for pair in pairs:
        spool.add(fingerprint(pair.image, pair.mask if with_masks else None))
    return find_duplicates(spool)


def _turned(pair: PhantomPair) -> PhantomPair:
    return PhantomPair(np.rot90(pair.image).copy(), np.rot90(pair.mask).copy(), pair.dx)


def _flipped(pair: PhantomPair) -> PhantomPair:
    return PhantomPair(pair.image[:, ::-1].copy(), pair.mask[:, ::-1].copy(), pair.dx)


def _recoloured(pair: PhantomPair) -> PhantomPair:
    tinted = 255 * (pair.image / 255.0) ** 1.2 * np.array([1.1, 0.95, 0.8])
    return PhantomPair(np.clip(tinted, 0, 255).astype(np.uint8), pair.mask, pair.dx)


def _cropped(pair: PhantomPair) -> PhantomPair:
    part = slice(10, 116)
    image = cv2.resize(pair.image[part, part], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return PhantomPair(image, resized_mask(pair.mask[part, part], SIDE), pair.dx)


def _recompressed(pair: PhantomPair) -> PhantomPair:
    _, content = cv2.imencode(".jpg", pair.image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    return PhantomPair(cv2.imdecode(content, cv2.IMREAD_COLOR), pair.mask, pair.dx)


def _everything(pair: PhantomPair) -> PhantomPair:
    return _recompressed(_recoloured(_cropped(_flipped(_turned(pair)))))


@pytest.mark.parametrize(
    ("change", "least"),
    [(_turned, 24), (_flipped, 24), (_recoloured, 24), (_recompressed, 23), (_cropped, 22), (_everything, 20)],
)
def test_changed_copies_are_found(change: Change, least: int, tmp_path: Path) -> None:
    originals = _drawn(24)
    found = _search(originals + [change(pair) for pair in originals], tmp_path)
    links = {(p.first, p.second) for p in found}
    right = {(i, i + 24) for i in range(24)}
    assert len(links & right) >= least
    assert not links - right, "different lesions stay apart"


def test_other_photographs_of_a_lesion_are_found(tmp_path: Path) -> None:
    originals = _drawn(24)
    found = _search(originals + [rephotographed(p, i) for i, p in enumerate(originals)], tmp_path)
    links = {(p.first, p.second) for p in found}
    assert len(links & {(i, i + 24) for i in range(24)}) >= 20
    assert all(b - a == 24 for a, b in links)


def test_copies_are_found_without_masks_too(tmp_path: Path) -> None:
    originals = _drawn(24)
    found = _search(originals + [_flipped(pair) for pair in originals], tmp_path, with_masks=False)
    assert len({(p.first, p.second) for p in found} & {(i, i + 24) for i in range(24)}) >= 22


def test_many_pictures_are_looked_up_by_words_with_the_same_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = _drawn(COMPARE_ALL_UP_TO + 30)
    copies = [_everything(pair) for pair in originals[:30]]
    found = _search(originals + copies, tmp_path)
    links = {(p.first, p.second) for p in found}
    right = {(i, i + len(originals)) for i in range(30)}
    assert len(links & right) >= 25
    assert not links - right
    assert found == _search(originals + copies, tmp_path), "the same pictures give the same pairs"
    monkeypatch.setattr(search, "INDEXED_AT_ONCE", 32)
    monkeypatch.setattr(search, "ASKED_AT_ONCE", 16)
    assert found == _search(originals + copies, tmp_path), "in whatever parts they are looked up"


def test_pictures_without_structure_match_nothing(tmp_path: Path) -> None:
    blank = PhantomPair(np.full((SIDE, SIDE, 3), 200, np.uint8), np.zeros((SIDE, SIDE), bool), "nv")
    assert _search([blank] * 5, tmp_path) == []


def test_more_pictures_ask_for_more_evidence() -> None:
    assert least_agreeing(2_000) == 8
    assert [least_agreeing(n) for n in (10_000, 100_000)] == [10, 13]
    assert is_duplicate(8, 0.95, 8) and not is_duplicate(8, 0.7, 8) and is_duplicate(10, 0.5, 8)
    assert not is_duplicate(30, 0.1, 8), "pictures that agree on a ruler and look different"


def test_clusters_join_groups_and_links() -> None:
    links = same_group_links(["a", None, "b", "a", None])
    assert links == [(0, 3)]
    assert connected(5, [*links, (3, 4)]) == [0, 1, 2, 0, 0]


def test_the_nearest_by_words_are_those_of_a_plain_product_whatever_the_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    records = np.zeros(90, search.WORDS_RECORD)
    records["count"] = 12
    records["words"][:, :12] = random.integers(0, 60, (90, 12))
    words = RecordSpool(tmp_path / "words", search.WORDS_RECORD)
    words.add(records)
    monkeypatch.setattr(search, "INDEXED_AT_ONCE", 40)
    monkeypatch.setattr(search, "ASKED_AT_ONCE", 8)
    with ThreadPoolExecutor(2) as pool:
        nearest = search._most_words_shared(words, no_progress, pool, workers=2)
    matrix = search.word_matrix(search._word_lists(records), search._word_weights(words))
    shared = (matrix @ matrix.T).toarray()
    np.fill_diagonal(shared, -1)
    best = np.sort(shared, axis=1)[:, : -search.CANDIDATES - 1 : -1]
    assert np.allclose(np.take_along_axis(shared, nearest, 1), best)
    assert all(len(set(row)) == search.CANDIDATES for row in nearest.tolist())
