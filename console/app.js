// The operator's page: the list of calls, and one call's transcript beside its draft ticket.
//
// Whatever was spoken reaches the document as text, never as markup.

import { $, button, clock, copyText, make, percent, toast, wall } from "./dom.js";
import { Controls } from "./controls.js";
import { labelOf, ordered, valueText } from "./fields.js";
import { enter, send } from "./people.js";
import { Player } from "./player.js";
import { Ticket } from "./ticket.js";

const SPEAKERS = { caller: "市民", operator: "话务员", mono: "录音" };
const ALARMS = {
  speech_without_text: (who) => `${who}一侧有说话声，但没有识别出文字，请以听到的为准。`,
  recording_gap: () => "磁盘繁忙，录音中有一段空白。",
  recording_failed: () => "录音文件无法写入，本通话从此处起没有录音。",
  uncertain_legs: () => "录音端没有说明哪一路是市民，两侧可能对调。",
  recognition_off: () => "语音识别已关闭，本通话没有转写。",
  transfer_failed: () => "转接未成功，市民仍由话务员接待。",
  no_media: (who) => `收不到${who}一侧的声音，请确认对方是否听得到。`,
};
// What the whole gateway cannot do for now.
const FAULTS = {
  records_unwritten: "记录暂时无法写入（磁盘已满或数据库不可用），通话照常进行，内容暂存在内存中，恢复后自动写入。请联系管理员。",
  recording_stopped: "磁盘空间不足，录音已暂停，通话与转写照常进行。请联系管理员。",
};
const MARKS = { announced: "已向市民播放录音告知", paused: "录音与转写已暂停", resumed: "录音与转写已恢复", number_begins: "正在报证件号或卡号，录音已静音", number_over: "录音已恢复" };
// Why a call ended, and why a stretch of it has no text: the server sends codes with their parameters.
const REFUSALS = { 480: "话务员暂不可用", 486: "话务员忙", 600: "话务员忙", 603: "话务员拒接" };
const ENDS = {
  hung_up: ({ party }) => `${SPEAKERS[party]}挂断`,
  cancelled: () => "市民在接听前挂断",
  lost: ({ party }) => `${SPEAKERS[party]}一侧连接中断`,
  lost_before_answer: ({ party }) => `${SPEAKERS[party]}一侧在接听前连接中断`,
  no_answer: () => "话务员未接听",
  rejected: ({ status }) => REFUSALS[status] ?? `话务员一侧未能接听（${status}）`,
  unusable_offer: () => "来电一侧的媒体参数无法使用",
  unusable_answer: ({ party }) => `${SPEAKERS[party]}一侧的媒体参数无法使用`,
  transfer_failed: ({ status }) => `转接失败（${status}）`,
  too_long: ({ seconds }) => `通话达到最长时限（${clock(seconds * 1000)}）`,
  no_media: ({ party, seconds }) => `${party ? `${SPEAKERS[party]}一侧` : "双方"}已有 ${seconds} 秒没有声音`,
  ended_by: ({ actor }) => ({ user: "在工作台挂断", service: "由其他系统挂断" })[actor] ?? "由系统挂断",
  signalling_lost: () => "信令中断",
  shutting_down: () => "系统关闭",
};
const GAPS = { overload: "识别繁忙，此处未能转写", engine_failed: "识别出错，此处未能转写", call_over: "通话已结束，此处未及转写" };
const UNSURE = 0.6; // A line below this should be checked by ear.
const SIGNED_OUT = 4401;
const SILENT_MS = 40_000; // The server says something every 15 s; after this the connection counts as dead.
const OPERATOR = new URLSearchParams(location.search).get("operator") ?? "";

const reasonOf = (reason) => ENDS[reason.code]?.(reason) ?? reason.detail ?? reason.code;
const gapOf = (reason) => GAPS[reason.code] ?? reason.detail ?? reason.code;
const isLive = (call) => call.state === "answered" || call.state === "ringing";
// ---------------------------------------------------------------- connections

/** A WebSocket that comes back by itself: `query()` says from where, `take(message)` gets what arrives. */
class Wire {
  constructor(query, take, tell = () => {}) {
    Object.assign(this, { query, take, tell, wait: 500, done: false });
    this.open();
  }

