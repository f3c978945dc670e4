// The page is complete without this script; it adds what answers: theme, read-outs, heads, sorting.
"use strict";

const THEME = "patchword-theme";
const remembered = (theme) => {
  try {
    if (theme) localStorage.setItem(THEME, theme);
    return localStorage.getItem(THEME);
  } catch {
    return theme; // a page opened from a file may have no storage
  }
};
const applyTheme = (theme) => { if (theme) document.documentElement.dataset.theme = theme; };
applyTheme(remembered());

function themeButton(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => document.documentElement.dataset.theme;
  const current = () => chosen() || (system.matches ? "dark" : "light");
  const other = () => (current() === "dark" ? "light" : "dark");
  const label = () => { button.textContent = other() === "dark" ? "Dark" : "Light"; };
  button.addEventListener("click", () => { applyTheme(other()); remembered(current()); label(); });
  system.addEventListener("change", label);
  button.hidden = false;
  label();
}

function chart(figure) {
  const { x: [left, right], y: [bottom, top], lines } = JSON.parse(figure.dataset.readings);
  const plot = figure.querySelector(".plot");
  const at = figure.querySelector(".at");
  const values = [...figure.querySelectorAll(".key b")];
  const rest = [...values, at].map((element) => element.textContent);
  const known = (line, i) => line.x[i] !== null && line.y[i] !== null;
  const places = lines.flatMap((line) => line.x.filter((_, i) => known(line, i)));
  const stops = [...new Set(places)].sort((a, b) => a - b);
  const across = (x) => `${(100 * (x - left)) / (right - left)}%`;
  const text = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });
  const add = (name) => {
    const element = document.createElement("i");
    element.className = name;
    plot.append(element);
    return element;
  };
  const rule = add("rule");
  const dots = lines.map((_, i) => add(`dot line-${i % 6}`));
  let stop = stops.length - 1;

  function show(index) {
    stop = Math.max(0, Math.min(stops.length - 1, index));
    const x = stops[stop];
    plot.classList.add("reading");
    rule.style.left = across(x);
    at.textContent = `${at.dataset.label} ${x.toLocaleString("en", { maximumFractionDigits: 4 })}`;
    lines.forEach((line, i) => {
      const point = line.x.findLastIndex((each, j) => known(line, j) && each <= x);
      dots[i].hidden = point < 0;
      values[i].textContent = point < 0 ? "—" : text(line.y[point]);
      dots[i].style.left = across(line.x[point]);
      dots[i].style.top = `${(100 * (top - line.y[point])) / (top - bottom)}%`;
    });
    const spoken = [...figure.querySelectorAll(".key")].map((key) => key.textContent.trim());
    plot.setAttribute("aria-valuenow", x);
    plot.setAttribute("aria-valuetext", [at.textContent, ...spoken].join(", "));
  }
  function leave() {
    plot.classList.remove("reading");
    [...values, at].forEach((element, i) => { element.textContent = rest[i]; });
  }
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const x = left + ((event.clientX - box.left) / box.width) * (right - left);
    const distances = stops.map((each) => Math.abs(each - x));
    show(distances.indexOf(Math.min(...distances)));
  });
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("blur", leave);
  plot.addEventListener("focus", () => show(stop));
  plot.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: stop - 1, ArrowRight: stop + 1, Home: 0, End: stops.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
  const slider = { tabindex: 0, role: "slider", "aria-valuemin": left, "aria-valuemax": right };
  for (const [name, value] of Object.entries(slider)) plot.setAttribute(name, value);
  plot.setAttribute("aria-valuenow", right);
}

function heads(picker) {
  const gallery = document.querySelector(".attention");
  const show = (head) => {
    gallery.dataset.head = head;
    const wanted = head === "mean" ? "mean" : `head-${head}`;
    for (const map of gallery.querySelectorAll(".map")) {
      map.classList.toggle("shown", map.classList.contains(wanted));
    }
  };
  picker.addEventListener("change", (event) => show(event.target.value));
  picker.hidden = false;
  show(picker.querySelector(":checked").value);
}

function sortable(table) {
  const body = table.tBodies[0];
  const value = (row, column) => Number(row.cells[column].dataset.value);
  const sort = (heading) => {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    const rows = [...body.rows].sort(
      (a, b) => (value(a, heading.cellIndex) - value(b, heading.cellIndex)) * (up ? 1 : -1),
    );
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  };
  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button").addEventListener("click", () => sort(heading));
  }
}

document.addEventListener("DOMContentLoaded", () => {
  themeButton(document.getElementById("theme"));
  document.querySelectorAll(".chart[data-readings]").forEach(chart);
  document.querySelectorAll(".heads").forEach(heads);
  document.querySelectorAll(".sortable").forEach(sortable);
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
  });
});
