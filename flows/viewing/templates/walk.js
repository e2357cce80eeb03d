const reviewing = document.body.dataset.reviewing === "yes";
const REASONS = Object.fromEntries(JSON.parse(part("reasons").textContent));
const grid = part("grid");
const space = part("space");
const form = part("query");
const BLOCK = 120;
// Browsers cannot scroll through more pixels than this; longer lists are scrolled through in proportion.
const TALLEST = 8000000;
const state = { version: "", found: 0, at: 0, open: false, blocks: new Map(), generation: 0, kinds: {}, figures: {} };
const trail = [];
let reader = "";
let shownAt = 0;
let last = [];

const element = (name, attributes = {}, ...inside) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made && key !== "list" && key !== "form") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...inside);
  return made;
};

function say(text, plain = false) {
  part("message").hidden = !text;
  part("message").classList.toggle("plain", plain);
  part("message").textContent = text;
}

function asked() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") query.set(name, value);
  return query;
}

function request(more = {}) {
  const query = asked();
  if (reader) query.set("reader", reader);
  for (const [name, value] of Object.entries(more)) query.set(name, value);
  return query.toString();
}

function remember() {
  const query = asked();
  const row = rowAt(state.at);
  if (row && (state.open || state.at > 0)) query.set("pair", row.id);
  if (state.open) query.set("open", "true");
  if (!part("outlines").checked) query.set("outlines", "false");
  if (reviewing && reader) query.set("reader", reader);
  history.replaceState(null, "", query.size ? "?" + query : location.pathname);
}

const rowAt = (place) => state.blocks.get(Math.floor(place / BLOCK))?.rows?.[place % BLOCK];

async function load(block) {
  if (state.blocks.has(block)) return;
  const generation = state.generation;
  state.blocks.set(block, { rows: null });
  try {
    const answer = await (await ask("/rows?" + request({ start: block * BLOCK, count: BLOCK }))).json();
    if (generation !== state.generation) return;
    if (state.version && answer.version !== state.version) {
      say("The pairs were made anew while this page was open; these are the new ones.", true);
      state.version = "";
      return renew();
    }
    state.version = answer.version;
    state.found = answer.found;
    state.blocks.set(block, answer);
    const of = answer.found === answer.total ? "" : " of " + answer.total.toLocaleString("en");
    part("found").textContent = answer.found.toLocaleString("en") + of + (reviewing ? " pairs to read" : " pairs");
    part("empty").hidden = answer.found > 0;
    draw();
  } catch (error) {
    if (generation !== state.generation) return;
    state.blocks.delete(block);
    say(reason(error));
  }
}

function renew() {
  state.generation += 1;
  state.blocks = new Map();
  return load(0);
}

async function search(keep = "") {
  state.at = 0;
  grid.scrollTop = 0;
  describe();
  await renew();
  if (keep) {
    const found = await (await ask("/place/" + encodeURIComponent(keep) + "?" + request())).json();
    if (found.place !== null) await choose(found.place, false);
    else if (found.number !== null) await showNumber(found.number);
  } else if (state.open) await show();
  remember();
}

function describe() {
  const named = [];
  for (const [name, value] of asked()) {
    const field = form.elements[name];
    const text = field.tagName === "SELECT" ? field.selectedOptions[0].dataset.name || field.selectedOptions[0].textContent : value;
    if (name !== "figure") named.push(name === "descending" ? "highest first" : name === "sort" ? "by " + text : name === "least" ? "from " + text : name === "most" ? "to " + text : text);
  }
  part("filter-text").textContent = named.join(" · ");
}

function sizes() {
  const width = grid.clientWidth - 2;
  const columns = Math.max(2, Math.floor(width / (width < 600 ? 150 : 172)));
  const tile = width / columns;
  const rows = Math.ceil(state.found / columns);
  const whole = rows * (tile + 24);
  return { columns, tile, row: tile + 24, rows, whole, height: Math.min(whole, TALLEST) };
}