  open() {
    clearTimeout(this.retry);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws?${new URLSearchParams(this.query())}`);
    this.socket = socket;
    const mine = (act) => (event) => { if (this.socket === socket && !this.done) act(event); };
    socket.onopen = mine(() => { this.wait = 500; showFaults([]); this.tell("open"); this.listen(); });
    socket.onmessage = mine((event) => {
      this.listen();
      const message = JSON.parse(event.data);
      if (message.kind === "faults") showFaults(message.faults);
      else if (message.kind !== "alive") this.take(message);
    });
    socket.onclose = mine((event) => this.closed(event.code));
  }

  /** Something came: the connection lives. */
  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => { this.socket.close(); this.closed(1006); }, SILENT_MS);
  }

  closed(code) {
    clearTimeout(this.silence);
    this.socket = null;
    if (code === 1000 || code === 4404) {
      this.done = true;
      this.tell(code === 1000 ? "over" : "unknown");
      return;
    }
    this.tell("lost");
    clearTimeout(this.retry);
    // The session has ended: what is on the page stays, and goes on when somebody has signed in.
    if (code === SIGNED_OUT) { enter().then(() => this.hurry()); return; }
    this.retry = setTimeout(() => this.open(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, 10_000);
  }

  /** Does not wait for the next attempt. */
  hurry() { if (!this.done && !this.socket) this.open(); }

  end() {
    this.done = true;
    clearTimeout(this.silence);
    clearTimeout(this.retry);
    this.socket?.close();
  }
}

/** What the gateway cannot do stands above everything else until it can again. */
function showFaults(faults) {
  $("faults").replaceChildren(...faults.map((fault) => make("div", "alarm", FAULTS[fault] ?? fault)));
}

// ---------------------------------------------------------------- the list of calls

let calls = [];
let next = null;
let skew = 0; // The server's clock less this machine's.
let selected = location.hash.startsWith("#call=") ? decodeURIComponent(location.hash.slice(6)) : null;
let wire = null;
let view = null;
$("follow").checked = !selected;

async function fetchCalls(before) {
  const query = new URLSearchParams({ operator: OPERATOR, ...(before && { before }) });
  const answer = await send(`/api/calls?${query}`);
  if (!answer.ok) throw new Error(String(answer.status));
  const page = await answer.json();
  skew = page.now_ms - Date.now();
  return page;
}

let asking = false, askAgain = false;
async function refresh() {
  if (asking) { askAgain = true; return; }
  asking = true;
  try {
    const page = await fetchCalls();
    // Older pages that were asked for stay below.
    const oldest = page.calls.at(-1)?.started_ms ?? 0;
    const held = new Set(page.calls.map((call) => call.call));
    const older = calls.filter((call) => !held.has(call.call) && call.started_ms <= oldest);
    if (!older.length) next = page.next;
    calls = [...page.calls, ...older];
    showCalls();
    follow();
  } catch {
    setTimeout(refresh, 3000);
  } finally {
    asking = false;
    if (askAgain) { askAgain = false; refresh(); }
  }
}

function follow() {
  const live = calls.find(isLive);
  // A call that comes in takes nobody away from what they are writing.
  if ($("follow").checked && live && !view?.busy) select(live.call);
  else if (!wire && (selected || calls.length)) select(selected ?? calls[0].call);
}

function stateText(call) {
  if (call.state === "ringing") return "振铃中";
  if (call.state === "answered") return `通话中 ${clock(Date.now() + skew - call.answered_ms)}`;
  if (call.state === "interrupted") return "记录中断";
  return call.duration_ms ? `已结束 ${clock(call.duration_ms)}` : "未接通";
}

function showCalls() {
  const list = $("calls");
  const focused = document.activeElement?.closest?.("#calls button")?.dataset.call;
  list.replaceChildren(...calls.map((call) => {
    const about = make("span", isLive(call) ? "about live" : "about", make("span", "", wall(call.started_ms)), make("span", "state", stateText(call)));
    const open = button("", "", () => openCall(call.call));
    open.append(make("span", "number", call.caller_number ?? "号码未知"), about);
    open.dataset.call = call.call;
    open.setAttribute("aria-current", String(call.call === selected));
    return make("li", "", open);
  }));
  if (focused) list.querySelector(`[data-call="${CSS.escape(focused)}"]`)?.focus();
  $("no-calls").hidden = calls.length > 0;
  $("older").hidden = !next;
  showState();
}

/** What the list and the stream together know of the shown call. */
function current() {
  const listed = calls.find((call) => call.call === selected);
  const seen = view?.call ?? {};
  return listed || seen.started_ms ? { ...listed, ...seen } : null;
}

function showState() {
  const call = current(), badge = $("state"), who = $("who");
  view?.controls.show();
  badge.hidden = !call;
  if (!call) { who.replaceChildren(); return; }
  badge.textContent = stateText(call);
  badge.classList.toggle("live", isLive(call));
  const shown = [call.caller_number, call.called, call.started_ms, call.operator].join("|");
  if (who.dataset.shown === shown) return;
  who.dataset.shown = shown;
  who.replaceChildren(make("strong", "", call.caller_number ?? "号码未知"), make("span", "", `拨打 ${call.called}`), make("span", "", `${wall(call.started_ms)} 来电`));
  who.title = `话务员 ${call.operator}`;
}

function openCall(call) {
  $("follow").checked = false;
  select(call);
  showCalls();
}

function select(call) {
  if (call === selected && wire) return;
  wire?.end();
  view?.end();
  selected = call;
  history.replaceState(null, "", $("follow").checked ? location.pathname + location.search : `#call=${encodeURIComponent(call)}`);
  view = new View(call);
  for (const button of $("calls").querySelectorAll("button")) button.setAttribute("aria-current", String(button.dataset.call === call));
  const mine = view;
  wire = new Wire(() => ({ call, ...(mine.position && { after: mine.position }) }), (message) => mine.take(message), (state) => {
    if (state === "over") mine.over();
    showLink(state);
  });
  showState();
}

// ---------------------------------------------------------------- one call

/** The shown call: what has come of it, and the elements that show it. */
class View {
  constructor(call) {
    Object.assign(this, { position: 0, call: {}, rows: new Map(), pauses: [], alarms: new Map(), pinned: true });
    $("lines").replaceChildren();
    $("lines").classList.remove("over");
    $("ended").hidden = $("latest").hidden = true;
    $("no-lines").hidden = false;
    this.controls = new Controls(call, () => isLive(current() ?? {}));
    this.player = new Player(call, (at) => this.follow(at));
    this.ticket = new Ticket(call, {
      goTo: (name, place) => this.goTo(name, place),
      mark,
      open: openCall,
      changed: () => { for (const row of this.rows.values()) this.showText(row); },
      isLive: () => isLive(current() ?? {}),
    });
    this.showAlarms();
  }

