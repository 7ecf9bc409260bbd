"use strict";
// Controls, the label at the pointer, copying, sorting and filtering of tables, and the first drawing.

function chips() {
  D.methods.forEach((name, m) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.method = name;
    chip.title = "Show or hide; double click: this method alone";
    chip.innerHTML = '<svg width="26" height="12" aria-hidden="true"><line x1="0" x2="26" y1="6" y2="6" stroke-width="1.6"/>' +
      '<text x="13" y="10" text-anchor="middle" font-size="12"></text></svg><span></span>';
    chip.querySelector("text").textContent = GLYPHS[m % GLYPHS.length];
    chip.querySelector("span").textContent = name;
    chip.addEventListener("click", () => { state.on[m] = !state.on[m]; update(); });
    chip.addEventListener("dblclick", () => { state.on = state.on.map((_, i) => i === m); update(); });
    $("chips").append(chip);
  });
}

function choice(id, options, key, then) {
  for (const [value, text] of options) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: id, value, checked: state[key] === value });
    input.addEventListener("change", () => { state[key] = value; then(); });
    label.append(input, text);
    $(id).append(label);
  }
}

function controls() {
  chips();
  choice("axis", Object.entries(D.axes).map(([key, [name]]) => [key, name]), "axis", drawFronts);
  choice("cost", [["gmacs", "GMACs"], ["minutes", "minutes"]], "cost", drawCost);
  for (const key of ["log", "dominated", "mean"]) {
    $(key).checked = state[key];
    $(key).addEventListener("change", () => { state[key] = $(key).checked; drawFronts(); });
  }
  for (const seed of [...new Set(D.runs.map((run) => run.seed))].sort((a, b) => a - b)) $("seed").append(new Option(seed, seed));
  $("seed").addEventListener("change", () => { state.seed = $("seed").value; update(); });
  $("text").addEventListener("input", () => {
    state.text = $("text").value;
    clearTimeout(update.timer);
    update.timer = setTimeout(update, 150); // once the typing rests: many runs take a while to draw
  });
  $("all").addEventListener("click", () => { state.on.fill(true); update(); });
  $("none").addEventListener("click", () => { state.on.fill(false); update(); });
  $("keys").addEventListener("input", filterKeys);
  $("theme").addEventListener("click", () => setTheme(dark() ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("theme", theme); } catch { /* no storage: the page forgets */ }
  redraw();
}

function histograms() {
  for (const histogram of D.histograms) {
    const card = document.createElement("div");
    card.innerHTML = '<div class="row"><h3></h3></div><div class="plot"></div>';
    card.querySelector("h3").textContent = histogram.name;
    const many = histogram.counts[0].length;
    const select = document.createElement("select");
    select.setAttribute("aria-label", `Position of ${histogram.name}`);
    select.append(new Option("all positions", ""));
    for (let i = 0; i < many; i += 1) select.append(new Option(`position ${i}`, i));
    if (many > 1) card.firstChild.append(select);
    histogram.draw = () => drawHistogram(histogram, card.lastChild, select.value);
    select.addEventListener("change", histogram.draw);
    $("histograms").append(card);
  }
  if (!D.histograms.length) $("histograms").textContent = "The fronts' members do not differ in any choice.";
}

// The label at the pointer is ours: made when it is needed, not for 100,000 subnets in advance.
function subnetAt(event) {
  const found = event.points[0]?.customdata;
  if (found == null || event.points[0].data.hoverinfo !== "none") return null;
  const run = D.runs[Math.floor(found / PLACES)], i = found % PLACES;
  return { run, i, place: run.s[i] };
}

function showTip(event) {
  const found = subnetAt(event);
  if (!found) return;
  const { run, i, place } = found;
  const rows = [[D.quality.label.replace(/ \(.*/, ""), quality(run.q[i])]];
  for (const [axis, [name, , unit, scale]] of Object.entries(D.axes)) {
    const cost = costOf(run, i, axis);
    if (cost !== null) rows.push([name, `${number(cost, scale === 1 ? 2 : 3)} ${unit}`]);
  }
  for (const [name, values] of Object.entries(choices(place))) rows.push([name, short(name, values)]);
  rows.push(["run", `${run.run} (seed ${run.seed})`]);
  const tip = $("tip"), kind = run.kinds[i] ? `, ${run.kinds[i]}` : "";
  const list = document.createElement("dl");
  for (const [term, text] of rows) {
    for (const [tag, value] of [["dt", term], ["dd", text]]) list.append(Object.assign(document.createElement(tag), { textContent: value }));
  }
  tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: `${D.methods[run.m]} · ${D.subnets.id[place]}${kind}` }), list);
  tip.hidden = false;
  const { clientX: x, clientY: y } = event.event;
  tip.style.left = `${Math.max(6, Math.min(x + 16, innerWidth - tip.offsetWidth - 6))}px`;
  tip.style.top = `${y + 16 + tip.offsetHeight > innerHeight ? Math.max(6, y - 16 - tip.offsetHeight) : y + 16}px`;
}

