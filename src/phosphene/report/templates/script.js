"use strict";
// The page is whole without this: it remembers the theme, and lets one button turn all figures of a section.
(() => {
  const memory = {
    get theme() { try { return localStorage.getItem("phosphene-theme"); } catch { return null; } },
    set theme(id) { try { localStorage.setItem("phosphene-theme", id); } catch { /* this page may store nothing */ } },
  };
  for (const choice of document.querySelectorAll("input[name=theme]")) {
    if (choice.id === memory.theme) choice.checked = true;
    choice.addEventListener("change", () => { memory.theme = choice.id; });
  }
  for (const row of document.querySelectorAll(".turn")) {
    row.hidden = false;
    row.addEventListener("click", ({ target: { dataset } }) => {
      if (!dataset.turn) return;
      for (const view of row.closest("section").querySelectorAll("input[data-view]")) {
        if (view.dataset.view === dataset.turn) view.checked = true;
      }
    });
  }
})();
