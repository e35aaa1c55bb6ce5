// The live page: a first page over REST, then the two sockets (contract, section 6).
//
// Everything shown was written by sensors, attackers or agents. It reaches the page through `textContent` alone; ids become part of an
// address only if they are UUIDs.

const PAGE_SIZE = 50;
const ALERTS_KEPT = 200;
const INVESTIGATIONS_KEPT = 12;
const INVESTIGATIONS_FILLED = 4;
const LINES_KEPT = 6;
const FIGURES_EVERY = 60_000;
const DRAW_EVERY = 150;
const BACKOFF = { first: 500, longest: 30_000 };
const FULL_CHANNEL_WAIT = 10_000;
const ANSWER_WITHIN = 15_000;
const REFILL_AGAIN = 5_000;
// A socket says by itself that it was closed, and never that nobody is at its other end: so it is asked.
const SILENCE = { look: 1_000, ask: 10_000, late: 3_000, over: 10_000 };
const CLOSE = { notSignedIn: 4401, notAllowed: 4403, tooSlow: 4008, restarting: 1012, full: 1013 };
const SEVERITIES = new Set(["critical", "high", "medium", "low", "info"]);
// The server stops counting these there (aurora.console.overview).
const COUNTED_UP_TO = 1000;
const CAPPED = new Set(["unacknowledged", "running"]);
const ENDED = new Set(["completed", "partial", "failed"]);
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const settings = document.body.dataset;
const byId = (id) => document.getElementById(id);

function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

const words = (value) => {
  const text = String(value ?? "").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
};
const list = (value) => (Array.isArray(value) ? value : []);
// The time in UTC; of another day the date with it.
const clock = (value) => {
  const moment = new Date(value);
  if (Number.isNaN(moment.getTime())) return "";
  const text = moment.toISOString();
  const isToday = text.slice(0, 10) === new Date().toISOString().slice(0, 10);
  return isToday ? text.slice(11, 19) : `${text.slice(5, 10)} ${text.slice(11, 16)}`;
};
const pageOf = (base, id) => (UUID.test(id) ? `${base}${id}/change/` : base);

function defanged(ioc) {
  const value = String(ioc?.value ?? "");
  if (!["ip", "domain", "url", "email"].includes(ioc?.type)) return value;
  return value.replace(/^http/i, "hxxp").replaceAll(".", "[.]").replace("@", "[at]");
}

// ---------------------------------------------------------------- REST

async function getJson(address) {
  const signal = AbortSignal.timeout(ANSWER_WITHIN);
  const response = await fetch(address, { credentials: "same-origin", headers: { Accept: "application/json" }, signal });
  if (response.status === 401) leaveForLogin();
  if (!response.ok) throw new Error(`${address} answered ${response.status}`);
  return response.json();
}

function leaveForLogin() {
  location.assign(`${settings.login}?next=${encodeURIComponent(location.pathname)}`);
}

// ---------------------------------------------------------------- sockets

// One subscription that outlives its connections: it resumes after the last frame it handled, waits longer after each failure with
// full jitter (so that a restart does not bring every wall screen back in the same instant), and says how it stands.
class Feed {
  constructor(channel, { onFrame, onRefill, onState, onLate }) {
    Object.assign(this, { channel, onFrame, onRefill, onState, onLate });
    this.lastId = "";
    this.failures = 0;
    setInterval(() => this.#look(), SILENCE.look);
  }

  start() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const resume = this.lastId ? `?last_event_id=${encodeURIComponent(this.lastId)}` : "";
    this.heardAt = Date.now();
    this.askedAt = this.heardAt; // opening one is a question as well
    this.socket = new WebSocket(`${scheme}//${location.host}/api/v1/ws/${this.channel}${resume}`);
    this.socket.onmessage = (message) => this.#receive(message.data);
    this.socket.onclose = (event) => this.#closed(event.code);
  }

