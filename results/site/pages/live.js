// While a run goes on its server says when pages have changed; this puts the new
// one in the place of the old, and leaves readers where they were.
"use strict";
(() => {
  // What a thing is called, so that it is found again on the new page.
  const name = (e) => e.id || e.getAttribute("href") || e.querySelector("strong, summary")?.textContent || "";
  let seen = "";
  const renew = async () => {
    const answer = await fetch(location.pathname, { cache: "no-store" });
    const text = answer.ok ? await answer.text() : seen;
    if (text === seen) return;
    seen = text;
    const next = new DOMParser().parseFromString(text, "text/html");
    const old = document.querySelector("main"), main = document.importNode(next.querySelector("main"), true);
    const opened = new Map([...old.querySelectorAll("details")].map((e) => [name(e), e.open]));
    for (const e of main.querySelectorAll("details")) if (opened.has(name(e))) e.open = opened.get(name(e));
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const filter = old.querySelector(".filter");
    if (filter) main.querySelector(".filter")?.replaceWith(filter);
    const across = [...old.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
    old.replaceWith(main);
    [...main.querySelectorAll(".scroll")].forEach((e, i) => { e.scrollLeft = across[i] || 0; });
    document.title = next.title;
    document.dispatchEvent(new Event("renewed"));
    if (!focused) return;
    const again = focused.id === "filter" ? focused : [...main.querySelectorAll(focused.tagName)].find((e) => name(e) === name(focused) && e.textContent === focused.textContent);
    again?.focus({ preventScroll: true });
  };
  const source = new EventSource(document.body.dataset.up + "changes");
  let last = Promise.resolve();
  source.addEventListener("change", () => { last = last.then(renew, renew); });
  source.addEventListener("over", () => {
    source.close();
    last.then(() => location.reload(), () => location.reload());
  });
})();
