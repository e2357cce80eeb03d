"""The ISIC 2020 challenge (SIIM-ISIC on Kaggle): benign and malignant, with patients; no masks."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.settings import TableColumns
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("isic2020", TableColumns(dx="benign_malignant"), licence="CC-BY-NC-4.0"),
    "ISIC 2020 challenge (SIIM-ISIC on Kaggle): benign, malignant, with patient ids; JPEG files",
    """\
train.csv                 image_name,patient_id,sex,age_approx,anatom_site_general_challenge,...,benign_malignant,target
                          (or ISIC_2020_Training_GroundTruth.csv)
jpeg/train/ISIC_0015719.jpg
""",
    tables=("*train*.csv",),
    needed=("image_name", "patient_id", "benign_malignant"),
)
