// The console: choose a model, give a picture, read the answer. It only speaks the native API.
// Every text goes in by textContent: a class name is data and must never become markup.

const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
const state = { models: [], picture: null, key: "", asked: 0, address: null };

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function say(text) {
  at("status").textContent = text;
}

const headers = () => (state.key ? { authorization: `Bearer ${state.key}` } : {});

// Models

async function loadModels() {
  let record;
  try {
    const response = await fetch("/api/v1/models", { headers: headers() });
    record = await response.json();
    if (!response.ok) return refuse(record);
  } catch {
    return refuse(away());
  }
  at("problem").hidden = true;
  at("key-box").hidden = !state.key;
  state.models = record.models;
  const chosen = at("model").value;
  at("model").replaceChildren(...choices().map((name) => new Option(name, name, false, name === chosen)));
  at("model").disabled = choices().length === 0;
  at("models").replaceChildren(...state.models.map(card));
  say(choices().length ? "Ready. Choose, drop or paste a picture." : "No model is ready. Push one, or name a package.");
  showCurl();
}

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

function address() {
  return `/api/v1/models/${at("model").value}/predict?top_k=${at("top-k").value}`;
}

async function ask() {
  if (!state.picture || at("model").disabled) return;
  const turn = ++state.asked; // a slow answer must not replace a newer one
  document.body.classList.add("busy");
  say("Asking.");
  const began = performance.now();
  try {
    const type = state.picture.type || "application/octet-stream";
    const response = await fetch(address(), {
      method: "POST", body: state.picture, headers: { ...headers(), "content-type": type },
    });
    const record = await response.json();
    const total = performance.now() - began;
    if (turn !== state.asked) return;
    if (!response.ok) return refuse(record);
    show(record, timings(response.headers.get("server-timing") ?? "", total));
  } catch {
    if (turn === state.asked) refuse(away());
  } finally {
    if (turn === state.asked) document.body.classList.remove("busy");
  }
}

function timings(text, total) {
  const rows = text.split(",").map((part) => /^\s*([\w-]+)\s*;.*?dur=([\d.]+)/.exec(part)).filter(Boolean)
    .map(([, name, duration]) => [name, Number(duration)]);
  return [...rows, ["round trip", total]];
}

// Showing

function show(record, times) {
  at("problem").hidden = true;
  const rows = record.predictions ?? parts(record);
  at("bars").replaceChildren(...rows.map(bar));
  at("timings").hidden = false;
  at("timings").tBodies[0].replaceChildren(...times.map(([name, ms]) => {
    const row = make("tr");
    const head = make("th", "", name);
    head.scope = "row";
    row.append(head, make("td", "", ms.toFixed(1)));
    return row;
  }));
  drawOver(record);
  const best = rows[0];
  const found = best ? `${best.label}, ${percent(best.score)}` : "nothing found";
  say(`${found}. ${record.model} version ${record.version}, ${times.at(-1)[1].toFixed(0)} ms.`);
}

// An answer with a mask names the share of each class instead of predictions.
function parts(record) {
  return (record.classes ?? []).map((c) => ({ label: c.label, score: c.fraction })).sort((a, b) => b.score - a.score);
}

// Among many classes every share is small: two decimals below one percent.
const percent = (score) => (score === null ? "not a number" : `${(100 * score).toFixed(score < 0.01 ? 2 : 1)} %`);

function bar({ label, score }) {
  const item = make("li");
  item.append(make("span", "label", label), make("span", "score", percent(score)));
  const line = shape("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" });
  line.append(shape("rect", { width: 100 * (score ?? 0), height: 1 }));
  item.append(line);
  return item;
}

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function drawOver(record) {
  const { width, height } = record.image;
  const marks = (record.predictions ?? []).filter((p) => p.box).map(({ box, label }) => {
    const rect = shape("rect", {
      x: box.x_min, y: box.y_min, width: box.x_max - box.x_min, height: box.y_max - box.y_min,
    });
    const title = shape("title", {});
    title.textContent = label;
    rect.append(title);
    return rect;
  });
  const mask = typeof record.mask === "string" ? record.mask : record.mask?.png;
  if (mask) {
    const href = mask.startsWith("data:image/png;base64,") ? mask : `data:image/png;base64,${mask}`;
    marks.unshift(shape("image", { href, width, height }));
  }
  at("overlay").setAttribute("viewBox", `0 0 ${width} ${height}`);
  at("overlay").replaceChildren(...marks);
  at("overlay").hidden = marks.length === 0;
}

function away() {
  return { title: "The server does not answer", detail: "Is it running? Look at its terminal, then try again." };
}

// A problem+json tells what was expected, what came, and the cure.
function refuse(problem) {
  at("bars").replaceChildren();
  at("overlay").hidden = true;
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
  at("overlay").hidden = true;
  at("preview").src = state.address;
  at("preview").alt = `Your picture ${file.name ?? ""}`.trim();
  at("preview").hidden = false;
  at("drop-title").textContent = file.name || "Pasted picture";
  showCurl();
  ask();
}

function showCurl() {
  const picture = state.picture;
  const name = (picture?.name || "photo.jpg").replaceAll("'", "'\\''");
  const type = picture?.type || "image/jpeg";
  const key = at("key-box").hidden ? "" : `-H "Authorization: Bearer $SACCADE_KEY" \\\n`;
  at("curl").textContent =
    `curl --data-binary '@${name}' -H 'Content-Type: ${type}' \\\n${key}'${location.origin}${address()}'`;
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
  at("preview").hidden = true; // a damaged picture: the answer says so
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
loadModels();