// Where the list stands: pixels of the whole list that lie above the window.
function offset(size) {
  const range = Math.max(1, size.height - grid.clientHeight);
  return grid.scrollTop / range * Math.max(0, size.whole - grid.clientHeight);
}

const tiles = new Map();
function draw() {
  const size = sizes();
  space.style.height = size.height + "px";
  const above = offset(size);
  const first = Math.max(0, Math.floor(above / size.row) - 1) * size.columns;
  const end = Math.min(state.found, (Math.ceil((above + grid.clientHeight) / size.row) + 1) * size.columns);
  const wanted = new Set();
  for (let place = first; place < end; place += 1) {
    const row = rowAt(place);
    if (!row) {
      load(Math.floor(place / BLOCK));
      continue;
    }
    const key = state.generation + ":" + place;
    wanted.add(key);
    let tile = tiles.get(key);
    if (!tile) {
      tile = tileOf(row, place);
      tiles.set(key, tile);
      space.append(tile);
    }
    tile.style.width = size.tile + "px";
    tile.style.left = (place % size.columns) * size.tile + "px";
    tile.style.top = grid.scrollTop - above + Math.floor(place / size.columns) * size.row + "px";
    tile.setAttribute("aria-selected", String(place === state.at));
  }
  for (const [key, tile] of tiles) if (!wanted.has(key)) { tile.remove(); tiles.delete(key); }
}

const address = (row, what, side = 0) => "/pairs/" + state.version + "/" + row.n + "/" + what + (side ? "?side=" + side : "");
const gateName = (value) => state.kinds.gate?.find((one) => one.value === value)?.name || value;

function frame(row, side) {
  const text = [{ synthetic: "Generated", drawn: "Drawn" }[row.origin] || "Real", row.dx, row.id].join(", ");
  const box = element("div", { className: "frame" }, element("img", { src: address(row, "image", side), alt: text, decoding: "async" }));
  box.append(element("img", { className: "line", src: address(row, "outline"), alt: "", decoding: "async" }));
  return box;
}

function tileOf(row, place) {
  const figure = row[part("figure").value];
  const box = frame(row, Math.round(180 * Math.min(2, devicePixelRatio)));
  box.append(element("span", { className: "badge " + row.origin }, row.origin));
  if (row.mine) box.append(element("span", { className: "badge mine " + row.mine }, row.mine === "accept" ? "accepted" : "refused"));
  const gone = row.origin === "synthetic" && row.gate !== "accepted" && row.gate !== "unread";
  const said = gone ? gateName(row.gate) : figure === undefined || figure === null ? row.split : figure.toFixed(3);
  const words = element("div", { className: "words" }, element("strong", {}, row.dx), element("span", { title: said }, said));
  const tile = element("div", { className: "tile" + (gone ? " gone" : ""), role: "option", id: "place-" + place }, box, words);
  tile.addEventListener("click", () => choose(place, true));
  return tile;
}

async function choose(place, open) {
  state.at = Math.max(0, Math.min(state.found - 1, place));
  if (open) state.open = true;
  const size = sizes();
  const top = Math.floor(state.at / size.columns) * size.row;
  const above = offset(size);
  const range = Math.max(1, size.height - grid.clientHeight) / Math.max(1, size.whole - grid.clientHeight);
  if (top < above) grid.scrollTop = top * range;
  else if (top + size.row > above + grid.clientHeight) grid.scrollTop = (top + size.row - grid.clientHeight) * range;
  grid.setAttribute("aria-activedescendant", "place-" + state.at);
  draw();
  if (!rowAt(state.at)) {
    const block = Math.floor(state.at / BLOCK);
    state.blocks.delete(block);
    await load(block);
  }
  if (state.open) await show();
  remember();
}

async function show() {
  const row = rowAt(state.at);
  if (row) await showNumber(row.n, row.mine, row.reason);
  else close();
}

