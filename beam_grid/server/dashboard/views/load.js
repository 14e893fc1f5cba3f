// Load now against the same hours of other weeks, in all and by region.

import { name, sql, tableName } from "../api.js";
import { chart } from "../charts.js";
import { choice, h, note, table } from "../dom.js";
import { difference, feedNamed, groups, loadFeeds, loads, measureLabel, shownUnit } from "../feeds.js";
import { number, seconds, time } from "../format.js";
import { lack, panel, REFINE } from "../panel.js";

export const title = "Load now, against other weeks";
export const tab = "Load";

const WEEKS = 8;
const SPANS = { "24h": ["24 hours", 24], "7d": ["7 days", 168] };
const MOST_GROUPS = 24;

export function view({ overview, options, set }) {
  const found = loadFeeds(overview);
  const heading = h("h1", {}, title);
  if (!found.length) {
    return [heading, lack(overview, "No feed of this lake has a window table to compare", "A contract's [[windows]] with a sum or a count makes one; `beam-grid contracts show FEED` shows what there is.")];
  }
  const feed = feedNamed(found, options.feed);
  const all = loads(feed);
  const key = ({ window, measure }) => `${window.table}.${measure.name}`;
  const shown = all.find((one) => key(one) === options.of) ?? best(feed, all);
  const grouped = groups(feed, shown.window);
  const by = options.by && grouped.includes(options.by) ? options.by : grouped[0] ?? null;
  const isDaily = shown.window.size_s > 3600;
  const hours = (SPANS[options.span] ?? SPANS["24h"])[1] * (isDaily ? 14 : 1);
  const unit = shownUnit(shown.measure);
  const tables = [[shown.window.table, REFINE]];
  const chosen = h("form", { class: "choices", on: { submit: (event) => event.preventDefault() } },
    choice("Feed", found.map((one) => [one.feed, one.feed.replaceAll("_", " ")]), feed.feed, (value) => set({ feed: value, of: "", by: "" })),
    choice("Measure", all.map((one) => [key(one), `${measureLabel(one.measure)} · ${one.window.table.slice(5)}`]), key(shown), (value) => set({ of: value, by: "" })),
    grouped.length > 1 ? choice("By", grouped.map((one) => [one, one.replaceAll("_", " ")]), by, (value) => set({ by: value })) : null,
    choice("Span", Object.entries(SPANS).map(([one, [text, n]]) => [one, isDaily ? `${n * 14 / 24} days` : text]), options.span ?? "24h", (value) => set({ span: value })));
  return [
    heading, chosen,
    panel({
      title: "In all", overview, tables,
      about: `${measureLabel(shown.measure)} of ${shown.window.table}, beside the same ${isDaily ? "days" : "hours"} of up to ${WEEKS} weeks before.`,
      load: () => sql(statement(shown, null, hours)),
      draw: (rows) => whole(rows, unit, measureLabel(shown.measure), isDaily ? "window" : "hour"),
    }),
    by && panel({
      title: `By ${by.replaceAll("_", " ")}`, overview, tables,
      load: () => sql(statement(shown, by, hours)),
      draw: (rows) => parts(rows, unit, by),
    }),
  ].filter(Boolean);
}

/** A sum of something by groups before a sum, a sum before a mean. */
function best(feed, all) {
  const rank = ({ window, measure }) => ["sum", "avg", "max", "min", "count", "count_if"].indexOf(measure.function) * 2 - (groups(feed, window).length ? 1 : 0);
  return [...all].sort((a, b) => rank(a) - rank(b))[0];
}

/** Steps of the newest hours with what the same steps of other weeks had: columns at, g, v, is_final, weeks, low, usual, high. */
function statement({ window, measure, aggregate }, by, hours) {
  const m = name(measure.name);
  const value = aggregate.function === "avg"
    ? `sum(${m} * ${name(aggregate.weight)}) / nullif(sum(${name(aggregate.weight)}) FILTER (WHERE ${m} IS NOT NULL), 0)`
    : `${aggregate.function}(${m})`;
  const step = window.size_s > 3600 ? "window_start" : "date_trunc('hour', window_start)";
  const group = by ? `coalesce(CAST(${name(by)} AS VARCHAR), '(none)')` : "'all'";
  return `
WITH newest AS (SELECT max(${step}) AS n FROM ${tableName(window.table)}),
steps AS (
  SELECT ${step} AS at, ${group} AS g, CAST(${value} AS DOUBLE) AS v, bool_and(final) AS is_final
  FROM ${tableName(window.table)}
  WHERE window_start > (SELECT n FROM newest) - INTERVAL '${hours + WEEKS * 168} hours' GROUP BY 1, 2
)
SELECT s.at, s.g, s.v, s.is_final, count(p.v) AS weeks, min(p.v) AS low, median(p.v) AS usual, max(p.v) AS high
FROM steps s CROSS JOIN range(1, ${WEEKS + 1}) w(k)
LEFT JOIN steps p ON p.g = s.g AND p.at = s.at - to_days(CAST(7 * w.k AS INTEGER))
WHERE s.at > (SELECT n FROM newest) - INTERVAL '${hours} hours'
GROUP BY ALL ORDER BY s.g, s.at`;
}

