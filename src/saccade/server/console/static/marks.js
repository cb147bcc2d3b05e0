// Boxes and masks over the picture: a colour for each class, toggles, a threshold, a row for each box.
// Works by the fields an answer has; which task it came from does not matter.

import { at, bar, grouped, make, percent, shape } from "./pieces.js";

// The same colours as in drawn pictures and reports (images/draw.py).
const PALETTE = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#882255", "#999933", "#6a51a3",
];
const VOID = 255;
const CAPTIONS = 40; // more captions than this hide the picture

let answer = null;
let thresholds = {};
let cut = null; // the slider's score; null is the model's own threshold of each class
let ids = null; // class ids of the mask, one byte a pixel
let sure = null; // how sure each pixel is in 255ths, of models that tell
let chosen = null; // what a row or a box stands out for: an index of predictions, or {class: id}
const hidden = new Set(); // labels that are switched off; kept from picture to picture

export function rgb(classId) {
  const text = PALETTE[classId % PALETTE.length];
  const [towards, share] = [[0, 0], [255, 0.5], [0, 0.4]][Math.floor(classId / PALETTE.length) % 3];
  return [1, 3, 5].map((i) => {
    const plain = parseInt(text.slice(i, i + 2), 16);
    return Math.round(plain + (towards - plain) * share);
  });
}

const colour = (classId) => `rgb(${rgb(classId).join(" ")})`;

function ink(classId) {
  const [r, g, b] = rgb(classId).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#18181b" : "#fafafa";
}

// What an answer has

export const placed = (record) => (record.predictions ?? []).some((p) => p.box);
export const painted = (record) => Boolean(record.classes);

const least = (label) => cut ?? thresholds[label] ?? 0;
const passes = (p) => p.score === null || p.score >= least(p.label);
const seen = (p) => passes(p) && !hidden.has(p.label);

export function summary() {
  if (!answer) return "nothing found";
  if (painted(answer)) {
    return byShare().slice(0, 3).map((c) => `${c.label} ${percent(c.fraction)}`).join(", ") || "nothing found";
  }
  const shown = answer.predictions.filter(seen);
  const counts = grouped(shown, (p) => p.label);
  return [...counts].map(([label, group]) => `${group.length} ${label}`).join(", ") || "nothing found";
}

const byShare = () => counted().sort((a, b) => b.pixels - a.pixels);

// The classes of a mask; where pixels tell how sure they are, without those the slider leaves out.
function counted() {
  if (!sure || cut === null) return [...answer.classes];
  const pixels = new Uint32Array(256);
  for (let i = 0; i < ids.length; i++) if (sure[i] >= 255 * cut) pixels[ids[i]]++;
  return answer.classes.map((c) => ({ ...c, pixels: pixels[c.class_id], fraction: pixels[c.class_id] / ids.length }));
}

// Showing

export async function show(record, own) {
  answer = record;
  thresholds = own;
  chosen = null;
  ids = null;
  sure = null;
  const forms = record.mask?.encoding === "png" ? [record.mask, record.confidence].filter(Boolean) : [];
  const found = await Promise.all(forms.map((form) => pixels(form.data)));
  if (answer !== record) return; // a newer answer came while this mask was read
  [ids, sure] = [found[0] ?? null, found[1] ?? null];
  at("threshold-box").hidden = !placed(record) && !sure;
  at("strength-box").hidden = !ids;
  render();
}

export function clear() {
  answer = null;
  ids = null;
  sure = null;
  for (const id of ["overlay", "paint", "classes", "objects", "threshold-box", "strength-box"]) at(id).setAttribute("hidden", "");
}

export function forget() {
  hidden.clear();
  cut = null;
}

export const threshold = () => cut;

