// Loaded in the head, before the first paint: a dark page must not flash white.
(() => {
  "use strict";
  const KEY = "assay-theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const read = () => {
    // Storage may be forbidden by the browser's settings; the system's choice then holds.
    try { return localStorage.getItem(KEY) || ""; } catch { return ""; }
  };
  let chosen = read();
  const apply = () => {
    document.documentElement.dataset.bsTheme = chosen || (system.matches ? "dark" : "light");
    for (const button of document.querySelectorAll("[data-theme]")) {
      button.setAttribute("aria-pressed", String(button.dataset.theme === chosen));
    }
  };
  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    for (const group of document.querySelectorAll("[data-themes]")) group.hidden = false;
    apply();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme]");
    if (!button) return;
    chosen = button.dataset.theme;
    try { localStorage.setItem(KEY, chosen); } catch { /* not remembered, still applied */ }
    apply();
  });
})();