function whole(rows, unit, label, word) {
  if (!rows.length) return [note("The table has no rows yet.")];
  const last = lastWhole(rows);
  const open = rows[rows.length - 1] !== last;
  return [
    h("dl", { class: "facts" },
      fact(`${time(last.at)}, the last whole ${word}`, number(last.v, unit)),
      fact("Usual then (median of other weeks)", last.weeks ? `${number(last.usual, unit)}` : "no other week yet"),
      fact("Difference", last.weeks ? difference(last.v, last.usual) : null),
      fact("Other weeks, least to most", last.weeks ? `${number(last.low)} to ${number(last.high, unit)}` : null)),
    compared(rows, unit, `${label} over time: at ${time(last.at)} ${number(last.v, unit)}, usually ${number(last.usual, unit)}.`),
    open ? h("p", { class: "small" }, `○ The newest ${word} is still under way, so its value is not whole.`) : null,
    h("details", {}, h("summary", {}, "The numbers"), table([
      { head: "At", cell: (row) => time(row.at), kind: "nobreak" }, { head: "Now", cell: (row) => number(row.v, unit), number: true },
      { head: "Usual", cell: (row) => number(row.usual, unit), number: true }, { head: "Least", cell: (row) => number(row.low), number: true },
      { head: "Most", cell: (row) => number(row.high), number: true }, { head: "Weeks", cell: (row) => row.weeks, number: true },
    ], [...rows].reverse(), "Load over time", { stack: false })),
  ];
}

function parts(rows, unit, by) {
  const groups = Map.groupBy(rows, (row) => row.g);
  const newest = rows.reduce((latest, row) => (row.at > latest ? row.at : latest), "");
  const shown = [...groups].map(([group, its]) => ({ group, its, last: lastWhole(its, newest) }))
    .sort((a, b) => Math.abs(b.last.v ?? 0) - Math.abs(a.last.v ?? 0));
  return [
    table([
      { head: by.replaceAll("_", " "), cell: (one) => one.group }, { head: "At", cell: (one) => time(one.last.at), kind: "nobreak", wide: true },
      { head: "Now", cell: (one) => number(one.last.v, unit), number: true }, { head: "Usual", cell: (one) => number(one.last.usual, unit), number: true },
      { head: "Difference", cell: (one) => (one.last.weeks ? difference(one.last.v, one.last.usual) : null), number: true },
      { head: "Least to most", cell: (one) => (one.last.weeks ? `${number(one.last.low)} to ${number(one.last.high)}` : null), number: true, wide: true },
    ], shown, `Load by ${by}`, { stack: false }),
    h("div", { class: "multiples" }, shown.slice(0, MOST_GROUPS).map(({ group, its, last }) => {
      const figure = compared(its, unit, `${group}: ${number(last.v, unit)}, usually ${number(last.usual, unit)}`, true);
      figure.prepend(h("figcaption", {}, h("b", {}, group), ` ${number(last.v, unit) ?? "–"}`));
      return figure;
    })),
    shown.length > MOST_GROUPS ? h("p", { class: "small" }, `Drawn are the ${MOST_GROUPS} largest of ${shown.length}.`) : null,
  ];
}

function compared(rows, unit, label, small = false) {
  const pick = (field) => rows.map((row) => row[field]);
  return chart({
    times: rows.map((row) => seconds(row.at)), unit, label, small, height: small ? 110 : 250, bands: [[1, 2]],
    series: [
      { values: pick("high"), colour: null, width: 0 }, { values: pick("low"), colour: null, width: 0 },
      { label: "usual (median of other weeks)", values: pick("usual"), colour: "usual", dash: [5, 4], width: 1.5 },
      { label: "now", values: pick("v"), colour: "blue", width: 2.5 },
    ],
    marks: lastWhole(rows) === rows[rows.length - 1] ? [] : [{ at: rows.length - 1, value: rows[rows.length - 1].v, colour: "blue", shape: "ring" }],
  });
}

/** The newest step that is over. newest: of all groups, where a group may have stopped before. */
function lastWhole(rows, newest = rows[rows.length - 1].at) {
  return rows.findLast((row) => row.at < newest || row.is_final) ?? rows[rows.length - 1];
}

function fact(term, value) {
  return h("div", {}, h("dt", {}, term), h("dd", {}, value ?? "–"));
}
