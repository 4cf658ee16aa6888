// Shows /overview and each model's contract, and sends a row. No library, nothing from elsewhere; text is never HTML.
const REFRESH_MS = 10000;
const COUNTED_MS = 1200; // until every worker has told what it answered
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

function draw(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(properties).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
}

function bars(traffic) {
  const most = Math.max(1, ...traffic.minutes.map((minute) => minute.requests));
  const label = `Requests a minute: ${traffic.minutes.map((minute) => minute.requests).join(", ") || "none"}`;
  const picture = draw("svg", { class: "minutes", viewBox: "0 0 600 64", preserveAspectRatio: "none", role: "img", "aria-label": label });
  const from = 60 - traffic.minutes.length;
  traffic.minutes.forEach((minute, index) => {
    for (const [value, style] of [[minute.requests, ""], [minute.errors, "bad"]]) {
      const height = (value / most) * 62;
      picture.append(draw("rect", { x: (from + index) * 10, y: 64 - height, width: 8, height, class: style }));
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

function percent(share, digits = 1) {
  return `${(share * 100).toFixed(digits)} %`;
}

function reliability(curve) {
  if (!curve || !curve.points.length) return null;
  const most = Math.max(...curve.points.map((point) => point.rows));
  const at = (share) => ({ x: 14 + share * 80, y: 86 - share * 80 });
  const line = (from, to, style) => draw("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y, class: style });
  const word = (text, x, y, anchor) => draw("text", { x, y, "text-anchor": anchor }, text);
  const what = curve.of === null ? "the answered class" : curve.of;
  const picture = draw("svg", { class: "reliability", viewBox: "0 0 100 100", role: "img",
    "aria-label": `Reliability of the probability of ${what}: what was claimed beside what came true; the table below has the figures` },
    line(at(0), { x: 94, y: 86 }, "axis"), line(at(0), { x: 14, y: 6 }, "axis"), line(at(0), at(1), "ideal"),
    word("0", 14, 92, "middle"), word("claimed", 54, 97, "middle"), word("1", 94, 92, "middle"),
    word("0", 11, 87.5, "end"), word("came true", 14, 4, "start"), word("1", 11, 7.5, "end"));
  for (const point of curve.points) {
    picture.append(line({ x: at(point.claimed).x, y: at(point.lower).y }, { x: at(point.claimed).x, y: at(point.upper).y }, "interval"),
      draw("circle", { cx: at(point.claimed).x, cy: at(point.observed).y, r: 0.8 + 1.7 * Math.sqrt(point.rows / most) }));
  }
  const rows = curve.points.map((point) => make("tr", {},
    make("th", { scope: "row", class: "number" }, percent(point.claimed)), make("td", { class: "number" }, percent(point.observed)),
    make("td", { class: "number faint" }, `${percent(point.lower)} – ${percent(point.upper)}`), make("td", { class: "number" }, count(point.rows))));
  const head = make("tr", {}, ...["claimed", "came true", "95 % interval", "rows"].map((text) => make("th", { scope: "col", class: "number" }, text)));
  return make("div", {}, make("figure", {}, picture,
    make("figcaption", {}, `Probability of ${what}, on the frozen test part. A circle's area is its number of rows; on the dashed line what is claimed comes true.`)),
    make("details", {}, make("summary", {}, "Reliability as a table"),
      make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
}

// ---- try a row -----------------------------------------------------------------------------------------------------
function field(model, column) {
  const id = `${model}-${column.name}`;
  const unit = column.type === "timestamp" ? "UTC" : column.unit;
  const hint = [unit, column.nullable ? "may be missing" : null].filter(Boolean).join(", ");
  const common = { id, name: column.name, "aria-describedby": `${id}-problem`, title: column.description };
  const choices = column.type === "boolean" ? ["true", "false"] : column.categories;
  const example = column.example === null || column.example === undefined ? "" : String(column.example);
  let input;
  if (choices) {
    const options = column.nullable ? ["", ...choices] : choices;
    input = make("select", common, ...options.map((text) => make("option", { value: text, selected: text === example }, text || "missing")));
  } else if (column.type === "string") {
    input = make("input", { ...common, type: "text", value: example });
  } else if (column.type === "timestamp") {
    input = make("input", { ...common, type: "datetime-local", step: 1 });
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
  if (column.type === "timestamp") return new Date(`${text}Z`).toISOString();
  return column.type === "string" ? text : Number(text);
}

function abstains(prediction) {
  const why = prediction.abstain_reason.replaceAll("_", " ");
  const { interval, abstain_below: below, abstain_above: above } = prediction;
  if (below !== undefined && prediction.confidence !== null) return `The model abstains, ${why}: it is ${percent(prediction.confidence)} sure, and answers from ${percent(below)} on.`;
  if (above !== undefined && interval) return `The model abstains, ${why}: ${number(interval.upper - interval.lower)} wide, and it answers up to ${number(above)}.`;
  return `The model abstains: ${why}.`;
}

function answer(prediction, contract) {
  if (prediction.abstained) return make("p", { class: "bad" }, abstains(prediction));
  if (contract.task === "regression") {
    const unit = contract.target_unit ? ` ${contract.target_unit}` : "";
    const { lower, upper } = prediction.interval;
    return make("p", {}, `${contract.target}: `, make("strong", {}, number(prediction.value) + unit),
      ` (between ${number(lower)} and ${number(upper)}${unit}${contract.coverage ? ` in ${number(contract.coverage * 100)} % of cases` : ""})`);
  }
  const rows = Object.entries(prediction.probabilities).map(([label, probability]) => make("tr", {},
    make("th", { scope: "row" }, label), make("td", { class: "number" }, percent(probability)),
    make("td", {}, make("meter", { min: 0, max: 1, value: probability, "aria-label": `probability of ${label}` }))));
  return make("div", {}, make("p", {}, `${contract.target}: `, make("strong", {}, prediction.label)), make("table", {}, make("tbody", {}, ...rows)));
}

const MOST_REASONS = 8;

function explanation(why, row, contract) {
  if (!why) return null;
  const unit = contract.target_unit ? ` ${contract.target_unit}` : "";
  const shown = (value) => (why.scale === "probability" ? percent(value) : `${number(value)}${unit}`);
  const size = (value) => (why.scale === "probability" ? (Math.abs(value) * 100).toFixed(1) : number(Math.abs(value)));
  const moved = (value) => `${value < 0 ? "−" : "+"}${size(value)}`;
  const given = Object.fromEntries(contract.inputs.map((column) => [column.name, column.unit]));
  const filledIn = new Set(contract.windows.filter((window) => row[window.asked_at] !== null).flatMap((window) => Object.keys(window.columns)));
  const missing = (name) => (filledIn.has(name) ? "from events" : "missing");
  const sorted = Object.entries(why.contributions).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  const reasons = sorted.slice(0, MOST_REASONS).map(([name, value]) => ({ name: name.replaceAll("_", " "),
    told: row[name] === null ? missing(name) : `${row[name]}${given[name] ? ` ${given[name]}` : ""}`, value, error: why.standard_errors && why.standard_errors[name] }));
  const others = sorted.slice(MOST_REASONS);
  if (others.length) reasons.push({ name: `${others.length} others together`, told: "", value: others.reduce((sum, [, value]) => sum + value, 0) });
  if (why.rest) reasons.push({ name: "no column alone", told: "", value: why.rest });
  const most = Math.max(...reasons.map((reason) => Math.abs(reason.value))) || 1;
  const rows = reasons.map(({ name, told, value, error }) => {
    const width = (Math.abs(value) / most) * 48;
    return make("tr", {}, make("th", { scope: "row" }, name, told ? make("span", { class: "faint" }, ` ${told}`) : null),
      make("td", { class: "number" }, moved(value), error ? make("span", { class: "faint" }, ` ± ${size(error)}`) : null),
      make("td", { class: "bar" }, draw("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
        draw("line", { x1: 50, x2: 50, y1: 0, y2: 10, class: "axis" }), draw("rect", { x: value < 0 ? 50 - width : 50, y: 2, width, height: 6, class: value < 0 ? "down" : "up" }))));
  });
  const head = make("tr", {}, make("th", { scope: "col" }, "column"), make("th", { scope: "col", class: "number" }, `moves it by${why.scale === "probability" ? ", points" : unit && `,${unit}`}`),
    make("th", { scope: "col" }, make("span", { class: "unseen" }, "drawn")));
  const what = why.scale === "probability" ? `the probability of ${why.of}` : why.of;
  return make("div", { class: "why" }, make("h4", {}, "Why"),
    make("p", {}, `On average of training rows ${what} is ${shown(why.baseline)}; here it is ${shown(why.output)}.`),
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)),
    make("p", { class: "faint" }, `Shapley values${why.permutations ? `, ${why.permutations} permutations` : ""}. They say what the model goes by, not what is the cause.`));
}

function rowForm(model, description) {
  const { contract, explainable, request_columns: columns } = description;
  const result = make("div", { "aria-live": "polite" });
  const form = make("form", { class: "row", novalidate: true, onsubmit: send },
    ...columns.map((column) => field(model, column)), make("div", { class: "buttons" }, make("button", {}, "Predict")));

  async function send(event) {
    event.preventDefault();
    const row = Object.fromEntries(columns.map((column) => [column.name, valueOf(column, form.elements[column.name].value)]));
    for (const column of columns) {
      form.elements[column.name].removeAttribute("aria-invalid");
      document.getElementById(`${model}-${column.name}-problem`).textContent = "";
    }
    try {
      const body = await call(`/models/${encodeURIComponent(model)}/predict`,
        { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ rows: [row], explain: explainable }) });
      const [prediction] = body.predictions;
      const parts = [answer(prediction, contract), explanation(prediction.explanation, row, contract),
        make("p", { class: "faint" }, `version ${body.version}, request ${body.request_id}`)];
      result.replaceChildren(...parts.filter((part) => part !== null));
      setTimeout(refresh, COUNTED_MS);
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
  const parts = { live: make("div"), traffic: make("div"), trial: make("div"), verdict: make("div"), reliability: make("div"), form: make("div") };
  const element = make("section", { "aria-labelledby": title, id: `model-${model.name}` },
    make("h2", { id: title }, model.name),
    make("div", { class: "columns" },
      make("div", {}, make("h3", {}, "Answers"), parts.live, make("h3", {}, "Trial"), parts.trial),
      make("div", {}, make("h3", {}, "Last hour"), parts.traffic)),
    make("h3", {}, "Champion"), make("div", { class: "columns" }, parts.verdict, parts.reliability),
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
  const curve = reliability((description.gate_report || {}).reliability);
  section.parts.reliability.hidden = curve === null; // a regression has none, and the verdict takes its place
  if (curve !== null) section.parts.reliability.replaceChildren(curve);
  section.parts.form.replaceChildren(rowForm(model.name, description));
}

await refresh();
setInterval(() => { if (!document.hidden && document.getElementById("key").hidden) refresh(); }, REFRESH_MS);
