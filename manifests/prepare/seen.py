"""What a base was trained on is for training alone: the pairs that its fingerprints know, with all of their groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from manifests.duplicates.sketches import TrainingPictures
from manifests.prepare.pipeline import RowSpools


@dataclass(frozen=True)
class SeenPairs:
    """known: whether the base was trained on each row, None where nobody can tell; groups: of those that it was."""

    known: Sequence[bool | None]
    groups: Collection[str]

    @classmethod
    def of(cls, spools: RowSpools, groups: Sequence[str], pictures: TrainingPictures | None) -> SeenPairs:
        """Those of checked rows; groups: the group of each; pictures: that the base was trained on."""
        if pictures is None:
            return cls([None] * len(groups), ())
        known = [bool(one) for _, block in spools.sketches.blocks(1024) for one in pictures.among(block)]
        return cls(known, {group for group, one in zip(groups, known, strict=True) if one})

    def in_train(self, groups: Sequence[str], splits: Sequence[str | None]) -> list[str | None]:
        """The splits with these groups in train.

        Where they are half of a split or the pairs half of all rows, it is the base's own data in another form, whose
        splits stay as they were told; no benchmark will measure on them.
        """
        moved = ["train" if split and group in self.groups else split for group, split in zip(groups, splits)]
        leaving = Counter(told for told, split in zip(splits, moved, strict=True) if told != split)
        own_data, all_of = 2 * sum(map(bool, self.known)) >= len(splits), Counter(splits)
        staying = {told for told, count in leaving.items() if own_data or 2 * count >= all_of[told]}
        return [told if told in staying else split for told, split in zip(splits, moved, strict=True)]

    def note(
        self, groups: Sequence[str], told: Sequence[str | None], splits: Sequence[str | None], kept: Collection[int]
    ) -> str:
        """What is said of it; told, splits: before and after; kept: the rows that become pairs."""
        seen = [row for row in kept if self.known[row]]
        if not seen:
            return "the base was trained on none of the pairs"
        text = f"the base was trained on {len(seen)} of the pairs"
        if staying := sorted({str(splits[row]) for row in seen} - {"train"}):
            return f"{text}; {' and '.join(staying)} stays as it was told, and can measure nothing of this base"
        more = sum(groups[row] in self.groups for row in kept) - len(seen)
        moved = sum(told[row] != splits[row] for row in kept)
        text += ", which are in train" + (f" with {more} more of their groups" if more else "")
        return text + (f", {moved} of them moved there from validation or test" if moved else "")
