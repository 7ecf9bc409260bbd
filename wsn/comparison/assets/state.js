"use strict";
// What the page shows: data, filters, looks of the methods, and texts about subnets.

const $ = (id) => document.getElementById(id);
const D = JSON.parse($("data").textContent);
const LIGHT_INK = "#000000";
const SYMBOLS = ["circle", "square", "star", "diamond", "triangle-down", "triangle-up", "triangle-left", "triangle-right",
  "pentagon", "cross", "hexagon", "x"];
const GLYPHS = "●■★◆▼▲◀▶⬟✚⬢✖";
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

// Many runs are first shown as means, and costs over a wide range on a logarithmic axis.
const state = {
  axis: "macs", log: Math.max(...D.subnets.macs) > 4 * Math.min(...D.subnets.macs), dominated: true,
  mean: D.runs.length > 12, cost: D.runs.some((run) => run.gmacs != null) ? "gmacs" : "minutes",
  on: D.methods.map(() => true), seed: "", text: "",
};

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// Black is the one colour of the palette that a dark page swallows.
const shade = (color) => (color === LIGHT_INK && dark() ? "#f0f0f0" : color);
const colour = (m) => shade(D.palette[m % D.palette.length]);
const symbol = (m) => SYMBOLS[m % SYMBOLS.length];
const dash = (m) => DASHES[Math.floor(m / D.palette.length) % DASHES.length];
const faded = (hex, alpha) => {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
};

// Length of what all folders begin with, which would match a filter everywhere.
const COMMON = D.runs.reduce((length, run) => {
  while (!run.run.startsWith(D.runs[0].run.slice(0, length))) length -= 1;
  return length;
}, D.runs.length > 1 ? D.runs[0].run.lastIndexOf("/") + 1 : 0);

function visible(run) {
  if (!state.on[run.m] || (state.seed !== "" && String(run.seed) !== state.seed)) return false;
  const about = `${D.methods[run.m]} ${run.run.slice(COMMON)}`.toLowerCase();
  return state.text.toLowerCase().split(/\s+/).every((word) => about.includes(word));
}
const shownRuns = () => D.runs.filter(visible);

// The cost of a run's subnet in the axis' unit; null where it was not measured.
function costOf(run, i, axis) {
  if (axis === "latency_ms") return run.latency ? run.latency[i] : null;
  return D.subnets[axis][run.s[i]] / D.axes[axis][3];
}

const number = (x, digits) => (x == null ? "–" : x.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;
function deviation(values) {
  const mean = average(values);
  return values.length > 1 ? Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1)) : 0;
}
const quality = (q) => number(q, D.quality.digits) + D.quality.unit;

// Choices of a subnet: dimension → values in network order, null for a skipped block.
function choices(place) {
  const found = {}, code = D.subnets.code[place];
  let at = 0;
  for (const [name, length] of D.subnets.shapes[D.subnets.shape[place]]) {
    const letters = [...code.slice(at, at + (length ?? 1))];
    found[name] = letters.map((c) => (c === "-" ? null : D.subnets.values[name][c.charCodeAt(0) - 48]));
    at += letters.length;
  }
  return found;
}

// Repeats are counted, skipped blocks are a dot: 7 7 7 - - 5 → 7×3 · 5. Kept and skipped layers are circles.
function short(name, values) {
  if (name === "layers") return values.map((v) => (v ? "●" : "○")).join("");
  const parts = [];
  for (const value of values) {
    const last = parts[parts.length - 1];
    if (last && last[0] === value) last[1] += 1;
    else parts.push([value, 1]);
  }
  return parts.map(([value, n]) => value === null ? "·" : value + (n > 1 ? `×${n}` : "")).join(" ");
}

// An id of digits alone, or like 12e3456789, would be a number to Hydra.
const argument = (id) => (/^\d+(e\d+)?$/i.test(id) ? `"subnet='${id}'"` : `subnet=${id}`);
const command = (run, id) => `wsn export ${run.argument} ${argument(id)}`;