// What is shown stays where the server is silent; where it refuses, the pairs are others than this page has.
async function lost(error, more = "") {
  say(reason(error) + more);
  if (error instanceof TypeError) return;
  state.version = "";
  await renew();
}

let turn = 0;
async function showNumber(number, mine = null, why = null) {
  const own = ++turn;
  try {
    const pair = await (await ask("/pairs/" + state.version + "/" + number)).json();
    if (own !== turn) return;
    state.open = true;
    const wasHidden = part("detail").hidden;
    part("detail").hidden = false;
    part("detail").replaceChildren(...detail(pair, mine, why));
    part("detail").scrollTop = 0;
    shownAt = performance.now();
    if (wasHidden) choose(state.at, false);
    beside(pair, own).catch(() => {});
    for (const next of [1, 2, 3]) {
      const coming = rowAt(state.at + next);
      if (coming) new Image().src = address(coming, "image");
    }
  } catch (error) {
    if (own === turn) lost(error);
  }
}

function close() {
  state.open = false;
  part("detail").hidden = true;
  draw();
  remember();
  grid.focus({ preventScroll: true });
}

function figureOf(row, caption) {
  const box = element("figure", { className: "shown picture " + row.origin }, frame(row, 0));
  box.append(element("p", { className: "origin" }, row.origin), element("figcaption", {}, caption));
  return box;
}

function detail(pair, mine, why) {
  const head = element("div", { className: "detail-head" }, element("h2", {}, pair.dx + " ", element("span", { className: "note" }, pair.id)));
  head.append(element("button", { className: "button", type: "button", title: "Close (Esc)", onclick: close }, "Close"));
  const pictures = element("div", { className: "shown-pair", id: "shown-pair" }, figureOf(pair, pair.gate ? gateName(pair.gate) : pair.split));
  const scores = element("dl", { className: "scores" });
  for (const [name, title] of Object.entries(state.figures)) {
    if (pair[name] !== null && pair[name] !== undefined) scores.append(element("div", {}, element("dt", {}, title), element("dd", {}, pair[name].toFixed(3))));
  }
  const facts = element("dl", { className: "provenance" });
  for (const [name, value] of pair.facts) facts.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  const parts = [head, pictures];
  if (reviewing) parts.push(decisions(pair, mine, why));
  parts.push(element("div", { className: "neighbours", id: "neighbours" }));
  if (scores.childElementCount) parts.push(scores);
  parts.push(element("h3", {}, "Provenance"), facts);
  return parts;
}

// The nearest real pairs come after the pair itself, so that nobody waits for them.
async function beside(pair, own) {
  const nearest = await (await ask("/pairs/" + state.version + "/" + pair.n + "/nearest")).json();
  if (own !== turn || !part("shown-pair")) return;
  const like = (row) => row.similarity === null || row.similarity === undefined ? "" : row.similarity.toFixed(3);
  const [first, ...others] = nearest;
  if (first) part("shown-pair").append(figureOf(first, "nearest " + first.origin + " pair: " + first.dx + (like(first) && ", similarity " + like(first))));
  for (const other of others) {
    const button = element("button", { type: "button", title: other.id, onclick: () => go(other.id) });
    button.append(element("figure", {}, frame(other, 200), element("figcaption", {}, other.dx + " " + like(other))));
    part("neighbours").append(button);
  }
}

async function go(id) {
  const row = rowAt(state.at);
  if (row) trail.push(row.id);
  const found = await (await ask("/place/" + encodeURIComponent(id) + "?" + request())).json();
  if (found.place !== null) await choose(found.place, true);
  else if (found.number !== null) await showNumber(found.number);
}

