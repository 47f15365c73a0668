// What the viewer likes: kept in the browser, set by hand or by key.

const SIZES = [0.6, 0.75, 0.9, 1, 1.15, 1.3, 1.5, 1.75, 2];
const KEPT = "streamlation";

export class Settings {
  // `does.cycle` is called for the key that changes the captions' language.
  constructor(does) {
    this.values = {
      captions: "", size: 1, theme: "", contrast: matchMedia("(prefers-contrast: more)").matches, keys: true, ahead: false, ...load(),
    };
    const $ = (id) => document.getElementById(id);
    $("smaller").addEventListener("click", () => this.resize(-1));
    $("larger").addEventListener("click", () => this.resize(1));
    $("theme").addEventListener("change", () => this.set("theme", $("theme").value));
    for (const name of ["contrast", "keys", "ahead"]) { $(name).addEventListener("change", () => this.set(name, $(name).checked)); }
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.apply());
    document.addEventListener("keydown", (event) => {
      // Where keys mean something else, or somebody has turned these off, they do nothing.
      if (!this.values.keys || event.ctrlKey || event.altKey || event.metaKey) { return; }
      if (event.target.closest("input, select, textarea")) { return; }
      const actions = {
        "+": () => this.resize(1), "=": () => this.resize(1), "-": () => this.resize(-1), "c": () => does.cycle(),
        "h": () => this.set("contrast", !this.values.contrast), "m": () => { $("more").open = !$("more").open; },
        "k": () => $("video").closest("[hidden]") || ($("video").paused ? $("video").play() : $("video").pause()),
      };
      const action = actions[event.key];
      if (action) { action(); event.preventDefault(); }
    });
    this.apply();
  }

  get(name) { return this.values[name]; }

  set(name, value) {
    this.values[name] = value;
    try { localStorage.setItem(KEPT, JSON.stringify(this.values)); } catch { /* private windows may refuse: it holds until closed */ }
    this.apply();
  }

  resize(step) {
    const nearest = SIZES.reduce((best, size, at) => (
      Math.abs(size - this.values.size) < Math.abs(SIZES[best] - this.values.size) ? at : best), 0);
    this.set("size", SIZES[Math.min(SIZES.length - 1, Math.max(0, nearest + step))]);
  }

  apply() {
    const root = document.documentElement;
    root.dataset.theme = this.values.theme || (this.dark.matches ? "dark" : "light");
    root.dataset.contrast = this.values.contrast ? "high" : "";
    root.style.setProperty("--factor", this.values.size);
    document.getElementById("theme").value = this.values.theme;
    for (const name of ["contrast", "keys", "ahead"]) { document.getElementById(name).checked = this.values[name]; }
    document.getElementById("size").textContent = `${Math.round(this.values.size * 100)} %`;
  }
}

function load() {
  try { return JSON.parse(localStorage.getItem(KEPT) ?? "{}"); } catch { return {}; }
}
