// Who sits here: signing in, one's own account, and, for those who may, the accounts and the audit.

import { $, button, make, toast, wall } from "./dom.js";

const ROLES = {
  ROLE_OPERATOR: "话务员", ROLE_TEAM_LEAD: "班长", ROLE_DISPATCHER: "派单员", ROLE_DEPARTMENT: "承办单位", ROLE_CALL_BACK: "回访员",
  ROLE_KNOWLEDGE_EDITOR: "知识管理员", ROLE_SYSTEM_ADMINISTRATOR: "系统管理员", ROLE_SECURITY_ADMINISTRATOR: "安全管理员", ROLE_AUDIT_ADMINISTRATOR: "审计管理员",
};
const ACTIONS = {
  sign_in: "登录", sign_in_refused: "登录被拒", sign_out: "退出", see_call: "查看通话", hear_call: "收听录音", edit: "修改工单字段", revise: "撤销或恢复改正",
  pause: "暂停或恢复录音", note: "备注", hang_up: "挂断", transfer: "转接", add_user: "新建账号", update_user: "修改账号", set_roles: "设置角色",
  set_disabled: "停用或启用账号", reset_password: "重置密码", change_password: "修改密码", totp: "动态口令", revoke_session: "结束会话",
  read_audit: "查看审计", verify_audit: "核验审计", expire_audit: "清理过期审计",
};
// The server sends codes with their numbers; the sentences stand here.
const REASONS = {
  WRONG: () => "账号、密码或动态口令不正确。",
  LOCKED_OUT: ({ retry_after_s: wait }) => `尝试次数过多，请在 ${Math.ceil(wait / 60)} 分钟后再试，或请管理员重置密码。`,
  BUSY: () => "同时登录的人较多，请稍后再试。",
  TOO_SHORT: ({ least }) => `新密码至少 ${least} 个字符。`,
  TOO_LONG: ({ most }) => `${most ? `最多 ${most} 个字符` : "内容过长"}。`,
  TOO_PLAIN: ({ least }) => `新密码须包含小写字母、大写字母、数字、其他字符中的至少 ${least} 种。`,
  CONTAINS_NAME: () => "新密码不能包含账号或姓名。",
  COMMON: () => "这个密码容易被猜到，请换一个更长或更少见的。",
  USED_BEFORE: ({ last }) => `不能使用最近 ${last} 次用过的密码。`,
  WRONG_CODE: () => "动态口令不正确，请检查手机时间后重试。",
  NOT_PROPOSED: () => "没有正在绑定的动态口令，请重新开始。",
  TOTP_REQUIRED: () => "本系统要求该账号使用动态口令。",
  NAME_TAKEN: () => "已有同名账号。",
  BAD_NAME: () => "账号由 1 至 64 个字母、数字或 . _ - @ 组成。",
  BAD_STATION: () => "话机请填分机号或完整的 SIP 地址，最多 16 个。",
  ROLES_APART: () => "这些角色不能由同一人担任：审计管理员不兼任其他角色，管理员不接听电话。",
  CHANGED_MEANWHILE: () => "该账号刚被他人修改，请刷新后重试。",
  OWN_ACCOUNT: () => "不能在此修改自己的账号，请联系其他管理员。",
  LAST_ADMINISTRATOR: () => "至少要保留一位能分配角色的管理员。",
  MAY_NOT: () => "您的角色没有这项权限。",
  UNREADABLE: () => "暂时无法读写账号记录，请稍后再试。",
};

/** What the server refuses, in a sentence. */
class Refusal extends Error {
  constructor(status, body) {
    const { reason, metadata = {} } = body?.details?.[0]?.debug ?? {};
    super(REASONS[reason]?.(metadata) ?? (status ? `未能完成（${body?.code ?? status}）。` : "连接不上服务器，请稍后再试。"));
    Object.assign(this, { status, reason });
  }
}