// Reviewing: decisions are kept by the server before the page goes on.
function decisions(pair, mine, why) {
  const box = element("div", { className: "decide" });
  const button = (kind, text, key, pressed, act) => element("button", { className: "button " + kind, type: "button", "aria-pressed": String(pressed), onclick: act }, element("span", {}, text), element("kbd", {}, key));
  box.append(button("good", "Accept", "A", mine === "accept", () => decide("accept")));
  Object.entries(REASONS).forEach(([name, text], index) => {
    box.append(button("bad", text, String(index + 1), mine === "refuse" && why === name, () => decide("refuse", name)));
  });
  box.append(button("", "Take back", "U", false, undo));
  return box;
}

async function decide(choice, why = null, place = state.at) {
  const row = rowAt(place);
  if (!reader) { say("Say who you are first: type your name beside Reader."); part("reader").focus(); return; }
  if (!row || !state.open) return;
  const seconds = Math.round((performance.now() - shownAt) / 100) / 10;
  try {
    const wish = { version: state.version, number: row.n, reader, choice, reason: why, seconds };
    const told = await (await post("/decisions", wish)).json();
    last.push(row.id);
    mark(row, choice, why);
    progress(told);
    say("");
    await next(place);
  } catch (error) {
    await lost(error, " Nothing was written.");
    if (!(error instanceof TypeError)) await show();
  }
}

function mark(row, choice, why) {
  row.mine = choice === "undo" ? null : choice;
  row.reason = why;
  for (const [key, tile] of tiles) if (rowAt(Number(key.split(":")[1])) === row) { tile.remove(); tiles.delete(key); }
  draw();
}

async function undo() {
  const id = last.pop() || rowAt(state.at)?.id;
  if (!id || !reader) return;
  const found = await (await ask("/place/" + encodeURIComponent(id) + "?" + request())).json();
  if (found.number === null) return;
  try {
    const told = await (await post("/decisions", { version: state.version, number: found.number, reader, choice: "undo" })).json();
    progress(told);
    if (found.place === null) return await renew();
    await choose(found.place, true);
    mark(rowAt(found.place), "undo", null);
    await show();
  } catch (error) {
    say(reason(error));
  }
}

async function next(from) {
  for (let place = from + 1; place < state.found; place += 1) {
    if (!rowAt(place)) { state.blocks.delete(Math.floor(place / BLOCK)); await load(Math.floor(place / BLOCK)); }
    if (!rowAt(place)?.mine) return choose(place, true);
  }
  await choose(Math.min(from + 1, state.found - 1), true);
  if (rowAt(state.found - 1)?.mine) say("You have read the list to its end.", true);
}

function progress(told) {
  part("progress-of-all").hidden = !reader;
  part("read").max = Math.max(1, told.pairs);
  part("read").value = told.read;
  part("read-text").textContent = told.read + " of " + told.pairs + " read, " + told.refused + " refused";
}

async function enter(name) {
  try {
    const told = await (await ask("/progress?" + new URLSearchParams({ reader: name }))).json();
    reader = told.reader;
    part("reader").value = reader;
    progress(told);
    say("");
    return true;
  } catch (error) {
    say(reason(error));
    return false;
  }
}

