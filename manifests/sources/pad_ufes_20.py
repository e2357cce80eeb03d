"""PAD-UFES-20: six classes photographed with telephones, with patients and lesions; no masks."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.sources.published import published_source

CODES = {"nev": "nv", "mel": "mel", "sek": "bkl", "ack": "ak", "bcc": "bcc", "scc": "scc"}
SOURCE = published_source(
    Layout("pad-ufes-20", codes=CODES, licence="CC-BY-4.0"),
    "PAD-UFES-20: phone photographs; NEV, MEL, SEK, ACK, BCC, SCC become nv, mel, bkl, ak, bcc, scc; patient ids",
    """\
metadata.csv              patient_id,lesion_id,...,diagnostic,...,img_id,biopsed
imgs_part_1/PAT_1516_1765_530.png
imgs_part_2/..., imgs_part_3/...
""",
    tables=("*metadata*",),
    needed=("img_id", "diagnostic"),
)
