"""One listing from pictures, masks and any number of tables that tell of them: what each layout's reader builds on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from manifests.errors import BadInput
from manifests.listing.columns import Roles, named_columns, roles_of, splits_by_file
from manifests.listing.csv_table import Table
from manifests.listing.finder import Finder, NotFound, without_ending
from manifests.listing.labels import mask_alone
from manifests.listing.masks import MaskBook, parted
from manifests.listing.names import tells_nothing
from manifests.listing.rows import LESION, PATIENT, Entry, Owner, differing_classes, rows_of, settle_owners
from manifests.listing.source import Rejection, SourceListing, listing_is_not_empty
from manifests.listing.tree import Picture, Tree, without_copies
from manifests.settings import PrepareSettings, TableColumns


@dataclass(frozen=True)
class Layout:
    """How tables and pictures of one source go together.

    columns: the publisher's own names of columns; codes: class codes by what the tables say, in lower case;
    closed: any other class is an error; class_table: the part of a file name whose tables alone tell classes;
    every_picture: pictures that no table lists are rows too; licence: where no row tells its own.
    """

    source: str
    columns: TableColumns = field(default_factory=TableColumns)
    codes: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    class_table: str = ""
    every_picture: bool = True
    licence: str = "unknown"


def read_listed(
    tree: Tree,
    tables: Sequence[Table],
    settings: PrepareSettings,
    layout: Layout,
    finish: Callable[[dict[str, Entry]], None] = lambda entries: None,
) -> SourceListing:
    """All pictures of a tree with what its tables tell of them. `finish` may add to the entries, by picture path.

    Raises BadInput where no picture is left, or a table says what it cannot.
    """
    images, masks = parted(tree)
    images, copies = without_copies(images)
    link = TableLink(tree, settings, layout, Finder(tree, images), Finder(tree, masks))
    link.read_all(tables)
    if layout.every_picture or (link.classed and not link.entries):
        link.add_unlisted(images)
    finish(link.entries)
    settle_owners(link.entries.values(), link.owners)
    link.settle_classes()
    book = MaskBook(masks, images)
    mask_of = _masks_of(link, images, book)
    if link.entries and not layout.every_picture and not any(entry.mask_told for entry in link.entries.values()):
        link.notes += book.unmatched(tree.root, images)
    kept = [entry for entry in link.entries.values() if entry.picture.path not in link.refused]
    rows = rows_of(kept, mask_of, link.notes, {**book.more, **link.more})
    alone = book.alone() if layout.every_picture else []
    rejected = [*tree.rejected(layout.source), *link.rejected]
    rejected += [mask_alone(f"{layout.source}:{Path(mask.path).stem}", mask.path) for mask in alone]
    listing_is_not_empty(rows, rejected, tree.root)
    link.notes += tree.unread()
    if copies:
        link.notes.append(f"{copies} pictures lie there twice with the same content; one of each is read")
    return SourceListing(
        rows,
        rejected,
        layout.licence,
        mask_place="its mask",
        class_place=" and ".join(link.class_places) or "its class",
        group_place=" and ".join(link.group_places()),
        notes=tuple(link.notes),
    )


class TableLink:
    """Tables read one after another; what they tell is kept by the picture's path."""

    def __init__(self, tree: Tree, settings: PrepareSettings, layout: Layout, images: Finder, masks: Finder) -> None:
        self.tree, self.settings, self.layout = tree, settings, layout
        self.images, self.masks = images, masks
        self.entries: dict[str, Entry] = {}
        self.rejected: list[Rejection] = []
        self.refused: set[str] = set()
        self.notes: list[str] = []
        self.class_places: list[str] = []
        self.more: dict[str, tuple[str, ...]] = {}
        self.owners: dict[tuple[str, str], Owner] = defaultdict(Owner)
        self.classed: set[str] = set()
        self._group_columns: dict[str, str] = {}

    def read_all(self, tables: Sequence[Table]) -> None:
        """Adds what tables tell, those of lesions and patients first, which others then need only name. BadInput for a
        column that the settings name and no table has."""
        named = [name for _, name in self.settings.columns if name is not None]
        if tables and (missing := [name for name in named if all(table.find(name) is None for table in tables)]):
            tables[0].column(*missing)
        by_file = splits_by_file(tables)
        told = [(table, self.roles(table)) for table in tables]
        for table, roles in sorted(told, key=lambda one: "image" in one[1].columns):
            for role in (PATIENT, LESION):
                if role in roles.columns:
                    self._group_columns.setdefault(role, table.columns[roles.columns[role]])
            if "image" in roles.columns:
                self._read(table, roles, by_file.get(table.path))
            else:
                self._read_owners(table, roles)

    def roles(self, table: Table) -> Roles:
        """What the columns of a table tell; what the settings name is told by tables that have it and by no other."""
        named = named_columns(self.settings.columns, self.layout.columns, table)
        roles = roles_of(table, lambda cell: self.images.names_one(cell) or self.masks.names_one(cell), named)
        elsewhere = {role for role, name in self.settings.columns if name is not None and not getattr(named, role)}
        if self.layout.class_table and self.layout.class_table.lower() not in table.path.name.lower():
            elsewhere.add("dx")
        if "dx" in elsewhere:
            roles = replace(roles, one_hot={}, other=())
        return replace(roles, columns={r: place for r, place in roles.columns.items() if r not in elsewhere})

    def _read(self, table: Table, roles: Roles, split: str | None) -> None:
        """A table of pictures, all of whose rows are of `split` if no cell says otherwise. One that gives neither
        classes nor masks, nor lesions or patients that have classes, lists no pictures."""
        if roles.gives_classes:
            self._note_classes(table, roles)
        if roles.other_images:
            others = ", ".join(f"prepare.columns.image={name}" for name in roles.other_images)
            place = table.columns[roles.columns["image"]]
            self.notes.append(f"pictures are those of column {place} of {table.path.name} alone; others: {others}")
        lists = roles.gives_classes or "mask" in roles.columns or bool(self.classed & roles.columns.keys())
        seen: set[str] = set()
        missing_masks: list[str] = []
        for number, cells in enumerate(table, 2):
            where = f"line {number} of {table.path}"
            entry = self._entry(cells, roles, table, where, lists)
            if entry is not None:
                one_more = self._tell_mask(entry, cells, roles, table, missing_masks)
                self._tell(entry, cells, roles, table, entry.picture.path in seen and not one_more)
                if lists and split is not None:
                    entry.facts.setdefault("split", split)
                seen.add(entry.picture.path)
        if missing_masks:
            self.notes.append(
                f"{len(missing_masks)} masks that {table.path.name} names are not there, first {missing_masks[0]!r}"
            )

    def _note_classes(self, table: Table, roles: Roles) -> None:
        place = f"{roles.class_place(table)} of {table.path.name}"
        self.class_places.append(place)
        if roles.other:
            choice = ", ".join(f"prepare.columns.dx={name}" for name in roles.other)
            self.notes.append(f"classes are those of {place}; others: {choice}")

    def _entry(self, cells: list[str], roles: Roles, table: Table, where: str, lists: bool) -> Entry | None:
        """The entry of the picture that a row means; a row without one is set aside, if the table lists pictures."""
        value = cells[roles.columns["image"]]
        named = roles.cell("id", cells)
        shown = named or without_ending(value)
        try:
            if tells_nothing(value):
                raise NotFound("missing", "it names no image; fill the cell")
            picture = self.images.find(value, _beside(self.tree.root, table.path))
        except NotFound as fault:
            if lists:
                check = "missing image" if fault.check == "missing" else fault.check
                how = "give its path" if check == "duplicate id" else "add it or remove the line"
                reason = fault.why if check == "outside" else f"{where}: {fault.why}; {how}"
                self.rejected.append(Rejection(f"{self.layout.source}:{shown}", check, reason, value))
            return None
        if self.layout.every_picture:
            return self.entries.setdefault(picture.path, Entry(picture, Path(picture.path).stem))
        if not lists:
            return self.entries.get(picture.path)
        return self.entries.setdefault(picture.path, Entry(picture, shown.replace("\\", "/"), own_id=bool(named)))

    def _tell(self, entry: Entry, cells: list[str], roles: Roles, table: Table, again: bool) -> None:
        for role in roles.columns:
            if role not in ("image", "mask", "dx", "id") and (value := roles.cell(role, cells)):
                entry.facts.setdefault(role, value)
        classes = [self._code(dx, table) for dx in roles.classes(table, cells)]
        known = entry.classes.get(str(table.path))
        pair_id = f"{self.layout.source}:{entry.image_id}"
        if len(classes) > 1:
            self._refuse(
                entry, f"{entry.image_id} is labelled {' and '.join(classes)} at once in {table.path}; keep one label"
            )
        elif again and classes and known not in (None, classes[0]):
            told_both = f"{known} and {classes[0]}"
            self._refuse(entry, f"{entry.image_id} has two labels in {table.path} ({told_both}); keep one")
        elif again:
            reason = f"{entry.image_id} stands twice in {table.path}; the first line counts"
            self.rejected.append(Rejection(pair_id, "duplicate id", reason))
        if classes:
            entry.classes.setdefault(str(table.path), classes[0])

    def _tell_mask(self, entry: Entry, cells: list[str], roles: Roles, table: Table, missing: list[str]) -> bool:
        """Notes the mask that a row names; whether that is one more than its picture had."""
        value = roles.cell("mask", cells)
        entry.mask_told |= "mask" in roles.columns
        if not value:
            return False
        try:
            path = self.masks.find(value, _beside(self.tree.root, table.path)).path
        except NotFound as fault:
            if fault.check == "outside":
                self._refuse(entry, fault.why, "outside")
            else:
                missing.append(value)
            return False
        first = entry.facts.setdefault("mask", path)
        known = (first, *self.more.get(first, ()))
        if path not in known:
            self.more[first] = (*known[1:], path)
        return path not in known

    def _code(self, dx: str, table: Table) -> str:
        code = self.layout.codes.get(dx.casefold())
        if code is None and self.layout.closed:
            known = ", ".join(self.layout.codes)
            raise BadInput(f"{table.path} has the unknown class {dx[:40]!r}; expected one of {known}")
        return code or " ".join(dx.split())

    def _refuse(self, entry: Entry, reason: str, check: str = "label conflict") -> None:
        if entry.picture.path not in self.refused:
            self.refused.add(entry.picture.path)
            pair_id = f"{self.layout.source}:{entry.image_id}"
            self.rejected.append(Rejection(pair_id, check, reason, entry.picture.path))

    def _read_owners(self, table: Table, roles: Roles) -> None:
        """A table with a row per lesion or patient and not per picture."""
        role = next((role for role in (LESION, PATIENT) if role in roles.columns), None)
        if role is None:
            self.notes.append(f"{table.path.name} names no picture that is there, and is not used")
            return
        if roles.gives_classes:
            self.classed.add(role)
            self._note_classes(table, roles)
        for cells in table:
            if not (name := roles.cell(role, cells)):
                continue
            owner = self.owners[role, name]
            for other in roles.columns.keys() - {role, "dx", "mask", "id"}:
                if value := roles.cell(other, cells):
                    owner.facts.setdefault(other, value)
            owner.classes[str(table.path)] |= {self._code(dx, table) for dx in roles.classes(table, cells)}

    def settle_classes(self) -> None:
        """Takes the class of each picture from the table that tells of most, and refuses pictures whose tables differ
        in the same words."""
        unused: Counter[str] = Counter()
        for entry, table, dx, contradicts in differing_classes(list(self.entries.values())):
            if contradicts:
                told = f"{next(iter(entry.classes.values()))} and {dx}"
                self._refuse(entry, f"{entry.image_id} has two labels, the other in {table} ({told}); keep one")
            else:
                unused[table] += 1
        for table, count in unused.items():
            self.notes.append(f"{Path(table).name} tells other classes of {count} pictures, which are not used")

    def add_unlisted(self, images: Sequence[Picture]) -> None:
        """The pictures that no table lists."""
        for picture in images:
            self.entries.setdefault(picture.path, Entry(picture, Path(picture.path).stem))

    def group_places(self) -> list[str]:
        """The columns that tell of groups."""
        grouped = any(entry.facts.keys() & {PATIENT, LESION} for entry in self.entries.values())
        return list(self._group_columns.values()) if grouped else []


@lru_cache(maxsize=64)
def _beside(root: Path, table: Path) -> tuple[str, ...]:
    try:
        return table.parent.relative_to(root).parts
    except ValueError:
        return ()


def _masks_of(link: TableLink, images: Sequence[Picture], masks: MaskBook) -> dict[str, str | None]:
    """The mask of each picture: that of its cell, else of its name, else of the numbers in its name."""
    entries = link.entries.values()
    found = {
        entry.picture.path: entry.facts.get("mask") if entry.mask_told else masks.of(entry.picture) for entry in entries
    }
    if masks.masks and not any(found.values()):
        by_number = masks.by_number(images)
        found = {entry.picture.path: by_number(entry.picture) for entry in entries}
    masks.used |= {path for path in found.values() if path}
    return found
