// Plays our live HLS by Media Source Extensions, a source buffer for the picture and one for the sound; where a browser has
// none (iPhones) it is left to play HLS itself. Segments carry media time, so `currentTime` is the time of the records.

import { parseMaster, parseMedia } from "./playlists.js";

const AHEAD_S = 24;  // fetched ahead of what is played
const BEHIND_S = 40;  // kept behind it
const FROM_END = 3;  // a live stream is begun so many segments before its end
const LATE_S = 3;  // so much further behind than it began, it is played a little faster
const FASTER = 1.06;
const TICK_MS = 250;
const RENEWED_MS = 5000;  // so old is what is known of the end, at most
const SHORT_MS = 4000;  // a wait that is longer is no matter of loading: nothing new comes
const MUCH_LATER_S = 8;  // so much further behind than it began, one click leads back
const READY = "Press play to watch. Until then the captions are live.";
const RECONNECTING = "The server does not answer; trying again.";
const WAITS = new Set(["loading", "buffering", "stalled", "reconnecting"]);

class Gone extends Error {}

// What is at an address. A server that does not answer is asked again for as long as it takes; `onCutOff` is told.
async function get(uri, signal, onCutOff) {
  for (let tries = 0; ; tries += 1) {
    const answer = await fetch(uri, { signal }).catch((error) => {
      if (error.name === "AbortError") { throw error; }
      return null;
    });
    onCutOff(!answer?.ok);
    if (answer?.ok) { return answer; }
    if (answer?.status === 404) { throw new Gone(uri); }
    await new Promise((resolve) => { setTimeout(resolve, 250 * 2 ** Math.min(tries, 4)); });
    signal.throwIfAborted();
  }
}

// One source buffer and the playlist that it is filled from.
class Track {
  constructor(buffer, uri) {
    this.buffer = buffer;
    this.next = null;  // number of the segment that is wanted next
    this.anchor = null;  // {number, time}: a segment of which it is known when it begins
    this.cutOff = false;  // the server does not answer
    this.go(uri);
  }

  go(uri) {
    this.stop?.abort();
    this.stop = new AbortController();
    this.uri = uri;
    this.playlist = null;
    this.readAt = 0;
    this.map = "";
  }

  get(uri) { return get(uri, this.stop.signal, (cutOff) => { this.cutOff = cutOff; }); }

  get busy() { return this.buffer.updating; }

  settled() {
    if (!this.buffer.updating) { return Promise.resolve(); }
    return new Promise((resolve) => { this.buffer.addEventListener("updateend", resolve, { once: true }); });
  }

  async append(data) {
    await this.settled();
    this.buffer.appendBuffer(data);
    await this.settled();
  }

  async remove(from, to) {
    await this.settled();
    if (to > from && this.buffer.buffered.length) {
      this.buffer.remove(from, to);
      await this.settled();
    }
  }

  async read() {
    const now = performance.now();
    const age = now - this.readAt;
    if (this.playlist && (this.playlist.ended || age < (this.wants ? RENEWED_MS : this.playlist.target * 500))) { return; }
    const { signal } = this.stop;
    const text = await (await this.get(this.uri)).text();
    signal.throwIfAborted();
    this.readAt = now;
    this.playlist = parseMedia(text, this.uri);
    const { segments, ended, whole } = this.playlist;
    if (this.next === null && segments.length && (ended || segments.length >= FROM_END)) {
      this.next = (ended || whole ? segments[0] : segments.at(-FROM_END)).number;
    }
  }

  get loaded() {
    const { buffered } = this.buffer;
    return buffered.length ? buffered.end(buffered.length - 1) : 0;
  }

  // Until when it can be played from `time` on without a stop.
  until(time) {
    const { buffered } = this.buffer;
    for (let at = 0; at < buffered.length; at += 1) {
      if (time >= buffered.start(at) - 0.1 && time < buffered.end(at)) { return buffered.end(at); }
    }
    return time;
  }

  // The next stretch after `time`, where there is a hole.
  after(time) {
    const { buffered } = this.buffer;
    for (let at = 0; at < buffered.length; at += 1) {
      if (buffered.start(at) > time) { return buffered.start(at); }
    }
    return null;
  }

