"""Glass to glass: how long after it is spoken a word's translation stands on the page in Chromium.

    python tools/bench_glass.py [--streams 3] [--audio FILE] [--from en] [--to pt] [--full]

Each stream is published to nginx-rtmp in real time; one `streamlation run --live` takes them all and one `serve` shows them, a
page each. What counts is when a committed word of the translation is in the page, less when the last of the words that it
translates was over at the publisher: encoder, server, network, the whole chain, and the browser are in it. Needs an idle machine.

With `--full` a picture is published too and the page plays it with the dubbed voice. Each stream is open twice: one page keeps
the captions to the picture, which waits for the voice; the other has "Captions at once" switched on.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = str(Path(sysconfig.get_path("scripts")) / "streamlation")
sys.path.insert(0, str(ROOT / "tests"))

WATCH = """
() => {
  window.seen = [];
  const place = document.getElementById("first");
  const note = () => {
    const copy = place.cloneNode(true);
    copy.querySelectorAll(".maybe").forEach((part) => part.remove());
    window.seen.push([Date.now() / 1000, [...copy.children].map((line) => line.textContent).join(" ")]);
  };
  new MutationObserver(note).observe(place, { childList: true, subtree: true, characterData: true });
  note();
}
"""
"""Notes the committed text on the page, and when, at each change."""

CONTEXT = 3
"""So many words tell one place in a text from another."""


@dataclass(frozen=True)
class Word:
    """A word and when it was over, in seconds on its own clock."""

    text: str
    end_s: float


def plain(text: str) -> str:
    """Letters and digits in lower case."""
    return re.sub(r"\W", "", text.lower())


def words_of(record: dict[str, Any]) -> list[Word]:
    """The words of a record as the wire has it, those without letters left out."""
    return [Word(word["text"], word["end_ms"] / 1000) for word in record.get("words", ()) if plain(word["text"])]


def first_seen(words: Sequence[Word], seen: Sequence[tuple[float, str]]) -> list[float | None]:
    """When each word was first on the page, together with the words before it; None where it never was."""
    texts = [(at_s, " ".join(map(plain, text.split()))) for at_s, text in seen]
    found: list[float | None] = []
    begin = 0
    for number in range(len(words)):
        wanted = " ".join(plain(word.text) for word in words[max(0, number + 1 - CONTEXT) : number + 1])
        at = next((k for k in range(begin, len(texts)) if f" {wanted} " in f" {texts[k][1]} "), None)
        found.append(None if at is None else texts[at][0])
        begin = begin if at is None else at
    return found


def lags(
    log: Sequence[dict[str, Any]], seen: Sequence[tuple[float, str]], spoken: Sequence[Word], zero_s: float
) -> list[float]:
    """Seconds for each translated word that was seen; `spoken`: the recording's words, which began at Unix time `zero_s`."""
    from streamlation_cli.measuring.alignment import align

    heard = [word for record in log if record["type"] == "transcript" and record["final"] for word in words_of(record)]
    pairs = align([plain(word.text) for word in spoken], [plain(word.text) for word in heard])
    offsets = [
        heard[h].end_s - spoken[s].end_s
        for s, h in pairs
        if s is not None and h is not None and plain(spoken[s].text) == plain(heard[h].text)
    ]
    offset_s = statistics.median(offsets)  # the chain's clock began when it reached the stream
    said = [word for record in log if record["type"] == "translation" and record["final"] for word in words_of(record)]
    times = zip(said, first_seen(said, seen), strict=True)
    return [at_s - (zero_s + word.end_s - offset_s) for word, at_s in times if at_s is not None]


def offline_words(audio: Path, language: str) -> list[Word]:
    """The recording's words with their times, of an offline pass."""
    chain = f"{PROGRAM} ingest '{audio}' | {PROGRAM} normalize | {PROGRAM} transcribe --from {language}"
    lines = subprocess.run(["bash", "-o", "pipefail", "-c", chain], stdout=subprocess.PIPE, check=True).stdout
    records = map(json.loads, lines.splitlines())
    return [word for record in records if record["type"] == "transcript" for word in words_of(record)]


