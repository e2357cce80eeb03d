"""Counting a manifest's rows again, beside what its header and its card say, and what shows only between rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.card import card_figures
from manifests.schema import CARD_NAME, HEADER_NAME, SPLITS
from manifests.storage import Storage


@dataclass
class Recount:
    """What has to be remembered from row to row; hashes stand for texts to keep memory small.

    complete: whether every row could be read, without which no count can be held against the header's.
    """

    ids: set[bytes] = field(default_factory=set)
    group_split: dict[bytes, str] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    rejected: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    rows: int = 0
    complete: bool = True

    def add(self, row: Mapping[str, Any], dx: str) -> Iterator[str]:
        """Count a row of the partition `dx`; faults that show only beside other rows."""
        self.rows += 1
        self.masks += row["mask"] is not None
        self.sources[str(row["source"])] += 1
        self.licences[str(row["licence"])] += 1
        split = str(row["split"])
        if row.get("accepted", True):
            self.counts.setdefault(split, Counter())[dx] += 1
        else:
            self.rejected[dx] += 1
        identity = _hash(row["pair_id"])
        if identity in self.ids:
            yield "its pair id stands twice in the manifest"
        self.ids.add(identity)
        side = self.group_split.setdefault(_hash(row["group_id"]), split)
        if side != split:
            yield f"its group {row['group_id']!r} is in {side} as well as in {split}"


def count_faults(header: Mapping[str, Any], found: Recount) -> Iterator[str]:
    """Where manifest.json counts otherwise."""
    for name in ("rows", "masks"):
        if header[name] != getattr(found, name):
            yield f"it counts {header[name]} {name} and there are {getattr(found, name)}"
    for split in SPLITS:
        for dx, said, there in _differing(header["counts"][split], found.counts[split]):
            yield f"it counts {said} pairs of class {dx} in {split} and there are {there}"
    for dx, said, there in _differing(header["rejected"], found.rejected):
        yield f"it counts {said} rejected pairs of {dx} and there are {there}"
    for name in ("sources", "licences"):
        for value, said, there in _differing(header[name], getattr(found, name)):
            yield f"its {name} count {said} pairs of {value[:60]!r} and there are {there}"


def _differing(said: Mapping[str, int], found: Counter[str]) -> Iterator[tuple[str, int, int]]:
    for value in sorted({*said, *found}):
        if said.get(value, 0) != found[value]:
            yield value, said.get(value, 0), found[value]


def card_faults(storage: Storage, header: Mapping[str, Any]) -> Iterator[str]:
    """Where the dataset card counts otherwise than manifest.json; its other text is the user's to change."""
    try:
        lines = set(storage.read(CARD_NAME).decode("utf-8", "replace").splitlines())
    except FileNotFoundError:
        yield "the dataset card is missing"
        return
    for line in card_figures(header):
        if line not in lines:
            yield f"it does not count as {HEADER_NAME} does, with the line {line[:120]!r}"


def _hash(text: Any) -> bytes:
    return hashlib.blake2b(str(text).encode("utf-8", "surrogatepass"), digest_size=12).digest()