  numberAt(time) {
    if (!this.anchor || !this.playlist) { return null; }
    let at = this.anchor.time;
    const { segments } = this.playlist;
    for (const one of segments) { if (one.number < this.anchor.number) { at -= one.duration; } }
    for (const one of segments) {
      if (time < at + one.duration) { return one.number; }
      at += one.duration;
    }
    return segments.length ? segments.at(-1).number : null;
  }

  // Fetches and appends one segment where one is wanted; whether it did.
  async fill(time, ahead) {
    await this.read();
    const { signal } = this.stop;
    const { segments, first } = this.playlist;
    if (this.next === null) { return false; }
    if (this.next < first) { this.next = first; }  // the window has gone on without us
    const segment = segments[this.next - first];
    if (!segment || (time !== null && this.until(time) - time > ahead)) { return false; }
    if (!segment.gap) {
      if (segment.map !== this.map) {
        await this.append(await (await this.get(segment.map)).arrayBuffer());
        this.map = segment.map;
      }
      const data = await (await this.get(segment.uri)).arrayBuffer();
      signal.throwIfAborted();
      await this.append(data);
      if (this.loaded) { this.anchor = { number: segment.number + 1, time: this.loaded }; }
    }
    this.next = segment.number + 1;
    return true;
  }

  // Whether the server has something that is not loaded yet.
  get wants() { return this.next !== null && Boolean(this.playlist?.segments.some((one) => one.number >= this.next)); }

  get ended() { return Boolean(this.playlist?.ended) && this.playlist.segments.every((one) => one.number < this.next); }
}

export class Player {
  // `onState` is told when `state` or `words` are others; `onAudio` which sounds there are.
  constructor(video, onState, onAudio) {
    this.video = video;
    this.onState = onState;
    this.onAudio = onAudio;
    this.uri = "";
    this.timer = 0;
    this.state = "none";
    this.words = "";
    this.stalls = this.waitedMs = 0;
    this.beganAhead = this.newest = this.waitingSince = null;
    video.addEventListener("seeking", () => this.sought());
    video.addEventListener("error", () => this.fail("The player gave up on this stream."));
  }

  // Where it is, in seconds; null where nothing has been played yet.
  get placeS() { return this.played ? this.video.currentTime : null; }

  // How long it has waited in all, in ms, this wait included.
  get waited() { return this.waitedMs + (this.played && this.waitingSince !== null ? performance.now() - this.waitingSince : 0); }

  // Media time of what is on screen, in ms; null where nothing has been played yet, or the browser keeps its own time.
  get timeMs() { return this.tracks?.length && this.begun && this.played ? this.video.currentTime * 1000 : null; }

  // `none`, `loading`, `ready` to be started, `playing`, `paused`, `buffering` what the server has, `stalled` for it has nothing new,
  // `reconnecting` to a server that does not answer, `ended`, `failed`; `words` say it to a viewer.
  become(state, words) {
    if (state === this.state && words === this.words) { return; }
    const now = performance.now();
    const waits = WAITS.has(state);
    if (waits && this.waitingSince === null) {
      this.waitingSince = now;
      this.stalls += this.state === "playing" && !this.video.seeking;
    } else if (!waits && this.waitingSince !== null) {
      this.waitedMs += this.played ? now - this.waitingSince : 0;
      this.waitingSince = null;
    }
    this.state = state;
    this.words = words;
    this.onState();
  }

  // How much further behind the stream it is than when it began, in seconds.
  get lostS() { return this.beganAhead === null || !this.newest ? 0 : this.newest - this.video.currentTime - this.beganAhead; }

  get canCatchUp() { return this.played && !this.failed && this.lostS > MUCH_LATER_S; }

  catchUp() {
    this.video.currentTime = this.newest - this.beganAhead;
    this.video.play();
  }

  get isAudio() { return this.audioOnly; }

  get aheadS() {
    if (!this.tracks?.length) { return null; }
    const time = this.video.currentTime;
    return Math.min(...this.tracks.map((track) => track.until(time))) - time;
  }

