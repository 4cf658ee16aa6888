// Shows /overview and each model's contract, and sends a row. No library, nothing from elsewhere; text is never HTML.
const REFRESH_MS = 10000;
const place = document.getElementById("models");
const contracts = new Map(); // "model@version" -> description

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function number(value, digits = 4) {
  return new Intl.NumberFormat("en", { maximumSignificantDigits: digits }).format(value);
}

function count(value) {
  return new Intl.NumberFormat("en").format(value);
}

async function call(path, options = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...(options.headers || {}), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  const body = await answer.json();
  if (answer.status === 401 || (answer.status === 403 && !options.method)) askForKey(key ? body.detail : "");
  if (!answer.ok) throw Object.assign(new Error(body.detail || answer.statusText), { problem: body, status: answer.status });
  return body;
}

function askForKey(problem) {
  const form = document.getElementById("key");
  document.getElementById("key-problem").textContent = problem;
  place.replaceChildren();
  if (form.hidden) {
    form.hidden = false;
    document.getElementById("key-text").focus();
  }
}

document.getElementById("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", document.getElementById("key-text").value.trim());
  document.getElementById("key").hidden = true;
  refresh();
});

// ---- what is served ------------------------------------------------------------------------------------------------
function figures(traffic) {
  const seconds = (value) => (value === null ? "–" : `≤ ${number(value * 1000)} ms`);
  const rate = traffic.seconds ? traffic.requests / traffic.seconds : 0;
  const pairs = [
    ["requests", count(traffic.requests)], ["a second", number(rate, 3)], ["half within", seconds(traffic.p50_s)],
    ["99 % within", seconds(traffic.p99_s)], ["server errors", count(traffic.errors)],
  ];
  return make("dl", { class: "figures" }, ...pairs.map(([name, text]) =>
    make("div", {}, make("dt", {}, name), make("dd", { class: name === "server errors" && traffic.errors ? "bad" : null }, text))));
}

function bars(traffic) {
  const space = "http://www.w3.org/2000/svg";
  const most = Math.max(1, ...traffic.minutes.map((minute) => minute.requests));
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("viewBox", "0 0 600 64");
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `Requests a minute: ${traffic.minutes.map((minute) => minute.requests).join(", ") || "none"}`);
  const from = 60 - traffic.minutes.length;
  traffic.minutes.forEach((minute, index) => {
    for (const [value, style] of [[minute.requests, ""], [minute.errors, "bad"]]) {
      const bar = document.createElementNS(space, "rect");
      const height = (value / most) * 62;
      const shape = { x: (from + index) * 10, y: 64 - height, width: 8, height, class: style };
      Object.entries(shape).forEach(([name, each]) => bar.setAttribute(name, each));
      picture.append(bar);
    }
  });
  return make("figure", {}, picture, make("figcaption", {}, "Requests a minute, of the last 60 minutes"));
}

function versions(model) {
  const rows = model.live.map((each) => make("tr", {},
    make("th", { scope: "row" }, each.alias), make("td", { class: "number" }, each.version),
    make("td", { class: "number since" }, new Date(each.since * 1000).toLocaleString())));
  const head = make("tr", {}, make("th", { scope: "col" }, "alias"), make("th", { scope: "col", class: "number" }, "version"),
    make("th", { scope: "col", class: "number" }, "since"));
  return rows.length ? make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)) : make("p", { class: "bad" }, "No version answers.");
}

function trial(state) {
  if (state.state === "none") return make("p", { class: "faint" }, "No challenger is on trial.");
  const what = [];
  if (state.trial.canary_percent) what.push(`answers ${number(state.trial.canary_percent)} % of the callers`);
  if (state.trial.shadow) what.push("sees copies of the other requests");
  const parts = [make("p", {}, `The ${state.trial.alias} ${what.join(" and ") || "does nothing"}: `,
    make("strong", { class: state.state === "running" ? "good" : "bad" }, state.state))];
  if (state.detail) parts.push(make("p", { class: "bad" }, state.detail));
  return make("div", {}, ...parts);
}

