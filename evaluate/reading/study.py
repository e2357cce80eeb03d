"""A blind reader study: real held-out and generated pictures in random order, and what readers say of them.

The study is a folder: the pictures under random names, `study.json` with what they are, and the table of answers. It
stands by itself, so that a run that is made anew leaves a study that has begun as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.pages.pictures import chosen_pictures
from evaluate.reading.study_figures import Answer, study_figures
from evaluate.reading.table import append_record, records
from manifests.errors import BadInput
from manifests.files import replace_file, write_json
from manifests.images import decode_stored, decode_stored_mask, resize_pair
from manifests.png import encode_mask, encode_png, with_padding

if TYPE_CHECKING:
    from manifests.format.reading import Manifest

HELD_OUT = ("test", "validation")
"""Splits that real pictures come from, the first one first."""
LEVELS = 5
"""Steps of confidence, from a guess to certainty."""


@dataclass(frozen=True)
class Item:
    """One picture of a study and the truth about it."""

    name: str
    pair_id: str
    generated: bool
    dx: str


@dataclass(frozen=True)
class PictureStudy:
    """Pictures that are ready to be read. masks: whether readers are asked how the mask fits; drawn: whether those that
    were held out were drawn by a program, as those of a phantom are."""

    folder: Path
    seed: int
    classes: tuple[str, ...]
    masks: bool
    drawn: bool
    items: tuple[Item, ...]

    @property
    def answers(self) -> Path:
        return self.folder / "answers.jsonl"

    def order(self, reader: str) -> list[Item]:
        """The pictures in the reader's own order, the same whenever it is asked for."""
        seed = [self.seed, *reader.encode("utf-8", "surrogatepass")]
        return [self.items[place] for place in np.random.default_rng(seed).permutation(len(self.items))]

    def picture(self, name: str, what: str = "image") -> bytes:
        """The PNG of an image or mask; BadInput for a name that the study does not have."""
        if what not in ("image", "mask") or name not in {item.name for item in self.items}:
            raise BadInput(f"{name[:40]}: no picture of this study; open its page again")
        return (self.folder / "pictures" / f"{name}-{what}.png").read_bytes()

    def answer(self, record: Mapping[str, Any]) -> None:
        """Adds one answer to the table and waits until the disk has it."""
        append_record(self.answers, record)


@dataclass(frozen=True)
class Study(PictureStudy):
    """A blind study: which pictures are generated."""

    def answered(self) -> list[Answer]:
        """What readers said, of each reader and picture the last; what is not of this study is left out."""
        return read_answers(self.answers, {item.name: item for item in self.items})


def make_study(
    folder: Path, real: Manifest, synthetic: Manifest, pictures: int, seed: int, masks: bool = False
) -> Study:
    """The study in `folder`, made where there is none: of each class as many real as generated pictures.

    Raises BadInput where another one is there already, or no class has both real held-out and accepted pairs.
    """
    if (folder / "study.json").exists():
        study = open_study(folder)
        if (study.seed, study.masks) != (seed, masks):
            raise BadInput(
                f"{folder}: holds a study with --seed {study.seed}{' and --masks' if study.masks else ''}; go on with "
                "it, or move the folder away to begin another"
            )
        return study
    rng = np.random.default_rng(seed)
    chosen = _chosen(real, synthetic, pictures, rng)
    rng.shuffle(chosen)
    items = tuple(Item(rng.bytes(8).hex(), *one) for one in chosen)
    _write_pictures(folder / "pictures", items, real, synthetic)
    write_study(folder, seed, real, masks, items)
    return open_study(folder)


def open_study(folder: Path) -> Study:
    """The study in `folder`; BadInput where there is none or it is damaged."""
    return Study(folder, *kept_study(folder, Item))


def kept_study(folder: Path, kind: Callable[..., Any]) -> tuple[int, tuple[str, ...], bool, bool, tuple[Any, ...]]:
    """Seed, classes, whether masks are asked for, whether pictures are drawn, and the items, each of a `kind`."""
    path = folder / "study.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        items = tuple(kind(**item) for item in found["items"])
        return int(found["seed"]), tuple(found["classes"]), bool(found["masks"]), bool(found["drawn"]), items
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no reader study yet; begin one with evenderm review RUN --blind") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); restore it, or move its folder away") from None


def write_study(folder: Path, seed: int, real: Manifest, masks: bool, items: Sequence[Item]) -> None:
    """Puts study.json in place: from then on there is a study."""
    document = {
        "seed": seed,
        "classes": list(real.classes),
        "masks": masks,
        "drawn": real.drawn > 0,
        "items": [asdict(item) for item in items],
    }
    write_json(folder / "study.json", document)