  #receive(text) {
    this.heardAt = Date.now();
    this.askedAt = null;
    this.onLate(false);
    let frame;
    try { frame = JSON.parse(text); } catch { return; }
    if (frame === null || typeof frame !== "object") return;
    const isFirst = !this.lastId;
    if (typeof frame.id === "string" && frame.id) this.lastId = frame.id;
    if (frame.type === "hello") {
      this.failures = 0;
      this.onState("connected");
      if (isFirst) this.onRefill({ isLate: false });
    } else if (frame.type === "gap") {
      this.onRefill({ isLate: true });
    } else {
      this.onFrame(frame);
    }
  }

  // Who has heard nothing for a while asks for a greeting; who is not answered either begins anew.
  #look() {
    if (!this.socket) return;
    const now = Date.now();
    if (this.askedAt === null) {
      if (now - this.heardAt < SILENCE.ask) return;
      this.askedAt = now;
      this.socket.send('{"type":"hello"}');
    } else if (now - this.askedAt > SILENCE.over) {
      this.socket.onmessage = this.socket.onclose = null;
      this.socket.close();
      this.#closed(null);
    } else if (now - this.askedAt > SILENCE.late) {
      this.onLate(true);
    }
  }

  #closed(code) {
    this.socket = null;
    this.onLate(false);
    if (code === CLOSE.notSignedIn) return leaveForLogin();
    if (code === CLOSE.notAllowed) return this.onState("refused");
    this.onState(code === CLOSE.tooSlow ? "behind" : "reconnecting");
    const ceiling = Math.min(BACKOFF.longest, BACKOFF.first * 2 ** this.failures);
    const least = code === CLOSE.full ? FULL_CHANNEL_WAIT : 100;
    this.failures += 1;
    setTimeout(() => this.start(), least + Math.random() * ceiling);
  }
}

const LABELS = {
  connecting: "Connecting", connected: "Connected", reconnecting: "Reconnecting", behind: "Behind, catching up", refused: "Not allowed",
};
const WORST_FIRST = ["refused", "reconnecting", "behind", "connecting", "connected"];
const BUS = "bus";

// The pill shows the worse of the two feeds; what is connected may be behind all the same, for any of several reasons.
class ConnectionState {
  #states = new Map();
  #late = new Set();

  set(channel, state) {
    this.#states.set(channel, state);
    this.#show();
  }

