// News as they are published. By fetch instead of EventSource, which cannot send an API key.

import { headers } from "./api.js";

const SILENT_MS = 25000; // the server says something every 10 s

/** Listen for ever. told({kind, data}) for each event, state("live" | "lost") when the connection comes and goes. */
export async function listen(told, state) {
  let last = "";
  let pause = 1000;
  for (;;) {
    const stop = new AbortController();
    let watch = null;
    try {
      const answer = await fetch("/api/v1/events", {
        headers: headers({ Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) }),
        signal: stop.signal,
        cache: "no-store",
      });
      if (!answer.ok) throw new Error(String(answer.status));
      state("live");
      pause = 1000;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        clearTimeout(watch);
        watch = setTimeout(() => stop.abort(), SILENT_MS);
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const event = parsed(text.slice(0, end));
          text = text.slice(end + 2);
          if (event.id) last = event.id;
          if (event.data) told({ kind: event.event ?? "message", data: JSON.parse(event.data) });
        }
      }
    } catch {
      // told by the state; tried again below
    }
    clearTimeout(watch);
    state("lost");
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(2 * pause, 30000);
  }
}

function parsed(block) {
  const found = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) found[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return found;
}
