// What deserves a look now, and the values that speak for it.

import { get, name, sql, tableName } from "../api.js";
import { h, link, note, table } from "../dom.js";
import { nowTables, oneHref, shownUnit, valueWords } from "../feeds.js";
import { called, count, number, signed, time, words } from "../format.js";
import { lack, panel, REFINE } from "../panel.js";
import { badge } from "../states.js";

export const title = "Alerts and suspects";
export const tab = "Alerts";

export function view({ overview, options }) {
  const parts = overview.feeds.flatMap((feed) => [
    ...(feed.now ? [now(overview, feed)] : []),
    ...(feed.feed === "smart_meter_readings" ? [suspects(overview, feed), readings(overview, feed)] : []),
  ]);
  const own = overview.tables.filter((one) => /^gold\..*alerts$/.test(one)).map((one) => alerts(overview, one));
  const none = lack(overview, "No table of this lake scores anything", "`[now]` in a contract compares each sensor with its own past; for smart_meter_readings a refine makes gold.anomalies; tables whose names end in alerts are shown as they are.");
  return [h("h1", {}, title), open(overview, options.rule), ...(parts.length + own.length ? [...parts, ...own] : [none])];
}

const SEVERITIES = { critical: "CRITICAL", warning: "WARNING" };
const SEEN_EVERY_MS = 5000;

/** Alerts by the rules of alerts.toml: of one rule where the address names it. */
function open(overview, rule) {
  return panel({
    title: rule ? `Open alerts of ${rule}` : "Open alerts", overview, every: SEEN_EVERY_MS,
    about: "By the rules of the lake's `alerts.toml`, each with the row that spoke for it. `beam-grid alerts ack ID` acknowledges one.",
    load: () => get("/api/v1/alerts", { rule: rule ?? "" }),
    draw: (told) => {
      const rows = told.alerts;
      const total = Object.values(told.counts).reduce((sum, n) => sum + n, 0);
      const wrong = Object.entries(told.errors).map(([one, why]) => note(`Rule ${one}: ${why}`));
      if (!told.is_declared && !total) return [note("No rules are declared: `alerts.toml` in the lake's folder says what to look for and whom to tell.")];
      if (!total) return [...wrong, h("p", { class: "verdict good" }, overview.limited ? "✓ No alert is open of rules whose tables your key reaches." : "✓ No alert is open.")];
      const counts = Object.entries(told.counts).map(([one, n]) => `${count(n)} ${one}`).join(", ");
      return [...wrong, h("p", { class: "small" }, rows.length < total ? `${counts}; the ${count(rows.length)} worst.` : counts), table([
        { head: "Severity", cell: (row) => (SEVERITIES[row.severity] ? badge(SEVERITIES[row.severity]) : words(row.severity)) }, { head: "State", cell: (row) => (row.acked_by ? `${row.state}, seen by ${row.acked_by}` : row.state) },
        { head: "Rule", cell: (row) => row.rule, kind: "named" }, { head: "Of", cell: (row) => (row.link ? link(row.link.slice(1), keyed(row.key), row.id) : keyed(row.key)), kind: "named" },
        { head: "Raised", cell: (row) => time(row.raised_at ?? row.since), kind: "nobreak" }, { head: "Set", cell: (row) => row.set, number: true },
        { head: "Row", cell: (row) => Object.entries(row.row).filter(([one]) => !one.startsWith("_")).map(([one, value]) => `${words(one)} ${called(shown(value) ?? "–")}`).join(", "), kind: "wordy" },
        { head: "Id", cell: (row) => row.id, kind: "nobreak" },
      ], rows, "Open alerts")];
    },
  });
}

function now(overview, feed) {
  const named = (row) => feed.values.find((one) => one.name === row.value_name);
  return panel({
    title: `Now: ${words(feed.feed)}`, overview, tables: nowTables(overview, feed).map((table) => [table, REFINE]),
    about: `Values of ${feed.now} beyond 2 (warning) or 3 (critical) standard deviations of their own past at that hour, and who is silent. The worst 100.`,
    load: () => sql(`WITH now AS (SELECT CAST(${name(feed.subject)} AS VARCHAR) AS subject, value_name, state, value, mean, stddev, z_score, last_at, basis, history_values,
        bool_and(state = 'SILENT') OVER (PARTITION BY ${name(feed.subject)}) AS is_gone FROM ${tableName(feed.now)})
      SELECT *, count(*) OVER () AS n FROM now WHERE state IN ('CRITICAL_ANOMALY', 'WARNING') OR (state = 'SILENT' AND (NOT is_gone OR value_name = $1))
      ORDER BY CASE state WHEN 'CRITICAL_ANOMALY' THEN 0 WHEN 'SILENT' THEN 1 ELSE 2 END, abs(z_score) DESC NULLS FIRST, 1 LIMIT 100`, [feed.values[0].name]),
    draw: (rows) => (rows.length ? [counted(rows), table([
      { head: "State", cell: (row) => badge(row.state) },
      { head: words(feed.subject), cell: (row) => link(oneHref(feed, row.subject), called(row.subject), `${row.subject}/${row.value_name}`) },
      { head: "Value", cell: (row) => (row.is_gone ? "all" : valueWords(named(row))) }, { head: "Newest", cell: (row) => number(row.value, shownUnit(named(row))), number: true },
      { head: "Usual", cell: (row) => (row.mean === null ? null : `${number(row.mean)} ± ${number(row.stddev) ?? "–"}`), number: true },
      { head: "z-score", cell: (row) => signed(row.z_score), number: true },
      { head: "Known from", cell: (row) => (row.basis === "none" ? null : `${row.history_values} values, by ${words(row.basis)}`) },
      { head: "Last heard of", cell: (row) => time(row.last_at), kind: "nobreak" },
    ], rows, `Alerts of ${feed.feed}`)] : [h("p", { class: "verdict good" }, "✓ Nothing is beyond what is usual, and nobody is silent.")]),
  });
}

