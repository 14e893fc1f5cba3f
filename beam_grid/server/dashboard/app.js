// Routes, what surrounds the views, and word of news to the view that is shown.

import { get, key, setKey } from "./api.js";
import { h, link, note, replace } from "./dom.js";
import { listen } from "./events.js";
import { span } from "./format.js";
import * as alerts from "./views/alerts.js";
import * as fleet from "./views/fleet.js";
import * as freshness from "./views/freshness.js";
import * as load from "./views/load.js";
import * as one from "./views/one.js";
import * as quality from "./views/quality.js";
import * as queries from "./views/queries.js";

const VIEWS = { load, fleet, alerts, quality, freshness, queries };
const main = document.getElementById("main");
const live = document.getElementById("live");

const state = { overview: null, panels: [], connection: "lost", shown: null, set: null, published: null };

/** #/fleet/readings/M-1?at=... as {view, parts, options}. */
function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...parts] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { view: view || "load", parts, options: Object.fromEntries(new URLSearchParams(query)) };
}

/** Shows the view that the address names. */
async function show() {
  const { view, parts, options } = route();
  const module = view === "fleet" && parts.length > 1 ? one : VIEWS[view];
  state.panels.forEach((panel) => panel.end?.());
  state.panels = [];
  navigation(view);
  if (!module) {
    document.title = "Not a view - Beam Grid";
    replace(main, h("h1", {}, "There is no such view"), h("p", {}, "Choose one above; the address names none."));
    return;
  }
  document.title = `${module.title} - Beam Grid`;
  try {
    await described();
  } catch (problem) {
    if (problem.status === 401) return;
    replace(main, h("h1", {}, module.title), note(problem.message), h("button", { type: "button", on: { click: show } }, "Try again"));
    return;
  }
  if (JSON.stringify(route()) !== JSON.stringify({ view, parts, options })) return; // went on meanwhile
  const context = { overview: state.overview, parts, options, go, set: (changed) => go({ ...options, ...changed }) };
  const made = module.view(context);
  state.panels = made.filter((part) => part.refresh);
  const first = state.shown !== null && state.shown !== location.hash.split("?")[0];
  state.shown = location.hash.split("?")[0];
  main.replaceChildren(...made.map((part) => part.element ?? part));
  main.dataset.view = view;
  if (first) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  state.panels.forEach((panel) => panel.refresh());
}

/** Changes the options of the address; what is empty is left out. */
function go(options) {
  const query = new URLSearchParams(Object.entries(options).filter(([, value]) => value));
  const path = location.hash.split("?")[0] || "#/load";
  history.replaceState(null, "", query.size ? `${path}?${query}` : path);
  show();
}

async function described() {
  if (state.overview && state.overview.set === state.set) return;
  state.overview = await get("/api/v1/overview");
  state.set ??= state.overview.set;
  state.published ??= state.overview.created_at;
  replace(document.getElementById("lake"), state.overview.lake);
}

function navigation(current) {
  replace(document.getElementById("views"), Object.entries(VIEWS).map(([name, module]) =>
    h("li", {}, h("a", { href: `#/${name}`, "data-key": name, "aria-current": name === current ? "page" : null }, module.tab))));
}

function tell() {
  const is = state.connection === "live";
  const age = state.published ? (Date.now() - Date.parse(state.published)) / 1000 : null;
  live.dataset.state = state.connection;
  const text = is ? "Live" : "Not connected";
  const newest = state.set ? ` · set ${state.set}${age === null ? "" : `, ${span(Math.max(0, age))} old`}` : "";
  if (live.textContent !== text + newest) replace(live, h("b", {}, text), h("span", {}, newest));
  live.setAttribute("aria-live", live.dataset.said === text ? "off" : "polite"); // the age is not read out each second
  live.dataset.said = text;
}

async function news({ kind, data }) {
  state.set = data.set;
  state.published = data.created_at ?? new Date().toISOString();
  tell();
  const before = state.overview?.tables.join();
  try {
    await described();
  } catch {
    return;
  }
  if (before !== state.overview.tables.join()) {
    show(); // a table came or went: what was missing may be there
    return;
  }
  for (const panel of state.panels) {
    if (kind === "missed" || panel.reads === null || panel.reads.some((name) => data.tables.includes(name))) panel.refresh();
  }
}

function askKey() {
  if (document.getElementById("key")) return;
  const field = h("input", { id: "key", type: "password", autocomplete: "off", required: true, "aria-describedby": "key-about" });
  const form = h("form", { class: "key", on: { submit: (event) => {
    event.preventDefault();
    setKey(field.value.trim());
    state.overview = null;
    form.remove();
    show();
  } } },
  h("h1", {}, "This server asks for a key"),
  h("p", { id: "key-about" }, key() ? "The key was not accepted: it may be revoked, expired, or of another lake. " : null,
    "It is kept in this tab until the tab is closed. ", h("code", {}, "beam-grid keys add NAME --lake LAKE"), " makes one."),
  h("label", { for: "key" }, "API key"), field, h("button", { type: "submit" }, "Open"));
  main.replaceChildren(form);
  field.focus();
}

const THEMES = ["system", "light", "dark"];

function theme(chosen) {
  if (chosen === "system") {
    localStorage.removeItem("beam-grid-theme");
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem("beam-grid-theme", chosen);
    document.documentElement.dataset.theme = chosen;
  }
  document.getElementById("theme").textContent = `Theme: ${chosen}`;
  redraw();
}

function redraw() {
  state.panels.forEach((panel) => panel.redraw());
}

const button = document.getElementById("theme");
button.addEventListener("click", () => theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % 3]));
theme(document.documentElement.dataset.theme ?? "system");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", () => { document.documentElement.dataset.print = ""; redraw(); });
addEventListener("afterprint", () => { delete document.documentElement.dataset.print; redraw(); });
addEventListener("hashchange", show);
addEventListener("key-needed", askKey);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
setInterval(tell, 1000);
listen(news, (connection) => {
  const back = connection === "live" && state.connection === "lost" && state.overview;
  state.connection = connection;
  tell();
  if (back) state.panels.forEach((panel) => panel.refresh());
});
if (!location.hash) history.replaceState(null, "", "#/load"); // else a click on what is shown would show it anew
show();
