// Before anything is painted, so that nobody sees a white flash: the chosen theme, or the system's.
"use strict";
(() => {
  const chosen = localStorage.getItem("beam-grid-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