  setLate(reason, isLate) {
    if (this.#late.has(reason) === isLate) return;
    if (isLate) this.#late.add(reason);
    else this.#late.delete(reason);
    this.#show();
  }

  #show() {
    const worst = WORST_FIRST.find((name) => [...this.#states.values()].includes(name)) ?? "connecting";
    const shown = worst === "connected" && this.#late.size ? "behind" : worst;
    const label = shown === "behind" && this.#late.has(BUS) ? "Behind, the bus is away" : LABELS[shown];
    const pill = byId("state");
    const text = pill.querySelector("span");
    if (pill.dataset.state !== shown) pill.dataset.state = shown;
    if (text.textContent !== label) text.textContent = label;
  }
}

// ---------------------------------------------------------------- counters and sparkline

class Counters {
  #figures = null;
  #minute = Math.floor(Date.now() / 60_000);
  #day = new Date().getUTCDate();

  async refresh() {
    this.#figures = await getJson(settings.figures);
    this.#minute = Math.floor(Date.now() / 60_000);
    this.draw();
  }

  countAlert(severity) {
    if (!this.#figures) return;
    this.#roll();
    this.#figures.alerts += 1;
    this.#figures.unacknowledged += 1;
    if (severity in this.#figures.by_severity) this.#figures.by_severity[severity] += 1;
    this.#figures.per_minute[this.#figures.per_minute.length - 1] += 1;
  }

  setRunning(change) {
    if (this.#figures) this.#figures.running = Math.max(0, this.#figures.running + change);
  }

  tick() {
    if (!this.#figures) return;
    if (new Date().getUTCDate() !== this.#day) {
      this.#day = new Date().getUTCDate();
      this.refresh().catch(() => {});
    }
    if (this.#roll()) this.draw();
  }

  draw() {
    if (!this.#figures) return;
    const figures = { ...this.#figures, ...this.#figures.by_severity };
    for (const node of document.querySelectorAll("[data-counter]")) {
      const value = figures[node.dataset.counter];
      const isCapped = CAPPED.has(node.dataset.counter) && value > COUNTED_UP_TO;
      const text = isCapped ? `${COUNTED_UP_TO.toLocaleString("en")}+` : Number(value).toLocaleString("en");
      if (node.textContent !== text) node.textContent = text;
    }
    this.#drawSpark(this.#figures.per_minute);
  }

  #roll() {
    const now = Math.floor(Date.now() / 60_000);
    const passed = Math.min(now - this.#minute, this.#figures.per_minute.length);
    if (passed <= 0) return false;
    this.#minute = now;
    this.#figures.per_minute = [...this.#figures.per_minute.slice(passed), ...Array(passed).fill(0)];
    return true;
  }

  #drawSpark(values) {
    const peak = Math.max(1, ...values);
    const width = 600 / values.length;
    const bars = values.map((value, at) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const height = value ? Math.max(2, (value / peak) * 60) : 1;
      const box = { x: at * width + 1, y: 60 - height, width: width - 2, height };
      for (const [name, size] of Object.entries(box)) bar.setAttribute(name, size.toFixed(1));
      if (at === values.length - 1) bar.setAttribute("class", "now");
      return bar;
    });
    byId("spark").replaceChildren(...bars);
    byId("spark-peak").textContent = `peak ${Math.max(0, ...values)}`;
  }
}

// ---------------------------------------------------------------- alerts

class AlertStream {
  #rows = new Map();
  #dirty = new Map();

  // A frame only marks its alert; drawing happens at most every DRAW_EVERY ms, so a burst costs one pass instead of one each.
  put(alert, { isFresh = false } = {}) {
    if (!alert || !UUID.test(alert.id)) return false;
    const isNew = !this.#rows.has(alert.id) && !this.#dirty.has(alert.id);
    this.#dirty.set(alert.id, { alert, isFresh: isFresh || (this.#dirty.get(alert.id)?.isFresh ?? false) });
    return isNew;
  }

  // Rows that the sockets have brought in the meantime are newer still and stay above.
  fill(alerts) {
    const bySight = (one, other) => String(one?.last_seen).localeCompare(String(other?.last_seen));
    for (const alert of [...alerts].sort(bySight)) this.put(alert);
    this.draw();
  }

  draw() {
    if (!this.#dirty.size) return;
    const stream = byId("alerts");
    for (const { alert, isFresh } of this.#dirty.values()) {
      const row = this.#rows.get(alert.id);
      const drawn = this.#row(alert, isFresh);
      if (row) row.replaceWith(drawn);
      else stream.prepend(drawn);
      this.#rows.set(alert.id, drawn);
    }
    this.#dirty.clear();
    while (stream.children.length > ALERTS_KEPT) {
      this.#rows.delete(stream.lastElementChild.dataset.id);
      stream.lastElementChild.remove();
    }
  }

  #row(alert, isFresh) {
    const severity = SEVERITIES.has(alert.severity) ? alert.severity : "info";
    const row = element("li", isFresh ? "alert fresh" : "alert");
    row.dataset.severity = severity;
    row.dataset.id = alert.id;
    const link = element("a");
    link.href = pageOf(settings.alertPage, alert.id);
    const seen = element("time", "", clock(alert.last_seen ?? alert.created_at));
    seen.dateTime = String(alert.last_seen ?? "");
    seen.title = `${alert.last_seen ?? ""} UTC`;
    const text = element("span", "text");
    text.append(element("b", "", alert.title), element("small", "", this.#context(alert)));
    const end = element("span", "end");
    if (alert.count > 1) end.append(element("span", "count", `×${Number(alert.count).toLocaleString("en")}`));
    end.append(element("span", "", words(alert.status)));
    link.append(seen, element("span", "word", words(severity)), text, end);
    row.append(link);
    return row;
  }

  #context(alert) {
    const indicators = list(alert.iocs).slice(0, 2).map(defanged);
    const facts = [alert.source, ...list(alert.affected_assets).slice(0, 2), ...list(alert.users).slice(0, 1)];
    return [...facts, ...list(alert.mitre_techniques).slice(0, 3), ...indicators].filter(Boolean).join(" · ");
  }

  title(id) {
    return this.#rows.get(id)?.querySelector(".text b").textContent ?? "";
  }
}

// ---------------------------------------------------------------- agents

class Thoughts {
  #known = new Map();
  #dirty = new Set();

  constructor(titleOf) {
    this.titleOf = titleOf;
  }

  think(thought) {
    const known = this.#of(thought?.investigation_id, thought);
    if (!known || known.lines.some((line) => line.number === thought.number)) return;
    known.lines.push(thought);
    known.lines.sort((one, other) => one.number - other.number);
    known.lines.splice(0, known.lines.length - LINES_KEPT);
    known.at = Date.now();
    this.#dirty.add(known);
  }

  // Returns by how much the number of running investigations has changed.
  update(investigation) {
    const known = this.#of(investigation?.id, investigation);
    if (!known) return 0;
    const before = known.status;
    Object.assign(known, { status: String(investigation.status), summary: String(investigation.summary ?? "") });
    this.#dirty.add(known);
    if (before === undefined) return ENDED.has(known.status) ? 0 : 1;
    return Number(ENDED.has(before)) - Number(ENDED.has(known.status));
  }

  draw() {
    if (!this.#dirty.size) return;
    const stream = byId("thoughts");
    for (const known of [...this.#dirty].sort((one, other) => one.at - other.at)) {
      const card = this.#card(known);
      if (known.card && known.at === known.drawnAt) {
        known.card.replaceWith(card);
      } else {
        known.card?.remove();
        stream.prepend(card);
      }
      Object.assign(known, { card, drawnAt: known.at });
    }
    this.#dirty.clear();
    while (stream.children.length > INVESTIGATIONS_KEPT) {
      this.#known.delete(stream.lastElementChild.dataset.id);
      stream.lastElementChild.remove();
    }
  }

  // An investigation goes by the title of its alert; one that looks into a case as a whole, by the case's.
  #of(id, about) {
    if (!UUID.test(id)) return null;
    if (!this.#known.has(id)) this.#known.set(id, { id, lines: [], at: Date.now(), status: undefined, summary: "" });
    const known = this.#known.get(id);
    if (known.title === undefined && UUID.test(about.alert_id)) {
      known.title = this.titleOf(about.alert_id);
      if (!known.title) this.#askForTitle(known, `/api/v1/alerts/${about.alert_id}`);
    } else if (known.title === undefined && UUID.test(about.case_id)) {
      known.title = "";
      this.#askForTitle(known, `/api/v1/cases/${about.case_id}`);
    }
    return known;
  }

  #askForTitle(known, address) {
    getJson(address).then((row) => {
      known.title = String(row.title);
      this.#dirty.add(known);
    }, () => {});
  }

  #card(known) {
    const card = element("article", "investigation");
    card.dataset.id = known.id;
    card.dataset.status = known.status ?? "running";
    const header = element("header");
    const title = known.title || `Investigation ${known.id.slice(-6).toUpperCase()}`;
    const link = element("a", "", title);
    link.href = pageOf(settings.investigationPage, known.id);
    link.title = title;
    header.append(link, element("span", "word", words(known.status ?? "running")));
    const lines = element("ol", "lines");
    // The last lines of an investigation repeat its summary, which stands above them.
    const isNews = (line) => !known.summary || !String(line.text).includes(known.summary);
    lines.append(...known.lines.filter(isNews).map((line) => this.#line(line)));
    card.append(header, element("p", "summary", known.summary), lines);
    return card;
  }

  #line(thought) {
    const line = element("li", "line");
    line.dataset.kind = /^[a-z_]+$/.test(thought.kind) ? thought.kind : "thought";
    const head = element("small");
    head.append(element("b", "", `${words(thought.agent_type || "orchestrator")} · ${words(thought.kind)}`));
    head.append(element("time", "", clock(thought.created_at)));
    line.append(head, element("p", "", thought.text));
    return line;
  }
}

// ---------------------------------------------------------------- the page

const counters = new Counters();
const alerts = new AlertStream();
const thoughts = new Thoughts((id) => alerts.title(id));
const connection = new ConnectionState();

async function refillAlerts() {
  const page = await getJson(`/api/v1/alerts?limit=${PAGE_SIZE}`);
  alerts.fill(list(page.items));
  await counters.refresh();
}

async function refillThoughts() {
  const page = await getJson(`/api/v1/investigations?limit=${INVESTIGATIONS_FILLED}`);
  for (const investigation of list(page.items).reverse()) {
    if (!UUID.test(investigation.id)) continue;
    thoughts.update(investigation);
    const skip = Math.max(0, (investigation.event_count ?? 0) - LINES_KEPT);
    const log = await getJson(`/api/v1/investigations/${investigation.id}/events?skip=${skip}&limit=${LINES_KEPT}`);
    for (const event of list(log.items)) thoughts.think({ ...event, investigation_id: investigation.id });
    thoughts.draw();
  }
}

// A refill that fails is tried again; until one has worked the page says that it is behind.
const pending = new Map();

function refill(channel, work, { isLate }) {
  if (isLate) connection.setLate(channel, true);
  pending.set(channel, { work, isRunning: false }); // one that began before may bring what is too old by now
  retryRefills();
}

function retryRefills() {
  for (const [channel, entry] of pending) {
    if (entry.isRunning) continue;
    entry.isRunning = true;
    entry.work().then(
      () => {
        if (pending.get(channel) !== entry) return;
        pending.delete(channel);
        connection.setLate(channel, false);
      },
      () => {
        entry.isRunning = false;
        connection.setLate(channel, true);
      },
    );
  }
}

function onAlertFrame({ type, data }) {
  if (type === "alert.created") {
    if (!alerts.put(data, { isFresh: true })) return;
    counters.countAlert(data.severity);
    if (data.severity === "critical") byId("announcer").textContent = `Critical alert: ${data.title}`;
  } else if (type === "alert.updated") {
    alerts.put(data);
  }
}

function onThoughtFrame({ type, data }) {
  if (type === "agent.thought") thoughts.think(data);
  else if (type === "investigation.updated") counters.setRunning(thoughts.update(data));
}

function draw() {
  alerts.draw();
  thoughts.draw();
  counters.draw();
}

function showTime() {
  const now = new Date().toISOString();
  byId("clock").textContent = `${now.slice(0, 10)} ${now.slice(11, 19)} UTC`;
  byId("clock").dateTime = now;
  counters.tick();
}

for (const button of document.querySelectorAll("[data-filter]")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-filter]")) other.setAttribute("aria-pressed", String(other === button));
    byId("alerts").classList.toggle("urgent", button.dataset.filter === "urgent");
  });
}

function subscribe(channel, onFrame, work) {
  new Feed(channel, {
    onFrame,
    onRefill: (why) => refill(channel, work, why),
    onState: (state) => connection.set(channel, state),
    onLate: (isLate) => connection.setLate(`${channel} is silent`, isLate),
  }).start();
}

// The system's socket (standing.js) tells when Redis is away from the web process: the feeds stay connected, and nothing comes over them.
addEventListener("au:frame", ({ detail: { type, data } }) => {
  if (type === "hello") connection.setLate(BUS, false);
  else if (type === "mode.changed" && "is_bus_available" in data) connection.setLate(BUS, !data.is_bus_available);
});

showTime();
setInterval(showTime, 1000);
setInterval(draw, DRAW_EVERY);
setInterval(() => counters.refresh().catch(() => {}), FIGURES_EVERY);
setInterval(retryRefills, REFILL_AGAIN);

await Promise.allSettled([refillAlerts(), refillThoughts()]);
subscribe("alerts", onAlertFrame, refillAlerts);
subscribe("agent-thoughts", onThoughtFrame, refillThoughts);
