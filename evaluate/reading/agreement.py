"""Agreement between readers beyond chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Kappa of two readers' choices on the same pairs (Cohen, "A coefficient of agreement for nominal scales", 1960).

    None where there is nothing to compare, or where both always chose the same one thing.
    """
    total = len(first)
    if not total:
        return None
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / total
    firsts, seconds = Counter(first), Counter(second)
    chance = sum(count * seconds[choice] for choice, count in firsts.items()) / total**2
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def fleiss_kappa(choices: Sequence[Sequence[Hashable]]) -> float | None:
    """Kappa of any readers' choices, one sequence a pair (Fleiss, "Measuring nominal scale agreement among many
    raters", 1971); pairs that fewer than two have read are left out, and their numbers of readers may differ.

    None where there is nothing to compare, or where all always chose the same one thing.
    """
    read = [Counter(own) for own in choices if len(own) > 1]
    if not read:
        return None
    agreed = sum(_agreement(counts) for counts in read) / len(read)
    together: Counter[Hashable] = Counter()
    for counts in read:
        together.update(counts)
    chance = sum((count / together.total()) ** 2 for count in together.values())
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def _agreement(counts: Counter[Hashable]) -> float:
    """Share of a pair's pairs of readers that agree."""
    readers = counts.total()
    return (sum(count**2 for count in counts.values()) - readers) / (readers * (readers - 1))
