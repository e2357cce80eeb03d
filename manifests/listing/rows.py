"""The rows of a listing: for each picture its class, split, mask and group, from what tables and folders tell of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from manifests.errors import BadInput
from manifests.listing.labels import age_group, plain_value, told
from manifests.listing.names import key, split_of
from manifests.listing.source import SourceRow
from manifests.listing.tree import Picture

PATIENT, LESION = "patient", "lesion"


@dataclass
class Entry:
    """What tables tell of one picture; classes: by the table that gives them.

    own_id: whether a table names its id, which then stays even where it comes twice; mask_told: whether a table has a
    cell for its mask.
    """

    picture: Picture
    image_id: str
    facts: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    own_id: bool = False
    mask_told: bool = False


@dataclass
class Owner:
    """What tables tell of one lesion or patient; classes: all that each table gives."""

    facts: dict[str, str] = field(default_factory=dict)
    classes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def settle_owners(entries: Iterable[Entry], owners: Mapping[tuple[str, str], Owner]) -> None:
    """Gives pictures what is told of their lesion and patient, which a table or a folder around them names."""
    for entry in entries if owners else ():
        for role in (LESION, PATIENT):
            names = [entry.facts.get(role, ""), *reversed(entry.picture.folder)]
            name = next((name for name in names if (role, name) in owners), None)
            if name is None:
                continue
            owner = owners[role, name]
            entry.facts = {**owner.facts, role: name, **entry.facts}
            for table, classes in owner.classes.items():
                if len(classes) == 1:
                    entry.classes.setdefault(table, *classes)


def rows_of(
    entries: Sequence[Entry],
    masks: Mapping[str, str | None],
    notes: list[str],
    more: Mapping[str, tuple[str, ...]] | None = None,
) -> list[SourceRow]:
    """A row of each entry; more: further masks by the first. What a user should know is added to `notes`."""
    notes += several_masks(more or {})
    splits, groups = _splits(entries, notes), _groups(entries)
    often = Counter(entry.image_id for entry in entries)
    return [
        SourceRow(
            entry.image_id if entry.own_id or often[entry.image_id] == 1 else entry.picture.place,
            entry.picture.path,
            masks[entry.picture.path],
            next(iter(entry.classes.values()), None),
            splits[entry.picture.path],
            groups[entry.picture.path],
            _attributes(entry.facts),
            entry.facts.get("licence"),
            entry.facts.get("attribution"),
            (more or {}).get(masks[entry.picture.path] or "", ()),
        )
        for entry in entries
    ]


def differing_classes(entries: Sequence[Entry]) -> Iterator[tuple[Entry, str, str, bool]]:
    """Entries whose tables differ, with the table that is not followed, its class, and whether it contradicts the other
    in words that the other uses too. The table that tells of most pictures comes first in each entry from now on."""
    often = Counter(table for entry in entries for table in entry.classes)
    if len(often) < 2:
        return
    words: dict[str, set[str]] = {table: set() for table in often}
    for entry in entries:
        entry.classes = dict(sorted(entry.classes.items(), key=lambda told: -often[told[0]]))
        for table, dx in entry.classes.items():
            words[table].add(key(dx))
    for entry in entries:
        (first, chosen), *others = entry.classes.items() or [("", "")]
        for table, dx in others:
            if key(dx) != key(chosen):
                yield entry, table, dx, key(dx) in words[first]


def several_masks(more: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A note on pictures with several masks."""
    if not more:
        return []
    first, others = next(iter(more.items()))
    return [
        f"{len(more)} pictures have several masks, as {Path(first).name} and {Path(others[0]).name}: those that lie "
        "apart are joined, those that agree are put to the vote, unless prepare.masks.several says otherwise"
    ]


def _splits(entries: Sequence[Entry], notes: list[str]) -> dict[str, str | None]:
    """The split of each picture: its cell's, else its folder's; splits without any training tell nothing."""
    found: dict[str, str | None] = {}
    for entry in entries:
        cell = entry.facts.get("split")
        split = split_of(cell) if cell else entry.picture.split
        if cell and split is None:
            raise BadInput(
                f"{entry.picture.path} has the unknown split {cell[:40]!r} in its table; use train, validation or test"
            )
        found[entry.picture.path] = split
    return settled_splits(found, notes)


def settled_splits(found: dict[str, str | None], notes: list[str]) -> dict[str, str | None]:
    """Splits of which one is for training: beside held-out pictures the others are; alone they tell nothing."""
    named = {split for split in found.values() if split}
    if not named or "train" in named:
        return found
    if None in found.values():
        return {path: split or "train" for path, split in found.items()}
    notes.append(f"all pictures stand in {' and '.join(sorted(named))}, which is no split to train on and is not used")
    return dict.fromkeys(found)


def _groups(entries: Sequence[Entry]) -> dict[str, str | None]:
    """The group of each picture: what is connected by a patient or a lesion, named after the first of its patients."""
    owners = [[(role, entry.facts[role]) for role in (PATIENT, LESION) if entry.facts.get(role)] for entry in entries]
    # Patients first, so that the smallest node of a component is one where there is one.
    nodes = sorted({node for own in owners for node in own}, key=lambda node: (node[0] != PATIENT, node[1]))
    place = {node: number for number, node in enumerate(nodes)}
    first = connected(len(nodes), [(place[own[0]], place[own[1]]) for own in owners if len(own) == 2])
    patients = any(own[0][0] == PATIENT for own in owners if own)

    def name(node: tuple[str, str]) -> str:
        return f"lesion {node[1]}" if patients and node[0] == LESION else node[1]

    named = [name(nodes[first[place[own[0]]]]) if own else None for own in owners]
    return {entry.picture.path: group for entry, group in zip(entries, named, strict=True)}


def _attributes(facts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    age = facts.get("age_group", "")
    return told(
        age_group=age_group(age) or plain_value(age),
        sex=plain_value(facts.get("sex", "")),
        site=plain_value(facts.get("site", "")),
        skin_tone=plain_value(facts.get("skin_tone", "")),
    )


def one_spelling(classes: Sequence[str | None]) -> dict[str, str]:
    """For each class the spelling that is used most among those that differ in letter case alone."""
    often = Counter(dx for dx in classes if dx)
    best: dict[str, str] = {}
    for dx in sorted(often, key=lambda name: (-often[name], name)):
        best.setdefault(key(dx), dx)
    return {dx: best[key(dx)] for dx in often}


def connected(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `count` rows the smallest row that it is linked to, directly or through others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(links), int).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), bool), ends.T), shape=(count, count))
    component = connected_components(graph, directed=False)[1]
    first = np.unique(component, return_index=True)[1]
    return list(first[component].tolist())


def same_group_links(groups: Sequence[str | None]) -> list[tuple[int, int]]:
    """A link from each row to the first one of its group; rows without a group have none."""
    first: dict[str, int] = {}
    links = []
    for row, group in enumerate(groups):
        if group is not None and first.setdefault(group, row) != row:
            links.append((first[group], row))
    return links
