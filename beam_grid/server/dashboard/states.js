// States of meters and sensors: each has a word, a shape and a colour that the colour-blind can tell apart.

import { h } from "./dom.js";

export const STATES = {
  CRITICAL_ANOMALY: { word: "Critical", colour: "critical", shape: "triangle", sign: "▲" },
  CRITICAL: { word: "Critical", colour: "critical", shape: "triangle", sign: "▲" },
  WARNING: { word: "Warning", colour: "warning", shape: "diamond", sign: "◆" },
  SILENT: { word: "Silent", colour: "silent", shape: "cross", sign: "✕" },
  NO_HISTORY: { word: "No history", colour: "unknown", shape: "ring", sign: "○" },
  NORMAL: { word: "Normal", colour: "normal", shape: "dot", sign: "●" },
  REPORTING: { word: "Reporting", colour: "normal", shape: "dot", sign: "●" },
};

/** Worst first. */
export const ORDER = ["CRITICAL_ANOMALY", "CRITICAL", "WARNING", "SILENT", "NO_HISTORY", "NORMAL", "REPORTING"];

export function state(name) {
  return STATES[name] ?? { word: name ?? "Not scored", colour: "unknown", shape: "ring", sign: "○" };
}

export function badge(name) {
  const { word, colour, sign } = state(name);
  return h("span", { class: `state ${colour}` }, h("span", { "aria-hidden": "true" }, sign), ` ${word}`);
}

/** Draws a state's shape in a square of a canvas. */
export function draw(context, name, x, y, size, colours) {
  const { colour, shape } = state(name);
  const middle = size / 2;
  context.fillStyle = context.strokeStyle = colours[colour];
  context.lineWidth = Math.max(1.5, size / 7);
  context.beginPath();
  if (shape === "triangle") {
    context.moveTo(x + middle, y + 1);
    context.lineTo(x + size - 1, y + size - 1);
    context.lineTo(x + 1, y + size - 1);
    context.closePath();
    context.fill();
  } else if (shape === "diamond") {
    context.moveTo(x + middle, y);
    context.lineTo(x + size, y + middle);
    context.lineTo(x + middle, y + size);
    context.lineTo(x, y + middle);
    context.closePath();
    context.fill();
  } else if (shape === "cross") {
    context.moveTo(x + 2, y + 2);
    context.lineTo(x + size - 2, y + size - 2);
    context.moveTo(x + size - 2, y + 2);
    context.lineTo(x + 2, y + size - 2);
    context.stroke();
  } else if (shape === "ring") {
    context.arc(x + middle, y + middle, middle - 2, 0, 7);
    context.stroke();
  } else {
    context.arc(x + middle, y + middle, middle - 2, 0, 7);
    context.fill();
  }
}
