"use strict";
// Figures are redrawn, never restyled: what is shown follows from the choices below and from the style sheet.
const figures = JSON.parse(document.getElementById("figures").textContent);
const root = document.documentElement;
const hidden = new Set();
const config = {
  displaylogo: false,
  responsive: true,
  modeBarButtons: [["toImage", "resetScale2d"]], // of plotly's own choice, one sends the data to plotly.com
  toImageButtonOptions: { format: "svg" },
};

function themed(value, style) {
  if (typeof value === "string") {
    return value.startsWith("var(--") ? style.getPropertyValue(value.slice(4, -1)).trim() : value;
  }
  if (Array.isArray(value)) return value.map((item) => themed(item, style));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, style)]));
}

function chosen(plot) {
  const variants = figures[plot.dataset.figure];
  const select = document.querySelector(`select[data-switches="${plot.dataset.group}"]`);
  return variants[select ? select.value : ""];
}

function draw(plot, size = {}) {
  const { data, layout } = themed(chosen(plot), getComputedStyle(root));
  for (const trace of data) trace.visible = !hidden.has(trace.legendgroup);
  const touch = matchMedia("(pointer: coarse)").matches ? { dragmode: false } : {}; // a finger scrolls the page
  return Plotly.react(plot, data, { ...layout, ...touch, ...size }, config);
}

function drawAll(size) {
  document.querySelectorAll(".plot").forEach((plot) => draw(plot, size));
}

function toggle(button) {
  const arm = button.dataset.arm;
  if (!hidden.delete(arm)) hidden.add(arm);
  for (const other of document.querySelectorAll(".legend button")) {
    other.setAttribute("aria-pressed", String(!hidden.has(other.dataset.arm)));
  }
  drawAll();
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

function sort(header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  const body = header.closest("table").tBodies[0];
  const column = Number(header.dataset.column);
  const key = (row) => row.cells[column].dataset.sort;
  const rows = [...body.rows].sort((a, b) => {
    if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === ""); // what is missing comes last
    return descending ? compare(key(b), key(a)) : compare(key(a), key(b));
  });
  header.closest("table").querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...rows);
}

function onPaper(printing) {
  root.classList.toggle("paper", printing);
  for (const plot of document.querySelectorAll(".plot")) {
    const width = plot.closest(".panels") ? 220 : plot.closest(".pair") ? 460 : 940; // of a landscape page
    const height = plot.closest(".panels") ? 220 : Math.min(plot.offsetHeight, 360);
    draw(plot, printing ? { width, height } : {});
  }
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => toggle(button));
}
for (const select of document.querySelectorAll("select[data-switches]")) {
  const plots = document.querySelectorAll(`.plot[data-group="${select.dataset.switches}"]`);
  const texts = document.querySelectorAll(`[data-variant-of="${select.dataset.switches}"]`);
  select.addEventListener("change", () => {
    plots.forEach((plot) => draw(plot));
    texts.forEach((text) => { text.hidden = text.dataset.variant !== select.value; });
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
addEventListener("beforeprint", () => onPaper(true));
addEventListener("afterprint", () => onPaper(false));
drawAll();