def measure(audio: Path, streams: int, spoken: str, target: str, *, full: bool = False) -> dict[str, Any]:
    """Lags in seconds, by page, and how many of the translated words were seen.

    Where they are `full`, the first page of each stream keeps its captions to the picture, the second shows them at once.
    """
    from chromium import chromium, page_of
    from livetools import Process, is_open, wait_until
    from ports import free_port
    from test_live_rtmp import Nginx

    known = offline_words(audio, spoken)
    length_s = known[-1].end_s + 8
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        nginx = stack.enter_context(Nginx(folder))
        names = [f"talk{number + 1}" for number in range(streams)]
        addresses = [nginx.address.replace("talk", name) for name in names]
        port = free_port()
        log = folder / "log.ndjson"
        zero, zero_s = time.monotonic(), time.time()
        for address in addresses:
            publisher = [sys.executable, ROOT / "tests" / "publisher.py", audio, address, "flv", "--zero", str(zero)]
            stack.enter_context(Process(*publisher, *(["--video"] if full else [])))
        run = [PROGRAM, "run", *addresses, "--live", "--from", spoken, "--to", target, "--json"]
        serving = ["--bind", f"127.0.0.1:{port}"]
        if full:
            serves = subprocess.Popen([*run, "--serve", *serving], stdout=log.open("wb"))
        else:
            producer = stack.enter_context(subprocess.Popen(run, stdout=subprocess.PIPE))
            stack.callback(producer.terminate)
            serves = subprocess.Popen([PROGRAM, "serve", *serving], stdin=producer.stdout, stdout=log.open("wb"))
        server = stack.enter_context(serves)
        stack.callback(server.terminate)
        browser = stack.enter_context(chromium())
        wait_until(lambda: is_open(port), "the page", 30)
        shown = [name for name in names for _ in range(2 if full else 1)]
        pages = [stack.enter_context(page_of(browser, f"http://127.0.0.1:{port}/")) for _ in shown]
        for number, (page, session) in enumerate(zip(pages, shown, strict=True)):
            if full and number % 2:
                page.get_by_label("Captions at once").evaluate("(box) => box.click()")
            page.locator(f"#session option[value={session}]").wait_for(state="attached")
            page.evaluate(
                "(name) => { const choice = document.getElementById('session'); choice.value = name;"
                " choice.dispatchEvent(new Event('change')); }",
                session,
            )
            page.evaluate(WATCH)
        pages[0].wait_for_timeout(max(0.0, zero + length_s - time.monotonic()) * 1000)
        seen = [[(at_s, text) for at_s, text in page.evaluate("() => window.seen")] for page in pages]
        records = [json.loads(line) for line in log.read_text("utf-8").splitlines() if line.endswith("}")]
    by_stream = [
        lags([record for record in records if record["session"] == name], texts, known, zero_s)
        for name, texts in zip(shown, seen, strict=True)
    ]
    said = sum(len(words_of(r)) for r in records if r["type"] == "translation" and r["final"])
    return {"lags_s": by_stream, "words": said * len(shown) // len(names), "seen": sum(map(len, by_stream))}


def quantile(values: Sequence[float], percent: float) -> float:
    """By nearest rank."""
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def figures(measured: dict[str, Any]) -> dict[str, float]:
    """Median and 95th percentile over all words, and the worst stream's 95th."""
    every = [lag for stream in measured["lags_s"] for lag in stream]
    return {
        "p50_s": quantile(every, 50),
        "p95_s": quantile(every, 95),
        "worst_stream_p95_s": max(quantile(stream, 95) for stream in measured["lags_s"]),
        "max_s": max(every),
    }


def main() -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=3)
    parser.add_argument("--audio", type=Path, default=ROOT.parent / "shared" / "speech" / "long" / "en-long-dev.flac")
    parser.add_argument("--from", dest="spoken", default="en")
    parser.add_argument("--to", dest="target", default="pt")
    parser.add_argument("--full", action="store_true", help="with picture and dubbed voice")
    arguments = parser.parse_args()
    measured = measure(arguments.audio, arguments.streams, arguments.spoken, arguments.target, full=arguments.full)
    kinds = {"with the picture": measured["lags_s"][::2], "at once": measured["lags_s"][1::2]}
    every = {name: figures({"lags_s": lags}) for name, lags in kinds.items()} if arguments.full else figures(measured)
    print(json.dumps({**every, "words": measured["words"], "seen": measured["seen"]}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
