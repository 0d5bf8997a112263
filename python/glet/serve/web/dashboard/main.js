// Asks once a second, and draws what came. What went wrong is said, and asked again.

import { colours, duration, figures, keyed, make, pct, setText } from "./dom.js";
import { drawDevices } from "./devices.js";
import { History } from "./history.js";
import { drawModels } from "./models.js";

const PERIOD_MS = 1000;
const LIMIT_MS = 8000;
const TOKEN = "glet-dashboard-token";
const THEME = "glet-dashboard-theme";

const at = (id) => document.getElementById(id);
const history = new History();
let token = sessionStorage.getItem(TOKEN);
let heardMs = performance.now();
let last = null;

async function ask() {
  const answer = await fetch(`/glet/state.json?after=${history.seq}`, {
    signal: AbortSignal.timeout(LIMIT_MS),
    cache: "no-store",
    headers: token ? { authorization: `Bearer ${token}` } : {},
  });
  if (answer.status === 401) {
    lock();
    at("unlock").hidden = false;
    throw new Error("it needs a token; give one with “Unlock changes”");
  }
  if (!answer.ok) throw new Error(`it answered ${answer.status}`);
  return answer.json();
}

async function turn() {
  try {
    const state = await ask();
    heardMs = performance.now();
    history.add(state.history, heardMs / 1000);
    last = state;
    draw();
    say("");
  } catch (error) {
    const silent = duration((performance.now() - heardMs) / 1000);
    setStatus("Not reached", "bad");
    say(`glet has not been reached for ${silent}; trying again. (${error.message})`);
  }
  schedule();
}

let timer = 0;
function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(turn, PERIOD_MS);
}
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) turn();
});

function say(text) {
  setText(at("notice"), text);
  at("notice").hidden = !text;
}

function setStatus(text, kind) {
  setText(at("status"), text);
  at("status").className = `pill ${kind}`;
}

function draw() {
  const colour = colours([...Object.keys(last.models), ...history.models.keys()]);
  const serving = Object.values(last.models).filter((model) => model.state === "serving").length;
  const wanted = problems();
  const count = `${serving} model${serving === 1 ? "" : "s"}`;
  if (!serving) setStatus("Serving nothing", "warn");
  else setStatus(wanted.length ? `Serving ${count}, with problems` : `Serving ${count}`, wanted.length ? "warn" : "good");
  setText(at("about"), `version ${last.version} · up ${duration(last.stats.uptime_s)}`);
  drawTiles();
  drawProblems(wanted);
  drawDevices(at("device-list"), last.devices, colour);
  drawModels(at("model-list"), last, history, colour, token ? change : null);
  drawChanges();
  at("unlock").hidden = !last.can_change;
  setText(at("unlock"), token ? "Lock changes" : "Unlock changes");
}

// Apps count for the models of their stages as well; a request is counted once here.
function total(field) {
  const values = [...history.models]
    .filter(([name]) => !(last.stats.models[name]?.app))
    .map(([, columns]) => columns[field].at(-1) ?? 0);
  return values.reduce((sum, value) => sum + value, 0);
}

function drawTiles() {
  const offered = total("offered_rps");
  const goodput = total("goodput_rps");
  const used = last.devices.filter((device) => device.gpulets.length).length;
  const changed = last.changes.filter((row) => row.reorganises).at(-1);
  const gpulets = last.devices.flatMap((device) => device.gpulets);
  const tiles = [
    ["Offered", `${figures(offered)} /s`, "requests of models"],
    ["Goodput", `${figures(goodput)} /s`, "answered by their deadline"],
    ["In time", offered > 0 ? pct(Math.min(1, goodput / offered)) : "–", "of what was offered, last second"],
    ["Devices in use", `${used} of ${last.devices.length}`, `${gpulets.length} gpulet${gpulets.length === 1 ? "" : "s"}`],
    ["Last plan change", changed ? duration(changed.ago_s) : "–", changed ? "ago" : "none yet"],
  ];
  keyed(at("tiles"), tiles.map(([label]) => label), (label) => make("div", {}, make("dt", { text: label }), make("dd"), make("dd", { class: "note" })));
  for (const [index, [, value, note]] of tiles.entries()) {
    const [, big, small] = at("tiles").children[index].children;
    setText(big, value);
    setText(small, note);
  }
}

