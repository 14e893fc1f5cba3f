// A part of a view: asks for its data, shows it, and says in its place what is missing or went wrong.
//
//     refresh ─► tables there? ─► load ─► draw          one load at a time; what comes meanwhile is one more
//                │ no            │ fails
//                └─► remedy      └─► what the server said, beside what was shown before

import { h, note, prose, replace } from "./dom.js";

/**
 * title, about: text. tables: what it reads, [[name, remedy]]; null for what is not of the lake's tables.
 * load: async () => data. draw: data => nodes. Returns {element, refresh, redraw, reads, end}.
 */
export function panel({ title, about, tables = null, overview, load, draw, every = null, className = null }) {
  const body = h("div", { class: "body" }, h("p", { class: "small waiting" }, "Loading …"));
  const wrong = h("div", { "aria-live": "polite" });
  const heading = h("h2", {}, title);
  const element = h("section", { class: className, "aria-busy": "true" }, heading, about ? h("p", { class: "about" }, prose(about)) : null, wrong, body);
  let data;
  let running = false;
  let again = false;
  let ended = false;

  async function refresh() {
    const missing = (tables ?? []).filter(([name]) => !overview.tables.includes(name));
    if (missing.length) {
      replace(body, missing.map(([name, remedy]) => lack(overview, `${name} is not in this lake`, remedy)));
      element.setAttribute("aria-busy", "false");
      return;
    }
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      const found = await load();
      if (ended) return;
      data = found;
      redraw();
      replace(wrong);
    } catch (problem) {
      if (ended || problem.status === 401) return;
      replace(wrong, note(`This part could not be read: ${problem.message}`));
      if (data === undefined) replace(body);
    } finally {
      running = false;
      element.setAttribute("aria-busy", "false");
    }
    if (again && !ended) {
      again = false;
      refresh();
    }
  }

  function redraw() {
    if (data !== undefined) replace(body, draw(data));
  }

  const timer = every ? setInterval(() => document.hidden || refresh(), every) : null;
  return {
    element, refresh, redraw,
    reads: tables ? tables.map(([name]) => name) : null,
    end: () => { ended = true; clearInterval(timer); },
  };
}

/** That something is not there; a key that does not reach all tables cannot tell that from what is beyond them. */
export function lack(overview, what, remedy) {
  return note(overview.limited ? `${what}, or it is beyond the tables that your key reaches.` : `${what}. ${remedy}`);
}

/** What to do where a table of a feed is missing. */
export const REFINE = "`beam-grid refine` makes it from what has landed.";
