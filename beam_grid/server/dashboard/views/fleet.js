// All meters or sensors of a feed by state: a strip of shapes, and a list of the same.

import { choice, h, link, note } from "../dom.js";
import { feedNamed, fleets, oneHref, shownUnit, valueWords } from "../feeds.js";
import { counts, MOST, source, worst } from "../fleet_data.js";
import { called, count, number, signed, time, words } from "../format.js";
import { lack, panel, REFINE } from "../panel.js";
import { rows } from "../rows.js";
import { badge, state } from "../states.js";
import { strip } from "../strip.js";

export const title = "Fleet by state";
export const tab = "Fleet";

export function view({ overview, parts, options, set }) {
  const found = fleets(overview);
  const heading = h("h1", {}, title);
  if (!found.length) {
    return [heading, lack(overview, "No feed of this lake is a series of meters or sensors", "A contract says so by `[now]`, or by its meter and event time in `lake.cluster_by` or `dedup.key`.")];
  }
  const feed = feedNamed(found, options.feed ?? parts[0]);
  const from = source(overview, feed);
  const memory = {};
  const search = h("input", { id: "find", type: "search", value: options.find ?? "", placeholder: "part of a name", autocomplete: "off", "data-key": "find" });
  const form = h("form", { class: "choices", role: "search", on: { submit: (event) => { event.preventDefault(); set({ find: search.value }); } } },
    choice("Feed", found.map((one) => [one.feed, words(one.feed)]), feed.feed, (value) => set({ feed: value, find: "", state: "" })),
    h("span", { class: "choice" }, h("label", { for: "find" }, `Find ${words(feed.subject)}`), search),
    h("button", { type: "submit" }, "Find"));
  const filtered = options.find || options.state;
  return [
    heading, form,
    panel({
      title: words(feed.feed), overview, tables: from.reads.map((name) => [name, REFINE]), about: from.about,
      load: async () => {
        const [all, items] = await Promise.all([counts(feed, from), worst(feed, from, options.find, options.state)]);
        return { all, items: items.map((item) => ({ ...item, says: says(feed, item) })) };
      },
      draw: ({ all, items }) => drawn(feed, all, items, memory, options.state, set, filtered),
    }),
  ];
}

function says(feed, item) {
  const value = feed.values.find((one) => one.name === item.what);
  if (item.is_gone === false && item.value === null) return `no ${valueWords(value)} of late`;
  if (item.state === "SILENT" || item.value === null) return item.last_at ? `last heard of ${time(item.last_at)}` : "";
  const usual = item.mean === null ? "" : `, usually ${number(item.mean)}`;
  return `${valueWords(value)} ${number(item.value, shownUnit(value))}${usual}${item.z === null ? "" : `, z ${signed(item.z)}`}`;
}

function drawn(feed, all, items, memory, wanted, set, filtered) {
  const total = all.reduce((sum, one) => sum + one.n, 0);
  if (!total) return [note(`${feed.table} has no rows yet.`)];
  const open = (item) => { location.hash = oneHref(feed, item.subject); };
  const filter = (name, text) => h("button", { type: "button", class: "filter", "data-key": `state-${name}`, "aria-pressed": String((wanted ?? "") === name),
    on: { click: () => set({ state: (wanted ?? "") === name ? "" : name }) } }, text);
  const columns = [
    { head: "State", class: "c-state", cell: (item) => badge(item.state) },
    { head: words(feed.subject), class: "c-subject", cell: (item) => link(oneHref(feed, item.subject), called(item.subject)) },
    { head: "What speaks for it", class: "c-says", cell: (item) => item.says || null },
    { head: "Last row", class: "c-last", cell: (item) => (item.last_at ? [h("span", { class: "year" }, item.last_at.slice(0, 5)), time(item.last_at).slice(5)] : null) },
    { head: "Region", class: "c-beside", cell: (item) => item.beside },
  ];
  return [
    h("div", { class: "filters", role: "group", "aria-label": "Show only one state" }, filter("", `All ${count(total)}`),
      all.map((one) => filter(one.state, [h("span", { class: state(one.state).colour, "aria-hidden": "true" }, state(one.state).sign), ` ${state(one.state).word} ${count(one.n)}`]))),
    strip(items, open),
    h("p", { class: "small" }, filtered ? `${count(items.length)} of ${count(total)} are shown.` : total > MOST ? `The worst ${count(MOST)} of ${count(total)} are shown; find others by name.` : null),
    items.length ? rows(columns, items, `${feed.feed} by state`, memory) : note("None fits what you look for."),
  ];
}
