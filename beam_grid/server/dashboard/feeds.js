// What the overview says of feeds, as the views ask for it.

import { number } from "./format.js";

const COMPARED = ["sum", "count", "count_if", "avg", "min", "max"];

/** Windows and measures whose hours can be compared: those that do not overlap, of a day at most. */
export function loads(feed) {
  return feed.windows.filter((w) => !w.overlaps && !w.calendar && w.size_s <= 86400).flatMap((window) =>
    window.measures.filter((m) => COMPARED.includes(m.function) && m.type !== "timestamp" && m.type !== "date" && m.type !== "string")
      .map((measure) => ({ window, measure, aggregate: aggregate(window, measure) })).filter((one) => one.aggregate));
}

/** Feeds that can be compared with other weeks, those with a sum of something first. */
export function loadFeeds(overview) {
  const has = (feed, name) => loads(feed).some(({ measure }) => measure.function === name);
  const found = overview.feeds.filter((feed) => loads(feed).length);
  return [...found.filter((feed) => has(feed, "sum")), ...found.filter((feed) => !has(feed, "sum"))];
}

/** Feeds whose rows are series of meters, sensors or the like. */
export function fleets(overview) {
  const found = overview.feeds.filter((feed) => feed.subject);
  const rank = (feed) => (feed.now ? 0 : scores(overview, feed) ? 1 : 2);
  return found.sort((a, b) => rank(a) - rank(b) || a.feed.localeCompare(b.feed));
}

/** The table that scores each reading of a feed against its past, if the lake has it. */
export function scores(overview, feed) {
  return feed.feed === "smart_meter_readings" && overview.tables.includes("gold.anomalies") ? "gold.anomalies" : null;
}

/** The view of [now], and the tables it is made of where they are to be seen: what news of it is about. */
export function nowTables(overview, feed) {
  return [feed.now, ...[`${feed.now}_hourly`, `${feed.now}_usual`].filter((table) => overview.tables.includes(table))];
}

/** Columns of a window that tell its rows apart by something with few values: a region before all else. */
export function groups(feed, window) {
  const shown = window.measures.filter((m) => m.function === "last" && m.type === "string").map((m) => m.name);
  const names = [...window.by.filter((name) => name !== feed.subject), ...shown];
  return [...names.filter((name) => name === "region"), ...names.filter((name) => name !== "region")];
}

/** Its unit as people write it. */
export function shownUnit(value) {
  return value?.unit?.replace(/^deg/, "°") ?? undefined;
}

/** Its name without the unit at its end: temperature_c in degC is temperature. */
export function valueWords(value) {
  if (!value) return "";
  const unit = (value.unit ?? "").toLowerCase();
  const ends = [unit, unit.replace(/^deg/, ""), unit.replaceAll("/", "_")].filter(Boolean).map((end) => `_${end}`);
  const end = ends.find((one) => value.name.toLowerCase().endsWith(one));
  return (end ? value.name.slice(0, -end.length) : value.name).replaceAll("_", " ");
}

export function measureLabel(measure) {
  const unit = shownUnit(measure);
  return unit && unit.toLowerCase() !== measure.name.toLowerCase() ? `${valueWords(measure)} (${unit})` : unit ?? valueWords(measure);
}

export function feedNamed(found, name) {
  return found.find((feed) => feed.feed === name) ?? found[0];
}

export function oneHref(feed, subject, at) {
  const path = `#/fleet/${encodeURIComponent(feed.feed)}/${encodeURIComponent(subject)}`;
  return at ? `${path}?at=${encodeURIComponent(at)}` : path;
}

export function difference(value, usual) {
  if (value === null || usual === null || Number(usual) === 0) return null;
  const share = (100 * (value - usual)) / Math.abs(usual);
  return `${share < 0 ? "−" : "+"}${number(Math.abs(share) < 0.05 ? 0 : Math.abs(share).toFixed(1))} %`;
}

/** How a measure of many windows is one: {function: of windows, weight: what means are weighed by, the values that each is of}. */
function aggregate(window, measure) {
  if (measure.function === "avg") {
    const weight = window.measures.find((m) => m.function === "count" && m.argument === measure.argument)
      ?? (measure.nullable ? null : window.measures.find((m) => m.function === "count" && m.argument === null));
    return weight ? { function: "avg", weight: weight.name } : null;
  }
  return { function: { min: "min", max: "max" }[measure.function] ?? "sum" };
}
