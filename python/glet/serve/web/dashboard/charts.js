// Lines over the last minutes, as SVG. Values are columns with null where nothing is known.

import { figures, make, setText } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 74;
const SPAN_S = 300;

// A number at or above the largest value that people read easily.
function ceiling(largest) {
  if (!(largest > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(largest));
  return [1, 2, 3, 5, 10].map((step) => step * power).find((value) => value >= largest * 1.02) ?? 10 * power;
}

export class Chart {
  // `lines` are classes in drawing order; those in `filled` have an area below.
  constructor(title, unit, lines, filled) {
    this.unit = unit;
    this.lines = lines;
    this.value = make("b");
    this.top = make("span", { class: "top-label" });
    this.areas = new Map(filled.map((name) => [name, make("path", { svg: true, class: `area ${name}` })]));
    this.paths = new Map(lines.map((name) => [name, make("path", { svg: true, class: name })]));
    this.limit = make("line", { svg: true, class: "slo", x1: 0, x2: WIDTH });
    this.cursor = make("line", { svg: true, class: "cursor", y1: 0, y2: HEIGHT });
    this.cursor.style.display = "none";
    this.svg = make(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      ...this.areas.values(),
      ...this.paths.values(),
      this.limit,
      this.cursor,
    );
    this.element = make(
      "figure",
      { class: "chart" },
      make("figcaption", {}, make("span", { class: "quiet", text: title }), this.value),
      make("div", { class: "plot" }, this.svg, this.top),
      make("div", { class: "ago", "aria-hidden": "true" }, make("span", { text: "5 min ago" }), make("span", { text: "now" })),
    );
    this.pointed = null;
    this.svg.addEventListener("pointermove", (event) => {
      const box = this.svg.getBoundingClientRect();
      this.pointed = (event.clientX - box.left) / box.width;
      this.readOut();
    });
    this.svg.addEventListener("pointerleave", () => {
      this.pointed = null;
      this.readOut();
    });
  }

  // `agoS` is falling; `columns` are by line; `limit` is drawn across. `says` makes the text.
  draw(agoS, columns, limit, label, says) {
    Object.assign(this, { agoS, columns, says });
    const values = this.lines.flatMap((name) => columns[name].filter((value) => value != null));
    const most = ceiling(Math.max(limit ?? 0, ...values));
    const y = (value) => HEIGHT - 2 - (value / most) * (HEIGHT - 6);
    for (const name of this.lines) {
      this.paths.get(name).setAttribute("d", this.path(columns[name], y));
    }
    for (const [name, area] of this.areas) area.setAttribute("d", this.area(columns[name], y));
    this.limit.style.display = limit == null ? "none" : "";
    if (limit != null) {
      this.limit.setAttribute("y1", y(limit));
      this.limit.setAttribute("y2", y(limit));
    }
    setText(this.top, `${figures(most)} ${this.unit}`);
    this.svg.setAttribute("aria-label", label);
    this.readOut();
  }

  x(at) {
    return WIDTH * (1 - this.agoS[at] / SPAN_S);
  }

  runs(column) {
    const runs = [];
    column.forEach((value, at) => {
      if (value == null) return;
      const last = runs.at(-1);
      // One that is missing is bridged: a model that nobody asks for has no latency.
      if (last && at - last.at(-1) <= 2) last.push(at);
      else runs.push([at]);
    });
    return runs;
  }

  path(column, y) {
    return this.runs(column)
      .map((run) => {
        const points = run.map((at) => `${this.x(at).toFixed(1)} ${y(column[at]).toFixed(1)}`);
        return points.length === 1 ? `M${points[0]}h1` : `M${points.join("L")}`;
      })
      .join("");
  }

  area(column, y) {
    return this.runs(column)
      .filter((run) => run.length > 1)
      .map((run) => {
        const points = run.map((at) => `${this.x(at).toFixed(1)} ${y(column[at]).toFixed(1)}`);
        return `M${this.x(run[0]).toFixed(1)} ${HEIGHT}L${points.join("L")}V${HEIGHT}Z`;
      })
      .join("");
  }

  readOut() {
    const last = (this.agoS?.length ?? 0) - 1;
    if (last < 0) return;
    if (this.pointed == null) {
      this.cursor.style.display = "none";
      setText(this.value, this.says(last, null));
      return;
    }
    const wanted = (1 - this.pointed) * SPAN_S;
    let at = last;
    while (at > 0 && Math.abs(this.agoS[at - 1] - wanted) < Math.abs(this.agoS[at] - wanted)) at -= 1;
    this.cursor.style.display = "";
    this.cursor.setAttribute("x1", this.x(at));
    this.cursor.setAttribute("x2", this.x(at));
    setText(this.value, this.says(at, this.agoS[at]));
  }
}
