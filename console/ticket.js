// The draft ticket of the shown call: its fields with their sources, and what the operator writes into them.
//
// What the operator wrote is theirs: the gateway never overwrites it, and sends along what was said later and contradicts
// it. An open editor is never touched by a draft that comes meanwhile.

import { $, button, copyText, make, percent, toast, wall } from "./dom.js";
import { absentOf, editorOf, guideOf, labelOf, ordered, valueText, wordsOf } from "./fields.js";
import { send } from "./people.js";

const LIKENESS = {
  same_caller: "同一来电人", same_category: "同类事项", same_subject: "同一被诉对象", same_address: "同一地址",
  similar_text: "内容相似",
};
const UNSURE = 0.6;
const LIMITS = [["accept", "受理"], ["reply", "答复"], ["finish", "办结"]];
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const span = ({ hours, working_days }) => (hours === undefined ? `${working_days} 个工作日` : `${hours} 小时`);

/** Who or what took words for a sign of a department. */
const BASES = { phrase: "关键词", classifier: "分类模型", operator: "话务员" };

/** …；依据：关键词 2 处、分类模型 1 处 */
function bases(because) {
  const counts = Object.entries(BASES).map(([basis, label]) => [label, because.filter((why) => why.basis === basis).length]);
  const said = counts.filter(([, count]) => count).map(([label, count]) => `${label} ${count} 处`).join("、");
  return said && `；依据：${said}`;
}

export class Ticket {
  /** `page` shows lines and other calls: goTo(name, place), mark(names), open(call), changed(), isLive(). */
  constructor(call, page) {
    Object.assign(this, { call, page, revision: 0, fields: {}, missing: [], likely: [], cards: new Map(), editors: new Map(), undos: [], turns: new Map() });
    $("ticket").replaceChildren();
    for (const id of ["missing", "resembles", "limits", "absent", "urgency"]) $(id).hidden = true;
    $("no-ticket").hidden = false;
    $("copy-all").disabled = true;
    document.title = TITLE;
    this.showUndo();
  }

  /** Whether the operator is writing: the page must not go to another call now. */
  get busy() { return this.editors.size > 0 && this.page.isLive(); }

  /** A new revision of the draft. */
  take(message) {
    if (message.revision <= this.revision) return;
    const first = this.revision === 0, old = this.fields;
    Object.assign(this, { revision: message.revision, fields: message.fields, missing: message.missing, likely: message.likely ?? [] });
    for (const name of Object.keys(this.fields)) {
      const changed = !first && !same(old[name]?.value, this.fields[name].value);
      const against = this.fields[name].against && !same(old[name]?.against?.value, this.fields[name].against.value);
      this.showField(name);
      if (changed || against) flash(this.card(name));
    }
    this.place();
    this.showMissing();
    this.showResembles(message.resembles ?? []);
    this.showUrgency(message.limits);
    $("copy-all").disabled = !Object.keys(this.fields).length;
    this.page.changed();
  }

  /** The call is over: what stands has been handed on. */
  end() {
    for (const name of this.cards.keys()) this.showField(name);
    this.place();
    this.showMissing();
    this.showUndo();
  }

  /** Puts the cards in their order. Elements that stay are not moved: a focus in them survives. */
  place() {
    const cards = ordered(Object.keys(this.fields)).filter((name) => this.fields[name] || this.editors.has(name)).map((name) => this.card(name));
    const box = $("ticket");
    for (const child of [...box.children]) if (!cards.includes(child)) child.remove();
    cards.forEach((card, at) => { if (box.children[at] !== card) box.insertBefore(card, box.children[at] ?? null); });
    $("no-ticket").hidden = cards.length > 0;
    const absent = this.page.isLive() && cards.length ? absentOf([...Object.keys(this.fields), ...this.editors.keys()]) : [];
    $("absent").hidden = !absent.length;
    $("absent").replaceChildren(...absent.map(({ name, label }) => button("chip", `＋ ${label}`, () => this.edit(name))));
  }

