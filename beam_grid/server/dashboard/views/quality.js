// What became of every record, why some were rejected, and what tables are expected to hold.

import { get, sql } from "../api.js";
import { h, table } from "../dom.js";
import { count, percent } from "../format.js";
import { lack, panel, REFINE } from "../panel.js";

export const title = "Data quality and ledger";
export const tab = "Quality";

const FATES = ["landed", "duplicates", "late", "rejected"];
const STATUS = { passed: "✓ passed", warned: "◆ warned", dropped: "✕ dropped", failed: "▲ failed" };

export function view({ overview }) {
  return [
    h("h1", {}, title),
    panel({
      title: "Ledger", overview, about: "Every record read is landed, a duplicate, late or rejected; the four add up to what was read.",
      load: () => get("/api/v1/ledger"), draw: (told) => ledger(overview, told),
    }),
    panel({
      title: "Why records were rejected", overview, tables: [["bronze.rejected", "It is made when the first record is rejected; none was so far."]],
      load: () => sql("SELECT feed, cause, rule, count(*) AS n, min(reason) AS reason FROM bronze.rejected GROUP BY ALL ORDER BY n DESC LIMIT 100"),
      draw: (rows) => (rows.length ? [table([
        { head: "Feed", cell: (row) => row.feed }, { head: "Cause", cell: (row) => row.cause }, { head: "Rule", cell: (row) => row.rule },
        { head: "Records", cell: (row) => count(row.n), number: true }, { head: "For example", cell: (row) => row.reason },
      ], rows, "Rejected records by cause")] : [h("p", {}, "No record was rejected.")]),
    }),
    panel({
      title: "Expectations", overview, about: "What contracts and analyses expect of tables, asked after each refine.",
      tables: [["gold.quality", `It is there once a contract has [[expectations]] and tables are refined. ${REFINE}`]],
      load: () => sql("SELECT * FROM gold.quality ORDER BY status = 'passed', failed_rows DESC, table_name, expectation LIMIT 500"),
      draw: expectations,
    }),
  ];
}

function ledger(overview, { feeds, balanced }) {
  if (!feeds.length) return [lack(overview, "Nothing has landed yet", "`beam-grid run FEED --source SOURCE --lake LAKE` lands.")];
  return [
    h("p", { class: balanced ? "verdict good" : "verdict bad" }, balanced ? `✓ Balanced: every record ${overview.limited ? "of these feeds " : ""}is accounted for.` : "✕ Not balanced: see the feed marked below."),
    h("ul", { class: "legend" }, FATES.map((fate) => h("li", {}, h("span", { class: `key ${fate}`, "aria-hidden": "true" }), fate))),
    table([
      { head: "Feed", cell: (row) => row.feed }, { head: "Read", cell: (row) => count(row.read), number: true },
      ...FATES.map((fate) => ({ head: fate, cell: (row) => count(row[fate]), number: true })),
      { head: "Share", cell: bar, kind: "fate-bar" },
      { head: "Superseded", cell: (row) => count(row.superseded), number: true }, { head: "Conflicts", cell: (row) => count(row.conflicts), number: true },
      { head: "Balanced", cell: (row) => (row.balanced ? "✓ yes" : "✕ no") },
    ], feeds, "Ledger by feed"),
  ];
}

function bar(row) {
  const said = FATES.map((fate) => `${fate} ${percent(row.read ? row[fate] / row.read : 0)}`).join(", ");
  return h("div", { class: "bar", role: "img", "aria-label": said, title: said }, FATES.filter((fate) => row[fate] > 0).map((fate) => {
    const part = h("span", { class: fate });
    part.style.flexGrow = row[fate];
    return part;
  }));
}

function expectations(rows) {
  if (!rows.length) return [h("p", {}, "Nothing is expected of the tables of this lake.")];
  const unmet = rows.filter((row) => row.status !== "passed").length;
  return [
    h("p", { class: unmet ? "verdict bad" : "verdict good" }, unmet ? `✕ ${unmet} of ${rows.length} are not met.` : `✓ All ${rows.length} are met.`),
    table([
      { head: "Table", cell: (row) => row.table_name }, { head: "Expectation", cell: (row) => `${row.expectation}: ${row.rule}` },
      { head: "Status", cell: (row) => STATUS[row.status] ?? row.status, kind: "nobreak" }, { head: "Rows", cell: (row) => count(row.rows_checked), number: true },
      { head: "Failed", cell: (row) => count(row.failed_rows), number: true },
      { head: "For example", cell: (row) => (row.example ? h("code", {}, row.example) : null) },
    ], rows, "Expectations"),
  ];
}
