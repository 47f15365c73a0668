// The stream of messages from the server. A line that drops is taken up again after the last message that came, so nothing
// is missed and nothing comes twice. Where WebSockets do not get through (some proxies), server-sent events do.

const SOONEST_MS = 500;
const LATEST_MS = 5000;

export class Feed {
  // `onMessage` gets each message; `onLine` gets {up: true} or {up: false, reason: "lost" | "token", tries}.
  constructor(onMessage, onLine) {
    this.onMessage = onMessage;
    this.onLine = onLine;
    this.lastId = "";
    this.tries = 0;
    this.socketWorked = false;
    this.timer = 0;
    this.line = null;
    const again = () => { if (this.timer) { this.connect(); } };
    addEventListener("online", again);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { again(); } });
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.line?.close();
    const events = !this.socketWorked && this.tries % 3 === 2;
    this.line = events ? this.openEvents() : this.openSocket();
  }

  // Tells the server something, where the line is one that goes both ways.
  say(message) {
    if (this.line instanceof WebSocket && this.line.readyState === WebSocket.OPEN) { this.line.send(JSON.stringify(message)); }
  }

  openSocket() {
    const address = new URL(`stream?after=${encodeURIComponent(this.lastId)}`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.onmessage = (event) => { this.socketWorked = true; this.take(event.data); };
    socket.onclose = () => { if (this.line === socket) { this.lost(); } };
    return socket;
  }

  openEvents() {
    const source = new EventSource(`events?after=${encodeURIComponent(this.lastId)}`);
    source.onmessage = (event) => this.take(event.data);
    source.onerror = () => { source.close(); if (this.line === source) { this.lost(); } };
    return source;
  }

  take(data) {
    const message = JSON.parse(data);
    this.lastId = message.id;
    if (this.tries >= 0) {
      this.tries = -1;  // the line is up
      this.onLine({ up: true });
    }
    this.onMessage(message);
  }

  async lost() {
    this.line = null;
    this.tries = Math.max(0, this.tries) + 1;
    this.onLine({ up: false, reason: "lost", tries: this.tries });
    const wait = Math.min(LATEST_MS, SOONEST_MS * 2 ** (this.tries - 1));
    this.timer = setTimeout(() => this.connect(), wait);
    // Why does a socket not say? Because browsers do not tell scripts; a plain request does.
    const status = await fetch("status", { method: "HEAD" }).then((answer) => answer.status, () => 0);
    if (status === 401) {
      clearTimeout(this.timer);
      this.timer = 0;
      this.onLine({ up: false, reason: "token", tries: this.tries });
    }
  }
}
