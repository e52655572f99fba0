// Filtering is all that the script does: every page is whole without it.
"use strict";
(() => {
  const input = document.getElementById("filter");
  if (!input) return;
  const rows = [...document.querySelectorAll("[data-row]")].map((e) => [e, (e.textContent + " " + e.dataset.row).toLowerCase()]);
  const found = document.getElementById("found");
  input.closest("[hidden]").hidden = false;
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [e, text] of rows) {
      const show = words.every((w) => text.includes(w));
      if (e.hidden === show) e.hidden = !show;
      if (show) shown++;
    }
    found.value = words.length ? shown + " of " + rows.length : "";
  };
  input.addEventListener("input", filter);
  document.addEventListener("keydown", (e) => {
    if (e.key === "/" && e.target !== input && !e.ctrlKey && !e.metaKey && !e.altKey) {
      e.preventDefault();
      input.focus();
    } else if (e.key === "Escape" && e.target === input) {
      input.value = "";
      filter();
    }
  });
  // A browser that comes back to a page may restore what was typed.
  if (input.value) filter();
})();
// A link to a test opens it.
{
  const open = () => {
    const e = location.hash && document.getElementById(location.hash.slice(1));
    if (e && e.tagName === "DETAILS") e.open = true;
  };
  addEventListener("hashchange", open);
  open();
}
