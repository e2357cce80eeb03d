"""The page that walks through pairs: rows by query, pictures and outlines on demand, one pair beside its nearest."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from fastapi import FastAPI, Query
from fastapi.responses import HTMLResponse, Response

from evaluate.gates.reasons import GATE_TEXTS, gate_text
from evaluate.pages import wording
from evaluate.pages.html import TEMPLATES as SHARED
from evaluate.pages.html import environment, style_and_script
from evaluate.pages.pictures import outline_path
from flows.run.folder import RunFolder
from flows.viewing import pairs
from flows.viewing.pairs import LivePairs, PairTable, kinds_named
from flows.viewing.server import guarded_app
from manifests.errors import BadInput
from manifests.format.schema import HEADER_NAME
from manifests.images import decode_stored, decode_stored_mask
from manifests.png import png_header

TEMPLATES = Path(__file__).with_name("templates")
FIGURE_NAMES = {
    **{text.score: text.score_word for text in GATE_TEXTS.values()},
    "nearest_similarity": "similarity to the nearest",
}
KIND_NAMES = {"dx": "class", "split": "split", "origin": "origin", "gate": "gate", "review": "review"}
Asked = Annotated[pairs.Query, Query()]


class Marks(Protocol):
    """What a reader has said of pairs."""

    def among(self, table: PairTable, reader: str, mine: str) -> np.ndarray:
        """bool (len,): the pairs that are shown to a reader who asks for those of which `mine` was said."""
        ...

    def marks(self, table: PairTable, reader: str) -> Mapping[int, Mapping[str, Any]]:
        """What is added to the rows of pairs of which the reader has said something, by number."""
        ...


def page_of(template: str, script: str, styles: Sequence[Path] = (), **values: Any) -> str:
    """A page of this room as text. styles: of other rooms, whose parts it shows."""
    look = style_and_script([*styles, TEMPLATES / "viewing.css"], SHARED / "ask.js", TEMPLATES / script)
    return str(environment(TEMPLATES).get_template(template).render(**look, **values))


def view_app(live: LivePairs, title: str, copies: Path | None, ports: Sequence[int]) -> FastAPI:
    """The routes of `evenderm view`. copies: folder of the run's copy index, by which nearest real pairs are found."""
    app = guarded_app("Evenderm view", ports)

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(page_of("walk.html.j2", "walk.js", title=title, reviewing=False, reasons=[], reader=""))

    add_routes(app, live, copies)
    return app


def add_routes(app: FastAPI, live: LivePairs, copies: Path | None, marks: Marks | None = None) -> None:
    """The routes that every page of pairs has."""

    def chosen(table: PairTable, query: pairs.Query) -> np.ndarray:
        return table.chosen(query, marks.among(table, query.reader, query.mine) if marks else None)

    @app.get("/rows")
    def rows(query: Asked) -> dict[str, Any]:
        table = live.table()
        numbers, read = chosen(table, query), marks.among(table, query.reader, "") if marks else None
        said = marks.marks(table, query.reader) if marks else {}
        part = numbers[query.start : query.start + query.count]
        return {
            "version": table.version,
            "total": len(table) if read is None else int(read.sum()),
            "found": len(numbers),
            "start": query.start,
            "rows": [{**table.row(int(number)), **said.get(int(number), {})} for number in part],
        }

    @app.get("/choices")
    def choices() -> dict[str, Any]:
        table = live.table()
        kinds = {name: own for name, own in kinds_named(table.counts).items() if len(own) > 1}
        for choice in kinds.get("gate", []):
            choice["name"] = gate_text(choice["value"]).short
        figures = {name: FIGURE_NAMES[name] for name, own in table.figures.items() if np.isfinite(own).any()}
        return {"version": table.version, "kinds": kinds, "kind_names": KIND_NAMES, "figures": figures}

    @app.get("/place/{pair_id:path}")
    def place(pair_id: str, query: Asked) -> dict[str, Any]:
        table = live.table()
        number = table.numbers([pair_id]).get(pair_id)
        met = np.flatnonzero(chosen(table, query) == (-1 if number is None else number))
        return {"number": number, "place": int(met[0]) if len(met) else None}

    @app.get("/pairs/{version}/{number}")
    def pair(version: str, number: int) -> dict[str, Any]:
        table = live.table(version)
        kept = {name: value for name, value in table.provenance(number).items() if value is not None}
        return {**table.row(number), "facts": _facts(kept)}

    @app.get("/pairs/{version}/{number}/nearest")
    def nearest(version: str, number: int) -> list[dict[str, Any]]:
        return nearest_of(live.table(version), number, copies)

    @app.get("/pairs/{version}/{number}/image")
    def image(version: str, number: int, side: int = 0) -> Response:
        content = live.table(version).pictures(number)[0]
        small = thumbnail(content, side) if 0 < 1.5 * side < png_header(content)[0] else None
        return Response(small or content, media_type="image/jpeg" if small else "image/png")

    @app.get("/pairs/{version}/{number}/outline")
    def outline(version: str, number: int) -> Response:
        return Response(outline_svg(live.table(version).pictures(number)[1]), media_type="image/svg+xml")


