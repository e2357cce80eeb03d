"use strict";
document.documentElement.classList.add("scripted");
const part = (id) => document.getElementById(id);
const HEADERS = { "X-Evenderm": "1" };

async function ask(path, options = {}) {
  const response = await fetch(path, options);
  if (response.ok) return response;
  let reason = "The server answered with status " + response.status + ".";
  try {
    const detail = (await response.json()).detail;
    if (typeof detail === "string") reason = detail;
  } catch (error) {
    // Not JSON: the status says enough.
  }
  throw new Error(reason);
}

function post(path, wish) {
  const headers = { ...HEADERS, "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(wish) });
}

function reason(error) {
  return error instanceof TypeError ? "The server does not answer; is it still running?" : error.message;
}
