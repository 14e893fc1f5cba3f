// A long list of which only the rows in sight are elements: ten thousand scroll as smoothly as ten.

import { h } from "./dom.js";

const HEIGHT = 36;
const BEYOND = 8;

/** columns: [{head, cell, class}]; label: said of the list. The rows have one height. memory.top keeps the place. */
export function rows(columns, items, label, memory = {}) {
  const room = h("div", { class: "rows-room", role: "rowgroup" });
  const head = h("div", { class: "row head", role: "row", "aria-rowindex": "1" }, columns.map((c) => h("span", { role: "columnheader", class: c.class }, c.head)));
  const box = h("div", { class: "rows", role: "table", "aria-label": label, "aria-rowcount": items.length + 1, tabindex: "0", "data-key": "rows" },
    h("div", { role: "rowgroup", class: "rows-head" }, head), room);
  room.style.height = `${items.length * HEIGHT}px`;
  let shown = new Map();
  let waiting = false;

  function paint() {
    waiting = false;
    memory.top = box.scrollTop;
    const first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - BEYOND);
    const last = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / HEIGHT) + BEYOND);
    const now = new Map();
    for (let n = first; n < last; n += 1) now.set(n, shown.get(n) ?? row(n));
    for (const [n, element] of shown) if (!now.has(n) && !element.contains(document.activeElement)) element.remove();
      else if (!now.has(n)) now.set(n, element);
    for (const [n, element] of now) if (!shown.has(n)) place(n, element, now);
    shown = now;
  }

  /** In the order of the list, so that Tab goes on to the next. */
  function place(n, element, now) {
    let next = null;
    for (const [m, other] of now) if (m > n && other.parentNode === room && (next === null || m < next[0])) next = [m, other];
    room.insertBefore(element, next ? next[1] : null);
  }

  function row(n) {
    const element = h("div", { class: "row", role: "row", "aria-rowindex": n + 2 }, columns.map((c) => h("span", { role: "cell", class: c.class }, c.cell(items[n]) ?? "–")));
    element.style.transform = `translateY(${n * HEIGHT}px)`;
    return element;
  }

  box.addEventListener("scroll", () => {
    if (!waiting) requestAnimationFrame(paint);
    waiting = true;
  }, { passive: true });
  new ResizeObserver(() => {
    if (memory.top && !shown.size) box.scrollTop = memory.top;
    paint();
  }).observe(box);
  return box;
}