  end() { this.player.end(); this.controls.end(); }

  /** Whether the operator is writing: the page must not go to another call now. */
  get busy() { return this.ticket.busy || this.controls.busy; }

  /** Nothing follows; without a word of its end, the gateway itself broke off in the call. */
  over() {
    if (this.call.state === "ended" || this.call.state === "interrupted") return;
    this.call.state = "interrupted";
    this.ticket.end();
    this.player.open(this.pauses);
    showState();
  }

  take(message) {
    if (message.kind === "error") {
      if (message.code === "unknown_call") toast(message.message);
      return;
    }
    if (message.kind === "draft") {
      this.position = Math.max(this.position, message.position);
      this.ticket.take(message);
      return;
    }
    // What a reconnect repeats.
    if (message.position <= this.position) return;
    this.position = message.position;
    switch (message.kind) {
      case "started":
        Object.assign(this.call, { state: "ringing", operator: message.operator, caller_number: message.caller_number, called: message.called, started_ms: message.started_ms });
        break;
      case "answered": Object.assign(this.call, { state: "answered", answered_ms: message.answered_ms }); break;
      case "line": this.takeLine(message); break;
      case "gap": this.takeGap(message); break;
      case "alarm": this.alarms.set(`${message.alarm}:${message.leg}`, message); this.showAlarms(); break;
      case "recording": this.takeMark(message); break;
      case "note": this.takeNote(message); break;
      case "call_final":
        Object.assign(this.call, { state: "ended", duration_ms: message.duration_ms, reason: message.reason });
        this.showEnd();
        this.ticket.end();
        this.player.open(this.pauses);
        break;
    }
    if (!["line", "gap", "recording", "note"].includes(message.kind)) showState();
  }

