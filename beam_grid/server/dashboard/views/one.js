// One meter or sensor: what it is at, its day, its week, its windows, its anomalies, and the records behind a point.

import { name, sql, tableName } from "../api.js";
import { chart } from "../charts.js";
import { choice, h, link, note, table } from "../dom.js";
import { measureLabel, nowTables, scores, shownUnit, valueWords } from "../feeds.js";
import { called, count, number, seconds, signed, time, words } from "../format.js";
import { lineage } from "../lineage.js";
import { lack, panel, REFINE } from "../panel.js";
import { badge, state } from "../states.js";

export const title = "One meter";

const MOST = 10000;

export function view({ overview, parts, options, set }) {
  const feed = overview.feeds.find((one) => one.feed === parts[0]);
  const id = parts[1];
  const back = h("p", { class: "small" }, link(`#/fleet?feed=${encodeURIComponent(parts[0])}`, "← all of the fleet"));
  if (!feed?.subject) return [back, h("h1", {}, called(id)), lack(overview, `Feed ${parts[0]} is not in this lake, or is no series of meters or sensors`, "")];
  const subject = { column: feed.subject, value: feed.subject_type === "int64" ? whole(id) : id };
  document.title = `${called(id)} - Beam Grid`;
  if (subject.value === null) return [back, h("h1", {}, called(id)), note(`Nothing is known of it: in ${feed.feed} each ${words(feed.subject)} is a whole number.`)];
  const values = feed.values;
  const value = values.find((one) => one.name === options.value) ?? preferred(feed, values);
  const records = lineage();
  const silver = [[feed.table, REFINE]];
  const at = options.at && !Number.isNaN(Date.parse(options.at)) ? new Date(options.at).toISOString() : null;
  const scored = scores(overview, feed);
  const ask = { overview, feed, subject, value, at, scored, records, silver };
  return [
    back, h("h1", {}, h("span", { class: "kind" }, `${words(feed.subject)} `), called(id)),
    h("form", { class: "choices", on: { submit: (event) => event.preventDefault() } },
      value ? choice("Value", values.map((one) => [one.name, measureLabel(one)]), value.name, (chosen) => set({ value: chosen })) : null,
      at ? h("button", { type: "button", on: { click: () => set({ at: "" }) } }, `Back from ${time(at)} to the newest`) : null),
    feed.now && overview.tables.includes(feed.now) ? now(ask) : null,
    value ? day(ask) : lack(overview, "The contract of this feed declares no number to draw", ""),
    records,
    value ? week(ask) : null,
    ...feed.windows.filter((w) => w.by.includes(feed.subject)).map((w) => windows(ask, w)),
    scored ? anomalies(ask) : null,
  ].filter(Boolean);
}

/** A number of 64 bits, of which JavaScript's own numbers have 53; null where the text is none. */
function whole(text) {
  if (!/^-?\d+$/.test(text)) return null;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value ? value : null;
}

/** What windows sum, where it can be drawn; else the first. */
function preferred(feed, values) {
  const summed = feed.windows.flatMap((w) => w.measures).find((m) => m.function === "sum")?.argument;
  return values.find((one) => one.name === summed) ?? values[0] ?? null;
}

function now({ overview, feed, subject }) {
  const named = (row) => feed.values.find((one) => one.name === row.value_name);
  return panel({
    title: "Now", overview, tables: nowTables(overview, feed).map((table) => [table, REFINE]),
    about: "Newest values beside what is usual for this one at that hour, and how many values that is known from.",
    load: () => sql(`SELECT * FROM ${tableName(feed.now)} WHERE ${name(subject.column)} = $1 ORDER BY value_name`, [subject.value]),
    draw: (rows) => (rows.length ? [table([
      { head: "Value", cell: (row) => valueWords(named(row)) }, { head: "State", cell: (row) => badge(row.state) },
      { head: "Newest", cell: (row) => number(row.value, shownUnit(named(row))), number: true }, { head: "Usual", cell: (row) => (row.mean === null ? null : `${number(row.mean)} ± ${number(row.stddev) ?? "–"}`), number: true },
      { head: "z-score", cell: (row) => signed(row.z_score), number: true }, { head: "Known from", cell: (row) => (row.basis === "none" ? null : `${row.history_values} values, by ${words(row.basis)}`) },
      { head: "Last heard of", cell: (row) => time(row.last_at), kind: "nobreak" },
    ], rows, "Newest values")] : [note(`${feed.now} does not know it: nothing of it came within its history.`)]),
  });
}

