// A strip of meters: one shape each on a canvas that draws only the rows in sight. Mouse, arrow keys, Enter.

import { h } from "./dom.js";
import { called } from "./format.js";
import { draw, state } from "./states.js";

const CELL = 16; // of which 12 are the shape
const SHAPE = 12;
const MOST_HEIGHT = 288;

const COLOURS = ["critical", "warning", "silent", "unknown", "normal"];

/** items: [{subject, state}]; opened(item) on click and Enter. */
export function strip(items, opened) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const room = h("div", { class: "strip-room" }, canvas);
  const box = h("div", { class: "strip", tabindex: "0", role: "group", "data-key": "strip",
    "aria-label": `${items.length} in order of state, worst first. Arrow keys move, Enter opens.` }, room);
  const said = h("p", { class: "readout", "aria-live": "polite" }, "Point, or arrow keys, for one; click or Enter opens it.");
  const context = canvas.getContext("2d");
  let columns = 1;
  let at = null;
  let waiting = false;

  function paint() {
    waiting = false;
    const height = box.clientHeight;
    const width = box.clientWidth;
    if (!width) return;
    const scale = devicePixelRatio;
    if (canvas.width !== width * scale || canvas.height !== height * scale) {
      canvas.width = width * scale;
      canvas.height = height * scale;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(box);
    const colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    const first = Math.floor(box.scrollTop / CELL);
    const last = Math.ceil((box.scrollTop + height) / CELL);
    for (let n = first * columns; n < Math.min(items.length, last * columns); n += 1) {
      const x = (n % columns) * CELL + 2;
      const y = Math.floor(n / columns) * CELL + 2 - box.scrollTop;
      draw(context, items[n].state, x, y, SHAPE, colours);
      if (n === at) {
        context.strokeStyle = style.getPropertyValue("--ink").trim();
        context.lineWidth = 2;
        context.strokeRect(x - 1.5, y - 1.5, SHAPE + 3, SHAPE + 3);
      }
    }
  }

  function soon() {
    if (!waiting) requestAnimationFrame(paint);
    waiting = true;
  }

  function point(to) {
    at = to;
    if (at !== null) said.textContent = `${called(items[at].subject)}: ${state(items[at].state).word}${items[at].says ? `, ${items[at].says}` : ""}`;
    soon();
  }

  function under(event) {
    const box_ = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box_.left) / CELL);
    const n = Math.floor((event.clientY - box_.top + box.scrollTop) / CELL) * columns + column;
    return column < columns && n >= 0 && n < items.length ? n : null;
  }

  box.addEventListener("scroll", soon, { passive: true });
  box.addEventListener("mousemove", (event) => point(under(event)));
  box.addEventListener("click", (event) => {
    const n = under(event);
    if (n !== null) opened(items[n]);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && at !== null) opened(items[at]);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -1e9, End: 1e9 }[event.key];
    if (!step || !items.length) return;
    event.preventDefault();
    point(Math.max(0, Math.min(items.length - 1, (at ?? -Math.sign(step)) + step)));
    const y = Math.floor(at / columns) * CELL;
    if (y < box.scrollTop) box.scrollTop = y;
    else if (y + CELL > box.scrollTop + box.clientHeight) box.scrollTop = y + CELL - box.clientHeight;
  });
  new ResizeObserver(() => {
    columns = Math.max(1, Math.floor(box.clientWidth / CELL));
    const rows = Math.ceil(items.length / columns);
    room.style.height = `${rows * CELL}px`;
    box.style.height = `${Math.min(MOST_HEIGHT, Math.max(1, rows) * CELL)}px`;
    paint();
  }).observe(box);
  return [box, said];
}
