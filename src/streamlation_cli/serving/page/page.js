// The page: what the server tells, shown; what the viewer chooses, kept.

import { Clock } from "./clock.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { Log } from "./log.js";
import { Player } from "./player.js";
import { Settings } from "./settings.js";
import { parts, Texts } from "./texts.js";
import { Window } from "./window.js";

const SILENT_MS = 6000;  // a live source says something each second: after so long without, it is not well

const IN_TIME_MS = 500;  // a caption that comes so much after its picture is not seen to be late

const MOST_OFTEN_MS = 320;  // the server hangs up on who reports more than four times a second

const KEPT_IN_WINDOW = 8;  // final texts that may still be in a window

const $ = (id) => document.getElementById(id);
const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

class Page {
  constructor() {
    this.sessions = new Map();  // name → {texts, state, heardAt}
    this.name = "";
    this.wanted = decodeURIComponent(location.hash.slice(1));  // until it is there, or another is chosen
    this.paused = false;
    this.line = { up: false, reason: "" };
    this.stopped = false;
    this.first = new Window($("first"));
    this.second = new Window($("second"));
    this.log = new Log($("log"), $("lines"), $("to-end"));
    this.figures = new Figures();
    this.settings = new Settings({ language: () => this.render(), cycle: () => this.cycle() });
    $("session").addEventListener("change", () => {
      this.wanted = $("session").value;
      history.replaceState(null, "", `#${encodeURIComponent(this.wanted)}`);
      this.choose(this.wanted);
    });
    $("language").addEventListener("change", () => {
      this.settings.set("captions", $("language").value);
      this.render();
    });
    for (const action of ["pause", "stop"]) { $(action).addEventListener("click", () => this.control(action)); }
    this.clock = new Clock();
    this.player = new Player($("video"), () => { this.say(); this.report(); }, (sounds, sound) => this.offerAudio(sounds, sound));
    $("catch-up").addEventListener("click", () => this.player.catchUp());
    $("audio").addEventListener("change", () => this.player.choose($("audio").value));
    this.timeMs = null;
    this.reportedAt = -Infinity;
    setInterval(() => this.follow(), 100);
    this.feed = new Feed((message) => this.take(message), (line) => this.onLine(line));
    this.feed.connect();
    setInterval(() => { this.say(); this.report(); }, 1000);
    this.askRole();
  }

  get session() { return this.sessions.get(this.name); }

  async askRole() {
    const status = await fetch("status").then((answer) => (answer.ok ? answer.json() : null), () => null);
    $("control").hidden = status?.role !== "control";
  }

  async control(action) {
    if (action === "stop" && !confirm("Stop for everyone? The program ends.")) { return; }
    const name = action === "pause" && this.paused ? "resume" : action;
    this.stopped = this.stopped || name === "stop";
    await fetch(`control/${name}`, { method: "POST" });
  }

  take(message) {
    if (message.snapshot) {
      this.sessions.clear();
      this.clock.reset();
      this.clock.hear(message.snapshot.now);
      this.paused = message.snapshot.paused;
      for (const record of message.snapshot.records) { this.see(record, true); }
      for (const state of message.snapshot.sessions) { this.of(state.session).state = state; }
      this.offerSessions();
      this.choose(this.name);
      return;
    }
    if (message.record) { this.see(message.record, false); }
    if (message.state) {
      const session = this.of(message.state.session);
      const before = JSON.stringify(session.state?.captions);
      session.state = message.state;
      session.heardAt = performance.now();
      this.clock.hear(message.now);
      if (before !== JSON.stringify(message.state.captions)) { this.offer(); }
      if (message.state.session === this.name) { this.play(); }
    }
    if (this.sessions.size !== $("session").options.length) { this.offerSessions(); }
    if (message.paused !== undefined) { this.paused = message.paused; }
    this.say();
  }

  of(name) {
    if (!this.sessions.has(name)) {
      this.sessions.set(name, { texts: new Texts(), state: null, heardAt: performance.now(), languages: "" });
    }
    return this.sessions.get(name);
  }

  see(record, quietly) {
    if (record.type === "header") { this.sessions.delete(record.session); }
    const session = this.of(record.session);
    session.heardAt = performance.now();
    const key = session.texts.see(record);
    if (quietly || record.session !== this.name) { return; }
    if (record.type === "header") { this.render(); }
    const keys = [...session.texts.streams.keys()].join();
    if (keys !== session.languages) {
      session.languages = keys;
      this.offer();
      this.render();
    } else if (key || record.type === "eos" || record.type === "error") {
      this.show(key);
    }
  }

  offerSessions() {
    const list = [...this.sessions.keys()];
    const name = [this.wanted, this.name].find((one) => this.sessions.has(one)) ?? list[0] ?? "";
    $("session").replaceChildren(...list.map((one) => new Option(one, one, false, one === name)));
    $("session-choice").hidden = list.length < 2;
    if (name !== this.name) { this.choose(name); }
  }