  // ---- one field

  card(name) {
    let card = this.cards.get(name);
    if (card) return card;
    const copy = button("tool", "复制", () => copyText(valueText(name, this.fields[name].value), `已复制${labelOf(name)}`), `复制${labelOf(name)}`);
    const write = button("tool write", "修改", () => this.edit(name), `修改${labelOf(name)}`);
    card = make("div", `field ${name}`, make("span", "label", labelOf(name)), make("span", "value"), make("span", "sure"), make("span", "tools", write, copy), make("div", "below"));
    card.firstChild.title = guideOf(name);
    card.tabIndex = 0;
    card.dataset.field = name;
    card.onmouseenter = card.onfocus = () => this.page.mark([name]);
    card.onmouseleave = card.onblur = () => this.page.mark([]);
    card.onclick = (event) => { if (!this.editors.has(name) && !event.target.closest(".below") && !String(getSelection())) this.source(name); };
    card.ondblclick = () => this.edit(name);
    this.cards.set(name, card);
    return card;
  }

  showField(name) {
    const field = this.fields[name], card = this.card(name);
    const [, text, sure, tools, below] = card.children;
    card.classList.toggle("live", this.page.isLive());
    if (!this.editors.has(name)) {
      text.textContent = field ? valueText(name, field.value) || "（空）" : "";
      text.classList.toggle("num", typeof field?.value === "number" || name === "contact_phone");
    }
    tools.hidden = this.editors.has(name);
    if (!field) { sure.replaceChildren(); below.replaceChildren(); return; }
    const { confidence, evidence, mended, edited, against } = field;
    card.classList.toggle("sourced", evidence.length > 0);
    card.classList.toggle("edited", edited);
    card.classList.toggle("contradicted", Boolean(against));
    if (edited) {
      sure.className = "sure";
      sure.title = "话务员填写，不会被自动改写";
      sure.replaceChildren(make("b", "own", "已修改"));
    } else {
      const level = confidence >= 0.8 ? "good" : confidence >= UNSURE ? "fair" : "poor";
      const bar = make("i");
      bar.style.setProperty("--part", percent(confidence));
      sure.className = `sure ${level}`;
      sure.title = `把握 ${percent(confidence)}${evidence.length ? "" : "，并非来自通话内容"}${mended ? "，其中有按读音改过的字，请核对" : ""}`;
      sure.replaceChildren(bar, make("span", "", level === "poor" || mended ? "请核对" : percent(confidence)));
    }
    below.replaceChildren(...this.notes(name, field));
  }

  /** What stands below a value: a later statement that contradicts the operator, the way back, other departments. */
  notes(name, { edited, against }) {
    const notes = [], live = this.page.isLive();
    if (against) {
      const words = button("words", valueText(name, against.value), () => this.page.goTo(name, against.evidence[0]), `看${labelOf(name)}的新说法出自哪里`);
      const acts = live ? [button("adopt", "采纳", () => this.adopt(name)), button("plain", "保留我的", () => this.keep(name))] : [];
      notes.push(make("div", "against", make("span", "", "后来又说："), words, ...acts));
    } else if (edited && live) {
      notes.push(make("div", "back", button("tool", "恢复自动填写", () => this.write(name, null), `恢复自动填写${labelOf(name)}`)));
    }
    if (name === "departments" && this.likely.length > 1) {
      const now = this.fields.departments?.value?.[0];
      const chips = this.likely.filter(({ department }) => department !== now).map(({ department, confidence, because = [] }) => {
        const chip = button("chip", `${department} ${percent(confidence)}`, () => this.lead(department), `改由${department}承办${bases(because)}`);
        chip.disabled = !live;
        return chip;
      });
      if (chips.length) notes.push(make("div", "likely", make("span", "", "或"), ...chips));
    }
    // What speaks for the lead department, and by whose judgement.
    const lead = name === "departments" && !edited && this.likely.find(({ department }) => department === this.fields.departments?.value?.[0]);
    if (lead && lead.because?.length) {
      const words = lead.because.map(({ basis, evidence }) => button("chip", BASES[basis], () => this.page.goTo(name, evidence), `看${BASES[basis]}依据的原话`));
      notes.push(make("div", "likely", make("span", "", "依据"), ...words));
    }
    return notes;
  }

