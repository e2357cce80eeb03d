"""DDI (Stanford): diverse dermatology images with skin tones and diseases; no masks."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("ddi", licence="Stanford research use"),
    "DDI: diseases, or benign and malignant by prepare.columns.dx=malignant, with skin tones",
    """\
ddi_metadata.csv          DDI_ID,DDI_file,skin_tone,malignant,disease
000001.png                beside the table or in a folder
000002.png
""",
    tables=("*ddi*", "*metadata*"),
    needed=("ddi_file",),
)
