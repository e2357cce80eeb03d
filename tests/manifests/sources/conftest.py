"""Leaves the trials out where no collection of datasets as people have them is at hand."""

from __future__ import annotations

from tests.manifests.sources.trials import FOLDER

collect_ignore = [] if FOLDER.is_dir() else ["test_trials.py"]
