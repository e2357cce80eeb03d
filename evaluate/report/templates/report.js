"use strict";
document.documentElement.classList.add("scripted");

// Tables: a press on a heading sorts by it, again turns the order round. Rows without a figure stay last.
function sortKey(row, column) {
  const cell = row.cells[column];
  const value = "sort" in cell.dataset ? cell.dataset.sort : cell.textContent.trim();
  const figure = Number(value);
  return value === "" || value === "\u2013" ? null : Number.isNaN(figure) ? value.toLowerCase() : figure;
}

function compareKeys(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b));
}

function sortTable(table, heading, column) {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row, column), row]);
  const known = rows.filter(([key]) => key !== null).sort(([a], [b]) => compareKeys(a, b));
  if (descending) known.reverse();
  table.tBodies[0].append(...known.map(([, row]) => row), ...rows.filter(([key]) => key === null).map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.figures")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (heading.classList.contains("plain") || !heading.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.title = "Sort by this column";
    heading.replaceChildren(button);
    button.addEventListener("click", () => sortTable(table, heading, column));
  });
}

// Gallery: order, class, outlines, and how many are shown at first.
const FIRST = 12;
const cards = document.getElementById("gallery-cards");
const order = document.getElementById("gallery-sort");
const only = document.getElementById("gallery-class");
const more = document.getElementById("gallery-more");
let all = false;

function compareCards(a, b) {
  const [name, direction] = order.value.split("-");
  const inPlace = Number(a.dataset.place) - Number(b.dataset.place);
  if (name === "mixed") return inPlace;
  if (name === "class") return a.dataset.class.localeCompare(b.dataset.class) || inPlace;
  const [one, two] = [a.dataset[name], b.dataset[name]];
  if (one === "" || two === "") return (one === "") - (two === "") || inPlace;
  return (direction === "up" ? one - two : two - one) || inPlace;
}

function arrangeGallery() {
  const sorted = [...cards.children].sort(compareCards);
  cards.append(...sorted);
  const chosen = sorted.filter((card) => only.value === "" || card.dataset.class === only.value);
  const shown = new Set(all ? chosen : chosen.slice(0, FIRST));
  for (const card of sorted) card.hidden = !shown.has(card);
  document.getElementById("gallery-status").textContent = shown.size + " of " + chosen.length + " pairs shown";
  more.hidden = chosen.length <= FIRST;
  more.textContent = all ? "Show fewer" : "Show all " + chosen.length;
}

if (cards) {
  order.addEventListener("change", arrangeGallery);
  only.addEventListener("change", arrangeGallery);
  more.addEventListener("click", () => {
    all = !all;
    arrangeGallery();
  });
  document.getElementById("outlines").addEventListener("change", (event) => {
    document.body.classList.toggle("hide-outlines", !event.target.checked);
  });
  arrangeGallery();
}

// On paper nothing can be unfolded.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of folded) part.open = false;
});
