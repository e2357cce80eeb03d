const masks = document.body.dataset.masks === "yes";
let reader = "";
let left = [];
let begun = 0;
let answer = {};
let asking = "first";

function say(text) {
  part("message").hidden = !text;
  part("message").textContent = text;
}

function standing(told) {
  reader = told.reader;
  left = told.left;
  part("read").max = told.pictures;
  part("read").value = told.done;
  part("read-text").textContent = told.done + " of " + told.pictures;
}

function fresh() {
  answer = {};
  for (const button of document.querySelectorAll("[aria-pressed]")) button.setAttribute("aria-pressed", "false");
  part("go").disabled = true;
}

async function next() {
  part("start").hidden = true;
  part("work").hidden = !left.length;
  part("end").hidden = left.length > 0;
  if (!left.length) return;
  fresh();
  asking = "first";
  part("first").hidden = false;
  part("second").hidden = true;
  part("line").hidden = true;
  part("line").removeAttribute("src");
  part("picture").src = "/pictures/" + left[0];
  await part("picture").decode();
  begun = performance.now();
  if (left.length > 1) new Image().src = "/pictures/" + left[1];
}

function outline() {
  fresh();
  asking = "second";
  part("first").hidden = true;
  part("second").hidden = false;
  part("line").src = "/pictures/" + left[0] + "/outline?" + new URLSearchParams({ reader });
  part("line").hidden = false;
}

function choose(button) {
  const options = button.closest(".options");
  const value = button.dataset.value;
  const name = options.dataset.name;
  answer[name] = name === "dx" ? value : JSON.parse(value);
  for (const other of options.children) other.setAttribute("aria-pressed", String(other === button));
  const wanted = asking === "first" ? ["generated", "confidence", "dx"] : ["fits"];
  part("go").disabled = !wanted.every((one) => one in answer);
}

let sending = false;
async function send() {
  if (sending || part("go").disabled || !left.length) return;
  sending = true;
  const picture = left[0];
  const seconds = Math.round((performance.now() - begun) / 100) / 10;
  try {
    const told = await (await post("/answers", { reader, picture, ...answer, ...(asking === "first" ? { seconds } : {}) })).json();
    say("");
    if (asking === "first" && masks) {
      outline();
      part("read").value = told.done;
      part("read-text").textContent = told.done + " of " + told.pictures;
    } else {
      standing(told);
      await next();
    }
  } catch (error) {
    say(reason(error) + " Nothing was written.");
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
const ARROWS = { ArrowLeft: "←", ArrowRight: "→" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input") || part("work").hidden) return;
  if (event.key === "Enter") { event.preventDefault(); send(); return; }
  for (const button of part(asking).querySelectorAll("[aria-pressed]")) {
    if (button.querySelector("kbd").textContent === (ARROWS[event.key] || event.key.toUpperCase())) { event.preventDefault(); choose(button); return; }
  }
});
part("reader").value = new URLSearchParams(location.search).get("reader") || document.body.dataset.reader;
if (part("reader").value) part("who").requestSubmit();
else part("reader").focus();
