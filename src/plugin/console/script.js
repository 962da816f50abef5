// Everything that comes from outside goes into the document as text: names of
// queries are chosen by whoever asks.

const WINDOW = 120; // Seconds that the charts show.
const MINUTE = 60;
const STALLED = 4000; // Milliseconds without an event that are no chance any more.
const HIDDEN = 30000; // Milliseconds that a page nobody sees goes on listening.

const at = (id) => document.getElementById(id);
/** What the last seconds were like, the newest last; null where nothing was heard. */
const seconds = [];
let latest = null;
let paused = false;

// Figures as text.

const whole = new Intl.NumberFormat("en");
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const two = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? whole.format(Math.round(value)) : three.format(value);
}

function percent(share) {
  if (!Number.isFinite(share)) return "–";
  if (share > 0 && share < 0.0001) return "< 0.01 %";
  return `${three.format(share * 100)} %`;
}

function span(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${three.format(value * 1e6)} µs`;
  if (value < 1) return `${three.format(value * 1e3)} ms`;
  return `${three.format(value)} s`;
}

function octets(value) {
  if (value === null) return "–";
  return `${three.format(value / 2 ** 20)} MiB`;
}

function long(value) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = units.findIndex(([unit]) => value >= unit);
  if (first < 0) return "0 s";
  const [big, name] = units[first];
  const count = Math.floor(value / big);
  const next = units[first + 1];
  const rest = next && count < 10 ? Math.floor((value - count * big) / next[0]) : 0;
  return rest ? `${count} ${name} ${rest} ${next[1]}` : `${count} ${name}`;
}

const moment = (time) => `${new Date(time * 1000).toISOString().replace("T", " ").slice(0, 19)}`;
const ago = (time) => `${long(Math.max(0, latest.time - time))} ago`;

// Sums over the last minute.

function minute() {
  return seconds.slice(-MINUTE).filter((second) => second !== null);
}

/** Seconds that were heard of in the last minute. */
const covered = () => minute().reduce((sum, second) => sum + second.seconds, 0);

/** Rates by key over the last minute, the highest first. */
function rates(pick) {
  const sums = new Map();
  for (const second of minute()) {
    for (const [key, value] of pick(second)) sums.set(key, (sums.get(key) ?? 0) + value * second.seconds);
  }
  const over = covered();
  return [...sums].map(([key, sum]) => [key, sum / over]).sort((a, b) => b[1] - a[1]);
}

const sum = (pairs) => pairs.reduce((total, [, value]) => total + value, 0);

/** Bounds and counts of the last minute; null where nothing was counted. */
function spread() {
  const known = minute().map((second) => second.latency).filter(Boolean);
  const bounds = known.at(-1)?.bounds;
  if (!bounds) return null;
  const counts = new Array(bounds.length + 1).fill(0);
  for (const latency of known) latency.counts.forEach((count, bucket) => (counts[bucket] += count));
  const total = counts.reduce((all, count) => all + count, 0);
  return total > 0 ? { bounds, counts, total } : null;
}

/** A quantile, by its place within its bucket. */
function quantile({ bounds, counts, total }, share) {
  let below = 0;
  for (const [bucket, count] of counts.entries()) {
    if (below + count >= share * total && count > 0) {
      if (bucket === bounds.length) return `> ${span(bounds.at(-1))}`;
      const low = bucket ? bounds[bucket - 1] : 0;
      return span(low + (bounds[bucket] - low) * ((share * total - below) / count));
    }
    below += count;
  }
  return "–";
}

// The document.

/** Sets what differs, so that selections and readers keep their place. */
function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

function say(id, value) {
  text(at(id), value);
}

/** Makes the rows of a table: a list of cells each, as text or { text, note, tone }. */
function fill(id, rows, classes) {
  const body = at(id);
  const headings = body.parentNode.tHead.rows[0].cells;
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, index) => {
    const row = body.rows[index] ?? body.insertRow();
    row.setAttribute("role", "row");
    cells.forEach((cell, column) => {
      let node = row.cells[column];
      if (!node) {
        node = document.createElement(column ? "td" : "th");
        if (!column) node.scope = "row";
        // Where the row is shown as a block, it remains one.
        node.setAttribute("role", column ? "cell" : "rowheader");
        node.dataset.label = headings[column]?.textContent ?? "";
        if (classes?.[column]) node.className = classes[column];
        node.append(document.createElement("span"));
        row.append(node);
      }
      const { text: value, note, tone } = typeof cell === "string" ? { text: cell } : cell;
      const [shown, small] = node.children;
      text(shown, value);
      if (tone) shown.dataset.tone = tone;
      else delete shown.dataset.tone;
      if (note) {
        if (!small) node.append(document.createElement("small"));
        text(node.children[1], note);
      } else small?.remove();
    });
  });
}

function bars(id, pairs, names, empty) {
  const total = sum(pairs);
  fill(id, pairs.map(([key, value]) => {
    const [label, note] = names[key] ?? [key];
    return [{ text: label, note }, rate(value), percent(value / total)];
  }), ["", "n", "n"]);
  pairs.forEach(([, value], index) => at(id).rows[index].style.setProperty("--share", `${(100 * value) / total}%`));
  say(`${id}-empty`, pairs.length ? "" : empty);
}

const SOURCES = {
  snapshot: ["Cluster state"],
  cache: ["Cache"],
  stale: ["Stale", "beyond their time, or from the last run’s state"],
  upstream: ["Upstream"],
  local: ["Corefile and files"],
  error: ["Nowhere", "no answer could be found"],
};
const CAUSES = {
  search_path: ["Search path", "only a search list makes such names"],
  no_such_service: ["No such Service", "its namespace exists"],
  no_such_namespace: ["No such namespace"],
  no_such_host: ["No such host", "no endpoint, Pod or record of that name"],
  upstream: ["Upstream", "an upstream says so"],
  blocked: ["Blocked", "the Corefile says so"],
};
const ZONES = {
  expired: ["Expired: queries fail", "bad"],
  loading: ["Not read yet: queries fail", "bad"],
  stale: ["Stale, from the last run", "warn"],
  retrying: ["Last copy; nobody answers", "warn"],
  current: ["Current", "good"],
};
const UPSTREAMS = {
  down: ["Down", "bad"],
  suspect: ["Failing checks", "warn"],
  unchecked: ["Not checked", ""],
  up: ["Up", "good"],
};

const more = (list, what) => (list.more ? `… and ${whole.format(list.more)} more ${what}` : "");

function showNumbers() {
  const now = seconds.at(-1);
  const heard = minute();
  say("qps", now ? rate(now.queries) : "–");
  const peak = Math.max(0, ...seconds.filter(Boolean).map((second) => second.queries));
  say("qps-peak", now ? `peak ${rate(peak)}` : "");

  const spreads = spread();
  say("p99", spreads ? quantile(spreads, 0.99) : "–");
  say("p50", spreads ? `half within ${quantile(spreads, 0.5)}` : "no query in the last minute");

  const rcodes = rates((second) => Object.entries(second.rcodes));
  const answers = sum(rcodes);
  const of = (...codes) => sum(rcodes.filter(([code]) => codes.includes(code)));
  say("failed", answers ? percent(of("SERVFAIL", "REFUSED", "FORMERR", "NOTIMP") / answers) : "–");
  const dropped = heard.reduce((all, second) => all + second.dropped * second.seconds, 0);
  say("dropped", heard.length ? `${whole.format(Math.round(dropped))} queries dropped` : "");
  say("denied", answers ? percent(of("NXDOMAIN") / answers) : "–");
  const denials = rates((second) => Object.entries(second.denials));
  const walked = sum(denials.filter(([cause]) => cause === "search_path"));
  say("search-share", sum(denials) ? `${percent(walked / sum(denials))} by search lists` : "");

  const asked = rates((second) => second.namespaces.map((space) => [space.name, space.queries]));
  const wasted = rates((second) => second.namespaces.map((space) => [space.name, space.search_path]));
  say("amplification", sum(asked) ? perLookup(sum(asked), sum(wasted)) : "–");
  say("lookups", sum(asked) ? `${rate(sum(wasted))}/s by search lists alone` : "");
  say("memory", octets(latest.process.memory));
  const used = heard.map((second) => second.cpu).filter((cpu) => cpu !== null);
  const cores = used.reduce((all, cpu) => all + cpu, 0) / used.length;
  say("cpu", used.length ? `${two.format(cores)} CPU cores in use` : "");

  bars("rcodes", rcodes, {}, uncounted() ?? "No query in the last minute.");
  bars("sources", rates((second) => Object.entries(second.sources)), SOURCES, "No query in the last minute.");
  bars("denials", denials, CAUSES, "No NXDOMAIN in the last minute.");
  showNamespaces(asked, new Map(wasted));
  fill("names", latest.names.map(({ name, queries }) => [name, `about ${three.format(queries)}`]), ["", "n"]);
  say("names-empty", latest.names.length ? "" : "No search list was walked often enough to be in the sample.");
}

/** Queries for each that no search list made. */
function perLookup(queries, wasted) {
  return queries > wasted ? two.format(queries / (queries - wasted)) : "only walks";
}

function showNamespaces(asked, wasted) {
  const rows = asked.filter(([name]) => wasted.get(name) > 0);
  rows.sort((a, b) => wasted.get(b[0]) - wasted.get(a[0]));
  fill("namespaces", rows.slice(0, 10).map(([name, queries]) => [
    name || { text: "not known" },
    rate(queries),
    rate(wasted.get(name)),
    perLookup(queries, wasted.get(name)),
  ]), ["", "n", "n", "n"]);
  const unknown = asked.every(([name]) => !name);
  const none = rows.length ? "" : "No search list was walked in the last minute.";
  const why = asked.length && unknown ? " None of these clients is an endpoint, nor a Pod that is followed (“pods verified”, “node”): their namespaces are not known." : "";
  say("namespaces-empty", none + why);
}

/** Why there are no codes, where no block counts them. */
function uncounted() {
  const blocks = latest.configuration?.blocks ?? [];
  const counted = blocks.some((block) => block.directives.includes("prometheus"));
  return counted || !blocks.length ? null : "Not counted: no server block has prometheus.";
}

function showState() {
  const { process, configuration, zones, upstreams, watches } = latest;
  say("host", process.host);
  document.title = process.host ? `Pando ${process.host}` : "Pando";
  const up = process.started ? `, up ${long(latest.time - process.started)}` : "";
  say("about", `Version ${process.version}${up}`);

  fill("upstreams", upstreams.rows.map((row) => {
    const [label, tone] = UPSTREAMS[row.health];
    return [row.to, { text: label, tone }, row.zone, rate(row.replies), span(row.took), rate(row.failures)];
  }), ["", "", "", "n", "n", "n"]);
  say("upstreams-empty", upstreams.rows.length ? more(upstreams, "upstreams") : "No server block asks other servers.");

  fill("zones", zones.rows.map((row) => {
    const [label, tone] = ZONES[row.state];
    return [row.zone, { text: label, tone }, row.plugin, row.serial === null ? "–" : String(row.serial), row.detail];
  }), ["", "", "", "n", ""]);
  say("zones-empty", zones.rows.length ? more(zones, "zones") : "No server block has a copy of a zone.");
  const followed = Object.entries(watches);
  const age = latest.snapshot_age === null ? "" : `, cluster state ${span(latest.snapshot_age)} old`;
  say("watches", followed.length ? `${followed.filter(([, up]) => up).length} of ${followed.length} watches up${age}` : "");

  if (configuration) showConfiguration(configuration);
}

function showConfiguration(configuration) {
  say("file", configuration.file);
  say("in-force", `${moment(configuration.since)} (${ago(configuration.since)})`);
  const last = configuration.last_reload;
  let reload = "none since the start";
  if (last) reload = `${moment(last.at)} (${ago(last.at)}): ${last.error ? `failed: ${last.error}` : "done"}`;
  say("last-reload", reload);
  if (last?.error) at("last-reload").dataset.tone = "bad";
  else delete at("last-reload").dataset.tone;
  say("looked-at", configuration.looked_at === null ? "never (no reload)" : `about every ${long(configuration.looked_at)}`);
  say("hash", configuration.hash);
  fill("blocks", configuration.blocks.map((block) => [
    { text: block.zones.join(" "), note: block.view && `view ${block.view}` },
    block.servers.join(" "),
    block.directives.join(" ") || "none: every query is refused",
  ]));
}

/** What an operator would want to be told first. */
function showTroubles() {
  const { configuration, zones, upstreams, watches } = latest;
  const troubles = [];
  const reload = configuration?.last_reload;
  if (reload?.error) troubles.push(`The last reload failed, ${ago(reload.at)}; the configuration before stays in force: ${reload.error}`);
  for (const row of zones.rows) {
    if (row.state !== "current") troubles.push(`Zone ${row.zone} (${row.plugin}): ${ZONES[row.state][0]}. ${row.detail}`);
  }
  for (const row of upstreams.rows) {
    if (row.health === "down" || row.health === "suspect") troubles.push(`Upstream ${row.to}: ${UPSTREAMS[row.health][0].toLowerCase()}`);
  }
  const broken = Object.entries(watches).filter(([, up]) => !up).map(([resource]) => resource);
  if (broken.length) troubles.push(`Not followed at the API server: ${broken.join(", ")}`);
  const dropped = minute().reduce((all, second) => all + second.dropped * second.seconds, 0);
  if (dropped >= 1) troubles.push(`${whole.format(Math.round(dropped))} queries were dropped in the last minute: more came than could be served`);
  at("notice").dataset.state = troubles.length ? "bad" : "good";
  say("notice-title", troubles.length ? "Needs a look" : "Nothing stands out: zones are current, upstreams answer, nothing is dropped");
  const list = at("troubles");
  while (list.children.length > troubles.length) list.lastChild.remove();
  troubles.forEach((trouble, index) => text(list.children[index] ?? list.appendChild(document.createElement("li")), trouble));
}

// The charts.

/** A round number at or above. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((round) => round >= value);
}

/** Writes labels beside a chart: pairs of text and height from the top in percent. */
function axis(id, labels) {
  const node = at(id);
  while (node.children.length > labels.length) node.lastChild.remove();
  labels.forEach(([label, top], index) => {
    const child = node.children[index] ?? node.appendChild(document.createElement("span"));
    text(child, label);
    child.style.top = `${top}%`;
  });
}

/** The second at a place of the charts, from 0 to WINDOW - 1. */
const second = (place) => seconds[place + seconds.length - WINDOW] ?? null;

function drawQueries() {
  const top = ceiling(Math.max(...seconds.filter(Boolean).map((each) => each.queries), 1));
  axis("qps-axis", [[rate(top), 4], [rate(top / 2), 50], ["0", 98]]);
  let line = "";
  let area = "";
  let from = null;
  for (let place = 0; place <= WINDOW; place++) {
    const here = place < WINDOW ? second(place) : null;
    if (here) {
      const y = 100 - (100 * here.queries) / top;
      // One that stands alone is a dot.
      const point = `${place + 0.5},${y.toFixed(2)}`;
      line += from === null ? `M${point}L${point}` : `L${point}`;
      area += from === null ? `M${place + 0.5},100L${point}` : `L${point}`;
      from ??= place;
    } else if (from !== null) {
      area += `L${place - 0.5},100Z`;
      from = null;
    }
  }
  at("qps-line").setAttribute("d", line);
  at("qps-area").setAttribute("d", area);
}

let palette = null;
/** Colours of the heat map: nothing, then from few to many. */
function colours() {
  if (palette) return palette;
  const style = getComputedStyle(document.documentElement);
  const stops = ["low", "mid", "high"].map((name) => {
    const hex = style.getPropertyValue(`--heat-${name}`).trim();
    return [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));
  });
  const shades = Array.from({ length: 33 }, (_, index) => {
    const place = (index / 32) * 2;
    const from = Math.min(1, Math.floor(place));
    const mixed = stops[from].map((low, part) => Math.round(low + (stops[from + 1][part] - low) * (place - from)));
    return `rgb(${mixed.join(" ")})`;
  });
  palette = { none: style.getPropertyValue("--heat-none").trim(), shades };
  return palette;
}

function drawHeat() {
  const canvas = at("heat");
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const bounds = seconds.findLast((each) => each?.latency)?.latency.bounds;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!bounds) return;
  const rows = bounds.length + 1;
  const most = Math.max(1, ...seconds.flatMap((each) => each?.latency?.counts ?? []));
  const { none, shades } = colours();
  const [w, h] = [canvas.width / WINDOW, canvas.height / rows];
  for (let place = 0; place < WINDOW; place++) {
    const here = second(place);
    if (!here) continue;
    for (let row = 0; row < rows; row++) {
      const count = here.latency?.counts[row] ?? 0;
      const shade = most > 1 ? Math.log(count) / Math.log(most) : 1;
      context.fillStyle = count > 0 ? shades[Math.round(32 * Math.max(0, shade))] : none;
      const [x, y] = [Math.round(place * w), Math.round((rows - 1 - row) * h)];
      context.fillRect(x, y, Math.round((place + 1) * w) - x, Math.round((rows - row) * h) - y);
    }
  }
  const every = Math.ceil(bounds.length / (height / 26));
  axis("heat-axis", bounds.map((bound, row) => [span(bound), (100 * (rows - 1 - row)) / rows]).filter((_, row) => (bounds.length - 1 - row) % every === 0));
  say("ramp-most", whole.format(most));
  const spreads = spread();
  canvas.setAttribute("aria-label", spreads
    ? `Latency over the last two minutes. In the last minute half of the answers took up to ${quantile(spreads, 0.5)}, 99 in 100 up to ${quantile(spreads, 0.99)}.`
    : "Latency over the last two minutes: no query to time.");
  fill("heat-table", !spreads ? [] : spreads.counts.map((count, row) => [
    row < bounds.length ? span(bounds[row]) : "longer",
    whole.format(count),
    percent(count / spreads.total),
  ]), ["", "n", "n"]);
}

at("heat").addEventListener("pointermove", (event) => {
  const bounds = seconds.findLast((each) => each?.latency)?.latency.bounds;
  if (!bounds) return;
  const { width, height } = event.target.getBoundingClientRect();
  const place = Math.min(WINDOW - 1, Math.floor((event.offsetX / width) * WINDOW));
  const row = bounds.length - Math.min(bounds.length, Math.floor((event.offsetY / height) * (bounds.length + 1)));
  const range = row === bounds.length ? `over ${span(bounds.at(-1))}` : `${row ? span(bounds[row - 1]) : "0"} to ${span(bounds[row])}`;
  const count = second(place)?.latency?.counts[row];
  say("heat-at", `${WINDOW - 1 - place} s ago, ${range}: ${count === undefined ? "not known" : `${whole.format(count)} queries`}`);
});

function show() {
  if (!latest || paused) return;
  showState();
  showTroubles();
  showNumbers();
  drawQueries();
  drawHeat();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  palette = null;
  show();
});
new ResizeObserver(() => latest && drawHeat()).observe(at("heat"));
at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  show();
});

// The events.

function hear(figures) {
  // What was missed is a gap, not a straight line.
  const missed = latest ? Math.round(figures.time - latest.time) - 1 : 0;
  for (let gap = 0; gap < Math.min(missed, WINDOW); gap++) seconds.push(null);
  latest = figures;
  if (figures.since) seconds.push(figures.since);
  seconds.splice(0, seconds.length - WINDOW);
  show();
}

let source = null;
let heard = 0;
let again = 0;

function link(state, words) {
  document.body.dataset.link = state;
  say("link", words);
}

function connect() {
  clearTimeout(again);
  source?.close();
  // Relative, for a page beneath the path of a proxy.
  source = new EventSource("console/events");
  source.onmessage = (event) => {
    heard = Date.now();
    link("live", "Live");
    hear(JSON.parse(event.data));
  };
  source.onerror = async () => {
    if (source.readyState !== EventSource.CLOSED) return link("lost", "Disconnected; trying again");
    again = setTimeout(connect, 5000);
    link("lost", `Refused; trying again. ${await reason()}`);
  };
}

/** Why the stream is refused: an EventSource does not say. */
async function reason() {
  const stop = new AbortController();
  try {
    const response = await fetch("console/events", { signal: stop.signal });
    return response.ok ? "" : (await response.text()).trim();
  } catch {
    return "";
  } finally {
    stop.abort();
  }
}

setInterval(() => {
  if (source?.readyState === EventSource.OPEN && heard && Date.now() - heard > STALLED) {
    link("lost", `Nothing heard for ${long((Date.now() - heard) / 1000)}`);
  }
}, 1000);

let asleep = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(asleep);
  if (document.hidden) {
    asleep = setTimeout(() => {
      clearTimeout(again);
      source?.close();
      source = null;
    }, HIDDEN);
  } else if (!source) connect();
});

connect();
