"use strict";
// Everything on this page can be read without this script. It sorts tables, switches curves on and
// off, shows the values of curves and zooms into them.
const SVG = "http://www.w3.org/2000/svg";

function make(tag, properties, parent) {
  const made = Object.assign(document.createElement(tag), properties);
  parent?.append(made);
  return made;
}

// Tables: a click on a head sorts by its column, a second one the other way round.

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
}

function cellValue(row, column, isWord) {
  const text = row.cells[column].textContent.trim();
  if (isWord) return text;
  const number = parseFloat(text.replaceAll(",", "").replace("\u2212", "-"));
  return Number.isNaN(number) ? null : number;  // rows without a number come last
}

function sortTable(table, column) {
  const head = table.tHead.rows[0].cells[column], body = table.tBodies[0];
  const down = head.ariaSort === "ascending", isWord = head.classList.contains("word");
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const keyed = [...body.rows].map((row) => [cellValue(row, column, isWord), row]);
  keyed.sort(([a], [b]) => (down && a !== null && b !== null ? compare(b, a) : compare(a, b)));
  body.append(...keyed.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = make("button", { type: "button", title: "Sort by this column" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortTable(table, column));
  });
}

// Charts. A scale maps values of an axis [label, low, high, isLog] to 0..1 of its length.

const scaled = (v, isLog) => (isLog ? Math.log10(Math.max(v, 1e-300)) : v);
const unscaled = (s, isLog) => (isLog ? 10 ** s : s);
const place = ([, low, high, isLog], v) =>
  (scaled(v, isLog) - scaled(low, isLog)) / (scaled(high, isLog) - scaled(low, isLog));
const valueAt = ([, low, high, isLog], part) =>
  unscaled(scaled(low, isLog) + part * (scaled(high, isLog) - scaled(low, isLog)), isLog);

function format(value) {
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (Math.abs(value) >= size) return Number((value / size).toPrecision(4)) + letter;
  return String(Number(value.toPrecision(4)));
}

