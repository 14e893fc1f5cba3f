// The server's API: JSON of GET, SQL with bound values, and problems as errors that say what to do.

const KEY = "beam-grid-key";

/** What the server answered instead: status and detail of its application/problem+json. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function key() {
  return sessionStorage.getItem(KEY);
}

/** Kept until the tab is closed. */
export function setKey(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

export function headers(more = {}) {
  return key() ? { ...more, Authorization: `Bearer ${key()}` } : more;
}

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== ""));
  return ask(query.size ? `${path}?${query}` : path, { headers: headers({ Accept: "application/json" }) });
}

/** Rows of one SELECT. values are bound to $1, $2, ...; whole numbers beyond 2^53 are given as BigInt and come as text by a cast. */
export async function sql(text, values = [], limit = 10000) {
  const answer = await ask("/api/v1/sql", {
    method: "POST",
    headers: headers({ Accept: "application/json", "Content-Type": "application/json" }),
    body: `{"sql":${JSON.stringify(text)},"parameters":[${values.map(json).join()}],"limit":${limit}}`,
  });
  return answer.rows;
}

function json(value) {
  return typeof value === "bigint" ? String(value) : JSON.stringify(value);
}

/** An identifier in SQL. */
export function name(text) {
  return `"${text.replaceAll('"', '""')}"`;
}

/** A table, SCHEMA.NAME, in SQL. */
export function tableName(text) {
  const dot = text.indexOf(".");
  return `${name(text.slice(0, dot))}.${name(text.slice(dot + 1))}`;
}

/** A value in SQL, where it cannot be bound: a condition of /lineage. */
export function literal(value) {
  return ["number", "bigint"].includes(typeof value) ? String(value) : `'${String(value).replaceAll("'", "''")}'`;
}

async function ask(path, options, tries = 3) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: "no-store" });
  } catch {
    throw new Problem(0, "the server does not answer; it is asked again when it is back");
  }
  if ((answer.status === 429 || answer.status === 503) && tries > 1) {
    await new Promise((done) => setTimeout(done, 1000 * Math.min(5, Number(answer.headers.get("Retry-After")) || 1)));
    return ask(path, options, tries - 1);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 401) window.dispatchEvent(new Event("key-needed"));
    throw new Problem(answer.status, told.detail ?? `the server answered ${answer.status}`);
  }
  return answer.json();
}