async function pixels(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(image.width, image.height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  image.close();
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const found = new Uint8Array(data.length / 4);
  for (let i = 0; i < found.length; i++) found[i] = data[4 * i];
  canvas.width = canvas.height = 0; // its memory goes now, not when it is collected
  return found;
}

function render() {
  if (!answer) return;
  at("classes").replaceChildren(make("legend", "", "Classes"), ...toggles());
  at("classes").hidden = at("classes").children.length < 2;
  at("objects").replaceChildren(...(placed(answer) ? rows() : []));
  at("objects").hidden = !placed(answer);
  tellThreshold();
  draw();
  paint();
}

function toggles() {
  if (painted(answer)) {
    return byShare().map((c) => toggle(c.class_id, c.label, percent(c.fraction), c.fraction));
  }
  if (!placed(answer)) return [];
  const groups = grouped(answer.predictions.filter((p) => p.box), (p) => p.class_id);
  return [...groups].map(([id, group]) => {
    const shown = group.filter(passes).length;
    return toggle(id, group[0].label, String(shown));
  });
}

function toggle(classId, label, text, share) {
  const line = make("label", "toggle");
  const box = make("input");
  box.type = "checkbox";
  box.checked = !hidden.has(label);
  box.addEventListener("change", () => {
    box.checked ? hidden.delete(label) : hidden.add(label);
    for (const row of at("objects").children) row.hidden = !seen(answer.predictions[row.dataset.at]);
    draw();
    paint();
  });
  line.append(box, swatch(classId), make("span", "label", label), make("span", "score", text));
  if (share !== undefined) line.append(bar(share, colour(classId)));
  stand(line, { class: classId });
  return line;
}

function swatch(classId) {
  const square = shape("svg", { viewBox: "0 0 1 1", class: "swatch", "aria-hidden": "true" });
  square.append(shape("rect", { width: 1, height: 1, fill: colour(classId) }));
  return square;
}

function rows() {
  return answer.predictions.map((p, i) => {
    const item = make("li");
    item.dataset.at = i;
    item.hidden = !seen(p);
    const size = `${Math.round(p.box.x_max - p.box.x_min)} × ${Math.round(p.box.y_max - p.box.y_min)} px`;
    const row = make("button", "object");
    row.type = "button";
    row.append(swatch(p.class_id), make("span", "label", p.label), make("span", "size", size));
    row.append(make("span", "score", percent(p.score)));
    stand(row, i);
    item.append(row);
    return item;
  });
}

// Hovering or focusing a row makes its box, or its class, stand out.
function stand(node, what) {
  for (const name of ["pointerenter", "focusin"]) node.addEventListener(name, () => choose(what));
  for (const name of ["pointerleave", "focusout"]) node.addEventListener(name, () => choose(null));
}

function choose(what) {
  chosen = what;
  for (const row of at("objects").children) row.classList.toggle("chosen", Number(row.dataset.at) === what);
  draw();
  paint();
}

const standsOut = (p, i) => chosen === null || chosen === i || chosen.class === p.class_id;

// Drawing

function draw() {
  const { width, height } = answer.image;
  const shown = answer.predictions?.map((p, i) => [p, i]).filter(([p]) => p.box && seen(p)) ?? [];
  // Text is measured in px of the picture, so its size follows how large the picture stands on the page.
  const { clientWidth, clientHeight } = at("preview");
  const unit = 1 / (Math.min(clientWidth / width, clientHeight / height) || 1);
  const overlay = at("overlay");
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  overlay.toggleAttribute("hidden", shown.length === 0); // SVG has no property of that name
  const wordy = shown.length <= CAPTIONS;
  const marks = shown.reverse().map(([p, i]) => {
    const group = shape("g", { class: standsOut(p, i) ? "mark" : "mark faint", "data-at": i });
    const place = {
      x: p.box.x_min, y: p.box.y_min, width: p.box.x_max - p.box.x_min, height: p.box.y_max - p.box.y_min,
    };
    group.append(shape("rect", { ...place, class: "halo", stroke: ink(p.class_id) }));
    group.append(shape("rect", { ...place, class: "frame", stroke: colour(p.class_id) }));
    if (wordy || chosen === i) group.append(...tag(p, unit, width));
    group.addEventListener("pointerenter", () => at("objects").children[i]?.classList.add("chosen"));
    group.addEventListener("pointerleave", () => at("objects").children[i]?.classList.remove("chosen"));
    return group;
  });
  // The chosen one lies on top.
  marks.sort((a, b) => (Number(a.dataset.at) === chosen) - (Number(b.dataset.at) === chosen));
  overlay.replaceChildren(...marks);
  for (const ground of overlay.querySelectorAll(".ground")) {
    const words = ground.nextElementSibling;
    const wide = words.getComputedTextLength() + 8 * unit;
    const left = Math.max(0, Math.min(Number(ground.getAttribute("x")), width - wide));
    ground.setAttribute("width", wide);
    ground.setAttribute("x", left);
    words.setAttribute("x", left + 4 * unit);
  }
}

function tag(p, unit, width) {
  const high = 18 * unit;
  const x = Math.max(0, Math.min(p.box.x_min, width));
  const y = p.box.y_min >= high ? p.box.y_min - high : Math.max(0, p.box.y_min);
  const words = `${p.label} ${p.score === null ? "?" : p.score.toFixed(2)}`;
  return [
    shape("rect", { x, y, height: high, class: "ground", fill: colour(p.class_id) }),
    shape("text", { x, y: y + 13.5 * unit, "font-size": 13 * unit, fill: ink(p.class_id) }, words),
  ];
}

function paint() {
  const canvas = at("paint");
  canvas.hidden = !ids;
  if (!ids) return;
  const { width, height } = answer.image;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const labels = new Map(answer.classes.map((c) => [c.class_id, c.label]));
  const strength = Number(at("strength").value);
  const table = new Uint32Array(256);
  const tint = new Uint8ClampedArray(table.buffer);
  for (const [id, label] of labels) {
    if (hidden.has(label)) continue;
    const faint = chosen !== null && chosen.class !== undefined && chosen.class !== id;
    tint.set([...rgb(id), 255 * (faint ? 0.15 * strength : strength)], 4 * id);
  }
  const out = new Uint32Array(ids.length);
  const enough = sure && cut !== null ? 255 * cut : 0;
  for (let i = 0; i < ids.length; i++) {
    // Void is hatched, as in drawn pictures, and so is what is less sure than the slider says.
    const shown = ids[i] !== VOID && (!enough || sure[i] >= enough || !table[ids[i]]);
    out[i] = shown ? table[ids[i]] : ((i % width) + Math.floor(i / width)) % 8 < 2 ? 0xffc8c8c8 : 0x80000000;
  }
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(out.buffer), width, height), 0, 0);
}

// The threshold

function tellThreshold() {
  const own = Object.values(thresholds);
  const value = cut ?? (own.length ? Math.min(...own) : 0);
  at("threshold").value = value;
  const several = new Set(own).size > 1 && cut === null;
  at("threshold-value").textContent = several ? "by class" : value.toFixed(2);
  at("threshold-own").disabled = cut === null;
}

// heard: called when the threshold was moved, so that the status and the request for a terminal keep up.
export function listen(heard) {
  at("threshold").addEventListener("input", () => {
    cut = Number(at("threshold").value);
    render();
  });
  at("threshold").addEventListener("change", heard);
  at("threshold-own").addEventListener("click", () => {
    cut = null;
    render();
    heard();
    at("threshold").focus();
  });
  at("strength").addEventListener("input", paint);
  at("preview").addEventListener("load", () => answer && draw());
  addEventListener("resize", () => answer && draw());
  at("objects").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const list = [...at("objects").querySelectorAll("li:not([hidden]) > button")];
    list[list.indexOf(document.activeElement) + step]?.focus();
    event.preventDefault();
  });
}