function cycle(name) {
  const field = form.elements[name];
  if (!field) return;
  field.selectedIndex = (field.selectedIndex + 1) % field.options.length;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

function openFilters(field) {
  part("filters").open = true;
  field?.focus();
}

const KEYS = {
  ArrowRight: () => choose(state.at + 1), ArrowLeft: () => choose(state.at - 1),
  ArrowDown: () => choose(state.at + sizes().columns), ArrowUp: () => choose(state.at - sizes().columns),
  PageDown: () => choose(state.at + sizes().columns * Math.max(1, Math.floor(grid.clientHeight / sizes().row))),
  PageUp: () => choose(state.at - sizes().columns * Math.max(1, Math.floor(grid.clientHeight / sizes().row))),
  Home: () => choose(0), End: () => choose(state.found - 1),
  Enter: () => choose(state.at, true), " ": () => choose(state.at, true), Escape: close,
  o: () => part("outlines").click(), c: () => cycle("dx"), g: () => cycle("gate"), s: () => cycle("sort"),
  r: () => part("descending").click(), f: () => openFilters(form.elements.dx || part("find")), "/": () => openFilters(part("find")),
  x: () => part("clear").click(), "?": () => part("keys").showModal(),
  n: async () => {
    const row = rowAt(state.at);
    const nearest = row ? await (await ask("/pairs/" + state.version + "/" + row.n + "/nearest")).json() : [];
    if (nearest.length) await go(nearest[0].id);
  },
  b: async () => { const id = trail.pop(); if (id) { await go(id); trail.pop(); } },
  l: async () => { remember(); try { await navigator.clipboard.writeText(location.href); say("The link is copied.", true); } catch (error) { say(location.href, true); } },
};
if (reviewing) {
  KEYS.a = () => decide("accept");
  KEYS.u = undo;
  KEYS.j = () => next(state.at);
  Object.keys(REASONS).forEach((name, index) => { KEYS[String(index + 1)] = () => decide("refuse", name); });
}

let busy = Promise.resolve();
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || part("keys").open) return;
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (typing) { if (event.key === "Escape") grid.focus(); return; }
  if (event.target.matches("button, summary, input") && (event.key === "Enter" || event.key === " ")) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  // One after the other, so that quick fingers decide on what they see.
  busy = busy.then(act).catch((error) => say(reason(error)));
});

form.addEventListener("change", (event) => { if (event.target.id !== "outlines") search(state.open ? rowAt(state.at)?.id : ""); });
form.addEventListener("submit", (event) => event.preventDefault());
let typed;
part("find").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(search, 250); });
part("outlines").addEventListener("change", (event) => { document.body.classList.toggle("hide-outlines", !event.target.checked); remember(); });
part("clear").addEventListener("click", () => { form.reset(); document.body.classList.remove("hide-outlines"); search(); });
part("keys-button").addEventListener("click", () => part("keys").showModal());
grid.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
new ResizeObserver(() => draw()).observe(grid);
if (reviewing) part("who").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await enter(part("reader").value)) { last = []; await search(); await next(-1); grid.focus(); }
});

async function begin() {
  const choices = await (await ask("/choices")).json();
  state.kinds = choices.kinds;
  state.figures = choices.figures;
  for (const [name, values] of Object.entries(choices.kinds)) {
    const field = element("select", { name }, element("option", { value: "" }, "all"));
    for (const one of values) field.append(element("option", { value: one.value, "data-name": one.name || one.value }, (one.name || one.value) + " (" + one.pairs.toLocaleString("en") + ")"));
    part("kinds").append(element("label", {}, choices.kind_names[name] + " ", field));
  }
  for (const [name, title] of Object.entries(choices.figures)) {
    part("figure").append(element("option", { value: name }, title));
    part("sort").append(element("option", { value: name }, title));
  }
  if (choices.figures.score_mask_agreement) part("figure").value = "score_mask_agreement";
  for (const field of [part("figure").parentElement, part("range"), part("sort").parentElement]) field.hidden = !Object.keys(choices.figures).length;
  const given = new URLSearchParams(location.search);
  for (const [name, value] of given) {
    const field = form.elements[name];
    if (field && field.name === name) { if (field.type === "checkbox") field.checked = value === "true"; else field.value = value; }
  }
  if (given.get("outlines") === "false") part("outlines").click();
  if (matchMedia("(min-width: 48rem)").matches) part("filters").open = true;
  state.open = given.get("open") === "true";
  const name = given.get("reader") || document.body.dataset.reader;
  if (reviewing && name) await enter(name);
  await search(given.get("pair") || "");
  if (reviewing && reader && !given.get("pair")) await next(-1);
  if (reviewing && !reader) part("reader").focus();
  else grid.focus({ preventScroll: true });
}
begin().catch((error) => say(reason(error)));