function day({ overview, feed, subject, value, at, scored, records, silver }) {
  const stamp = name(feed.event_time);
  const mine = `${name(subject.column)} = $1`;
  const to = at ? `CAST($2 AS TIMESTAMPTZ) + INTERVAL '12 hours'` : `coalesce((SELECT max(${stamp}) FROM ${tableName(feed.table)} WHERE ${mine}), now())`;
  const given = at ? [subject.value, at] : [subject.value];
  const own = scored && value.name === "reading_kwh";
  return panel({
    title: "Its day", overview, tables: scored ? [...silver, [scored, REFINE]] : silver,
    about: at ? `24 hours around ${time(at)}.` : "The 24 hours up to its newest row.",
    load: async () => {
      const nearest = at ? `abs(epoch_us(${stamp}) - epoch_us(CAST($2 AS TIMESTAMPTZ)))` : `${stamp} DESC`;
      const rows = await sql(`SELECT * FROM (SELECT ${stamp} AS at, CAST(${name(value.name)} AS DOUBLE) AS v, count(*) OVER () AS n FROM ${tableName(feed.table)}
        WHERE ${mine} AND ${stamp} > ${to} - INTERVAL '1 day' AND ${stamp} <= ${to} ORDER BY ${nearest} LIMIT ${MOST}) ORDER BY 1`, given);
      const marks = own && rows.length ? await sql(`SELECT timestamp AS at, status FROM ${tableName(scored)} WHERE meter_id = $1 AND status IN ('CRITICAL', 'WARNING')
        AND timestamp >= CAST($2 AS TIMESTAMPTZ) AND timestamp <= CAST($3 AS TIMESTAMPTZ)`, [subject.value, rows[0].at, rows[rows.length - 1].at]) : [];
      return { rows, marks };
    },
    draw: ({ rows, marks }) => {
      if (!rows.length) return [note("It has no row in these hours.")];
      const places = new Map(rows.map((row, n) => [row.at, n]));
      return [chart({
        times: rows.map((row) => seconds(row.at)), unit: shownUnit(value), height: 230,
        label: `${measureLabel(value)} from ${time(rows[0].at)} to ${time(rows[rows.length - 1].at)}, ${rows.length} rows, ${marks.length} flagged.`,
        series: [{ label: measureLabel(value), values: rows.map((row) => row.v), colour: "blue", points: rows.length < 200 }],
        marks: marks.map((mark) => ({ at: places.get(mark.at), value: rows[places.get(mark.at)]?.v, colour: state(mark.status).colour, shape: state(mark.status).shape })).filter((mark) => mark.at !== undefined),
        picked: (n) => records.of(feed.table, [[subject.column, subject.value], [feed.event_time, rows[n].at]], `${valueWords(value)} ${number(rows[n].v, shownUnit(value))} of ${time(rows[n].at)}`),
      }), rows[0].n > rows.length ? h("p", { class: "small" }, `Of its ${count(rows[0].n)} rows of these hours the ${at ? `${count(MOST)} nearest to ${time(at)}` : `newest ${count(MOST)}`} are drawn.`) : null,
      own ? h("p", { class: "small" }, "▲ critical, ◆ warning: by its own past, see below.") : null];
    },
  });
}

function week({ overview, feed, subject, value, at, silver }) {
  const stamp = name(feed.event_time);
  const mine = `${name(subject.column)} = $1`;
  const to = at ? `CAST($2 AS TIMESTAMPTZ) + INTERVAL '3 days'` : `coalesce((SELECT max(${stamp}) FROM ${tableName(feed.table)} WHERE ${mine}), now())`;
  return panel({
    title: "Its week", overview, tables: silver,
    about: "Means by hour of seven days, beside the same hours of up to 8 weeks before.",
    load: () => sql(`
WITH hours AS (
  SELECT date_trunc('hour', ${stamp}) AS at, avg(CAST(${name(value.name)} AS DOUBLE)) AS v FROM ${tableName(feed.table)}
  WHERE ${mine} AND ${stamp} > ${to} - INTERVAL '63 days' AND ${stamp} <= ${to} GROUP BY 1
)
SELECT s.at, s.v, min(p.v) AS low, median(p.v) AS usual, max(p.v) AS high, count(p.v) AS weeks
FROM hours s CROSS JOIN range(1, 9) w(k) LEFT JOIN hours p ON p.at = s.at - to_days(CAST(7 * w.k AS INTEGER))
WHERE s.at > ${to} - INTERVAL '7 days' GROUP BY ALL ORDER BY s.at`, at ? [subject.value, at] : [subject.value]),
    draw: (rows) => (rows.length ? [chart({
      ...everyHour(rows, [["high", { colour: null, width: 0 }], ["low", { colour: null, width: 0 }],
        ["usual", { label: "usual (median of other weeks)", colour: "usual", dash: [5, 4], width: 1.5 }], ["v", { label: valueWords(value), colour: "blue" }]]),
      bands: [[1, 2]], unit: shownUnit(value), height: 230, label: `${measureLabel(value)} by hour over seven days, to ${time(rows[rows.length - 1].at)}.`,
    })] : [note("It has no row in these days.")]),
  });
}

