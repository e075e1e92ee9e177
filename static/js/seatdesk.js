/* Every page works without this file; it only saves steps. */
"use strict";

function say(text) {
  const said = document.getElementById("said");
  if (said && text && said.textContent !== text) said.textContent = text;
}

function enhance(root) {
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const field = event.target.closest("[data-select]");
  if (field) field.select();

  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
    say(button.dataset.copied);
    button.textContent = button.dataset.copied;
  } catch {
    source.focus();
    source.select?.();
    say(button.dataset.notCopied);
  }
});

document.addEventListener("htmx:load", (event) => {
  const root = event.detail.elt;
  enhance(root.parentElement ?? root);
  root.querySelector(".error-summary")?.focus();
  const news = root.matches("[data-say]") ? root : root.querySelector("[data-say]");
  if (news) say(news.dataset.say);
});

document.addEventListener("DOMContentLoaded", () => {
  enhance(document);
  document.querySelector(".error-summary")?.focus();
});
