"""What the columns of a table tell: by their names and by what stands in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from manifests.listing.csv_table import Table
from manifests.listing.names import CODES, COLUMNS, DEPTHS, SIDES, TWO_SIDED, key, plain, split_of, tells_nothing
from manifests.settings import TableColumns

NEARLY_ALL = 0.9
SAMPLE = 200
STRONG = frozenset(COLUMNS["image"][:17])
"""Names of columns that can name nothing but a picture."""
_OTHERWISE = frozenset(name for role in COLUMNS for name in COLUMNS[role] if role not in ("image", "id"))
"""Names of columns that tell of something else than the picture."""
_FLAGS = {"", "0", "1", "0.0", "1.0", "true", "false", "x"}
_SET = {"1", "1.0", "true", "x"}


@dataclass(frozen=True)
class Roles:
    """Positions of a table's columns by what they tell. one_hot: of columns of 0 and 1, by class; other: further
    columns that could be the class; other_images: further columns that name pictures, and others than the image's."""

    columns: Mapping[str, int]
    one_hot: Mapping[str, int] = field(default_factory=dict)
    other: tuple[str, ...] = ()
    other_images: tuple[str, ...] = ()

    @property
    def gives_classes(self) -> bool:
        return bool(self.one_hot) or "dx" in self.columns

    def cell(self, role: str, cells: list[str]) -> str:
        """What a row tells in this role; empty where it tells nothing."""
        place = self.columns.get(role)
        value = cells[place] if place is not None else ""
        return "" if tells_nothing(value) else value

    def classes(self, table: Table, cells: list[str]) -> list[str]:
        """The classes that a row gives."""
        if self.one_hot:
            return [dx for dx, place in self.one_hot.items() if cells[place].casefold() in _SET]
        value = self.cell("dx", cells)
        name = plain(table.columns[self.columns["dx"]]) if "dx" in self.columns else ""
        if value and name in TWO_SIDED:
            value = SIDES.get(value.casefold(), value)
        return [value] if value else []

    def class_place(self, table: Table) -> str:
        """Where the classes stand, for people."""
        if self.one_hot:
            return f"the columns {', '.join(table.columns[place] for place in self.one_hot.values())}"
        return f"column {table.columns[self.columns['dx']]}" if "dx" in self.columns else ""


def roles_of(table: Table, resolves: Callable[[str], bool], named: TableColumns) -> Roles:
    """The roles of all columns; `resolves` says whether a cell names a picture. Raises BadInput for a named column
    that is not there."""
    known = [plain(name) for name in table.columns]
    columns: dict[str, int] = {}
    for role, names in COLUMNS.items():
        chosen = getattr(named, role, None)
        if chosen is not None:
            columns[role] = table.column(chosen)
        elif role not in ("image", "dx") and (found := _first(known, names)) is not None:
            columns[role] = found
    if named.group is not None:
        columns.pop("patient", None)
        columns["lesion"] = table.column(named.group)
    if "image" not in columns and (image := _image_column(table, known, resolves)) is not None:
        columns["image"] = image
    columns = {
        role: place for role, place in columns.items() if role in ("image", "id") or place != columns.get("image")
    }
    guessed = named.split is None and "split" in columns and known[columns["split"]] != "split"
    if guessed and not _tells_splits(table, columns["split"]):
        del columns["split"]
    roles = Roles(columns) if "dx" in columns else _with_classes(table, known, columns)
    return replace(roles, other_images=_other_images(table, known, columns, resolves))


def _first(known: list[str], names: Iterable[str]) -> int | None:
    return next((known.index(name) for name in names if name in known), None)


