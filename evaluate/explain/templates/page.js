"use strict";
document.documentElement.classList.add("scripted");
document.getElementById("outlines").addEventListener("change", (event) => {
  document.body.classList.toggle("hide-outlines", !event.target.checked);
});
