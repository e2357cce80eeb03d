"""The one page that prepare leaves beside a manifest: what is in it, what was set aside, what to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from manifests.format.schema import SPLITS
from manifests.listing.source import Rejection, harmless_cell
from manifests.markdown import markdown_table
from manifests.prepare.assignment import Assignment, DuplicateFigures
from manifests.settings import PrepareSettings

LISTED = 12


def summary_markdown(summary: PrepareSummary, assignment: Assignment, enlarged: int, settings: PrepareSettings) -> str:
    """Markdown, the same for the same data and settings."""
    lines = [f"# {summary.source_name}, prepared for {summary.task}", ""]
    lines += [*(f"- {_cell(line)}" for line in summary.understood), ""]
    lines += [_counts_table(summary.counts)]
    lines += ["", f"Splits: {assignment.split_note}. {summary.groups} groups (lesions, patients or clusters)."]
    lines += ["", *_duplicates(summary, assignment)]
    lines += ["", *_set_aside(summary)]
    notes = _notes(summary, enlarged, settings)
    if notes:
        lines += ["", "## To look at", "", *notes]
    return "\n".join(lines) + "\n"


def _counts_table(counts: dict[str, dict[str, int]]) -> str:
    classes = sorted({dx for of_split in counts.values() for dx in of_split})
    rows = []
    for split in SPLITS:
        pairs = [counts.get(split, {}).get(dx, 0) for dx in classes]
        rows.append([split, *map(str, (sum(pairs), *pairs))])
    return markdown_table(["split", "pairs", *map(_cell, classes)], rows)


def _duplicates(summary: PrepareSummary, assignment: Assignment) -> list[str]:
    found = summary.duplicates
    lines = [
        f"Near-duplicates: {found.pairs} pairs in {found.clusters} clusters, {found.across_splits} of the pairs "
        f"between splits of the source; exact copies set aside: {found.exact}. A cluster is one group and in one split."
    ]
    if assignment.disagreeing:
        named = ", ".join(f"{one} / {other}" for one, other in assignment.disagreeing[:LISTED])
        lines += ["", f"Near-duplicates whose classes differ ({len(assignment.disagreeing)}), kept: {_cell(named)}"]
    return lines


def _set_aside(summary: PrepareSummary) -> list[str]:
    if not summary.rejected:
        return ["Nothing was set aside."]
    counts = ((check, str(count)) for check, count in summary.rejected_counts.items())
    said = f"Set aside: {len(summary.rejected)} rows, each with its reason in rejected.csv."
    return [said, "", markdown_table(("check", "rows"), counts)]


def _notes(summary: PrepareSummary, enlarged: int, settings: PrepareSettings) -> list[str]:
    notes = [
        f"- {_cell(dx)} has {count} training pairs, fewer than the {settings.min_pairs} that an adapter needs."
        for dx, count in summary.rare.items()
    ]
    if enlarged:
        notes.append(f"- {enlarged} images were smaller than {settings.size} pixels and were enlarged.")
    return notes


def _cell(text: str) -> str:
    return harmless_cell(text).replace("|", "\\|")


@dataclass(frozen=True)
class PrepareSummary:
    """What prepare did. counts: pairs by split and class; rejected: every row set aside, with its reason;
    understood: lines on how the source was read; groups: lesions, patients or clusters;
    rare: classes under `min_pairs` training pairs."""

    source_name: str
    task: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    rejected: tuple[Rejection, ...]
    duplicates: DuplicateFigures
    groups: int
    rare: dict[str, int]
    manifest_digest: str
    understood: Sequence[str] = ()

    @property
    def rejected_counts(self) -> dict[str, int]:
        """Rows set aside by check."""
        return _by_check(self.rejected)


def _by_check(rejected: Sequence[Rejection]) -> dict[str, int]:
    return dict(sorted(Counter(row.check for row in rejected).items()))
