// The fields of a ticket: their names, how their values read, and how an operator writes them.

import { make } from "./dom.js";

export const FIELDS = [
  ["title", "标题"], ["summary", "概要"], ["request_type", "诉求类型"], ["category", "事项分类"],
  ["departments", "承办部门"], ["caller_name", "来电人"], ["contact_phone", "联系电话"], ["address", "地址"],
  ["district", "所属区县"], ["subject", "被诉对象"], ["amount_yuan", "涉及金额"], ["demand", "诉求内容"],
  ["event_time", "发生时间"], ["urgency", "紧急程度"], ["confidential", "要求保密"], ["evidence_held", "证据材料"],
  ["raised_before", "曾经反映"],
];
export const LABELS = new Map(FIELDS);
export const labelOf = (name) => LABELS.get(name) ?? name;

/** A value as the operator reads it. */
export function valueText(name, value) {
  if (typeof value === "boolean") return value ? "是" : "否";
  if (typeof value === "number") return `${value.toLocaleString("zh-CN", { maximumFractionDigits: 2 })} 元`;
  if (Array.isArray(value)) return value.join(name === "category" ? " › " : "、");
  return value;
}

// What there is to choose from; the page works without it.
let choices = { categories: [], departments: [], districts: [], requests: [], urgencies: [] };
fetch("/api/choices").then((answer) => answer.json()).then((known) => { choices = known; }).catch(() => {});

const LONG = new Set(["summary", "demand", "address", "title"]);

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

/** A text box that offers `known` while one types. */
function suggesting(value, known) {
  const box = make("input"), list = make("datalist");
  list.id = `known-${Math.random().toString(36).slice(2)}`;
  list.append(...known.map((one) => option(one, "", false)));
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
  if (name === "request_type" || name === "urgency") {
    const known = name === "urgency" ? choices.urgencies : choices.requests;
    const box = select([...(known.includes(text) ? [] : [option(text, text || "请选择", true)]), ...known.map((one) => option(one, one, one === text))]);
    return { box, extra: [], read: () => (box.value ? { value: box.value } : { wrong: "请选择一项" }) };
  }
  if (name === "confidential" || name === "raised_before") {
    const box = select([option("false", "否", value !== true), option("true", "是", value === true)]);
    return { box, extra: [], read: () => ({ value: box.value === "true" }) };
  }
  if (name === "category" && choices.categories.length) {
    const now = (Array.isArray(value) ? value : []).join("/");
    const groups = new Map();
    for (const [first, second] of choices.categories) {
      if (!groups.has(first)) groups.set(first, Object.assign(make("optgroup"), { label: first }));
      groups.get(first).append(option(`${first}/${second}`, second, `${first}/${second}` === now));
    }
    const known = choices.categories.some((levels) => levels.join("/") === now);
    const box = select([...(known ? [] : [option(now, now || "请选择", true)]), ...groups.values()]);
    return { box, extra: [], read: () => (box.value ? { value: box.value.split("/") } : { wrong: "请选择一项" }) };
  }
  if (name === "category" || name === "departments" || name === "evidence_held") {
    const now = (Array.isArray(value) ? value : []).join("、");
    const { box, extra } = suggesting(now, name === "departments" ? choices.departments : []);
    box.placeholder = "多项用顿号分开";
    return { box, extra, read: () => (parts(box.value).length ? { value: parts(box.value) } : { wrong: "请至少填写一项" }) };
  }
  if (name === "amount_yuan") {
    const box = make("input");
    box.inputMode = "decimal";
    box.value = typeof value === "number" ? String(value) : "";
    box.placeholder = "元，如 860 或 1.2万";
    return { box, extra: [], read: () => { const amount = amountOf(box.value); return amount === null ? { wrong: "请填写金额，如 860 或 1.2万" } : { value: amount }; } };
  }
  if (LONG.has(name)) {
    const box = make("textarea");
    box.value = text;
    box.rows = name === "summary" ? 4 : 2;
    return { box, extra: [], read: () => ({ value: box.value.trim() }) };
  }
  const { box, extra } = suggesting(text, name === "district" ? choices.districts : []);
  if (name === "contact_phone") {
    box.inputMode = "tel";
    return { box, extra, read: () => ({ value: box.value.replace(/[\s-]/g, "") }) };
  }
  return { box, extra, read: () => ({ value: box.value.trim() }) };
}