  close() {
    clearInterval(this.timer);
    this.opening?.abort();
    for (const track of this.tracks ?? []) { track.stop.abort(); }
    this.tracks = [];
    this.uri = "";
    this.beganAhead = this.newest = this.waitingSince = null;
    this.stalls = this.waitedMs = 0;
    this.cutOff = false;
    this.video.removeAttribute("src");
    this.video.load();
    this.become("none", "");
  }

  async open(uri) {
    if (uri === this.uri) { return; }
    this.close();
    this.uri = uri;
    this.begun = this.played = this.failed = false;
    if (!("MediaSource" in window)) {
      this.video.src = uri;
      this.timer = setInterval(() => this.watch(), TICK_MS);
      return;
    }
    this.become("loading", "Loading…");
    this.opening = new AbortController();
    const { signal } = this.opening;
    try {
      const base = new URL(uri, location.href).href;
      const cutOff = (off) => { if (off) { this.become("reconnecting", RECONNECTING); } };
      this.master = parseMaster(await (await get(base, signal, cutOff)).text(), base);
      signal.throwIfAborted();
      if (!this.master) { throw new Gone(uri); }
      await this.attach();
    } catch (error) {
      if (this.uri === uri && error.name !== "AbortError") { this.fail(why(error)); }
      return;
    }
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.tick();
    this.video.play().catch(() => {});  // a browser that does not start by itself is waited for: it says that it is paused
  }

  // Of a player that is the browser's own.
  watch() {
    const { video } = this;
    this.played = this.played || (!video.paused && video.currentTime > 0);
    if (video.error) { this.fail("The player gave up on this stream."); }
    else if (video.ended) { this.become("ended", "The end."); }
    else if (video.paused) { this.become(this.played ? "paused" : "ready", this.played ? "Paused." : READY); }
    else if (video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA) { this.become("buffering", "Buffering…"); }
    else { this.become("playing", ""); }
  }

  async attach() {
    const { codecs, audio, uri } = this.master;
    const sound = codecs.filter((codec) => /^(mp4a|opus|ac-3|ec-3|fLaC)/i.test(codec));
    const picture = codecs.filter((codec) => !sound.includes(codec));
    this.audioOnly = !picture.length;
    const types = this.audioOnly ? [`audio/mp4; codecs="${sound}"`]
      : [`video/mp4; codecs="${picture}"`, ...(sound.length ? [`audio/mp4; codecs="${sound[0]}"`] : [])];
    const refused = types.find((type) => !MediaSource.isTypeSupported(type));
    if (refused) { throw new Error(`This browser cannot play ${refused}.`); }
    this.source = new MediaSource();
    this.video.src = URL.createObjectURL(this.source);
    await new Promise((resolve) => { this.source.addEventListener("sourceopen", resolve, { once: true }); });
    URL.revokeObjectURL(this.video.src);
    this.source.duration = Infinity;  // until the end is known; else it would be that of what is loaded, and no seek goes beyond
    this.sounds = audio.map((one) => ({ ...one, uri: one.uri || uri }));
    this.sound = this.sounds.find((one) => one.isDefault) ?? this.sounds[0] ?? null;
    this.tracks = types.map((type, at) => {
      const isSound = this.audioOnly || at > 0;
      const track = new Track(this.source.addSourceBuffer(type), isSound && this.sound ? this.sound.uri : uri);
      track.isSound = isSound;
      return track;
    });
    this.onAudio(this.sounds, this.sound);
  }

  // Another sound, from where it is now.
  async choose(name) {
    const sound = this.sounds.find((one) => one.name === name);
    const track = this.tracks.find((one) => one.isSound);
    if (!sound || !track || sound === this.sound) { return; }
    this.sound = sound;
    const number = track.numberAt(this.video.currentTime);
    track.go(sound.uri);
    track.next = number;
    track.switching = true;
    await track.remove(0, Infinity);
    track.switching = false;
  }

  tick() {
    const uri = this.uri;
    for (const track of this.tracks) {
      if (track.working || track.switching) { continue; }
      track.working = true;
      this.work(track).catch((error) => {
        if (uri === this.uri && error.name !== "AbortError") { this.fail(why(error)); }
      }).finally(() => { track.working = false; });
    }
    this.follow();
  }

