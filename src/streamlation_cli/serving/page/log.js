// The transcript: everything final, the newest last. It follows what is said unless the reader has scrolled back.

const MOST_SHOWN = 500;

export class Log {
  constructor(box, list, toEnd) {
    this.box = box;
    this.list = list;
    this.toEnd = toEnd;
    this.last = null;
    this.following = true;
    box.addEventListener("scroll", () => this.scrolled());
    toEnd.addEventListener("click", () => { this.follow(); box.focus(); });
    new ResizeObserver(() => { if (this.following) { this.follow(); } }).observe(box);
  }

  fill(finals, withSource) {
    this.list.replaceChildren();
    this.last = null;
    this.add(finals, withSource);
    this.follow();
  }

  add(finals, withSource) {
    const from = this.last ? finals.lastIndexOf(this.last) + 1 : Math.max(0, finals.length - MOST_SHOWN);
    if (from >= finals.length) { return; }
    const following = this.following;
    this.list.append(...finals.slice(from).map((line) => entry(line, withSource)));
    this.last = finals.at(-1);
    while (this.list.childElementCount > MOST_SHOWN) { this.list.firstElementChild.remove(); }
    if (following) { this.follow(); }
  }

  follow() {
    this.box.scrollTop = this.box.scrollHeight;
    this.height = this.box.clientHeight;
    this.following = true;
    this.toEnd.hidden = true;
  }

  scrolled() {
    if (this.following && this.box.clientHeight !== this.height) { this.follow(); return; }  // it got smaller: nobody scrolled
    this.following = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 40;
    this.toEnd.hidden = this.following;
    this.box.toggleAttribute("data-above", this.box.scrollTop > 4);
  }
}

function entry(line, withSource) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = clock(line.at);
  const text = document.createElement("span");
  text.lang = line.language;
  text.textContent = line.speaker ? `${line.speaker}: ${line.text}` : line.text;
  item.dir = text.dir = direction(line.text);  // the time stands where the line begins
  item.append(time, text);
  if (withSource && line.source) {
    const source = document.createElement("span");
    source.className = "source";
    source.lang = line.sourceLanguage;
    source.dir = "auto";
    source.textContent = line.source;
    item.append(source);
  }
  return item;
}

// `rtl` where the first letter is one of a script that is written from right to left.
function direction(text) {
  const letter = text.match(/\p{L}/u)?.[0] ?? "";
  return /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u.test(letter) ? "rtl" : "ltr";
}

export function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60].map((part) => String(part).padStart(2, "0"));
  const hours = Math.floor(seconds / 3600);
  return hours ? `${hours}:${parts.join(":")}` : parts.join(":");
}
