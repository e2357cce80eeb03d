"""The report of a run: report.html, one file that opens offline, and report.md for CI summaries."""

from __future__ import annotations

from pathlib import Path


def write_report(run_folder: Path, history: Path | None = None) -> None:
    """Write report.html and report.md into `run_folder` from its results.json, settings.json and manifests.

    history: the file of earlier runs whose trend is shown; by default history.jsonl in `run_folder`.
    Parts that the folder lacks (no generated pairs, one task only, no history) are said to be missing.
    Raises BadInput where results.json is missing, damaged or of another version, or a manifest is damaged.
    """
    from evaluate.report.page import write_page

    write_page(Path(run_folder), history or Path(run_folder) / "history.jsonl")
