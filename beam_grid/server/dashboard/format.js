// Numbers and times as text. Times are UTC, as in the tables.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(value) {
  return value === null || value === undefined ? null : whole.format(value);
}

/** Four significant digits, or all of those before the point. Decimals come as text. */
export function number(value, unit) {
  if (value === null || value === undefined || value === "") return null;
  const n = Number(value);
  if (!Number.isFinite(n)) return String(value);
  const digits = n === 0 ? 0 : Math.max(0, Math.min(6, 3 - Math.floor(Math.log10(Math.abs(n)))));
  const text = n.toLocaleString("en", { maximumFractionDigits: digits });
  return unit ? `${text} ${unit}` : text;
}

export function signed(value, digits = 1) {
  if (value === null || value === undefined) return null;
  const n = Number(value);
  return `${n < 0 ? "−" : "+"}${Math.abs(n).toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits })}`;
}

export function percent(share, digits = 1) {
  return share === null || share === undefined ? null : `${(100 * share).toLocaleString("en", { maximumFractionDigits: digits })} %`;
}

export function time(iso) {
  return iso ? iso.slice(0, 16).replace("T", " ") : null;
}

export function clock(iso) {
  return iso ? iso.slice(11, 16) : null;
}

export function seconds(iso) {
  return Date.parse(iso.length === 10 ? `${iso}T00:00:00Z` : iso) / 1000;
}

export function iso(epochSeconds) {
  return new Date(epochSeconds * 1000).toISOString().replace(".000Z", "Z");
}

/** A span as one number and unit. */
export function span(s) {
  if (s === null || s === undefined) return null;
  const n = Math.abs(s);
  if (n < 1) return `${(1000 * s).toFixed(0)} ms`;
  for (const [unit, size, until] of [["s", 1, 120], ["min", 60, 7200], ["h", 3600, 172800]]) {
    if (n < until) return `${(s / size).toFixed(n / size < 10 ? 1 : 0)} ${unit}`;
  }
  return `${whole.format(s / 86400)} d`;
}

export function milliseconds(ms) {
  return ms === null || ms === undefined ? null : ms < 1000 ? `${ms < 10 ? Number(ms).toFixed(ms < 1 ? 2 : 1) : whole.format(ms)} ms` : `${number(ms / 1000)} s`;
}

const LONGEST = 80;

/** What a meter or sensor is called; one whose name is blank has to be seen, too, and a very long one leaves room. */
export function called(id) {
  const text = String(id);
  return text.trim() === "" ? "(empty)" : text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** What a name means in words: energy_hourly to energy hourly. */
export function words(name) {
  return name.replaceAll("_", " ");
}
