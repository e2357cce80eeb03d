"""HAM10000: seven classes, several pictures per lesion, masks by Tschandl et al. 2020 where they are there."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.listing.source import CLASS_CODES
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("ham10000", codes={code: code for code in CLASS_CODES}, closed=True, licence="CC-BY-NC-4.0"),
    "HAM10000 from Dataverse or Kaggle, with or without masks: akiec, bcc, bkl, df, mel, nv, vasc with lesion ids",
    """\
HAM10000_metadata.csv                         lesion_id,image_id,dx,dx_type,age,sex,localization  (or .tab, no ending)
HAM10000_images_part_1/ISIC_0024306.jpg       once or, as on Kaggle, twice
HAM10000_images_part_2/ISIC_0029306.jpg
HAM10000_segmentations_lesion_tschandl/ISIC_0024306_segmentation.png    where there are masks
""",
    tables=("ham10000_metadata*", "isic2018_task3_test_groundtruth*"),
    needed=("image_id", "dx"),
)
