// Filtering and the keyboard are all that the script does: every page is whole
// without it.
"use strict";
(() => {
  const input = document.getElementById("filter");
  const verdicts = new Set(["pass", "fail", "crash", "timeout", "infra", "xfail", "skip", "running", "waiting"]);
  let rows = [];
  let folds = [];
  // A word that is a verdict is one, and no part of a test's name.
  const has = (row, word) => (verdicts.has(word) ? row.own.includes(word) : row.text.includes(word));
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const show = words.every((word) => has(row, word));
      if (row.element.hidden === show) row.element.hidden = !show;
      if (show) shown++;
    }
    document.getElementById("found").value = words.length ? shown + " of " + rows.length : "";
    const more = document.getElementById("everywhere");
    more.href = document.body.dataset.up + "tests.html#q=" + encodeURIComponent(input.value);
    more.hidden = !words.length || /\/tests\.html$/.test(location.pathname);
    // What is folded away is searched too.
    for (const e of folds) {
      if (words.length && !e.open) e.open = e.filtered = true;
      else if (!words.length && e.filtered) e.open = e.filtered = false;
    }
  };
  const collect = () => {
    folds = document.querySelectorAll("details:has([data-row])");
    rows = [...document.querySelectorAll("[data-row]")].map((element) => ({
      element, text: (element.textContent + " " + element.dataset.row).toLowerCase(), own: element.dataset.row.split(/\s+/),
    }));
  };
  if (input) {
    input.closest("[hidden]").hidden = false;
    collect();
    input.addEventListener("input", filter);
    document.addEventListener("renewed", () => { collect(); filter(); });
  }

  // What a page was asked for: a filter, or a test, which is opened.
  const asked = () => {
    const hash = location.hash.slice(1);
    if (input && hash.startsWith("q=")) {
      try { input.value = decodeURIComponent(hash.slice(2)); } catch { return; }
      filter();
    }
    const e = hash && document.getElementById(hash);
    for (let d = e; d; d = d.parentElement) if (d.tagName === "DETAILS") d.open = true;
  };
  addEventListener("hashchange", asked);
  // A browser that comes back to a page may restore what was typed.
  if (input && input.value) filter();
  asked();

  // The keyboard.
  for (const e of document.querySelectorAll(".keys")) e.hidden = false;
  const shown = (e) => e.checkVisibility();
  const focus = (e) => { if (e) { e.focus(); e.scrollIntoView({ block: "nearest" }); } };
  const step = (by) => {
    let stops = [...document.querySelectorAll("details[data-row] > summary, tr[data-row], .log .title + p > a, .log .bad > a")].filter(shown)
      .map((e) => (e.tagName === "TR" ? e.querySelector("a") : e)).filter(Boolean);
    const at = stops.findIndex((e) => e === document.activeElement || e.closest("tr")?.contains(document.activeElement));
    if (at >= 0) return focus(stops[at + by]);
    // From what is on the screen on.
    stops = by > 0 ? stops.filter((e) => e.getBoundingClientRect().bottom > 0) : stops.filter((e) => e.getBoundingClientRect().top < innerHeight).reverse();
    focus(stops[0]);
  };
  const move = (from, down, right) => {
    let row = from.parentElement;
    let at = from.cellIndex;
    const all = [...from.closest("table").rows];
    for (;;) { // empty fields are passed over
      at += right;
      row = all[all.indexOf(row) + down];
      if (!row || at < 0 || at >= row.cells.length) return;
      const link = !row.hidden && row.cells[at].querySelector("a");
      if (link) return focus(link);
    }
  };
  const arrows = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.target === input) {
      if (e.key === "Escape") {
        input.value = "";
        filter();
        input.blur();
      } else if (e.key === "Enter") document.getElementById("everywhere").hidden || document.getElementById("everywhere").click();
      else if (e.key === "ArrowDown") step(1);
      else return;
    } else if (e.key === "/" && input) input.focus();
    else if (e.key === "Escape" && input && input.value) { input.value = ""; filter(); }
    else if (e.key === "j") step(1);
    else if (e.key === "k") step(-1);
    else if (e.key === "u") [...document.querySelectorAll("header .trail")].pop()?.click();
    else if (arrows[e.key] && e.target.closest(".grid td, .grid th")) move(e.target.closest("td, th"), ...arrows[e.key]);
    else return;
    e.preventDefault();
  });
})();