function ticks([, low, high, isLog]) {
  if (isLog && high > 20 * low) {
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) found.push(10 ** e);
    return found.filter((v) => v >= low && v <= high);
  }
  const rough = (high - low) / 5, size = 10 ** Math.floor(Math.log10(rough));
  const step = size * [1, 2, 5, 10].find((n) => n * size >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

class Chart {
  constructor(panel) {
    Object.assign(this, JSON.parse(panel.dataset.chart));
    this.panel = panel;
    this.picture = panel.querySelector("[role=img]");
    this.svg = panel.querySelector("svg");
    this.home = { x: this.x, y: this.y };
    this.curves = this.curves.map(([name, kind, xs, ys], i) =>
      ({ name, kind, xs, ys, group: this.svg.querySelector(`[data-curve="${i}"]`) }));
    this.ours = this.svg.appendChild(document.createElementNS(SVG, "g"));
    this.mark = this.svg.appendChild(document.createElementNS(SVG, "path"));
    this.mark.setAttribute("class", "mark-line");
    this.whole = { x: this.extent("x"), y: this.extent("y") };
    this.readout = make("output", { className: "readout", hidden: true }, this.picture.parentNode);
    this.picture.after(this.readout);
    const tools = make("div", { className: "tools" });
    for (const [sign, says, act] of [
      ["+", "Zoom in", () => this.zoom(0.5)], ["\u2212", "Zoom out", () => this.zoom(2)],
      ["Reset", "Show the whole chart as at first", () => this.show(this.home)],
    ]) {
      const button = make("button", { type: "button", textContent: sign, title: says }, tools);
      button.setAttribute("aria-label", says);
      button.addEventListener("click", act);
    }
    this.readout.after(tools);
    this.listen();
  }

  // The limits of an axis that show every value, also those that the picture cuts off.
  extent(axis) {
    const [label, low, high, isLog] = this.home[axis];
    const values = this.curves.flatMap((c) => (axis === "x" ? c.xs : c.ys))
      .filter((v) => v !== null && (!isLog || v > 0));
    return [label, Math.min(low, ...values), Math.max(high, ...values), isLog];
  }

  shown(curve) {
    return curve.group && !curve.group.hasAttribute("display");
  }

  toSvg(x, y) {
    const [left, top, width, height] = this.box;
    return [left + width * place(this.x, x), top + height * (1 - place(this.y, y))];
  }

  // The parts of the axes' lengths at a pointer: [0, 0] is left and below.
  at(event) {
    const box = this.svg.getBoundingClientRect(), [left, top, width, height] = this.box;
    const size = box.width / this.svg.viewBox.baseVal.width;
    return [((event.clientX - box.left) / size - left) / width,
      1 - ((event.clientY - box.top) / size - top) / height];
  }

  // Show other limits: the curves, their markers, and ticks are put where these say.
  show({ x, y }) {
    const isHome = x === this.home.x && y === this.home.y;
    Object.assign(this, { x, y });
    this.panel.classList.toggle("zoomed", !isHome);
    for (const { group, xs, ys } of this.curves) {
      const points = xs.map((v, i) => (v === null || ys[i] === null ? null : this.toSvg(v, ys[i])));
      const path = group?.querySelector(":scope > path");
      path?.setAttribute("d", points.map((p, i) =>
        (p ? `${points[i - 1] ? "L" : "M"}${p[0].toFixed(2)} ${p[1].toFixed(2)}` : "")).join(""));
      const marks = [...(group?.querySelectorAll("use") ?? [])], finite = points.filter((p) => p);
      marks.forEach((mark, i) => {
        mark.setAttribute("x", finite[i]?.[0] ?? -1e4);
        mark.setAttribute("y", finite[i]?.[1] ?? -1e4);
      });
    }
    this.ours.replaceChildren(...(isHome ? [] : this.drawTicks()));
    this.hide();
  }

  drawTicks() {
    const [left, top, width, height] = this.box;
    const drawn = [];
    const add = (tag, attributes, text = "") => {
      const made = document.createElementNS(SVG, tag);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      made.textContent = text;
      drawn.push(made);
    };
    for (const v of ticks(this.x)) {
      const at = left + width * place(this.x, v);
      add("path", { d: `M${at} ${top}V${top + height}`, class: "tick" });
      add("text", { x: at, y: top + height + 13, "text-anchor": "middle" }, format(v));
    }
    for (const v of ticks(this.y)) {
      const at = top + height * (1 - place(this.y, v));
      add("path", { d: `M${left} ${at}H${left + width}`, class: "tick" });
      add("text", { x: left - 6, y: at + 3.5, "text-anchor": "end" }, format(v));
    }
    return drawn;
  }

  // Zoom around the point that was last looked at, within the values of the curves.
  zoom(factor, center = this.seen ?? [0.5, 0.5]) {
    const limits = {};
    for (const [i, axis] of ["x", "y"].entries()) {
      const [label, least, most, isLog] = this.whole[axis];
      const c = Math.min(Math.max(center[i], 0), 1);
      const ends = [c - c * factor, c + (1 - c) * factor].map((part) => valueAt(this[axis], part));
      limits[axis] = [label, Math.max(ends[0], least), Math.min(ends[1], most), isLog];
    }
    this.show(limits);
    this.seen = undefined;
  }

  zoomTo(a, b) {
    const limits = {};
    for (const [i, axis] of ["x", "y"].entries()) {
      const [label, , , isLog] = this[axis];
      const parts = [a[i], b[i]].map((p) => Math.min(Math.max(p, 0), 1)).sort((p, q) => p - q);
      if (parts[1] - parts[0] < 0.02) return;
      limits[axis] = [label, ...parts.map((p) => valueAt(this[axis], p)), isLog];
    }
    this.show(limits);
  }

  // Show the value that each visible curve has nearest to the part `across` of the x axis.
  read(across, up) {
    const near = [];
    for (const curve of this.curves) {
      if (/^(seed|bars)/.test(curve.kind) || !this.shown(curve)) continue;
      let best = null;
      curve.xs.forEach((x, i) => {
        const away = Math.abs(place(this.x, x) - across);
        if (curve.ys[i] !== null && away <= (best?.away ?? 1)) best = { curve, x, y: curve.ys[i], away };
      });
      if (best) near.push(best);
    }
    const least = Math.min(...near.map((p) => p.away));
    const found = near.filter((p) => p.away <= least + 0.08).sort((a, b) => b.y - a.y);
    if (!found.length) return this.hide();
    const { x } = found.find((p) => p.away === least);
    this.seen = [place(this.x, x), up];
    this.value = x;
    this.readout.replaceChildren();
    make("b", { textContent: `${this.x[0]} ${x.toLocaleString("en")}` }, this.readout);
    for (const p of found) {
      const row = make("span", {}, this.readout), swatch = make("i", {}, row);
      swatch.style.background = getComputedStyle(p.curve.group.querySelector("use, path")).stroke;
      const what = [p.curve.name, p.curve.kind].filter((word) => word).join(", ");
      row.append(what, p.x === x ? " " : ` (at ${format(p.x)}) `);
      make("b", { textContent: String(Number(p.y.toPrecision(4))) }, row);
    }
    const [left, top, width, height] = this.box, at = left + width * place(this.x, x);
    this.mark.setAttribute("d", `M${at} ${top}V${top + height}`);
    this.readout.hidden = false;
    this.readout.classList.toggle("left", across > 0.5);
  }

  hide() {
    this.readout.hidden = true;
    this.mark.removeAttribute("d");
  }

  listen() {
    const { picture } = this;
    const band = make("div", { className: "band", hidden: true }, picture);
    let start = null;
    picture.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button) return;
      event.preventDefault();
      picture.focus({ preventScroll: true });
      picture.setPointerCapture(event.pointerId);
      start = { part: this.at(event), x: event.clientX, y: event.clientY };
    });
    picture.addEventListener("pointermove", (event) => {
      const part = this.at(event);
      if (start) {
        const box = picture.getBoundingClientRect();
        band.hidden = Math.abs(event.clientX - start.x) < 4;
        band.style.left = `${Math.min(start.x, event.clientX) - box.left}px`;
        band.style.top = `${Math.min(start.y, event.clientY) - box.top}px`;
        band.style.width = `${Math.abs(event.clientX - start.x)}px`;
        band.style.height = `${Math.abs(event.clientY - start.y)}px`;
      }
      if (part.every((p) => p >= -0.02 && p <= 1.02)) this.read(...part);
      else this.hide();
    });
    picture.addEventListener("pointerup", (event) => {
      if (start && !band.hidden) this.zoomTo(start.part, this.at(event));
      start = null;
      band.hidden = true;
      if (event.pointerType === "touch") this.read(...this.at(event));
    });
    picture.addEventListener("pointercancel", () => { start = null; band.hidden = true; });
    picture.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") this.hide(); });
    picture.addEventListener("dblclick", () => this.show(this.home));
    picture.tabIndex = 0;
    picture.setAttribute("aria-description", "Arrow keys: values. Plus, minus, 0: zoom.");
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) this.walk(step);
      else if (event.key === "+" || event.key === "-") this.zoom(event.key === "+" ? 0.5 : 2);
      else if (event.key === "0") this.show(this.home);
      else if (event.key === "Escape") this.hide();
      else return;
      event.preventDefault();
    });
  }

  // Read the next value to the right, or the one to the left.
  walk(step) {
    const every = this.curves.filter((c) => !/^(seed|bars)/.test(c.kind) && this.shown(c)).flatMap((c) => c.xs);
    const inside = every.filter((v) => place(this.x, v) >= 0 && place(this.x, v) <= 1);
    const xs = [...new Set(inside)].sort((a, b) => a - b);
    if (!xs.length) return;
    const at = this.readout.hidden ? -1 : xs.indexOf(this.value);
    const next = at < 0 ? (step > 0 ? 0 : xs.length - 1) : Math.min(Math.max(at + step, 0), xs.length - 1);
    this.read(place(this.x, xs[next]), 0.5);
  }
}

// Legends: a click on an entry switches its curves off, in all panels of the figure.

for (const figure of document.querySelectorAll("figure.whole")) {
  const charts = [...figure.querySelectorAll("[data-chart]")].map((panel) => new Chart(panel));
  for (const entry of figure.querySelectorAll(".key li")) {
    const button = make("button", { type: "button", title: "Show or hide" });
    button.append(...entry.childNodes);
    button.setAttribute("aria-pressed", "true");
    entry.append(button);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(on));
      const off = [...figure.querySelectorAll(".key button[aria-pressed=false]")]
        .map((b) => b.parentNode.dataset);
      for (const chart of charts) {
        for (const { name, kind, group } of chart.curves) {
          const isOff = off.some((o) => o.name === name || o.kind === kind || `seed ${o.kind}` === kind);
          if (isOff) group?.setAttribute("display", "none");
          else group?.removeAttribute("display");
        }
        chart.hide();
      }
    });
  }
}
