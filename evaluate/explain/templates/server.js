let current = null;
let turn = 0;

function complain(error) {
  part("working").hidden = true;
  part("error").hidden = false;
  part("error").textContent = reason(error);
}

async function follow(id, mine) {
  part("working").hidden = false;
  part("error").hidden = true;
  for (;;) {
    const standing = await (await ask("/images/" + id)).json();
    if (mine !== turn) return;
    part("progress").value = standing.share;
    part("activity").textContent = "Working: " + standing.activity;
    if (standing.state === "failed") throw new Error(standing.error);
    if (standing.state === "done") break;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  const page = await (await ask("/images/" + id + "/page")).text();
  if (mine !== turn) return;
  // Every text in it was escaped by the server, and the policy lets no script in it run.
  part("result").innerHTML = page;
  part("working").hidden = true;
  part("panel").hidden = false;
  part("activity").textContent = "Done";
  part("result").focus({ preventScroll: true });
}

async function explain(file) {
  const mine = ++turn;
  part("result").replaceChildren();
  part("panel").hidden = true;
  part("diagnosis").value = "";
  try {
    part("working").hidden = false;
    part("error").hidden = true;
    part("activity").textContent = "Working: reading the file";
    const headers = { ...HEADERS, "Content-Type": file.type || "application/octet-stream" };
    const answer = await ask("/images?name=" + encodeURIComponent(file.name), { method: "POST", headers, body: file });
    current = (await answer.json()).id;
    await follow(current, mine);
  } catch (error) {
    if (mine === turn) complain(error);
  }
}

async function strengthen() {
  const mine = turn;
  const strength = Number(part("strength").value);
  for (const place of document.querySelectorAll("[data-changed]")) {
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await post("/images/" + current + "/changed", { dx: place.dataset.changed, strength });
      const picture = await answer.text();
      if (mine !== turn || strength !== Number(part("strength").value)) return;
      place.innerHTML = picture;
      const beside = document.querySelector('.sides li[data-dx="' + CSS.escape(place.dataset.changed) + '"] img');
      const fresh = place.querySelector("img");
      if (beside && fresh) beside.src = fresh.src;
    } catch (error) {
      complain(error);
      return;
    } finally {
      place.removeAttribute("aria-busy");
    }
  }
}

async function showAs() {
  const mine = ++turn;
  const dx = part("diagnosis").value;
  if (!dx) return;
  try {
    await post("/images/" + current + "/diagnosis", { dx, strength: Number(part("strength").value) });
    await follow(current, mine);
  } catch (error) {
    if (mine === turn) complain(error);
  }
}

part("file").addEventListener("change", (event) => {
  if (event.target.files.length) explain(event.target.files[0]);
});
const drop = part("drop");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) explain(event.dataTransfer.files[0]);
});
part("strength").addEventListener("input", () => {
  part("strength-value").textContent = Number(part("strength").value).toFixed(2);
});
part("strength").addEventListener("change", strengthen);
part("diagnosis").addEventListener("change", showAs);
part("outlines").addEventListener("change", (event) => {
  document.body.classList.toggle("hide-outlines", !event.target.checked);
});
