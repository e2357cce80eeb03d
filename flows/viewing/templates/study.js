const then = document.body.dataset.second;
let reader = "";
let left = [];
let begun = false;
let since = 0;
let answer = {};
let asking = "first";

function say(text) {
  part("message").hidden = !text;
  part("message").textContent = text;
}

function standing(told) {
  reader = told.reader;
  left = told.left;
  begun = told.begun;
  part("read").max = told.pictures;
  part("read").value = told.done;
  part("read-text").textContent = told.done + " of " + told.pictures;
}

function asked() {
  return [...part(asking).querySelectorAll(".options")].map((options) => options.dataset.name);
}

function show() {
  for (const button of part(asking).querySelectorAll("[aria-pressed]")) {
    const name = button.parentElement.dataset.name;
    button.setAttribute("aria-pressed", String(name in answer && String(answer[name]) === button.dataset.value));
  }
  part("go").disabled = !asked().every((name) => name in answer);
}

function fresh(phase) {
  answer = {};
  asking = phase;
  part("first").hidden = phase !== "first";
  part("second").hidden = phase !== "second";
  document.body.classList.toggle("paged", phase === "second" && then === "page");
  show();
}

async function next() {
  part("start").hidden = true;
  part("work").hidden = !left.length;
  part("end").hidden = left.length > 0;
  if (!left.length) return;
  if (begun) return second();
  for (const id of ["line", "page"]) if (part(id)) part(id).hidden = true;
  part("line")?.removeAttribute("src");
  part("picture").src = "/pictures/" + left[0];
  part("picture").parentElement.hidden = false;
  await part("picture").decode();
  fresh("first");
  scrollTo(0, 0);
  since = performance.now();
  if (left.length > 1) new Image().src = "/pictures/" + left[1];
}

const SECOND = {
  outline() {
    part("line").src = "/pictures/" + left[0] + "/outline?" + new URLSearchParams({ reader });
    part("line").hidden = false;
  },
  async page() {
    const text = await (await ask("/pictures/" + left[0] + "/page?" + new URLSearchParams({ reader }))).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    part("page").replaceChildren(page.querySelector("h1"), page.querySelector("article"));
    part("page").hidden = false;
    part("frame").hidden = true;
  },
};

async function second() {
  await SECOND[then]();
  fresh("second");
  scrollTo(0, 0);
  since = performance.now();
}

function choose(button) {
  const name = button.parentElement.dataset.name;
  // Said last is taken back first.
  delete answer[name];
  answer[name] = name === "dx" ? button.dataset.value : JSON.parse(button.dataset.value);
  show();
}

function said() {
  const { dx, confidence, ...others } = answer;
  const seconds = Math.round((performance.now() - since) / 100) / 10;
  if (asking === "first") return { ...answer, seconds };
  return then === "page" ? { dx, confidence, ratings: others, seconds } : answer;
}

let sending = false;
async function send() {
  if (sending || part("go").disabled || !left.length) return;
  sending = true;
  let written = false;
  try {
    const told = await (await post("/answers", { reader, picture: left[0], ...said() })).json();
    written = true;
    say("");
    if (asking === "first" && then) {
      part("read").value = told.done;
      part("read-text").textContent = told.done + " of " + told.pictures;
      await second();
    } else {
      standing(told);
      await next();
    }
  } catch (error) {
    say(reason(error) + (written ? " Your answer is kept; reload this page." : " Nothing was written."));
  } finally {
    sending = false;
  }
}

part("who").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    standing(await (await ask("/progress?" + new URLSearchParams({ reader: part("reader").value }))).json());
    history.replaceState(null, "", "?" + new URLSearchParams({ reader }));
    say("");
    await next();
    document.activeElement?.blur();
  } catch (error) {
    say(reason(error));
  }
});
part("questions").addEventListener("click", (event) => {
  const button = event.target.closest("[aria-pressed]");
  if (button) choose(button);
});
part("questions").addEventListener("submit", (event) => { event.preventDefault(); send(); });
const KEYS = { ArrowLeft: "←", ArrowRight: "→" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input") || part("work").hidden) return;
  if (event.key === "Enter") { event.preventDefault(); send(); return; }
  if (event.key === "Backspace") { delete answer[Object.keys(answer).at(-1)]; show(); return; }
  const key = KEYS[event.key] || event.key.toUpperCase();
  const found = [...part(asking).querySelectorAll("[aria-pressed]")].filter((one) => one.querySelector("kbd").textContent === key);
  // A key that several questions know answers the first that is open.
  const button = found.find((one) => !(one.parentElement.dataset.name in answer)) ?? found.at(-1);
  if (button) { event.preventDefault(); choose(button); }
});
part("reader").value = new URLSearchParams(location.search).get("reader") || document.body.dataset.reader;
if (part("reader").value) part("who").requestSubmit();
else part("reader").focus();
