// The server's clock, as far as its messages tell: media time 0 is a time of that clock, and a viewer's own may be wrong by hours.

const LONG_AGO_MS = 3_600_000;  // so late is no stream: it is a log that is played

export class Clock {
  constructor() { this.reset(); }

  // Nothing is known, as before the first message of a server.
  reset() { this.aheadMs = Infinity; }

  // A message that was sent at `now`, Unix time in seconds. The one that was the shortest time on its way is the closest.
  hear(now) { this.aheadMs = Math.min(this.aheadMs, Date.now() - now * 1000); }

  // How long ago, in ms, a moment of a live session was: `startedAt` is the Unix time of its media time 0. Null where that is not known.
  since(startedAt, mediaMs) {
    if (startedAt === null || startedAt === undefined || mediaMs === null || !Number.isFinite(this.aheadMs)) { return null; }
    const late = Date.now() - this.aheadMs - startedAt * 1000 - mediaMs;
    return late < LONG_AGO_MS ? Math.max(0, late) : null;
  }
}
