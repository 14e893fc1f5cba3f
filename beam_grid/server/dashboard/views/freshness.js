// How far behind the lake is: lag, rates, ages, what waits, what is wrong.

import { get } from "../api.js";
import { h, note, prose, table } from "../dom.js";
import { count, number, span } from "../format.js";
import { lack, panel } from "../panel.js";

export const title = "Freshness and lag";
export const tab = "Freshness";

export function view({ overview }) {
  return [
    h("h1", {}, title),
    panel({ title: "Feeds", overview, every: 5000, load: () => get("/api/v1/status"), draw: (told) => feeds(overview, told),
      about: "Row age is by event time: now less the newest event that landed. Freshness is from arrival to the tables, at the last publish." }),
    panel({ title: "Followers", overview, every: 5000, load: () => get("/api/v1/status"), draw: followers,
      about: "Processes that follow this lake." }),
  ];
}

function feeds(overview, { feeds, wrong, set, newest_commits }) {
  return [
    wrong.length ? h("ul", { class: "problems" }, wrong.map((line) => h("li", {}, "▲ ", prose(line))))
      : feeds.length || !overview.limited ? h("p", { class: "verdict good" }, overview.limited ? "✓ Nothing is wrong with these feeds." : "✓ Nothing is wrong.") : null,
    feeds.length ? table([
      { head: "Feed", cell: (row) => row.feed }, { head: "State", cell: (row) => row.state ?? "not followed" },
      { head: "Lag", cell: (row) => (row.lag === null ? null : `${count(row.lag)} records`), number: true },
      { head: "Rate", cell: (row) => (row.records_per_s === null ? null : `${number(row.records_per_s)}/s`), number: true },
      { head: "Row age", cell: (row) => span(row.newest_row_age_s), number: true },
      { head: "Watermark delay", cell: (row) => span(row.watermark_delay_s), number: true },
      { head: "Freshness", cell: (row) => span(row.freshness_s), number: true },
      { head: "Commit", cell: (row) => `${count(row.commit)}, ${span(row.commit_age_s) ?? "–"} ago`, number: true },
      { head: "Waiting", cell: (row) => (row.waiting ? `${count(row.waiting)} for ${row.waits_for}` : "0"), number: true },
      { head: "Last error", cell: (row) => (row.last_error ? `${row.last_error} (${span(row.last_error_age_s)} ago)` : null) },
    ], feeds, "Feeds") : lack(overview, "Nothing has landed yet", "`beam-grid run FEED --source SOURCE --lake LAKE` lands."),
    newest_commits ? h("p", {}, took(newest_commits)) : null,
    h("p", { class: "small" }, set ? `Tables are those of version set ${set}.` : "There is no version set yet; a refine makes the first."),
  ];
}

function took(one) {
  const commits = Object.entries(one.commits).map(([feed, [, last]]) => `${feed} ${count(last)}`).join(", ");
  const steps = [["landing", one.land_s], ["publishing", one.publish_s], ["analyses", one.analyses_s], ["alert rules", one.alerts_s]]
    .filter(([, seconds]) => seconds !== null).map(([name, seconds]) => `${name} ${seconds.toFixed(2)} s`).join(", ");
  return `Newest commits: ${commits}, in set ${one.set}${steps ? `: ${steps}` : ""}.`;
}

function followers({ followers }) {
  if (!followers.length) return [note("Nobody follows this lake, so lag and rates are not known; `beam-grid run --follow` does.")];
  return [table([
    { head: "Process", cell: (row) => `${row.pid} on ${row.host}` }, { head: "Role", cell: (row) => row.role },
    { head: "Alive", cell: (row) => (row.is_alive ? "✓ yes" : "✕ no") }, { head: "Up", cell: (row) => span(row.up_s), number: true },
    { head: "Last beat", cell: (row) => `${span(row.beat_age_s)} ago`, number: true },
    { head: "Refined", cell: (row) => (row.refined_age_s === null ? null : `${span(row.refined_age_s)} ago`), number: true },
    { head: "Wrong", cell: (row) => row.why ?? row.refine_error },
  ], followers, "Followers")];
}