  // ---- transcript

  /** The row of an utterance, made at its place in time when it is new. */
  row(message) {
    let row = this.rows.get(message.id);
    if (!row) {
      const element = make("li", message.leg, make("time"), make("span", "speaker", SPEAKERS[message.leg] ?? message.leg), make("span", "text"));
      row = { id: message.id, start: message.start_ms, end: message.end_ms, element, revision: 0, text: "", final: false, committed: 0, words: [], changes: [], marks: [] };
      this.rows.set(message.id, row);
      const after = [...this.rows.values()].filter((other) => other !== row && (other.start - row.start || other.id - row.id) > 0);
      const follower = after.sort((a, b) => a.start - b.start || a.id - b.id)[0];
      $("lines").insertBefore(element, follower?.element ?? null);
      element.firstChild.textContent = clock(row.start);
      $("no-lines").hidden = true;
    }
    return row;
  }

  takeLine(message) {
    const row = this.row(message);
    if (message.revision <= row.revision) return;
    Object.assign(row, { revision: message.revision, end: message.end_ms, text: message.text, final: message.final, committed: message.committed ?? 0, words: message.words ?? [], changes: message.changes ?? [], marks: message.marks ?? [] });
    row.element.hidden = message.final && !message.text;
    row.element.classList.toggle("tentative", !message.final);
    const unsure = message.final && message.confidence < UNSURE;
    row.element.classList.toggle("unsure", unsure);
    row.element.children[2].title = unsure ? `识别把握 ${percent(message.confidence)}，请核对` : "";
    this.showText(row);
    for (const [key, alarm] of this.alarms) if (alarm.alarm !== "transfer_failed" && alarm.leg === message.leg && message.text) { this.alarms.delete(key); this.showAlarms(); }
    this.scroll();
  }

  /** A line between the lines: what happened to the recording at that moment. */
  takeMark(message) {
    if (message.mark === "paused" || message.mark === "number_begins") this.pauses.push([message.at_ms, null]);
    if ((message.mark === "resumed" || message.mark === "number_over") && this.pauses.length) this.pauses.at(-1)[1] = message.at_ms;
    this.insert(message.at_ms, make("span", "speaker"), make("span", "note", MARKS[message.mark] ?? message.mark));
  }

  /** What somebody noted at that moment. */
  takeNote({ at_ms, by, text }) {
    const note = make("span", "remark", text);
    note.title = { user: by.user, trunk: by.trunk, service: by.service }[by.kind] ?? "";
    this.insert(at_ms, make("span", "speaker", "备注"), note);
    $("no-lines").hidden = true;
  }

  insert(at, ...content) {
    const element = make("li", "mark", make("time", "", clock(at)), ...content);
    const follower = [...this.rows.values()].filter((row) => row.start > at).sort((a, b) => a.start - b.start)[0];
    $("lines").insertBefore(element, follower?.element ?? null);
    this.scroll();
  }

  takeGap(message) {
    const row = this.row(message);
    // Tentative words that never became final are not shown as said.
    if (!row.final) { row.text = ""; row.element.classList.remove("tentative"); row.element.children[2].hidden = true; }
    row.element.querySelector(".note")?.remove();
    const note = make("span", "", "此处有语音未能识别");
    note.title = `${clock(message.start_ms)}–${clock(message.end_ms)}：${gapOf(message.reason)}`;
    row.element.append(make("span", "note", note));
    this.showText(row);
    this.scroll();
  }

