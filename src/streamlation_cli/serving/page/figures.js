// How a session is going, in figures and words, and the files there are of it.

import { clock } from "./log.js";

const STATES = { pending: "waiting", running: "at work", completed: "done", failed: "failed" };
const WORDS = {
  loading: "loading", ready: "not started", playing: "playing", paused: "paused", buffering: "buffering", stalled: "nothing to play",
  reconnecting: "no answer", ended: "at the end", failed: "failed",
};
const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

export class Figures {
  constructor() {
    this.shown = "";
    this.files = "";
  }

  // `pictureMs`: how far behind the picture is, null where that is not known.
  show(state, pictureMs, player) {
    const playing = player.state === "none" ? null : [WORDS[player.state], player.stalls, Math.round(player.aheadS ?? 0)];
    const now = JSON.stringify([state, pictureMs === null ? null : Math.round(pictureMs / 500), playing]);
    if (now === this.shown || !state) { return; }
    this.shown = now;
    const seconds = (ms) => (ms === null || ms === undefined ? "–" : `${(ms / 1000).toFixed(1)} s`);
    const figures = [["State", state.text], ["Media time", clock(state.at_ms)]];
    if (state.duration_ms && !state.live) { figures[1][1] += ` of ${clock(state.duration_ms)}`; }
    if (state.live) { figures.push(["Captions behind", seconds(state.lag_ms)]); }
    if (playing) {
      const [how, stalls, ahead] = playing;
      if (state.live) { figures.push([`${player.isAudio ? "Sound" : "Picture"} behind`, seconds(pictureMs)]); }
      figures.push(["Player", stalls ? `${how}, stalled ${stalls === 1 ? "once" : `${stalls} times`}` : how], ["Loaded ahead", `${ahead} s`]);
    }
    if (state.buffered_ms !== null) { figures.push(["Held back for the voice", seconds(state.buffered_ms)]); }
    figures.push(["Reconnects", state.reconnects], ["Gaps", state.gaps]);
    if (state.dropped) { figures.push(["Dropped packets", state.dropped]); }
    document.getElementById("figures").replaceChildren(...figures.flatMap(([name, value]) => [cell("dt", name), cell("dd", value)]));
    const rows = state.stages.map((stage) => {
      const row = document.createElement("tr");
      const head = cell("th", stage.stage);
      head.scope = "row";
      const how = cell("td", STATES[stage.state] ?? stage.state);
      how.dataset.state = stage.state;
      row.append(head, how, cell("td", seconds(stage.lag_ms)), cell("td", seconds(stage.lag_p95_ms)));
      return row;
    });
    document.querySelector("#stages tbody").replaceChildren(...rows);
    const events = state.events.map((event) => cell("li", `${event.at}  ${event.text}`));
    document.getElementById("events").replaceChildren(...events.reverse());
  }

  downloads(session, languages) {
    const now = JSON.stringify([session, languages]);
    if (now === this.files) { return; }
    this.files = now;
    const items = languages.map((language) => {
      const item = document.createElement("li");
      let name = language;
      try { name = language === "und" ? "Captions" : names.of(language); } catch { /* a tag that is none is its own name */ }
      item.append(`${name}: `);
      for (const format of ["srt", "vtt"]) {
        const link = document.createElement("a");
        link.href = `captions/${encodeURIComponent(session)}/${encodeURIComponent(language)}.${format}`;
        link.download = `${session}.${language}.${format}`;
        link.textContent = format.toUpperCase();
        link.setAttribute("aria-label", `${name} captions as ${format.toUpperCase()}`);
        item.append(link, " ");
      }
      return item;
    });
    document.getElementById("downloads").replaceChildren(...(items.length ? items : [cell("li", "None yet.")]));
  }
}

function cell(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
