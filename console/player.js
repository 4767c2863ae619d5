// Plays a finished call's recording: both voices, from any line or field on, with the pauses marked.

import { $, clock, make, toast } from "./dom.js";
import { send } from "./people.js";

const AGAIN_MS = 1000; // The last second of a recording may still be on its way to the disk.
const ATTEMPTS = 10;

export class Player {
  /** `heard(ms)` is told where the sound is, and `null` when it stands still. */
  constructor(call, heard) {
    Object.assign(this, { call, heard, url: `/api/calls/${encodeURIComponent(call)}/recording`, ready: false, until: null, pauses: [], attempts: 0 });
    $("player").hidden = true;
    $("sound").removeAttribute("src");
    $("pauses").replaceChildren();
  }

  /** Looks whether there is a recording, and shows the player if so; `pauses` are [from, to] in milliseconds. */
  async open(pauses) {
    this.pauses = pauses;
    let answer;
    try { answer = await send(this.url, { method: "HEAD" }); } catch { answer = { status: 503 }; }
    if (this.ended) return;
    if ((answer.status === 409 || answer.status === 503) && this.attempts++ < ATTEMPTS) {
      setTimeout(() => { if (!this.ended) this.open(pauses); }, AGAIN_MS);
    }
    if (!answer.ok) return;
    const sound = $("sound");
    sound.src = this.url;
    sound.onloadedmetadata = () => { this.ready = true; $("player").hidden = false; this.show(); };
    sound.ontimeupdate = () => this.show();
    sound.onplay = sound.onpause = sound.onended = () => this.show();
    sound.onerror = () => { if (!this.ended) { $("player").hidden = true; toast("录音无法播放"); } };
    $("play").onclick = () => this.toggle();
    $("seek").oninput = () => { this.until = null; sound.currentTime = Number($("seek").value); this.show(); };
    $("rate").onchange = () => { sound.playbackRate = Number($("rate").value); };
    sound.playbackRate = Number($("rate").value);
  }

  toggle() {
    if (!this.ready) return;
    this.until = null;
    const sound = $("sound");
    if (sound.paused) sound.play().catch(() => {}); else sound.pause();
  }

  /** Plays from `from` on; up to `to` where there is one. */
  play(from, to = null) {
    if (!this.ready) return;
    const sound = $("sound");
    // A little before it: a first syllable is easily lost.
    sound.currentTime = Math.max(0, from - 200) / 1000;
    this.until = to === null ? null : to + 300;
    sound.play().catch(() => {});
  }

  show() {
    const sound = $("sound"), at = sound.currentTime * 1000, length = sound.duration || 0;
    if (this.until !== null && at >= this.until) { this.until = null; sound.pause(); }
    $("play").textContent = sound.paused ? "▶" : "❚❚";
    $("play").setAttribute("aria-label", sound.paused ? "播放录音" : "暂停播放");
    $("seek").max = String(length);
    $("seek").value = String(sound.currentTime);
    $("seek").setAttribute("aria-valuetext", clock(at));
    $("at").textContent = `${clock(at)} / ${clock(length * 1000)}`;
    if (length && $("pauses").childElementCount !== this.pauses.length) {
      $("pauses").replaceChildren(...this.pauses.map(([from, to]) => {
        const mark = make("i");
        const end = to ?? length * 1000;
        mark.style.left = `${from / length / 10}%`;
        mark.style.width = `${Math.max(0.4, (end - from) / length / 10)}%`;
        mark.title = `${clock(from)}–${clock(end)} 录音暂停`;
        return mark;
      }));
    }
    this.heard(sound.paused ? null : at);
  }

  end() {
    this.ended = true;
    const sound = $("sound");
    sound.pause();
    sound.removeAttribute("src");
    sound.load();
    $("player").hidden = true;
  }
}
