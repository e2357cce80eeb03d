"""A download from the ISIC archive, by isic-cli or from its gallery: licence and attribution of every picture."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("isic-archive"),
    "ISIC archive by isic-cli: metadata.csv among the pictures; diagnoses in depths, patients, lesions, licences",
    """\
metadata.csv              isic_id,attribution,copyright_license,...,diagnosis_1,diagnosis_2,lesion_id,patient_id
ISIC_0000000.jpg          the deepest diagnosis that nearly all have is the class; another by prepare.columns.dx
licenses/CC-0.txt
""",
    tables=("*metadata*",),
    needed=("isic_id", "copyright_license"),
    without=("target", "monet_ulceration_crust", "image_manipulation"),
)