  /** Scrolls to the words that a field rests on; again, to the next of them. */
  source(name) {
    const evidence = this.fields[name]?.evidence ?? [];
    if (!evidence.length) return;
    const turn = (this.turns.get(name) ?? -1) + 1;
    this.turns.set(name, turn);
    this.page.goTo(name, evidence[turn % evidence.length]);
  }

  // ---- writing

  edit(name) {
    if (!this.page.isLive()) { toast("通话已结束，草稿已交出，请在工单系统中修改"); return; }
    const open = this.editors.get(name);
    if (open) { open.box.focus(); return; }
    const editor = editorOf(name, this.fields[name]?.value);
    this.editors.set(name, editor);
    this.place();
    const card = this.card(name);
    card.classList.add("editing");
    const save = button("adopt", "保存", () => this.save(name)), cancel = button("plain", "取消", () => this.close(name));
    editor.wrong = make("span", "wrong");
    editor.box.setAttribute("aria-label", labelOf(name));
    card.children[1].replaceChildren(make("form", "editor", editor.box, ...editor.extra, save, cancel, editor.wrong));
    card.children[1].firstChild.onsubmit = (event) => event.preventDefault();
    editor.box.onkeydown = (event) => {
      // While an input method composes, Enter is its own.
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape") { event.preventDefault(); this.close(name); }
      if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); this.save(name); }
      if (event.key === "Tab" && !event.shiftKey) { event.preventDefault(); this.save(name, true); }
    };
    this.showField(name);
    editor.box.focus();
    editor.box.select?.();
    card.scrollIntoView({ block: "nearest" });
  }

  close(name) {
    this.editors.delete(name);
    const card = this.card(name);
    card.classList.remove("editing");
    card.children[1].replaceChildren();
    this.showField(name);
    this.place();
    (card.isConnected ? card : $("ticket").firstElementChild)?.focus({ preventScroll: true });
  }

  /** Saves what is written, and goes on to the next field that is still to be asked for. */
  async save(name, onward = false) {
    const editor = this.editors.get(name);
    if (!editor || editor.saving) return;
    const { value, wrong } = editor.read();
    editor.wrong.textContent = wrong ?? "";
    if (wrong) { editor.box.focus(); return; }
    // Nothing written into a field that is not known is no edit.
    if (!same(value, this.fields[name]?.value ?? "")) {
      editor.saving = true;
      const done = await this.write(name, value);
      editor.saving = false;
      if (!done) { editor.box.focus(); return; }
    }
    this.close(name);
    if (onward) {
      const cards = [...$("ticket").children];
      const next = cards[cards.indexOf(this.card(name)) + 1];
      next?.focus();
      next?.scrollIntoView({ block: "nearest" });
    }
  }

  /** Sends a value, or `null` to give the field back to what is said; remembers what it was. */
  async write(name, value, remember = true) {
    const field = this.fields[name];
    try {
      const answer = await send(`/api/calls/${encodeURIComponent(this.call)}/fields/${name}`, {
        method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ value }),
      });
      if (!answer.ok) {
        const told = await answer.json().catch(() => null);
        throw new Error(told?.error?.message ?? "没有保存成功，请重试");
      }
    } catch (error) {
      toast(error instanceof TypeError ? "连接中断，没有保存，请稍后重试" : error.message);
      return false;
    }
    if (remember) {
      this.undos.push({ name, value: field?.edited ? field.value : null });
      this.showUndo();
      toast(value === null ? `${labelOf(name)}恢复自动填写` : `已修改${labelOf(name)}`, { text: "撤销", act: () => this.undo() });
    }
    return true;
  }

  adopt(name) { return this.write(name, null); }

  /** Written once more, it stands against all that has been said so far. */
  keep(name) { return this.write(name, this.fields[name].value, false); }

  lead(department) {
    const joint = (this.fields.departments?.value ?? []).slice(1).filter((other) => other !== department);
    return this.write("departments", [department, ...joint]);
  }

  async undo() {
    const last = this.undos.pop();
    if (!last) return;
    this.showUndo();
    if (await this.write(last.name, last.value, false)) {
      toast(`已撤销对${labelOf(last.name)}的修改`);
      flash(this.card(last.name));
    } else {
      this.undos.push(last);
      this.showUndo();
    }
  }

  showUndo() {
    $("undo").disabled = !this.undos.length || !this.page.isLive();
  }

  // ---- what stands above the fields

  showMissing() {
    $("missing").hidden = !this.missing.length;
    $("missing").querySelector("ol").replaceChildren(...this.missing.map((name) => {
      const ask = button("", labelOf(name), () => this.edit(name));
      ask.disabled = !this.page.isLive();
      return make("li", "", ask);
    }));
  }

  /** Earlier tickets on what may be the same matter; each opens its call. */
  showResembles(found) {
    $("resembles").hidden = !found.length;
    $("resembles").querySelector("ol").replaceChildren(...found.map(({ call, ticket, score, because, started_unix_ms }) => {
      const why = because.map((reason) => LIKENESS[reason] ?? reason).join("、");
      const open = button("", "", () => this.page.open(call));
      open.append(make("b", "", ticket ?? "草稿"), ` ${wall(started_unix_ms)} · ${why}`);
      open.title = `${why}；相似度 ${percent(score)}，点击查看那通电话`;
      return make("li", "", open);
    }));
  }

  showUrgency(limits) {
    const words = wordsOf("urgency"), urgency = this.fields.urgency?.value ?? words[0];
    const pressing = urgency !== words[0];
    $("urgency").hidden = !pressing;
    $("urgency").textContent = urgency;
    $("urgency").className = urgency === words.at(-1) ? "pressing top" : "pressing";
    $("urgency").onclick = () => { this.source("urgency"); this.card("urgency").scrollIntoView({ block: "nearest" }); };
    document.title = pressing ? `【${urgency}】${TITLE}` : TITLE;
    $("limits").hidden = !limits;
    if (limits) {
      $("limits").replaceChildren(make("span", "", "时限"), ...LIMITS.map(([key, label]) => make("span", "", `${label} `, make("b", "", span(limits[key])))));
    }
  }

  // ---- keys

  /** A key outside of a text; whether it was meant for the ticket. */
  key(event) {
    const card = document.activeElement?.closest?.("#ticket .field"), name = card?.dataset.field;
    if ((event.ctrlKey || event.metaKey) && event.code === "KeyZ" && !event.shiftKey) { this.undo(); return true; }
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && card) {
      const cards = [...$("ticket").children];
      const next = cards[cards.indexOf(card) + step];
      next?.focus();
      next?.scrollIntoView({ block: "nearest" });
      return true;
    }
    const onButton = document.activeElement?.tagName === "BUTTON";
    if (card && !onButton && (event.key === "Enter" || event.key === "F2")) { this.edit(name); return true; }
    if (card && !onButton && event.key === " ") { this.source(name); return true; }
    const contradicted = [name, ...Object.keys(this.fields)].find((one) => this.fields[one]?.against);
    if (event.code === "KeyA" && contradicted && this.page.isLive()) { this.adopt(contradicted); return true; }
    if (event.code === "KeyK" && contradicted && this.page.isLive()) { this.keep(contradicted); return true; }
    if (event.code === "KeyN" && this.missing.length) { this.edit(this.missing.find((one) => !this.editors.has(one)) ?? this.missing[0]); return true; }
    if (event.code === "KeyT") { $("ticket").firstElementChild?.focus(); return true; }
    return false;
  }
}

const TITLE = document.title;

function flash(card) {
  card.classList.remove("changed");
  void card.offsetWidth;
  card.classList.add("changed");
}
