"use strict";
// The plots: each function draws one from data and state.

const CONFIG = {
  responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  toImageButtonOptions: { format: "svg" },
};
const MANY = 4000; // dominated subnets beyond which they need WebGL, or are thinned
const PLACES = 1e6; // customdata is run * PLACES + place in the run

function webgl() {
  if (webgl.known === undefined) {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("webgl2") || canvas.getContext("webgl");
    webgl.known = Boolean(context);
    context?.getExtension("WEBGL_lose_context")?.loseContext();
  }
  return webgl.known;
}

const least = (values) => values.reduce((a, b) => (b !== null && b < a ? b : a), Infinity);
const most = (values) => values.reduce((a, b) => (b !== null && b > a ? b : a), -Infinity);
const faint = (alpha) => getComputedStyle(document.body).color.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);

function layout(x, y, more = {}) {
  const style = getComputedStyle(document.body);
  const axis = {
    gridcolor: style.borderColor, zerolinecolor: style.borderColor, linecolor: style.borderColor, ticks: "outside",
    tickcolor: style.borderColor, exponentformat: "none", automargin: true, ticklen: 4,
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: faint(0.45), activecolor: style.color }, hovermode: "closest", hoverdistance: 12,
    font: { family: style.fontFamily, size: 12, color: style.color }, margin: { l: 54, r: 12, t: 24, b: 44 },
    xaxis: { ...axis, title: { text: x, standoff: 8 } }, yaxis: { ...axis, title: { text: y, standoff: 8 } }, ...more,
  };
}

const line = (m, width) => ({ color: colour(m), width, dash: dash(m) });
const marker = (m, size, more = {}) => ({ color: colour(m), symbol: symbol(m), size, ...more });

// Ticks of a logarithmic axis with their whole values; plotly.js writes 2 for 20.
function logTicks(values) {
  const low = Math.min(...values), high = Math.max(...values), ticks = [];
  if (!values.length) return {};
  const digits = high < 20 * low ? [1, 1.5, 2, 3, 4, 5, 7] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.log10(high) + 1; power += 1) {
    ticks.push(...digits.map((digit) => Number((digit * 10 ** power).toPrecision(2))));
  }
  return { tickvals: ticks, ticktext: ticks.map((tick) => tick.toLocaleString("en")) };
}

// One trace for all fronts of a method, with a gap between two runs.
function frontTrace(m, runs) {
  const trace = {
    x: [], y: [], customdata: [], mode: "lines+markers", type: "scatter", hoverinfo: "none", connectgaps: false,
    name: D.methods[m], opacity: state.mean ? 0.28 : 1, line: { ...line(m, state.mean ? 0.8 : 1.4), shape: "hv" }, marker: marker(m, 6),
  };
  for (const run of runs) {
    for (const i of run.fronts[state.axis]) {
      trace.x.push(costOf(run, i, state.axis));
      trace.y.push(run.q[i]);
      trace.customdata.push(run.n * PLACES + i);
    }
    trace.x.push(null);
    trace.y.push(null);
    trace.customdata.push(null);
  }
  return trace;
}

function dominatedTrace(m, runs, type, every) {
  const trace = {
    x: [], y: [], customdata: [], mode: "markers", type, hoverinfo: "none", name: D.methods[m],
    marker: marker(m, type === "scattergl" ? 4 : 5, { opacity: type === "scattergl" ? 0.25 : 0.3 }),
  };
  for (const run of runs) {
    const members = new Set(run.fronts[state.axis]);
    for (let i = 0; i < run.q.length; i += 1) {
      const x = members.has(i) || i % every ? null : costOf(run, i, state.axis);
      if (x === null) continue;
      trace.x.push(x);
      trace.y.push(run.q[i]);
      trace.customdata.push(run.n * PLACES + i);
    }
  }
  return trace;
}

function meanTraces(m) {
  const found = D.means[state.axis][m];
  if (!found) return [];
  const [costs, means, spread] = found;
  const x = costs.map((c) => c / D.axes[state.axis][3]);
  const edge = { x, type: "scatter", mode: "lines", hoverinfo: "skip", line: { width: 0, shape: "hv" } };
  return [
    { ...edge, y: means.map((v, i) => v - spread[i]) },
    { ...edge, y: means.map((v, i) => v + spread[i]), fill: "tonexty", fillcolor: faded(colour(m), 0.11) },
    { ...edge, y: means, mode: "lines+markers", line: { ...line(m, 2.4), shape: "hv" }, marker: marker(m, 7), name: D.methods[m] },
  ];
}

function aloneTrace() {
  const unit = D.axes[state.axis][3];
  return {
    x: D.alone.s.map((s) => D.subnets[state.axis][s] / unit), y: D.alone.q, type: "scatter", mode: "markers",
    error_y: { array: D.alone.sd, color: shade(LIGHT_INK), thickness: 1.2, width: 4 }, name: "trained alone",
    marker: { symbol: "diamond-open", size: 10, color: shade(LIGHT_INK), line: { width: 1.8 } },
    hovertemplate: D.alone.s.map((s, i) =>
      `trained alone · ${D.subnets.id[s]}<br>${quality(D.alone.q[i])} ± ${number(D.alone.sd[i], D.quality.digits)}, n = ${D.alone.n[i]}<extra></extra>`),
  };
}

