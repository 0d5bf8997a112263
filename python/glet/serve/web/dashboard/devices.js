// Devices as bars cut into gpulets, and a table of what runs on them.

import { figures, gigabytes, keyed, make, pct, setText } from "./dom.js";

const COLUMNS = [
  ["Gpulet", ""],
  ["Model", ""],
  ["req/s", "served by this gpulet"],
  ["Busy", "part of the last second that its batches ran"],
  ["Batch", "mean, of the largest that the plan has"],
  ["Waiting", "requests in the queue"],
  ["× predicted", "measured over predicted latency"],
];
// Of those, what a phone has no room for.
const WIDE = new Set([4, 5, 6]);

export function drawDevices(list, devices, colour) {
  const known = new Map(devices.map((device) => [device.name, device]));
  keyed(list, [...known.keys()], () => create());
  for (const card of list.children) update(card, known.get(card.dataset.key), colour);
  if (!devices.length) list.replaceChildren(make("p", { class: "card empty", text: "No backend has been heard yet." }));
}

function create() {
  const card = make("article", { class: "card device" });
  card.parts = {
    name: make("h3"),
    about: make("span", { class: "quiet" }),
    state: make("span", { class: "pill" }),
    usage: make("span", { class: "quiet usage" }),
    bar: make("div", { class: "bar", role: "img" }),
    rows: make("tbody"),
  };
  const { name, about, state, usage, bar, rows } = card.parts;
  const heads = COLUMNS.map(([text, title], at) =>
    make("th", { scope: "col", text, title: title || null, class: WIDE.has(at) ? "wide" : null }),
  );
  card.table = make("table", { class: "tenants" }, make("thead", {}, make("tr", {}, ...heads)), rows);
  card.append(make("div", { class: "device-head" }, name, about, state, usage), bar, card.table);
  return card;
}

function update(card, device, colour) {
  const { name, about, state, usage, bar, rows } = card.parts;
  card.classList.toggle("gone", !device.alive);
  setText(name, device.name);
  setText(about, describe(device));
  const [word, kind] = condition(device);
  setText(state, word);
  state.className = `pill ${kind}`;
  setText(usage, use(device));
  bar.setAttribute("aria-label", `${device.name}: ${spoken(device)}`);
  drawBar(bar, device, colour);
  const tenants = device.gpulets.flatMap((gpulet) =>
    (gpulet.models.length ? gpulet.models : [null]).map((model) => ({ gpulet, model })),
  );
  const keys = new Map(tenants.map((one) => [`${one.gpulet.gpulet}/${one.model?.model ?? ""}`, one]));
  keyed(rows, [...keys.keys()], () => make("tr", {}, ...COLUMNS.map((_, at) => make("td", { class: WIDE.has(at) ? "wide" : null }))));
  for (const row of rows.children) drawRow(row, keys.get(row.dataset.key), colour);
  card.table.hidden = !tenants.length;
}

function drawBar(bar, device, colour) {
  const taken = device.gpulets.reduce((sum, gpulet) => sum + gpulet.share_pct, 0);
  // While a plan changes, old and new gpulets may overlap.
  const whole = Math.max(100, taken);
  const gpulets = new Map(device.gpulets.map((gpulet) => [`g${gpulet.gpulet}`, gpulet]));
  keyed(bar, [...gpulets.keys(), ...(taken < 100 ? ["free"] : [])], (key) =>
    key === "free"
      ? make("div", { class: "free" }, make("span"))
      : make("div", { class: "gpulet" }, make("div", { class: "load" }), make("div", { class: "label" }, make("b"), make("span"), make("span"))),
  );
  for (const part of bar.children) {
    const gpulet = gpulets.get(part.dataset.key);
    if (!gpulet) {
      setText(part.firstElementChild, `${100 - taken} % free`);
      continue;
    }
    part.style.width = `calc(${(100 * gpulet.share_pct) / whole}% - 3px)`;
    part.classList.toggle("troubled", Boolean(gpulet.error) || gpulet.state === "failed");
    part.classList.toggle("moving", gpulet.state === "starting" || gpulet.state === "draining");
    const [load, label] = part.children;
    const [names, share, busy] = label.children;
    setText(names, gpulet.models.map((model) => model.model).join(", ") || "empty");
    setText(share, share_of(gpulet));
    setText(busy, `${pct(gpulet.busy)} busy`);
    part.title = `Gpulet ${gpulet.gpulet}: ${names.textContent}, ${share.textContent}, ${busy.textContent}`;
    const models = new Map(gpulet.models.map((model) => [model.model, model]));
    keyed(load, [...models.keys()], () => make("i"));
    for (const layer of load.children) {
      layer.style.height = `${100 * models.get(layer.dataset.key).busy}%`;
      layer.style.background = colour.get(layer.dataset.key);
    }
  }
}

function drawRow(row, { gpulet, model }, colour) {
  const cells = [...row.children];
  setText(cells[0], `${gpulet.gpulet} · ${share_of(gpulet)}`);
  if (!cells[1].firstChild) cells[1].append(make("i", { class: "swatch" }), make("span"), make("span", { class: "pill warn" }));
  const [swatch, name, state] = cells[1].children;
  swatch.style.background = model ? colour.get(model.model) : "transparent";
  setText(name, model ? `${model.model} ` : "empty");
  const word = model && model.state !== "ready" ? model.state : gpulet.state === "ready" ? "" : gpulet.state;
  setText(state, word);
  state.hidden = !word;
  setText(cells[2], model ? figures(model.served_rps) : "–");
  setText(cells[3], model ? pct(model.busy) : "–");
  setText(cells[4], model ? `${figures(model.mean_batch)} of ${model.batch}` : "–");
  setText(cells[5], model ? figures(model.waiting) : "–");
  setText(cells[6], model ? figures(model.correction) : "–");
}

function share_of(gpulet) {
  const given = Math.round(gpulet.given_pct * 10) / 10;
  return given === gpulet.share_pct ? `${gpulet.share_pct} %` : `${gpulet.share_pct} % (${given} given)`;
}

function describe(device) {
  const words = [device.product || device.type, device.kind === device.type ? "" : device.kind];
  return words.filter(Boolean).join(" · ") + (device.emulated ? " · emulated" : "");
}

function condition(device) {
  if (!device.alive) return ["not heard", "bad"];
  if (device.error) return ["plan step fails", "bad"];
  return device.gpulets.length ? ["in use", "good"] : ["free", ""];
}

function use(device) {
  if (!device.usage) return device.memory_mb ? gigabytes(device.memory_mb) : "";
  const memory = device.memory_mb ? `${gigabytes(device.usage.memory_mb)} of ${gigabytes(device.memory_mb)}` : gigabytes(device.usage.memory_mb);
  return `${pct(device.usage.utilization)} utilised · ${memory}`;
}

function spoken(device) {
  const parts = device.gpulets.map((gpulet) => {
    const names = gpulet.models.map((model) => model.model).join(" and ") || "nothing";
    return `${gpulet.share_pct} percent with ${names}, ${Math.round(gpulet.busy * 100)} percent busy`;
  });
  return parts.join("; ") || "no gpulets";
}
