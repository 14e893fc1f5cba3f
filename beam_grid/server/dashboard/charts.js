// Lines over time by uPlot: one look, colours of the page's theme, a cursor by mouse and by arrow keys.

import uPlot from "./vendor/uplot.js";
import { h } from "./dom.js";
import { number, time, iso } from "./format.js";

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/**
 * times: seconds. series: [{label, values, colour: name of a CSS variable, dash, width, points, band: [upper, lower] indices}].
 * label: said to who cannot see it. picked: called with an index on Enter or click. marks: [{at: index, colour, shape}].
 */
export function chart({ times, series, bands = [], unit, label, height = 220, small = false, picked, marks = [], zero = true }) {
  const readout = h("p", { class: "readout", "aria-live": "off" });
  const box = h("div", { class: "plot", tabindex: small ? null : "0", role: "img", "aria-label": label });
  const figure = h("figure", { class: small ? "chart small-chart" : "chart" }, box, small ? null : readout);
  if (!small) figure.prepend(legend(series.filter((one) => one.label)));
  const axis = {
    stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1, size: 4 },
    font: "12px system-ui, sans-serif",
  };
  const options = {
    width: 320, height, pxAlign: 1, legend: { show: false },
    tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1000), "Etc/UTC"),
    cursor: { drag: { x: false, y: false }, points: { size: small ? 5 : 8 }, y: false },
    scales: { x: { time: true }, y: { range: (u, low, high) => extent(low, high, zero) } },
    padding: [10, small ? 18 : 24, 0, 0],
    axes: [
      { ...axis, space: small ? 70 : 55, size: small ? 24 : 40, values: steps(small) },
      { ...axis, size: small ? 40 : 52, space: small ? 30 : 35, values: (u, ticks) => ticks.map((tick) => number(tick)) },
    ],
    bands: bands.map(([upper, lower]) => ({ series: [upper, lower], fill: colour("band") })),
    series: [{}, ...series.map((one) => ({
      label: one.label ?? "", stroke: one.colour ? colour(one.colour) : "transparent", width: one.width ?? 2, dash: one.dash,
      points: { show: one.points ?? false, size: 6, fill: one.colour ? colour(one.colour) : undefined }, spanGaps: one.gaps ?? false,
    }))],
    hooks: {
      setCursor: [(u) => { if (!small) readout.textContent = said(u, times, series, unit); }],
      draw: [(u) => marks.forEach((mark) => drawMark(u, mark, times))],
    },
  };
  const plot = new uPlot(options, [times, ...series.map((one) => one.values)], box);
  const sized = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== plot.width) plot.setSize({ width, height });
  });
  sized.observe(box);
  if (!small) keys(box, plot, times, picked, readout);
  if (picked) plot.over.addEventListener("click", () => plot.cursor.idx !== null && picked(plot.cursor.idx));
  if (picked) plot.over.classList.add("picks");
  readout.textContent = picked ? "Point, or arrow keys, for values; click or Enter for the records behind." : "Point, or arrow keys, for values.";
  return figure;
}

/** Under the mouse: the time and what is not empty there. */
function said(u, times, series, unit) {
  const at = u.cursor.idx;
  if (at === null || at === undefined) return "Point, or arrow keys, for values.";
  const parts = series.filter((one) => one.label && one.values[at] !== null && one.values[at] !== undefined)
    .map((one) => `${one.label} ${number(one.values[at], one.unit ?? unit)}`);
  return `${time(iso(times[at]))}: ${parts.join(", ") || "nothing"}`;
}

function legend(series) {
  return h("ul", { class: "legend" }, series.map((one) => {
    const key = h("span", { class: `line ${one.dash ? "dashed" : ""}`, "aria-hidden": "true" });
    key.style.borderColor = `var(--${one.colour ?? "band"})`;
    return h("li", {}, key, one.label);
  }));
}

function keys(box, plot, times, picked, readout) {
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12, Home: -1e9, End: 1e9 }[event.key];
    if (event.key === "Enter" && picked && plot.cursor.idx !== null) picked(plot.cursor.idx);
    if (!step) return;
    event.preventDefault();
    const at = Math.max(0, Math.min(times.length - 1, (plot.cursor.idx ?? (step > 0 ? -1 : times.length)) + step));
    readout.setAttribute("aria-live", "polite");
    plot.setCursor({ left: plot.valToPos(times[at], "x"), top: plot.bbox.height / 4 });
  });
}

function extent(low, high, zero) {
  if (low === null || high === null || low === undefined) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [zero && low >= 0 && low < high * 0.6 ? 0 : low - room, high + room];
}

function steps(small) {
  return (u, ticks, axis, space, step) => ticks.map((tick) => {
    const text = iso(tick);
    if (step >= 86400) return text.slice(5, 10);
    return text.slice(11, 16) === "00:00" && !small ? `00:00\n${text.slice(5, 10)}` : text.slice(11, 16);
  });
}

/** A ring, triangle or diamond around a point: a state is never told by colour alone. */
function drawMark(u, { at, value, colour: name, shape }, times) {
  const x = u.valToPos(times[at], "x", true);
  const y = u.valToPos(value, "y", true);
  const r = 7 * devicePixelRatio;
  u.ctx.save();
  u.ctx.strokeStyle = colour(name);
  u.ctx.lineWidth = 2 * devicePixelRatio;
  u.ctx.beginPath();
  if (shape === "ring") {
    u.ctx.arc(x, y, r * 0.7, 0, 7);
  } else if (shape === "triangle") {
    u.ctx.moveTo(x, y - r * 1.2);
    u.ctx.lineTo(x + r * 1.1, y + r * 0.8);
    u.ctx.lineTo(x - r * 1.1, y + r * 0.8);
  } else {
    u.ctx.moveTo(x, y - r);
    u.ctx.lineTo(x + r, y);
    u.ctx.lineTo(x, y + r);
    u.ctx.lineTo(x - r, y);
  }
  u.ctx.closePath();
  u.ctx.stroke();
  u.ctx.restore();
}