def _sample(table: Table) -> list[list[str]]:
    return table.cells[:: max(1, len(table.cells) // SAMPLE)]


def _image_column(table: Table, known: list[str], resolves: Callable[[str], bool]) -> int | None:
    """The column whose cells name most pictures, one with a usual name first; by its name alone where none does.

    A column named after something else counts where its cells are no numbers, which pictures may bear too.
    """
    usual = [known.index(name) for name in COLUMNS["image"] if name in known]
    others = [place for place in range(len(known)) if place not in usual]
    sample = _sample(table)
    others = [p for p in others if known[p] not in _OTHERWISE or not all(_is_number(cells[p]) for cells in sample)]
    for places in (usual, others):
        shares = {place: sum(resolves(cells[place]) for cells in sample if cells[place]) for place in places}
        # Of a clinical and a dermoscopic picture the second; else the first of equals.
        best = max(shares, key=lambda place: (shares[place], "derm" in known[place]), default=None)
        if best is not None and shares[best] * (1 if places is usual else 2) > (0 if places is usual else len(sample)):
            return best
    return next((place for place in usual if known[place] in STRONG), None)


def _other_images(
    table: Table, known: list[str], columns: Mapping[str, int], resolves: Callable[[str], bool]
) -> tuple[str, ...]:
    """Columns that name pictures in most rows, mostly others than the image's column does."""
    image, sample = columns.get("image"), _sample(table)
    if image is None or not sample:
        return ()
    free = [p for p in range(len(known)) if p not in columns.values() and known[p] not in _OTHERWISE]
    free = [p for p in free if not all(_is_number(cells[p]) for cells in sample)]
    other = {p: [cells for cells in sample if _name(cells[p]) != _name(cells[image])] for p in free}
    return tuple(table.columns[p] for p in free if sum(resolves(cells[p]) for cells in other[p]) * 2 > len(sample))


def _name(cell: str) -> str:
    """The name of a picture without folders and ending, as far as two cells of a row are compared."""
    return key(re.split(r"[\\/]", cell)[-1].partition(".")[0])


def _tells_splits(table: Table, place: int) -> bool:
    told = {cells[place] for cells in table.cells if not tells_nothing(cells[place])}
    return bool(told) and all(split_of(value) for value in told)


def _with_classes(table: Table, known: list[str], columns: dict[str, int]) -> Roles:
    """The roles with the class: a column of words, else columns of 0 and 1, else a column of numbers."""
    taken = set(columns.values())
    candidates = [place for place in _class_candidates(table, known) if place not in taken]
    told = {place: [v for cells in table.cells if not tells_nothing(v := cells[place])] for place in candidates}
    good = [place for place in candidates if _serves(told[place], len(table.cells))]
    words = [place for place in good if not all(map(_is_number, told[place]))]
    one_hot = one_hot_columns(table, known, taken)
    if one_hot and not words:
        return Roles(columns, one_hot)
    if len(several := _flag_columns(table, known, taken)) > 1:  # several classes at once, of which no column tells all
        good, candidates = ([place for place in of if place not in several] for of in (good, candidates))
    order = [*words, *(p for p in good if p not in words), *sorted(candidates, key=lambda p: -len(told[p]))]
    order = [place for place in order if told[place]] or candidates
    if not order:
        return Roles(columns)
    other = tuple(table.columns[place] for place in dict.fromkeys(good) if place != order[0])
    return Roles({**columns, "dx": order[0]}, {}, other)


def _class_candidates(table: Table, known: list[str]) -> list[int]:
    """Columns that may be the class, in the order of trust; of diagnoses in depths the deepest that nearly all have."""
    two_sided = COLUMNS["dx"].index("benign_malignant")
    named = [known.index(name) for name in COLUMNS["dx"] if name in known]
    first = [place for place in named if COLUMNS["dx"].index(known[place]) < two_sided]
    deep = []
    for family in DEPTHS:
        depths = sorted((name for name in known if re.fullmatch(rf"{family}_\d", name)), reverse=True)
        full = [known.index(n) for n in depths if _share_told(table, known.index(n)) >= NEARLY_ALL]
        deep += full
    return [*first, *deep, *(place for place in named if place not in first)]


def _share_told(table: Table, place: int) -> float:
    return sum(not tells_nothing(cells[place]) for cells in table.cells) / max(1, len(table.cells))


def _serves(told: list[str], rows: int) -> bool:
    """Whether values can be classes: nearly every row has one, there are two at least, and most come again."""
    different = len(set(told))
    return len(told) >= NEARLY_ALL * rows and different >= 2 and (different * 2 <= rows or rows < 4)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return value.casefold() in ("true", "false")
    return True


def one_hot_columns(table: Table, known: list[str], taken: set[int]) -> dict[str, int]:
    """Columns of 0 and 1 of which a row has at most one set, by their names; UNK is no class. Empty if there are none.

    Two of them at least are named after known classes; then those between are classes too.
    """
    flags = _flag_columns(table, known, taken)
    once = sum(sum(cells[p].casefold() in _SET for p in flags) <= 1 for cells in table.cells)
    if once < NEARLY_ALL * len(table.cells):
        return {}
    return {key(table.columns[place].strip()): place for place in flags if known[place] not in ("unk", "unknown")}


def _flag_columns(table: Table, known: list[str], taken: set[int]) -> list[int]:
    """Columns of 0 and 1 from the first to the last that are named after known classes; none if those are not all."""
    codes = [place for place, name in enumerate(known) if name in CODES and place not in taken]
    if len(codes) < 2:
        return []
    between = [
        place for place in range(min(codes), max(codes) + 1) if place not in taken and "weight" not in known[place]
    ]
    flags = [p for p in between if all(cells[p].casefold() in _FLAGS for cells in table.cells)]
    return flags if set(codes) <= set(flags) else []


def splits_by_file(tables: Sequence[Table]) -> dict[Path, str]:
    """The split of each table by its name, as in train.csv and test.csv; empty unless two splits are named so."""
    named = {table.path: split for table in tables if (split := split_of(table.path.stem)) is not None}
    return named if len(set(named.values())) > 1 else {}


def named_columns(settings: TableColumns, layout: TableColumns, table: Table) -> TableColumns:
    """The names of columns that settings, or else the layout, give and the table has."""
    named = {**dict(layout), **{role: name for role, name in settings if name is not None}}
    return TableColumns(**{role: name for role, name in named.items() if name and table.find(name) is not None})