async function copy(text) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch { // no permission: the old way
    const area = Object.assign(document.createElement("textarea"), { value: text });
    area.style.cssText = "position:fixed;opacity:0";
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  const code = Object.assign(document.createElement("code"), { textContent: text });
  $("toast").replaceChildren(done ? "Copied" : "Copy this", code);
  $("toast").hidden = false;
  clearTimeout(copy.timer);
  copy.timer = setTimeout(() => { $("toast").hidden = true; }, 6000);
}

const table = (name) => $(`table-${name}`);

function sortable() {
  for (const head of document.querySelectorAll("th button")) {
    head.addEventListener("click", () => {
      const cell = head.parentElement, column = cell.cellIndex, body = cell.closest("table").tBodies[0];
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of cell.parentElement.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)], numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
        return numbers ? x - y : x.localeCompare(y, "en", { numeric: true });
      };
      body.append(...[...body.rows].sort((a, b) => (down ? -1 : 1) * compare(a, b)));
    });
  }
  const folders = [...table("runs").tBodies[0].rows];
  folders.forEach((row, n) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: D.runs[n].run });
    button.addEventListener("click", () => copy(`wsn export ${D.runs[n].argument} subnet=front`));
    row.lastElementChild.replaceChildren(button);
  });
}

function filterKeys() {
  const words = $("keys").value.toLowerCase().split(/\s+/);
  for (const row of table("config").tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
}

// Long values of the config are cut; the whole one is shown where the pointer is.
function titles() {
  for (const cell of document.querySelectorAll("#table-config td")) cell.title = cell.textContent;
}

function redraw() {
  $("theme").textContent = dark() ? "Light" : "Dark";
  document.querySelectorAll(".chip").forEach((chip, m) => {
    chip.querySelector("line").setAttribute("stroke", colour(m));
    chip.querySelector("line").setAttribute("stroke-dasharray", { solid: "none", dash: "5 3", dot: "2 2" }[dash(m)] ?? "7 2 2 2");
    chip.querySelector("text").setAttribute("fill", colour(m));
    chip.setAttribute("aria-pressed", state.on[m]);
  });
  drawFronts();
  drawCost();
  drawAlone();
  D.histograms.forEach((histogram) => histogram.draw());
}

function update() {
  for (const row of document.querySelectorAll("tr[data-method]")) {
    const m = D.methods.indexOf(row.dataset.method);
    row.hidden = m >= 0 && !state.on[m];
  }
  $("count").textContent = `${shownRuns().length} of ${D.runs.length} runs`;
  redraw();
}

D.runs.forEach((run, n) => { run.n = n; });
try { if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme"); } catch { /* none */ }
controls();
sortable();
titles();
histograms();
update();
const fronts = $("plot-fronts");
fronts.on("plotly_hover", showTip);
fronts.on("plotly_unhover", () => { $("tip").hidden = true; });
fronts.on("plotly_click", (event) => {
  const found = subnetAt(event);
  if (found) copy(command(found.run, D.subnets.id[found.place]));
});