  async work(track) {
    const time = this.begun ? this.video.currentTime : null;
    while (await track.fill(time === null ? null : this.video.currentTime, AHEAD_S)) {
      if (time === null) { break; }
    }
    if (this.begun && this.video.currentTime > BEHIND_S + 10) { await track.remove(0, this.video.currentTime - BEHIND_S); }
  }

  // Begins, leaps over holes, catches up, ends.
  follow() {
    if (this.failed || !this.tracks.length) { return; }
    const { video } = this;
    if (!this.begun) {
      if (this.tracks.some((track) => !track.buffer.buffered.length)) { this.await("loading", "Waiting for enough to begin with…"); return; }
      const starts = this.tracks.map((track) => track.buffer.buffered.start(0));
      video.currentTime = Math.max(...starts) + 0.01;
      this.begun = true;
    }
    this.played = this.played || (!video.paused && video.currentTime > 0);
    const ahead = this.aheadS;
    if (ahead < 0.15 && !video.seeking) {
      const next = this.tracks.map((track) => (track.until(video.currentTime) - video.currentTime < 0.15
        ? track.after(video.currentTime) : video.currentTime));
      if (next.every((time) => time !== null)) {
        video.currentTime = Math.max(...next) + 0.01;  // nothing was sent for a while: on to where it goes on
      }
    }
    const ended = this.tracks.every((track) => track.ended);
    if (ended && this.source.readyState === "open" && !this.tracks.some((track) => track.busy || track.switching)) {
      this.source.endOfStream();
    }
    this.measure();
    this.pace(ended);
    if (video.ended) { this.become("ended", "The end."); }
    else if (video.paused) { this.become(this.played ? "paused" : "ready", this.played ? "Paused." : READY); }
    else if (video.seeking || (ahead < 0.15 && !ended)) { this.await("buffering", "Buffering…"); }
    else { this.become("playing", ""); }
  }

  // It waits: for what the server has, which is `state`, for something new, or for the server itself.
  await(state, words) {
    const since = this.waitingSince ?? performance.now();
    const seconds = Math.round((performance.now() - since) / 1000);
    if (this.tracks.some((track) => track.cutOff)) { this.become("reconnecting", RECONNECTING); }
    else if (this.begun && performance.now() - since > SHORT_MS && !this.tracks.some((track) => track.wants)) {
      this.become("stalled", `Nothing new to play for ${seconds} seconds. It goes on when something comes.`);
    } else { this.become(state, words); }
  }

  // How long it is, once it has an end: what the player's own bar goes by.
  measure() {
    const [{ playlist, anchor }] = this.tracks;
    if (this.source.duration !== Infinity || !playlist?.ended || !anchor) { return; }
    if (this.source.readyState !== "open" || this.tracks.some((track) => track.busy)) { return; }
    const newest = anchor.time + lasting(playlist.segments, (one) => one.number >= anchor.number);
    this.source.duration = Math.max(newest, ...this.tracks.map((track) => track.loaded));
  }

  pace(ended) {
    const [track] = this.tracks;
    const { playlist } = track;
    if (ended || !playlist || playlist.ended || !track.anchor) { return; }
    const newest = track.anchor.time + lasting(playlist.segments, (one) => one.number >= track.anchor.number);
    const oldest = newest - lasting(playlist.segments, () => true);
    if (this.source.readyState === "open") { this.source.setLiveSeekableRange(Math.max(0, oldest), newest); }
    if (playlist.whole) { return; }
    this.newest = newest;
    const behind = newest - this.video.currentTime;
    this.beganAhead ??= behind;
    this.video.playbackRate = behind > this.beganAhead + LATE_S ? FASTER : 1;
  }

  // To where nothing is loaded yet.
  sought() {
    if (!this.begun) { return; }
    for (const track of this.tracks) {
      const time = this.video.currentTime;
      if (track.until(time) > time || track.switching) { continue; }
      const number = track.numberAt(time);
      if (number !== null) { track.next = number; }
    }
  }

  fail(text) {
    this.failed = true;
    clearInterval(this.timer);
    this.become("failed", text);
  }
}

function lasting(segments, which) {
  return segments.filter(which).reduce((sum, one) => sum + one.duration, 0);
}

function why(error) {
  return error instanceof Gone ? "The picture and sound are not there any more." : error.message;
}
