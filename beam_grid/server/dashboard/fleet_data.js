// The state of every meter or sensor of a feed, by the best the lake has:
//
//     [now] of the contract   gold.NAME: newest values beside what is usual, state by z-score
//     gold.anomalies          the worst score of each meter's last day
//     silver alone            when each was last heard of

import { name, sql, tableName } from "./api.js";
import { nowTables, scores } from "./feeds.js";
import { ORDER } from "./states.js";

export const MOST = 10000;

/** Which of the three it is: {kind, table, tables it reads, about}. */
export function source(overview, feed) {
  if (feed.now && overview.tables.includes(feed.now)) {
    return { kind: "now", table: feed.now, reads: nowTables(overview, feed),
      about: `By ${feed.now}: the newest values beside what is usual for the same ${feed.subject} at that hour. Warning is beyond 2 standard deviations, critical beyond 3.` };
  }
  const scored = scores(overview, feed);
  const silent = silence(feed);
  const said = `Silent: nothing in the ${silent.text} before the feed's newest row.`;
  if (scored) {
    return { kind: "scores", table: scored, reads: [scored, feed.table], silent,
      about: `By ${scored}: the worst reading of each one's last 24 hours against its own past. ${said}` };
  }
  return { kind: "silver", table: feed.table, reads: [feed.table], silent,
    about: `When each was last heard of in ${feed.table}, of those with a row in the last 7 days of it. ${said} Warning and critical need [now] in the contract.` };
}

/** Counts by state, in all. */
export async function counts(feed, from) {
  const found = await sql(`WITH fleet AS (${fleet(feed, from)}) SELECT state, count(*) AS n FROM fleet GROUP BY state`);
  return found.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
}

/** The worst first, at most MOST: subject, state, what, z, value, mean, last_at, beside. */
export function worst(feed, from, find, wanted) {
  const rank = `CASE state ${ORDER.map((state, n) => `WHEN '${state}' THEN ${n}`).join(" ")} ELSE 9 END`;
  return sql(
    `WITH fleet AS (${fleet(feed, from)}) SELECT * FROM fleet WHERE ($1 = '' OR contains(lower(subject), lower($1))) AND ($2 = '' OR state = $2)
     ORDER BY ${rank}, abs(z) DESC NULLS LAST, subject LIMIT ${MOST}`,
    [find ?? "", wanted ?? ""],
  );
}

function fleet(feed, from) {
  const subject = name(feed.subject);
  const beside = feed.beside.includes("region") ? name("region") : null;
  if (from.kind === "now") {
    const rank = `CASE state WHEN 'CRITICAL_ANOMALY' THEN 4 WHEN 'WARNING' THEN 3 WHEN 'SILENT' THEN 2 WHEN 'NO_HISTORY' THEN 1 ELSE 0 END * 1e6 + least(coalesce(abs(z_score), 0), 1e5)`;
    // arg_max passes over rows where what it tells is null: it would tell the z-score of one value beside the name of another
    return `SELECT CAST(${subject} AS VARCHAR) AS subject, arg_max(state, ${rank}) AS state, arg_max(value_name, ${rank}) AS what,
      arg_max_null(value, ${rank}) AS value, arg_max_null(mean, ${rank}) AS mean, arg_max_null(z_score, ${rank}) AS z, max(last_at) AS last_at, bool_and(state = 'SILENT') AS is_gone,
      ${beside ? `max(${beside})` : "NULL"} AS beside FROM ${tableName(from.table)} GROUP BY ${subject}`;
  }
  const time = name(feed.event_time);
  const newest = `newest AS (SELECT max(${time}) AS n FROM ${tableName(feed.table)})`;
  const seen = `seen AS (SELECT ${subject} AS s, max(${time}) AS last_at, ${beside ? `arg_max(${beside}, ${time})` : "NULL"} AS beside
    FROM ${tableName(feed.table)} WHERE ${time} > (SELECT n FROM newest) - INTERVAL '7 days' AND ${subject} IS NOT NULL GROUP BY 1)`;
  const silent = `last_at < (SELECT n FROM newest) - INTERVAL '${from.silent.seconds} seconds'`;
  if (from.kind === "silver") {
    return `WITH ${newest}, ${seen} SELECT CAST(s AS VARCHAR) AS subject, CASE WHEN ${silent} THEN 'SILENT' ELSE 'REPORTING' END AS state,
      NULL AS what, NULL AS value, NULL AS mean, NULL::DOUBLE AS z, last_at, beside FROM seen`;
  }
  return `WITH ${newest}, ${seen},
    scored AS (SELECT meter_id AS s, arg_max(status, abs(z_score)) AS status, arg_max(reading_kwh, abs(z_score)) AS value,
      arg_max(history_mean_kwh, abs(z_score)) AS mean, arg_max(z_score, abs(z_score)) AS z
      FROM ${tableName(from.table)} WHERE timestamp > (SELECT n FROM newest) - INTERVAL '1 day' GROUP BY 1)
    SELECT CAST(seen.s AS VARCHAR) AS subject, CASE WHEN status IN ('CRITICAL', 'WARNING') THEN status WHEN ${silent} THEN 'SILENT'
      WHEN status IS NULL THEN 'NO_HISTORY' ELSE status END AS state, 'reading_kwh' AS what, value, mean, z, last_at, beside
    FROM seen LEFT JOIN scored ON seen.s = scored.s`;
}

/** Nothing for two of its windows, and two hours at least. */
function silence(feed) {
  const own = feed.windows.filter((w) => w.by.includes(feed.subject)).map((w) => w.size_s);
  const seconds = Math.max(7200, own.length ? 2 * Math.min(...own) : 0);
  return { seconds, text: seconds >= 172800 ? `${seconds / 86400} days` : `${seconds / 3600} hours` };
}
