// The records behind a point: from a row of a table back to file and line, or topic, partition and offset.

import { get, literal, name } from "./api.js";
import { h, note, replace, table } from "./dom.js";
import { count } from "./format.js";

/** A panel without data until `of` is asked: {element, of(table, [[column, value]], what)}. */
export function lineage() {
  const body = h("div", { "aria-live": "polite" }, h("p", { class: "small" }, "Choose a point of a chart, or “records” in a table."));
  const element = h("section", { id: "records", tabindex: "-1" }, h("h2", {}, "The records behind"), body);
  let asked = 0;

  async function of(from, conditions, what) {
    const mine = ++asked;
    replace(body, h("p", { class: "small waiting" }, `Looking for the records behind ${what} …`));
    element.scrollIntoView({ block: "nearest" });
    const where = conditions.map(([column, value]) => `${name(column)} = ${literal(value)}`).join(" AND ");
    try {
      const { lineage: found } = await get("/api/v1/lineage", { table: from, where });
      if (mine === asked) replace(body, shown(found, from, what));
    } catch (problem) {
      if (mine === asked) replace(body, note(`The records behind ${what} could not be had: ${problem.message}`));
    }
  }
  return { element, of };
}

function shown(found, from, what) {
  if (!found.length) return [note(`${from} has no such row any more.`)];
  return [
    h("p", {}, `${what}, from ${from}:`),
    table([
      { head: "Feed", cell: (row) => row.feed }, { head: "Commit", cell: (row) => count(row.commit), number: true },
      { head: "Source", cell: (row) => row.source }, { head: "Partition", cell: (row) => row.partition, number: true },
      { head: "Lines, rows or offsets", cell: (row) => h("code", {}, row.positions ?? "–") }, { head: "Rows", cell: (row) => count(row.rows), number: true },
      { head: "File", cell: (row) => (row.path ? h("code", {}, row.path) : "a topic") },
    ], found, `Records behind ${what}`),
  ];
}
