// A window of lines that roll up. Its height is fixed and its text sits at the bottom. Text only ever grows at its end, so
// the browser breaks its lines where it broke them before; a paragraph never gets shorter by a line while it is open, so what
// has moved up stays up.

const PARAGRAPHS = 6;

export class Window {
  constructor(element) {
    this.element = element;
    this.paragraphs = new Map();
    new ResizeObserver(() => this.relax()).observe(element);
  }

  clear() {
    this.paragraphs.clear();
    this.element.replaceChildren();
  }

  // The text of one utterance as it is now; `maybe` may still change.
  say(id, firm, maybe, language) {
    let paragraph = this.paragraphs.get(id);
    if (!paragraph) {
      if (!firm && !maybe) { return; }
      paragraph = this.add(id, language);
    }

    if (paragraph.firm.textContent !== firm) { paragraph.firm.textContent = firm; }
    if (paragraph.maybe.textContent !== maybe) { paragraph.maybe.textContent = maybe; }
    this.hold(paragraph);
  }

  // What was no speech after all is taken back; its room stays until the next line needs it.
  keep(ids) {
    for (const id of this.paragraphs.keys()) { if (!ids.has(id)) { this.say(id, "", "", ""); } }
  }

  // Lines that somebody else has broken, each as its committed text and what may still change.
  show(lines, language) {
    const kept = [...this.element.children].slice(0, lines.length);
    this.element.replaceChildren(...lines.map((line, at) => {
      const element = kept[at] ?? document.createElement("p");
      element.lang = language;
      element.dir = "auto";
      const [firm, maybe] = line;
      const rest = document.createElement("span");
      rest.className = "maybe";
      rest.textContent = maybe;
      element.replaceChildren(firm, rest);
      return element;
    }));
    this.paragraphs.clear();
  }

  add(id, language) {
    const element = document.createElement("p");
    const firm = document.createElement("span");
    const maybe = document.createElement("span");
    maybe.className = "maybe";
    element.lang = language;
    element.dir = "auto";
    element.append(firm, maybe);
    const paragraph = { element, firm, maybe, height: 0 };
    // The one before is whole: the room that was held for it may go, for the new line takes it.
    for (const other of this.paragraphs.values()) { other.element.style.minHeight = ""; }
    this.paragraphs.set(id, paragraph);
    this.element.append(element);
    while (this.paragraphs.size > PARAGRAPHS) {
      const [oldest, gone] = this.paragraphs.entries().next().value;
      gone.element.remove();
      this.paragraphs.delete(oldest);
    }
    return paragraph;
  }

  hold(paragraph) {
    const height = paragraph.element.offsetHeight;
    if (height > paragraph.height) {
      paragraph.height = height;
      paragraph.element.style.minHeight = `${height}px`;
    }
  }

  relax() {
    for (const paragraph of this.paragraphs.values()) {
      paragraph.height = 0;
      paragraph.element.style.minHeight = "";
    }
  }
}