function drawFronts() {
  const runs = shownRuns();
  const total = runs.reduce((sum, run) => sum + run.q.length, 0);
  const type = total > MANY && webgl() ? "scattergl" : "scatter";
  const every = type === "scatter" ? Math.ceil(total / (4 * MANY)) : 1;
  $("thinned").textContent = every > 1 && state.dominated ? `Without WebGL one in ${every} dominated subnets is drawn.` : "";
  const traces = [];
  D.methods.forEach((_, m) => {
    const own = runs.filter((run) => run.m === m);
    if (own.length && state.dominated) traces.push(dominatedTrace(m, own, type, every));
  });
  D.methods.forEach((_, m) => {
    const own = runs.filter((run) => run.m === m);
    if (own.length) traces.push(frontTrace(m, own), ...(state.mean ? meanTraces(m) : []));
  });
  if (D.alone.s.length && state.axis !== "latency_ms") traces.push(aloneTrace());
  const found = layout(D.axes[state.axis][1], D.quality.label, { uirevision: state.axis + state.log });
  if (state.log) Object.assign(found.xaxis, { type: "log", ...logTicks(traces.flatMap((t) => [least(t.x), most(t.x)]).filter(isFinite)) });
  return Plotly.react("plot-fronts", traces, found, CONFIG);
}

function drawCost() {
  const traces = [], unit = state.cost === "gmacs" ? "GMACs spent in training" : "minutes of training";
  D.methods.forEach((name, m) => {
    const own = shownRuns().filter((run) => run.m === m && run[state.cost] != null);
    if (!own.length) return;
    const x = own.map((run) => run[state.cost]), y = own.map((run) => run.hv);
    const text = own.map((run) => `${name}, seed ${run.seed}`);
    const shown = "%{text}<br>%{x:,.5~g} · hypervolume %{y:.2f}<extra></extra>";
    traces.push({ x, y, text, type: "scatter", mode: "markers", marker: marker(m, 6, { opacity: 0.45 }), hovertemplate: shown });
    const bar = (values) => ({ array: [deviation(values)], color: colour(m), thickness: 1, width: 3 });
    traces.push({
      x: [average(x)], y: [average(y)], text: [`${name}, mean of ${own.length}`], type: "scatter", mode: "markers",
      marker: marker(m, 12), error_x: bar(x), error_y: bar(y), hovertemplate: shown,
    });
  });
  return Plotly.react("plot-cost", traces, layout(unit, "hypervolume (%)"), CONFIG);
}

function drawAlone() {
  if (!D.alone.s.length) return undefined;
  const traces = [];
  D.methods.forEach((name, m) => {
    const [places, values] = D.scatter[m];
    if (!state.on[m] || !places.length) return;
    traces.push({
      x: places.map((i) => D.alone.q[i]), y: values, type: "scatter", mode: "markers", marker: marker(m, 9),
      text: places.map((i) => `${name} · ${D.subnets.id[D.alone.s[i]]}`),
      hovertemplate: "%{text}<br>alone %{x:.4~g}, supernet %{y:.4~g}<extra></extra>",
    });
  });
  const ends = [Math.min(...D.alone.q), Math.max(...D.alone.q)];
  const grey = { color: faint(0.6), width: 1, dash: "dot" };
  traces.unshift({ x: ends, y: ends, type: "scatter", mode: "lines", line: grey, hoverinfo: "skip" });
  return Plotly.react("plot-alone", traces, layout(`trained alone: ${D.quality.label}`, "in the supernet"), CONFIG);
}

function drawHistogram(histogram, plot, position) {
  const labels = histogram.values.map((v) => (histogram.name === "layers" ? ["skipped", "kept"][v] : String(v)));
  const traces = [];
  D.methods.forEach((name, m) => {
    if (!state.on[m]) return;
    const rows = position === "" ? histogram.counts[m] : [histogram.counts[m][Number(position)]];
    const counts = labels.map((_, v) => rows.reduce((sum, row) => sum + row[v], 0));
    const total = counts.reduce((a, b) => a + b, 0);
    if (!total) return;
    const pattern = { shape: ["", "/", ".", "x"][Math.floor(m / D.palette.length) % 4], solidity: 0.4 };
    traces.push({
      x: labels, y: counts.map((c) => (100 * c) / total), customdata: counts, type: "bar", name,
      marker: { color: colour(m), pattern }, hovertemplate: `${name}: %{y:.0f} % (%{customdata})<extra></extra>`,
    });
  });
  const found = layout("", "share (%)", { bargap: 0.25, barmode: "group" });
  found.xaxis.type = "category";
  found.shapes = (histogram.uniform ?? []).map((u, i) => ({
    type: "line", x0: i - 0.42, x1: i + 0.42, y0: 100 * u, y1: 100 * u, line: { width: 2, color: shade(LIGHT_INK) },
  }));
  found.margin = { l: 48, r: 8, t: 8, b: 30 };
  return Plotly.react(plot, traces, found, { ...CONFIG, displayModeBar: false });
}
