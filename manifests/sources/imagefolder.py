"""Hugging Face's imagefolder: a metadata file with `file_name` in the folder or in each split."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.listing.names import CODES, COLUMNS
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("imagefolder", every_picture=False),
    "Hugging Face imagefolder: metadata.csv, .jsonl or .parquet with file_name and label, for all or for each split",
    """\
train/metadata.csv        file_name,label,mask_file_name   (or metadata.jsonl)
train/0001.jpg
train/masks/0001.png
test/...                  likewise
""",
    tables=("metadata.*",),
    needed=("file_name",),
    one_of={*COLUMNS["dx"], *COLUMNS["mask"], *CODES},  # without them folders are classes
)