def read_answers(path: Path, items: Mapping[str, Item]) -> list[Answer]:
    """The answers of a table about `items`, of each reader and picture the last."""
    said: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records(path):
        if isinstance(record.get("reader"), str) and record.get("picture") in items:
            # How the mask fits comes later, by itself.
            said.setdefault((record["reader"], record["picture"]), {}).update(record)
    found = []
    for (reader, name), own in said.items():
        if {"generated", "dx", "confidence"} <= own.keys():
            item = items[name]
            told = (bool(own["generated"]), str(own["dx"]), int(own["confidence"]), own.get("seconds"), own.get("fits"))
            found.append(Answer(reader, name, item.generated, item.dx, *told))
    return found


def study_summary(folder: Path) -> dict[str, Any] | None:
    """The figures of the study in `folder`, JSON-ready; None where nobody has answered."""
    if not (folder / "study.json").exists():
        return None
    study = open_study(folder)
    answers = study.answered()
    if not answers:
        return None
    return {"seed": study.seed, "pictures": len(study.items), **study_figures(answers, study.classes)}


def _chosen(
    real: Manifest, synthetic: Manifest, pictures: int, rng: np.random.Generator
) -> list[tuple[str, bool, str]]:
    """Pair id, whether generated, and class; a class that has few gives what it has."""
    pools = {dx: (_held_out(real, dx), _ids(synthetic, dx)) for dx in real.classes}
    pools = {dx: pool for dx, pool in pools.items() if all(pool)}
    if not pools:
        raise BadInput(
            f"{synthetic.location}: no class has both accepted generated pairs and real held-out ones; "
            "finish evenderm run first"
        )
    chosen: list[tuple[str, bool, str]] = []
    there = {dx: min(map(len, pool)) for dx, pool in pools.items()}
    for dx, count in shared_out(there, max(1, pictures // 2)).items():
        for pool, generated in zip(pools[dx], (False, True), strict=True):
            chosen += [(str(pair_id), generated, dx) for pair_id in rng.choice(pool, count, replace=False)]
    return chosen


def shared_out(there: Mapping[str, int], wanted: int) -> dict[str, int]:
    """How many of `wanted` each class gives, as equal as what is there allows."""
    taken: dict[str, int] = {}
    # Small classes first, so that what they lack goes to the others.
    for place, (dx, most) in enumerate(sorted(there.items(), key=lambda one: one[1])):
        left = wanted - sum(taken.values())
        if left <= 0:
            break
        taken[dx] = min(most, max(1, left // (len(there) - place)))
    return taken


def _held_out(real: Manifest, dx: str) -> list[str]:
    return next((found for split in HELD_OUT if (found := _ids(real, dx, split))), [])


def _ids(manifest: Manifest, dx: str, split: str | None = None) -> list[str]:
    ids: list[str] = manifest.table(["pair_id"], split=split, dx=dx)["pair_id"].to_pylist()
    return ids


def _write_pictures(folder: Path, items: Sequence[Item], real: Manifest, synthetic: Manifest) -> None:
    """Every picture at one size, from one encoder, in files of one length: nothing but the picture tells its origin."""
    rows: dict[str, dict[str, Any]] = {}
    for manifest, generated in ((real, False), (synthetic, True)):
        wanted = {item.pair_id for item in items if item.generated is generated}
        rows |= {row["pair_id"]: row for row in chosen_pictures(manifest, wanted)}
    decoded = {}
    for item in items:
        image, mask = rows[item.pair_id]["image"]["bytes"], rows[item.pair_id]["mask"]
        array = decode_stored(image, item.pair_id)
        outline = decode_stored_mask(mask["bytes"], item.pair_id) if mask else np.zeros(array.shape[:2], bool)
        decoded[item.name] = (array, outline)
    side = min(min(image.shape[:2]) for image, _ in decoded.values())
    resized = {name: resize_pair(*pair, side) for name, pair in decoded.items()}
    files = {f"{name}-image.png": encode_png(np.ascontiguousarray(image)) for name, (image, _) in resized.items()}
    files |= {f"{name}-mask.png": encode_mask(np.ascontiguousarray(mask)) for name, (_, mask) in resized.items()}
    length = max(map(len, files.values())) + 64
    for name, content in sorted(files.items()):
        replace_file(folder / name, with_padding(content, length))