function verdict(report) {
  if (!report || !report.verdict) return make("p", { class: "faint" }, "The bundle holds no report of the gate.");
  const rules = (report.rules || []).map((rule) =>
    make("li", {}, make("span", { class: rule.passed ? "good" : "bad" }, rule.passed ? "passed " : "failed "), rule.why || rule.name));
  const metrics = Object.entries((report.metrics || {}).candidate || {}).map(([name, figure]) => make("tr", {},
    make("th", { scope: "row" }, name.replaceAll("_", " ")), make("td", { class: "number" }, number(figure.value)),
    make("td", { class: "number faint" }, `${number(figure.lower)} – ${number(figure.upper)}`)));
  const head = make("tr", {}, ...["metric", "value", "95 % interval"].map((text, index) =>
    make("th", { scope: "col", class: index ? "number" : null }, text)));
  return make("div", {}, make("p", {}, "Verdict of the gate: ", make("strong", {}, report.verdict)),
    rules.length ? make("ul", {}, ...rules) : null,
    metrics.length ? make("details", {}, make("summary", {}, "Figures on the frozen test part"),
      make("table", {}, make("thead", {}, head), make("tbody", {}, ...metrics))) : null);
}

// ---- try a row -----------------------------------------------------------------------------------------------------
function field(model, column) {
  const id = `${model}-${column.name}`;
  const hint = [column.unit, column.nullable ? "may be missing" : null].filter(Boolean).join(", ");
  const common = { id, name: column.name, "aria-describedby": `${id}-problem`, title: column.description };
  const choices = column.type === "boolean" ? ["true", "false"] : column.categories;
  const example = column.example === null || column.example === undefined ? "" : String(column.example);
  let input;
  if (choices) {
    const options = column.nullable ? ["", ...choices] : choices;
    input = make("select", common, ...options.map((text) => make("option", { value: text, selected: text === example }, text || "missing")));
  } else if (column.type === "string") {
    input = make("input", { ...common, type: "text", value: example });
  } else {
    input = make("input", { ...common, type: "number", value: example, min: column.minimum, max: column.maximum,
      step: column.type === "integer" ? 1 : "any" });
  }
  input.required = !column.nullable;
  return make("div", { class: "field" },
    make("label", { for: id }, column.name.replaceAll("_", " "), hint ? make("span", {}, ` ${hint}`) : null), input,
    make("p", { class: "problem", id: `${id}-problem` }));
}

function valueOf(column, text) {
  if (text === "") return null;
  if (column.type === "boolean") return text === "true";
  return column.type === "string" ? text : Number(text);
}

function answer(prediction, contract) {
  if (prediction.abstained) return make("p", { class: "bad" }, `The model abstains: ${prediction.abstain_reason.replaceAll("_", " ")}.`);
  if (contract.task === "regression") {
    const unit = contract.target_unit ? ` ${contract.target_unit}` : "";
    const { lower, upper } = prediction.interval;
    return make("p", {}, `${contract.target}: `, make("strong", {}, number(prediction.value) + unit),
      ` (between ${number(lower)} and ${number(upper)}${unit}${contract.coverage ? ` in ${number(contract.coverage * 100)} % of cases` : ""})`);
  }
  const rows = Object.entries(prediction.probabilities).map(([label, probability]) => make("tr", {},
    make("th", { scope: "row" }, label), make("td", { class: "number" }, `${(probability * 100).toFixed(1)} %`),
    make("td", {}, make("meter", { min: 0, max: 1, value: probability, "aria-label": `probability of ${label}` }))));
  return make("div", {}, make("p", {}, `${contract.target}: `, make("strong", {}, prediction.label)), make("table", {}, make("tbody", {}, ...rows)));
}

