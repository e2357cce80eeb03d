"""The dataset card: README.md of a manifest, with the YAML header that the Hugging Face hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from manifests.format.schema import FOUND_MASKS, SPLITS, hub_features
from manifests.markdown import markdown_table

_HUB_LICENCES = {
    "cc-0": "cc0-1.0",
    "cc0-1.0": "cc0-1.0",
    "cc-by": "cc-by-4.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-nc": "cc-by-nc-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0": "cc-by-nc-sa-4.0",
}
_TITLES = {"synthetic": "Synthetic skin-lesion pairs", "drawn": "Drawn skin-lesion pairs", "real": "Skin-lesion pairs"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(header: Mapping[str, Any]) -> str:
    """Markdown of the card for a manifest.json; the same header gives the same card."""
    return _card(header, [{"split": "train", "path": "data/*/*.parquet"}], _READING)


def hub_card(header: Mapping[str, Any], splits: Sequence[str]) -> str:
    """Markdown of the card for a repository of the hub with a file or more for each of `splits`."""
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    return _card(header, files, _READING_SPLITS)


def _card(header: Mapping[str, Any], files: Sequence[Mapping[str, str]], reading: str) -> str:
    synthetic, title = header["kind"] == "synthetic", _TITLES[_origin(header)]
    made_from = json.dumps(header["provenance"], indent=2, sort_keys=True, ensure_ascii=False)
    sections = [
        f"---\n{_yaml(_hub_header(header, title, files))}---",
        f"# {title}",
        _introduction(header),
        "## Pairs by split and class",
        _counts_table(header),
        "## Reading it",
        reading,
        "## Sources and licences",
        _tally("source", header["sources"]),
        _tally("licence", header["licences"]),
        _SYNTHETIC_CONSENT if synthetic else _REAL_CONSENT,
        "## Provenance",
        f"This manifest's identity is `{header['manifest_id']}`. It was made from:",
        f"```json\n{made_from}\n```",
        "## Limits",
        _SYNTHETIC_LIMITS if synthetic else _DRAWN_LIMITS if header.get("drawn") else _REAL_LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


_READING = """\
```python
from datasets import load_dataset

pairs = load_dataset("parquet", data_files="data/*/*.parquet", split="train")
train = pairs.filter(lambda split: split == "train", input_columns="split")
```

The column `split` says where a pair belongs; the hub's own split names all rows `train`. `image` and
`mask` are PNG; a mask is 0 or 255 and of its image's size. `manifest.json` names every file with its
sha256."""

_READING_SPLITS = """\
```python
from datasets import load_dataset

pairs = load_dataset("OWNER/NAME")  # or the folder of this card
```

`image` and `mask` are PNG; a mask is 0 or 255 and of its image's size. `provenance.json` says what the pairs were made
from."""

_SYNTHETIC_CONSENT = """\
The licence beside each generated pair is that of the real pairs that its generator learned from: publish it only where
those may be published, and name their sources. The people in them agreed to what their source says, not to more."""

_REAL_CONSENT = """\
Each pair stays under the licence of its source, which the column `licence` names: publish it only as that licence
allows, and name the source (`attribution`, where it asks for it). People whose skin is shown agreed to what the source
says, not to more."""

_SYNTHETIC_LIMITS = """\
Every picture here was drawn by a generative model. None shows a patient. Hairs, grain and other structure finer than
that model draws may be taken from a real training picture, whose `group_id` the generated one then bears, so that
folds by group keep them together. They are meant for training beside real pairs and never for validation, testing or
diagnosis. Rows with `accepted` false failed a check and say
which in `reject_reason`."""

_REAL_LIMITS = """\
For research, not for diagnosis. The classes, skin tones and sites are those of the sources and are not
representative of any population."""

_DRAWN_LIMITS = """\
The pairs whose `origin` is `drawn` are no photographs: a program drew them, masks and all, to try software with. They
show no person, and nothing learned from them or measured on them says anything about real skin."""


def card_figures(header: Mapping[str, Any]) -> list[str]:
    """The lines of a card that count pairs."""
    tables = (_counts_table(header), _tally("source", header["sources"]), _tally("licence", header["licences"]))
    return [line for table in tables for line in table.split("\n")]


def _origin(header: Mapping[str, Any]) -> str:
    """What the pairs are: synthetic, real, or drawn where each of them is."""
    if header["kind"] == "synthetic":
        return "synthetic"
    return "drawn" if header.get("drawn") == header["rows"] else "real"


def _introduction(header: Mapping[str, Any]) -> str:
    accepted = sum(sum(by_dx.values()) for by_dx in header["counts"].values())
    made = "generated" if header["kind"] == "synthetic" else _origin(header)
    text = f"{accepted:,} {made} pairs of a dermoscopic image and its lesion mask"
    if not header["masks"]:
        text = f"{accepted:,} {made} dermoscopic images with their class and without masks"
    elif header["masks"] < header["rows"]:
        text += f", which {header['rows'] - header['masks']:,} of all rows do not have"
    if FOUND_MASKS in header["provenance"]:
        text += "; masks whose `mask_origin` is `predicted` did not come with the data and were found by a segmenter"
    if not header["classes"]:
        text += ", without classes"
    if made == "real" and header.get("drawn"):
        text += f", {header['drawn']:,} of them drawn by a program"
    rejected = header["rows"] - accepted
    return text + (f", and {rejected:,} more that were not accepted." if rejected else ".")


def _counts_table(header: Mapping[str, Any]) -> str:
    counts: Mapping[str, Mapping[str, int]] = header["counts"]
    rejected: Mapping[str, int] = header["rejected"]
    columns = [*SPLITS, "all"] + (["not accepted"] if any(rejected.values()) else [])
    rows = []
    for dx in counts[SPLITS[0]]:
        by_split = [counts[split][dx] for split in SPLITS]
        cells = [*by_split, sum(by_split), rejected[dx]][: len(columns)]
        rows.append([_escaped(dx), *(f"{cell:,}" for cell in cells)])
    return markdown_table(["class", *columns], rows, numeric=range(1, len(columns) + 1))


def _tally(name: str, counts: Mapping[str, int]) -> str:
    return markdown_table((name, "pairs"), ((_escaped(value), f"{count:,}") for value, count in counts.items()), (1,))


def _escaped(text: str) -> str:
    """Text from a source, which must not become Markdown or HTML."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    for mark in "\\|`*_[]<>#":
        shown = shown.replace(mark, f"&#{ord(mark)};")
    return shown or " "


def _hub_header(header: Mapping[str, Any], title: str, files: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    known = {_HUB_LICENCES.get(licence.casefold()) for licence in header["licences"]}
    licence = known.pop() if len(known) == 1 else None
    return {
        "pretty_name": title,
        "license": licence or "other",
        "task_categories": _tasks(header),
        "tags": ["dermoscopy", "medical", "skin-lesion", _origin(header), "evenderm"],
        "size_categories": [next((name for limit, name in _SIZES if header["rows"] < limit), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [*files]}],
        "dataset_info": {"features": hub_features(header["kind"], header["classes"], header["format_version"])},
    }


def _tasks(header: Mapping[str, Any]) -> list[str]:
    """What the pairs can be learned for."""
    serves = {"image-classification": header["classes"], "image-segmentation": header["masks"]}
    return [task for task, what in serves.items() if what]


def _yaml(values: Mapping[str, Any]) -> str:
    """One top-level key a line; JSON on the right of it, which every YAML reader takes."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=True)}\n" for key, value in values.items())
