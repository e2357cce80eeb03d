"""MILK10k: eleven classes by lesion, each with a clinical and a dermoscopic picture; no masks."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("milk10k", class_table="groundtruth", licence="CC-BY-NC-4.0"),
    "MILK10k: eleven classes told by lesion; both pictures of a lesion are one group",
    """\
MILK10k_Training_GroundTruth.csv              lesion_id,AKIEC,BCC,BEN_OTH,BKL,DF,INF,MAL_OTH,MEL,NV,SCCKA,VASC
MILK10k_Training_Metadata.csv                 lesion_id,image_type,isic_id,attribution,copyright_license,age_approx,...
MILK10k_Training_Input/IL_0000001/ISIC_0000001.jpg
""",
    tables=("milk10k*groundtruth*", "milk10k*metadata*", "milk10k*supplement*"),
)
