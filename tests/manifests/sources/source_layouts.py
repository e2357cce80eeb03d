"""How many pairs the phantom of each layout has (see the fixture `layouts`), and how a source is read."""

from __future__ import annotations

from pathlib import Path

from manifests.listing.source import SourceListing
from manifests.settings import PrepareSettings
from manifests.sources.recognition import find_source

PAIRS = 24
SETTINGS = PrepareSettings()


def read(folder: Path, settings: PrepareSettings = SETTINGS) -> SourceListing:
    source, found = find_source(folder, settings.source)
    return source.read(found, settings)
