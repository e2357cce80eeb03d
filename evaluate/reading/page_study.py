"""A study of explain's pages: a held-out picture, what a reader says of it, its page, and what the reader says then.

The study is a folder like that of a blind one, with the pages beside the pictures, and stands by itself: a run that is
made anew leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.pages.pictures import chosen_pictures
from evaluate.reading.page_figures import LEVELS, RATINGS, Opinion, Reading, page_figures
from evaluate.reading.study import Item, PictureStudy, kept_study, shared_out, write_study
from evaluate.reading.table import records
from manifests.errors import BadInput
from manifests.files import replace_file

if TYPE_CHECKING:
    from manifests.format.reading import Manifest

Explain = Callable[[Sequence[Path], Path], Sequence[tuple[str, str | None]]]
"""Explains picture files into a folder: of each the name of its page there, and the class that this names first."""


@dataclass(frozen=True)
class Case(Item):
    """A held-out picture. page: its file in `pages`; says: the class that the page names first, None for none."""

    page: str = ""
    says: str | None = None


@dataclass(frozen=True)
class PageStudy(PictureStudy):
    """A study of pages that is ready to be read."""

    def page(self, name: str) -> str:
        """The page about a picture as HTML; BadInput for a name that the study does not have."""
        self.picture(name)
        page = next(item.page for item in self.items if item.name == name and isinstance(item, Case))
        return (self.folder / "pages" / PurePath(page).name).read_text(encoding="utf-8")

    def said(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What was said before and after, by reader and picture; the first answer before a page stands, and the last
        after it. What is not of this study is left out."""
        names, found = {item.name for item in self.items}, dict[tuple[str, str], dict[str, Any]]()
        for record in records(self.answers):
            if not isinstance(record.get("reader"), str) or record.get("picture") not in names:
                continue
            own, ratings = found.setdefault((record["reader"], record["picture"]), {}), record.get("ratings")
            try:
                opinion = Opinion(str(record["dx"]), int(record["confidence"]), record.get("seconds"))
                if ratings is None:
                    own.setdefault("before", opinion)
                else:
                    own |= {"after": opinion, "ratings": {name: int(ratings[name]) for name in RATINGS}}
            except (KeyError, TypeError, ValueError):
                continue
        return found

    def readings(self) -> list[Reading]:
        """What readers said of cases of which they have answered both times."""
        cases = {item.name: item for item in self.items if isinstance(item, Case)}
        return [
            Reading(reader, name, cases[name].dx, cases[name].says, **own)
            for (reader, name), own in self.said().items()
            if {"before", "after"} <= own.keys()
        ]


def make_page_study(
    folder: Path, opened: Callable[[], Manifest], pictures: int, seed: int, explain: Explain
) -> PageStudy:
    """The study in `folder`, made where there is none: test pictures, as many of each class, one of each lesion.

    opened: gives the run's real pairs, which a study that is there does without. A kill while pages are made loses none
    that is finished. Raises BadInput where another study is there already, or the run has no test pair: on validation
    its classifiers were chosen, and its pages would be too good.
    """
    if (folder / "study.json").exists():
        study = open_page_study(folder)
        if study.seed != seed:
            raise BadInput(
                f"{folder}: holds a study with --seed {study.seed}; go on with it, or move the folder away to begin "
                "another"
            )
        return study
    real, rng = opened(), np.random.default_rng(seed)
    chosen = _chosen(real, pictures, rng)
    named = {pair_id: rng.bytes(8).hex() for pair_id in chosen}
    for row in chosen_pictures(real, named.keys()):
        # As it is stored: a drawn picture goes on saying so.
        replace_file(folder / "pictures" / f"{named[row['pair_id']]}-image.png", row["image"]["bytes"])
    files = [folder / "pictures" / f"{name}-image.png" for name in named.values()]
    pages = explain(files, folder / "pages")
    items = [
        Case(named[pair_id], pair_id, False, dx, *page)
        for (pair_id, dx), page in zip(chosen.items(), pages, strict=True)
    ]
    write_study(folder, seed, real, False, items)
    return open_page_study(folder)


def open_page_study(folder: Path) -> PageStudy:
    """The study in `folder`; BadInput where there is none or it is damaged."""
    return PageStudy(folder, *kept_study(folder, Case))


def page_study_summary(folder: Path) -> dict[str, Any] | None:
    """The figures of the study in `folder`, JSON-ready; None where nobody has answered both times of any case."""
    if not (folder / "study.json").exists():
        return None
    study = open_page_study(folder)
    readings = study.readings()
    if not readings:
        return None
    asked: Mapping[str, Any] = {"levels": LEVELS, "ratings": RATINGS}
    return {"seed": study.seed, "pictures": len(study.items), **asked, **page_figures(readings, study.classes)}


def _chosen(real: Manifest, pictures: int, rng: np.random.Generator) -> dict[str, str]:
    """Classes by pair id, in random order."""
    lesions = {
        dx: {row["group_id"]: row["pair_id"] for row in real.table(["pair_id", "group_id"], "test", dx=dx).to_pylist()}
        for dx in real.classes
    }
    pools = {dx: sorted(own.values()) for dx, own in lesions.items() if own}
    if not pools:
        raise BadInput(
            f"{real.location}: has no test pair to show to readers; prepare a run whose data has a test split "
            "(prepare.test_fraction)"
        )
    chosen: list[tuple[str, str]] = []
    for dx, count in shared_out({dx: len(pool) for dx, pool in pools.items()}, pictures).items():
        chosen += [(str(pair_id), dx) for pair_id in rng.choice(pools[dx], count, replace=False)]
    rng.shuffle(chosen)
    return dict(chosen)
