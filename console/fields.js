// How a ticket's fields read and how an operator writes them. What there are, and of what kind, the gateway says.

import { FIELDS } from "./contract.js";
import { make } from "./dom.js";
import { send } from "./people.js";

const BY_NAME = new Map(FIELDS.map((field) => [field.name, field]));
const known = (name) => BY_NAME.get(name) ?? { label: name, guide: "", kind: "text", form: "words" };
export const labelOf = (name) => known(name).label;
export const guideOf = (name) => known(name).guide;
export const wordsOf = (name) => known(name).words ?? [];

/** What shows where: the contract's fields in their order, behind them what a newer gateway knows. */
export const ordered = (names) => [...FIELDS.map(({ name }) => name), ...names.filter((name) => !BY_NAME.has(name))];

/** The fields that are not in `names` and that an operator may write. */
export const absentOf = (names) => FIELDS.filter(({ name, writers }) => writers.includes("operator") && !names.includes(name));

/** A value as the operator reads it. */
export function valueText(name, value) {
  if (typeof value === "boolean") return value ? "是" : "否";
  if (typeof value === "number") return `${value.toLocaleString("zh-CN", { maximumFractionDigits: 2 })} 元`;
  if (Array.isArray(value)) return value.join(known(name).kind === "levels" ? " › " : "、");
  return value;
}

// What this hotline has to choose from, by field; the page works without it.
let choices = {};
send("/api/choices").then((answer) => answer.json()).then((answer) => { choices = answer; }).catch(() => {});

function option(value, text, chosen) {
  const element = make("option", "", text);
  element.value = value;
  element.selected = chosen;
  return element;
}

function select(options) {
  const element = make("select");
  element.append(...options);
  return element;
}

/** A text box that offers `words` while one types. */
function suggesting(value, words) {
  const box = make("input"), list = make("datalist");
  list.id = `known-${Math.random().toString(36).slice(2)}`;
  list.append(...words.map((one) => option(one, "", false)));
  box.setAttribute("list", list.id);
  box.value = value;
  return { box, extra: [list] };
}

const parts = (text) => text.split(/[、,，;；\s]+/).filter(Boolean);

/** An amount as people write it (3,200, 1.2万, 860元) in yuan; nothing when it is none. */
export function amountOf(text) {
  const plain = text.trim().replace(/[,，\s￥¥]/g, "").replace(/元整?$|块钱?$/, "");
  const [, number, unit] = plain.match(/^(\d+(?:\.\d+)?)([万千百]?)$/) ?? [];
  return number === undefined ? null : Math.round(Number(number) * ({ 万: 10_000, 千: 1_000, 百: 100 }[unit] ?? 1) * 100) / 100;
}

/** What one edits a field with: `box` has the focus, `read()` gives its value or a sentence that says what is wrong. */
export function editorOf(name, value) {
  const text = value === undefined ? "" : value;
  const { kind, form, words } = known(name), offered = choices[name] ?? [];
  if (kind === "one_of") {
    const box = select([...(words.includes(text) ? [] : [option(text, text || "请选择", true)]), ...words.map((one) => option(one, one, one === text))]);
    return { box, extra: [], read: () => (box.value ? { value: box.value } : { wrong: "请选择一项" }) };
  }
  if (kind === "flag") {
    const box = select([option("false", "否", value !== true), option("true", "是", value === true)]);
    return { box, extra: [], read: () => ({ value: box.value === "true" }) };
  }
  if (kind === "levels" && offered.length) {
    const now = (Array.isArray(value) ? value : []).join("/");
    const groups = new Map();
    for (const [first, second] of offered) {
      if (!groups.has(first)) groups.set(first, Object.assign(make("optgroup"), { label: first }));
      groups.get(first).append(option(`${first}/${second}`, second, `${first}/${second}` === now));
    }
    const listed = offered.some((levels) => levels.join("/") === now);
    const box = select([...(listed ? [] : [option(now, now || "请选择", true)]), ...groups.values()]);
    return { box, extra: [], read: () => (box.value ? { value: box.value.split("/") } : { wrong: "请选择一项" }) };
  }
  if (kind === "levels" || kind === "list") {
    const now = (Array.isArray(value) ? value : []).join("、");
    const { box, extra } = suggesting(now, kind === "list" ? offered : []);
    box.placeholder = "多项用顿号分开";
    return { box, extra, read: () => (parts(box.value).length ? { value: parts(box.value) } : { wrong: "请至少填写一项" }) };
  }
  if (kind === "yuan") {
    const box = make("input");
    box.inputMode = "decimal";
    box.value = typeof value === "number" ? String(value) : "";
    box.placeholder = "元，如 860 或 1.2万";
    return { box, extra: [], read: () => { const amount = amountOf(box.value); return amount === null ? { wrong: "请填写金额，如 860 或 1.2万" } : { value: amount }; } };
  }
  if (form === "prose" || form === "long_words") {
    const box = make("textarea");
    box.value = text;
    box.rows = name === "summary" ? 4 : 2;
    return { box, extra: [], read: () => ({ value: box.value.trim() }) };
  }
  const { box, extra } = suggesting(text, offered);
  if (form === "phone") {
    box.inputMode = "tel";
    return { box, extra, read: () => ({ value: box.value.replace(/[\s-]/g, "") }) };
  }
  return { box, extra, read: () => ({ value: box.value.trim() }) };
}
