// What the operator does to the running call: note something, hang up, transfer. The call itself answers.

import { $, toast } from "./dom.js";
import { send } from "./people.js";

const SURE_MS = 4000; // How long a second press on "hang up" counts as meant.

export class Controls {
  /** `isLive()` says whether the call runs. */
  constructor(call, isLive) {
    Object.assign(this, { call, isLive });
    this.wonder();
    for (const id of ["noting", "transferring"]) $(id).reset();
    $("transferring").hidden = true;
    $("noting").onsubmit = (event) => this.submit(event, "note", { text: $("note").value }, "已记下");
    $("transferring").onsubmit = async (event) => {
      if (await this.submit(event, "transfer", { to: $("transfer-to").value }, "正在转接，对方接听前由您继续通话")) $("transferring").hidden = true;
    };
    $("transfer").onclick = () => {
      $("transferring").hidden = !$("transferring").hidden;
      if (!$("transferring").hidden) $("transfer-to").focus();
    };
    $("hang-up").onclick = () => (this.sure ? this.hangUp() : this.wonder(true));
    this.show();
  }

  /** Whether the operator is writing: the page must not go to another call now. */
  get busy() { return this.isLive() && Boolean($("note").value || $("transfer-to").value); }

  show() {
    const live = this.isLive();
    $("tools").hidden = $("noting").hidden = !live;
    if (!live) $("transferring").hidden = true;
  }

  /** A call is not ended by one press that slipped. */
  wonder(sure = false) {
    clearTimeout(this.wondering);
    this.sure = sure;
    $("hang-up").textContent = sure ? "确认挂断" : "挂断";
    $("hang-up").classList.toggle("sure", sure);
    if (sure) this.wondering = setTimeout(() => this.wonder(), SURE_MS);
  }

  hangUp() {
    this.wonder();
    this.ask("hangup");
  }

  async submit(event, what, body, done) {
    event.preventDefault();
    const form = event.target, accepted = await this.ask(what, body);
    if (accepted) { form.reset(); toast(done); }
    return accepted;
  }

  /** Whether the call has taken it; if not, why is said. */
  async ask(what, body) {
    const json = body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await send(`/api/calls/${encodeURIComponent(this.call)}/${what}`, { method: "POST", ...json }).catch(() => null);
    if (!answer?.ok) toast((await answer?.json().catch(() => null))?.error.message ?? "未能提交，请稍后再试");
    return Boolean(answer?.ok);
  }

  end() { this.wonder(); }
}
