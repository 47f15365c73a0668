// What has been said in a session, from its records: one stream of text a language, and the captions somebody else laid out.

const MOST_KEPT = 20000;

// The committed text of a record and what may still change, as `stable_words` says.
export function parts(record) {
  if (record.final) { return [record.text, ""]; }
  let position = 0;
  for (const word of (record.words ?? []).slice(0, record.stable_words ?? 0)) {
    const found = record.text.indexOf(word.text, position);
    if (found < 0) { break; }
    position = found + word.text.length;
  }
  return [record.text.slice(0, position), record.text.slice(position)];
}

// The words that two revisions agree on: what was heard only once is mostly heard otherwise next time.
export function agreed(text, before) {
  if (before === undefined) { return ""; }
  const words = text.split(/(?<=\s)/);
  const old = before.split(/(?<=\s)/).map((word) => word.trim());
  let count = 0;
  while (count < words.length && words[count].trim() === old[count]) { count += 1; }
  return words.slice(0, count).join("").trimEnd();
}

class Stream {
  constructor(kind, language) {
    this.kind = kind;  // "original", "translation" or "captions"
    this.language = language;
    this.finals = [];  // {id, at, end, text, source, words, language}, in order
    this.open = new Map();  // id → {firm, maybe, language}
    this.heard = new Map();  // id → the text of its last revision, to be agreed with
  }

  hear(record, language) {
    if (record.final) {
      this.open.delete(record.id);
      this.heard.delete(record.id);
      if (!record.text.trim()) { return; }  // it was no speech
      this.done({
        id: record.id, at: record.start_ms, end: record.end_ms, text: record.text, source: record.source_text ?? "",
        sourceLanguage: record.source_language ?? "", words: record.words ?? [], language, speaker: record.speaker ?? "",
      });
      return;
    }
    const [firm, rest] = parts(record);
    const agreedOn = agreed(record.text, this.heard.get(record.id));
    this.heard.set(record.id, record.text);
    const maybe = agreedOn.length > firm.length ? agreedOn.slice(firm.length) : "";
    this.open.set(record.id, { firm, maybe: rest && maybe, language });
  }

  done(line) {
    this.finals.push(line);
    if (this.finals.length > MOST_KEPT) { this.finals.shift(); }
  }
}

export class Texts {
  constructor() {
    this.streams = new Map();  // "original", "to:pt" …, "captions"
    this.cue = null;  // the caption on screen, as records say it
    this.targets = [];  // the languages that are translated into, in the order of the stages
  }

  // The streams of translations, in the order of the dubbed voices.
  translations() {
    const place = ([, stream]) => this.targets.indexOf(stream.language);
    return [...this.streams].filter(([, stream]) => stream.kind === "translation").sort((one, other) => place(one) - place(other));
  }

  of(key, kind, language) {
    if (!this.streams.has(key)) { this.streams.set(key, new Stream(kind, language)); }
    const stream = this.streams.get(key);
    stream.language = language || stream.language;
    return stream;
  }

  // Takes a record; returns the key of the stream that has changed, if one has.
  see(record) {
    if (record.type === "header") { this.targets = [...(record.earlier_targets ?? []), record.target_language]; }
    if (record.type === "transcript") {
      this.of("original", "original", record.language).hear(record, record.language ?? "");
      return "original";
    }
    if (record.type === "translation") {
      const key = `to:${record.target_language}`;
      this.of(key, "translation", record.target_language).hear(record, record.target_language);
      return key;
    }
    if (record.type === "cue") {
      this.caption(record);
      return "captions";
    }
    if (record.type === "eos" || record.type === "error") { this.leave([]); }
    return null;
  }

  caption(cue) {
    const stream = this.of("captions", "captions", cue.language);
    if (cue.op === "remove") {
      if (this.cue?.id === cue.id) { this.cue = null; }
      return;
    }
    if (this.cue && this.cue.id !== cue.id) { this.leave(cue.lines ?? []); }
    const firm = (cue.words ?? []).map((word) => word.text).join(" ");
    this.cue = { id: cue.id, at: cue.start_ms, end: cue.end_ms, lines: cue.lines ?? [], firm, language: stream.language };
  }

  // Lines that are on screen no longer are done; those that only move up are not.
  leave(staying) {
    if (!this.cue) { return; }
    const gone = this.cue.lines.filter((line) => !staying.some((other) => other.startsWith(line)));
    if (gone.length) {
      this.streams.get("captions").done({
        id: this.cue.id, at: this.cue.at, end: this.cue.end, text: gone.join(" "), source: "", words: [],
        language: this.cue.language, speaker: "",
      });
    }
    if (!staying.length) { this.cue = null; }
  }
}
