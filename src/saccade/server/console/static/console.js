// The console: choose a model, give a picture, read the answer. It only speaks the native API.
// Every text goes in by textContent: a class name is data and must never become markup.

import * as marks from "./marks.js";
import { at, bar as line, make, percent } from "./pieces.js";

const state = { models: [], picture: null, key: "", asked: 0, address: null, told: "", timer: 0, details: new Map() };

function say(text) {
  at("status").textContent = text;
}

const headers = () => (state.key ? { authorization: `Bearer ${state.key}` } : {});

// Models

const LOOK_MS = 1000;

// again: asked for by the clock or a look at the page, so nothing is said unless something changed.
async function loadModels(again = false) {
  clearTimeout(state.timer);
  let record;
  try {
    const response = await fetch("/api/v1/models", { headers: headers() });
    record = await response.json();
    if (!response.ok) return again || refuse(record);
  } catch {
    return again || refuse(away());
  }
  const text = JSON.stringify(record);
  const changed = text !== state.told;
  const idle = !choices().length || !state.picture;
  state.told = text;
  if (record.models.some(loads)) state.timer = setTimeout(() => loadModels(true), LOOK_MS);
  if (again && !changed) return;
  if (!again) at("problem").hidden = true;
  at("key-box").hidden = !state.key;
  state.models = record.models;
  const chosen = at("model").value;
  at("model").replaceChildren(...choices().map((name) => new Option(name, name, false, name === chosen)));
  at("model").disabled = choices().length === 0;
  at("models").replaceChildren(...state.models.map(card));
  state.details.clear();
  const coming = state.models.filter(loads).map((m) => m.name);
  if (again && !idle) return showCurl(); // an answer stands there
  at("problem").hidden = true;
  if (choices().length) say("Ready. Choose, drop or paste a picture.");
  else say(coming.length ? `${coming.join(", ")}: loading.` : "No model is ready. Push one, or name a package.");
  showCurl();
}

const loads = (model) => model.versions.some((v) => v.state === "loading");

const ready = (model) => model.versions.some((v) => v.state === "ready");

function choices() {
  const served = state.models.filter(ready);
  return served.flatMap((m) => [m.name, ...Object.keys(m.aliases).map((alias) => `${m.name}@${alias}`)]);
}

function card(model) {
  const item = make("li");
  item.append(make("strong", "", model.name), ` ${model.task ?? ""}`);
  const versions = model.versions.map((v) => `version ${v.version} ${v.state}${v.reason ? ` (${v.reason})` : ""}`);
  const aliases = Object.entries(model.aliases).map(([alias, version]) => `@${alias} is version ${version}`);
  item.append(make("small", "", [...versions, ...aliases].join(", ")));
  return item;
}

// Asking

function address(threshold = marks.threshold()) {
  const cut = threshold === null ? "" : `&threshold=${threshold}`;
  return `/api/v1/models/${at("model").value || "MODEL"}/predict?top_k=${at("top-k").value}${cut}`;
}

// The model's own thresholds, asked once: until then, and where they cannot be had, everything is shown.
async function thresholds(name) {
  if (!state.details.has(name)) {
    try {
      const response = await fetch(`/api/v1/models/${name}`, { headers: headers() });
      if (!response.ok) return {};
      state.details.set(name, (await response.json()).thresholds ?? {});
    } catch {
      return {};
    }
  }
  return state.details.get(name);
}

async function ask() {
  if (!state.picture || at("model").disabled) return;
  const turn = ++state.asked; // a slow answer must not replace a newer one
  document.body.classList.add("busy");
  say("Asking.");
  const began = performance.now();
  let response, record;
  try {
    const type = state.picture.type || "application/octet-stream";
    // All scores are asked for, and how sure pixels are, so that the slider answers at once.
    response = await fetch(`${address(0)}&confidence=true`, {
      method: "POST", body: state.picture, headers: { ...headers(), "content-type": type },
    });
    record = await response.json();
  } catch {
    if (turn === state.asked) answered(() => refuse(away()));
    return;
  }
  const total = performance.now() - began;
  if (turn !== state.asked) return;
  if (!response.ok) return answered(() => refuse(record));
  const own = await thresholds(at("model").value);
  if (turn !== state.asked) return;
  try {
    await show(record, own, timings(response.headers.get("server-timing") ?? "", total));
  } catch (fault) {
    console.error(fault);
    refuse({ title: "This browser could not show the answer", detail: "The server answered. Try a newer browser, or curl." });
  }
  answered();
}

function answered(then = () => {}) {
  document.body.classList.remove("busy");
  then();
}