function rowForm(model, contract) {
  const result = make("div", { "aria-live": "polite" });
  const form = make("form", { class: "row", novalidate: true, onsubmit: send },
    ...contract.inputs.map((column) => field(model, column)), make("div", { class: "buttons" }, make("button", {}, "Predict")));

  async function send(event) {
    event.preventDefault();
    const row = Object.fromEntries(contract.inputs.map((column) => [column.name, valueOf(column, form.elements[column.name].value)]));
    for (const column of contract.inputs) {
      form.elements[column.name].removeAttribute("aria-invalid");
      document.getElementById(`${model}-${column.name}-problem`).textContent = "";
    }
    try {
      const body = await call(`/models/${encodeURIComponent(model)}/predict`,
        { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ rows: [row] }) });
      result.replaceChildren(answer(body.predictions[0], contract), make("p", { class: "faint" }, `version ${body.version}, request ${body.request_id}`));
    } catch (error) {
      result.replaceChildren(make("p", { class: "bad" }, error.message));
      const wrong = (error.problem && error.problem.errors) || [];
      for (const each of wrong) {
        const name = each.pointer.split("/").pop();
        const input = form.elements[name];
        if (!input) continue;
        input.setAttribute("aria-invalid", "true");
        document.getElementById(`${model}-${name}-problem`).textContent = each.message;
      }
      const first = form.querySelector("[aria-invalid]");
      if (first) first.focus();
    }
  }
  return make("div", {}, form, result);
}

// ---- put together --------------------------------------------------------------------------------------------------
function card(model) {
  const title = `title-${model.name}`;
  const parts = { live: make("div"), traffic: make("div"), trial: make("div"), verdict: make("div"), form: make("div") };
  const element = make("section", { "aria-labelledby": title, id: `model-${model.name}` },
    make("h2", { id: title }, model.name),
    make("div", { class: "columns" },
      make("div", {}, make("h3", {}, "Answers"), parts.live, make("h3", {}, "Trial"), parts.trial),
      make("div", {}, make("h3", {}, "Last hour"), parts.traffic)),
    make("h3", {}, "Champion"), parts.verdict,
    make("details", {}, make("summary", {}, "Try a row"), parts.form));
  return Object.assign(element, { parts });
}

async function refresh() {
  let overview;
  try {
    overview = await call("/overview");
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) document.getElementById("notices").replaceChildren(make("p", { class: "bad" }, `The service does not answer: ${error.message}`));
    return;
  }
  const notices = [...Object.entries(overview.unready).map(([name, reason]) => `${name}: ${reason}`), ...overview.warnings];
  document.getElementById("notices").replaceChildren(...notices.map((text) => make("p", { class: "bad" }, text)));
  const known = new Set(overview.models.map((model) => `model-${model.name}`));
  for (const child of [...place.children]) if (!known.has(child.id)) child.remove();
  for (const model of overview.models) {
    let section = document.getElementById(`model-${model.name}`);
    if (!section) place.append((section = card(model)));
    section.parts.live.replaceChildren(versions(model));
    section.parts.traffic.replaceChildren(figures(model.traffic), bars(model.traffic));
    section.parts.trial.replaceChildren(trial(model.trial));
    await showChampion(model, section);
  }
}

async function showChampion(model, section) {
  const champion = model.live.find((each) => each.alias === "champion");
  const key = champion && `${model.name}@${champion.version}`;
  if (!champion || section.dataset.champion === key) return; // a form that is being filled in stays
  if (!contracts.has(key)) contracts.set(key, await call(`/models/${encodeURIComponent(model.name)}/versions/${champion.version}`));
  const description = contracts.get(key);
  section.dataset.champion = key;
  section.parts.verdict.replaceChildren(verdict(description.gate_report));
  section.parts.form.replaceChildren(rowForm(model.name, description.contract));
}

await refresh();
setInterval(() => { if (!document.hidden && document.getElementById("key").hidden) refresh(); }, REFRESH_MS);