const SCORED = [["gold.anomalies", REFINE]];
const LATELY = "timestamp > (SELECT max(timestamp) FROM gold.anomalies) - INTERVAL '2 days'";

function suspects(overview, feed) {
  return panel({
    title: "Suspects", overview, tables: SCORED,
    about: "Meters with most critical readings in the last two days of data, with what speaks for it. A suspect is a lead, not a verdict: far below the usual may be theft or an empty house, far above a spike or a broken meter.",
    load: () => sql(`SELECT meter_id, count(*) FILTER (WHERE status = 'CRITICAL') AS critical, count(*) FILTER (WHERE status = 'WARNING') AS warnings,
      count(*) AS scored, count(*) FILTER (WHERE status = 'CRITICAL' AND z_score < 0) AS below, arg_max(timestamp, abs(z_score)) AS at,
      arg_max(reading_kwh, abs(z_score)) AS kwh, arg_max(history_mean_kwh, abs(z_score)) AS mean, arg_max(history_stddev_kwh, abs(z_score)) AS stddev,
      arg_max(z_score, abs(z_score)) AS z
      FROM gold.anomalies WHERE ${LATELY} GROUP BY meter_id HAVING critical > 0 ORDER BY critical DESC, abs(z) DESC LIMIT 30`),
    draw: (rows) => (rows.length ? [table([
      { head: "Meter", cell: (row) => link(oneHref(feed, row.meter_id, row.at), called(row.meter_id)) },
      { head: "Critical", cell: (row) => `${row.critical} of ${row.scored}`, number: true }, { head: "Warnings", cell: (row) => count(row.warnings), number: true },
      { head: "Direction", cell: (row) => (row.below === row.critical ? "↓ all below" : row.below === 0 ? "↑ all above" : `↓ ${row.below} below, ↑ ${row.critical - row.below} above`) },
      { head: "Furthest", cell: (row) => number(row.kwh, "kWh"), number: true }, { head: "Usual then", cell: (row) => `${number(row.mean)} ± ${number(row.stddev)}`, number: true },
      { head: "z-score", cell: (row) => signed(row.z), number: true }, { head: "At", cell: (row) => time(row.at), kind: "nobreak" },
    ], rows, "Suspects")] : [h("p", { class: "verdict good" }, "✓ No meter had a critical reading in the last two days.")]),
  });
}

function readings(overview, feed) {
  return panel({
    title: "Readings unlike their past", overview, tables: SCORED,
    about: "Of the last two days of data, by gold.anomalies: the reading, the mean ± deviation of the same meter in the same hour of the weeks before, and how many readings that is.",
    load: () => sql(`SELECT *, count(*) OVER () AS n FROM gold.anomalies WHERE ${LATELY} AND status IN ('CRITICAL', 'WARNING') ORDER BY abs(z_score) DESC, meter_id, timestamp LIMIT 100`),
    draw: (rows) => (rows.length ? [counted(rows), table([
      { head: "State", cell: (row) => badge(row.status) }, { head: "Meter", cell: (row) => link(oneHref(feed, row.meter_id, row.timestamp), called(row.meter_id), row.event_id) },
      { head: "At", cell: (row) => time(row.timestamp), kind: "nobreak" }, { head: "Read", cell: (row) => number(row.reading_kwh, "kWh"), number: true },
      { head: "Usual", cell: (row) => `${number(row.history_mean_kwh)} ± ${number(row.history_stddev_kwh)}`, number: true },
      { head: "z-score", cell: (row) => signed(row.z_score), number: true }, { head: "Known from", cell: (row) => `${row.history_readings} readings`, number: true },
    ], rows, "Flagged readings")] : [h("p", { class: "verdict good" }, "✓ No reading of the last two days was flagged.")]),
  });
}

/** A table of alerts that is not ours to know: as it is. */
function alerts(overview, from) {
  return panel({
    title: from, overview, tables: [[from, REFINE]],
    load: () => sql(`SELECT * FROM ${tableName(from)} LIMIT 100`),
    draw: (rows) => (rows.length ? [table(Object.keys(rows[0]).map((column) => ({
      head: words(column), number: typeof rows[0][column] === "number", cell: (row) => shown(row[column]),
    })), rows, from)] : [h("p", { class: "verdict good" }, "✓ It has no rows.")]),
  });
}

function shown(value) {
  if (value === null) return null;
  return typeof value === "number" ? number(value) : typeof value === "object" ? JSON.stringify(value) : timed(value);
}

/** What an alert is of: numbers there name something, and stay as they are. */
function keyed(key) {
  return called(key.map(timed).join(", "));
}

function timed(value) {
  return /^\d{4}-\d\d-\d\dT/.test(value) ? time(value) : String(value);
}

function counted(rows) {
  return h("p", { class: "small" }, rows[0].n > rows.length ? `${count(rows[0].n)} in all; the ${rows.length} furthest from their past.` : `${count(rows[0].n)} in all.`);
}