/** Series with a gap where an hour has no row. */
function everyHour(rows, series) {
  const by = new Map(rows.map((row) => [seconds(row.at), row]));
  const first = seconds(rows[0].at);
  const times = Array.from({ length: Math.round((seconds(rows[rows.length - 1].at) - first) / 3600) + 1 }, (_, n) => first + 3600 * n);
  return { times, series: series.map(([field, look]) => ({ ...look, values: times.map((t) => by.get(t)?.[field] ?? null) })) };
}

function windows({ overview, feed, subject, at, records }, window) {
  const when = at ? "AND window_start <= CAST($2 AS TIMESTAMPTZ) + INTERVAL '12 hours'" : "";
  const measures = window.measures.filter((m) => m.function !== "stddev" && !["timestamp", "date", "string"].includes(m.type)).slice(0, 6);
  return panel({
    title: `Windows: ${window.table}`, overview, tables: [[window.table, REFINE]],
    load: () => sql(`SELECT * FROM ${tableName(window.table)} WHERE ${name(subject.column)} = $1 ${when} ORDER BY window_start DESC LIMIT 24`, at ? [subject.value, at] : [subject.value]),
    draw: (rows) => (rows.length ? [table([
      { head: "From", cell: (row) => time(row.window_start), kind: "nobreak" },
      ...measures.map((m, n) => ({ head: measureLabel(m), cell: (row) => number(row[m.name]), number: true, wide: n > 1 })),
      { head: "Final", cell: (row) => (row.final ? "✓ yes" : "still open"), wide: true },
      { head: "Records", cell: (row) => recordsOf(records, window.table, [[subject.column, subject.value], ["window_start", row.window_start]], `the window from ${time(row.window_start)}`) },
    ], rows, window.table, { stack: false })] : [note("It has no window here.")]),
  });
}

function anomalies({ overview, feed, subject, scored, records }) {
  return panel({
    title: "Its anomalies", overview, tables: [[scored, REFINE]],
    about: "Readings unlike its own past in the same hour of the week: beyond 2 standard deviations a warning, beyond 3 critical. Newest first.",
    load: () => sql(`SELECT * FROM ${tableName(scored)} WHERE meter_id = $1 AND status IN ('CRITICAL', 'WARNING') ORDER BY timestamp DESC LIMIT 50`, [subject.value]),
    draw: (rows) => (rows.length ? [table([
      { head: "State", cell: (row) => badge(row.status) },
      { head: "At", cell: (row) => link(`#/fleet/${encodeURIComponent(feed.feed)}/${encodeURIComponent(subject.value)}?at=${encodeURIComponent(row.timestamp)}`, time(row.timestamp)), kind: "nobreak" },
      { head: "Read", cell: (row) => number(row.reading_kwh, "kWh"), number: true },
      { head: "Usual", cell: (row) => `${number(row.history_mean_kwh)} ± ${number(row.history_stddev_kwh)}`, number: true },
      { head: "z-score", cell: (row) => signed(row.z_score), number: true }, { head: "Known from", cell: (row) => `${row.history_readings} readings`, number: true },
      { head: "Records", cell: (row) => recordsOf(records, feed.table, [["event_id", row.event_id], [feed.event_time, row.timestamp]], `the reading of ${time(row.timestamp)}`) },
    ], rows, "Anomalies")] : [h("p", {}, "None of its readings was flagged.")]),
  });
}

function recordsOf(records, from, conditions, what) {
  return h("button", { type: "button", class: "quiet", "aria-label": `Records behind ${what}`, on: { click: () => records.of(from, conditions, what) } }, "records");
}