  choose(name) {
    this.name = name;
    if (this.session) { this.session.languages = [...this.session.texts.streams.keys()].join(); }
    this.play();
    this.offer();
    this.render();
  }

  // Picture and sound of the session, where it has any.
  play() {
    const media = this.session?.state?.media ?? "";
    for (const id of ["media", "player-keys", "ahead-choice"]) { $(id).hidden = !media; }
    if (media) {
      this.player.open(media);
    } else if (this.player.uri) {
      this.player.close();
      this.offerAudio([], null);
    }
  }

  offerAudio(sounds, chosen) {
    $("audio").replaceChildren(...sounds.map(({ name }) => new Option(name, name, false, name === chosen?.name)));
    $("audio-choice").hidden = sounds.length < 2;
    $("media").dataset.kind = this.player.isAudio ? "audio" : "video";
  }

  // With picture and sound, text keeps to their time; without, it is shown as it comes.
  follow() {
    const before = this.timeMs;
    this.timeMs = this.settings.get("ahead") ? null : this.player.timeMs;
    if (this.timeMs === before) { return; }
    if (before === null || this.timeMs === null || this.timeMs < before) { this.render(); } else { this.show(null); }
  }

  // The captions there are to choose from: each language, and a translation with the original under it.
  offer() {
    const texts = this.session?.texts;
    const streams = texts?.streams ?? new Map();
    const original = streams.get("original");
    const choices = [];
    for (const [key, stream] of texts?.translations() ?? []) {
      if (original) { choices.push([`${key}+original`, `${nameOf(stream.language)} and original`]); }
      choices.push([key, nameOf(stream.language)]);
    }
    if (original) { choices.push(["original", `${nameOf(original.language)} (original)`]); }
    if (streams.has("captions") && !choices.length) { choices.push(["captions", nameOf(streams.get("captions").language)]); }
    choices.push(["none", "None"]);
    const wanted = this.settings.get("captions");
    const kept = choices.some(([value]) => value === wanted) ? wanted : choices[0][0];
    $("language").replaceChildren(...choices.map(([value, text]) => new Option(text, value, false, value === kept)));
    this.figures.downloads(this.name, this.session?.state?.captions ?? []);
  }

  cycle() {
    const select = $("language");
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
    select.dispatchEvent(new Event("change"));
  }

  chosen() {
    const [first, second] = $("language").value.split("+");
    const streams = this.session?.texts.streams;
    return { firstKey: first, secondKey: second, first: streams?.get(first), second: streams?.get(second) };
  }

  // Everything anew: another session, another choice, a snapshot.
  render() {
    const { first, second } = this.chosen();
    this.first.clear();
    this.second.clear();
    $("second").hidden = !second;
    const said = this.said(first);
    this.log.fill(said, Boolean(second));
    this.announced = said.at(-1) ?? null;
    $("spoken").replaceChildren();
    $("spoken").lang = first?.language ?? "";
    this.show(null);
    this.say();
  }

  // What is final, as far as the picture has come.
  said(stream) {
    const finals = stream?.finals ?? [];
    return this.timeMs === null ? finals : finals.filter((line) => line.end <= this.timeMs);
  }

  // What is on screen now.
  show(key) {
    const { firstKey, secondKey, first, second } = this.chosen();
    if (this.timeMs !== null) {
      showAt(this.first, first, this.timeMs);
      showAt(this.second, second, this.timeMs);
    } else if (firstKey === "captions") {
      this.showCaption();
    } else {
      if (!key || key === firstKey) { showStream(this.first, first); }
      if (!key || key === secondKey) { showStream(this.second, second); }
    }
    const said = this.said(first);
    this.log.add(said, Boolean(second));
    this.announce(said);
    const nothing = !this.session || [...this.session.texts.streams.values()].every((s) => !s.finals.length && !s.open.size);
    $("waiting").hidden = !nothing || Boolean(this.session?.texts.cue);
  }

  showCaption() {
    const cue = this.session?.texts.cue;
    if (!cue) { this.first.clear(); return; }
    const last = cue.lines.length - 1;
    this.first.show(cue.lines.map((line, at) => (at === last ? committed(line, cue.firm) : [line, ""])), cue.language);
  }

  // Screen readers are read what is final, once, in the language that is chosen.
  announce(said) {
    const from = this.announced ? said.lastIndexOf(this.announced) + 1 : 0;
    for (const line of said.slice(from)) {
      const element = document.createElement("p");
      element.lang = line.language;
      element.dir = "auto";
      element.textContent = line.text;
      $("spoken").append(element);
      this.announced = line;
    }
    while ($("spoken").childElementCount > 3) { $("spoken").firstElementChild.remove(); }
  }

  onLine(line) {
    this.line = line;
    if (line.up) { this.askRole(); }
    this.say();
  }

