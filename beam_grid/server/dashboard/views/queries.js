// How fast questions are answered: latency by hour, the share within a second, what took longest.

import { sql } from "../api.js";
import { chart } from "../charts.js";
import { h, table } from "../dom.js";
import { count, milliseconds, number, percent, seconds, time } from "../format.js";
import { panel } from "../panel.js";

export const title = "Query latency";
export const tab = "Queries";

const LOG = [["gold.query_log", "The server makes it with its first answers."]];

export function view({ overview }) {
  return [
    h("h1", {}, title),
    panel({
      title: "By hour", overview, tables: LOG, every: 10000,
      about: "From the request to the whole answer, of all questions put to this lake's servers, this page's own among them. Served within the SLA: answered within 1 s.",
      load: () => sql("SELECT * FROM gold.query_report WHERE hour > now() - INTERVAL '7 days' ORDER BY hour"), draw: hours,
    }),
    panel({
      title: "By kind, last hour", overview, tables: LOG, every: 10000,
      load: () => sql(`SELECT kind, count(*) AS n, quantile_cont(execution_time_ms, 0.5) AS p50, quantile_cont(execution_time_ms, 0.95) AS p95,
        quantile_cont(execution_time_ms, 0.99) AS p99, max(waited_ms) AS waited, count(*) FILTER (WHERE status <> 'ok') AS failed,
        avg(CASE WHEN status = 'ok' AND execution_time_ms <= 1000 THEN 1.0 ELSE 0 END) AS sla
        FROM gold.query_log WHERE started_at > now() - INTERVAL '1 hour' GROUP BY kind ORDER BY n DESC`), draw: kinds,
    }),
    panel({
      title: "Slowest of the last day", overview, tables: LOG, every: 30000,
      load: () => sql(`SELECT started_at, caller, status, execution_time_ms, answer_rows, answered_by, statement FROM gold.query_log
        WHERE started_at > now() - INTERVAL '1 day' ORDER BY execution_time_ms DESC LIMIT 20`), draw: slowest,
    }),
  ];
}

function hours(rows) {
  if (!rows.length) return [h("p", {}, "No question was logged in the last 7 days. The log is written every few seconds.")];
  const last = rows[rows.length - 1];
  const facts = [["p50", milliseconds(last.p50_latency_ms)], ["p95", milliseconds(last.p95_latency_ms)], ["p99", milliseconds(last.p99_latency_ms)],
    ["Within 1 s", percent(last.sla_compliance_rate)], ["Questions", count(last.total_queries)]];
  return [
    h("p", { class: "small" }, `The hour from ${time(last.hour)}:`),
    h("dl", { class: "facts" }, facts.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
    rows.length > 1 ? chart({
      times: rows.map((row) => seconds(row.hour)), unit: "ms", height: 220,
      label: `Latency by hour; now p50 ${milliseconds(last.p50_latency_ms)}, p95 ${milliseconds(last.p95_latency_ms)}, p99 ${milliseconds(last.p99_latency_ms)}`,
      series: [["p50", "blue"], ["p95", "orange", [6, 4]], ["p99", "vermilion", [2, 3]]].map(([name, colour, dash]) =>
        ({ label: name, values: rows.map((row) => Number(row[`${name}_latency_ms`])), colour, dash, points: true })),
    }) : h("p", { class: "small" }, "A line is drawn once there are two hours."),
    table([
      { head: "Hour", cell: (row) => time(row.hour), kind: "nobreak" }, { head: "Questions", cell: (row) => count(row.total_queries), number: true },
      { head: "p50", cell: (row) => milliseconds(row.p50_latency_ms), number: true }, { head: "p95", cell: (row) => milliseconds(row.p95_latency_ms), number: true },
      { head: "p99", cell: (row) => milliseconds(row.p99_latency_ms), number: true }, { head: "Within 1 s", cell: (row) => percent(row.sla_compliance_rate), number: true },
      { head: "At once (mean)", cell: (row) => number(row.avg_concurrent_queries), number: true }, { head: "Not answered", cell: (row) => count(row.not_answered), number: true },
    ], [...rows].reverse().slice(0, 48), "Queries by hour"),
  ];
}

function kinds(rows) {
  if (!rows.length) return [h("p", {}, "No question was logged in the last hour.")];
  return [table([
    { head: "Kind", cell: (row) => row.kind }, { head: "Questions", cell: (row) => count(row.n), number: true },
    { head: "p50", cell: (row) => milliseconds(row.p50), number: true }, { head: "p95", cell: (row) => milliseconds(row.p95), number: true },
    { head: "p99", cell: (row) => milliseconds(row.p99), number: true }, { head: "Longest wait for a worker", cell: (row) => milliseconds(row.waited), number: true },
    { head: "Within 1 s", cell: (row) => percent(row.sla), number: true }, { head: "Not answered", cell: (row) => count(row.failed), number: true },
  ], rows, "Queries by kind")];
}

function slowest(rows) {
  if (!rows.length) return [h("p", {}, "No question was logged in the last day.")];
  return [table([
    { head: "At", cell: (row) => time(row.started_at), kind: "nobreak" }, { head: "Took", cell: (row) => milliseconds(row.execution_time_ms), number: true },
    { head: "Status", cell: (row) => row.status }, { head: "Rows", cell: (row) => count(row.answer_rows), number: true }, { head: "Caller", cell: (row) => row.caller },
    { head: "Answered by", cell: (row) => row.answered_by ?? "its tables" },
    { head: "Statement", cell: (row) => h("details", {}, h("summary", {}, cut(row.statement)), h("code", { class: "raw" }, row.statement)) },
  ], rows, "Slowest queries")];
}

function cut(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}
