"""Fitzpatrick17k: 114 skin conditions with skin types; its pictures are fetched one by one."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.sources.published import published_source

SOURCE = published_source(
    Layout("fitzpatrick17k", every_picture=False, licence="CC-BY-NC-SA-3.0"),
    "Fitzpatrick17k: 114 conditions by `label`, coarser ones by prepare.columns.dx=three_partition_label; skin types",
    """\
fitzpatrick17k.csv        md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,...
images/0a1b2c3d.jpg       named by md5hash or url_alphanum, in any folder
(pictures that could not be fetched are set aside)
""",
    tables=("*fitzpatrick*",),
    needed=("md5hash", "label"),
)
