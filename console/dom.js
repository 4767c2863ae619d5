// What every part of the page needs: elements, times, short messages.

export const $ = (id) => document.getElementById(id);

/** A new element with a class and content. Text stays text: nothing that was spoken becomes markup. */
export function make(tag, className = "", ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

/** A button that says `text` and does `act`. */
export function button(className, text, act, label = "") {
  const element = make("button", className, text);
  element.type = "button";
  element.onclick = (event) => { event.stopPropagation(); act(event); };
  if (label) element.setAttribute("aria-label", label);
  return element;
}

const two = (number) => String(number).padStart(2, "0");

/** Milliseconds as mm:ss, with hours only when there are any. */
export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(s / 3600);
  return `${hours ? `${hours}:` : ""}${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

export function wall(ms) {
  const at = new Date(ms), today = new Date();
  const time = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return at.toDateString() === today.toDateString() ? time : `${at.getMonth() + 1}月${at.getDate()}日 ${time}`;
}

export const percent = (confidence) => `${Math.round(confidence * 100)}%`;

let toasting;
/** A short message, with something to do about it where there is. */
export function toast(text, action = null) {
  $("toast").replaceChildren(text, ...(action ? [button("", action.text, () => { $("toast").hidden = true; action.act(); })] : []));
  $("toast").hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(() => { $("toast").hidden = true; }, action ? 6000 : 2200);
}

export async function copyText(text, done) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS the browser offers no clipboard; the older way does.
    const box = make("textarea");
    box.value = text;
    box.style.position = "fixed";
    const focused = document.activeElement;
    document.body.append(box);
    box.select();
    const copied = document.execCommand("copy");
    box.remove();
    focused?.focus();
    if (!copied) { toast("复制未成功，请手动选择文字复制"); return; }
  }
  toast(done);
}
