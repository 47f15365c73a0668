"""A live recogniser that hears nothing and knows its text: reads 16 kHz mono s16le and answers on time, or badly.

    python live_system.py WORDS.json MODE [DELAY]

A word of the list ({"text", "start_ms", "end_ms"}) is answered DELAY seconds after the last of its samples came in.
MODE is what it does beside that; see MODES.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

RATE = 32
"""Bytes a millisecond."""

MODES = {
    "late": "commits each word, with protocol records; the last word is final",
    "simple": "the same in the simple form",
    "rewrite": "shows each word wrong first, half of DELAY after it came, and right DELAY after it came",
    "volatile": "shows each word half of DELAY after it came and commits it DELAY after it came",
    "breaks": "changes the first word it committed, and says the second one again in a new utterance",
    "after-final": "goes on after the final record",
    "garbage": "writes lines that are no records in between",
    "crash": "dies after the second word with a message",
    "deaf": "stops reading and ends well after the second word",
    "stuck": "never ends",
    "caption": "translates each word into its capitals DELAY later, and captions it at once",
    "leak": "keeps all it hears and opens a file a second",
}

words = json.loads(open(sys.argv[1], encoding="utf-8").read())  # noqa: SIM115, PTH123
mode = sys.argv[2]
delay = float(sys.argv[3]) if len(sys.argv) > 3 else 1.0
assert mode in MODES, mode


def write(line: object) -> None:
    sys.stdout.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    sys.stdout.flush()


def record(kind: str, **fields: object) -> None:
    write({"type": kind, "session": "s", **fields})


rev = 0
committed = 0


def utterance(count: int, stable: int, *, final: bool = False, identity: str = "u1", kind: str = "transcript") -> None:
    """A revision with the first `count` words, the first `stable` of them committed."""
    global rev
    rev += 1
    shown = [dict(word) for word in words[:count]]
    if mode == "rewrite":
        for word in shown[stable:]:
            word["text"] = "wrong"
    if mode == "breaks" and count == len(words):
        shown[0]["text"] = "Changed"
    if kind == "translation":
        shown = [{**word, "text": word["text"].upper()} for word in shown]
    text = " ".join(word["text"] for word in shown)
    fields: dict[str, object] = {"stable_words": stable} if not final else {}
    if kind == "translation":
        fields |= {"source_text": "x", "source_language": "en", "target_language": "en"}
    record(
        kind, id=identity, rev=rev, final=final, text=text, words=shown, start_ms=shown[0]["start_ms"],
        end_ms=shown[-1]["end_ms"], **fields,
    )  # fmt: skip


def commit(count: int) -> None:
    global committed
    committed = count
    last = count == len(words)
    if mode == "simple":
        write({"text": " ".join(word["text"] for word in words[:count])})
        return
    if mode == "garbage":
        write("loading model: 100%")
        write('{"type": "transcript", "session"')
    utterance(count, count, final=last)
    if mode == "caption":
        utterance(count, count, final=last, kind="translation")
        word = words[count - 1]
        record(
            "cue",
            op="add",
            id=str(count),
            start_ms=word["start_ms"],
            end_ms=word["end_ms"],
            lines=[word["text"].upper()],
        )
    if mode == "breaks" and last:
        again = words[1]
        record(
            "transcript", id="u2", final=True, text=again["text"], words=[again], start_ms=again["start_ms"],
            end_ms=again["end_ms"],
        )  # fmt: skip
    if mode == "after-final" and last:
        utterance(count, count, final=True)
    if mode == "crash" and count == 2:
        sys.exit("out of tape")
    if mode == "deaf" and count == 2:
        os._exit(0)


if mode not in ("simple", "leak"):
    record("header", proto=1, source="fake", live=True)

heard = bytearray()
kept = []
heard_bytes = 0
heard_words = 0
pending: list[tuple[float, str, int]] = []
open_input = True
while open_input or pending:
    wait = max(0.0, pending[0][0] - time.monotonic()) if pending else None
    if open_input and select.select([0], [], [], wait)[0]:
        data = os.read(0, 1 << 16)
        open_input = bool(data)
        now = time.monotonic()
        heard_bytes += len(data)
        if mode == "leak":
            kept.append(data)
            while len(heard) < heard_bytes // (RATE * 1000):
                heard.append(0)
                os.open(os.devnull, os.O_RDONLY)
            continue
        while heard_words < len(words) and words[heard_words]["end_ms"] * RATE <= heard_bytes:
            heard_words += 1
            if mode in ("rewrite", "volatile"):
                pending.append((now + delay / 2, "show", heard_words))
            pending.append((now + delay, "commit", heard_words))
            pending.sort()
    elif not open_input and wait:
        time.sleep(wait)
    while pending and pending[0][0] <= time.monotonic():
        _, what, count = pending.pop(0)
        if what == "show":
            utterance(count, committed)
        else:
            commit(count)
if mode == "stuck":
    time.sleep(600)
if mode not in ("simple", "leak"):
    record("eos")