def nearest_of(table: PairTable, number: int, copies: Path | None) -> list[dict[str, Any]]:
    """The real pairs nearest to one, by the run's copy index where it is there, else the one that the gates named."""
    kept = table.provenance(number)
    found = [(named, kept["nearest_similarity"])] if (named := kept.get("nearest_real_id")) else []
    if copies is not None and (copies / "index.json").exists():
        image = decode_stored(table.pictures(number)[0], str(kept["pair_id"]))
        index = _copy_index(copies, (copies / "index.json").stat().st_mtime_ns)
        own = None if kept["origin"] == "synthetic" else kept["group_id"]
        more = index.nearest(image, pairs.NEAREST, own)
        found += [one for one in more if one[0] not in {name for name, _ in found}]
    places = table.numbers([name for name, _ in found])
    rows = [(table.row(places[name]), similarity) for name, similarity in found if name in places]
    return [{**row, "similarity": similarity} for row, similarity in rows[: pairs.NEAREST]]


@cache
def _copy_index(folder: Path, changed: int) -> Any:
    from evaluate.copies.index import CopyIndex

    return CopyIndex.load(folder)


def thumbnail(content: bytes, side: int) -> bytes:
    """A JPEG of a stored image, at most `side` pixels wide and high."""
    from PIL import Image

    picture = Image.fromarray(decode_stored(content))
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    sink = io.BytesIO()
    picture.convert("RGB").save(sink, "JPEG", quality=88)
    return sink.getvalue()


def outline_svg(mask_png: bytes | None) -> str:
    """The borders of a mask as an SVG picture to lay over its image; an empty one where there is no mask."""
    width, height = png_header(mask_png)[:2] if mask_png else (1, 1)
    path = outline_path(decode_stored_mask(mask_png), width, height) if mask_png else ""
    stroke = 'fill="none" stroke-linejoin="round" vector-effect="non-scaling-stroke"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" preserveAspectRatio="none">'
        f'<path {stroke} stroke="#000" stroke-opacity=".65" stroke-width="4" d="{path}"/>'
        f'<path {stroke} stroke="#ffd166" stroke-width="1.75" d="{path}"/></svg>'
    )


def _facts(kept: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is written down of a pair, as the page lists it."""
    shown = {"score_mask_plausibility", "score_mask_agreement", "score_class_consistency", "pair_id", "label"}
    return [(wording.title(name), wording.plain(value)) for name, value in kept.items() if name not in shown]


def locations_of(place: str) -> tuple[list[str | Path], Path | None, str]:
    """Manifests, folder of the copy index, and name, of a run folder or a manifest. BadInput where it is neither."""
    if "://" in place:
        return [place], None, place.rstrip("/").rpartition("/")[2]
    path = Path(place).expanduser().resolve()
    run, around = RunFolder(path), RunFolder(path.parent)
    if run.settings.exists():
        found: list[str | Path] = [own for own in (run.synthetic, run.real) if (own / HEADER_NAME).exists()]
        if not found:
            raise BadInput(f"{place}: this run has prepared nothing yet; run evenderm prepare or evenderm run first")
        return found, run.copies, path.name
    if not (path / HEADER_NAME).exists():
        raise BadInput(f"{place}: holds neither a run nor a manifest ({HEADER_NAME} is missing); check the path")
    title = f"{path.parent.name}/{path.name}"
    if path == around.synthetic and (around.real / HEADER_NAME).exists():
        return [path, around.real], around.copies, title
    return [path], None, title