  /** A row's words, with those that a field rests on marked; evidence counts characters, not UTF-16 units. */
  showText(row) {
    const letters = Array.from(row.text);
    const held = letters.map(() => []);
    if (row.final) {
      for (const [name, field] of Object.entries(this.ticket.fields)) {
        // A title and a summary rest on everything: marking it would say nothing.
        if (name === "title" || name === "summary") continue;
        for (const { utterance, start, end } of [...field.evidence, ...(field.against?.evidence ?? [])]) {
          if (utterance === row.id) for (let at = start; at < Math.min(end, letters.length); at++) held[at].push(name);
        }
      }
    }
    // What was put right says what was heard, and can be undone; sensitive words say what they are about.
    const notes = letters.map(() => null);
    const note = (from, to, about) => { for (let at = from; at < Math.min(to, letters.length); at++) notes[at] = about; };
    row.changes.forEach(({ from, to, kind, said, list, undone }, change) => {
      const title = undone ? `改正“${undone}”已撤销` : kind === "hotword" ? `听到的是“${said}”，按“${list}”改正` : `说的是“${said}”`;
      note(from, to, { kind: kind === "hotword" ? "put-right" : "figure", title, change, undone: Boolean(undone) });
    });
    for (const { from, to, category } of row.marks) note(from, to, { kind: "sensitive", title: `敏感词：${category}` });
    const runs = [];
    letters.forEach((letter, at) => {
      const names = held[at].join(" "), solid = !row.final && at < row.committed, note = notes[at], last = runs.at(-1);
      if (last?.names === names && last.solid === solid && last.note === note) last.text += letter; else runs.push({ names, solid, note, at, text: letter });
    });
    const shown = JSON.stringify(runs);
    if (row.shown === shown) return; // A selection with the mouse survives.
    row.shown = shown;
    row.element.children[2].replaceChildren(...runs.map(({ names, solid, note, at, text }) => {
      if (!names && !note) return solid ? make("span", "solid", text) : text;
      const span = make("span", [names && "from", solid && "solid", note?.kind].filter(Boolean).join(" "), text);
      if (names) span.dataset.fields = names;
      span.dataset.at = at;
      const fields = names ? names.split(" ").map(labelOf).join("、") : "";
      span.title = [fields, note?.title].filter(Boolean).join("；");
      if (row.final && note?.change !== undefined) span.append(this.undoButton(row.id, { ...note, revision: row.revision }));
      return span;
    }));
  }

  /** Undoes a change of a line, or makes it again; the line comes back as an event. */
  undoButton(line, { change, undone, revision }) {
    const button = make("button", undone ? "undo again" : "undo");
    button.type = "button";
    button.title = undone ? "恢复改正" : "撤销改正";
    button.setAttribute("aria-label", button.title);
    button.onclick = async (event) => {
      event.stopPropagation();
      const answer = await send(`/api/calls/${encodeURIComponent(selected)}/lines/${line}/changes/${change}?revision=${revision}`, { method: undone ? "POST" : "DELETE" }).catch(() => null);
      if (!answer?.ok) toast((await answer?.json().catch(() => null))?.error.message ?? "未能提交，请稍后再试");
    };
    return button;
  }

  showAlarms() {
    $("alarms").replaceChildren(...[...this.alarms].map(([key, { alarm, leg }]) => {
      const away = button("", "知道了", () => { this.alarms.delete(key); this.showAlarms(); });
      return make("div", "alarm", make("span", "", (ALARMS[alarm] ?? (() => alarm))(SPEAKERS[leg] ?? leg)), away);
    }));
  }

  showEnd() {
    // Nothing tentative can become final any more.
    for (const row of this.rows.values()) row.element.classList.remove("tentative");
    $("lines").classList.add("over");
    const { duration_ms, reason } = this.call;
    $("ended").textContent = ["通话已结束", duration_ms ? `时长 ${clock(duration_ms)}` : "未接通", reasonOf(reason)].filter(Boolean).join(" · ");
    $("ended").hidden = false;
    $("no-lines").hidden = true;
    this.scroll();
  }

  scroll() {
    const box = $("scroll");
    if (this.pinned) box.scrollTop = box.scrollHeight;
    else $("latest").hidden = false;
  }

  /** Scrolls to the words that a field rests on, and plays them where the call is recorded and over. */
  goTo(name, place) {
    const row = place && this.rows.get(place.utterance);
    if (!row) return;
    mark([name]);
    const spans = [...row.element.querySelectorAll(`[data-fields~="${CSS.escape(name)}"]`)];
    const span = spans.findLast((one) => Number(one.dataset.at) <= place.start) ?? spans[0] ?? row.element;
    span.scrollIntoView({ block: "center", behavior: "smooth" });
    row.element.classList.remove("shown");
    void row.element.offsetWidth;
    row.element.classList.add("shown");
    const [from, to] = timeOf(row, place.start, place.end);
    this.player.play(from, to);
  }

