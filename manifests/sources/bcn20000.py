"""BCN20000: eight classes from Hospital Clínic Barcelona, with lesions and official splits; no masks."""

from __future__ import annotations

from manifests.listing.linking import Layout
from manifests.sources.published import published_source

CODES = {code.casefold(): code for code in ("mel", "nv", "bcc", "bkl", "ak", "scc", "df", "vasc")}
SOURCE = published_source(
    Layout("bcn20000", codes=CODES, licence="CC-BY-NC-4.0"),
    "BCN20000: mel, nv, bcc, bkl, ak, scc, df, vasc with lesion ids",
    """\
bcn_20k_train.csv         bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split
BCN_20k_train/bcn_20k_train/BCN_0000000001.jpg
bcn_20k_test.csv, BCN_20k_test/...            likewise
""",
    tables=("bcn*",),
    needed=("bcn_filename",),
)
