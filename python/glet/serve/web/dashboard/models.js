// A card for every model and app: what is asked of it, how it answers, where it runs.

import { Chart } from "./charts.js";
import { duration, figures, keyed, make, ms, pct, setText } from "./dom.js";

const STATES = { serving: "good", failed: "bad", loading: "warn", compiling: "warn", draining: "warn" };

// `change(name, verb)` loads or unloads; null: nobody may.
export function drawModels(list, state, history, colour, change) {
  const names = Object.keys(state.models).sort((a, b) => rank(state.models[a]) - rank(state.models[b]) || a.localeCompare(b));
  keyed(list, names, (name) => create(name));
  for (const card of list.children) {
    const name = card.dataset.key;
    if (!names.includes(name)) continue;
    update(card, state.models[name], state.stats.models[name], history, colour.get(name), change);
  }
  if (!names.length) list.replaceChildren(make("p", { class: "card empty", text: "No model is known yet." }));
}

function rank(model) {
  return ["failed", "serving", "loading", "compiling", "draining"].indexOf(model.state) + 1 || 9;
}

function create(name) {
  const card = make("article", { class: "card model" });
  card.parts = {
    swatch: make("i", { class: "swatch", "aria-hidden": "true" }),
    title: make("h3", { text: name }),
    state: make("span", { class: "pill" }),
    about: make("span", { class: "quiet" }),
    button: make("button", { type: "button", hidden: true }),
    rate: new Chart("Rate", "/s", ["offered", "goodput"], ["goodput"]),
    latency: new Chart("Latency p99", "ms", ["p99"], ["p99"]),
    numbers: make("p", { class: "numbers" }),
    error: make("p", { class: "notice bad", hidden: true }),
  };
  const { swatch, title, state, about, button, rate, latency, numbers, error } = card.parts;
  title.prepend(swatch);
  button.addEventListener("click", () => card.act?.());
  card.charts = make("div", { class: "charts" }, rate.element, latency.element);
  card.append(
    make("div", { class: "model-head" }, title, state, about, make("div", { class: "actions" }, button)),
    error,
    card.charts,
    numbers,
  );
  return card;
}

function update(card, model, counted, history, colour, change) {
  const { swatch, state, about, button, rate, latency, numbers, error } = card.parts;
  const name = card.dataset.key;
  swatch.style.background = colour;
  setText(state, model.state);
  state.className = `pill ${STATES[model.state] ?? ""}`;
  setText(about, describe(model));
  setText(error, model.error);
  error.hidden = !model.error;
  const verb = model.state === "serving" ? "unload" : "load";
  button.hidden = !change;
  button.disabled = card.busy ?? false;
  setText(button, card.busy ? "Working…" : verb === "load" ? "Load" : "Unload");
  button.setAttribute("aria-label", `${verb === "load" ? "Load" : "Unload"} ${name}`);
  card.act = async () => {
    card.busy = true;
    button.disabled = true;
    try {
      await change(name, verb, model);
    } finally {
      card.busy = false;
      button.disabled = false;
    }
  };
  const columns = history.models.get(name);
  card.charts.hidden = numbers.hidden = !counted && !columns;
  if (columns) drawCharts(name, model, columns, history.agoS(), rate, latency);
  drawNumbers(numbers, model, counted, columns);
}

function drawCharts(name, model, columns, agoS, rate, latency) {
  const when = (ago) => (ago == null ? "" : ` · ${duration(ago)} ago`);
  const last = agoS.length - 1;
  const rates = { offered: columns.offered_rps, goodput: columns.goodput_rps };
  rate.draw(
    agoS, rates, null,
    `${name}: ${figures(columns.offered_rps[last])} requests per second offered, ${figures(columns.goodput_rps[last])} answered in time`,
    (at, ago) => `${figures(columns.goodput_rps[at])} of ${figures(columns.offered_rps[at])} /s${when(ago)}`,
  );
  const slo = model.slo_ms;
  latency.draw(
    agoS, { p99: columns.p99_ms }, slo,
    `${name}: p99 ${ms(columns.p99_ms[last])}, objective ${ms(slo)}`,
    (at, ago) => `${ms(columns.p99_ms[at])} of ${ms(slo)}${when(ago)}`,
  );
}

function drawNumbers(numbers, model, counted, columns) {
  if (!counted) return;
  const ended = counted.ok + counted.late + counted.full + counted.failed + counted.unavailable + counted.invalid + counted.cancelled;
  const refused = columns?.refused_rps.at(-1);
  const rows = [
    ["in time", pct(ended ? counted.good / ended : null), false],
    ["not answered", refused == null ? "–" : `${figures(refused)} /s`, refused > 0],
    ["p50", ms(counted.p50_ms || null), false],
    ["outstanding", figures(counted.outstanding), false],
    ["late / full / failed", [counted.late, counted.full, counted.failed].map(figures).join(" / "), counted.failed > 0],
  ];
  keyed(numbers, rows.map(([label]) => label), (label) => make("span", {}, `${label} `, make("b")));
  for (const [at, [, value, bad]] of rows.entries()) {
    setText(numbers.children[at].lastChild, value);
    numbers.children[at].classList.toggle("bad", bad);
  }
}

function describe(model) {
  const words = [];
  if (model.stages) words.push(`app of ${model.stages.map((stage) => stage.model).join(", ")}`);
  if (model.slo_ms != null) words.push(`SLO ${ms(model.slo_ms)}`);
  if (model.gpulets.length) {
    words.push(`${model.gpulets.length} gpulet${model.gpulets.length > 1 ? "s" : ""}`);
  }
  if (model.emulated) words.push("emulated");
  return words.join(" · ");
}