function problems() {
  const found = [];
  for (const device of last.devices) {
    if (!device.alive) found.push([device.name, "the backend is not heard; its gpulets get no requests"]);
    if (device.error) found.push([device.name, device.error]);
    for (const gpulet of device.gpulets) {
      if (gpulet.error) found.push([`${device.name}, gpulet ${gpulet.gpulet}`, gpulet.error]);
    }
  }
  for (const executor of last.stats.executors) {
    if (executor.error) found.push([`executor ${executor.backend}/${executor.executor}`, executor.error]);
  }
  if (last.controller?.error) found.push(["controller", last.controller.error]);
  for (const [name, model] of Object.entries(last.models)) {
    if (model.state === "failed") found.push([name, model.error || "failed"]);
  }
  return found;
}

function drawProblems(found) {
  at("problems").hidden = !found.length;
  const rows = new Map(found.map(([where, what]) => [`${where}: ${what}`, [where, what]]));
  keyed(at("problem-list"), [...rows.keys()], (key) => make("li", {}, make("b", { text: rows.get(key)[0] }), rows.get(key)[1]));
}

function drawChanges() {
  const controller = last.controller;
  setText(at("controller"), controller ? `controller ${controller.state}${controller.mode ? `, mode ${controller.mode}` : ""}` : "no controller: the plan stays as it is");
  const rows = new Map([...last.changes].reverse().map((row) => [String(row.round), row]));
  const list = at("change-list");
  keyed(list, rows.size ? [...rows.keys()] : ["none"], (key) =>
    key === "none"
      ? make("li", { class: "empty", text: "The plan has not changed." })
      : make("li", {}, make("span", { class: "quiet" }), make("p")),
  );
  for (const item of list.children) {
    const row = rows.get(item.dataset.key);
    if (!row) continue;
    setText(item.children[0], `${duration(row.ago_s)} ago`);
    setText(item.children[1], row.text);
    item.classList.toggle("failed", row.errors.length > 0);
  }
}

// ---- changes, for who has the token

for (const button of document.querySelectorAll("dialog .cancel")) {
  // No submit button: the first of those is what the Enter key presses.
  button.addEventListener("click", () => button.closest("dialog").close());
}

function asked(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok"), { once: true });
  });
}

async function change(name, verb, model) {
  const word = verb === "load" ? "Load" : "Unload";
  setText(at("confirm-title"), `${word} ${name}?`);
  setText(
    at("confirm-text"),
    verb === "load" ? "It gets a place on a device, and serves as soon as it is ready." : `Its requests are refused from then on${model.gpulets.length ? "; its gpulets make room for others" : ""}.`,
  );
  setText(at("confirm-ok"), word);
  if (!(await asked(at("confirm-dialog")))) return;
  setStatus(`${word}ing ${name}`, "warn");
  const path = `/glet/models/${encodeURIComponent(name)}/${verb}`;
  try {
    const answer = await fetch(path, { method: "POST", headers: { authorization: `Bearer ${token}` } });
    if (answer.ok) return;
    const { error } = await answer.json().catch(() => ({ error: `it answered ${answer.status}` }));
    if (answer.status === 401) lock();
    alertOnce(`${word} ${name}: ${error}`);
  } catch (error) {
    alertOnce(`${word} ${name}: ${error.message}`);
  }
}

function alertOnce(text) {
  const item = make("div", { class: "notice bad", role: "alert", text });
  at("notice").before(item);
  setTimeout(() => item.remove(), 12000);
}

function lock() {
  token = null;
  sessionStorage.removeItem(TOKEN);
  if (last) draw();
}

at("unlock").addEventListener("click", async () => {
  if (token) return lock();
  at("token").value = "";
  if (!(await asked(at("token-dialog")))) return;
  token = at("token").value;
  sessionStorage.setItem(TOKEN, token);
  if (last) draw();
  else turn();
});

// ---- colours

function setTheme(theme) {
  const words = { auto: "as the system", light: "light", dark: "dark" };
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  setText(at("theme"), theme[0].toUpperCase() + theme.slice(1));
  at("theme").setAttribute("aria-label", `Colours: ${words[theme]}`);
  localStorage.setItem(THEME, theme);
}

at("theme").addEventListener("click", () => {
  const order = ["auto", "light", "dark"];
  setTheme(order[(order.indexOf(localStorage.getItem(THEME) ?? "auto") + 1) % order.length]);
});
setTheme(["auto", "light", "dark"].find((theme) => theme === localStorage.getItem(THEME)) ?? "auto");
turn();