  /** The sound is at this moment: the line that is heard is marked. */
  follow(at) {
    for (const row of this.rows.values()) row.element.classList.toggle("heard", at !== null && row.start <= at && at <= row.end);
  }
}

/** When the characters from `from` to `to` of a line were said. */
function timeOf(row, from, to) {
  const within = row.words.filter(([start, end]) => start < to && from < end);
  return within.length ? [within[0][2], within.at(-1)[3]] : [row.start, row.end];
}

/** Lights up fields and the words that they rest on. */
function mark(names) {
  for (const span of $("lines").querySelectorAll(".from")) {
    span.classList.toggle("on", names.some((name) => span.dataset.fields.split(" ").includes(name)));
  }
  for (const card of $("ticket").children) card.classList.toggle("on", names.includes(card.dataset.field));
}

// ---------------------------------------------------------------- the rest of the page

const LINK = { open: ["open", "已连接"], over: ["open", "已连接"], unknown: ["open", "已连接"], lost: ["lost", "连接中断，正在重连"] };
function showLink(state) {
  const [shown, text] = LINK[state];
  $("link").dataset.state = shown;
  $("link").lastChild.textContent = text;
  if (state === "over" || state === "lost") refresh();
}

$("lines").addEventListener("mouseover", (event) => mark(event.target.dataset?.fields?.split(" ") ?? []));
$("lines").addEventListener("mouseleave", () => mark([]));
$("lines").addEventListener("click", (event) => {
  if (String(getSelection())) return;
  const name = event.target.dataset?.fields?.split(" ")[0];
  if (name) view.ticket.card(name).scrollIntoView({ block: "nearest", behavior: "smooth" });
  const element = event.target.closest("li"), row = [...view.rows.values()].find((one) => one.element === element);
  if (!row) return;
  const at = Number(event.target.dataset?.at ?? 0);
  view.player.play(at ? timeOf(row, at, at + 1)[0] : row.start);
});
$("scroll").addEventListener("scroll", () => {
  if (!view) return;
  const box = $("scroll");
  view.pinned = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  if (view.pinned) $("latest").hidden = true;
});
$("latest").onclick = () => { $("scroll").scrollTop = $("scroll").scrollHeight; $("scroll").focus(); };
new ResizeObserver(() => { if (view?.pinned) $("scroll").scrollTop = $("scroll").scrollHeight; }).observe($("scroll"));
$("follow").onchange = () => { if ($("follow").checked) follow(); };
$("older").onclick = async () => {
  try {
    const page = await fetchCalls(next);
    calls = [...calls, ...page.calls];
    next = page.next;
    showCalls();
  } catch { toast("暂时读不到更早的通话，请稍后再试"); }
};
$("copy-all").onclick = () => {
  const { fields } = view.ticket;
  const lines = ordered([]).filter((name) => fields[name]).map((name) => `${labelOf(name)}：${valueText(name, fields[name].value)}`);
  copyText(lines.join("\n"), "已复制整张工单");
};
$("undo").onclick = () => view?.ticket.undo();
addEventListener("keydown", (event) => {
  const { target } = event;
  if (!view || event.isComposing || target.closest?.("input:not([type=checkbox], [type=range]), textarea, select")) return;
  if (view.ticket.key(event)) event.preventDefault();
  else if (event.code === "KeyP" && !event.ctrlKey && !event.metaKey) view.player.toggle();
});

await enter();
// The comings and goings of calls; each is a reason to read the list again.
let lobbyPosition = 0;
const lobby = new Wire(
  () => ({ only: "calls", ...(OPERATOR && { operator: OPERATOR }), ...(lobbyPosition && { after: lobbyPosition }) }),
  (message) => { lobbyPosition = Math.max(lobbyPosition, message.position ?? 0); refresh(); },
  (state) => { if (state === "open") { refresh(); wire?.hurry(); } if (state === "lost" || !wire || wire.done) showLink(state); },
);
const hurry = () => { lobby.hurry(); wire?.hurry(); };
addEventListener("online", hurry);
document.addEventListener("visibilitychange", () => { if (!document.hidden) hurry(); });
// Running timers, without building the list anew.
setInterval(() => {
  for (const call of calls) {
    if (call.state !== "answered") continue;
    const state = $("calls").querySelector(`[data-call="${CSS.escape(call.call)}"] .state`);
    if (state) state.textContent = stateText(call);
  }
  if (current()?.state === "answered") showState();
}, 1000);
refresh();