/** Asks a method of the people's services. */
async function ask(method, message = {}) {
  const answer = await fetch(`/xinqiao.people.v1.${method}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(message),
  }).catch(() => null);
  const body = await answer?.json().catch(() => null);
  if (!answer?.ok) throw new Refusal(answer?.status, body);
  return body;
}

let me = null;
let entering = null;

/** What may be done, as far as: `null`, `SCOPE_OWN`, `SCOPE_TEAM` or `SCOPE_ALL`. */
export const scopeOf = (action) => me?.grants?.find((grant) => grant.action === action)?.scope ?? null;

/** Resolves when somebody is signed in, or nobody needs to be. Whoever comes instead of somebody else gets a page of their own. */
export function enter() {
  entering ??= whoever().finally(() => { entering = null; });
  return entering;
}

async function whoever() {
  const before = me?.user.name;
  for (;;) {
    try {
      ({ me } = await ask("Account/WhoAmI"));
      break;
    } catch (refusal) {
      if (refusal.status === 501) return; // This gateway asks nobody who they are.
      if (refusal.status === 401) await signIn();
      else await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  if (before && before !== me.user.name) { location.reload(); await new Promise(() => {}); }
  while (me.must?.length) {
    if (me.must[0] === "MUST_CHANGE_PASSWORD") await changePassword(true);
    else await enrol(true);
    ({ me } = await ask("Account/WhoAmI"));
  }
  showMe();
}

/** `fetch`, after signing in where that has to be done first. */
export async function send(url, options) {
  const answer = await fetch(url, options);
  if (answer.status !== 401) return answer;
  await enter();
  return fetch(url, options);
}

// ---------------------------------------------------------------- dialogs

/** A form in a dialog: resolves when `act(values)` came off; what it refuses stands below the fields. */
function dialog({ title, text, fields, submit, act, away = null }) {
  return new Promise((resolve) => {
    const box = make("dialog", "people"), form = make("form");
    form.method = "dialog";
    const fault = make("p", "fault");
    fault.setAttribute("role", "alert");
    const go = make("button", "go", submit);
    const inputs = fields.map((field) => {
      const { name, label, ...rest } = field;
      const input = Object.assign(make("input"), { name, required: true, maxLength: 128, ...rest });
      const row = make("label", "", make("span", "", label), input);
      row.hidden = Boolean(field.hidden);
      if (field.hidden) input.required = false;
      form.append(row);
      return input;
    });
    form.prepend(make("h2", "", title), ...(text ? [].concat(text).map((one) => (one instanceof Node ? one : make("p", "", one))) : []));
    form.append(fault, make("div", "acts", ...(away ? [button("plain", away, () => { box.close(); box.remove(); resolve(false); })] : []), go));
    form.onsubmit = async (event) => {
      event.preventDefault();
      go.disabled = true;
      fault.textContent = "";
      try {
        const values = Object.fromEntries(inputs.map((input) => [input.name, input.value]));
        const more = await act(values);
        if (more) { // One more field is needed.
          const row = inputs.find((input) => input.name === more);
          row.parentElement.hidden = false;
          row.required = true;
          row.focus();
        } else { box.close(); box.remove(); resolve(true); }
      } catch (refusal) {
        fault.textContent = refusal.message;
        (inputs.find((input) => input.type === "password") ?? inputs[0])?.select();
      } finally { go.disabled = false; }
    };
    box.oncancel = (event) => { event.preventDefault(); if (away) { box.close(); box.remove(); resolve(false); } };
    box.append(form);
    document.body.append(box);
    box.showModal();
    (inputs.find((input) => !input.value && !input.parentElement.hidden) ?? go).focus();
  });
}

const signIn = () => dialog({
  title: "登录 心桥",
  fields: [
    { name: "name", label: "账号", autocomplete: "username", maxLength: 64, value: me?.user.name ?? "" },
    { name: "password", label: "密码", type: "password", autocomplete: "current-password" },
    { name: "totpCode", label: "动态口令", inputMode: "numeric", autocomplete: "one-time-code", maxLength: 6, pattern: "[0-9]{6}", title: "手机上的 6 位数字", hidden: true },
  ],
  submit: "登录",
  act: async (values) => ((await ask("Account/SignIn", values)).codeNeeded ? "totpCode" : null),
});

const changePassword = (must) => dialog({
  title: must ? "请先更换初始密码" : "修改密码",
  text: "至少 10 个字符，含大小写字母、数字、其他字符中的三种；其他设备上的登录会结束。",
  fields: [
    { name: "password", label: must ? "初始密码" : "当前密码", type: "password", autocomplete: "current-password" },
    { name: "newPassword", label: "新密码", type: "password", autocomplete: "new-password" },
    { name: "again", label: "再输一次", type: "password", autocomplete: "new-password" },
  ],
  submit: "更换",
  away: must ? null : "取消",
  act: async ({ again, ...values }) => {
    if (again !== values.newPassword) throw new Error("两次输入的新密码不同。");
    await ask("Account/ChangePassword", values);
    toast("密码已更换");
  },
});

async function enrol(must) {
  let proposed;
  const confirmed = await dialog({
    title: must ? "请先绑定动态口令" : "绑定动态口令",
    text: "登录时除密码外，还需手机验证器上的 6 位数字。",
    fields: [{ name: "password", label: "当前密码", type: "password", autocomplete: "current-password" }],
    submit: "下一步",
    away: must ? null : "取消",
    act: async (values) => { proposed = await ask("Account/EnrolTotp", values); },
  });
  if (!confirmed) return;
  const secret = make("code", "secret", proposed.secret.replace(/(.{4})/g, "$1 ").trim());
  const link = make("a", "", "在本机的验证器中打开");
  link.href = proposed.uri;
  await dialog({
    title: "绑定动态口令",
    text: ["在验证器中选择“手动输入密钥”，输入：", secret, link],
    fields: [{ name: "code", label: "验证器上的 6 位数字", inputMode: "numeric", autocomplete: "one-time-code", maxLength: 6, pattern: "[0-9]{6}" }],
    submit: "绑定",
    away: must ? null : "取消",
    act: async (values) => { await ask("Account/ConfirmTotp", values); toast("动态口令已绑定"); },
  });
}

const removeTotp = () => dialog({
  title: "解除动态口令",
  fields: [
    { name: "password", label: "当前密码", type: "password", autocomplete: "current-password" },
    { name: "code", label: "动态口令", inputMode: "numeric", autocomplete: "one-time-code", maxLength: 6 },
  ],
  submit: "解除",
  away: "取消",
  act: async (values) => { await ask("Account/RemoveTotp", values); toast("动态口令已解除"); },
});

/** A panel over the page, with what `fill(box)` puts into it. */
function panel(title, fill) {
  const box = make("dialog", "people wide"), body = make("div", "body");
  box.append(make("div", "head", make("h2", "", title), button("plain", "关闭", () => { box.close(); box.remove(); })), body);
  box.onclose = () => box.remove();
  document.body.append(box);
  box.showModal();
  const show = async () => {
    try { body.replaceChildren(...(await fill(show))); } catch (refusal) { body.replaceChildren(make("p", "fault", refusal.message)); }
  };
  show();
}

function table(heads, rows) {
  const head = make("tr", "", ...heads.map((text) => make("th", "", text)));
  return make("table", "", make("thead", "", head), make("tbody", "", ...rows.map((cells) => make("tr", "", ...cells.map((cell) => make("td", "", cell ?? ""))))));
}

const moment = (ms) => (ms ? wall(Number(ms)) : "从未");

// ---------------------------------------------------------------- one's own account

const sessions = () => panel("登录的设备", async (again) => {
  const { sessions: all = [] } = await ask("Account/ListSessions");
  return [table(["地址", "浏览器", "登录", "最近使用", ""], all.map((one) => [
    one.address, make("span", "agent", one.agent ?? ""), moment(one.startedUnixMs), moment(one.seenUnixMs),
    one.current ? "本设备" : button("plain", "结束", async () => { await ask("Account/RevokeSession", { id: one.id }).catch(() => {}); again(); }),
  ]))];
});

async function signOut() {
  await ask("Account/SignOut").catch(() => {});
  location.reload();
}

function showMe() {
  const { user } = me, box = $("me");
  box.hidden = false;
  const menu = make("details"), name = make("summary", "", user.displayName ?? user.name);
  name.title = (user.roles ?? []).map((role) => ROLES[role]).join("、");
  const entry = (text, act) => button("", text, () => { menu.open = false; act(); });
  const entries = [
    entry("修改密码", () => changePassword(false)),
    user.totp ? entry("解除动态口令", async () => { if (await removeTotp()) enter(); }) : entry("绑定动态口令", async () => { await enrol(false); enter(); }),
    entry("登录的设备", sessions),
    ...(scopeOf("ACTION_MANAGE_USERS") || scopeOf("ACTION_ASSIGN_ROLES") ? [entry("账号管理", users)] : []),
    ...(scopeOf("ACTION_READ_AUDIT") ? [entry("审计记录", () => audit())] : []),
    entry("退出登录", signOut),
  ];
  menu.append(name, make("div", "menu", ...entries));
  menu.onkeydown = (event) => { if (event.key === "Escape") { menu.open = false; name.focus(); } };
  box.replaceChildren(menu);
  if (!scopeOf("ACTION_SEE_CALL")) $("no-calls").textContent = "您的角色不查看通话；可用的功能在右上角的姓名中。";
}
addEventListener("click", (event) => {
  const menu = $("me").querySelector("details[open]");
  if (menu && !menu.contains(event.target)) menu.open = false;
});

// ---------------------------------------------------------------- accounts

function users() {
  panel("账号管理", async (again) => {
    const all = [];
    for (let pageToken = ""; ;) {
      const page = await ask("Users/ListUsers", { pageSize: 500, pageToken });
      all.push(...(page.users ?? []));
      pageToken = page.nextPageToken ?? "";
      if (!pageToken) break;
    }
    const manages = scopeOf("ACTION_MANAGE_USERS"), assigns = scopeOf("ACTION_ASSIGN_ROLES");
    const act = (text, work) => button("plain", text, async () => { try { await work(); again(); } catch (refusal) { toast(refusal.message); } });
    const rows = all.map((user) => [
      make("span", user.disabled ? "off" : "", user.name), user.displayName,
      (user.roles ?? []).map((role) => ROLES[role]).join("、"), user.team, (user.stations ?? []).join("、"), moment(user.signedInUnixMs),
      make("span", "acts", ...(user.name === me.user.name ? [make("i", "", "本人")] : [
        ...(manages ? [
          act("资料", () => describe(user)),
          act("重置密码", () => reset(user)),
          act(user.disabled ? "启用" : "停用", () => ask("Users/SetDisabled", { name: user.name, disabled: !user.disabled })),
        ] : []),
        ...(assigns ? [act("角色", () => assign(user))] : []),
      ])),
    ]);
    return [
      ...(manages ? [make("p", "", act("新建账号", add))] : []),
      table(["账号", "姓名", "角色", "班组", "话机", "最近登录", ""], rows),
    ];
  });
}

const PROFILE = (user) => [
  { name: "displayName", label: "姓名", required: false, maxLength: 64, value: user.displayName ?? "" },
  { name: "team", label: "班组", required: false, maxLength: 64, value: user.team ?? "" },
  { name: "department", label: "部门", required: false, maxLength: 64, value: user.department ?? "" },
  { name: "stations", label: "话机（分机号或 SIP 地址，用空格分开）", required: false, value: (user.stations ?? []).join(" ") },
];
const profileOf = ({ stations, ...values }) => ({ ...values, stations: stations.split(/[\s,，、]+/).filter(Boolean) });

async function add() {
  let added;
  const roles = checks([]);
  const done = await dialog({
    title: "新建账号",
    text: scopeOf("ACTION_ASSIGN_ROLES") ? [roles] : "角色由安全管理员设置。",
    fields: [{ name: "name", label: "账号", maxLength: 64, autocomplete: "off" }, ...PROFILE({})],
    submit: "新建",
    away: "取消",
    act: async (values) => { added = await ask("Users/AddUser", { user: { ...profileOf(values), roles: chosen(roles) } }); },
  });
  if (done) await once(added.user.name, added.oneTimePassword);
}

async function reset(user) {
  const { oneTimePassword } = await ask("Users/ResetPassword", { name: user.name, removeTotp: Boolean(user.totp) });
  await once(user.name, oneTimePassword);
}

/** A one-time password is shown this once. */
const once = (name, password) => dialog({
  title: "初始密码",
  text: [`请转告 ${name}，首次登录后必须更换。关闭后不再显示：`, make("code", "secret", password)],
  fields: [],
  submit: "已记下",
  act: async () => {},
});

const describe = (user) => dialog({
  title: `账号 ${user.name}`, fields: PROFILE(user), submit: "保存", away: "取消",
  act: async (values) => { await ask("Users/UpdateUser", { user: { ...profileOf(values), name: user.name, revision: user.revision } }); },
});

function assign(user) {
  const roles = checks(user.roles ?? []);
  return dialog({
    title: `${user.displayName ?? user.name} 的角色`, text: [roles], fields: [], submit: "保存", away: "取消",
    act: async () => { await ask("Users/SetRoles", { name: user.name, roles: chosen(roles), revision: user.revision }); },
  });
}

function checks(held) {
  return make("fieldset", "roles", make("legend", "", "角色"), ...Object.entries(ROLES).map(([role, label]) => {
    const box = Object.assign(make("input"), { type: "checkbox", value: role, checked: held.includes(role) });
    return make("label", "", box, label);
  }));
}
const chosen = (roles) => [...roles.querySelectorAll("input:checked")].map((box) => box.value);

// ---------------------------------------------------------------- the audit

function audit(filter = {}, pageToken = "") {
  panel("审计记录", async () => {
    const { records = [], nextPageToken } = await ask("Audit/ListRecords", { ...filter, pageToken });
    const verdict = make("span");
    const verify = button("plain", "核验完整性", async () => {
      try {
        const { verified = "0", brokenAt } = await ask("Audit/VerifyRecords");
        verdict.textContent = brokenAt ? `第 ${brokenAt} 条记录与写入时不符，或此处有记录缺失。` : `${verified} 条记录均与写入时一致。`;
      } catch (refusal) { verdict.textContent = refusal.message; }
    });
    const rows = records.map((one) => [wall(Number(one.atUnixMs)), one.actor ?? "系统", one.address, ACTIONS[one.action] ?? one.action, one.callId, make("code", "", one.detail)]);
    return [
      make("p", "", verify, " ", verdict),
      table(["时间", "操作人", "地址", "操作", "通话", "内容"], rows),
      ...(nextPageToken ? [make("p", "", button("plain", "更早的记录", () => audit(filter, nextPageToken)))] : []),
    ];
  });
}
