// Small things every part of the console makes.

const SVG = "http://www.w3.org/2000/svg";

export const at = (id) => document.getElementById(id);

export function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

export function shape(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Among many classes every share is small: two decimals below one percent.
export const percent = (score) => (score === null ? "not a number" : `${(100 * score).toFixed(score < 0.01 ? 2 : 1)} %`);

// Rows by what a key gives, in the order they came (Map.groupBy, which browsers of 2023 lack).
export function grouped(rows, key) {
  const found = new Map();
  for (const row of rows) found.set(key(row), [...(found.get(key(row)) ?? []), row]);
  return found;
}

export function bar(share, fill) {
  const line = shape("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" });
  line.append(shape("rect", { width: 100 * (share ?? 0), height: 1, ...(fill ? { fill } : {}) }));
  return line;
}
