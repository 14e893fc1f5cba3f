// Elements without HTML text: what comes from data becomes text nodes and attributes, never markup.

/** h("p", {class: "note"}, "text", node): null and false children are left out; `on` holds listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

export function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

export function replace(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  element.replaceChildren(...nodes(children));
  if (focused) [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus({ preventScroll: true });
}

/** A table. columns: [{head, cell: row => text or node, number, kind: class, wide: not on a phone}]. stack: one under the other there. */
export function table(columns, rows, caption, options = {}) {
  const head = h("tr", {}, columns.map((c) => h("th", { scope: "col", class: classes(c) }, c.head)));
  const body = rows.map((row) =>
    h("tr", {}, columns.map((c) => h("td", { class: classes(c), "data-label": c.head }, c.cell(row) ?? "–"))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: options.stack === false ? null : "stack" }, h("caption", { class: "aloud" }, caption), h("thead", {}, head), h("tbody", {}, body)));
}

function classes({ number, kind, wide }) {
  return [number && "n", kind, wide && "wide-only"].filter(Boolean).join(" ") || null;
}

export function link(hash, text, key) {
  return h("a", { href: hash, "data-key": key ?? hash }, text);
}

/** Text whose `commands` are set as code. */
export function prose(text) {
  return text.split("`").map((part, n) => (n % 2 ? h("code", {}, part) : part));
}

/** What is not there or went wrong, and what to do. */
export function note(text) {
  return h("p", { class: "note" }, prose(text));
}

export function choice(label, options, value, chosen) {
  const id = `choice-${label.toLowerCase().replace(/\W+/g, "-")}`;
  const select = h("select", { id, "data-key": id, on: { change: (event) => chosen(event.target.value) } },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return h("span", { class: "choice" }, h("label", { for: id }, label), select);
}
