"""The ISIC 2019 challenge: eight classes and UNK, with lesions, ages and sites; no masks."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("isic2019", licence="CC-BY-NC-4.0"),
    "ISIC 2019 challenge, from its page or Kaggle: mel, nv, bcc, ak, bkl, df, vasc, scc; UNK is no class; lesion ids",
    """\
ISIC_2019_Training_GroundTruth.csv            image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK
ISIC_2019_Training_Metadata.csv               image,age_approx,anatom_site_general,lesion_id,sex
ISIC_2019_Training_Input/ISIC_0000000.jpg     names may end in _downsampled; the folder may stand in itself
ISIC_2019_Test_...                            likewise
""",
    tables=("isic_2019_*groundtruth*", "isic_2019_*metadata*"),
)
