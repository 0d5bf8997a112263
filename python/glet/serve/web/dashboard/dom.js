// Small things that every part of the page needs: elements, numbers, colours of models.

const SVG = "http://www.w3.org/2000/svg";

// An element with properties and children; `class`, `text` and attributes of any name.
export function make(tag, given = {}, ...children) {
  const made = tag === "svg" || given.svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "svg") continue;
    if (name === "text") made.textContent = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Keeps one child of `parent` for every key, in this order; who has focus keeps it.
export function keyed(parent, keys, create) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const key of keys) {
    let child = known.get(key);
    if (!child) {
      child = create(key);
      child.dataset.key = key;
    }
    known.delete(key);
    const place = before ? before.nextElementSibling : parent.firstElementChild;
    if (place !== child) parent.insertBefore(child, place);
    before = child;
  }
  for (const gone of known.values()) gone.remove();
}

// Three figures, as people read rates and times.
export function figures(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3).replace(/\.?0+$/, "");
}

export const ms = (value) => (value == null ? "–" : `${figures(value)} ms`);
export const pct = (part) => (part == null ? "–" : `${figures(Math.round(part * 1000) / 10)} %`);

export function gigabytes(mb) {
  return `${figures(mb / 1000)} GB`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

// Hues that stay apart for many models, by the golden angle; the order is that of names.
export function colours(names) {
  return new Map([...names].sort().map((name, at) => [name, `hsl(${(222 + at * 137.508) % 360} 62% var(--swatch))`]));
}
