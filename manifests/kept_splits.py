"""Splits that stay as they were in an earlier manifest of the same data, whatever rows have come in since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import BadInput
from manifests.reading import open_manifest
from manifests.splits import PROTECTION
from manifests.storage import Storage


@dataclass(frozen=True)
class KeptSplits:
    """splits: by pair id; digest: of the manifest that they were read from."""

    splits: Mapping[str, str]
    digest: str

    @property
    def note(self) -> str:
        """How they came about, for summary and provenance."""
        return f"{len(self.splits)} pairs keep the split that they had in manifest {self.digest[:16]}"


def read_kept_splits(location: str | Path | Storage) -> KeptSplits:
    """The splits of a committed real manifest. Raises BadInput for another one, or none."""
    manifest = open_manifest(location)
    if manifest.kind != "real":
        raise BadInput(f"{manifest.location} holds synthetic pairs; give prepare.keep_splits_of a real manifest.")
    table = manifest.table(["pair_id", "split"])
    return KeptSplits(dict(zip(table["pair_id"].to_pylist(), table["split"].to_pylist(), strict=True)), manifest.digest)


def with_kept_splits(
    pair_ids: Sequence[str],
    groups: Sequence[str],
    splits: Sequence[str | None],
    official: Sequence[str | None],
    kept: Mapping[str, str],
) -> list[str | None]:
    """The split of each row: the kept one of its id, else, in a group that has such ids, the most protected of theirs
    and of the `official` ones of its new rows, else its own of `splits`."""
    of_group: dict[str, str] = {}
    for pair_id, group in zip(pair_ids, groups, strict=True):
        if pair_id in kept:
            of_group[group] = _more_protected(of_group.get(group), kept[pair_id])
    for pair_id, group, told in zip(pair_ids, groups, official, strict=True):
        if told is not None and pair_id not in kept and group in of_group:
            of_group[group] = _more_protected(of_group[group], told)
    return [
        kept.get(pair_id) or of_group.get(group) or split
        for pair_id, group, split in zip(pair_ids, groups, splits, strict=True)
    ]


def _more_protected(one: str | None, other: str) -> str:
    return other if one is None or PROTECTION[other] > PROTECTION[one] else one