  // How the player is, for who runs this.
  report() {
    const { player, session } = this;
    if (!session?.state || performance.now() - this.reportedAt < MOST_OFTEN_MS) { return; }
    this.reportedAt = performance.now();
    const ms = (seconds) => (seconds === null || !Number.isFinite(seconds) ? null : Math.max(0, Math.round(seconds * 1000)));
    const late = session.state.state === "running" ? this.pictureMs(session.state) : null;
    this.feed.say({
      session: this.name, state: player.state === "none" ? "reading" : player.state, position_ms: ms(player.placeS),
      duration_ms: ms(player.video.duration), loaded_ms: ms(player.aheadS), latency_ms: late === null ? null : Math.round(late),
      stalls: player.stalls, buffering_ms: Math.round(player.waited), volume: player.video.muted ? 0 : player.video.volume,
    });
  }

  // How it is going, in words.
  say() {
    const session = this.session;
    const state = session?.state;
    $("name").textContent = this.name || "Live captions";
    document.title = this.name ? `${this.name} – live captions` : "Live captions";
    const over = state && state.state !== "running";
    const silent = state?.live && !over && this.line.up ? performance.now() - session.heardAt : 0;
    let text = "Waiting for the first session…";
    let is = "";
    if (state) {
      text = state.text;
      is = over || !state.live ? "" : "live";
      if (state.reconnects && !over) { text += ` · reconnected ${times(state.reconnects)}`; }
    }
    let late = state && !over ? this.lateness(state) : "";
    let trouble = state?.trouble ? state.text : "";
    if (silent > SILENT_MS) { trouble = `Nothing has come from the source for ${Math.round(silent / 1000)} seconds.`; }
    if (this.paused) { text = "Captions are paused"; is = late = ""; }
    if (!this.line.up) {
      late = "";
      const lost = {
        "": "Connecting…",
        lost: over || this.stopped ? "The server has ended." : "The connection is lost; trying again.",
        token: "This page is open only to those who have its whole address, with the token.",
      }[this.line.reason];
      text = lost;
      is = "";
      trouble = this.line.reason && !over && !this.stopped ? lost : trouble;
    }
    if (trouble) { is = "trouble"; }
    put($("state"), trouble ? "Trouble" : text);
    put($("late"), late && ` · ${late}`);
    $("state").dataset.is = is;
    put($("media-state"), this.player.words);
    $("catch-up").hidden = over || !this.player.canCatchUp;
    $("trouble").hidden = !trouble;
    put($("trouble"), trouble);
    put($("pause"), this.paused ? "Resume captions for everyone" : "Pause captions for everyone");
    this.figures.show(state, state?.live && !over ? this.pictureMs(state) : null, this.player);
  }

  // How far behind what happens the picture is; null where none has been played, or the stream's clock is not known.
  pictureMs(state) { return this.clock.since(state.started_at, this.player.timeMs); }

  // How late picture and captions of a live session are, in words: a caption keeps to its picture unless it comes later than that.
  lateness(state) {
    const picture = this.pictureMs(state);
    const captions = state.lag_ms;
    const reads = $("language").value !== "none" && captions !== null;
    if (picture === null) { return reads ? `captions ${seconds(captions)} behind` : ""; }
    const shown = `${this.player.isAudio ? "sound" : "picture"} ${seconds(picture)} behind`;
    if (!reads) { return shown; }
    if (this.timeMs === null) { return `${shown}, captions ${seconds(captions)}`; }
    return captions > picture + IN_TIME_MS ? `${shown}, captions ${seconds(captions - picture)} after it` : `${shown}, captions in time with it`;
  }
}

function showStream(window, stream) {
  if (!stream) { return; }
  for (const line of stream.finals.slice(-2)) { window.say(line.id, line.text, "", line.language); }
  for (const [id, { firm, maybe, language }] of stream.open) { window.say(id, firm, maybe, language); }
  window.keep(new Set([...stream.open.keys(), ...stream.finals.slice(-KEPT_IN_WINDOW).map((line) => line.id)]));
}

// The words that have been said by a time: the last two utterances that have begun.
function showAt(window, stream, timeMs) {
  const begun = (stream?.finals ?? []).filter((line) => line.at <= timeMs);
  for (const line of begun.slice(-2)) {
    const count = line.words.filter((word) => word.start_ms <= timeMs).length;
    const text = line.words.length ? parts({ text: line.text, words: line.words, stable_words: count })[0] : line.text;
    window.say(line.id, line.end <= timeMs ? line.text : text, "", line.language);
  }
}

// A line and the committed words of it: what comes after them may still change.
function committed(line, firm) {
  if (!firm) { return [line, ""]; }
  const at = line.startsWith(firm) ? firm.length : line.length;
  return [line.slice(0, at), line.slice(at)];
}

function nameOf(language) {
  if (!language) { return "Captions"; }
  try { return names.of(language); } catch { return language; }
}

function seconds(ms) { return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`; }

function times(count) { return count === 1 ? "once" : `${count} times`; }

// Text is written only where it is another: a live region reads out whatever is written.
function put(element, text) { if (element.textContent !== text) { element.textContent = text; } }

new Page();
