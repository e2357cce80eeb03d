"""The ISIC 2024 challenge (3D-TBP on Kaggle): benign and malignant, with patients; no masks."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.settings import TableColumns
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("isic2024", TableColumns(dx="target"), licence="CC-BY-NC-4.0"),
    "ISIC 2024 challenge (3D-TBP): benign, malignant by `target`, with patient ids; the HDF5 copies are not read",
    """\
train-metadata.csv        isic_id,target,patient_id,age_approx,sex,anatom_site_general,...,lesion_id,iddx_full,iddx_1
train-image/image/ISIC_0015670.jpg
(or ISIC_2024_Training_GroundTruth.csv with ISIC_2024_Training_Input)
""",
    tables=("train-metadata*", "isic_2024_*groundtruth*", "isic_2024_*", "metadata.csv"),
    needed=("isic_id", "target"),
)