function timings(text, total) {
  const rows = text.split(",").map((part) => /^\s*([\w-]+)\s*;.*?dur=([\d.]+)/.exec(part)).filter(Boolean)
    .map(([, name, duration]) => [name, Number(duration)]);
  return [...rows, ["round trip", total]];
}

// Showing

async function show(record, own, times) {
  at("problem").hidden = true;
  const whole = !marks.placed(record) && !marks.painted(record);
  const rows = whole ? record.predictions ?? [] : [];
  // Of tags those count that reach the model's thresholds, as without this page; the others are shown faint.
  const counts = (row) => row.score === null || row.score >= (own[row.label] ?? 0);
  at("bars").replaceChildren(...rows.map((row) => bar(row, counts(row))));
  at("top-k-box").hidden = !whole;
  at("timings").hidden = false;
  at("timings").tBodies[0].replaceChildren(...times.map(([name, ms]) => {
    const row = make("tr");
    const head = make("th", "", name);
    head.scope = "row";
    row.append(head, make("td", "", ms.toFixed(1)));
    return row;
  }));
  const tail = `${record.model} version ${record.version}, ${times.at(-1)[1].toFixed(0)} ms.`;
  if (whole) {
    marks.clear();
    const best = rows.find(counts);
    say(`${best ? `${best.label}, ${percent(best.score)}` : "nothing found"}. ${tail}`);
    return;
  }
  await marks.show(record, own);
  state.tail = tail;
  say(`${marks.summary()}. ${tail}`);
}

function bar({ label, score }, counts) {
  const item = make("li", counts ? "" : "below");
  if (!counts) item.title = "below the model's threshold: not part of its answer";
  item.append(make("span", "label", label), make("span", "score", percent(score)), line(score));
  return item;
}

function away() {
  return { title: "The server does not answer", detail: "Is it running? Look at its terminal, then try again." };
}

// A problem+json tells what was expected, what came, and the cure.
function refuse(problem) {
  at("bars").replaceChildren();
  marks.clear();
  at("timings").hidden = true;
  at("problem-title").textContent = problem.title ?? "The server refused";
  at("problem-detail").textContent = problem.detail ?? "";
  at("problem-link").textContent = problem.code ? `About ${problem.code}` : "All errors";
  at("problem-link").href = problem.code ? `/docs/errors#${encodeURIComponent(problem.code)}` : "/docs/errors";
  at("problem").hidden = false;
  if (problem.code === "unauthenticated") at("key-box").hidden = false;
  say("No answer.");
}

// The picture

function take(file) {
  if (!file) return;
  state.picture = file;
  if (state.address) URL.revokeObjectURL(state.address);
  state.address = URL.createObjectURL(file);
  marks.clear();
  at("preview").src = state.address;
  at("preview").alt = `Your picture ${file.name ?? ""}`.trim();
  at("stage").hidden = false;
  document.body.classList.add("has-picture");
  at("drop-title").textContent = file.name || "Pasted picture";
  showCurl();
  ask();
}

function showCurl() {
  const picture = state.picture;
  const name = (picture?.name || "photo.jpg").replaceAll("'", "'\\''");
  const type = picture?.type || "image/jpeg";
  // A line a part: in a narrow box a longer one would be broken before its backslash.
  const parts = [`curl --data-binary '@${name}'`, `-H 'Content-Type: ${type}'`];
  if (!at("key-box").hidden) parts.push('-H "Authorization: Bearer $SACCADE_KEY"');
  at("curl").textContent = [...parts, `'${location.origin}${address()}'`].join(" \\\n  ");
}

async function copyCurl() {
  try {
    await navigator.clipboard.writeText(at("curl").textContent);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(at("curl"));
    say("Selected; copy it with Ctrl+C.");
  }
}

at("preview").addEventListener("error", () => {
  at("stage").hidden = true; // a damaged picture: the answer says so
  document.body.classList.remove("has-picture");
});
const drop = at("drop");
drop.addEventListener("click", () => at("file").click());
at("file").addEventListener("change", (event) => {
  take(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget === null && drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => take(event.clipboardData.files[0]));
for (const id of ["model", "top-k"]) {
  at(id).addEventListener("change", () => {
    if (id === "model") marks.forget();
    showCurl();
    ask();
  });
}
function useKey() {
  state.key = at("key").value.trim();
  loadModels();
}
at("use-key").addEventListener("click", useKey);
at("key").addEventListener("keydown", (event) => event.key === "Enter" && useKey());
at("copy").addEventListener("click", copyCurl);
marks.listen(() => {
  showCurl();
  say(`${marks.summary()}. ${state.tail}`);
});
addEventListener("visibilitychange", () => document.visibilityState === "visible" && loadModels(true));
loadModels();
